#include "kernels/kernels.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "kernels/targets.h"
#include "kudari/error.h"
#include "kudari/rules/all.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/kernels.cc"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/passes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kudari {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

// Prefetches arrays, `offset` elements behind those pointers.
template <bool kP, bool kG, bool kState, size_t... I>
HWY_INLINE void Ahead(const float* p, const float* g, const float* const* s, size_t offset,
                      std::index_sequence<I...> /*slots*/) {
  if constexpr (kP) hwy::Prefetch(p + offset);
  if constexpr (kG) hwy::Prefetch(g + offset);
  if constexpr (kState) (hwy::Prefetch(s[I] + offset), ...);
}

// The floats of a cache line. Whole lines are passed together, so that each is prefetched once.
constexpr size_t kLine = 16;

// Calls line(i) for i = 0, kLine, ... below n / kLine * kLine, prefetching `distance` floats ahead
// of it what pass P loads, and the state if kState. The last lines prefetch the beginning of what
// comes next, so that the stream never stops. What comes next may be another pass, which loads g,
// if the whole pass prefetches it.
template <class P, bool kState, class F, size_t... I>
HWY_INLINE void Stream(const Pointers<sizeof...(I)>& at, size_t n, size_t distance,
                       const float* const* next, std::index_sequence<I...> slots, const F& line) {
  constexpr bool kP = P::kTraffic.load_p, kG = P::kTraffic.load_g;
  const size_t whole = n - n % kLine;
  const size_t ahead = std::min(distance / kLine * kLine, whole);
  const size_t turn = whole - ahead;
  size_t i = 0;
  for (; i < turn; i += kLine) {
    Ahead<kP, kG, kState>(at.p, at.g, at.s, i + ahead, slots);
    line(i);
  }
  if (next != nullptr) {
    for (; i < whole; i += kLine) {
      Ahead<kP, kG, kState>(next[0], next[1], next + 2, i - turn, slots);
      if constexpr (!kG) {
        if (turn == 0) hwy::Prefetch(next[1] + i);
      }
      line(i);
    }
  }
  for (; i < whole; i += kLine) line(i);
}

// What is known of a pass with these coefficients; `norms` as in One.
template <class P, size_t... I, class... N>
HWY_INLINE Known KnownOf(const float* coeffs, const GradientForm<float>& form,
                         std::index_sequence<I...> /*slots*/, N&... norms) {
  if constexpr (P::kTraffic.load_g) {
    const bool usual =
        P::kSquares ? form.infinity_is_nan : form.limit == std::numeric_limits<float>::infinity();
    if (!usual) return Known::kNothing;
  }
  typename P::Coeffs c;
  std::memcpy(&c, coeffs, sizeof(c));
  Probe p, x[sizeof...(I) + 1];
  P::template Run<Probe>(c, Probe(), p, norms..., x[I]...);
  unsigned found = (p.found | ... | x[I].found);
  const auto add = [&found](const auto& all) {
    for (const Probe& norm : all) found |= norm.found;
  };
  (add(norms), ...);
  if (found == Probe::kNoShare) return Known::kNoShares;
  return found == Probe::kShare || found == 0 ? Known::kShares : Known::kNothing;
}

// The whole lines of a pass. A function of its own, like MeasureLines: only then does the compiler
// keep what is the same for all lines in registers.
template <class P, Known kKnown, size_t... I>
HWY_NOINLINE void RunLines(const float* coeffs, const GradientForm<float>& form,
                           const Pointers<sizeof...(I)>& arrays, size_t n, size_t distance,
                           const float* const* next, std::index_sequence<I...> slots) {
  using V = Lanes<hn::ScalableTag<float>, kKnown>;
  typename P::Coeffs c;
  std::memcpy(&c, coeffs, sizeof(c));
  const GradientForm<float> f = form;
  const Pointers<sizeof...(I)> at = arrays;
  Stream<P, P::kTraffic.load_state>(at, n, distance, next, slots, [&](size_t i) HWY_ATTR {
    for (size_t part = 0; part < kLine; part += HWY_MAX_BYTES / sizeof(float)) {
      One<V, P>(c, f, at, i + part, slots);
    }
  });
}

