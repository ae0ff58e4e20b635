#include "lab/data/parts/image_input.h"

#include <algorithm>
#include <cmath>

#include "lab/data/parts/resize.h"

namespace kudari::lab {
namespace {

constexpr double kWhite = 255;  // of a picture

// The size to which a picture is scaled: it covers the sample's, in its own proportions.
ImageSize Covering(const Image& image, ImageSize sample) {
  if (image.width * sample.height <= image.height * sample.width) {
    return {.width = sample.width,
            .height = std::max(sample.height, sample.width * image.height / image.width)};
  }
  return {.width = std::max(sample.width, sample.height * image.width / image.height),
          .height = sample.height};
}

}  // namespace

void ImageInput::Read(const Image& image, std::span<float> values) const {
  const ImageSize size = {.width = shape[2], .height = shape[1]};
  const auto area = static_cast<size_t>(size.width * size.height);
  std::vector<float> grey;
  if (shape[0] == 1) grey.resize(3 * area);
  const std::span<float> colours = grey.empty() ? values : grey;
  if (shorter > 0 && !whole) {
    ResizeAndCrop(image, shorter, size.width, colours);
  } else {
    ScaleAndCrop(image, whole ? size : Covering(image, size), size, colours);
  }
  for (size_t i = 0; i < grey.size() / 3; ++i) {
    // As ITU-R BT.601 weighs them, in a form that leaves grey as it is.
    const float red = grey[i], green = grey[area + i], blue = grey[2 * area + i];
    values[i] = green + 0.299F * (red - green) + 0.114F * (blue - green);
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const double value = values[i] * (brightest / kWhite);
    values[i] = scales.empty() ? static_cast<float>(value) : scales[i / area].Scaled(value);
  }
}

Image ImageInput::Picture(std::span<const float> values) const {
  const auto area = static_cast<size_t>(shape[1] * shape[2]);
  Image image{shape[2], shape[1], std::vector<uint8_t>(3 * area)};
  for (size_t i = 0; i < area; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      const size_t channel = shape[0] == 1 ? 0 : c;
      const float x = values[channel * area + i];
      const double value = scales.empty() ? x : scales[channel].Unscaled(x);
      const double shade = value * (kWhite / brightest);
      if (shade > 0) {  // and no NaN
        image.rgb[3 * i + c] = static_cast<uint8_t>(std::lround(std::min(shade, kWhite)));
      }
    }
  }
  return image;
}

ImageInput InputOf(const Dataset& data) {
  return {.shape = data.shape,
          .scales = data.scales,
          .brightest = data.brightest,
          .shorter = data.shorter,
          .whole = data.boxes > 0};
}

}  // namespace kudari::lab
