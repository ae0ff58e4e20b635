// Checksums of bytes.
#ifndef KUDARI_IO_CHECKSUM_H_
#define KUDARI_IO_CHECKSUM_H_

#include <cstddef>
#include <cstdint>
#include <memory>

namespace kudari::internal {

/// The XXH3 checksum of bytes that come one after the other.
class Checksum {
 public:
  Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;
  ~Checksum();

  void Add(const void* bytes, size_t size);
  uint64_t Value() const;

  static uint64_t Of(const void* bytes, size_t size);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kudari::internal

#endif  // KUDARI_IO_CHECKSUM_H_