// Elements [i, n), fewer than a line, with narrower vectors: most tensors have a multiple of eight.
template <class P, size_t... I>
HWY_INLINE void RunRest(const typename P::Coeffs& c, const GradientForm<float>& form,
                        const Pointers<sizeof...(I)>& at, size_t i, size_t n,
                        std::index_sequence<I...> slots) {
  using Eight = Lanes<hn::CappedTag<float, 8>>;
  using Four = Lanes<hn::CappedTag<float, 4>>;
  const size_t eight = hn::Lanes(Eight::Tag()), four = hn::Lanes(Four::Tag());
  for (; i + eight <= n; i += eight) One<Eight, P>(c, form, at, i, slots);
  for (; i + four <= n; i += four) One<Four, P>(c, form, at, i, slots);
  for (; i < n; ++i) One<Lanes<hn::CappedTag<float, 1>>, P>(c, form, at, i, slots);
}

// Any n.
template <class P, size_t... I>
HWY_INLINE void Run(const float* coeffs, const GradientForm<float>& form, float* p, const float* g,
                    float* const* state, size_t n, const float* const* next, size_t distance,
                    std::index_sequence<I...> slots) {
  const Pointers<sizeof...(I)> at = {p, g, {state[I]..., nullptr}};
  const size_t i = n - n % kLine;
  if (i > 0) {
    WithKnown(KnownOf<P>(coeffs, form, slots), [&](auto known) HWY_ATTR {
      RunLines<P, known>(coeffs, form, at, n, distance, next, slots);
    });
    if (i == n) return;
  }
  typename P::Coeffs c;
  std::memcpy(&c, coeffs, sizeof(c));
  const GradientForm<float> f = form;
  RunRest<P>(c, f, at, i, n, slots);
}

template <class P, class R>
void Pass(const float* coeffs, const GradientForm<float>& form, float* p, const float* g,
          float* const* state, size_t n, const float* const* next, size_t distance) {
  Run<P>(coeffs, form, p, g, state, n, next, distance,
         std::make_index_sequence<R::kState.size()>());
}

// The rows of tables, whose arrays begin at `table`.
template <class P, Known kKnown, size_t... I>
HWY_NOINLINE void RunRows(const float* coeffs, const GradientForm<float>& form,
                          const Pointers<sizeof...(I)>& table, size_t n,
                          std::span<const int64_t> rows, std::index_sequence<I...> slots) {
  using V = Lanes<hn::ScalableTag<float>, kKnown>;
  typename P::Coeffs c;
  std::memcpy(&c, coeffs, sizeof(c));
  const GradientForm<float> f = form;
  const Pointers<sizeof...(I)> all = table;
  const size_t whole = n - n % kLine, ahead = std::max<size_t>(1, internal::kRowsAhead / n);
  for (size_t r = 0; r < rows.size(); ++r) {
    const auto row = [&](size_t k) HWY_ATTR {
      const size_t at = static_cast<size_t>(rows[k]) * n;
      return Pointers<sizeof...(I)>{all.p + at, all.g + k * n, {all.s[I] + at..., nullptr}};
    };
    const Pointers<sizeof...(I)> now = row(r), soon = row(std::min(r + ahead, rows.size() - 1));
    for (size_t i = 0; i < whole; i += kLine) {
      Ahead<P::kTraffic.load_p, P::kTraffic.load_g, P::kTraffic.load_state>(soon.p, soon.g, soon.s,
                                                                            i, slots);
      for (size_t part = 0; part < kLine; part += HWY_MAX_BYTES / sizeof(float)) {
        One<V, P>(c, f, now, i + part, slots);
      }
    }
    if (whole == n) continue;
    Ahead<P::kTraffic.load_p, P::kTraffic.load_g, P::kTraffic.load_state>(soon.p, soon.g, soon.s,
                                                                          n - 1, slots);
    RunRest<P>(c, f, now, whole, n, slots);
  }
}

template <class P, size_t... I>
HWY_INLINE void PassOverRows(const float* coeffs, const GradientForm<float>& form, float* p,
                             const float* g, float* const* state, size_t n,
                             std::span<const int64_t> rows, std::index_sequence<I...> slots) {
  const Pointers<sizeof...(I)> table = {p, g, {state[I]..., nullptr}};
  WithKnown(KnownOf<P>(coeffs, form, slots),
            [&](auto known) HWY_ATTR { RunRows<P, known>(coeffs, form, table, n, rows, slots); });
}

