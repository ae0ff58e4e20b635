#ifndef KUDARI_LAB_MODELS_BATCH_H_
#define KUDARI_LAB_MODELS_BATCH_H_

#include <torch/torch.h>

#include <cstdint>

namespace kudari::lab {

/// Samples together, as a model takes them: x is [samples, shape...] of float32, or of int64 for
/// tokens; y holds classes, [samples] of int64, the next tokens, [samples, context] of int64, or
/// targets or probabilities of classes, [samples, outputs] of float32.
struct Batch {
  at::Tensor x, y;
  int64_t size() const { return x.defined() ? x.size(0) : 0; }
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MODELS_BATCH_H_
