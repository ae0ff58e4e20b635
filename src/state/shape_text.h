#ifndef KUDARI_STATE_SHAPE_TEXT_H_
#define KUDARI_STATE_SHAPE_TEXT_H_

#include <cstdint>
#include <span>
#include <string>

namespace kudari::internal {

/// A shape, or a pair of offsets, as text: "[2, 3]".
template <class T>
std::string ShapeText(std::span<const T> values) {
  std::string text = "[";
  for (const T value : values) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(value);
  }
  return text + "]";
}

}  // namespace kudari::internal

#endif  // KUDARI_STATE_SHAPE_TEXT_H_