template <class R>
void UpdateRows(const float* coeffs, const GradientForm<float>& form, float* p, const float* g,
                float* const* state, size_t n, std::span<const int64_t> rows) {
  PassOverRows<UpdatePass<R>>(coeffs, form, p, g, state, n, rows,
                              std::make_index_sequence<R::kState.size()>());
}

// The curvature is the last slot.
template <class R>
void HessianOf(const float* coeffs, const GradientForm<float>& form, float* p, const float* g,
               float* const* state, size_t n, const float* const* next, size_t distance) {
  Run<HessianPass<R>>(coeffs, form, p, g, state + R::kState.size() - 1, n, next, distance,
                      std::make_index_sequence<1>());
}

// The squares of kNorms vectors of float, added up in double over sixteen virtual lanes each.
template <size_t kNorms>
class Squares {
 public:
  using Float = hn::CappedTag<float, 16>;
  static constexpr size_t kFloats = HWY_MAX_BYTES / sizeof(float);  // of a vector; divides 16

  // Goes on from `sums`.
  HWY_INLINE explicit Squares(const double* sums) {
    for (size_t k = 0; k < kNorms * kVectors; ++k) {
      sums_[k] = hn::LoadU(Double(), sums + k * kDoubles);
    }
  }

  // Of the `part`-th vector of sixteen elements.
  template <class V>
  HWY_INLINE void Add(const V (&x)[kNorms], size_t part) {
    const Double d;
    for (size_t k = 0; k < kNorms; ++k) {
      // The product of two floats is exact in double.
      const auto low = hn::PromoteTo(d, hn::LowerHalf(x[k].v));
      const auto high = hn::PromoteTo(d, hn::UpperHalf(Half(), x[k].v));
      auto* const at = sums_ + k * kVectors + part * 2;
      at[0] = hn::MulAdd(low, low, at[0]);
      at[1] = hn::MulAdd(high, high, at[1]);
    }
  }

  HWY_INLINE void StoreTo(double* sums) const {
    for (size_t k = 0; k < kNorms * kVectors; ++k) {
      hn::StoreU(sums_[k], Double(), sums + k * kDoubles);
    }
  }

 private:
  using Double = hn::ScalableTag<double>;
  using Half = hn::Half<Float>;
  static constexpr size_t kDoubles = HWY_MAX_BYTES / sizeof(double);
  static constexpr size_t kVectors = 16 / kDoubles;
  hn::Vec<Double> sums_[kNorms * kVectors];
};

// The whole lines of a measuring pass.
template <class R, Known kKnown, size_t... I>
HWY_NOINLINE void MeasureLines(const float* coeffs, const GradientForm<float>& form,
                               const Pointers<sizeof...(I)>& arrays, bool fetch_state, size_t n,
                               size_t distance, const float* const* next, double* sums,
                               std::index_sequence<I...> slots) {
  using P = MeasurePass<R>;
  using Sums = Squares<R::kNorms>;
  using V = Lanes<typename Sums::Float, kKnown>;
  typename P::Coeffs c;
  std::memcpy(&c, coeffs, sizeof(c));
  const GradientForm<float> f = form;
  const Pointers<sizeof...(I)> at = arrays;
  Sums squares(sums);
  const auto line = [&](size_t i) HWY_ATTR {
    for (size_t part = 0; part < kLine / Sums::kFloats; ++part) {
      V norms[R::kNorms];
      One<V, P>(c, f, at, i + part * Sums::kFloats, slots, norms);
      squares.Add(norms, part);
    }
  };
  // State that the pass does not need is fetched for the second one, which is about to come.
  if (P::kTraffic.load_state || fetch_state) {
    Stream<P, true>(at, n, distance, next, slots, line);
  } else {
    Stream<P, false>(at, n, distance, next, slots, line);
  }
  squares.StoreTo(sums);
}

