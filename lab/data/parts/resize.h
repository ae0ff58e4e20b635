#ifndef KUDARI_LAB_DATA_PARTS_RESIZE_H_
#define KUDARI_LAB_DATA_PARTS_RESIZE_H_

#include <cstdint>
#include <span>

#include "lab/files/decode_image.h"

namespace kudari::lab {

/// Scales an image so that its shorter side has `shorter` pixels, and takes the `size` by `size` in
/// its middle, size <= shorter. `out` gets red, green and blue, a plane each, in [0, 255]. Bilinear
/// with antialiasing, and positions as torchvision's Resize and CenterCrop; values are not rounded
/// in between.
void ResizeAndCrop(const Image& image, int64_t shorter, int64_t size, std::span<float> out);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_RESIZE_H_
