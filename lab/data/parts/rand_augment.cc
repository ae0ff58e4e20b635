#include "lab/data/parts/rand_augment.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

namespace kudari::lab {
namespace {

using Bytes = std::span<uint8_t>;

constexpr float kBound = 255;

uint8_t Truncated(float x) { return static_cast<uint8_t>(std::clamp(x, 0.0F, kBound)); }

uint8_t Blend(uint8_t a, float b, float ratio, float rest) {
  return Truncated(ratio * static_cast<float>(a) + rest * b);
}

// Where the pixel at (x, y), counted from the centre of the image, comes from:
// (xx x + xy y + x0, yx x + yy y + y0).
struct Affine {
  double xx = 1, xy = 0, x0 = 0, yx = 0, yy = 1, y0 = 0;
};

// Nearest pixels; halves go to the even one.
void Move(const Affine& from, const ImageShape& shape, Bytes image) {
  const std::vector<uint8_t> before(image.begin(), image.end());
  const auto [channels, height, width] = shape;
  const double middle_x = static_cast<double>(width - 1) / 2;
  const double middle_y = static_cast<double>(height - 1) / 2;
  for (int64_t row = 0; row < height; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      const double x = static_cast<double>(column) - middle_x;
      const double y = static_cast<double>(row) - middle_y;
      const auto source_x =
          static_cast<int64_t>(std::nearbyint(from.xx * x + from.xy * y + from.x0 + middle_x));
      const auto source_y =
          static_cast<int64_t>(std::nearbyint(from.yx * x + from.yy * y + from.y0 + middle_y));
      const bool inside = source_x >= 0 && source_x < width && source_y >= 0 && source_y < height;
      for (int64_t c = 0; c < channels; ++c) {
        image[static_cast<size_t>(c * shape.area() + row * width + column)] =
            inside ? before[static_cast<size_t>(c * shape.area() + source_y * width + source_x)]
                   : uint8_t{0};
      }
    }
  }
}

// The luminance of each pixel; of one channel its values.
std::vector<uint8_t> Grey(const ImageShape& shape, std::span<const uint8_t> image) {
  const auto area = static_cast<size_t>(shape.area());
  std::vector<uint8_t> grey(image.begin(), image.begin() + shape.area());
  if (shape.channels != 3) return grey;
  for (size_t i = 0; i < area; ++i) {
    const auto r = static_cast<float>(image[i]), g = static_cast<float>(image[area + i]);
    const auto b = static_cast<float>(image[2 * area + i]);
    grey[i] = static_cast<uint8_t>(0.2989F * r + 0.587F * g + 0.114F * b);
  }
  return grey;
}

void Brightness(double magnitude, Bytes image) {
  const double ratio = 1 + magnitude;
  for (uint8_t& x : image) {
    x = Blend(x, 0, static_cast<float>(ratio), static_cast<float>(1 - ratio));
  }
}

void Color(double magnitude, const ImageShape& shape, Bytes image) {
  if (shape.channels != 3) return;
  const double ratio = 1 + magnitude;
  const std::vector<uint8_t> grey = Grey(shape, image);
  for (size_t i = 0; i < image.size(); ++i) {
    image[i] = Blend(image[i], static_cast<float>(grey[i % grey.size()]), static_cast<float>(ratio),
                     static_cast<float>(1 - ratio));
  }
}

void Contrast(double magnitude, const ImageShape& shape, Bytes image) {
  const double ratio = 1 + magnitude;
  const std::vector<uint8_t> grey = Grey(shape, image);
  const int64_t sum = std::accumulate(grey.begin(), grey.end(), int64_t{0});
  const float mean = static_cast<float>(sum) / static_cast<float>(grey.size());
  for (uint8_t& x : image) {
    x = Blend(x, mean, static_cast<float>(ratio), static_cast<float>(1 - ratio));
  }
}

// Blends with the image blurred by a filter of 3 x 3 pixels, of which the one in the middle counts
// 5 of 13; pixels at the border are not blurred.
void Sharpness(double magnitude, const ImageShape& shape, Bytes image) {
  const auto [channels, height, width] = shape;
  if (height <= 2 || width <= 2) return;
  const double ratio = 1 + magnitude;
  const std::vector<uint8_t> before(image.begin(), image.end());
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t y = 1; y < height - 1; ++y) {
      for (int64_t x = 1; x < width - 1; ++x) {
        const auto at = static_cast<size_t>(c * shape.area() + y * width + x);
        int sum = 4 * before[at];
        for (int64_t row = -1; row <= 1; ++row) {
          for (int64_t column = -1; column <= 1; ++column) {
            sum += before[at + static_cast<size_t>(row * width + column)];
          }
        }
        const int blurred = (2 * sum + 13) / 26;  // rounded; there are no halves
        image[at] = Blend(before[at], static_cast<float>(blurred), static_cast<float>(ratio),
                          static_cast<float>(1 - ratio));
      }
    }
  }
  // The border, blended with itself.
  for (int64_t i = 0; i < shape.size(); ++i) {
    const int64_t y = i % shape.area() / width, x = i % width;
    if (y > 0 && y < height - 1 && x > 0 && x < width - 1) continue;
    uint8_t& value = image[static_cast<size_t>(i)];
    value = Blend(value, static_cast<float>(value), static_cast<float>(ratio),
                  static_cast<float>(1 - ratio));
  }
}