template <class R, size_t... I>
HWY_INLINE void RunMeasure(const float* coeffs, const GradientForm<float>& form, const float* p,
                           const float* g, float* const* state, size_t n, const float* const* next,
                           size_t distance, double* sums, std::index_sequence<I...> slots) {
  using P = MeasurePass<R>;
  const bool fetch = state != nullptr;
  // The pass does not store to p.
  const Pointers<sizeof...(I)> at = {
      const_cast<float*>(p), g, {(fetch ? state[I] : nullptr)..., nullptr}};
  size_t i = n - n % kLine;
  if (i > 0) {
    Probe probes[R::kNorms];
    WithKnown(KnownOf<P>(coeffs, form, slots, probes), [&](auto known) HWY_ATTR {
      MeasureLines<R, known>(coeffs, form, at, fetch, n, distance, next, sums, slots);
    });
    if (i == n) return;
  }
  typename P::Coeffs c;
  std::memcpy(&c, coeffs, sizeof(c));
  const GradientForm<float> f = form;
  // Vectors whose squares in double are one vector, and single elements.
  const auto add = [&](auto d) HWY_ATTR {
    const hn::Rebind<double, decltype(d)> to;
    for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
      Lanes<decltype(d)> norms[R::kNorms];
      One<Lanes<decltype(d)>, P>(c, f, at, i, slots, norms);
      for (size_t k = 0; k < R::kNorms; ++k) {
        double* const lanes = sums + k * 16 + i % 16;
        const auto x = hn::PromoteTo(to, norms[k].v);
        hn::StoreU(hn::MulAdd(x, x, hn::LoadU(to, lanes)), to, lanes);
      }
    }
  };
  add(hn::CappedTag<float, HWY_MAX_BYTES / sizeof(double)>());
  add(hn::CappedTag<float, 1>());
}

template <class R>
void Measured(const float* coeffs, const GradientForm<float>& form, const float* p, const float* g,
              float* const* state, size_t n, const float* const* next, size_t distance,
              double* sums) {
  RunMeasure<R>(coeffs, form, p, g, state, n, next, distance, sums,
                std::make_index_sequence<R::kState.size()>());
}

template <class R>
constexpr internal::RuleKernels KernelsOf() {
  internal::RuleKernels kernels = {};
  kernels.update = &Pass<UpdatePass<R>, R>;
  if constexpr (internal::kNormsOf < R >> 0) kernels.measure = &Measured<R>;
  if constexpr (internal::kHasHessian<R>) kernels.hessian = &HessianOf<R>;
  if constexpr (internal::kHasEvaluation<R>) kernels.evaluate = &Pass<EvaluationPass<R>, R>;
  if constexpr (internal::kTakesRows<R>) kernels.update_rows = &UpdateRows<R>;
  return kernels;
}

// lanes[i % 16] <- f(rows[i]..., lanes[i % 16]) in double.
template <class F, class... Rows>
HWY_INLINE void Add16(size_t n, double* lanes, const F& f, const Rows*... rows) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> half;
  constexpr size_t kLanes = HWY_MAX_BYTES / sizeof(double);
  constexpr size_t kVectors = 16 / kLanes;
  hn::Vec<decltype(d)> sum[kVectors];
  for (size_t k = 0; k < kVectors; ++k) sum[k] = hn::LoadU(d, lanes + k * kLanes);
  const auto add = [&](const Rows*... at) HWY_ATTR {
    for (size_t k = 0; k < kVectors; ++k) {
      sum[k] = f(hn::PromoteTo(d, hn::LoadU(half, at + k * kLanes))..., sum[k]);
    }
  };
  const size_t rest = n % 16, whole = n - rest;
  const size_t ahead = std::min(internal::PrefetchDistance() / 16 * 16, whole);
  size_t i = 0;
  for (; i < whole - ahead; i += 16) {
    (hwy::Prefetch(rows + i + ahead), ...);
    add(rows + i...);
  }
  for (; i < whole; i += 16) add(rows + i...);
  if (rest != 0) {
    const auto tail = [&](const float* row) {
      std::array<float, 16> filled{};
      std::copy_n(row + whole, rest, filled.begin());
      return filled;
    };
    add(tail(rows).data()...);
  }
  for (size_t k = 0; k < kVectors; ++k) hn::StoreU(sum[k], d, lanes + k * kLanes);
}

using Doubles = hn::Vec<hn::ScalableTag<double>>;

