#ifndef KUDARI_LAB_TRAIN_BATCHES_H_
#define KUDARI_LAB_TRAIN_BATCHES_H_

#include <cstdint>
#include <random>
#include <vector>

#include "kudari/state.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/samples.h"

namespace kudari::lab {

/// Deals the batches of one epoch after the other, in an order that depends on the seed alone.
class Batches {
 public:
  Batches(Samples samples, const TrainConfig& config);

  void StartEpoch();

  /// Whether the epoch has another batch.
  bool More() const { return next_ < samples_.size(); }

  /// Whether the epoch has another batch of full size, or all samples are fewer.
  bool MoreFull() const;

  Batch Next();

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
