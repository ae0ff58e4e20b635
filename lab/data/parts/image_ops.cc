#include "lab/data/parts/image_ops.h"

#include <algorithm>

namespace kudari::lab {
namespace {

// Where a bilinear value of an axis comes from: between `low` and `high`, `part` of the way.
struct Between {
  int64_t low, high;
  float part;
};

// For each pixel of an axis that `count` pixels from `begin` are enlarged to.
std::vector<Between> Enlarged(int64_t begin, int64_t count, int64_t size) {
  std::vector<Between> all;
  all.reserve(static_cast<size_t>(size));
  const double scale = static_cast<double>(count) / static_cast<double>(size);
  for (int64_t i = 0; i < size; ++i) {
    const double at = std::clamp((static_cast<double>(i) + 0.5) * scale - 0.5, 0.0,
                                 static_cast<double>(count - 1));
    const auto low = static_cast<int64_t>(at);
    all.push_back({begin + low, begin + std::min(low + 1, count - 1),
                   static_cast<float>(at - static_cast<double>(low))});
  }
  return all;
}

}  // namespace

void FlipHorizontally(const ImageShape& shape, std::span<float> image) {
  for (auto row = image.begin(); row != image.end(); row += shape.width) {
    std::reverse(row, row + shape.width);
  }
}

void CropShifted(const ImageShape& shape, int64_t top, int64_t left, std::span<const float> border,
                 std::span<float> image) {
  const std::vector<float> from(image.begin(), image.end());
  const auto [channels, height, width] = shape;
  for (int64_t c = 0; c < channels; ++c) {
    std::ranges::fill(
        image.subspan(static_cast<size_t>(c * shape.area()), static_cast<size_t>(shape.area())),
        border[static_cast<size_t>(c)]);
  }
  const int64_t begin = std::max<int64_t>(0, -left), end = std::min(width, width - left);
  if (begin >= end) return;
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t y = std::max<int64_t>(0, -top); y < std::min(height, height - top); ++y) {
      const auto row = from.begin() + c * shape.area() + (y + top) * width + left;
      std::copy(row + begin, row + end, image.begin() + c * shape.area() + y * width + begin);
    }
  }
}

void EnlargeBox(const ImageShape& shape, const Region& box, std::span<float> image) {
  const std::vector<float> from(image.begin(), image.end());
  const std::vector<Between> rows = Enlarged(box.top, box.height, shape.height);
  const std::vector<Between> columns = Enlarged(box.left, box.width, shape.width);
  auto to = image.begin();
  for (int64_t c = 0; c < shape.channels; ++c) {
    for (const Between& y : rows) {
      const float* const upper = from.data() + c * shape.area() + y.low * shape.width;
      const float* const lower = from.data() + c * shape.area() + y.high * shape.width;
      for (const Between& x : columns) {
        const float above = upper[x.low] * (1 - x.part) + upper[x.high] * x.part;
        const float below = lower[x.low] * (1 - x.part) + lower[x.high] * x.part;
        *to++ = above * (1 - y.part) + below * y.part;
      }
    }
  }
}

void FillBox(const ImageShape& shape, const Region& box, float value, std::span<float> image) {
  const int64_t left = std::max<int64_t>(box.left, 0);
  const int64_t right = std::min(box.left + box.width, shape.width);
  if (left >= right) return;
  for (int64_t c = 0; c < shape.channels; ++c) {
    for (int64_t y = std::max<int64_t>(box.top, 0);
         y < std::min(box.top + box.height, shape.height); ++y) {
      const auto row = image.begin() + c * shape.area() + y * shape.width;
      std::fill(row + left, row + right, value);
    }
  }
}

void MixSamples(int64_t samples, double share, std::span<float> x) {
  const size_t size = x.size() / static_cast<size_t>(samples);
  const auto own = static_cast<float>(share), rest = static_cast<float>(1 - share);
  std::vector<float> before(x.end() - static_cast<std::ptrdiff_t>(size), x.end());
  for (size_t start = 0; start < x.size(); start += size) {
    for (size_t i = 0; i < size; ++i) {
      const float value = x[start + i];
      x[start + i] = before[i] * rest + value * own;
      before[i] = value;
    }
  }
}

void ExchangeBox(const ImageShape& shape, const Region& box, int64_t samples, std::span<float> x) {
  const size_t size = static_cast<size_t>(shape.size());
  std::vector<float> before(x.end() - static_cast<std::ptrdiff_t>(size), x.end());
  for (int64_t sample = 0; sample < samples; ++sample) {
    for (int64_t row = 0; row < shape.channels * box.height; ++row) {
      const int64_t c = row / box.height, y = box.top + row % box.height;
      const auto start = c * shape.area() + y * shape.width + box.left;
      std::swap_ranges(before.begin() + start, before.begin() + start + box.width,
                       x.begin() + sample * shape.size() + start);
    }
  }
}

std::vector<float> MixedLabels(std::span<const int64_t> labels, int64_t classes, double share) {
  std::vector<float> mixed(labels.size() * static_cast<size_t>(classes));
  const auto own = static_cast<float>(share), rest = static_cast<float>(1 - share);
  for (size_t i = 0; i < labels.size(); ++i) {
    float* const row = mixed.data() + i * static_cast<size_t>(classes);
    row[labels[i > 0 ? i - 1 : labels.size() - 1]] += rest;
    row[labels[i]] += own;
  }
  return mixed;
}

}  // namespace kudari::lab
