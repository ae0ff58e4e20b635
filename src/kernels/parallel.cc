#include "kudari/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>

#include "kernels/float_environment.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace kudari {
namespace {

// Whether this process is a child of one that may have had OpenMP threads. They are not in the
// child, whose OpenMP would wait for them for ever.
std::atomic<bool> forked = false;

/// Makes children of this process note that they are, from the first call on.
void NoteForks() {
  [[maybe_unused]] static const int registered =
      pthread_atfork(nullptr, nullptr, [] { forked = true; });
}

}  // namespace

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
    const internal::FloatEnvironment environment;
    f(i);
  };
  if (n == 1) return part(0);
  if (parallel.run) return parallel.run(n, part);
  NoteForks();
  if (forked) {
    for (int i = 0; i < n; ++i) part(i);
    return;
  }
  // OpenMP may grant fewer threads than asked for: a loop, so that every part is done.
#pragma omp parallel for num_threads(n) schedule(static, 1)
  for (int i = 0; i < n; ++i) part(i);
}

}  // namespace kudari
