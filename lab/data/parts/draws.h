#ifndef KUDARI_LAB_DATA_PARTS_DRAWS_H_
#define KUDARI_LAB_DATA_PARTS_DRAWS_H_

#include <cstdint>
#include <initializer_list>

namespace kudari::lab {

/// Random numbers that depend on the numbers of a key alone, on no machine, order or thread: the
/// counter-based generator SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195),
/// which begins at a hash of the key.
class Draws {
 public:
  Draws(std::initializer_list<uint64_t> key);

  /// 64 random bits.
  uint64_t Bits();
  /// In [0, 1), a multiple of 2^-53.
  double Uniform();
  /// In [low, high], which are finite.
  double Uniform(double low, double high) { return low + (high - low) * Uniform(); }
  /// In [0, n) for n in [1, 2^31]; the probabilities differ by less than 2^-22 of themselves.
  int64_t Below(int64_t n) { return static_cast<int64_t>(Uniform() * static_cast<double>(n)); }
  /// Whether something happens that has this probability.
  bool Happens(double probability) { return Uniform() < probability; }
  /// Of the normal distribution with mean 0 and deviation 1.
  double Normal();
  /// In [0, 1], of the beta distribution with both parameters `alpha` > 0.
  double Beta(double alpha);

 private:
  double Gamma(double shape);

  uint64_t state_ = 0;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_DRAWS_H_
