#include "kernels/products.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/products.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#ifndef KUDARI_KERNELS_PRODUCTS_ONCE_
#define KUDARI_KERNELS_PRODUCTS_ONCE_
namespace kudari::internal {

/// Rows that are summed from zero before the sum is added to the element. That many rows of two
/// panels stay in the L1 cache. Part of what defines the bits.
inline constexpr size_t kDepth = 128;

}  // namespace kudari::internal
#endif  // KUDARI_KERNELS_PRODUCTS_ONCE_

HWY_BEFORE_NAMESPACE();
namespace kudari {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

namespace hn = hwy::HWY_NAMESPACE;
using internal::kDepth;
using internal::kPanel;

// The sums that are kept in registers, rows times vectors: enough to hide the latency of a fused
// operation, and few enough to leave registers for the operands. AVX2 has 16 registers, others 32.
constexpr size_t kRows = HWY_TARGET == HWY_AVX2 ? 6 : 8;
constexpr size_t kVectors = HWY_TARGET == HWY_AVX2 ? 2 : 3;

// The product of kRows columns of a and kVectors vectors of columns of b, while `next` is fetched.
template <class T, size_t... I>
HWY_INLINE void Block(const T* HWY_RESTRICT a, const T* HWY_RESTRICT b, size_t depth, bool first,
                      const T* HWY_RESTRICT next, T* HWY_RESTRICT sums,
                      std::index_sequence<I...> /*registers*/) {
  const hn::ScalableTag<T> d;
  constexpr size_t kLanes = hn::MaxLanes(d);
  hn::Vec<decltype(d)> sum[] = {(static_cast<void>(I), hn::Zero(d))...};
  for (size_t k = 0; k < depth; ++k) {
    hwy::Prefetch(next);
    hn::Vec<decltype(d)> y[kVectors];
    for (size_t j = 0; j < kVectors; ++j) y[j] = hn::LoadU(d, b + j * kLanes);
    ((sum[I] = hn::MulAdd(hn::Set(d, a[I / kVectors]), y[I % kVectors], sum[I])), ...);
    a += kPanel<T>;
    b += kPanel<T>;
    next += kPanel<T>;
  }
  const auto at = [&](size_t i) { return sums + i / kVectors * kPanel<T> + i % kVectors * kLanes; };
  if (first) {
    (hn::StoreU(sum[I], d, at(I)), ...);
  } else {
    (hn::StoreU(hn::Add(hn::LoadU(d, at(I)), sum[I]), d, at(I)), ...);
  }
}

template <class T>
void Product(const T* a, size_t a_panels, const T* b, size_t depth, T* sums) {
  constexpr size_t kColumns = kVectors * hn::MaxLanes(hn::ScalableTag<T>());
  static_assert(kPanel<T> % kRows == 0 && kPanel<T> % kColumns == 0);
  constexpr size_t kLines = 3, kLine = kPanel<T> / kLines;
  const size_t panel = depth * kPanel<T>;
  for (size_t k = 0; k < depth; k += kDepth) {
    const size_t rows = std::min(kDepth, depth - k);
    // While these rows are multiplied the next ones are fetched, one line of each at a time.
    size_t line = 0;
    for (size_t j = 0; j < kPanel<T>; j += kColumns) {
      for (size_t i = 0; i < a_panels * kPanel<T>; i += kRows, ++line) {
        const T* const left = a + i / kPanel<T> * panel + k * kPanel<T> + i % kPanel<T>;
        const size_t source = line / kLines % (a_panels + 1);
        const T* const next = (source == 0 ? b : a + (source - 1) * panel) +
                              (k + rows) * kPanel<T> + line % kLines * kLine;
        Block(left, b + k * kPanel<T> + j, rows, k == 0, next, sums + i * kPanel<T> + j,
              std::make_index_sequence<kRows * kVectors>());
      }
    }
  }
}

template <class T>
internal::PanelProduct<T> Chosen() {
  return &Product<T>;
}

#endif  // a target with fused multiply-add

}  // namespace HWY_NAMESPACE
}  // namespace kudari
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kudari::internal {
namespace {

// What the others must equal, and what runs where there is no fused multiply-add.
template <class T>
void ScalarProduct(const T* a, size_t a_panels, const T* b, size_t depth, T* sums) {
  for (size_t i = 0; i < a_panels * kPanel<T>; ++i) {
    const T* const left = a + i / kPanel<T> * depth * kPanel<T> + i % kPanel<T>;
    for (size_t j = 0; j < kPanel<T>; ++j) {
      T& total = sums[i * kPanel<T> + j];
      for (size_t begin = 0; begin < depth; begin += kDepth) {
        T sum = 0;
        for (size_t k = begin; k < std::min(begin + kDepth, depth); ++k) {
          sum = std::fma(left[k * kPanel<T>], b[k * kPanel<T> + j], sum);
        }
        total = begin == 0 ? sum : total + sum;
      }
    }
  }
}

}  // namespace

template <class T>
PanelProduct<T> ProductFor(std::string_view target) {
#if HWY_TARGETS & HWY_AVX3
  if (target == "avx512") return N_AVX3::Chosen<T>();
#endif
#if HWY_TARGETS & HWY_AVX2
  if (target == "avx2") return N_AVX2::Chosen<T>();
#endif
#if HWY_TARGETS & HWY_NEON
  if (target == "neon") return N_NEON::Chosen<T>();
#endif
  static_cast<void>(target);
  return &ScalarProduct<T>;
}

template PanelProduct<float> ProductFor(std::string_view);
template PanelProduct<double> ProductFor(std::string_view);

}  // namespace kudari::internal
#endif  // HWY_ONCE
