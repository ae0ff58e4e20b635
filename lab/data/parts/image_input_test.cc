#include "lab/data/parts/image_input.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "lab/files/encode_image.h"

namespace kudari::lab {
namespace image_input_test {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

Image Painted(int64_t width, int64_t height, auto colour) {
  Image image{width, height, {}};
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < 3; ++c) image.rgb.push_back(static_cast<uint8_t>(colour(x, y, c)));
    }
  }
  return image;
}

std::vector<float> Values(const ImageInput& input, const Image& image) {
  std::vector<float> values(static_cast<size_t>(input.shape[0] * input.shape[1] * input.shape[2]));
  input.Read(image, values);
  return values;
}

TEST(EncodePng, KeepsEveryPixel) {
  const Image image =
      Painted(7, 5, [](int64_t x, int64_t y, int64_t c) { return 36 * x + 3 * y + 80 * c; });
  const Image again = DecodeImage(EncodePng(image));
  EXPECT_EQ(again.width, 7);
  EXPECT_EQ(again.height, 5);
  EXPECT_EQ(again.rgb, image.rgb);
}

// A sample of bytes, as a data set scales them, is the same to the bit after it was a picture.
TEST(ImageInput, ASampleSurvivesItsPicture) {
  for (const int64_t channels : {1, 3}) {
    const ImageInput input = {.shape = {channels, 4, 6},
                              .scales = {{33.318421, 78.567489}, {127.5, 61.5}, {90.1, 3.7}},
                              .brightest = 255};
    std::vector<float> sample;
    for (int64_t i = 0; i < channels * 24; ++i) {
      sample.push_back(
          input.scales[static_cast<size_t>(i / 24)].Scaled(static_cast<double>(i * 37 % 256)));
    }
    EXPECT_EQ(Values(input, DecodeImage(EncodePng(input.Picture(sample)))), sample) << channels;
  }
}

TEST(ImageInput, WhiteIsWhatTheDataHasForIt) {
  const ImageInput digits = {.shape = {1, 1, 3}, .scales = {{4.5, 6}}, .brightest = 16};
  const Image image = Painted(3, 1, [](int64_t x, int64_t, int64_t) { return 255 * x / 2; });
  EXPECT_THAT(Values(digits, image),
              ElementsAre(::testing::FloatEq(-4.5F / 6),
                          ::testing::FloatNear((127.0F * 16 / 255 - 4.5F) / 6, 1e-6F),
                          ::testing::FloatEq(11.5F / 6)));
}

TEST(ImageInput, ColoursBecomeGreyAndGreyBecomesColours) {
  const ImageInput grey = {.shape = {1, 1, 3}, .brightest = 255};
  const Image colours =
      Painted(3, 1, [](int64_t x, int64_t, int64_t c) { return x == c ? 200 : 0; });
  const std::vector<float> values = Values(grey, colours);
  // ITU-R BT.601.
  EXPECT_NEAR(values[0], 0.299 * 200, 1e-4);
  EXPECT_NEAR(values[1], 0.587 * 200, 1e-4);
  EXPECT_NEAR(values[2], 0.114 * 200, 1e-4);
  const ImageInput coloured = {.shape = {3, 1, 3}, .brightest = 255};
  const Image shades = Painted(3, 1, [](int64_t x, int64_t, int64_t) { return 100 * x; });
  EXPECT_THAT(Values(coloured, shades), ElementsAreArray({0, 100, 200, 0, 100, 200, 0, 100, 200}));
}

// A picture with a dark left, a bright middle and a dark right third.
TEST(ImageInput, TheMiddleIsTakenOrTheWhole) {
  const auto stripe = [](int64_t along, int64_t, int64_t) { return along / 8 == 1 ? 240 : 0; };
  const Image wide = Painted(24, 8, stripe);
  const Image tall =
      Painted(8, 24, [&](int64_t x, int64_t y, int64_t c) { return stripe(y, x, c); });
  ImageInput input = {.shape = {1, 8, 8}, .brightest = 255};
  EXPECT_THAT(Values(input, wide), ::testing::Each(240));
  EXPECT_THAT(Values(input, tall), ::testing::Each(240));
  // In a sample that is wide itself there is room for more of it.
  input.shape = {1, 8, 16};
  const std::vector<float> more = Values(input, wide);
  EXPECT_THAT(std::vector<float>(more.begin(), more.begin() + 16),
              ElementsAreArray({0, 0, 0, 0, 240, 240, 240, 240, 240, 240, 240, 240, 0, 0, 0, 0}));
  // Enlarged first, so that less of it is left.
  input.shape = {1, 8, 8};
  input.shorter = 16;
  EXPECT_THAT(Values(input, wide), ::testing::Each(240));
  // The whole picture keeps its dark thirds.
  input.whole = true;
  const std::vector<float> whole = Values(input, wide);
  EXPECT_EQ(whole[0], 0);
  EXPECT_NEAR(whole[4], 240, 1);
  EXPECT_EQ(whole[7], 0);
}

TEST(ImageInput, APictureEndsAtBlackAndWhite) {
  const ImageInput input = {.shape = {1, 1, 4}, .brightest = 1};
  const std::vector<float> sample = {-3, 0.5, 7, std::numeric_limits<float>::quiet_NaN()};
  const Image image = input.Picture(sample);
  EXPECT_EQ(image.width, 4);
  EXPECT_EQ(image.height, 1);
  EXPECT_THAT(image.rgb, ElementsAre(0, 0, 0, 128, 128, 128, 255, 255, 255, 0, 0, 0));
}

TEST(ImageInput, WhatIsNoPictureIsNotKnown) {
  EXPECT_TRUE((ImageInput{.shape = {3, 8, 8}, .brightest = 1}).Known());
  EXPECT_FALSE((ImageInput{.shape = {2, 8, 8}, .brightest = 1}).Known());
  EXPECT_FALSE((ImageInput{.shape = {3, 8, 8}}).Known());
  EXPECT_FALSE((ImageInput{.shape = {8}, .brightest = 1}).Known());
}

}  // namespace image_input_test
}  // namespace kudari::lab
