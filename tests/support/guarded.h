#ifndef KUDARI_TESTS_SUPPORT_GUARDED_H_
#define KUDARI_TESTS_SUPPORT_GUARDED_H_

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <new>
#include <vector>

namespace kudari::testing {

/// An array that ends where an unreadable page begins: an access one past the end is a crash.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t size) : size_(size) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = size * sizeof(T);
    length_ = (bytes + page - 1) / page * page + page;
    memory_ = static_cast<char*>(
        mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory_ == MAP_FAILED || mprotect(memory_ + length_ - page, page, PROT_NONE) != 0) {
      throw std::bad_alloc();
    }
    data_ = reinterpret_cast<T*>(memory_ + length_ - page - bytes);
  }
  explicit Guarded(const std::vector<T>& values) : Guarded(values.size()) {
    std::copy(values.begin(), values.end(), data_);
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(memory_, length_); }

  /// From now on a write is a crash.
  void Protect() {
    if (mprotect(memory_, length_, PROT_READ) != 0) throw std::bad_alloc();
  }

  T* data() { return data_; }
  std::vector<T> values() const { return {data_, data_ + size_}; }

 private:
  size_t size_, length_;
  char* memory_;
  T* data_;
};

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_GUARDED_H_
