#ifndef KUDARI_TESTS_SUPPORT_ALLOCATIONS_H_
#define KUDARI_TESTS_SUPPORT_ALLOCATIONS_H_

#include <cstdint>

namespace kudari::testing {

/// Calls of operator new in the whole program so far. Link allocations.cc, which replaces it.
int64_t Allocations();

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_ALLOCATIONS_H_
