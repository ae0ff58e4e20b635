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

/// Sums over the elements of arrays, with the same bits for any number of threads: the elements are
/// divided into blocks that depend only on the sizes, and block sums are added in order. Allocates
/// nothing after the first run.
class BlockSums {
 public:
  static constexpr size_t kSums = 3;
  /// Sixteen lanes for each sum, in the form that KernelSet::add_squares uses.
  using Lanes = std::array<double[16], kSums>;

  /// Calls f(index of an array, begin, end, lanes) for blocks of `count` arrays of size(index)
  /// elements. f adds the contributions of elements [begin, end), element i to lane (i - begin) %
  /// 16. Blocks begin at multiples of kCodeBlock.
  template <class Size, class F>
  void Run(size_t count, const Size& size, const Parallel& parallel, const F& f) {
    Divide(count, size);
    const auto blocks = static_cast<int>(blocks_.size());
    const int workers = WorthThreads(elements_, parallel);
    const auto work = [&](int worker) {
      for (int b = worker; b < blocks; b += workers) {
        Block& block = blocks_[static_cast<size_t>(b)];
        Lanes lanes = {};
        f(block.array, block.begin, block.end, lanes);
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

  /// The k-th sum of an array from the last Run.
  double Of(size_t array, size_t k) const { return sums_[array][k]; }

 private:
  struct Block {
    size_t array, begin, end;
    std::array<double, kSums> sums;
  };

  // Makes the blocks, unless the sizes are the same as last time.
  template <class Size>
  void Divide(size_t count, const Size& size) {
    bool same = sizes_.size() == count;
    for (size_t i = 0; same && i < count; ++i) same = sizes_[i] == size(i);
    if (same) return;
    constexpr size_t kBlock = 64 * kCodeBlock;
    blocks_.clear();
    offsets_ = {0};
    elements_ = 0;
    sizes_.clear();
    sums_.resize(count);
    for (size_t i = 0; i < count; ++i) {
      const size_t n = size(i);
      for (size_t begin = 0; begin < n; begin += kBlock) {
        blocks_.push_back({i, begin, std::min(n, begin + kBlock), {}});
      }
      offsets_.push_back(blocks_.size());
      elements_ += static_cast<int64_t>(n);
    }
    for (size_t i = 0; i < count; ++i)
      sizes_.push_back(size(i));  // last, when nothing can fail any more
  }

  std::vector<Block> blocks_;
  int64_t elements_ = 0;
  std::vector<size_t> sizes_;    // of the arrays
  std::vector<size_t> offsets_;  // index of each array's first block, then the number of blocks
  std::vector<std::array<double, kSums>> sums_;
};

}  // namespace kudari::internal

#endif  // KUDARI_CORE_SUMS_H_
