#ifndef KUDARI_LAB_DATA_PARTS_IMAGE_OPS_H_
#define KUDARI_LAB_DATA_PARTS_IMAGE_OPS_H_

#include <cstdint>
#include <span>
#include <vector>

namespace kudari::lab {

// What augmentation does to images once the draws are made. An image is its values channel by
// channel and row by row, and is changed where it lies.

/// The shape of an image; each is at least 1.
struct ImageShape {
  int64_t channels = 1, height = 1, width = 1;

  int64_t area() const { return height * width; }
  int64_t size() const { return channels * area(); }
};

/// Pixels of an image, from (top, left).
struct Region {
  int64_t top = 0, left = 0, height = 0, width = 0;

  friend bool operator==(const Region&, const Region&) = default;
};

/// Reverses the rows.
void FlipHorizontally(const ImageShape& shape, std::span<float> image);

/// The part of the shape of the image, from (top, left), of the image with endless borders, which
/// have one value a channel: torchvision's RandomCrop with padding p crops at (top + p, left + p).
void CropShifted(const ImageShape& shape, int64_t top, int64_t left, std::span<const float> border,
                 std::span<float> image);

/// Enlarges a box, which must lie in the image, to the whole image, bilinearly between the centres
/// of pixels, as torchvision's resized_crop does.
void EnlargeBox(const ImageShape& shape, const Region& box, std::span<float> image);

/// Gives one value to all pixels of the box that are in the image.
void FillBox(const ImageShape& shape, const Region& box, float value, std::span<float> image);

/// Mixes each of `samples` samples with the one before it, the first with the last, as
/// torchvision's v2.MixUp does: `share` of itself, the rest of the other.
void MixSamples(int64_t samples, double share, std::span<float> x);

/// Gives each of `samples` images the box of the one before it, the first that of the last, as
/// torchvision's v2.CutMix does. The box lies in the image.
void ExchangeBox(const ImageShape& shape, const Region& box, int64_t samples, std::span<float> x);

/// The classes of samples mixed so: for each sample a probability a class, `share` for its own and
/// the rest for that of the sample before it.
std::vector<float> MixedLabels(std::span<const int64_t> labels, int64_t classes, double share);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_IMAGE_OPS_H_
