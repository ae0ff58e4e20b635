#include "io/checksum.h"

// In full, so that nobody who links the library has to link another.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kudari::internal {

struct Checksum::State {
  XXH3_state_t xxh3;
};

Checksum::Checksum() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->xxh3); }
Checksum::~Checksum() = default;
void Checksum::Add(const void* bytes, size_t size) {
  XXH3_64bits_update(&state_->xxh3, bytes, size);
}
uint64_t Checksum::Value() const { return XXH3_64bits_digest(&state_->xxh3); }
uint64_t Checksum::Of(const void* bytes, size_t size) { return XXH3_64bits(bytes, size); }

}  // namespace kudari::internal
