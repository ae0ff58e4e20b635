#ifndef KUDARI_LAB_MACHINE_TIMING_H_
#define KUDARI_LAB_MACHINE_TIMING_H_

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace kudari::lab {

/// Seconds of one call, averaged over `repeats`.
template <class F>
double Time(int repeats, const F& f) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < repeats; ++i) f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / repeats;
}

/// The median of at least one value.
inline double Median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  const size_t half = x.size() / 2;
  return x.size() % 2 == 1 ? x[half] : (x[half - 1] + x[half]) / 2;
}

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MACHINE_TIMING_H_
