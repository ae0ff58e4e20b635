#ifndef KUDARI_LAB_TRAIN_VISIT_H_
#define KUDARI_LAB_TRAIN_VISIT_H_

#include <torch/torch.h>

#include <random>
#include <string>
#include <string_view>

#include "kudari/state.h"

namespace kudari::lab {

// States of what is not ours.

/// Parameters and buffers, such as the running statistics of batch norm, by name, where they lie.
void VisitModule(::torch::nn::Module& module, StateVisitor& visitor);

/// A tensor of float32, bfloat16, float16 or int64, where it lies. Throws Error for other types.
void VisitTensor(const std::string& name, const at::Tensor& tensor, StateVisitor& visitor);

/// A random generator; loading throws Error for what is no state of one.
void VisitRandom(std::string_view name, std::mt19937_64& random, StateVisitor& visitor);
/// The same of a generator of torch's for the CPU.
void VisitRandom(std::string_view name, at::Generator random, StateVisitor& visitor);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_VISIT_H_
