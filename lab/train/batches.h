#ifndef KUDARI_LAB_TRAIN_BATCHES_H_
#define KUDARI_LAB_TRAIN_BATCHES_H_

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "kudari/state.h"
#include "lab/data/parts/augment.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/samples.h"

namespace kudari::lab {

template <class T>
class Prefetch;

/// The threads that prepare batches of these samples: train.workers or, where it is -1, one if
/// there is work for it and more than one core.
int64_t WorkersFor(const TrainConfig& config, const Samples& samples, const Augmenter& augmenter);

/// Deals the batches of one epoch after the other, in an order that depends on the seed alone, and
/// changes them as the augmenter does. Threads, if there are any, prepare the next batches: neither
/// their number nor their order has any effect on a batch, since all draws depend on the seed, the
/// epoch and the sample. What happens while one is prepared is thrown when it is dealt.
class Batches {
 public:
  /// Throws Error if the system has not as many threads.
  Batches(Samples samples, const TrainConfig& config, Augmenter augmenter = {},
          int64_t workers = 0);
  ~Batches();
  Batches(const Batches&) = delete;
  Batches& operator=(const Batches&) = delete;

  void StartEpoch();

  /// Whether the epoch has another batch.
  bool More() const { return next_ < samples_.size(); }

  /// Whether the epoch has another batch of full size, or all samples are fewer.
  bool MoreFull() const;

  /// The epoch's next batch. Mixed labels are probabilities, [samples, classes] of float32.
  Batch Next();

  /// Where the epoch is, its number and order, and the random generator; batches that are prepared
  /// and not dealt are no state. Loading throws Error for an order that is not one of these
  /// samples.
  void Visit(StateVisitor& visitor);

 private:
  int64_t CountAt(int64_t begin) const;
  std::vector<int64_t> RowsAt(int64_t begin) const;
  Batch Make(int64_t epoch, const std::vector<int64_t>& rows) const;
  void Prepare();
  void Forget();

  Samples samples_;
  Augmenter augmenter_;
  int64_t batch_size_, next_ = 0, epoch_ = 0;
  bool shuffle_;
  std::mt19937_64 random_;
  std::vector<int64_t> order_;
  int64_t most_prepared_;
  int64_t prepared_ = 0;  // the first sample of the epoch that no prepared batch has
  std::unique_ptr<Prefetch<Batch>> prefetch_;  // the last member, as its threads use the others
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_BATCHES_H_
