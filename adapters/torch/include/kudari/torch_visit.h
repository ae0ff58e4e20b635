#ifndef KUDARI_TORCH_VISIT_H_
#define KUDARI_TORCH_VISIT_H_

#include <torch/torch.h>

#include <string>
#include <string_view>

#include "kudari/state.h"

namespace kudari::torch {

// States of what is LibTorch's, for the Visit methods of objects that contain it.

/// Nodes `parameters` and `buffers` with all of the module's, by name, such as the running
/// statistics of batch norm; undefined ones are left out. Loading writes into the memory that they
/// have, and tells LibTorch so.
void VisitModule(::torch::nn::Module& module, StateVisitor& visitor);

/// A tensor, of any strides and on any device. Loading writes its elements where they lie, without
/// changing its type or shape. Throws Error naming it if it is sparse, quantised, complex or of
/// another type that the safetensors format does not have.
void VisitTensor(const std::string& name, const at::Tensor& tensor, StateVisitor& visitor);

/// The state of a generator of random numbers for the CPU; loading throws Error for what is none.
void VisitRandom(std::string_view name, at::Generator random, StateVisitor& visitor);

}  // namespace kudari::torch

#endif  // KUDARI_TORCH_VISIT_H_
