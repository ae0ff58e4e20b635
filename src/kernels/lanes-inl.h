// The operations that update rules are written in, for SIMD vectors of float or double. Every
// operation is correctly rounded on every target, so results do not depend on the target.

// Highway's per-target include guard.
#if defined(KUDARI_KERNELS_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KUDARI_KERNELS_LANES_INL_H_
#undef KUDARI_KERNELS_LANES_INL_H_
#else
#define KUDARI_KERNELS_LANES_INL_H_
#endif

#include <type_traits>

#include "hwy/highway.h"
#include "kudari/registry.h"

#undef KUDARI_INLINE
#define KUDARI_INLINE HWY_INLINE

HWY_BEFORE_NAMESPACE();
namespace kudari {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// What is known of the coefficients and the gradient's form of a pass, so that its loop does not
/// decide for each vector what is the same for all. See KnownOf in kernels.cc.
enum class Known {
  kNothing,
  /// The shares of all exponential means are those of new values, no share of AddShare is 0, and
  /// infinite gradients become NaNs or, for rules that do not square them, there is no limit.
  kShares,
  /// The same, but all shares of AddShare are 0.
  kNoShares
};

/// A vector with the lanes of tag D, of float or double, in a pass of which kKnown is known.
template <class D, Known kKnown = Known::kNothing>
struct Lanes {
  using Tag = D;
  using T = hn::TFromD<D>;
  hn::Vec<D> v;
  HWY_INLINE Lanes() = default;
  HWY_INLINE Lanes(hn::Vec<D> x) : v(x) {}  // NOLINT(google-explicit-constructor): it is one
  HWY_INLINE explicit Lanes(T x) : v(hn::Set(D(), x)) {}

  friend HWY_INLINE Lanes operator+(Lanes a, Lanes b) { return hn::Add(a.v, b.v); }
  friend HWY_INLINE Lanes operator-(Lanes a, Lanes b) { return hn::Sub(a.v, b.v); }
  friend HWY_INLINE Lanes operator*(Lanes a, Lanes b) { return hn::Mul(a.v, b.v); }
  friend HWY_INLINE Lanes operator/(Lanes a, Lanes b) { return hn::Div(a.v, b.v); }
  friend HWY_INLINE Lanes operator-(Lanes a) { return hn::Neg(a.v); }
  friend HWY_INLINE Lanes Fma(Lanes a, Lanes b, Lanes c) { return hn::MulAdd(a.v, b.v, c.v); }
  friend HWY_INLINE Lanes Sqrt(Lanes a) { return hn::Sqrt(a.v); }
  friend HWY_INLINE Lanes Abs(Lanes a) { return hn::Abs(a.v); }

  /// As in kudari/scalar.h, to the bit. Highway's own Max and Min leave the treatment of NaNs to
  /// the target; x86 returns the second operand, also of equal ones.
  friend HWY_INLINE Lanes Max(Lanes a, Lanes b) {
#if HWY_ARCH_X86
    return hn::Max(b.v, a.v);
#else
    return hn::IfThenElse(hn::Lt(a.v, b.v), b.v, a.v);
#endif
  }
  friend HWY_INLINE Lanes Min(Lanes a, Lanes b) {
#if HWY_ARCH_X86
    return hn::Min(b.v, a.v);
#else
    return hn::IfThenElse(hn::Lt(b.v, a.v), b.v, a.v);
#endif
  }
  friend HWY_INLINE Lanes Sign(Lanes a) {
    const Lanes zero(T{0});
    return hn::IfThenElse(hn::Gt(a.v, zero.v), Lanes(T{1}).v,
                          hn::IfThenElse(hn::Lt(a.v, zero.v), Lanes(T{-1}).v, a.v));
  }

