#ifndef KUDARI_LAB_TRAIN_SAMPLES_H_
#define KUDARI_LAB_TRAIN_SAMPLES_H_

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "kudari/state.h"
#include "lab/data/data.h"
#include "lab/models/models.h"

namespace kudari::lab {

/// Where samples come from: tensors in memory, tokens of a text, files that are decoded. Several
/// threads may call its methods at the same time, since batches are prepared in threads.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual int64_t size() const = 0;
  /// Whether samples are only copied, so that no thread is worth preparing them.
  virtual bool in_memory() const { return false; }
  /// The samples with these numbers, each in [0, size()), in this order, in memory of their own,
  /// which the caller may change.
  virtual Batch Rows(std::span<const int64_t> rows) const = 0;
  /// The samples from `begin`, `count` of them.
  virtual Batch Range(int64_t begin, int64_t count) const;
  /// Names the model that makes the samples, if a model does; it must outlive this.
  virtual void Attach(Model& /*model*/) {}
  /// Makes the samples of a new epoch, if a model does.
  virtual void StartEpoch() {}
  /// What a model is worth, where that is not told by samples but by its own doing.
  virtual std::optional<Score> Evaluate(Model& /*model*/) const { return std::nullopt; }
  /// What the next epochs' samples depend on.
  virtual void Visit(StateVisitor& /*visitor*/) {}
};

/// A part of the data: a value that refers to where it is.
class Samples {
 public:
  /// None.
  Samples() = default;
  /// Tensors as in Batch, of which the first dimension is the samples.
  Samples(at::Tensor x, at::Tensor y);
  explicit Samples(std::shared_ptr<SampleSource> source) : source_(std::move(source)) {}

  int64_t size() const { return source_ ? source_->size() : 0; }
  /// As the source's.
  bool in_memory() const { return !source_ || source_->in_memory(); }
  Batch Rows(std::span<const int64_t> rows) const { return source_->Rows(rows); }
  Batch Range(int64_t begin, int64_t count) const { return source_->Range(begin, count); }
  /// All of them at once.
  Batch All() const { return size() > 0 ? Range(0, size()) : Batch(); }
  void Attach(Model& model) {
    if (source_) source_->Attach(model);
  }
  void StartEpoch() {
    if (source_) source_->StartEpoch();
  }
  std::optional<Score> Evaluate(Model& model) const { return source_->Evaluate(model); }
  void Visit(StateVisitor& visitor) { source_->Visit(visitor); }
  /// The first `count`, or all if there are fewer.
  Samples First(int64_t count) const;

 private:
  std::shared_ptr<SampleSource> source_;
};

/// A split of `data`, whose memory it uses: both must outlive what is returned.
Samples ToSamples(Split& split, const Dataset& data);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_SAMPLES_H_
