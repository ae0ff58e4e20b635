#ifndef KUDARI_CORE_SUMS_H_
#define KUDARI_CORE_SUMS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/elements.h"
#include "kernels/kernels.h"
#include "kudari/step.h"
#include "kudari/tensor.h"

namespace kudari::internal {

/// Sums over the elements of tensors, the same bits for any number of threads: of blocks that
/// depend on the tensors alone, added in their order. Allocates nothing after the first time.
class TensorSums {
 public:
  static constexpr size_t kSums = 3;
  /// Sixteen lanes of each sum, as KernelSet::add_squares wants them.
  using Lanes = std::array<double[16], kSums>;

  /// Calls f(index of a tensor, begin, end, lanes), which adds what elements [begin, end) come to,
  /// element i in lane (i - begin) % 16. Blocks begin at multiples of kCodeBlock.
  template <class F>
  void Run(std::span<const Tensor> tensors, const Parallel& parallel, const F& f) {
    if (offsets_.size() != tensors.size() + 1) Divide(tensors);
    const auto count = static_cast<int>(blocks_.size());
    const int workers = WorthThreads(elements_, parallel);
    const auto work = [&](int worker) {
      for (int b = worker; b < count; b += workers) {
        Block& block = blocks_[static_cast<size_t>(b)];
        Lanes lanes = {};
        f(block.tensor, block.begin, block.end, lanes);
        for (size_t k = 0; k < kSums; ++k) block.sums[k] = SumLanes(lanes[k]);
      }
    };
    RunParallel(parallel, workers, std::cref(work));
    for (size_t i = 0; i + 1 < offsets_.size(); ++i) {
      sums_[i] = {};
      for (size_t b = offsets_[i]; b < offsets_[i + 1]; ++b) {
        for (size_t k = 0; k < kSums; ++k) sums_[i][k] += blocks_[b].sums[k];
      }
    }
  }

  /// The k-th sum of a tensor, of the last Run.
  double Of(size_t tensor, size_t k) const { return sums_[tensor][k]; }

 private:
  struct Block {
    size_t tensor, begin, end;
    std::array<double, kSums> sums;
  };

  void Divide(std::span<const Tensor> tensors) {
    constexpr size_t kBlock = 64 * kCodeBlock;
    blocks_.clear();
    offsets_ = {0};
    elements_ = 0;
    sums_.resize(tensors.size());  // offsets_ are complete only if nothing failed
    for (size_t i = 0; i < tensors.size(); ++i) {
      const auto size = static_cast<size_t>(tensors[i].Size());
      for (size_t begin = 0; begin < size; begin += kBlock) {
        blocks_.push_back({i, begin, std::min(size, begin + kBlock), {}});
      }
      offsets_.push_back(blocks_.size());
      elements_ += tensors[i].Size();
    }
  }

  std::vector<Block> blocks_;
  int64_t elements_ = 0;
  std::vector<size_t> offsets_;  // of each tensor's first block, and the number of blocks
  std::vector<std::array<double, kSums>> sums_;
};

}  // namespace kudari::internal

#endif  // KUDARI_CORE_SUMS_H_
