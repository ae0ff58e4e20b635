#ifndef KUDARI_ADAPTERS_TORCH_TORCH_ARRAYS_H_
#define KUDARI_ADAPTERS_TORCH_TORCH_ARRAYS_H_

#include <torch/torch.h>

#include <optional>
#include <string_view>

#include "kudari/state.h"

namespace kudari::torch {

/// The element type of a tensor in a state, and back. The first throws Error naming the tensor if
/// states have no such type.
ElementType ElementsOfTensor(const at::Tensor& tensor, std::string_view name);
at::ScalarType ScalarsOf(ElementType type);

/// A copy of a dense tensor as an array; throws Error naming the tensor for other layouts.
StateArray ArrayOf(const at::Tensor& tensor, std::string_view name);

/// A copy of an array as a tensor in memory of its own.
at::Tensor TensorOf(const StateArray& array);

}  // namespace kudari::torch

#endif  // KUDARI_ADAPTERS_TORCH_TORCH_ARRAYS_H_
