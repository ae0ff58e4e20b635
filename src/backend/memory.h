#ifndef KUDARI_BACKEND_MEMORY_H_
#define KUDARI_BACKEND_MEMORY_H_

#include <cstddef>
#include <memory>

#include "backend/backend.h"
#include "backend/work.h"

namespace kudari::internal {

/// An allocation of a backend that holds many arrays; those of at least a cache line are aligned to
/// cache lines. Only the constructor can run out of memory: placing and taking arrays allocates
/// nothing.
class Arena {
 public:
  /// `total` is the end that Place computed for all arrays, in the order in which they will be
  /// taken.
  Arena(Backend& backend, size_t total) : memory_(backend.Allocate(total), Free{&backend}) {}

  /// The offset of an array of that number of bytes after the first `end` bytes; updates `end` to
  /// include the array.
  static size_t Place(size_t bytes, size_t& end) {
    if (bytes == 0) return end;
    const size_t alignment = bytes < kLine ? alignof(void*) : kLine;
    const size_t begin = (end + alignment - 1) / alignment * alignment + Gap(bytes);
    end = begin + bytes;
    return begin;
  }

  /// The next array; null for no bytes.
  void* Take(size_t bytes) { return bytes == 0 ? nullptr : memory_.get() + Place(bytes, taken_); }

 private:
  static constexpr size_t kLine = Backend::kAlignment;
  // State arrays that are a power of two apart, as adjacent arrays of a large tensor often are,
  // slow a step down by up to a third of its time. A gap before each array of 1 to 256 KiB avoids
  // that.
  static constexpr size_t kStagger = 2112;
  static size_t Gap(size_t bytes) { return bytes < kBlock * sizeof(float) ? 0 : kStagger; }

  struct Free {
    Backend* backend;
    void operator()(std::byte* p) const { backend->Free(p); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  size_t taken_ = 0;
};

/// The masters and state of tensors in an arena, and host lists of where they are.
class StateMemory {
 public:
  /// The bytes of the arena and the number of arrays in lists.
  struct Needs {
    size_t bytes = 0, arrays = 0;
  };

  StateMemory(Backend& backend, const Needs& needs)
      : arena_(backend, needs.bytes), lists_(new TensorRecord::Array[needs.arrays]) {}

  Arena& arena() { return arena_; }
  /// The next `count` places in the lists.
  TensorRecord::Array* TakeList(size_t count) {
    TensorRecord::Array* const list = lists_.get() + taken_;
    taken_ += count;
    return list;
  }

 private:
  Arena arena_;
  std::unique_ptr<TensorRecord::Array[]> lists_;
  size_t taken_ = 0;
};

}  // namespace kudari::internal

#endif  // KUDARI_BACKEND_MEMORY_H_
