#ifndef KUDARI_LAB_DEMO_VECTORS_H_
#define KUDARI_LAB_DEMO_VECTORS_H_

#include <cmath>
#include <numeric>
#include <vector>

namespace kudari::lab {

/// The inner product of two vectors of one size.
inline double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

/// The 2-norm.
inline double Norm(const std::vector<double>& v) { return std::sqrt(Dot(v, v)); }

/// The cosine of the angle between two vectors that are not zero.
inline double Cosine(const std::vector<double>& a, const std::vector<double>& b) {
  return Dot(a, b) / (Norm(a) * Norm(b));
}

/// The difference of two vectors of one size.
inline std::vector<double> Minus(std::vector<double> a, const std::vector<double>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DEMO_VECTORS_H_
