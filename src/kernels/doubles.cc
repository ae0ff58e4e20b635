// The passes of the rules over doubles. Large tensors take as long as memory does, so that there is
// one loop for a pass, whatever is known of its coefficients.
#include "kernels/doubles.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "kernels/targets.h"
#include "kudari/rules/all.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/doubles.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/passes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kudari {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

using WideDoubles = hn::ScalableTag<double>;
using OneDouble = hn::CappedTag<double, 1>;

// Calls one(tag, i) for vectors that together are n elements: wide ones first, then single ones.
template <class F>
HWY_INLINE void ForVectorsOfDoubles(size_t n, const F& one) {
  size_t i = 0;
  for (; i + hn::Lanes(WideDoubles()) <= n; i += hn::Lanes(WideDoubles())) one(WideDoubles(), i);
  for (; i < n; ++i) one(OneDouble(), i);
}

// Fetches what a pass P loads, `ahead` elements behind element i. This may be beyond the end: the
// blocks of a tensor follow each other.
template <class P, size_t kSlots>
HWY_INLINE void FetchDoubles(const Pointers<kSlots, double>& at, size_t i, size_t ahead) {
  if constexpr (P::kTraffic.load_p) hwy::Prefetch(at.p + i + ahead);
  if constexpr (P::kTraffic.load_g) hwy::Prefetch(at.g + i + ahead);
  if constexpr (P::kTraffic.load_state) {
    for (size_t k = 0; k < kSlots; ++k) hwy::Prefetch(at.s[k] + i + ahead);
  }
}

// Doubles are prefetched as many bytes ahead as floats.
HWY_INLINE size_t DoublesAhead() { return internal::PrefetchDistance() / 2; }

template <class P, size_t... I>
HWY_INLINE void RunOverDoubles(const double* coeffs, const GradientForm<double>& form, double* p,
                               const double* g, double* const* state, size_t n,
                               std::index_sequence<I...> slots) {
  typename P::Coeffs c;
  std::memcpy(&c, coeffs, sizeof(c));
  const GradientForm<double> f = form;
  const Pointers<sizeof...(I), double> at = {p, g, {state[I]..., nullptr}};
  const size_t ahead = DoublesAhead();
  ForVectorsOfDoubles(n, [&](auto d, size_t i) HWY_ATTR {
    FetchDoubles<P>(at, i, ahead);
    One<Lanes<decltype(d)>, P>(c, f, at, i, slots);
  });
}

template <class P, class R>
void PassOverDoubles(const double* coeffs, const GradientForm<double>& form, double* p,
                     const double* g, double* const* state, size_t n) {
  RunOverDoubles<P>(coeffs, form, p, g, state, n, std::make_index_sequence<R::kState.size()>());
}

template <class R, size_t... I>
HWY_INLINE void MeasureOverDoubles(const double* coeffs, const GradientForm<double>& form,
                                   const double* p, const double* g, double* const* state, size_t n,
                                   double* sums, std::index_sequence<I...> slots) {
  using P = MeasurePass<R, double>;
  typename P::Coeffs c;
  std::memcpy(&c, coeffs, sizeof(c));
  const GradientForm<double> f = form;
  // The pass does not store to p.
  const Pointers<sizeof...(I), double> at = {const_cast<double*>(p), g, {state[I]..., nullptr}};
  const size_t ahead = DoublesAhead();
  ForVectorsOfDoubles(n, [&](auto d, size_t i) HWY_ATTR {
    Lanes<decltype(d)> norms[R::kNorms];
    FetchDoubles<P>(at, i, ahead);
    One<Lanes<decltype(d)>, P>(c, f, at, i, slots, norms);
    for (size_t k = 0; k < R::kNorms; ++k) {
      double* const lanes = sums + k * 16 + i % 16;
      hn::StoreU(hn::MulAdd(norms[k].v, norms[k].v, hn::LoadU(d, lanes)), d, lanes);
    }
  });
}

template <class R>
void MeasureDoubles(const double* coeffs, const GradientForm<double>& form, const double* p,
                    const double* g, double* const* state, size_t n, double* sums) {
  MeasureOverDoubles<R>(coeffs, form, p, g, state, n, sums,
                        std::make_index_sequence<R::kState.size()>());
}

template <class R>
constexpr ScalarPasses<double> DoublesOf() {
  ScalarPasses<double> passes = {};
  passes.update = &PassOverDoubles<UpdatePass<R, double>, R>;
  if constexpr (internal::kNormsOf < R >> 0) passes.measure = &MeasureDoubles<R>;
  if constexpr (internal::kHasEvaluation<R>) {
    passes.evaluate = &PassOverDoubles<EvaluationPass<R, double>, R>;
  }
  return passes;
}