void AddSquares(const float* x, size_t n, double* lanes) {
  // The product of two floats is exact in double.
  Add16(
      n, lanes, [](Doubles v, Doubles sum) HWY_ATTR { return hn::MulAdd(v, v, sum); }, x);
}

void Add(const float* x, size_t n, double* lanes) {
  Add16(
      n, lanes, [](Doubles v, Doubles sum) HWY_ATTR { return hn::Add(v, sum); }, x);
}

void AddProducts(const float* x, const float* y, size_t n, double* lanes) {
  Add16(
      n, lanes, [](Doubles a, Doubles b, Doubles sum) HWY_ATTR { return hn::MulAdd(a, b, sum); }, x,
      y);
}

// Calls vectors(i, d) with the widest tags d whose vectors fit, for i up to n; prefetches x and y.
template <class F>
HWY_INLINE void ForRow(const float* x, const float* y, size_t n, const F& vectors) {
  const hn::ScalableTag<float> wide;
  const size_t lanes = hn::Lanes(wide), ahead = internal::PrefetchDistance();
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hwy::Prefetch(x + i + ahead);
    hwy::Prefetch(y + i + ahead);
    vectors(i, wide);
  }
  for (; i < n; ++i) vectors(i, hn::CappedTag<float, 1>());
}

void AddScaled(float* HWY_RESTRICT y, const float* HWY_RESTRICT x, float a, size_t n) {
  ForRow(x, y, n, [&](size_t i, auto d) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::Set(d, a), hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  });
}

void Adapt(const float* w, const float* x, float eta, size_t n, float* HWY_RESTRICT out) {
  ForRow(w, x, n, [&](size_t i, auto d) HWY_ATTR {
    const auto magnitude = hn::Add(hn::Abs(hn::LoadU(d, w + i)), hn::Set(d, eta));
    hn::StoreU(hn::Mul(magnitude, hn::LoadU(d, x + i)), d, out + i);
  });
}

// What `form` makes of gradients, clamped or with a limit that is infinite.
template <bool kClamped>
struct Gradients {
  GradientForm<float> form;
  const float* g;

  template <class D>
  HWY_INLINE Lanes<D> operator()(size_t i, D d) const {
    const Lanes<D> at(hn::LoadU(d, g + i));
    if constexpr (kClamped) return Formed<true>(form, at);
    return Fma(Lanes<D>(form.factor), at, Lanes<D>(form.shift));
  }
};

// Calls f with the Gradients of g.
template <class F>
HWY_INLINE auto WithGradients(const GradientForm<float>& form, const float* g, const F& f) {
  return form.limit < std::numeric_limits<float>::infinity() ? f(Gradients<true>{form, g})
                                                             : f(Gradients<false>{form, g});
}

void Penalize(const GradientForm<float>& form, float l1, float l2, const float* p, const float* g,
              size_t n, float* HWY_RESTRICT out) {
  WithGradients(form, g, [=](const auto& x) HWY_ATTR {
    ForRow(p, g, n, [&](size_t i, auto d) HWY_ATTR {
      using V = Lanes<decltype(d)>;
      const V old(hn::LoadU(d, p + i));
      hn::StoreU(AddShare(l1, Sign(old), AddShare(l2, old, x(i, d))).v, d, out + i);
    });
  });
}

void Flush(float* x, size_t n) {
  ForRow(x, x, n, [&](size_t i, auto d) HWY_ATTR {
    const auto old = hn::LoadU(d, x + i);
    const auto small = hn::Lt(hn::Abs(old), hn::Set(d, std::numeric_limits<float>::min()));
    hn::StoreU(hn::IfThenZeroElse(small, old), d, x + i);
  });
}

// The squares of vectors of a row of n elements: sixteen lanes at a time, then one by one.
template <class F>
HWY_INLINE double RowSum(size_t n, const F& vector) {
  using Sums = Squares<1>;
  double lanes[16] = {};
  {
    Sums sums(lanes);
    for (size_t i = 0; i + 16 <= n; i += 16) {
      for (size_t part = 0; part < 16 / Sums::kFloats; ++part) {
        const Lanes<typename Sums::Float> x[1] = {vector(i + part * Sums::kFloats, Sums::Float())};
        sums.Add(x, part);
      }
    }
    sums.StoreTo(lanes);
  }
  for (size_t i = n - n % 16; i < n; ++i) {
    const auto x = static_cast<double>(hn::GetLane(vector(i, hn::CappedTag<float, 1>()).v));
    lanes[i % 16] += x * x;
  }
  return internal::SumLanes(lanes);
}

