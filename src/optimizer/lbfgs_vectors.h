#ifndef KUDARI_OPTIMIZER_LBFGS_VECTORS_H_
#define KUDARI_OPTIMIZER_LBFGS_VECTORS_H_

#include <cstddef>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/stage_arrays.h"
#include "core/sums.h"
#include "kudari/step.h"
#include "kudari/tensor.h"
#include "optimizer/lbfgs_moves.h"

namespace kudari::internal {

/// Vectors as arrays of float32, in which the tensors are one after the other, with zeros between
/// them so that each begins at a cache line.
class TensorVectors final : public LbfgsVectors {
 public:
  /// Both have to outlive the vectors. The tensors have float32 parameters and keep their sizes.
  TensorVectors(std::span<const Tensor> tensors, Backend& backend);

  void SetParallel(const Parallel& parallel) { parallel_ = parallel; }
  const Parallel& parallel() const { return parallel_; }

  /// Makes or frees the memory for BeginLine.
  void MakeRoom() { saved_ = Buffer(backend_, length_ * sizeof(float)); }
  void FreeRoom() { saved_ = Buffer(); }

  /// A tensor's part of a vector.
  Coded Part(size_t vector, size_t tensor) const {
    return {.data = vectors_[vector].data() + begins_[tensor] * sizeof(float)};
  }

  void Reserve(size_t count) override;
  void TakeGradient(size_t to) override;
  void BeginLine() override { CopyWeights(true); }
  void Move(double t, size_t direction) override;
  void MoveBack() override { CopyWeights(false); }
  void Combine(size_t out, double a, size_t x, double b, size_t y) override;
  void Scale(size_t out, double a, size_t x) override;
  double Dot(size_t a, size_t b) override;
  Magnitudes Measure(size_t a) override;

 private:
  Coded Whole(size_t vector) const { return {.data = vectors_[vector].data()}; }
  Coded SavedPart(size_t tensor) const {
    return {.data = saved_.data() + begins_[tensor] * sizeof(float)};
  }
  void CopyWeights(bool save);

  std::span<const Tensor> tensors_;
  Backend& backend_;
  Parallel parallel_;
  std::vector<size_t> begins_, sizes_;  // in elements
  size_t length_ = 0;
  std::vector<Buffer> vectors_;
  Buffer saved_;
  BlockSums sums_;
  std::vector<ArrayPair> pairs_;
  std::vector<Combination> moves_;
};

}  // namespace kudari::internal

#endif  // KUDARI_OPTIMIZER_LBFGS_VECTORS_H_
