#ifndef KUDARI_LAB_DATA_PARTS_RESIZE_H_
#define KUDARI_LAB_DATA_PARTS_RESIZE_H_

#include <cstdint>
#include <span>

#include "lab/files/decode_image.h"

namespace kudari::lab {

/// Pixels of the sides of an image.
struct ImageSize {
  int64_t width = 0, height = 0;
};

/// Scales an image to that size, and takes the `middle` of it, which is no larger. `out` gets red,
/// green and blue, a plane each, in [0, 255]. Bilinear with antialiasing, and positions as
/// torchvision's Resize and CenterCrop; values are not rounded in between.
void ScaleAndCrop(const Image& image, ImageSize scaled, ImageSize middle, std::span<float> out);

/// The same with a shorter side of `shorter` pixels, the other in proportion, and a square middle.
void ResizeAndCrop(const Image& image, int64_t shorter, int64_t size, std::span<float> out);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_RESIZE_H_
