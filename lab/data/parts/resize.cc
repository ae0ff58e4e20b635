#include "lab/data/parts/resize.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace kudari::lab {
namespace {

// The pixels of a side that make up one of the result, and their weights.
struct Taps {
  int64_t begin = 0;
  std::vector<float> weights;
};

// For the results from `first` on, `count` of the `to` that a side of `from` pixels becomes: a
// triangle over the pixels around its place, as wide as two pixels or two results.
std::vector<Taps> TapsOf(int64_t from, int64_t to, int64_t first, int64_t count) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double reach = std::max(scale, 1.0);
  std::vector<Taps> all;
  for (int64_t i = first; i < first + count; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto begin = std::max<int64_t>(0, static_cast<int64_t>(std::floor(centre - reach + 0.5)));
    const auto end =
        std::min<int64_t>(from, static_cast<int64_t>(std::floor(centre + reach + 0.5)));
    Taps taps{.begin = begin, .weights = {}};
    double sum = 0;
    std::vector<double> weights;
    for (int64_t k = begin; k < end; ++k) {
      const double distance = std::abs((static_cast<double>(k) + 0.5 - centre) / reach);
      weights.push_back(std::max(0.0, 1 - distance));
      sum += weights.back();
    }
    for (const double w : weights) taps.weights.push_back(static_cast<float>(w / sum));
    all.push_back(std::move(taps));
  }
  return all;
}

// Half of what a side has beyond `size`; of two middles the even one, as Python rounds.
int64_t Margin(int64_t side, int64_t size) {
  const int64_t rest = side - size, half = rest / 2;
  return rest % 2 == 0 || half % 2 == 0 ? half : half + 1;
}

}  // namespace

void ScaleAndCrop(const Image& image, ImageSize scaled, ImageSize middle, std::span<float> out) {
  const std::vector<Taps> columns =
      TapsOf(image.width, scaled.width, Margin(scaled.width, middle.width), middle.width);
  const std::vector<Taps> rows =
      TapsOf(image.height, scaled.height, Margin(scaled.height, middle.height), middle.height);
  const int64_t top = rows.front().begin;
  const int64_t bottom = rows.back().begin + std::ssize(rows.back().weights);
  const auto n = static_cast<size_t>(middle.width), height = static_cast<size_t>(middle.height);
  // Rows of the image with the columns of the result.
  std::vector<float> narrow(static_cast<size_t>(bottom - top) * n * 3);
  for (int64_t y = top; y < bottom; ++y) {
    const uint8_t* const row = image.rgb.data() + y * image.width * 3;
    float* to = narrow.data() + static_cast<size_t>(y - top) * n * 3;
    for (const Taps& taps : columns) {
      float red = 0, green = 0, blue = 0;
      const uint8_t* pixel = row + taps.begin * 3;
      for (const float w : taps.weights) {
        red += w * pixel[0];
        green += w * pixel[1];
        blue += w * pixel[2];
        pixel += 3;
      }
      *to++ = red;
      *to++ = green;
      *to++ = blue;
    }
  }
  for (size_t y = 0; y < height; ++y) {
    for (size_t x = 0; x < n; ++x) {
      for (size_t c = 0; c < 3; ++c) {
        float value = 0;
        const float* at =
            narrow.data() + static_cast<size_t>(rows[y].begin - top) * n * 3 + x * 3 + c;
        for (const float w : rows[y].weights) {
          value += w * *at;
          at += n * 3;
        }
        out[(c * height + y) * n + x] = value;
      }
    }
  }
}

void ResizeAndCrop(const Image& image, int64_t shorter, int64_t size, std::span<float> out) {
  const int64_t least = std::min(image.width, image.height);
  ScaleAndCrop(image,
               {.width = image.width == least ? shorter : shorter * image.width / least,
                .height = image.height == least ? shorter : shorter * image.height / least},
               {.width = size, .height = size}, out);
}

}  // namespace kudari::lab
