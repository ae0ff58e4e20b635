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
  NamedParameters left_out;     ///< frozen parameters that the engine cannot hold
};

/// The parameters of a module, with the classes that the types of its submodules imply, or the
/// parameters in `named`. Throws Error naming a trained parameter that cannot be stepped.
ParameterSet ParametersOf(const ::torch::nn::Module& module);
ParameterSet ParametersOf(const NamedParameters& named);

/// The storage type of `t`. Throws Error unless it is one of `types` and the engine can read `t`,
/// which must be contiguous in memory if `contiguous` is set. `kind` and `name` describe the tensor
/// in messages, as in parameter "fc.bias".
DType CheckTensor(const at::Tensor& t, std::string_view kind, std::string_view name,
                  std::initializer_list<DType> types, bool contiguous);

/// As CheckTensor, for a parameter to be stepped, which must be a leaf of the graph.
DType CheckParameter(const at::Tensor& p, std::string_view name);

/// A contiguous tensor with the same values: `t` itself if it is contiguous.
at::Tensor InMemory(const at::Tensor& t);

/// Tells LibTorch that a tensor has been written, as its own operations do.
void BumpVersion(const at::Tensor& t);

/// Whether each element of `t` has its own, writable memory.
bool IsWritable(const at::Tensor& t);

}  // namespace kudari::torch

#endif  // KUDARI_ADAPTERS_TORCH_PARAMETERS_H_
