#ifndef KUDARI_SCALAR_H_
#define KUDARI_SCALAR_H_

#include <cmath>

#include "kudari/language.h"

namespace kudari {

// The operations that update rules are written in, for plain numbers; kernels/lanes-inl.h defines
// them for SIMD vectors.

/// a * b + c, rounded once.
template <class T>
T Fma(T a, T b, T c) {
  return std::fma(a, b, c);
}

/// The correctly rounded square root.
template <class T>
T Sqrt(T a) {
  return std::sqrt(a);
}

/// The larger of the two; a if they are equal or one is a NaN.
template <class T>
T Max(T a, T b) {
  return a < b ? b : a;
}

/// The smaller of the two; a if they are equal or one is a NaN.
template <class T>
T Min(T a, T b) {
  return b < a ? b : a;
}

/// The absolute value.
template <class T>
T Abs(T a) {
  return std::abs(a);
}

/// 1 or -1; zeros and NaNs are returned unchanged.
template <class T>
T Sign(T a) {
  return a > 0 ? T(1) : a < 0 ? T(-1) : a;
}

/// share * x + rest, rounded once. With a share of 0, an x that is not finite contributes nothing.
template <class T>
T AddShare(T share, T x, T rest) {
  return share != 0 ? Fma(share, x, rest) : rest;
}

/// The next value of an exponential mean, decay old + (1 - decay) x, with share = MeanShare(decay).
/// For decays below one half the old mean is not updated by a difference, which would cancel: a
/// decay of 0 gives exactly x. The result is finite if both magnitudes are below half of the
/// largest number.
template <class T>
T Mean(T share, T x, T old) {
  if (share > 0) return Fma(share, x - old, old);
  return Fma(-share, old, (1 + share) * x);
}

/// The next value of an exponential mean of squares: decay old + (1 - decay) x^2.
template <class T>
T MeanSquare(T share, T x, T old) {
  if (share > 0) return Fma(share, Fma(x, x, -old), old);
  return Fma(-share, old, (1 + share) * x * x);
}

}  // namespace kudari

#endif  // KUDARI_SCALAR_H_
