#ifndef KUDARI_LAB_MACHINE_ROOFLINE_H_
#define KUDARI_LAB_MACHINE_ROOFLINE_H_

#include <cstddef>
#include <span>
#include <vector>

#include "kudari/registry.h"

namespace kudari::lab {

/// What one pass of a rule does with memory: which arrays it reads, and which of these it writes.
struct Sweep {
  size_t slots = 0;  ///< state arrays that it reads, at most RuleEntry::kMostSlots
  size_t kept = 0;   ///< of them, the last ones, which it does not write: none, one or all
  bool gradient = true, writes_parameter = true;

  friend bool operator==(const Sweep&, const Sweep&) = default;
};

/// The passes of a rule that works element by element: one, or two for a rule with norms.
std::vector<Sweep> SweepsOf(const RuleEntry& rule);

/// Arrays of n numbers each, float or double.
template <class T>
struct Stream {
  T* p;
  const T* g;
  T* state[RuleEntry::kMostSlots];
  size_t n;
};

/// Sweeps over the arrays once, leaving their values as they are, with prefetches `ahead`
/// numbers ahead (0: none), on the widest vectors that this machine has.
void RunSweep(const Stream<float>& stream, const Sweep& sweep, size_t ahead);
void RunSweep(const Stream<double>& stream, const Sweep& sweep, size_t ahead);

/// Reads x once.
void RunRead(std::span<const float> x, size_t ahead);
void RunRead(std::span<const double> x, size_t ahead);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MACHINE_ROOFLINE_H_
