#include "kudari/huge_pages.h"

#include <cstdint>
#include <cstdlib>

#ifdef __linux__
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace kudari {

#ifdef __linux__

namespace {

// The number in a file of the system; 0 if there is none.
size_t NumberIn(const char* file) noexcept {
  const int descriptor = open(file, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return 0;
  char text[32] = {};
  const bool read_it = read(descriptor, text, sizeof(text) - 1) > 0;
  close(descriptor);
  return read_it ? std::strtoull(text, nullptr, 10) : 0;
}

// Gives the advice for the whole huge pages within the memory; returns their bytes, or 0 if it was
// refused.
size_t Advise(void* memory, size_t bytes, int advice) noexcept {
  const size_t page = HugePageSize();
  if (page == 0) return 0;
  const auto start = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t skipped = (page - start % page) % page;
  if (bytes < skipped + page) return 0;
  const size_t whole = (bytes - skipped) / page * page;
  return madvise(static_cast<std::byte*>(memory) + skipped, whole, advice) == 0 ? whole : 0;
}

}  // namespace

size_t HugePageSize() noexcept {
  static const size_t size = NumberIn("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
  return size;
}

size_t internal::AdviseHugePagesWhenWritten(void* memory, size_t bytes) noexcept {
  return Advise(memory, bytes, MADV_HUGEPAGE);
}

size_t AdviseHugePages(void* memory, size_t bytes) noexcept {
  constexpr int kCollapse = 25;  // MADV_COLLAPSE of Linux 6.1, which older headers do not have
  const size_t advised = internal::AdviseHugePagesWhenWritten(memory, bytes);
  // Where this is refused, the system may do it later by itself.
  if (advised > 0) Advise(memory, bytes, kCollapse);
  return advised;
}

#else

size_t HugePageSize() noexcept { return 0; }

size_t internal::AdviseHugePagesWhenWritten(void* /*memory*/, size_t /*bytes*/) noexcept {
  return 0;
}

size_t AdviseHugePages(void* /*memory*/, size_t /*bytes*/) noexcept { return 0; }

#endif

}  // namespace kudari
