#ifndef KUDARI_TESTS_SUPPORT_ALLOCATIONS_H_
#define KUDARI_TESTS_SUPPORT_ALLOCATIONS_H_

#include <cstdint>

namespace kudari::testing {

// Link allocations.cc, which replaces operator new: the library has memory from nowhere else.

/// Calls of operator new in the whole program so far.
int64_t Allocations();

/// How many of them have not been freed.
int64_t LiveAllocations();

/// The most bytes that the program has had from operator new at one time, since it began to look.
class PeakMemory {
 public:
  PeakMemory();

  /// So far, without what there was before.
  int64_t Bytes() const;

 private:
  int64_t before_;
};

/// While it lives, the n-th call of operator new, counted from 1, throws std::bad_alloc.
class FailingAllocation {
 public:
  explicit FailingAllocation(int64_t n);
  ~FailingAllocation();
  FailingAllocation(const FailingAllocation&) = delete;
  FailingAllocation& operator=(const FailingAllocation&) = delete;

  /// Whether there was an n-th call.
  bool failed() const;
};

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_ALLOCATIONS_H_
