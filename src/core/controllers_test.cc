#include "kudari/controllers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/errors.h"

namespace kudari {
namespace controllers_test {

using ::testing::HasSubstr;

std::vector<double> Observed(ReduceOnPlateau plateau, const std::vector<double>& metrics) {
  std::vector<double> values;
  for (const double m : metrics) values.push_back(plateau.Observe(m));
  return values;
}

TEST(ReduceOnPlateauTest, ReducesOnTheEleventhBadMetric) {
  ReduceOnPlateau plateau(1);
  EXPECT_EQ(plateau.Observe(0.5), 1);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(plateau.Observe(0.5), 1) << i;
  EXPECT_EQ(plateau.Observe(0.5), 0.1);
  // A better metric sets the count back.
  for (int i = 0; i < 10; ++i) plateau.Observe(0.5);
  EXPECT_EQ(plateau.Observe(0.4), 0.1);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(plateau.Observe(0.4), 0.1) << i;
  EXPECT_EQ(plateau.Observe(0.4), 0.1 * 0.1);
}

TEST(ReduceOnPlateauTest, CooldownLowestAndEps) {
  const std::vector<double> flat(12, 1.0);
  ReduceOnPlateauOptions options{.factor = 0.5, .patience = 0, .cooldown = 2};
  EXPECT_EQ(Observed(ReduceOnPlateau(1, options), flat),
            (std::vector<double>{1, .5, .5, .5, .25, .25, .25, .125, .125, .125, .0625, .0625}));
  options.cooldown = 0;
  options.lowest = 0.3;
  EXPECT_EQ(Observed(ReduceOnPlateau(1, options), flat).back(), 0.3);
  options.lowest = 0;
  options.eps = 0.2;  // from 0.25 to 0.125 would be a smaller reduction
  EXPECT_EQ(Observed(ReduceOnPlateau(1, options), flat).back(), 0.25);
}

TEST(ReduceOnPlateauTest, ANanIsBadAndNeverTheBest) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  ReduceOnPlateau plateau(1, {.patience = 1});
  EXPECT_EQ(plateau.Observe(nan), 1);
  EXPECT_EQ(plateau.best(), std::nullopt);
  EXPECT_EQ(plateau.Observe(nan), 0.1);
  EXPECT_EQ(plateau.Observe(3), 0.1);
  EXPECT_EQ(plateau.best(), 3);
  plateau.Observe(nan);
  EXPECT_EQ(plateau.bad(), 1);
  EXPECT_EQ(plateau.best(), 3);
}

TEST(ImprovementTest, ThresholdsAreOnTheRightSideOfZero) {
  const Improvement lower{.threshold = 0.1, .relative = true};
  EXPECT_TRUE(lower.Better(89, 100));
  EXPECT_FALSE(lower.Better(91, 100));
  // torch takes -91 for better than -100, its bound being -100 (1 - 0.1).
  EXPECT_FALSE(lower.Better(-91, -100));
  EXPECT_FALSE(lower.Better(-109, -100));
  EXPECT_TRUE(lower.Better(-111, -100));
  const Improvement higher{.maximize = true, .threshold = 0.1, .relative = true};
  EXPECT_TRUE(higher.Better(111, 100));
  EXPECT_FALSE(higher.Better(109, 100));
  EXPECT_TRUE(higher.Better(-89, -100));
  EXPECT_FALSE(higher.Better(-91, -100));
  const Improvement by_ten{.threshold = 10};
  EXPECT_TRUE(by_ten.Better(-11, 0));
  EXPECT_FALSE(by_ten.Better(-10, 0));
  EXPECT_TRUE(by_ten.Better(std::numeric_limits<double>::infinity(), std::nullopt));
}

TEST(ReduceOnPlateauTest, ResumesExactlyAtAnyPoint) {
  const ReduceOnPlateauOptions options{.factor = 0.7, .patience = 2, .cooldown = 3};
  std::vector<double> metrics;
  for (int i = 0; i < 60; ++i) metrics.push_back(std::cos(0.3 * i) + 0.01 * i);
  const std::vector<double> whole = Observed(ReduceOnPlateau(1, options), metrics);
  EXPECT_LT(whole.back(), 0.5);
  ReduceOnPlateau before(1, options);
  for (size_t i = 0; i < metrics.size(); ++i) {
    ReduceOnPlateau after(1, options);
    LoadInto(after, StateOf(before));
    EXPECT_EQ(Observed(after, {metrics.begin() + static_cast<int64_t>(i), metrics.end()}),
              std::vector<double>(whole.begin() + static_cast<int64_t>(i), whole.end()));
    before.Observe(metrics[i]);
  }
}

TEST(EarlyStoppingTest, StopsAfterPatienceBadMetrics) {
  EarlyStopping stopping({.patience = 3});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double metric : {5.0, 4.0, 4.0, nan, 3.0, 3.5, 3.0}) {
    EXPECT_FALSE(stopping.Observe(metric)) << metric;
  }
  EarlyStopping resumed({.patience = 3});
  LoadInto(resumed, StateOf(stopping));
  EXPECT_TRUE(stopping.Observe(3.1));
  EXPECT_TRUE(resumed.Observe(3.1));
  EXPECT_EQ(FirstDifference(StateOf(resumed), StateOf(stopping)), "");
  EXPECT_EQ(stopping.best(), 3.0);
}

