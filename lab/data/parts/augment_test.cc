#include "lab/data/parts/augment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/support/errors.h"

namespace kudari::lab {
namespace augment_test {

using ::testing::HasSubstr;

constexpr int64_t kSide = 8;

// Images of one channel, whose values are bytes scaled by a mean of 100 and a deviation of 50.
Dataset Images(int64_t channels = 1) {
  Dataset data{
      .name = "images", .shape = {channels, kSide, kSide}, .classes = 10, .brightest = 255};
  data.scales.assign(static_cast<size_t>(channels), {.mean = 100, .deviation = 50});
  return data;
}

AugmentConfig ConfigOf(std::string_view table) {
  return ParseTrainRecipe("augment = " + std::string(table) + "\noptimizer = {rule = \"sgd\"}", "r")
      .augment;
}

// An image of different values, all of them scaled bytes.
std::vector<float> Ramp(int64_t channels = 1) {
  std::vector<float> image;
  for (int64_t i = 0; i < channels * kSide * kSide; ++i) {
    image.push_back(ChannelScale{100, 50}.Scaled(static_cast<double>(3 * i % 256)));
  }
  return image;
}

std::vector<float> Changed(const Augmenter& augmenter, int64_t epoch, int64_t sample) {
  std::vector<float> image = Ramp();
  augmenter.Change(epoch, sample, image);
  return image;
}

// Those of Vigna's splitmix64.c from this state.
TEST(Draws, AreSplitMix64s) {
  Draws draws({1234567});
  for (const uint64_t expected : {6457827717110365317U, 3203168211198807973U, 9817491932198370423U,
                                  4593380528125082431U, 16408922859458223821U}) {
    EXPECT_EQ(draws.Bits(), expected);
  }
}

TEST(Draws, AreFixedByTheirKey) {
  Draws a({1, 2, 3}), b({1, 2, 3}), c({1, 3, 2}), d({1, 2});
  const uint64_t first = a.Bits();
  EXPECT_EQ(b.Bits(), first);
  EXPECT_NE(c.Bits(), first);
  EXPECT_NE(d.Bits(), first);
  EXPECT_NE(a.Bits(), first);
}

TEST(Draws, HaveTheDistributionsTheyName) {
  constexpr int kDraws = 200000;
  Draws draws({5});
  double sum = 0, squares = 0;
  std::array<int, 7> counts = {};
  for (int i = 0; i < kDraws; ++i) {
    const double x = draws.Normal();
    sum += x;
    squares += x * x;
    ++counts[static_cast<size_t>(draws.Below(7))];
    const double u = draws.Uniform(-2, 3);
    ASSERT_TRUE(u >= -2 && u <= 3);
  }
  EXPECT_NEAR(sum / kDraws, 0, 0.012);
  EXPECT_NEAR(squares / kDraws, 1, 0.016);
  for (const int count : counts) EXPECT_NEAR(count, kDraws / 7.0, 5 * std::sqrt(kDraws / 7.0));
  // Mean, variance and fourth central moment of Beta(a, a).
  for (const double alpha : {1e-3, 0.2, 1.0, 1.5, 30.0}) {
    double mean = 0, second = 0, fourth = 0;
    for (int i = 0; i < kDraws; ++i) {
      const double x = draws.Beta(alpha);
      ASSERT_TRUE(x >= 0 && x <= 1) << x;
      mean += x;
      second += std::pow(x - 0.5, 2);
      fourth += std::pow(x - 0.5, 4);
    }
    const double variance = 1 / (4 * (2 * alpha + 1));
    const double kurtosis = 3 - 6 / (2 * alpha + 3);
    EXPECT_NEAR(mean / kDraws, 0.5, 5 * std::sqrt(variance / kDraws)) << alpha;
    EXPECT_NEAR(second / kDraws, variance, 0.02 * variance) << alpha;
    EXPECT_NEAR(fourth / kDraws, kurtosis * variance * variance,
                0.04 * kurtosis * variance * variance)
        << alpha;
  }
}

TEST(Augmenter, NothingSetChangesNothing) {
  EXPECT_FALSE(Augmenter().active());
  const Augmenter none({}, Images(), 1);
  EXPECT_FALSE(none.active());
  EXPECT_FALSE(none.mixes());
  EXPECT_EQ(Changed(none, 1, 0), Ramp());
  // Strengths of what is not on.
  EXPECT_FALSE(Augmenter(ConfigOf("{randaugment = {magnitude = 3}}"), Images(), 1).active());
}

TEST(Augmenter, DependsOnSeedEpochAndSampleAlone) {
  for (const char* const table :
       {"{crop = 2}", "{resized_crop = {min_scale = 0.3}}", "{randaugment = {n = 2}}",
        "{cutout = 3}", "{random_erasing = 0.8}", "{flip = 0.5, crop = 1, cutout = 2}"}) {
    const AugmentConfig config = ConfigOf(table);
    const Augmenter one(config, Images(), 1), same(config, Images(), 1), other(config, Images(), 2);
    int differs_by_seed = 0, differs_by_epoch = 0, differs_by_sample = 0;
    for (int64_t sample = 0; sample < 50; ++sample) {
      const std::vector<float> image = Changed(one, 3, sample);
      // In another order, between others.
      Changed(same, 4, sample + 1);
      EXPECT_EQ(Changed(same, 3, sample), image) << table;
      differs_by_seed += Changed(other, 3, sample) != image ? 1 : 0;
      differs_by_epoch += Changed(one, 4, sample) != image ? 1 : 0;
      differs_by_sample += Changed(one, 3, sample + 1) != image ? 1 : 0;
    }
    EXPECT_GT(differs_by_seed, 25) << table;
    EXPECT_GT(differs_by_epoch, 25) << table;
    EXPECT_GT(differs_by_sample, 25) << table;
  }
}

// What is added to a recipe leaves the draws of the rest alone.
TEST(Augmenter, EachKindHasDrawsOfItsOwn) {
  const Augmenter cutout(ConfigOf("{cutout = 2}"), Images(), 1);
  const Augmenter both(ConfigOf("{flip = 0.5, cutout = 2}"), Images(), 1);
  for (int64_t sample = 0; sample < 20; ++sample) {
    std::vector<float> plain(kSide * kSide, 1), flipped(kSide * kSide, 1);
    cutout.Change(1, sample, plain);
    both.Change(1, sample, flipped);
    EXPECT_EQ(plain, flipped);
  }
}

TEST(Augmenter, FlipsAsOftenAsItSays) {
  for (const double p : {0.1, 0.5, 1.0}) {
    AugmentConfig config;
    config.flip = p;
    const Augmenter augmenter(config, Images(), 7);
    std::vector<float> mirrored = Ramp();
    FlipHorizontally({1, kSide, kSide}, mirrored);
    int flips = 0;
    constexpr int kSamples = 4000;
    for (int64_t sample = 0; sample < kSamples; ++sample) {
      const std::vector<float> image = Changed(augmenter, 1, sample);
      ASSERT_TRUE(image == mirrored || image == Ramp());
      flips += image == mirrored ? 1 : 0;
    }
    EXPECT_NEAR(flips, p * kSamples, 5 * std::sqrt(p * (1 - p) * kSamples));
  }
}

TEST(Augmenter, CropsHaveAllPlacesAndBlackBorders) {
  const Augmenter augmenter(ConfigOf("{crop = 1}"), Images(), 7);
  std::map<std::vector<float>, int> counts;
  constexpr int kSamples = 9000;
  for (int64_t sample = 0; sample < kSamples; ++sample) ++counts[Changed(augmenter, 1, sample)];
  ASSERT_EQ(counts.size(), 9U);
  for (const auto& [image, count] : counts) {
    EXPECT_NEAR(count, kSamples / 9.0, 5 * std::sqrt(kSamples / 9.0));
  }
  EXPECT_EQ(counts.count(Ramp()), 1U);
  // One pixel up and left: the last row and column are black, which is (0 - 100) / 50.
  std::vector<float> moved = Ramp();
  CropShifted({1, kSide, kSide}, 1, 1, std::vector<float>{-2}, moved);
  EXPECT_EQ(moved.back(), -2);
  EXPECT_EQ(counts.count(moved), 1U);
}

TEST(Augmenter, CutoutIsASquareAroundAnyPixel) {
  const Augmenter augmenter(ConfigOf("{cutout = 4}"), Images(), 7);
  std::set<int64_t> areas;
  std::vector<int> counts(kSide * kSide);
  constexpr int kSamples = 3000;
  for (int64_t sample = 0; sample < kSamples; ++sample) {
    std::vector<float> image(kSide * kSide, 1);
    augmenter.Change(1, sample, image);
    areas.insert(std::ranges::count(image, 0.0F));
    for (size_t i = 0; i < image.size(); ++i) counts[i] += image[i] == 0 ? 1 : 0;
  }
  // A side is cut to 2 or 3 at the border.
  EXPECT_EQ(areas, (std::set<int64_t>{4, 6, 8, 9, 12, 16}));
  EXPECT_NEAR(counts[3 * kSide + 3], kSamples / 4.0, 5 * std::sqrt(kSamples * 3 / 16.0));
  EXPECT_NEAR(counts[0], kSamples * 9 / 64.0, 5 * std::sqrt(kSamples * 9 / 64.0));
}

TEST(Augmenter, ErasesAsOftenAsItSays) {
  const Augmenter augmenter(ConfigOf("{random_erasing = 0.25}"), Images(), 7);
  int erased = 0;
  constexpr int kSamples = 4000;
  for (int64_t sample = 0; sample < kSamples; ++sample) {
    std::vector<float> image(kSide * kSide, 1);
    augmenter.Change(1, sample, image);
    erased += std::ranges::count(image, 0.0F) > 0 ? 1 : 0;
  }
  EXPECT_NEAR(erased, 0.25 * kSamples, 5 * std::sqrt(0.25 * 0.75 * kSamples));
}

TEST(Augmenter, RandAugmentKeepsTheScaleOfTheData) {
  for (const int64_t channels : {1, 3}) {
    const Augmenter augmenter(ConfigOf("{randaugment = {n = 1, magnitude = 0}}"), Images(channels),
                              7);
    // At magnitude 0 most operations are identities, which have to give the same bits.
    int same = 0, changed = 0;
    for (int64_t sample = 0; sample < 400; ++sample) {
      std::vector<float> image = Ramp(channels);
      augmenter.Change(1, sample, image);
      (image == Ramp(channels) ? same : changed)++;
      for (const float x : image) {
        const double byte = ChannelScale{100, 50}.Unscaled(x);
        EXPECT_NEAR(byte, std::nearbyint(byte), 1e-4);
        EXPECT_TRUE(byte > -1e-4 && byte < 255.0001);
      }
    }
    EXPECT_GT(same, 250);
    EXPECT_GT(changed, 10);  // by autocontrast, equalize or solarize
  }
  // White is 16 in some data.
  Dataset data = Images();
  data.brightest = 16;
  data.scales = {{.mean = 4, .deviation = 6}};
  const Augmenter augmenter(ConfigOf("{randaugment = {n = 2, magnitude = 9}}"), data, 7);
  for (int64_t sample = 0; sample < 50; ++sample) {
    std::vector<float> image(kSide * kSide);
    for (size_t i = 0; i < image.size(); ++i) {
      image[i] = data.scales[0].Scaled(static_cast<double>(i % 17));
    }
    augmenter.Change(1, sample, image);
    for (const float x : image) {
      const double value = data.scales[0].Unscaled(x);
      EXPECT_TRUE(value > -1e-4 && value < 16.0001) << value;
    }
  }
}

TEST(Augmenter, MixesBatchesByTheirFirstSample) {
  const Dataset data = Images();
  const std::vector<float> batch = [] {
    std::vector<float> x(4 * kSide * kSide);
    std::iota(x.begin(), x.end(), 0.0F);
    return x;
  }();
  const auto mixed = [&](const Augmenter& augmenter, int64_t epoch, int64_t first) {
    std::vector<float> x = batch;
    const double share = augmenter.Mix(epoch, first, 4, x);
    return std::pair(share, x);
  };
  const Augmenter mixup(ConfigOf("{mixup = 0.4}"), data, 1),
      cutmix(ConfigOf("{cutmix = 1}"), data, 1);
  const Augmenter both(ConfigOf("{mixup = 0.4, cutmix = 1}"), data, 1);
  EXPECT_TRUE(mixup.active() && mixup.mixes() && cutmix.mixes());
  EXPECT_EQ(mixed(mixup, 1, 5), mixed(mixup, 1, 5));
  EXPECT_NE(mixed(mixup, 1, 5), mixed(mixup, 2, 5));
  EXPECT_NE(mixed(mixup, 1, 5), mixed(mixup, 1, 6));
  int boxes = 0;
  constexpr int kBatches = 2000;
  for (int64_t first = 0; first < kBatches; ++first) {
    const auto [share, x] = mixed(cutmix, 1, first);
    // The share is that of the pixels that stayed.
    int64_t stayed = 0;
    for (size_t i = 0; i < x.size(); ++i) stayed += x[i] == batch[i] ? 1 : 0;
    EXPECT_NEAR(static_cast<double>(stayed) / static_cast<double>(x.size()), share, 1e-9);
    const auto [either, y] = mixed(both, 1, first);
    const bool whole = std::ranges::all_of(y, [](float v) { return v == std::floor(v); });
    boxes += whole ? 1 : 0;
  }
  EXPECT_NEAR(boxes, kBatches / 2.0, 5 * std::sqrt(kBatches / 4.0));
  // Without an image there is something to mix, too.
  Dataset points{.name = "points", .shape = {6}, .classes = 2};
  std::vector<float> x = {0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1};
  const auto share =
      static_cast<float>(Augmenter(ConfigOf("{mixup = 1}"), points, 1).Mix(1, 0, 2, x));
  EXPECT_FLOAT_EQ(x[6], share);
  EXPECT_FLOAT_EQ(x[0], 1 - share);
}

std::string ErrorOf(std::string_view table, const Dataset& data) {
  return kudari::testing::ErrorOf([&] { Augmenter(ConfigOf(table), data, 1); });
}

TEST(Augmenter, WhatDoesNotFitTheDataIsNamed) {
  const Dataset images = Images();
  EXPECT_EQ(ErrorOf("{crop = 8}", images),
            "augment.crop = 8 is outside [0, 7] for images of 8 by 8 pixels");
  EXPECT_EQ(ErrorOf("{cutout = 9}", images),
            "augment.cutout = 9 is outside [0, 8] for images of 8 by 8 pixels");
  EXPECT_EQ(ErrorOf("{crop = 2, resized_crop = {min_scale = 0.5}}", images),
            "augment.crop and augment.resized_crop exclude each other");
  EXPECT_EQ(ErrorOf("{resized_crop = {max_scale = 0.5}}", images),
            "augment.resized_crop.min_scale = 1 is above augment.resized_crop.max_scale = 0.5");
  EXPECT_EQ(ErrorOf("{resized_crop = {min_scale = 0.5, max_ratio = 0.5}}", images),
            "augment.resized_crop.min_ratio = 0.75 is above augment.resized_crop.max_ratio = 0.5");
  Dataset unknown = images;
  unknown.brightest = 0;
  EXPECT_EQ(ErrorOf("{randaugment = {n = 1}}", unknown),
            "augment.randaugment needs images whose brightness is known; the data set images does "
            "not say what white is");
  EXPECT_EQ(ErrorOf("{randaugment = {n = 1}}", Images(2)),
            "augment.randaugment needs images with 1 or 3 channels; the data set images has 2");
  EXPECT_EQ(ErrorOf("{flip = 0.5}", unknown), "no error");

  const Dataset points{.name = "points", .shape = {6}, .classes = 2};
  for (const auto& [table, key] :
       std::map<std::string, std::string>{{"{flip = 0.5}", "flip"},
                                          {"{crop = 1}", "crop"},
                                          {"{resized_crop = {min_scale = 0.5}}", "resized_crop"},
                                          {"{randaugment = {n = 1}}", "randaugment"},
                                          {"{cutout = 1}", "cutout"},
                                          {"{random_erasing = 1}", "random_erasing"},
                                          {"{cutmix = 1}", "cutmix"}}) {
    EXPECT_EQ(ErrorOf(table, points), "augment." + key +
                                          " needs images; a sample of the data set points is of "
                                          "the shape [6]");
  }
  const Dataset text{
      .name = "text", .shape = {16}, .classes = 256, .vocabulary = 256, .next_token = true};
  EXPECT_EQ(ErrorOf("{flip = 0.5}", text),
            "augment.flip needs images; a sample of the data set text is a text");
  EXPECT_EQ(ErrorOf("{mixup = 0.5}", text),
            "augment.mixup needs numbers to mix; the data set text has tokens");
  Dataset values = images;
  values.classes = 0;
  values.target_size = 2;
  EXPECT_EQ(ErrorOf("{mixup = 0.5}", values),
            "augment.mixup needs classes; the data set images has other targets");
  EXPECT_EQ(ErrorOf("{cutmix = 0.5}", values),
            "augment.cutmix needs classes; the data set images has other targets");
  EXPECT_EQ(ErrorOf("{flip = 0.5}", values), "no error");
}

TEST(Augmenter, RangesAreThoseOfTheTable) {
  EXPECT_THAT(ErrorOf("{flip = 1.5}", Images()), HasSubstr("augment.flip: 1.5 is outside [0, 1]"));
  EXPECT_THAT(ErrorOf("{crop = -1}", Images()), HasSubstr("augment.crop: -1 is outside [0, "));
  EXPECT_THAT(ErrorOf("{randaugment = {magnitude = 31}}", Images()),
              HasSubstr("augment.randaugment.magnitude: 31 is outside [0, 30]"));
  EXPECT_THAT(ErrorOf("{resized_crop = {min_scale = 0}}", Images()),
              HasSubstr("augment.resized_crop.min_scale: 0 is outside [0.001, 1]"));
  EXPECT_THAT(ErrorOf("{mixup = 2000}", Images()),
              HasSubstr("augment.mixup: 2000 is outside [0, 1000]"));
  EXPECT_THAT(ErrorOf("{mix_up = 1}", Images()), HasSubstr("did you mean \"mixup\"?"));
}

TEST(Augmenter, TheTableIsWrittenIfAnythingIsSet) {
  Recipe recipe = ParseTrainRecipe("optimizer = {rule = \"sgd\"}", "r");
  EXPECT_EQ(ToToml(recipe).find("[augment]"), std::string::npos);
  recipe.augment = ConfigOf(
      "{flip = 0.5, crop = 4, randaugment = {n = 2}, resized_crop = {min_scale = 0.25}, mixup = "
      "0.2}");
  const std::string text = ToToml(recipe);
  EXPECT_THAT(text,
              HasSubstr("[augment]\nflip = 0.5\ncrop = 4\nresized_crop = {min_scale = 0.25, "));
  EXPECT_THAT(text, HasSubstr("randaugment = {n = 2, magnitude = 9}\n"));
  EXPECT_EQ(ParseTrainRecipe(text, "again").augment, recipe.augment);
}

}  // namespace augment_test
}  // namespace kudari::lab
