// Images with a few shapes in them, to be found: squares, discs and triangles of random sizes,
// places and colours on a noisy background. A target is five numbers for each of data.boxes boxes:
// the class, or -1 for no box, and the left, top, right and bottom edges as shares of the image's
// side.
#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "lab/data/data.h"
#include "lab/data/parts/environment.h"
#include "lab/data/parts/splits.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {
namespace {

constexpr int64_t kClasses = 3, kChannels = 3;

struct ShapesOptions {
  int64_t size = 64, boxes = 3, images = 2000, test_images = 500;
  double noise = 0.1;
};

const internal::OptionTable<ShapesOptions>& ShapesTable() {
  using O = ShapesOptions;
  static const internal::OptionTable<O> table = {
      {.name = "size",
       .member = &O::size,
       .least = 16,
       .most = 1024,
       .doc = "side of an image, in pixels"},
      {.name = "boxes",
       .member = &O::boxes,
       .least = 1,
       .most = 16,
       .doc = "largest number of shapes in an image, which has at least one"},
      {.name = "images",
       .member = &O::images,
       .least = 1,
       .most = 1'000'000,
       .doc = "number of images for training and validation"},
      {.name = "test_images",
       .member = &O::test_images,
       .least = 1,
       .most = 1'000'000,
       .doc = "number of images for the test"},
      {.name = "noise",
       .member = &O::noise,
       .low = 0,
       .high = 1,
       .doc = "largest deviation of a pixel from its colour"},
  };
  return table;
}

struct Outline {
  double left, top, right, bottom;
};

double Area(const Outline& b) {
  return std::max(0.0, b.right - b.left) * std::max(0.0, b.bottom - b.top);
}

double Overlap(const Outline& a, const Outline& b) {
  const double common = Area({std::max(a.left, b.left), std::max(a.top, b.top),
                              std::min(a.right, b.right), std::min(a.bottom, b.bottom)});
  return common / (Area(a) + Area(b) - common);
}

// Whether a shape that fills a box, of which x and y are shares, covers the point.
bool Covers(int64_t shape, double x, double y) {
  if (x < 0 || x > 1 || y < 0 || y > 1) return false;
  if (shape == 0) return true;                                 // a square
  if (shape == 1) return std::hypot(x - 0.5, y - 0.5) <= 0.5;  // a disc
  return std::abs(x - 0.5) <= 0.5 * y;                         // a triangle on its base
}

class Painter {
 public:
  Painter(const ShapesOptions& options, std::mt19937_64& random)
      : options_(options), random_(random) {}

  Split Paint(int64_t images) {
    Split split;
    split.samples = images;
    for (int64_t i = 0; i < images; ++i) PaintImage(split);
    return split;
  }

 private:
  using Colour = std::array<double, kChannels>;

  double Draw(double low, double high) { return DrawBetween(low, high, random_); }

  // A colour at some distance from another.
  Colour DrawColour(const Colour& other) {
    constexpr double kApart = 0.5;
    while (true) {
      Colour colour;
      double distance = 0;
      for (size_t c = 0; c < colour.size(); ++c) {
        colour[c] = Draw(0, 1);
        distance = std::max(distance, std::abs(colour[c] - other[c]));
      }
      if (distance >= kApart) return colour;
    }
  }

  // A place that hardly overlaps those that are taken; none after some attempts.
  bool DrawOutline(const std::vector<Outline>& taken, Outline& box) {
    constexpr int kAttempts = 50;
    constexpr double kMostOverlap = 0.05, kLeast = 0.2, kMost = 0.45;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const double side = Draw(kLeast, kMost), left = Draw(0, 1 - side), top = Draw(0, 1 - side);
      box = {left, top, left + side, top + side};
      if (std::ranges::all_of(taken,
                              [&](const Outline& b) { return Overlap(b, box) <= kMostOverlap; })) {
        return true;
      }
    }
    return false;
  }

  void PaintImage(Split& split) {
    const int64_t size = options_.size;
    const Colour background = DrawColour({2, 2, 2});
    const size_t begin = split.x.size();
    const auto area = static_cast<size_t>(size * size);
    for (size_t c = 0; c < kChannels; ++c) {
      split.x.insert(split.x.end(), area, static_cast<float>(background[c]));
    }
    const auto wanted =
        1 + static_cast<int64_t>(Below(static_cast<uint64_t>(options_.boxes), random_));
    std::vector<Outline> boxes;
    for (int64_t k = 0; k < options_.boxes; ++k) {
      Outline box{};
      if (k >= wanted || !DrawOutline(boxes, box)) {
        split.targets.insert(split.targets.end(), {-1, 0, 0, 0, 0});
        continue;
      }
      boxes.push_back(box);
      const auto shape = static_cast<int64_t>(Below(kClasses, random_));
      const Colour colour = DrawColour(background);
      for (int64_t y = 0; y < size; ++y) {
        for (int64_t x = 0; x < size; ++x) {
          const auto share = [&](int64_t pixel, double low, double high) {
            return ((static_cast<double>(pixel) + 0.5) / static_cast<double>(size) - low) /
                   (high - low);
          };
          if (!Covers(shape, share(x, box.left, box.right), share(y, box.top, box.bottom)))
            continue;
          for (size_t c = 0; c < kChannels; ++c) {
            split.x[begin + c * area + static_cast<size_t>(y * size + x)] =
                static_cast<float>(colour[c]);
          }
        }
      }
      for (const double value :
           {static_cast<double>(shape), box.left, box.top, box.right, box.bottom}) {
        split.targets.push_back(static_cast<float>(value));
      }
    }
    for (size_t i = begin; i < split.x.size(); ++i) {
      split.x[i] += static_cast<float>(Draw(-options_.noise, options_.noise));
    }
  }

  const ShapesOptions& options_;
  std::mt19937_64& random_;
};

Dataset LoadShapes(const DataConfig& config, uint64_t seed) {
  const auto& options = ValuesOf<ShapesOptions>(config.options);
  CheckShare(config.validation, 1);
  Dataset data{.name = "shapes",
               .shape = {kChannels, options.size, options.size},
               .target_size = 5 * options.boxes,
               .brightest = 1,
               .class_names = {"square", "disc", "triangle"},
               .boxes = options.boxes,
               .box_classes = kClasses};
  std::mt19937_64 random(seed);
  Painter painter(options, random);
  data.train = painter.Paint(options.images);
  data.test = painter.Paint(options.test_images);
  Finish(data, seed, config.validation);
  return data;
}

}  // namespace

DataEntry DescribeShapes() {
  return {.name = "shapes",
          .doc = "images with squares, discs and triangles to find, painted with the seed",
          .options = MakeOwnOptions(ShapesOptions(), ShapesTable()),
          .load = &LoadShapes,
          .source = {.contents = "made from a formula"}};
}

}  // namespace kudari::lab
