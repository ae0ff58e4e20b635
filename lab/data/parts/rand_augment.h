#ifndef KUDARI_LAB_DATA_PARTS_RAND_AUGMENT_H_
#define KUDARI_LAB_DATA_PARTS_RAND_AUGMENT_H_

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "lab/data/parts/image_ops.h"

namespace kudari::lab {

// The operations of RandAugment (Cubuk et al., arXiv:1909.13719) on images of bytes with one or
// three channels, as torchvision 0.29's RandAugment defines them on tensors, bit for bit.

/// One of them.
enum class ImageOp {
  kIdentity,
  kShearX,
  kShearY,
  kTranslateX,
  kTranslateY,
  kRotate,
  kBrightness,
  kColor,
  kContrast,
  kSharpness,
  kPosterize,
  kSolarize,
  kAutoContrast,
  kEqualize
};

/// The names of all of them, in their order, by torchvision's names.
inline constexpr std::array<std::string_view, 14> kImageOps = {
    "Identity", "ShearX",   "ShearY",    "TranslateX", "TranslateY", "Rotate",       "Brightness",
    "Color",    "Contrast", "Sharpness", "Posterize",  "Solarize",   "AutoContrast", "Equalize"};

/// The largest step of magnitude; the least is 0.
inline constexpr int64_t kMostMagnitude = 30;

/// What a step of magnitude in [0, 30] means to an operation on images of that shape: a slope, a
/// number of pixels, degrees, a change of a factor, bits that are kept, a threshold, or 0 for
/// operations without one.
double MagnitudeOf(ImageOp op, int64_t step, const ImageShape& shape);

/// Whether the magnitude is negated with probability 1/2.
bool HasSign(ImageOp op);

/// Changes the image. What comes from outside of it is black, and geometric operations take the
/// nearest pixel. Images of one channel have no colour, which therefore leaves them as they are.
void Apply(ImageOp op, double magnitude, const ImageShape& shape, std::span<uint8_t> image);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_RAND_AUGMENT_H_
