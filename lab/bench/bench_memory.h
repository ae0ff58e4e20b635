#ifndef KUDARI_LAB_BENCH_BENCH_MEMORY_H_
#define KUDARI_LAB_BENCH_BENCH_MEMORY_H_

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "kudari/huge_pages.h"

namespace kudari::lab {

/// Numbers in memory of their own.
template <class T>
using BenchArray = std::unique_ptr<T[], decltype(&std::free)>;

/// n numbers without values at the beginning of a cache line, as frameworks allocate: small tensors
/// that straddle lines are timed by luck. Large ones are on huge pages where the system gives them
/// on request, as the state of optimisers and the LibTorch adapter's tensors are.
template <class T>
BenchArray<T> MakeBenchArray(size_t n) {
  constexpr size_t kLine = 64;
  const size_t bytes = (n * sizeof(T) + kLine - 1) / kLine * kLine;
  BenchArray<T> array(static_cast<T*>(std::aligned_alloc(kLine, bytes)), &std::free);
  AdviseHugePages(array.get(), bytes);
  return array;
}

}  // namespace kudari::lab

#endif  // KUDARI_LAB_BENCH_BENCH_MEMORY_H_