  // These branches have the same outcome for a whole pass.
  friend HWY_INLINE Lanes AddShare(T share, Lanes x, Lanes rest) {
    if (kKnown == Known::kNothing ? share != 0 : kKnown == Known::kShares) {
      return Fma(Lanes(share), x, rest);
    }
    return rest;
  }
  // With a share for each lane.
  friend HWY_INLINE Lanes AddShare(Lanes share, Lanes x, Lanes rest) {
    const auto some = hn::Ne(share.v, hn::Zero(D()));
    return hn::IfThenElse(some, hn::MulAdd(share.v, x.v, rest.v), rest.v);
  }
  friend HWY_INLINE Lanes Mean(T share, Lanes x, Lanes old) {
    if (kKnown != Known::kNothing || share > 0) return Fma(Lanes(share), x - old, old);
    return Fma(Lanes(-share), old, Lanes(1 + share) * x);
  }
  friend HWY_INLINE Lanes MeanSquare(T share, Lanes x, Lanes old) {
    if (kKnown != Known::kNothing || share > 0)
      return Fma(Lanes(share), hn::MulSub(x.v, x.v, old.v), old);
    return Fma(Lanes(-share), old, Lanes(1 + share) * x * x);
  }

  /// x clamped to [-limit, limit]. A NaN stays a NaN: x86 then returns the second operand, and
  /// other targets return a NaN.
  friend HWY_INLINE Lanes Clamp(Lanes x, Lanes limit) {
    return hn::Min(limit.v, hn::Max(hn::Neg(limit.v), x.v));
  }
};

/// Calls f(a constant) for what is known.
template <class F>
HWY_INLINE void WithKnown(Known known, const F& f) {
  switch (known) {
    case Known::kShares:
      return f(std::integral_constant<Known, Known::kShares>());
    case Known::kNoShares:
      return f(std::integral_constant<Known, Known::kNoShares>());
    case Known::kNothing:
      return f(std::integral_constant<Known, Known::kNothing>());
  }
}

/// Takes the place of numbers when a rule is run to see which branches it takes: each result has
/// found what its operands have.
struct Probe {
  static constexpr unsigned kOldShare = 1, kShare = 2, kNoShare = 4;
  unsigned found = 0;

  HWY_INLINE Probe() = default;
  HWY_INLINE explicit Probe(float /*value*/) {}
  template <class... P>
  static HWY_INLINE Probe From(unsigned found, P... operands) {
    Probe result;
    result.found = (found | ... | operands.found);
    return result;
  }

  friend HWY_INLINE Probe operator+(Probe a, Probe b) { return From(0, a, b); }
  friend HWY_INLINE Probe operator-(Probe a, Probe b) { return From(0, a, b); }
  friend HWY_INLINE Probe operator*(Probe a, Probe b) { return From(0, a, b); }
  friend HWY_INLINE Probe operator/(Probe a, Probe b) { return From(0, a, b); }
  friend HWY_INLINE Probe operator-(Probe a) { return a; }
  friend HWY_INLINE Probe Fma(Probe a, Probe b, Probe c) { return From(0, a, b, c); }
  friend HWY_INLINE Probe Sqrt(Probe a) { return a; }
  friend HWY_INLINE Probe Abs(Probe a) { return a; }
  friend HWY_INLINE Probe Max(Probe a, Probe b) { return From(0, a, b); }
  friend HWY_INLINE Probe Min(Probe a, Probe b) { return From(0, a, b); }
  friend HWY_INLINE Probe Sign(Probe a) { return a; }
  friend HWY_INLINE Probe AddShare(float share, Probe x, Probe rest) {
    return From(share != 0 ? kShare : kNoShare, x, rest);
  }
  friend HWY_INLINE Probe AddShare(Probe share, Probe x, Probe rest) {
    return From(0, share, x, rest);
  }
  friend HWY_INLINE Probe Mean(float share, Probe x, Probe old) {
    return From(share > 0 ? 0 : kOldShare, x, old);
  }
  friend HWY_INLINE Probe MeanSquare(float share, Probe x, Probe old) {
    return Mean(share, x, old);
  }
};

/// GradientForm for vectors. kSquares: for a rule that squares gradients; for other rules
/// infinity_is_nan is never set.
template <bool kSquares, class D, Known kKnown>
HWY_INLINE Lanes<D, kKnown> Formed(const GradientForm<hn::TFromD<D>>& form, Lanes<D, kKnown> g) {
  using V = Lanes<D, kKnown>;
  const V x = Fma(V(form.factor), g, V(form.shift));
  if constexpr (kKnown != Known::kNothing && !kSquares) return x;
  const V y = Clamp(x, V(form.limit));
  if constexpr (!kSquares) return y;
  return kKnown != Known::kNothing || form.infinity_is_nan ? Fma(V(hn::TFromD<D>{0}), x, y) : y;
}

}  // namespace HWY_NAMESPACE
}  // namespace kudari
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
