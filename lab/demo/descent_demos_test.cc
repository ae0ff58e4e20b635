// The demonstrations of descent: gradient, learning-rate, stopping, descent-kinds, momentum.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>

#include "tests/support/demo_result.h"

namespace kudari::lab {
namespace descent_demos_test {

using testing::ResultOf;

TEST(GradientDemoTest, TheSlopeIsSixEightAtARightAngleToTheContour) {
  const auto numbers = ResultOf("gradient").numbers;
  EXPECT_EQ(numbers["slope"], (std::vector<double>{6, 8}));
  EXPECT_NEAR(numbers["differences"][0], 6, 1e-8);
  EXPECT_NEAR(numbers["differences"][1], 8, 1e-8);
  EXPECT_EQ(numbers["length"], 10.0);
  EXPECT_NEAR(numbers["steepest_direction"], std::atan2(8, 6) * 180 / M_PI, 0.05);
  EXPECT_NEAR(numbers["angle_to_contour"], 90, 0.01);
  EXPECT_EQ(numbers["derivative"], 6.0);
  for (const auto& chord : numbers["chords"]) {
    const double h = chord["h"];
    EXPECT_NEAR(chord["slope"], 6 + h, 1e-9);  // ((3 + h)^2 - 9) / h
  }
}

TEST(GradientDemoTest, FollowsThePlaceUpToTheMinimum) {
  const auto numbers = ResultOf("gradient", {"x=-1", "y=2"}).numbers;
  EXPECT_EQ(numbers["slope"], (std::vector<double>{-2, 8}));
  EXPECT_NEAR(numbers["angle_to_contour"], 90, 0.05);
  EXPECT_THAT(ResultOf("gradient", {"x=0", "y=0"}).text,
              ::testing::HasSubstr("this is the minimum"));
}

TEST(LearningRateDemoTest, EachStepMultipliesByOneMinusFourTimesTheRate) {
  const DemoResult result = ResultOf("learning-rate");
  const std::array rates = {0.01, 0.1, 0.5, 0.52};
  ASSERT_EQ(result.numbers["runs"].size(), rates.size());
  for (size_t k = 0; k < rates.size(); ++k) {
    const auto& run = result.numbers["runs"][k];
    ASSERT_EQ(run["x"].size(), 13U);
    for (size_t step = 0; step < 13; ++step) {
      const double exact = 10 * std::pow(1 - 4 * rates[k], static_cast<double>(step));
      EXPECT_NEAR(run["x"][step], exact, 1e-5 * std::abs(exact)) << rates[k] << ' ' << step;
      EXPECT_NEAR(result.charts[k].series[1].y[step], 2 * exact * exact, 4e-5 * exact * exact);
    }
  }
  EXPECT_EQ(result.numbers["runs"][0]["verdict"], "slow");
  EXPECT_EQ(result.numbers["runs"][1]["verdict"], "smooth");
  EXPECT_EQ(result.numbers["runs"][2]["verdict"], "swings forever");
  EXPECT_THAT(result.numbers["runs"][3]["verdict"].get<std::string>(),
              ::testing::StartsWith("diverges"));
}

// The ravine (x^2 + 50 y^2) / 2 from (-10, 1) with rate 0.02: y is zero after one step.
TEST(StoppingDemoTest, EachRuleStopsWhereTheClosedFormSays) {
  const DemoResult result = ResultOf("stopping");
  const auto x = [](size_t k) { return 10 * std::pow(0.98, static_cast<double>(k)); };
  const auto loss = [&](size_t k) { return x(k) * x(k) / 2 + (k == 0 ? 25 : 0); };
  size_t norm = 1, change = 1;
  while (x(norm) >= 0.1) ++norm;
  while (loss(change - 1) - loss(change) >= 1e-3) ++change;
  const std::array<size_t, 3> stops = {100, norm, change};
  for (size_t i = 0; i < stops.size(); ++i) {
    const auto& rule = result.numbers["rules"][i];
    EXPECT_EQ(rule["step"], stops[i]) << rule["rule"];
    EXPECT_NEAR(rule["left"], loss(stops[i]), 1e-4 * loss(stops[i]));
    EXPECT_NEAR(rule["distance"], x(stops[i]), 1e-4 * x(stops[i]));
  }
  ASSERT_EQ(result.charts[0].marks.size(), 3U);
  EXPECT_EQ(result.charts[0].marks[1].from, static_cast<double>(norm));
}

TEST(StoppingDemoTest, ARuleMayNeverStop) {
  const DemoResult result = ResultOf("stopping", {"lr=1e-5"});
  EXPECT_TRUE(result.numbers["rules"][1]["step"].is_null());
  EXPECT_TRUE(result.numbers["rules"][2]["step"].is_null());
  EXPECT_EQ(result.charts[0].marks.size(), 1U);
}

TEST(DescentKindsDemoTest, TheBestHasNoGradientAndTheBatchRunIsInClosedForm) {
  const DemoResult result = ResultOf("descent-kinds");
  // The same points, and least squares by deviations from the means.
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  std::vector<double> x, y;
  for (int i = 0; i < 64; ++i) {
    x.push_back(normal(random));
    y.push_back(2 * x.back() + 1 + normal(random));
  }
  double mx = 0, my = 0, sxx = 0, sxy = 0;
  for (size_t i = 0; i < 64; ++i) mx += x[i] / 64, my += y[i] / 64;
  for (size_t i = 0; i < 64; ++i)
    sxx += (x[i] - mx) * (x[i] - mx), sxy += (x[i] - mx) * (y[i] - my);
  const double w = sxy / sxx, b = my - w * mx;
  EXPECT_NEAR(result.numbers["best"][0], w, 1e-12);
  EXPECT_NEAR(result.numbers["best"][1], b, 1e-12);
  // Batch descent: the error e takes e - lr H e, H = 2 [[mean x^2, mean x], [mean x, 1]].
  const double h = 2 * (sxx / 64 + mx * mx), m = 2 * mx;
  double ew = -w, eb = -b;
  for (int step = 0; step < 10; ++step) {
    const double dw = h * ew + m * eb, db = m * ew + 2 * eb;
    ew -= 0.05 * dw;
    eb -= 0.05 * db;
  }
  const auto& batch = result.numbers["runs"][0];
  EXPECT_EQ(batch["steps"], 10);
  EXPECT_NEAR(batch["w"].back(), w + ew, 1e-5);
  EXPECT_NEAR(batch["b"].back(), b + eb, 1e-5);
  EXPECT_NEAR(batch["distance"], std::hypot(ew, eb), 1e-5);
}

TEST(DescentKindsDemoTest, AllSeeAsManySamplesAndSingleOnesSwing) {
  const DemoResult result = ResultOf("descent-kinds");
  EXPECT_EQ(result.numbers["runs"][1]["steps"], 640);
  EXPECT_EQ(result.numbers["runs"][2]["steps"], 80);
  for (const Series& curve : result.charts[0].series) {
    EXPECT_EQ(curve.x.back(), 640);
    EXPECT_NEAR(curve.y.front(), result.numbers["start"], 1e-6);
  }
  // With small rates all end at the best.
  const auto slow = ResultOf("descent-kinds", {"lr=0.002", "epochs=100", "noise=0"}).numbers;
  EXPECT_LT(slow["runs"][1]["distance"], 1e-3);
  // A batch of one mini-batch is batch descent.
  const auto whole = ResultOf("descent-kinds", {"batch=64"}).numbers;
  EXPECT_NEAR(whole["runs"][2]["distance"], whole["runs"][0]["distance"], 1e-6);
}

// v <- beta v + g, x <- x - lr v; Nesterov's form of torch steps by g + beta v.
TEST(MomentumDemoTest, PathsAreTheRecursionsInDouble) {
  const DemoResult result = ResultOf("momentum", {"beta=0.8"});
  const std::array<double, 2> curvature = {1, 50}, start = {-10, 1};
  for (size_t run = 0; run < 3; ++run) {
    for (size_t axis = 0; axis < 2; ++axis) {
      const auto& places = result.numbers["runs"][run][axis == 0 ? "x" : "y"];
      ASSERT_EQ(places.size(), 121U);
      double x = start[axis], v = 0;
      for (size_t step = 0; step < 121; ++step) {
        EXPECT_NEAR(places[step], x, 2e-5) << run << ' ' << axis << ' ' << step;
        const double g = curvature[axis] * x;
        v = (run == 0 ? 0 : 0.8) * v + g;
        x -= 0.02 * (run == 2 ? g + 0.8 * v : v);
      }
    }
  }
}

TEST(MomentumDemoTest, BetaHasABestValueInBetween) {
  const auto arrivals = ResultOf("momentum").numbers["arrivals"];
  EXPECT_EQ(arrivals.front()["beta"], 0.0);
  // Without momentum: x falls by 2 % a step from a loss of 75 to below 0.75.
  size_t step = 0;
  while (std::pow(10 * std::pow(0.98, static_cast<double>(step)), 2) / 2 >= 0.75) ++step;
  EXPECT_EQ(arrivals.front()["momentum"], step);
  EXPECT_EQ(arrivals.front()["nesterov"], step);
  size_t best = step;
  for (const auto& arrival : arrivals) best = std::min(best, arrival["momentum"].get<size_t>());
  EXPECT_LT(best, step / 2);
  EXPECT_GT(arrivals.back()["momentum"], 2 * best);
}

}  // namespace descent_demos_test
}  // namespace kudari::lab
