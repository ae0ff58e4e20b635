#ifndef KUDARI_PARALLEL_H_
#define KUDARI_PARALLEL_H_

#include <functional>

#include "kudari/step.h"

namespace kudari {

/// The number of workers that `parallel` asks for: at least 1.
int Threads(const Parallel& parallel);

/// Calls f(0) ... f(n - 1) on n workers, each in a FloatEnvironment.
void RunParallel(const Parallel& parallel, int n, const std::function<void(int)>& f);

}  // namespace kudari

#endif  // KUDARI_PARALLEL_H_