TEST(EarlyStoppingTest, HigherIsBetterByADifference) {
  EarlyStopping stopping({.patience = 2, .improvement = {.maximize = true, .threshold = 0.01}});
  EXPECT_FALSE(stopping.Observe(0.9));
  EXPECT_FALSE(stopping.Observe(0.905));
  EXPECT_TRUE(stopping.Observe(0.909));
  EXPECT_EQ(stopping.best(), 0.9);
}

TEST(ControllersTest, ErrorsNameTheFieldAndTheRange) {
  using testing::ErrorOf;
  const auto plateau = [](const ReduceOnPlateauOptions& options) {
    return ErrorOf([&] { ReduceOnPlateau(1, options); });
  };
  EXPECT_THAT(plateau({.factor = 1}), HasSubstr("plateau: factor = 1 is outside [0, 1)"));
  EXPECT_THAT(plateau({.improvement = {.threshold = -1}}), HasSubstr("threshold = -1 is outside"));
  EXPECT_THAT(plateau({.patience = -1}), HasSubstr("plateau: patience = -1 is less than 0"));
  EXPECT_THAT(plateau({.cooldown = -1}), HasSubstr("plateau: cooldown = -1 is less than 0"));
  EXPECT_THAT(plateau({.lowest = NAN}), HasSubstr("plateau: lowest = nan is outside"));
  EXPECT_THAT(plateau({.eps = -1}), HasSubstr("plateau: eps = -1 is outside [0, inf)"));
  EXPECT_THAT(ErrorOf([] { ReduceOnPlateau plateau(NAN); }), HasSubstr("plateau: value = nan"));
  EXPECT_THAT(ErrorOf([] { EarlyStopping stopping({.patience = 0}); }),
              HasSubstr("early stopping: patience = 0 is less than 1"));
}

TEST(ControllersTest, BadStatesAreNamedAndChangeNothing) {
  ReduceOnPlateau plateau(1);
  plateau.Observe(3);
  EarlyStopping stopping;
  stopping.Observe(3);
  const auto load = [](auto& object, const char* path, const StateTree& value) {
    const StateTree good = StateOf(object);
    StateTree bad = good;
    bad.Set(path, value);
    std::string error = testing::ErrorOf([&] { LoadInto(object, bad); });
    EXPECT_EQ(FirstDifference(StateOf(object), good), "");
    return error;
  };
  EXPECT_THAT(load(plateau, "value", double{NAN}), HasSubstr("\"value\" = nan is outside"));
  EXPECT_EQ(load(plateau, "best", double{NAN}), "state: \"best\" is not a number");
  EXPECT_THAT(load(plateau, "bad", int64_t{-1}), HasSubstr("\"bad\" = -1 is outside [0, "));
  EXPECT_THAT(load(plateau, "cooldown", int64_t{-1}), HasSubstr("\"cooldown\" = -1 is outside"));
  EXPECT_THAT(load(stopping, "bad", int64_t{-2}), HasSubstr("\"bad\" = -2 is outside [0, "));
}

}  // namespace controllers_test
}  // namespace kudari
