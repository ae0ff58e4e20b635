#include <memory>

#include "core/elements.h"
#include "kudari/state.h"

namespace kudari {

StateBytes::StateBytes(size_t size)
    : data_(size > 0 ? std::make_unique_for_overwrite<std::byte[]>(size) : nullptr), size_(size) {}

StateBytes::StateBytes(std::span<const std::byte> bytes) : StateBytes(bytes.size()) {
  internal::CopyBytes(bytes, data(), {});
}

}  // namespace kudari
