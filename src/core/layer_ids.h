#ifndef KUDARI_CORE_LAYER_IDS_H_
#define KUDARI_CORE_LAYER_IDS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kudari/tensor.h"

namespace kudari::internal {

/// The layer of each tensor by its name, 0 for the first, without gaps, for decays of the learning
/// rate with the depth; OptimizerSpec::layer_decay has the rule. `classes` has the class of each
/// tensor, and `patterns` are those of OptimizerSpec::layer_match. Throws Error for a pattern
/// without "#", and for one that matches no tensor.
std::vector<int64_t> LayersOf(std::span<const Tensor> tensors, std::span<const TensorClass> classes,
                              std::span<const std::string> patterns);

}  // namespace kudari::internal

#endif  // KUDARI_CORE_LAYER_IDS_H_
