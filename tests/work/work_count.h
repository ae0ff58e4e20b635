#ifndef KUDARI_TESTS_WORK_WORK_COUNT_H_
#define KUDARI_TESTS_WORK_WORK_COUNT_H_

#include <cstdint>

namespace kudari::testing {

/// The work of the whole program so far; see WorkOf.
int64_t WorkSoFar();

/// How much work f does: the number of basic blocks that run in sources compiled with
/// -fsanitize-coverage=trace-pc, and of words that memmove moves. It is the same on every machine
/// and under any load.
template <class F>
int64_t WorkOf(const F& f) {
  const int64_t before = WorkSoFar();
  f();
  return WorkSoFar() - before;
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_WORK_WORK_COUNT_H_