void Posterize(double bits, Bytes image) {
  const auto mask = static_cast<uint8_t>(0xff << (8 - static_cast<int>(bits)));
  for (uint8_t& x : image) x &= mask;
}

void Solarize(double threshold, Bytes image) {
  for (uint8_t& x : image) {
    if (static_cast<double>(x) >= threshold) x = static_cast<uint8_t>(255 - x);
  }
}

void AutoContrast(Bytes channel) {
  const auto [least, most] = std::ranges::minmax_element(channel);
  if (*least == *most) return;
  const auto low = static_cast<float>(*least);
  const float scale = kBound / (static_cast<float>(*most) - low);
  for (uint8_t& x : channel) x = Truncated((static_cast<float>(x) - low) * scale);
}

void Equalize(Bytes channel) {
  std::array<int64_t, 256> count = {};
  for (const uint8_t x : channel) ++count[x];
  const auto most = static_cast<size_t>(*std::ranges::max_element(channel));
  const int64_t step = (static_cast<int64_t>(channel.size()) - count[most]) / 255;
  if (step == 0) return;
  std::array<uint8_t, 256> table = {};
  int64_t below = 0;
  for (size_t i = 0; i < table.size(); ++i) {
    if (i > 0) {
      below += count[i - 1];
      table[i] = static_cast<uint8_t>(std::min<int64_t>((below + step / 2) / step, 255));
    }
  }
  for (uint8_t& x : channel) x = table[x];
}

Affine Rotation(double degrees) {
  const double angle = degrees * std::numbers::pi / 180;
  return {
      .xx = std::cos(angle), .xy = -std::sin(angle), .yx = std::sin(angle), .yy = std::cos(angle)};
}

}  // namespace

double MagnitudeOf(ImageOp op, int64_t step, const ImageShape& shape) {
  const double share = static_cast<double>(step) / static_cast<double>(kMostMagnitude);
  switch (op) {
    case ImageOp::kShearX:
    case ImageOp::kShearY:
      return 0.3 * share;
    case ImageOp::kTranslateX:
      return 150.0 / 331 * static_cast<double>(shape.width) * share;
    case ImageOp::kTranslateY:
      return 150.0 / 331 * static_cast<double>(shape.height) * share;
    case ImageOp::kRotate:
      return 30 * share;
    case ImageOp::kBrightness:
    case ImageOp::kColor:
    case ImageOp::kContrast:
    case ImageOp::kSharpness:
      return 0.9 * share;
    case ImageOp::kPosterize:
      return 8 - std::nearbyint(4 * share);
    case ImageOp::kSolarize:
      return 255 * (1 - share);
    case ImageOp::kIdentity:
    case ImageOp::kAutoContrast:
    case ImageOp::kEqualize:
      break;
  }
  return 0;
}

bool HasSign(ImageOp op) { return op >= ImageOp::kShearX && op <= ImageOp::kSharpness; }

void Apply(ImageOp op, double magnitude, const ImageShape& shape, Bytes image) {
  const auto area = static_cast<size_t>(shape.area());
  const auto half = [](int64_t size) { return static_cast<double>(size) / 2; };
  switch (op) {
    case ImageOp::kIdentity:
      return;
    // Shears keep the upper left corner where it is.
    case ImageOp::kShearX:
      return Move({.xy = magnitude, .x0 = magnitude * half(shape.height)}, shape, image);
    case ImageOp::kShearY:
      return Move({.yx = magnitude, .y0 = magnitude * half(shape.width)}, shape, image);
    case ImageOp::kTranslateX:
      return Move({.x0 = -std::trunc(magnitude)}, shape, image);
    case ImageOp::kTranslateY:
      return Move({.y0 = -std::trunc(magnitude)}, shape, image);
    case ImageOp::kRotate:
      return Move(Rotation(magnitude), shape, image);
    case ImageOp::kBrightness:
      return Brightness(magnitude, image);
    case ImageOp::kColor:
      return Color(magnitude, shape, image);
    case ImageOp::kContrast:
      return Contrast(magnitude, shape, image);
    case ImageOp::kSharpness:
      return Sharpness(magnitude, shape, image);
    case ImageOp::kPosterize:
      return Posterize(magnitude, image);
    case ImageOp::kSolarize:
      return Solarize(magnitude, image);
    case ImageOp::kAutoContrast:
      for (size_t i = 0; i < image.size(); i += area) AutoContrast(image.subspan(i, area));
      return;
    case ImageOp::kEqualize:
      for (size_t i = 0; i < image.size(); i += area) Equalize(image.subspan(i, area));
      return;
  }
}

}  // namespace kudari::lab
