// The passes of the rules: what each loads and stores, and its work on one vector.

// Highway's per-target include guard.
#if defined(KUDARI_KERNELS_PASSES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KUDARI_KERNELS_PASSES_INL_H_
#undef KUDARI_KERNELS_PASSES_INL_H_
#else
#define KUDARI_KERNELS_PASSES_INL_H_
#endif

#include <cstddef>
#include <type_traits>
#include <utility>

#include "hwy/highway.h"
#include "kernels/lanes-inl.h"
#include "kudari/registry.h"
#include "kudari/rules/all.h"

HWY_BEFORE_NAMESPACE();
namespace kudari {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

#define KUDARI_LANES
#include "kudari/rules/all.h"
#undef KUDARI_LANES

// The arrays of a pass: p, g and one a slot.
template <size_t kSlots, class T = float>
struct Pointers {
  T* p;
  const T* g;
  T* s[kSlots + 1];  // an array of none is not allowed
};

// What a pass over memory loads and stores; of the state, the first `stored` slots.
struct Traffic {
  bool load_p, load_g, load_state, store_p;
  size_t stored;
};

// The passes of rule R over numbers T: their traffic and their work on one vector. x are the slots.
template <class R, class T = float>
struct UpdatePass {
  using Coeffs = typename R::template Coeffs<T>;
  static constexpr bool kSquares = internal::SquaresGradient<R>();
  static constexpr bool kSecond = internal::StateInMeasure<R>();
  static constexpr Traffic kTraffic = {true, !kSecond, true, true,
                                       kSecond ? 0 : internal::kStoredSlots<R>};
  template <class V, class... S>
  static HWY_INLINE void Run(const Coeffs& c, V g, V& p, S&... x) {
    if constexpr (kSecond) {
      Update(c, p, x...);
    } else {
      Update(c, g, p, x...);
    }
  }
};

template <class R, class T = float>
struct MeasurePass {
  using Coeffs = typename R::template Coeffs<T>;
  static constexpr bool kSquares = internal::SquaresGradient<R>();
  static constexpr bool kFirst = internal::StateInMeasure<R>();
  static constexpr Traffic kTraffic = {true, true, kFirst, false, kFirst ? R::kState.size() : 0};
  template <class V, class... S>
  static HWY_INLINE void Run(const Coeffs& c, V g, V& p, V (&norms)[R::kNorms], S&... x) {
    if constexpr (kFirst) {
      Measure(c, g, p, x..., norms);
    } else {
      Measure(c, g, p, norms);
    }
  }
};

template <class R>
struct HessianPass {
  using Coeffs = typename R::template Coeffs<float>;
  static constexpr bool kSquares = internal::SquaresGradient<R>();
  static constexpr Traffic kTraffic = {false, true, true, false, 1};
  template <class V>
  static HWY_INLINE void Run(const Coeffs& c, V g, V& /*p*/, V& curvature) {
    Curvature(c, g, curvature);
  }
};

template <class R, class T = float>
struct EvaluationPass {
  using Coeffs = typename R::template Coeffs<T>;
  static constexpr Traffic kTraffic = {true, false, true, true, 0};
  template <class V, class... S>
  static HWY_INLINE void Run(const Coeffs& c, V /*g*/, V& p, S&... x) {
    Evaluated(c, p, x...);
  }
};

// One vector V at element i; `norms` is there for passes that measure. Loads and stores are here
// alone: the rule sees lanes, whatever the memory holds.
template <class V, class P, size_t... I, class... N>
HWY_INLINE void One(const typename P::Coeffs& c, const GradientForm<typename V::T>& form,
                    const Pointers<sizeof...(I), typename V::T>& at, size_t i,
                    std::index_sequence<I...> /*slots*/, N&... norms) {
  const typename V::Tag d;
  constexpr Traffic kTraffic = P::kTraffic;
  using T = typename V::T;
  V p(T{0}), g(T{0});
  if constexpr (kTraffic.load_p) p = V(hn::LoadU(d, at.p + i));
  if constexpr (kTraffic.load_g) {
    g = Formed<P::kSquares>(form, V(hn::LoadU(d, at.g + i)));
  }
  V x[] = {(kTraffic.load_state ? V(hn::LoadU(d, at.s[I] + i)) : V(T{0}))..., V(T{0})};
  P::template Run<V>(c, g, p, norms..., x[I]...);
  if constexpr (kTraffic.store_p) hn::StoreU(p.v, d, at.p + i);
  const auto store = [&](auto slot) HWY_ATTR {
    if constexpr (slot < kTraffic.stored) hn::StoreU(x[slot].v, d, at.s[slot] + i);
  };
  (store(std::integral_constant<size_t, I>()), ...);
}

#endif  // a target with fused multiply-add

}  // namespace HWY_NAMESPACE
}  // namespace kudari
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
