#ifndef KUDARI_LAB_MODELS_PARTS_GENERATOR_H_
#define KUDARI_LAB_MODELS_PARTS_GENERATOR_H_

#include <torch/torch.h>

#include <cstdint>

namespace kudari::lab {

/// What makes samples from random values: a model with this interface, too.
class Generator {
 public:
  virtual ~Generator() = default;
  /// As many new samples, [count, shape...], in the range of the data.
  virtual at::Tensor Generate(int64_t count, const at::Generator& random) = 0;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MODELS_PARTS_GENERATOR_H_