// The rows of tables: while one is updated, one that comes soon is fetched.
template <class P, size_t... I>
HWY_INLINE void RunOverRows(const double* coeffs, const GradientForm<double>& form, double* p,
                            const double* g, double* const* state, size_t n,
                            std::span<const int64_t> rows, std::index_sequence<I...> slots) {
  typename P::Coeffs c;
  std::memcpy(&c, coeffs, sizeof(c));
  const GradientForm<double> f = form;
  const size_t ahead = std::max<size_t>(1, internal::kRowsAhead / n);
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto row = [&](size_t k) HWY_ATTR {
      const size_t at = static_cast<size_t>(rows[k]) * n;
      return Pointers<sizeof...(I), double>{p + at, g + k * n, {state[I] + at..., nullptr}};
    };
    const auto now = row(r), soon = row(std::min(r + ahead, rows.size() - 1));
    ForVectorsOfDoubles(n, [&](auto d, size_t i) HWY_ATTR {
      FetchDoubles<P>(soon, i, 0);
      One<Lanes<decltype(d)>, P>(c, f, now, i, slots);
    });
  }
}

template <class R>
void UpdateRowsOfDoubles(const double* coeffs, const GradientForm<double>& form, double* p,
                         const double* g, double* const* state, size_t n,
                         std::span<const int64_t> rows) {
  RunOverRows<UpdatePass<R, double>>(coeffs, form, p, g, state, n, rows,
                                     std::make_index_sequence<R::kState.size()>());
}

template <class R>
constexpr internal::RowsFn<double> RowsOfDoubles() {
  if constexpr (internal::kTakesRows<R>) return &UpdateRowsOfDoubles<R>;
  return nullptr;
}

void AddSquaresOfDoubles(const double* x, size_t n, double* lanes) {
  const WideDoubles d;
  constexpr size_t kLanes = HWY_MAX_BYTES / sizeof(double), kVectors = 16 / kLanes;
  hn::Vec<WideDoubles> sums[kVectors];
  for (size_t k = 0; k < kVectors; ++k) sums[k] = hn::LoadU(d, lanes + k * kLanes);
  const size_t whole = n - n % 16, ahead = DoublesAhead();
  for (size_t i = 0; i < whole; i += 16) {
    hwy::Prefetch(x + i + ahead);
    hwy::Prefetch(x + i + ahead + 8);
    for (size_t k = 0; k < kVectors; ++k) {
      const auto v = hn::LoadU(d, x + i + k * kLanes);
      sums[k] = hn::MulAdd(v, v, sums[k]);
    }
  }
  for (size_t k = 0; k < kVectors; ++k) hn::StoreU(sums[k], d, lanes + k * kLanes);
  for (size_t i = whole; i < n; ++i) lanes[i % 16] = std::fma(x[i], x[i], lanes[i % 16]);
}

void PenalizeDoubles(const GradientForm<double>& form, double l1, double l2, const double* p,
                     const double* g, size_t n, double* HWY_RESTRICT out) {
  const GradientForm<double> f = form;
  ForVectorsOfDoubles(n, [&](auto d, size_t i) HWY_ATTR {
    using V = Lanes<decltype(d)>;
    const V old(hn::LoadU(d, p + i)), x = Formed<true>(f, V(hn::LoadU(d, g + i)));
    hn::StoreU(AddShare(l1, Sign(old), AddShare(l2, old, x)).v, d, out + i);
  });
}

template <class... R>
const ScalarPasses<double>* TableOfDoubles(TypeList<R...> /*rules*/) {
  static constexpr ScalarPasses<double> table[] = {DoublesOf<R>()...};
  return table;
}

template <class... R>
const internal::RowsFn<double>* TableOfRows(TypeList<R...> /*rules*/) {
  static constexpr internal::RowsFn<double> table[] = {RowsOfDoubles<R>()...};
  return table;
}

const internal::DoubleKernels& ChosenDoubles() {
  static const internal::DoubleKernels kernels = {
      TableOfDoubles(AllRules()), TableOfRows(AllRules()), &AddSquaresOfDoubles, &PenalizeDoubles};
  return kernels;
}

#endif  // a target with fused multiply-add

}  // namespace HWY_NAMESPACE
}  // namespace kudari
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kudari::internal {

const DoubleKernels& DoublesFor(std::string_view target) {
#if HWY_TARGETS & HWY_AVX3
  if (target == "avx512") return N_AVX3::ChosenDoubles();
#endif
#if HWY_TARGETS & HWY_AVX2
  if (target == "avx2") return N_AVX2::ChosenDoubles();
#endif
#if HWY_TARGETS & HWY_NEON
  if (target == "neon") return N_NEON::ChosenDoubles();
#endif
  static_cast<void>(target);
  return ScalarDoubles();
}

}  // namespace kudari::internal
#endif  // HWY_ONCE
