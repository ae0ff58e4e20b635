#include "kernels/parallel.h"

#include <algorithm>

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
  if (n == 1) {
    f(0);
  } else if (parallel.run) {
    parallel.run(n, f);
  } else {
    // OpenMP may grant fewer threads than asked for: a loop, so that every part is done.
#pragma omp parallel for num_threads(n) schedule(static, 1)
    for (int i = 0; i < n; ++i) f(i);
  }
}

}  // namespace kudari::internal
