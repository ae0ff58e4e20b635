#ifndef KUDARI_BACKEND_MEMORY_H_
#define KUDARI_BACKEND_MEMORY_H_

#include <cstddef>
#include <memory>

#include "backend/backend.h"
#include "backend/work.h"

namespace kudari::internal {

/// Arrays of a backend in one allocation, those of a cache line and more each aligned to one.
/// Memory runs out here or nowhere: placing and taking arrays allocates nothing.
class Arena {
 public:
  /// `total` is what Place has made of all arrays, in the order in which they will be taken.
  Arena(Backend& backend, size_t total) : memory_(backend.Allocate(total), Free{&backend}) {}

  /// Where an array of that number of bytes begins behind the first `end` bytes; `end` then
  /// includes it.
  static size_t Place(size_t bytes, size_t& end) {
    if (bytes == 0) return end;
    const size_t alignment = bytes < kLine ? alignof(void*) : kLine;
    const size_t begin = (end + alignment - 1) / alignment * alignment + Gap(bytes);
    end = begin + bytes;
    return begin;
  }

  /// Null for no bytes.
  void* Take(size_t bytes) { return bytes == 0 ? nullptr : memory_.get() + Place(bytes, taken_); }

 private:
  static constexpr size_t kLine = Backend::kAlignment;
  // State arrays a power of two apart, which adjacent ones of a large tensor often are, cost a step
  // up to a third of its time; a gap of 1 to 256 KiB before each avoids that.
  static constexpr size_t kStagger = 2112;
  static size_t Gap(size_t bytes) { return bytes < kBlock * sizeof(float) ? 0 : kStagger; }

  struct Free {
    Backend* backend;
    void operator()(std::byte* p) const { backend->Free(p); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  size_t taken_ = 0;
};

/// Masters and state of tensors, in an arena, and the lists of where they are, at the host.
class StateMemory {
 public:
  /// Bytes of the arena, and arrays in lists.
  struct Needs {
    size_t bytes = 0, arrays = 0;
  };

  StateMemory(Backend& backend, const Needs& needs)
      : arena_(backend, needs.bytes), lists_(new TensorRecord::Array[needs.arrays]) {}

  Arena& arena() { return arena_; }
  /// The next `count` places for where arrays are.
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
