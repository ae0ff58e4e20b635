#ifndef KUDARI_ADAPTERS_TORCH_PARAMETERS_H_
#define KUDARI_ADAPTERS_TORCH_PARAMETERS_H_

#include <torch/torch.h>

#include <initializer_list>
#include <string_view>
#include <vector>

#include "kudari/tensor.h"
#include "kudari/torch.h"

namespace kudari::torch {

/// The parameters that an optimiser is made for, sorted by what becomes of them.
struct ParameterSet {
  NamedParameters held;         ///< each tensor once, by its first name
  std::vector<Tensor> tensors;  ///< the same, as the engine takes them
  NamedParameters left_out;     ///< frozen ones that the engine cannot hold
};

/// Those of a module, with the classes that the types of the modules in it say, or those given by
/// name. Throws Error naming a parameter that is trained and cannot be stepped.
ParameterSet ParametersOf(const ::torch::nn::Module& module);
ParameterSet ParametersOf(const NamedParameters& named);

/// The storage type of `t`. Throws Error unless that is one of `types` and the engine can read `t`;
/// `contiguous`: as it lies in memory. `kind` and `name` say what it is, as in parameter "fc.bias".
DType CheckTensor(const at::Tensor& t, std::string_view kind, std::string_view name,
                  std::initializer_list<DType> types, bool contiguous);

/// The same for what is to be stepped, which must be a leaf of the graph.
DType CheckParameter(const at::Tensor& p, std::string_view name);

/// A tensor with the same values, in order in memory as they are: `t` itself if its are.
at::Tensor InMemory(const at::Tensor& t);

/// Whether each element of `t` has memory of its own that may be written.
bool IsWritable(const at::Tensor& t);

}  // namespace kudari::torch

#endif  // KUDARI_ADAPTERS_TORCH_PARAMETERS_H_
