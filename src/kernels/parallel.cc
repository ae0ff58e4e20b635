#include "kernels/parallel.h"

#include <algorithm>

#include "kernels/float_environment.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace kudari::internal {

int Threads(const Parallel& parallel) {
  if (parallel.threads > 0) return parallel.threads;
#ifdef _OPENMP
  return std::max(1, omp_get_max_threads());
#else
  return 1;
#endif
}

void RunParallel(const Parallel& parallel, int n, const std::function<void(int)>& f) {
  const auto part = [&f](int i) {
    const FloatEnvironment environment;
    f(i);
  };
  if (n == 1) {
    part(0);
  } else if (parallel.run) {
    parallel.run(n, part);
  } else {
    // OpenMP may grant fewer threads than asked for: a loop, so that every part is done.
#pragma omp parallel for num_threads(n) schedule(static, 1)
    for (int i = 0; i < n; ++i) part(i);
  }
}

}  // namespace kudari::internal
