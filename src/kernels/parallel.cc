#include "kudari/parallel.h"

#include <algorithm>
#include <atomic>

#include "kernels/float_environment.h"

#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#endif

namespace kudari {
namespace {

#ifdef _OPENMP
// Whether this process is a child of one that may have had OpenMP threads. They are not in the
// child, whose OpenMP would wait for them for ever.
std::atomic<bool> forked = false;

/// Whether this process can have threads. Children note that they are children, from the first call
/// on.
bool HasThreads() {
  [[maybe_unused]] static const int registered =
      pthread_atfork(nullptr, nullptr, [] { forked = true; });
  return !forked;
}
#else
bool HasThreads() { return false; }
#endif

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
  if (!HasThreads()) {
    for (int i = 0; i < n; ++i) part(i);
    return;
  }
  // OpenMP may grant fewer threads than asked for: a loop, so that every part is done.
#pragma omp parallel for num_threads(n) schedule(static, 1)
  for (int i = 0; i < n; ++i) part(i);
}

}  // namespace kudari
