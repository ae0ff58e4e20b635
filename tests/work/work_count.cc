#include "tests/work/work_count.h"

#include <cstddef>

namespace {

int64_t work = 0;

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier, readability-identifier-naming): given names.
extern "C" {

// The compiler has this called at the beginning of every basic block.
void __sanitizer_cov_trace_pc() { ++work; }

// Inserting into the middle of a vector moves the rest by this: one call, but no constant work.
// Volatile, since otherwise the loops would become calls of memmove.
void* memmove(void* to, const void* from, size_t size) {
  work += static_cast<int64_t>(size / sizeof(int64_t));
  auto* const target = static_cast<volatile char*>(to);
  const auto* const source = static_cast<const volatile char*>(from);
  if (target < source) {
    for (size_t i = 0; i < size; ++i) target[i] = source[i];
  } else {
    for (size_t i = size; i > 0; --i) target[i - 1] = source[i - 1];
  }
  return to;
}
}
// NOLINTEND(bugprone-reserved-identifier, readability-identifier-naming)

int64_t kudari::testing::WorkSoFar() { return work; }
