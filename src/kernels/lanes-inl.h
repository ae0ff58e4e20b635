// The operations that update rules are written in, for SIMD vectors of float. Every operation is
// correctly rounded on every target, so results do not depend on the target.

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

/// A vector of float with the lanes of tag D, in a pass of which kKnown is known.
template <class D, Known kKnown = Known::kNothing>
struct F32 {
  using Tag = D;
  hn::Vec<D> v;
  HWY_INLINE F32() = default;
  HWY_INLINE F32(hn::Vec<D> x) : v(x) {}  // NOLINT(google-explicit-constructor): it is one
  HWY_INLINE explicit F32(float x) : v(hn::Set(D(), x)) {}

  friend HWY_INLINE F32 operator+(F32 a, F32 b) { return hn::Add(a.v, b.v); }
  friend HWY_INLINE F32 operator-(F32 a, F32 b) { return hn::Sub(a.v, b.v); }
  friend HWY_INLINE F32 operator*(F32 a, F32 b) { return hn::Mul(a.v, b.v); }
  friend HWY_INLINE F32 operator/(F32 a, F32 b) { return hn::Div(a.v, b.v); }
  friend HWY_INLINE F32 operator-(F32 a) { return hn::Neg(a.v); }
  friend HWY_INLINE F32 Fma(F32 a, F32 b, F32 c) { return hn::MulAdd(a.v, b.v, c.v); }
  friend HWY_INLINE F32 Sqrt(F32 a) { return hn::Sqrt(a.v); }
  friend HWY_INLINE F32 Abs(F32 a) { return hn::Abs(a.v); }

  /// As in kudari/scalar.h, to the bit. Highway's own Max and Min leave the treatment of NaNs to
  /// the target; x86 returns the second operand, also of equal ones.
  friend HWY_INLINE F32 Max(F32 a, F32 b) {
#if HWY_ARCH_X86
    return hn::Max(b.v, a.v);
#else
    return hn::IfThenElse(hn::Lt(a.v, b.v), b.v, a.v);
#endif
  }
  friend HWY_INLINE F32 Min(F32 a, F32 b) {
#if HWY_ARCH_X86
    return hn::Min(b.v, a.v);
#else
    return hn::IfThenElse(hn::Lt(b.v, a.v), b.v, a.v);
#endif
  }
  friend HWY_INLINE F32 Sign(F32 a) {
    const F32 zero(0.0F);
    return hn::IfThenElse(hn::Gt(a.v, zero.v), F32(1.0F).v,
                          hn::IfThenElse(hn::Lt(a.v, zero.v), F32(-1.0F).v, a.v));
  }

  // These branches have the same outcome for a whole pass.
  friend HWY_INLINE F32 AddShare(float share, F32 x, F32 rest) {
    if (kKnown == Known::kNothing ? share != 0 : kKnown == Known::kShares) {
      return Fma(F32(share), x, rest);
    }
    return rest;
  }
  // With a share for each lane.
  friend HWY_INLINE F32 AddShare(F32 share, F32 x, F32 rest) {
    const auto some = hn::Ne(share.v, hn::Zero(D()));
    return hn::IfThenElse(some, hn::MulAdd(share.v, x.v, rest.v), rest.v);
  }
  friend HWY_INLINE F32 Mean(float share, F32 x, F32 old) {
    if (kKnown != Known::kNothing || share > 0) return Fma(F32(share), x - old, old);
    return Fma(F32(-share), old, F32(1 + share) * x);
  }
  friend HWY_INLINE F32 MeanSquare(float share, F32 x, F32 old) {
    if (kKnown != Known::kNothing || share > 0)
      return Fma(F32(share), hn::MulSub(x.v, x.v, old.v), old);
    return Fma(F32(-share), old, F32(1 + share) * x * x);
  }

  /// x clamped to [-limit, limit]. A NaN stays a NaN: x86 then returns the second operand, and
  /// other targets return a NaN.
  friend HWY_INLINE F32 Clamp(F32 x, F32 limit) {
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
HWY_INLINE F32<D, kKnown> Formed(const GradientForm<float>& form, F32<D, kKnown> g) {
  using V = F32<D, kKnown>;
  const V x = Fma(V(form.factor), g, V(form.shift));
  if constexpr (kKnown != Known::kNothing && !kSquares) return x;
  const V y = Clamp(x, V(form.limit));
  if constexpr (!kSquares) return y;
  return kKnown != Known::kNothing || form.infinity_is_nan ? Fma(V(0.0F), x, y) : y;
}

}  // namespace HWY_NAMESPACE
}  // namespace kudari
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
