#include "kudari/lr_range.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kudari/rule.h"
#include "tests/support/errors.h"

namespace kudari {
namespace lr_range_test {

using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::IsEmpty;

constexpr SuggestOptions kEverything{.skip_first = 0, .skip_last = 0};

LrRange Feed(const LrRangeOptions& options, const std::function<double(int, double)>& loss) {
  LrRangeTest test(options);
  for (int i = 0; test.Running(); ++i) test.Add(loss(i, test.lr()));
  return test.range();
}

// A test without smoothing whose losses are those given; it ends as if stopped.
LrRange Of(const std::vector<double>& losses, int64_t steps = 100) {
  LrRangeTest test({.steps = steps, .smooth = 0, .stop_at = LrStopAt::kNever});
  for (const double loss : losses) test.Add(loss);
  test.Stop();
  return test.range();
}

// The demonstration of the guide's notebook 116, Section 3.1: gradient descent on Rosenbrock's
// function, and what the notebook's own program makes of it.
TEST(LrRangeTest, RosenbrockAsInTheSource) {
  LrRangeTest test({.start = 1e-6,
                    .end = 1,
                    .steps = 100,
                    .ramp_end = LrRampEnd::kBefore,
                    .stop_at = LrStopAt::kFirst});
  double x = -1, y = 1;
  while (test.Running()) {
    const double lr = test.lr();
    test.Add((1 - x) * (1 - x) + 100 * (y - x * x) * (y - x * x));
    const double dx = -2 * (1 - x) - 400 * x * (y - x * x), dy = 200 * (y - x * x);
    x -= lr * dx;
    y -= lr * dy;
  }
  const LrRange& range = test.range();
  EXPECT_EQ(range.end, LrEnd::kDiverged);
  ASSERT_EQ(range.points.size(), 74U);
  EXPECT_NEAR(range.points[0].smoothed, 4, 4e-15);
  EXPECT_NEAR(range.points[70].smoothed / 3.934665232307195, 1, 1e-14);
  EXPECT_NEAR(range.points[73].smoothed / 3704.869723253023, 1, 1e-12);

  const LrSuggestions suggestions = SuggestLearningRates(range, kEverything);
  const LrSuggestion* const minimum = suggestions.Find(LrMethod::kMinimum);
  ASSERT_NE(minimum, nullptr);
  EXPECT_EQ(minimum->point, 70U);
  EXPECT_NEAR(minimum->lr / 0.0015848931924611208, 1, 1e-15);
}

TEST(LrRangeTest, RampsReachTheirEndOrNot) {
  for (const LrRamp ramp : {LrRamp::kExponential, LrRamp::kLinear}) {
    LrRangeOptions options{.start = 1e-3, .end = 10, .steps = 5, .ramp = ramp};
    Schedule s = LrRampSchedule(options);
    EXPECT_EQ(s(0), 1e-3);
    EXPECT_NEAR(s(4), 10, 1e-13);
    EXPECT_NEAR(s(2), ramp == LrRamp::kLinear ? 5.0005 : 0.1, 1e-13);
    options.ramp_end = LrRampEnd::kBefore;
    s = LrRampSchedule(options);
    EXPECT_EQ(s(0), 1e-3);
    EXPECT_LT(s(4), 9);
    EXPECT_NEAR(s(5), 10, 1e-13);
  }
}

TEST(LrRangeTest, SmoothingIsCorrectedForItsBias) {
  const LrRange range =
      Feed({.steps = 3, .smooth = 0.5}, [](int i, double) { return std::pow(2.0, i); });
  ASSERT_EQ(range.points.size(), 3U);
  EXPECT_EQ(range.end, LrEnd::kRamp);
  EXPECT_DOUBLE_EQ(range.points[0].smoothed, 1);
  EXPECT_DOUBLE_EQ(range.points[1].smoothed, (0.5 * 1 + 2) / 1.5);
  EXPECT_DOUBLE_EQ(range.points[2].smoothed, (0.25 * 1 + 0.5 * 2 + 4) / 1.75);
  const LrRange from_first = Feed({.steps = 3, .smooth = 0.5, .smoothing = LrSmoothing::kFromFirst},
                                  [](int i, double) { return std::pow(2.0, i); });
  EXPECT_DOUBLE_EQ(from_first.points[2].smoothed, 0.25 * 1 + 0.25 * 2 + 0.5 * 4);
}

TEST(LrRangeTest, StopsFarAboveTheBestOrTheFirst) {
  const std::vector<double> losses = {2, 1, 0.5, 1.9, 2.1, 7.9, 8.1, 9};
  const auto points = [&](LrStopAt stop) {
    return Feed({.steps = 8, .smooth = 0, .stop_at = stop},
                [&](int i, double) { return losses[static_cast<size_t>(i)]; })
        .points.size();
  };
  EXPECT_EQ(points(LrStopAt::kBest), 5U);   // above 4 * 0.5
  EXPECT_EQ(points(LrStopAt::kFirst), 7U);  // above 4 * 2
  EXPECT_EQ(points(LrStopAt::kNever), 8U);
}

// Four times a loss below zero lies below it: a product would stop at once.
TEST(LrRangeTest, NegativeLosses) {
  const auto end = [](const std::vector<double>& losses, LrStopAt stop) {
    LrRangeTest test({.smooth = 0, .stop_at = stop});
    for (const double loss : losses) {
      if (!test.Running()) break;
      test.Add(loss);
    }
    return std::pair(test.range().points.size(), test.range().end);
  };
  const std::vector<double> below = {-10, -11, -12, -5, 0, 23.9, 24.1, 30};
  EXPECT_EQ(end(below, LrStopAt::kBest), std::pair(size_t{7}, LrEnd::kDiverged));  // -12 + 36
  const std::vector<double> low = {-10, -12, 19.9, 20.1};
  EXPECT_EQ(end(low, LrStopAt::kFirst), std::pair(size_t{4}, LrEnd::kDiverged));  // -10 + 30
  // From above zero to just below it: the limit is as far away as the first loss says.
  const std::vector<double> across = {5, 1, -0.1, 0.5, 2, 14, 15};
  EXPECT_EQ(end(across, LrStopAt::kBest), std::pair(size_t{7}, LrEnd::kDiverged));
}

TEST(LrRangeTest, TwoLossesInARowThatAreNotFiniteEndItAndAreNoPoints) {
  for (const double bad : {std::nan(""), kInfinity, -kInfinity}) {
    LrRangeTest test({.stop_at = LrStopAt::kNever});
    test.Add(2);
    test.Add(bad);
    test.Add(1);
    test.Add(bad);
    EXPECT_TRUE(test.Running());
    test.Add(bad);
    EXPECT_FALSE(test.Running());
    EXPECT_EQ(test.range().end, LrEnd::kNonFinite);
    ASSERT_EQ(test.range().points.size(), 2U);
    const auto suggestions = SuggestLearningRates(test.range(), kEverything);
    ASSERT_NE(suggestions.Find(LrMethod::kMinimum), nullptr);
    EXPECT_EQ(suggestions.Find(LrMethod::kMinimum)->point, 1U);
    EXPECT_THAT(ErrorOf([&] { test.Add(1); }), ::testing::HasSubstr("has ended"));
  }
}

TEST(LrRangeTest, LossesThatAreNeverFinite) {
  LrRangeTest test;
  test.Add(kInfinity);
  test.Add(std::nan(""));
  EXPECT_THAT(test.range().points, IsEmpty());
  const LrSuggestions none = SuggestLearningRates(test.range());
  EXPECT_THAT(none.suggestions, IsEmpty());
  EXPECT_THAT(none.warnings, ElementsAre(LrWarning::kNeverFinite));
  EXPECT_FALSE(RecommendLearningRate(std::vector{none}));
}

// Flat, falling, exploding; the noise is the same in each call.
double Healthy(int i) {
  return 2.3 - 1.8 / (1 + std::exp(-(i - 55) / 6.0)) + std::exp((i - 75) / 3.0) +
         0.02 * std::sin(12.9898 * i);
}

LrRange HealthyTest(const std::function<double(int)>& loss) {
  LrRangeTest test({.smooth = 0.9});
  for (int i = 0; test.Running(); ++i) {
    test.Add(loss(i));
  }
  return test.range();
}

TEST(LrRangeTest, ABadBatchChangesNothing) {
  const LrRange whole = HealthyTest(&Healthy);
  EXPECT_EQ(whole.end, LrEnd::kDiverged);
  // The learning rate does not rise with it, nor does the loss.
  for (const int at : {1, 30, 60}) {
    const LrRange range =
        HealthyTest([at](int i) { return i == at ? std::nan("") : Healthy(i < at ? i : i - 1); });
    ASSERT_EQ(range.points.size(), whole.points.size());
    for (size_t i = 0; i < range.points.size(); ++i) {
      EXPECT_EQ(range.points[i].lr, whole.points[i].lr);
      EXPECT_EQ(range.points[i].smoothed, whole.points[i].smoothed);
    }
  }
}

// With a NaN in the weights the losses stay so. The rate before is no maximum, and a tenth of it,
// as if it were at the minimum, would be a hundredth of the right one.
TEST(LrRangeTest, EndedByNansWhileItFell) {
  const auto read = [](const LrRange& range) { return SuggestLearningRates(range); };
  const LrSuggestions whole = read(HealthyTest(&Healthy));
  EXPECT_THAT(whole.warnings, IsEmpty());
  const LrSuggestions cut =
      read(HealthyTest([](int i) { return i < 62 ? Healthy(i) : std::nan(""); }));
  EXPECT_THAT(cut.warnings, ElementsAre(LrWarning::kEndedFalling));
  const auto best = RecommendLearningRate(std::vector{whole});
  const auto found = RecommendLearningRate(std::vector{cut});
  ASSERT_TRUE(best && found);
  EXPECT_EQ(found->method, LrMethod::kSteepest);
  EXPECT_GT(found->lr, best->lr / 5);
  EXPECT_LT(found->lr, best->lr * 5);
  // Once it has risen, they are how it diverged.
  const LrSuggestions diverged =
      read(HealthyTest([](int i) { return i < 76 ? Healthy(i) : kInfinity; }));
  EXPECT_THAT(diverged.warnings, IsEmpty());
  EXPECT_EQ(RecommendLearningRate(std::vector{diverged})->method, LrMethod::kMinimum);
  EXPECT_GT(RecommendLearningRate(std::vector{diverged})->lr, best->lr / 2);
}

TEST(LrRangeTest, AStrayFirstLossIsSetAside) {
  const auto best = RecommendLearningRate(std::vector{SuggestLearningRates(HealthyTest(&Healthy))});
  ASSERT_TRUE(best);
  for (const double first : {0.0, 1e-3, 2300.0, -2300.0}) {
    const LrRange range = HealthyTest([first](int i) { return i == 0 ? first : Healthy(i); });
    EXPECT_EQ(range.end, LrEnd::kDiverged);
    EXPECT_GT(range.points.size(), 70U) << first;
    EXPECT_EQ(range.points[0].loss, first);
    EXPECT_EQ(range.points[0].smoothed, Healthy(1));
    EXPECT_EQ(range.points[1].smoothed, Healthy(1));
    for (const SuggestOptions& options : {SuggestOptions{}, SuggestOptions{.skip_first = 0}}) {
      const LrSuggestions read = SuggestLearningRates(range, options);
      EXPECT_THAT(read.warnings, IsEmpty());
      EXPECT_EQ(RecommendLearningRate(std::vector{read})->lr, best->lr);
    }
  }
}

// Nothing is four times 0: then the first loss is the measure, and without one there is no limit.
TEST(LrRangeTest, ALossOfZero) {
  const auto points = [](const std::vector<double>& losses) {
    LrRangeTest test({.smooth = 0});
    for (const double loss : losses) {
      if (test.Running()) test.Add(loss);
    }
    return test.range().points.size();
  };
  EXPECT_EQ(points({2, 1, 0, 1e-9, 5.9, 6.1, 7}), 6U);
  EXPECT_EQ(points({0, 0, 0, 1, 2, 3}), 6U);
}

TEST(LrRangeTest, StopByTheCaller) {
  LrRangeTest test;
  test.Add(1);
  test.Stop();
  EXPECT_EQ(test.range().end, LrEnd::kStopped);
  EXPECT_FALSE(test.Running());
}

TEST(LrRangeTest, BadOptionsAreNamed) {
  const auto error = [](const LrRangeOptions& o) { return ErrorOf([&] { LrRangeTest test(o); }); };
  EXPECT_THAT(error({.start = 0}), ::testing::HasSubstr("start = 0 is outside"));
  EXPECT_THAT(error({.start = std::nan("")}), ::testing::HasSubstr("start = nan"));
  EXPECT_THAT(error({.start = 1, .end = 1}), ::testing::HasSubstr("end = 1 is outside (1, inf)"));
  EXPECT_THAT(error({.end = kInfinity}), ::testing::HasSubstr("end = inf is outside"));
  EXPECT_THAT(error({.start = 1e-300, .end = 1e300}),
              ::testing::HasSubstr("end / start = 1e+300 / 1e-300 is not finite"));
  EXPECT_THAT(error({.steps = 1}), ::testing::HasSubstr("steps = 1 is outside [2, 1e+06]"));
  EXPECT_THAT(error({.smooth = 1}), ::testing::HasSubstr("smooth = 1 is outside [0, 1)"));
  EXPECT_THAT(error({.stop_factor = 1}),
              ::testing::HasSubstr("stop_factor = 1 is outside (1, inf)"));
  const auto suggest = [](const SuggestOptions& o) {
    return ErrorOf([&] { SuggestLearningRates(LrRange{}, o); });
  };
  EXPECT_THAT(suggest({.skip_first = -1}), ::testing::HasSubstr("skip_first = -1 is outside [0"));
  EXPECT_THAT(suggest({.skip_last = -2}), ::testing::HasSubstr("skip_last = -2 is outside [0"));
}

TEST(SuggestionsTest, ReadOffACurve) {
  // Falls fastest from point 3 to 4; the lowest is 5.
  const LrRange range = Of({10, 10, 9.5, 9, 5, 4, 6, 20});
  const LrSuggestions s = SuggestLearningRates(range, kEverything);
  EXPECT_EQ(s.Find(LrMethod::kSteepest)->point, 3U);
  EXPECT_EQ(s.Find(LrMethod::kSteepest)->lr, range.points[3].lr);
  EXPECT_EQ(s.Find(LrMethod::kMinimum)->point, 5U);
  EXPECT_DOUBLE_EQ(s.Find(LrMethod::kMinimum)->lr, range.points[5].lr / 10);
  // Five points fall, 10 ... 4; they end at 5: 5 - 5 + 1 + 0.
  EXPECT_EQ(s.Find(LrMethod::kValley)->point, 1U);
  EXPECT_EQ(s.Find(LrMethod::kSlide), nullptr);  // needs 16 points
  SuggestOptions central = kEverything;
  central.slope = LrSlope::kCentral;
  EXPECT_EQ(SuggestLearningRates(range, central).Find(LrMethod::kSteepest)->point, 4U);
}

// A loss in other units is the same curve.
TEST(SuggestionsTest, DoNotDependOnTheUnit) {
  const auto read = [](double unit) {
    LrRangeTest test({.smooth = 0.9});
    for (int i = 0; test.Running(); ++i) test.Add(unit * Healthy(i));
    return SuggestLearningRates(test.range());
  };
  const LrSuggestions one = read(1);
  for (const double unit : {0x1p-20, 0x1p20}) {
    const LrSuggestions other = read(unit);
    EXPECT_EQ(other.warnings, one.warnings);
    for (const LrMethod method : kLrMethods) {
      EXPECT_EQ(other.Find(method)->point, one.Find(method)->point) << Name(method) << ' ' << unit;
    }
  }
}

TEST(SuggestionsTest, SlideRestsAtTheEndOfAStraightLine) {
  std::vector<double> losses(30);
  for (size_t i = 0; i < losses.size(); ++i) losses[i] = 30 - static_cast<double>(i);
  const LrSuggestions s = SuggestLearningRates(Of(losses), kEverything);
  EXPECT_EQ(s.Find(LrMethod::kSlide)->point, losses.size() - 1 - 15);
}

// Along a linear ramp the steepest place by the logarithm is not that by the step.
TEST(SuggestionsTest, SteepestIsByTheLogarithm) {
  LrRangeTest test({.start = 1,
                    .end = 10,
                    .steps = 10,
                    .ramp = LrRamp::kLinear,
                    .smooth = 0,
                    .stop_at = LrStopAt::kNever});
  for (const double loss : {10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 1.9, 1.8}) test.Add(loss);
  const auto s = SuggestLearningRates(test.range(), kEverything);
  EXPECT_EQ(s.Find(LrMethod::kSteepest)->point, 7U);  // 1.1 / log(9 / 8); by the step, too
  LrRangeTest equal(test.range().options);
  for (const double loss : {10.0, 8.9, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0}) equal.Add(loss);
  EXPECT_EQ(SuggestLearningRates(equal.range(), kEverything).Find(LrMethod::kSteepest)->point, 8U);
}

TEST(SuggestionsTest, PointsAtBothEndsAreLeftOut) {
  std::vector<double> losses(40, 5.0);
  losses[2] = 0;   // left out at the beginning
  losses[37] = 1;  // left out at the end
  losses[20] = 2;
  const LrRange range = Of(losses);
  EXPECT_EQ(SuggestLearningRates(range).Find(LrMethod::kMinimum)->point, 20U);
  EXPECT_EQ(SuggestLearningRates(range, {.skip_last = 0}).Find(LrMethod::kMinimum)->point, 37U);
  EXPECT_EQ(SuggestLearningRates(range, kEverything).Find(LrMethod::kMinimum)->point, 2U);
}

TEST(SuggestionsTest, ALossThatNeverFallsHasNoValley) {
  const LrRange range = Of({1, 2, 3, 4});
  const LrSuggestions s = SuggestLearningRates(range, kEverything);
  EXPECT_EQ(s.Find(LrMethod::kValley), nullptr);
  EXPECT_THAT(s.warnings, ElementsAre(LrWarning::kTooShort, LrWarning::kMinimumAtStart));
}

std::vector<double> Falling(int n, double noise) {
  std::vector<double> losses;
  for (int i = 0; i < n; ++i) {
    losses.push_back(5 - 4.0 * i / n + noise * (i % 2 == 0 ? 1 : -1));
  }
  return losses;
}

TEST(SuggestionsTest, Warnings) {
  const LrRange healthy = Feed({.steps = 60, .smooth = 0.9}, [](int i, double) {
    return i < 45 ? 5 - 0.1 * i : 1 + std::pow(1.8, i - 45);
  });
  EXPECT_EQ(healthy.end, LrEnd::kDiverged);
  EXPECT_THAT(SuggestLearningRates(healthy).warnings, IsEmpty());
  const LrRange falling = Of(Falling(60, 0), 60);
  EXPECT_THAT(SuggestLearningRates(falling).warnings, ElementsAre(LrWarning::kStillFalling));
  // The noise has a standard deviation of 1, 1.41 by the differences; the loss falls by 4.
  LrRangeTest noisy({.steps = 60, .smooth = 0.9, .stop_at = LrStopAt::kNever});
  for (const double loss : Falling(60, 1)) noisy.Add(loss);
  EXPECT_THAT(SuggestLearningRates(noisy.range()).warnings,
              ::testing::Contains(LrWarning::kTooNoisy));
  const LrRange brief = Of(Falling(20, 0), 20);
  EXPECT_THAT(SuggestLearningRates(brief).warnings, ::testing::Contains(LrWarning::kTooShort));
}

TEST(AgreementTest, MedianMeanAndSpread) {
  const auto one = [](LrMethod method, double lr) { return LrSuggestion{method, lr, 0}; };
  const std::vector<LrSuggestions> tests = {
      {.suggestions = {one(LrMethod::kValley, 1e-3), one(LrMethod::kSlide, 1)}},
      {.suggestions = {one(LrMethod::kValley, 1e-1)}},
      {.suggestions = {one(LrMethod::kValley, 8e-3), one(LrMethod::kSlide, 4)}}};
  const auto agreements = AgreementOf(tests);
  ASSERT_EQ(agreements.size(), 2U);
  EXPECT_EQ(agreements[0].method, LrMethod::kValley);
  EXPECT_EQ(agreements[0].tests, 3U);
  EXPECT_EQ(agreements[0].lowest, 1e-3);
  EXPECT_EQ(agreements[0].highest, 1e-1);
  EXPECT_DOUBLE_EQ(agreements[0].median, 8e-3);
  EXPECT_NEAR(agreements[0].geometric_mean, std::cbrt(8e-7), 1e-15);
  EXPECT_DOUBLE_EQ(agreements[0].Spread(), 100);
  EXPECT_EQ(agreements[1].tests, 2U);
  EXPECT_DOUBLE_EQ(agreements[1].median, 2);  // in the middle by the logarithm
}

TEST(RecommendationTest, MinimumUnlessTheTestsDisagreeAboutIt) {
  const auto test = [](double valley, double minimum) {
    return LrSuggestions{
        .suggestions = {{LrMethod::kValley, valley, 0}, {LrMethod::kMinimum, minimum, 0}},
        .warnings = {}};
  };
  const auto one = RecommendLearningRate(std::vector{test(1e-3, 2e-2)});
  ASSERT_TRUE(one);
  EXPECT_EQ(one->lr, 2e-2);
  EXPECT_EQ(one->method, LrMethod::kMinimum);
  EXPECT_EQ(one->reason, LrReason::kPreferred);
  const auto near = RecommendLearningRate(std::vector{test(1e-3, 1e-2), test(1e-3, 4e-2)});
  EXPECT_DOUBLE_EQ(near->lr, 2e-2);
  EXPECT_EQ(near->reason, LrReason::kPreferred);
  const auto far = RecommendLearningRate(std::vector{test(1e-3, 1e-3), test(4e-3, 4e-2)});
  EXPECT_DOUBLE_EQ(far->lr, 2e-3);
  EXPECT_EQ(far->method, LrMethod::kValley);
  EXPECT_EQ(far->reason, LrReason::kAgreesBest);
}

TEST(RecommendationTest, SteepestWhereThereIsNoMinimum) {
  std::vector<double> losses = Falling(60, 0);
  losses[30] -= 0.5;
  const LrRange range = Of(losses, 60);
  const auto falling = RecommendLearningRate(std::vector{SuggestLearningRates(range)});
  ASSERT_TRUE(falling);
  EXPECT_EQ(falling->method, LrMethod::kSteepest);
  EXPECT_EQ(falling->lr, range.points[29].lr);
  EXPECT_EQ(falling->reason, LrReason::kNoMinimum);
}

// Of a thousand tests of noise alone hardly one has a recommendation; a fall of twice the noise
// has.
TEST(RecommendationTest, NothingForFlatNoise) {
  std::mt19937 random(1);
  std::normal_distribution<double> noise;
  const auto recommended = [&](double fall) {
    int count = 0;
    for (int k = 0; k < 1000; ++k) {
      LrRangeTest test({.smooth = 0.9});
      for (int i = 0; test.Running(); ++i) {
        test.Add(2.3 - fall / (1 + std::exp(-(i - 55) / 6.0)) + 0.1 * noise(random));
      }
      const LrSuggestions read = SuggestLearningRates(test.range());
      count += RecommendLearningRate(std::vector{read}) ? 1 : 0;
    }
    return count;
  };
  EXPECT_LE(recommended(0), 3);
  EXPECT_GE(recommended(0.3), 997);
}

TEST(RecommendationTest, NothingWhereTheLossDoesNotFall) {
  const LrSuggestions falls = SuggestLearningRates(Of({5, 4, 3, 2, 1, 2}), kEverything);
  const LrSuggestions rises = SuggestLearningRates(Of({1, 2, 3, 4, 5, 6}), kEverything);
  EXPECT_TRUE(RecommendLearningRate(std::vector{falls}));
  EXPECT_FALSE(RecommendLearningRate(std::vector{rises}));
  EXPECT_FALSE(RecommendLearningRate(std::vector{falls, rises}));
  EXPECT_TRUE(RecommendLearningRate(std::vector{falls, rises, falls}));
  EXPECT_FALSE(RecommendLearningRate({}));
  EXPECT_FALSE(RecommendLearningRate(std::vector<LrSuggestions>(2)));
}

// ---- State ----

TEST(LrRangeStateTest, ResumesAtEveryPointAndAfterEveryEnd) {
  const LrRangeOptions options = {.steps = 6};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const std::vector<double>& losses : {std::vector<double>{5, 4, 3, 2.5, 2.4, 2.3},
                                            {5, 4, 500},
                                            {5, nan, nan},
                                            {5, nan, 4},
                                            {900, 4, 5}}) {
    LrRangeTest test(options);
    for (const double loss : losses) {
      LrRangeTest resumed(options);
      resumed.Add(7);
      LoadInto(resumed, StateOf(test));
      EXPECT_EQ(FirstDifference(StateOf(resumed), StateOf(test)), "");
      test.Add(loss);
      resumed.Add(loss);
      ASSERT_EQ(resumed.range().points.size(), test.range().points.size());
      EXPECT_EQ(resumed.range().end, test.range().end);
      for (size_t i = 0; i < test.range().points.size(); ++i) {
        EXPECT_EQ(resumed.range().points[i].smoothed, test.range().points[i].smoothed);
      }
    }
    test.Stop();
    LrRangeTest resumed(options);
    LoadInto(resumed, StateOf(test));
    EXPECT_EQ(resumed.range().end, test.range().end);
  }
}

TEST(LrRangeStateTest, BadStatesAreNamedAndChangeNothing) {
  LrRangeTest test({.steps = 3});
  test.Add(2);
  const StateTree good = StateOf(test);
  const auto error = [&](const char* path, const StateTree& value) {
    StateTree bad = good;
    bad.Set(path, value);
    std::string text = testing::ErrorOf([&] { LoadInto(test, bad); });
    EXPECT_EQ(FirstDifference(StateOf(test), good), "");
    return text;
  };
  EXPECT_EQ(error("losses", StateArray::Of<double>(std::vector<double>{3, 2, 1, 1})),
            "state: \"losses\" goes on after the test has ended");
  EXPECT_EQ(error("losses", 1.0), "state: \"losses\" is double, but must be F64 of one dimension");
  EXPECT_EQ(error("end", std::string("ramp")),
            "state: \"end\" must be \"not yet\" after these losses");
}

}  // namespace lr_range_test
}  // namespace kudari
