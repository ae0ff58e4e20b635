#ifndef KUDARI_HUGE_PAGES_H_
#define KUDARI_HUGE_PAGES_H_

#include <cstddef>

namespace kudari {

/// Bytes of a huge page of this system; 0 if it has none.
size_t HugePageSize() noexcept;

/// Asks the system to back memory of the caller, such as parameters and gradients, by huge pages,
/// which makes passes over large arrays faster where memory is the limit. It concerns the whole
/// huge pages within [memory, memory + bytes); those that are in use are moved together at once
/// from Linux 6.1 on. The contents stay as they are. Returns the bytes that the system accepted the
/// advice for, 0 where it has no huge pages (/sys/kernel/mm/transparent_hugepage).
size_t AdviseHugePages(void* memory, size_t bytes) noexcept;

namespace internal {

/// The same for memory that has not been written yet.
size_t AdviseHugePagesWhenWritten(void* memory, size_t bytes) noexcept;

}  // namespace internal
}  // namespace kudari

#endif  // KUDARI_HUGE_PAGES_H_
