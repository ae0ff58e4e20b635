#ifndef KUDARI_LAB_TRAIN_BATCHES_H_
#define KUDARI_LAB_TRAIN_BATCHES_H_

#include <torch/torch.h>

#include <cstdint>
#include <random>
#include <vector>

#include "kudari/state.h"
#include "lab/data/data.h"
#include "lab/recipe/train_recipe.h"

namespace kudari::lab {

/// A part of the data as tensors: x is [samples, shape...], y holds classes, [samples] of int64, or
/// targets, [samples, outputs].
struct Samples {
  at::Tensor x, y;
  int64_t size() const { return x.defined() ? x.size(0) : 0; }
};

/// A split of `data` as views of its memory, which must outlive them.
Samples ToSamples(Split& split, const Dataset& data);

/// Deals the batches of one epoch after the other, in an order that depends on the seed alone.
class Batches {
 public:
  Batches(Samples samples, const TrainConfig& config);

  void StartEpoch();

  /// Whether the epoch has another batch.
  bool More() const { return next_ < samples_.size(); }

  /// Whether the epoch has another batch of full size, or all samples are fewer.
  bool MoreFull() const;

  Samples Next();

  /// Where the epoch is, its order and the random generator; loading throws Error for an order that
  /// is not one of these samples.
  void Visit(StateVisitor& visitor);

 private:
  Samples samples_;
  int64_t batch_size_, next_ = 0;
  bool shuffle_;
  std::mt19937_64 random_;
  std::vector<int64_t> order_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_BATCHES_H_