double RowSquares(const GradientForm<float>& form, const float* g, size_t n) {
  return WithGradients(form, g, [n](const auto& x) HWY_ATTR {
    return RowSum(n, [&](size_t i, auto d) HWY_ATTR { return x(i, d); });
  });
}

template <class D>
HWY_INLINE void AddTo(double* sums, Lanes<D> x) {
  const hn::Rebind<double, hn::Half<D>> d;
  hn::StoreU(hn::Add(hn::LoadU(d, sums), hn::PromoteTo(d, hn::LowerHalf(x.v))), d, sums);
  double* const upper = sums + hn::Lanes(d);
  const auto high = hn::PromoteTo(d, hn::UpperHalf(hn::Half<D>(), x.v));
  hn::StoreU(hn::Add(hn::LoadU(d, upper), high), d, upper);
}
HWY_INLINE void AddTo(double* sum, Lanes<hn::CappedTag<float, 1>> x) {
  *sum += static_cast<double>(hn::GetLane(x.v));
}

template <size_t kRows>
void RowColumnsOf(const GradientForm<float>& form, const float* g, size_t n, const float* scales,
                  double* columns, double* scaled) {
  WithGradients(form, g, [=](const auto& x) HWY_ATTR {
    const auto add = [&](size_t i, auto d) HWY_ATTR {
      using V = Lanes<decltype(d)>;
      V sum(0.0F), scaled_sum(0.0F);
      for (size_t row = 0; row < kRows; ++row) {
        const V now = x(row * n + i, d), scaled_now = now * V(scales[row]);
        sum = Fma(now, now, sum);
        scaled_sum = Fma(scaled_now, scaled_now, scaled_sum);
      }
      AddTo(columns + i, sum);
      AddTo(scaled + i, scaled_sum);
    };
    const hn::ScalableTag<float> wide;
    size_t i = 0;
    for (; i + hn::Lanes(wide) <= n; i += hn::Lanes(wide)) add(i, wide);
    for (; i < n; ++i) add(i, hn::CappedTag<float, 1>());
  });
}

void RowColumns(const GradientForm<float>& form, const float* g, size_t n, size_t rows,
                const float* scales, double* columns, double* scaled) {
  constexpr auto kFor = std::array{&RowColumnsOf<1>, &RowColumnsOf<2>, &RowColumnsOf<3>,
                                   &RowColumnsOf<internal::RowPasses<float>::kMostRows>};
  kFor[rows - 1](form, g, n, scales, columns, scaled);
}

double RowWeightedSquares(const GradientForm<float>& form, const float* g, const float* w,
                          size_t n) {
  return WithGradients(form, g, [=](const auto& x) HWY_ATTR {
    return RowSum(n, [&](size_t i, auto d)
                         HWY_ATTR { return x(i, d) * Lanes<decltype(d)>(hn::LoadU(d, w + i)); });
  });
}

void RowApply(const GradientForm<float>& form, float* p, const float* g, const float* w, float row,
              float decay, size_t n) {
  WithGradients(form, g, [=](const auto& x) HWY_ATTR {
    ForRow(p, g, n, [&](size_t i, auto d) HWY_ATTR {
      using V = Lanes<decltype(d)>;
      const V u = x(i, d) * V(row) * V(hn::LoadU(d, w + i));
      const V old(hn::LoadU(d, p + i));
      hn::StoreU((old - AddShare(decay, old, u)).v, d, p + i);
    });
  });
}

// x / sqrt(max(v, floor)), 0 where that is the root of 0.
template <class D>
HWY_INLINE Lanes<D> Varied(Lanes<D> x, Lanes<D> v, Lanes<D> floor) {
  const auto w = hn::IfThenElse(hn::Lt(v.v, floor.v), floor.v, v.v);
  return hn::IfThenZeroElse(hn::Eq(w, hn::Zero(D())), hn::Div(x.v, hn::Sqrt(w)));
}

