#ifndef KUDARI_OPTIMIZER_TENSOR_CHECKS_H_
#define KUDARI_OPTIMIZER_TENSOR_CHECKS_H_

#include <memory>
#include <span>

#include "backend/backend.h"
#include "kudari/tensor.h"

namespace kudari::internal {

/// Throws Error naming a tensor whose name is empty or taken, or whose shape is not valid.
void CheckTensors(std::span<const Tensor> tensors);

/// The backend that all tensors name; null: host memory. Throws Error if they name several.
Backend* UsersBackend(std::span<const Tensor> tensors);

/// That backend, which stays the user's, or one of its own for host memory.
std::shared_ptr<Backend> BackendFor(Backend* users);

/// Throws Error naming the tensors if one that is not empty has no parameter or is on another
/// backend than `users`, or if two parameters overlap in memory.
void CheckMemory(std::span<const Tensor> tensors, const Backend* users);

}  // namespace kudari::internal

#endif  // KUDARI_OPTIMIZER_TENSOR_CHECKS_H_
