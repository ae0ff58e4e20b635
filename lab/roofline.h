#ifndef KUDARI_LAB_ROOFLINE_H_
#define KUDARI_LAB_ROOFLINE_H_

#include <cstddef>
#include <span>

namespace kudari::lab {

inline constexpr size_t kMostStreamSlots = 4;

/// What the roofline loop streams: p and the state are read and written, g is read.
struct Stream {
  float* p;
  const float* g;
  size_t slots;  ///< at most kMostStreamSlots
  float* state[kMostStreamSlots];
  size_t n;
};

/// Reads g once and reads and writes p and each state array once, leaving their values as they are,
/// with prefetches `ahead` floats ahead (0: none), on the widest vectors that this machine has.
void RunStream(const Stream& stream, size_t ahead);

/// Reads x once; the result is meaningless.
float RunRead(std::span<const float> x, size_t ahead);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_ROOFLINE_H_