double RowVary(const GradientForm<float>& form, const float* g, float* v, float share, float add,
               float floor, size_t n) {
  return WithGradients(form, g, [=](const auto& gradient) HWY_ATTR {
    return RowSum(n, [&](size_t i, auto d) HWY_ATTR {
      using V = Lanes<decltype(d)>;
      const V x = gradient(i, d), old(hn::LoadU(d, v + i));
      const V now = Mean(share, Fma(x, x, V(add)), old);
      hn::StoreU(now.v, d, v + i);
      return Varied(x, now, V(floor));
    });
  });
}

void RowApplyVaried(const GradientForm<float>& form, float* p, const float* g, const float* v,
                    float step, float decay, float floor, size_t n) {
  WithGradients(form, g, [=](const auto& x) HWY_ATTR {
    ForRow(p, g, n, [&](size_t i, auto d) HWY_ATTR {
      using V = Lanes<decltype(d)>;
      const V u = Varied(x(i, d), V(hn::LoadU(d, v + i)), V(floor));
      const V old(hn::LoadU(d, p + i));
      hn::StoreU((old - AddShare(decay, old, V(step) * u)).v, d, p + i);
    });
  });
}

std::string_view CompiledFor() { return hwy::TargetName(HWY_TARGET); }

template <class... R>
const internal::RuleKernels* Table(TypeList<R...> /*rules*/) {
  static constexpr internal::RuleKernels table[] = {KernelsOf<R>()...};
  return table;
}

internal::KernelSet Set(std::string_view target) {
  return {target,
          Table(AllRules()),
          &AddSquares,
          &Add,
          &AddProducts,
          {&RowSquares, &RowColumns, &RowWeightedSquares, &RowApply, &RowVary, &RowApplyVaried},
          &AddScaled,
          &Adapt,
          &Penalize,
          &Flush,
          &CompiledFor};
}

#endif  // a target with fused multiply-add

}  // namespace HWY_NAMESPACE
}  // namespace kudari
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kudari::internal {

const std::vector<KernelSet>& AllKernels() {
  static const std::vector<KernelSet> all = [] {
    const int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
    std::vector<KernelSet> sets;
#if HWY_TARGETS & HWY_AVX3
    if (supported & HWY_AVX3) sets.push_back(N_AVX3::Set("avx512"));
#endif
#if HWY_TARGETS & HWY_AVX2
    if (supported & HWY_AVX2) sets.push_back(N_AVX2::Set("avx2"));
#endif
#if HWY_TARGETS & HWY_NEON
    if (supported & HWY_NEON) sets.push_back(N_NEON::Set("neon"));
#endif
    static_cast<void>(supported);
    sets.push_back(ScalarKernels());
    return sets;
  }();
  return all;
}

size_t ParsePrefetch(std::string_view text) {
  size_t floats = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), floats);
  if (error != std::errc() || end != text.data() + text.size() || floats > kMostPrefetch) {
    throw Error("KUDARI_PREFETCH = \"" + std::string(text) + "\" is not an integer in [0, " +
                std::to_string(kMostPrefetch) + "]");
  }
  return floats;
}

size_t PrefetchDistance() {
  static const size_t distance = [] {
    const char* const wanted = std::getenv("KUDARI_PREFETCH");
    if (wanted != nullptr && *wanted != '\0') return ParsePrefetch(wanted);
#if HWY_ARCH_X86 && HWY_COMPILER_GCC
    // Measured: Sapphire Rapids is fastest from 256 to 1024, Zen 4 from 32 to 128.
    __builtin_cpu_init();
    if (__builtin_cpu_is("intel")) return size_t{512};
#endif
    return size_t{64};
  }();
  return distance;
}

const KernelSet& Kernels() {
  static_cast<void>(PrefetchDistance());  // a bad value is an error here, not inside a step
  const char* const wanted = std::getenv("KUDARI_TARGET");
  if (wanted == nullptr || *wanted == '\0') return AllKernels().front();
  std::string known;
  for (const KernelSet& set : AllKernels()) {
    if (set.target == wanted) return set;
    known += (known.empty() ? "" : ", ") + std::string(set.target);
  }
  throw Error("KUDARI_TARGET = \"" + std::string(wanted) + "\" is not one of " + known);
}

}  // namespace kudari::internal
#endif  // HWY_ONCE
