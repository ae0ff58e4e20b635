#include "lab/data/parts/draws.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kudari::lab {
namespace {

constexpr uint64_t kGolden = 0x9e3779b97f4a7c15;

uint64_t Mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

Draws::Draws(std::initializer_list<uint64_t> key) {
  for (const uint64_t part : key) state_ = Mixed(state_) ^ part;
}

uint64_t Draws::Bits() {
  state_ += kGolden;
  return Mixed(state_);
}

double Draws::Uniform() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }

// Box and Muller's; 1 - u is above 0.
double Draws::Normal() {
  const double radius = std::sqrt(-2 * std::log(1 - Uniform()));
  return radius * std::cos(2 * std::numbers::pi * Uniform());
}

// Marsaglia and Tsang's (2000), for shapes of at least 1.
double Draws::Gamma(double shape) {
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = Normal(), root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log(1 - Uniform()) < x * x / 2 + d - d * v + d * std::log(v)) return d * v;
  }
}

// A quotient of gammas, or for small parameters Joehnk's (1964), by logarithms because powers of
// 1 / alpha may be too small for a double.
double Draws::Beta(double alpha) {
  if (alpha > 1) {
    const double a = Gamma(alpha), b = Gamma(alpha);
    return a / (a + b);
  }
  while (true) {
    const double a = std::log(1 - Uniform()) / alpha, b = std::log(1 - Uniform()) / alpha;
    const double most = std::max(a, b);
    const double log_sum = most + std::log(std::exp(a - most) + std::exp(b - most));
    if (log_sum <= 0) return std::exp(a - log_sum);
  }
}

}  // namespace kudari::lab
