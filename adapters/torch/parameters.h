#ifndef KUDARI_ADAPTERS_TORCH_PARAMETERS_H_
#define KUDARI_ADAPTERS_TORCH_PARAMETERS_H_

#include <torch/torch.h>

#include <initializer_list>
#include <string_view>
#include <vector>

#include "kudari/tensor.h"
#include "kudari/torch.h"

namespace kudari::torch {

/// The parameters that an optimiser is made for, sorted by how they are treated.
struct ParameterSet {
  NamedParameters held;         ///< each tensor once, by its first name
  std::vector<Tensor> tensors;  ///< the same tensors in the engine's form
  /// Copies of those whose elements do not lie in order, in order, which the engine steps in their
  /// place; undefined for the others.
  std::vector<at::Tensor> mirrors;
  NamedParameters left_out;  ///< frozen parameters that the engine cannot or need not hold
};

/// The parameters of modules, with the classes that the types of the submodules imply, or the
/// parameters in `named`. A module's empty name stands in front of nothing. Throws Error naming a
/// trained parameter that cannot be stepped.
ParameterSet ParametersOf(const NamedModules& modules);
ParameterSet ParametersOf(const NamedParameters& named);

/// Names for parameters that have none: "0", "1" ..., behind `prefix`.
NamedParameters Numbered(const std::vector<at::Tensor>& parameters, const std::string& prefix);

/// The storage type of `t`. Throws Error unless it is one of `types` and can be read. `kind` and
/// `name` describe the tensor in messages, as in parameter "fc.bias".
DType CheckTensor(const at::Tensor& t, std::string_view kind, std::string_view name,
                  std::initializer_list<DType> types);

/// As CheckTensor, for a parameter to be stepped, which must be a leaf of the graph, with memory of
/// its own for each element. A complex one counts as its pairs: float32 or float64.
DType CheckParameter(const at::Tensor& p, std::string_view name);

/// What the engine sees of a tensor: the pairs of real numbers of a complex one, in the same memory
/// and with one dimension more, or the tensor itself.
at::Tensor Stepped(const at::Tensor& t);

/// A contiguous tensor with the same values: `t` itself if it is contiguous.
at::Tensor InMemory(const at::Tensor& t);

/// Tells LibTorch that a tensor has been written, as its own operations do.
void BumpVersion(const at::Tensor& t);

/// Whether each element of `t` has its own, writable memory.
bool IsWritable(const at::Tensor& t);

}  // namespace kudari::torch

#endif  // KUDARI_ADAPTERS_TORCH_PARAMETERS_H_
