#ifndef KUDARI_CORE_ELEMENTS_H_
#define KUDARI_CORE_ELEMENTS_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>

#include "kernels/parallel.h"
#include "kudari/step.h"
#include "kudari/tensor.h"

namespace kudari::internal {

/// Calls f(index of a tensor, begin, end) for ranges of elements that together are all elements of
/// all tensors, on as many workers as `parallel` wants and the number of elements is worth. Where
/// the ranges are cut depends on the workers: f must treat each element by itself. Allocates
/// nothing.
template <class F>
void ForElements(std::span<const Tensor> tensors, const Parallel& parallel, const F& f) {
  // Below this many elements a second thread costs more than it saves.
  constexpr int64_t kSmallestShare = 16384;
  int64_t total = 0;
  for (const Tensor& t : tensors) total += t.Size();
  const int threads = static_cast<int>(
      std::clamp<int64_t>(total / kSmallestShare, 1, static_cast<int64_t>(Threads(parallel))));
  const auto share = [&](int k) {
    const int64_t first = total / threads * k;
    const int64_t last = k + 1 == threads ? total : first + total / threads;
    int64_t before = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      const int64_t size = tensors[i].Size();
      const int64_t begin = std::max<int64_t>(first - before, 0);
      const int64_t end = std::min(last - before, size);
      if (begin < end) f(i, static_cast<size_t>(begin), static_cast<size_t>(end));
      before += size;
    }
  };
  RunParallel(parallel, threads, std::cref(share));
}

}  // namespace kudari::internal

#endif  // KUDARI_CORE_ELEMENTS_H_
