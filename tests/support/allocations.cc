#include "tests/support/allocations.h"

#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<int64_t> allocations = 0, live = 0;
std::atomic<int64_t> bytes = 0, peak = 0;
std::atomic<int64_t> countdown = 0;  // calls until one fails; not positive: none will

void* Allocate(std::size_t n, std::size_t alignment) {
  ++allocations;
  if (countdown > 0) {
    if (--countdown == 0) throw std::bad_alloc();
  }
  void* const p = alignment == 0
                      ? std::malloc(n)
                      : std::aligned_alloc(alignment, (n + alignment) / alignment * alignment);
  if (p == nullptr) throw std::bad_alloc();
  ++live;
  const int64_t now = bytes += static_cast<int64_t>(malloc_usable_size(p));
  int64_t most = peak;
  while (now > most && !peak.compare_exchange_weak(most, now)) continue;
  return p;
}

void Free(void* p) {
  if (p != nullptr) --live;
  bytes -= static_cast<int64_t>(malloc_usable_size(p));
  std::free(p);
}

}  // namespace

void* operator new(std::size_t n) { return Allocate(n, 0); }
void* operator new(std::size_t n, std::align_val_t alignment) {
  return Allocate(n, static_cast<std::size_t>(alignment));
}
// Sanitizers have one of their own, whose memory the others must not free.
void* operator new(std::size_t n, const std::nothrow_t& /*tag*/) noexcept {
  try {
    return Allocate(n, 0);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* p, const std::nothrow_t& /*tag*/) noexcept { Free(p); }
void operator delete(void* p) noexcept { Free(p); }
void operator delete(void* p, std::size_t /*n*/) noexcept { Free(p); }
void operator delete(void* p, std::align_val_t /*alignment*/) noexcept { Free(p); }
void operator delete(void* p, std::size_t /*n*/, std::align_val_t /*alignment*/) noexcept {
  Free(p);
}

namespace kudari::testing {

int64_t Allocations() { return allocations; }
int64_t LiveAllocations() { return live; }

PeakMemory::PeakMemory() : before_(bytes) { peak = before_; }
int64_t PeakMemory::Bytes() const { return peak - before_; }

FailingAllocation::FailingAllocation(int64_t n) { countdown = n; }
FailingAllocation::~FailingAllocation() { countdown = 0; }
bool FailingAllocation::failed() const { return countdown == 0; }

}  // namespace kudari::testing
