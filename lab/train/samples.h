#ifndef KUDARI_LAB_TRAIN_SAMPLES_H_
#define KUDARI_LAB_TRAIN_SAMPLES_H_

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <span>

#include "lab/data/data.h"

namespace kudari::lab {

/// Samples together, as a model takes them: x is [samples, shape...] of float32, or of int64 for
/// tokens; y holds classes, [samples] of int64, the next tokens, [samples, context] of int64, or
/// targets or probabilities of classes, [samples, outputs] of float32.
struct Batch {
  at::Tensor x, y;
  int64_t size() const { return x.defined() ? x.size(0) : 0; }
};

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
};

/// A part of the data: a value that refers to where it is.
class Samples {
 public:
  /// None.
  Samples() = default;
  /// Tensors as in Batch, of which the first dimension is the samples.
  Samples(at::Tensor x, at::Tensor y);
  explicit Samples(std::shared_ptr<const SampleSource> source) : source_(std::move(source)) {}

  int64_t size() const { return source_ ? source_->size() : 0; }
  /// As the source's.
  bool in_memory() const { return !source_ || source_->in_memory(); }
  Batch Rows(std::span<const int64_t> rows) const { return source_->Rows(rows); }
  Batch Range(int64_t begin, int64_t count) const { return source_->Range(begin, count); }
  /// All of them at once.
  Batch All() const { return size() > 0 ? Range(0, size()) : Batch(); }
  /// The first `count`, or all if there are fewer.
  Samples First(int64_t count) const;

 private:
  std::shared_ptr<const SampleSource> source_;
};

/// A split of `data`, whose memory it uses: both must outlive what is returned.
Samples ToSamples(Split& split, const Dataset& data);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_SAMPLES_H_
