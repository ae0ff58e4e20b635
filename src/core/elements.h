#ifndef KUDARI_CORE_ELEMENTS_H_
#define KUDARI_CORE_ELEMENTS_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>

#include "kernels/codecs.h"
#include "kudari/parallel.h"
#include "kudari/step.h"
#include "kudari/tensor.h"

namespace kudari::internal {

/// The number of workers that pays off for that number of elements, at most what `parallel` allows.
inline int WorthThreads(int64_t elements, const Parallel& parallel) {
  // Below this many elements a second thread costs more than it saves.
  constexpr int64_t kSmallestShare = 16384;
  return static_cast<int>(
      std::clamp<int64_t>(elements / kSmallestShare, 1, static_cast<int64_t>(Threads(parallel))));
}

/// Calls f(index of an array, begin, end) for ranges that together cover all elements of `count`
/// arrays of size(index) elements, on as many workers as `parallel` allows and the number of
/// elements is worth. The division into ranges depends on the number of workers, so f must treat
/// each element independently. Ranges begin at multiples of kCodeBlock. Allocates nothing.
template <class Size, class F>
void ForRanges(size_t count, const Size& size, const Parallel& parallel, const F& f) {
  int64_t total = 0;
  for (size_t i = 0; i < count; ++i) total += static_cast<int64_t>(size(i));
  const int threads = WorthThreads(total, parallel);
  const auto share = [&](int k) {
    const int64_t first = total / threads * k;
    const int64_t last = k + 1 == threads ? total : first + total / threads;
    int64_t before = 0;
    for (size_t i = 0; i < count; ++i) {
      const auto n = static_cast<int64_t>(size(i));
      const auto cut = [n](int64_t at) {
        constexpr auto kUnit = static_cast<int64_t>(kCodeBlock);
        return at >= n ? n : std::max<int64_t>(at, 0) / kUnit * kUnit;
      };
      const int64_t begin = cut(first - before), end = cut(last - before);
      if (begin < end) f(i, static_cast<size_t>(begin), static_cast<size_t>(end));
      before += n;
    }
  };
  RunParallel(parallel, threads, std::cref(share));
}

/// to <- from, on as many workers as `parallel` allows and the number of bytes is worth. Allocates
/// nothing.
inline void CopyBytes(std::span<const std::byte> from, std::byte* to, const Parallel& parallel) {
  // Large enough that calling for a second worker pays off, and several for each: where memory is
  // new, some take longer than others.
  constexpr size_t kPart = size_t{1} << 20;
  std::atomic<size_t> next = 0;
  const auto work = [&](int) {
    for (size_t at = next.fetch_add(kPart); at < from.size(); at = next.fetch_add(kPart)) {
      std::memcpy(to + at, from.data() + at, std::min(kPart, from.size() - at));
    }
  };
  const size_t parts = std::max<size_t>(1, from.size() / kPart);
  const auto workers = std::min(parts, static_cast<size_t>(Threads(parallel)));
  RunParallel(parallel, static_cast<int>(workers), std::cref(work));
}

/// As ForRanges, for the elements of tensors.
template <class F>
void ForElements(std::span<const Tensor> tensors, const Parallel& parallel, const F& f) {
  ForRanges(
      tensors.size(), [&](size_t i) { return tensors[i].Size(); }, parallel, f);
}

/// The memory format of an array with that storage type.
inline Format FormatOf(DType type) {
  switch (type) {
    case DType::kBFloat16:
      return Format::kBFloat16;
    case DType::kFloat16:
      return Format::kFloat16;
    case DType::kFloat64:
      return Format::kFloat64;
    case DType::kFloat32:
      return Format::kFloat32;
  }
  return Format::kFloat32;
}

/// A parameter as the model sees it.
inline Coded Visible(const Tensor& tensor) {
  return {.format = FormatOf(tensor.dtype), .data = tensor.param};
}

/// A tensor's own gradient, which is only read; without data if the tensor has none.
inline Coded GradientOf(const Tensor& tensor) {
  return {.format = FormatOf(tensor.GradType()), .data = const_cast<void*>(tensor.grad)};
}

/// The gradient that a source made for tensor `index`, without its factor; without data if the
/// tensor has none or is frozen in the current step.
inline Coded GradientOf(const Engine& engine, const Gradient& gradient, size_t index) {
  if (engine.Frozen(index, engine.steps())) return {};
  if (gradient.data.empty()) return GradientOf(engine.tensors()[index]);
  return {.data = const_cast<float*>(gradient.data[index])};
}

/// Elements [begin, begin + n) of an array that is only read: in place, or decoded into `buffer`.
inline const float* FloatsOf(const Codecs& codecs, const Coded& array, size_t begin, size_t n,
                             float* buffer) {
  if (array.format == Format::kFloat32) return static_cast<const float*>(array.data) + begin;
  codecs.load(array, begin, n, buffer);
  return buffer;
}

/// The number of elements that an operation on arrays processes at a time.
inline constexpr size_t kPiece = 4 * kCodeBlock;

}  // namespace kudari::internal

#endif  // KUDARI_CORE_ELEMENTS_H_
