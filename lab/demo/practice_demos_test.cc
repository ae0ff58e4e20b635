// The demonstrations of practice: accumulation, loss-scaling, range-test, batch-scaling, patterns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "tests/support/demo_result.h"

namespace kudari::lab {
namespace practice_demos_test {

using ::testing::Contains;
using ::testing::HasSubstr;
using testing::ResultOf;

TEST(AccumulationDemoTest, OnlyTheMeanOverSamplesEqualsTheLargeBatch) {
  const auto numbers = ResultOf("accumulation").numbers;
  EXPECT_EQ(numbers["unequal"], (std::vector<size_t>{16, 8, 4, 4}));
  for (const char* const rule : {"SGD", "AdamW"}) {
    EXPECT_LT(numbers[rule]["equal micro-batches"], 1e-5) << rule;
    EXPECT_LT(numbers[rule]["unequal ones, by their samples"], 1e-5) << rule;
    EXPECT_GT(numbers[rule]["unequal ones, each counted alike"], 1e-2) << rule;
  }
  EXPECT_GT(numbers["SGD"]["summed, not divided"], 0.1);
  EXPECT_LT(numbers["AdamW"]["summed, not divided"], 1e-4);
}

// The problem of the demonstration again, by descent in double.
TEST(AccumulationDemoTest, TheReferenceIsDescentOnAllSamples) {
  const auto reference = ResultOf("accumulation", {"steps=20"}).numbers["SGD"]["reference"];
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  std::vector<double> w(10);
  for (size_t step = 0; step < 20; ++step) {
    std::vector<double> gradient(10);
    for (int i = 0; i < 32; ++i) {
      std::vector<double> x(10);
      for (double& v : x) v = normal(random);
      double off = -normal(random);
      for (size_t k = 0; k < 10; ++k) off += x[k] * (w[k] - (k % 2 == 0 ? 1 : -1));
      for (size_t k = 0; k < 10; ++k) gradient[k] += 2 * off * x[k] / 32;
    }
    for (size_t k = 0; k < 10; ++k) {
      w[k] -= 0.02 * gradient[k];
      EXPECT_NEAR(reference[step][k], w[k], 1e-5);
    }
  }
}

// float16 rounds to nearest with ties to even: magnitudes up to 2^-25 become 0, those below
// 2^-14 - 2^-25 are subnormal, and those from 65520 on are infinite.
TEST(LossScalingDemoTest, SharesAreThoseOfFloat16sLimits) {
  const auto numbers = ResultOf("loss-scaling").numbers;
  const std::vector<double> gradient = numbers["gradient"];
  const auto share = [&](double scale, auto within) {
    const auto count = std::ranges::count_if(gradient, [&](double g) {
      return within(std::abs(static_cast<double>(static_cast<float>(g * scale))));
    });
    return static_cast<double>(count) / static_cast<double>(gradient.size());
  };
  ASSERT_EQ(numbers["scales"].size(), 33U);
  for (const auto& at : numbers["scales"]) {
    const double scale = std::exp2(at["power"].get<double>());
    EXPECT_EQ(at["lost"], share(scale, [](double x) { return x <= 0x1p-25; })) << scale;
    EXPECT_EQ(at["fewer_digits"],
              share(scale, [](double x) { return x > 0x1p-25 && x < 0x1p-14 - 0x1p-25; }))
        << scale;
    EXPECT_EQ(at["infinite"], share(scale, [](double x) { return x >= 65520; })) << scale;
  }
  EXPECT_GT(numbers["scales"][0]["lost"], 0.3);
  EXPECT_EQ(numbers["scales"][16]["infinite"], 0.0);
}

TEST(LossScalingDemoTest, TheScaleDoublesAfterTwentyGoodStepsAndHalvesAtAnOverflow) {
  const auto numbers = ResultOf("loss-scaling").numbers;
  double scale = 16;
  int64_t good = 0, skipped = 0;
  for (const auto& step : numbers["steps"]) {
    ASSERT_EQ(step["scale"], scale);
    if (step["overflow"]) {
      scale -= 1;
      good = 0;
      ++skipped;
    } else if (++good == 20) {
      scale += 1;
      good = 0;
    }
  }
  EXPECT_GT(skipped, 0);
  EXPECT_EQ(numbers["skipped"], skipped);
}

// The source's own loop: descent on Rosenbrock with rates that grow by one factor. Its places are
// rounded to float32, which lets the loss diverge three steps sooner.
TEST(RangeTestDemoTest, FollowsTheSourcesLoop) {
  const DemoResult result = ResultOf("range-test");
  std::vector<double> rates, losses;
  double x = -1, y = 1, smooth = 0;
  for (int i = 0; i < 100; ++i) {
    const double lr = 1e-6 * std::pow(1e6, i / 100.0);
    const double loss = std::pow(1 - x, 2) + 100 * std::pow(y - x * x, 2);
    smooth = 0.98 * smooth + 0.02 * loss;
    rates.push_back(lr);
    losses.push_back(smooth / (1 - std::pow(0.98, i + 1)));
    if (i > 0 && losses.back() > 4 * losses[0]) break;
    const double dx = -2 * (1 - x) - 400 * x * (y - x * x), dy = 200 * (y - x * x);
    x = static_cast<float>(x - lr * dx);
    y = static_cast<float>(y - lr * dy);
  }
  const Series& line = result.charts[0].series[0];
  ASSERT_EQ(line.x.size(), rates.size());
  for (size_t i = 0; i + 1 < rates.size(); ++i) {
    EXPECT_NEAR(line.x[i], rates[i], 1e-9 * rates[i]);
    EXPECT_NEAR(line.y[i], losses[i], 1e-3 * losses[i]) << i;
  }
  const auto lowest = std::ranges::min_element(losses) - losses.begin();
  EXPECT_NEAR(result.numbers["suggestions"]["minimum/10"], rates[static_cast<size_t>(lowest)] / 10,
              1e-9);
  EXPECT_EQ(result.numbers["end"], "diverged");
}

TEST(BatchScalingDemoTest, RatesAreTheSourcesFigure) {
  const auto rows = ResultOf("batch-scaling").numbers["rows"];
  ASSERT_EQ(rows.size(), 6U);
  for (size_t i = 0; i < 6; ++i) {
    const double factor = std::pow(2, static_cast<double>(i));
    EXPECT_EQ(rows[i]["batch"], 32 * factor);
    EXPECT_NEAR(rows[i]["linear"], 0.01 * factor, 1e-12);
    EXPECT_NEAR(rows[i]["square_root"], 0.01 * std::sqrt(factor), 1e-12);
    EXPECT_NEAR(rows[i]["beta2"], 1 - factor * 0.001, 1e-12);
  }
}

TEST(PatternsDemoTest, TheDoctorNamesEachPattern) {
  const DemoResult result = ResultOf("patterns");
  const auto& runs = result.numbers["runs"];
  ASSERT_EQ(runs.size(), 4U);
  EXPECT_THAT(runs[0]["verdicts"], Contains("lr_too_low"));
  EXPECT_THAT(runs[1]["verdicts"], Contains("lr_too_high"));
  EXPECT_THAT(runs[2]["verdicts"], Contains("overfitting"));
  EXPECT_EQ(runs[3]["verdicts"].size(), 0U) << runs[3]["verdicts"];
  EXPECT_THAT(result.text, HasSubstr("nothing is wrong"));
  // The curves are what the titles say.
  const auto curve = [&](size_t run, const char* name) {
    return runs[run][name].get<std::vector<double>>();
  };
  EXPECT_GT(curve(0, "training").back(), curve(0, "training").front() / 2);
  EXPECT_GT(curve(2, "validation").back(), 4 * curve(2, "training").back());
  EXPECT_LT(curve(3, "training").back(), curve(3, "training").front() / 5);
  EXPECT_LT(curve(3, "validation").back(), 2 * curve(3, "training").back());
}

}  // namespace practice_demos_test
}  // namespace kudari::lab
