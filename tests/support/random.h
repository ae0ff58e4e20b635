#ifndef KUDARI_TESTS_SUPPORT_RANDOM_H_
#define KUDARI_TESTS_SUPPORT_RANDOM_H_

#include <cstdint>
#include <vector>

namespace kudari::testing {

/// splitmix64: the same numbers everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Bits() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }

  /// In [-1, 1), a multiple of 2^-23.
  float Float() { return static_cast<float>(static_cast<int64_t>(Bits() >> 40U)) / 8388608.0F - 1; }

  std::vector<float> Floats(size_t n, float scale = 1) {
    std::vector<float> x(n);
    for (float& v : x) v = scale * Float();
    return x;
  }

 private:
  uint64_t state_;
};

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_RANDOM_H_
