#ifndef KUDARI_SCALAR_H_
#define KUDARI_SCALAR_H_

#include <cmath>

namespace kudari {

// The vocabulary of update rules over plain numbers; kernels/lanes-inl.h has it over SIMD vectors.

/// a * b + c, rounded once.
template <class T>
T Fma(T a, T b, T c) {
  return std::fma(a, b, c);
}

/// The correctly rounded root.
template <class T>
T Sqrt(T a) {
  return std::sqrt(a);
}

/// The larger; a if they are equal or if one is a NaN.
template <class T>
T Max(T a, T b) {
  return a < b ? b : a;
}

/// The smaller; a if they are equal or if one is a NaN.
template <class T>
T Min(T a, T b) {
  return b < a ? b : a;
}

/// The magnitude.
template <class T>
T Abs(T a) {
  return std::abs(a);
}

/// 1 or -1; a zero or a NaN stays as it is.
template <class T>
T Sign(T a) {
  return a > 0 ? T(1) : a < 0 ? T(-1) : a;
}

/// share * x + rest, rounded once; a share of 0 takes nothing from an x that is not finite either.
template <class T>
T AddShare(T share, T x, T rest) {
  return Fma(share, share != 0 ? x : T(0), rest);
}

/// The next value of an exponential mean: decay old + (1 - decay) x, with share = MeanShare(decay).
/// For decays below a half it is no correction of the former mean, which would cancel: a decay of 0
/// gives x. Finite if both are less than half of the largest number.
template <class T>
T Mean(T share, T x, T old) {
  if (share > 0) return Fma(share, x - old, old);
  return Fma(-share, old, (1 + share) * x);
}

/// The same of squares: decay old + (1 - decay) x^2.
template <class T>
T MeanSquare(T share, T x, T old) {
  if (share > 0) return Fma(share, Fma(x, x, -old), old);
  return Fma(-share, old, (1 + share) * x * x);
}

}  // namespace kudari

#endif  // KUDARI_SCALAR_H_
