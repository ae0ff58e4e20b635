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

}  // namespace kudari

#endif  // KUDARI_SCALAR_H_
