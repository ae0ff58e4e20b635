#ifndef KUDARI_CORE_ELEMENT_COUNT_H_
#define KUDARI_CORE_ELEMENT_COUNT_H_

#include <cstdint>
#include <optional>
#include <span>

namespace kudari::internal {

/// The number of elements of a shape; nothing if a dimension is negative or if those that are not
/// zero make more than 2^56. So a product of some dimensions and of the bytes of an element, or of
/// several arrays of them, does not overflow, even if another dimension is zero.
inline std::optional<int64_t> ElementCount(std::span<const int64_t> shape) {
  constexpr int64_t kMost = int64_t{1} << 56;
  int64_t count = 1;
  bool empty = false;
  for (const int64_t n : shape) {
    empty = empty || n == 0;
    if (n < 0 || (n > 0 && count > kMost / n)) return std::nullopt;
    if (n > 0) count *= n;
  }
  return empty ? 0 : count;
}

}  // namespace kudari::internal

#endif  // KUDARI_CORE_ELEMENT_COUNT_H_
