// What torchvision makes of the same images, by tests/golden/make_augment.py.
#include "lab/data/parts/image_ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lab/data/data.h"
#include "lab/data/parts/augment.h"
#include "lab/data/parts/rand_augment.h"
#include "lab/files/text_file.h"

namespace kudari::lab {
namespace image_ops_test {

using nlohmann::json;

const json& GoldenImages() {
  static const json golden = json::parse(
      ReadTextFile(std::filesystem::path(KUDARI_SOURCE_DIR) / "tests/golden/data/augment.json"));
  return golden;
}

ImageShape ShapeOf(const json& j) { return {j.at("channels"), j.at("height"), j.at("width")}; }

Region BoxOf(const json& j) { return {j.at(0), j.at(1), j.at(2), j.at(3)}; }

std::vector<uint8_t> BytesOf(const std::string& hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

ImageOp OpNamed(const std::string& name) {
  return static_cast<ImageOp>(std::ranges::find(kImageOps, name) - kImageOps.begin());
}

void ExpectNear(const std::vector<float>& got, const json& expected) {
  const auto want = expected.get<std::vector<float>>();
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5) << "value " << i;
}

TEST(ImageOps, OperationsOfRandAugmentHaveTorchvisionsBytes) {
  size_t changed = 0;
  for (const json& image : GoldenImages().at("bytes")) {
    const std::vector<uint8_t> from = BytesOf(image.at("from"));
    EXPECT_EQ(image.at("made").size(), 23U);
    for (const json& made : image.at("made")) {
      std::vector<uint8_t> bytes = from;
      Apply(OpNamed(made.at("op")), made.at("magnitude"), ShapeOf(image), bytes);
      EXPECT_EQ(bytes, BytesOf(made.at("to")))
          << made.at("op") << " " << made.at("magnitude") << ", channels " << image.at("channels");
      changed += bytes != from ? 1U : 0U;
    }
  }
  // All but the identities, and the colour of the image that has none.
  EXPECT_EQ(changed, 2 * 23U - 2 - 2);
}

TEST(ImageOps, MagnitudesOfRandAugmentAreTorchvisions) {
  for (const json& image : GoldenImages().at("bytes")) {
    const json& magnitudes = image.at("magnitudes");
    ASSERT_EQ(magnitudes.size(), kImageOps.size());
    for (const std::string_view name : kImageOps) {
      const ImageOp op = OpNamed(std::string(name));
      const json& expected = magnitudes.at(std::string(name));
      EXPECT_EQ(HasSign(op), expected.at("signed")) << name;
      for (int64_t step = 0; step <= kMostMagnitude; ++step) {
        const double value = expected.at("values").at(static_cast<size_t>(step));
        EXPECT_NEAR(MagnitudeOf(op, step, ShapeOf(image)), value, 1e-6 * (1 + value))
            << name << " " << step;
      }
    }
  }
}

// One value everywhere, or few pixels: nothing to stretch, equalise or blur.
TEST(ImageOps, PlainAndTinyImagesStayAsTheyAre) {
  for (const ImageOp op : {ImageOp::kAutoContrast, ImageOp::kEqualize, ImageOp::kSharpness}) {
    std::vector<uint8_t> plain(400, 77), tiny = {1, 200};
    Apply(op, 0.5, {1, 20, 20}, plain);
    EXPECT_EQ(plain, std::vector<uint8_t>(400, 77));
    if (op == ImageOp::kAutoContrast) continue;
    Apply(op, 0.5, {1, 1, 2}, tiny);
    EXPECT_EQ(tiny, (std::vector<uint8_t>{1, 200}));
  }
}

TEST(ImageOps, FlipsCropsEnlargementsAndErasingAreTorchvisions) {
  const json& golden = GoldenImages().at("floats");
  const ImageShape shape = ShapeOf(golden);
  const auto from = golden.at("from").get<std::vector<float>>();
  std::vector<float> image = from;
  FlipHorizontally(shape, image);
  EXPECT_EQ(image, golden.at("flipped").get<std::vector<float>>());

  // The border is black before it is scaled.
  std::vector<float> border;
  for (size_t c = 0; c < 2; ++c) {
    border.push_back(ChannelScale{golden.at("mean").at(c), golden.at("deviation").at(c)}.Scaled(0));
  }
  for (const json& crop : golden.at("cropped")) {
    const int64_t padding = crop.at("padding");
    image = from;
    CropShifted(shape, crop.at("top").get<int64_t>() - padding,
                crop.at("left").get<int64_t>() - padding, border, image);
    SCOPED_TRACE(crop.at("padding"));
    ExpectNear(image, crop.at("to"));
  }
  for (const json& enlarged : golden.at("enlarged")) {
    image = from;
    EnlargeBox(shape, BoxOf(enlarged.at("box")), image);
    SCOPED_TRACE(enlarged.at("box"));
    ExpectNear(image, enlarged.at("to"));
  }
  for (const json& erased : golden.at("erased")) {
    image = from;
    FillBox(shape, BoxOf(erased.at("box")), 0, image);
    SCOPED_TRACE(erased.at("box"));
    ExpectNear(image, erased.at("to"));
  }
}

TEST(ImageOps, BoxesBeyondTheImageAreCutOff) {
  const auto filled = [](const Region& box) {
    std::vector<float> image(12, 1);
    FillBox({1, 3, 4}, box, 0, image);
    return image;
  };
  EXPECT_EQ(filled({-1, -1, 2, 3}), (std::vector<float>{0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(filled({2, 3, 5, 5}), (std::vector<float>{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0}));
  EXPECT_EQ(filled({0, 4, 3, 2}), std::vector<float>(12, 1));
  EXPECT_EQ(filled({-5, -5, 20, 20}), std::vector<float>(12, 0));
  EXPECT_EQ(filled({}), std::vector<float>(12, 1));
  std::vector<float> away(12, 1);
  CropShifted({1, 3, 4}, 0, 9, std::vector<float>{5}, away);
  EXPECT_EQ(away, std::vector<float>(12, 5));
}

TEST(ImageOps, MixUpAndCutMixAreTorchvisions) {
  const json& golden = GoldenImages().at("mixed");
  const ImageShape shape = ShapeOf(golden);
  const int64_t samples = golden.at("samples");
  const auto labels = golden.at("labels").get<std::vector<int64_t>>();
  const auto from = golden.at("x").get<std::vector<float>>();
  std::vector<float> x = from;
  MixSamples(samples, 0.3, x);
  ExpectNear(x, golden.at("mixup").at("x"));
  ExpectNear(MixedLabels(labels, 3, 0.3), golden.at("mixup").at("y"));

  x = from;
  const Region box{.top = 2, .left = 1, .height = 3, .width = 3};
  ExchangeBox(shape, box, samples, x);
  EXPECT_EQ(x, golden.at("cutmix").at("x").get<std::vector<float>>());
  ExpectNear(MixedLabels(labels, 3, 1 - 9.0 / 30), golden.at("cutmix").at("y"));

  // One sample is mixed with itself.
  std::vector<float> one(from.begin(), from.begin() + shape.size());
  const std::vector<float> before = one;
  ExchangeBox(shape, box, 1, one);
  EXPECT_EQ(one, before);
  MixSamples(1, 0.25, one);
  EXPECT_EQ(one, before);
  EXPECT_EQ(MixedLabels(std::vector<int64_t>{1}, 2, 0.25), (std::vector<float>{0, 1}));
}

// Means of all sides over as many draws as torchvision made: both are within five deviations of
// their common mean.
void ExpectSameBoxes(const json& golden, const std::function<Region(Draws&)>& draw) {
  const int64_t draws = GoldenImages().at("boxes").at("draws");
  std::array<double, 4> sums = {}, squares = {};
  for (int64_t i = 0; i < draws; ++i) {
    Draws random({1, static_cast<uint64_t>(i)});
    const Region box = draw(random);
    const std::array<int64_t, 4> sides = {box.top, box.left, box.height, box.width};
    for (size_t side = 0; side < 4; ++side) {
      const auto value = static_cast<double>(sides[side]);
      sums[side] += value;
      squares[side] += value * value;
    }
  }
  const auto n = static_cast<double>(draws);
  for (size_t side = 0; side < 4; ++side) {
    const double mean = golden.at("mean").at(side), square = golden.at("square").at(side);
    const double variance = square - mean * mean;
    EXPECT_NEAR(sums[side] / n, mean, 5 * std::sqrt(2 * variance / n)) << "side " << side;
    const double own = squares[side] / n - sums[side] / n * sums[side] / n;
    EXPECT_NEAR(own, variance, 0.05 * variance) << "side " << side;
  }
}

TEST(ImageOps, BoxesAreDistributedAsTorchvisions) {
  const json& golden = GoldenImages().at("boxes");
  const ImageShape shape{3, golden.at("height"), golden.at("width")};
  for (const json& crop : golden.at("resized_crop")) {
    const ResizedCropConfig config{.min_scale = crop.at("scale").at(0),
                                   .max_scale = crop.at("scale").at(1),
                                   .min_ratio = crop.at("ratio").at(0),
                                   .max_ratio = crop.at("ratio").at(1)};
    SCOPED_TRACE("resized_crop");
    ExpectSameBoxes(crop, [&](Draws& draws) { return DrawResizedCrop(config, shape, draws); });
  }
  {
    SCOPED_TRACE("erasing");
    ExpectSameBoxes(golden.at("erasing"), [&](Draws& draws) { return DrawErasing(shape, draws); });
  }
  for (const json& cutmix : golden.at("cutmix")) {
    SCOPED_TRACE("cutmix");
    ExpectSameBoxes(cutmix,
                    [&](Draws& draws) { return DrawCutMix(shape, cutmix.at("share"), draws); });
  }
}

}  // namespace image_ops_test
}  // namespace kudari::lab
