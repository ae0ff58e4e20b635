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
void* memmove(void* dest, const void* src, size_t n) {
  work += static_cast<int64_t>(n / sizeof(int64_t));
  auto* const target = static_cast<volatile char*>(dest);
  const auto* const source = static_cast<const volatile char*>(src);
  if (target < source) {
    for (size_t i = 0; i < n; ++i) target[i] = source[i];
  } else {
    for (size_t i = n; i > 0; --i) target[i - 1] = source[i - 1];
  }
  return dest;
}
}
// NOLINTEND(bugprone-reserved-identifier, readability-identifier-naming)

int64_t kudari::testing::WorkSoFar() { return work; }
