// The demonstrations of sharpness: sam, sharp-minima, looksam; and the small net that one of them
// trains.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "lab/demo/small_net.h"
#include "tests/support/demo_result.h"

namespace kudari::lab {
namespace sharpness_demos_test {

using testing::ResultOf;

struct Vector {
  double x = 0, y = 0;
};

Vector RosenbrockSlope(Vector at) {
  const double off = at.y - at.x * at.x;
  return {-2 * (1 - at.x) - 400 * at.x * off, 200 * off};
}

double Length(Vector v) { return std::hypot(v.x, v.y); }

Vector Read(const nlohmann::ordered_json& pair) { return {pair[0], pair[1]}; }

TEST(SamDemoTest, StepsFromWhereItWasByTheSlopeOfTheWorstPlace) {
  const auto numbers = ResultOf("sam").numbers;
  const Vector start{-0.5, 1}, slope = RosenbrockSlope(start);
  const Vector worst{start.x + 0.3 * slope.x / Length(slope),
                     start.y + 0.3 * slope.y / Length(slope)};
  const Vector there = RosenbrockSlope(worst);
  EXPECT_NEAR(Read(numbers["worst"]).x, worst.x, 1e-6);
  EXPECT_NEAR(Read(numbers["worst"]).y, worst.y, 1e-6);
  EXPECT_NEAR(Read(numbers["sgd"]).x, start.x - 0.0015 * slope.x, 1e-6);
  EXPECT_NEAR(Read(numbers["sgd"]).y, start.y - 0.0015 * slope.y, 1e-6);
  EXPECT_NEAR(Read(numbers["sam"]).x, start.x - 0.0015 * there.x, 1e-5);
  EXPECT_NEAR(Read(numbers["sam"]).y, start.y - 0.0015 * there.y, 1e-5);
  const double cosine = (slope.x * there.x + slope.y * there.y) / (Length(slope) * Length(there));
  EXPECT_NEAR(numbers["turned"], std::acos(cosine) * 180 / M_PI, 1e-3);
}

TEST(SamDemoTest, TheHighestPlaceIsNearTheWorstForASmallRadius) {
  const auto numbers = ResultOf("sam", {"rho=0.01"}).numbers;
  const Vector worst = Read(numbers["worst"]), highest = Read(numbers["highest"]);
  EXPECT_LT(Length({worst.x - highest.x, worst.y - highest.y}), 0.001);
  EXPECT_GE(numbers["losses"]["highest"], numbers["losses"]["worst"].get<double>() - 1e-3);
}

TEST(LookSamDemoTest, PartsAreAtARightAngleAndSumToSamsGradient) {
  const auto numbers = ResultOf("looksam").numbers;
  const Vector g = Read(numbers["g"]), s = Read(numbers["g_s"]);
  const Vector h = Read(numbers["g_h"]), v = Read(numbers["g_v"]);
  const Vector start{-0.5, 1}, slope = RosenbrockSlope(start);
  const Vector there = RosenbrockSlope(
      {start.x + 0.3 * slope.x / Length(slope), start.y + 0.3 * slope.y / Length(slope)});
  EXPECT_NEAR(g.x, slope.x, 1e-4);
  EXPECT_NEAR(s.x, there.x, 1e-3);
  EXPECT_NEAR(s.y, there.y, 1e-3);
  // The projection onto the gradient, and what is left.
  const double share = (there.x * slope.x + there.y * slope.y) / (Length(slope) * Length(slope));
  EXPECT_NEAR(h.x, share * slope.x, 1e-3);
  EXPECT_NEAR(h.y, share * slope.y, 1e-3);
  EXPECT_NEAR(v.x * g.x + v.y * g.y, 0, 1e-3 * Length(v) * Length(g));
  EXPECT_NEAR(Length(s) * Length(s), Length(h) * Length(h) + Length(v) * Length(v),
              1e-4 * Length(s) * Length(s));
  EXPECT_GT(Length(v), 0.1 * Length(s));
}

TEST(LookSamDemoTest, TheReusedPartChangesLeast) {
  for (const int64_t seed : {1, 2, 3}) {
    const auto changes = ResultOf("looksam", {}, seed).numbers["mean_changes"];
    EXPECT_LT(changes["g_v"], changes["g_h"]) << seed;
    EXPECT_LT(changes["g_v"], changes["g_s"]) << seed;
  }
}

TEST(SharpMinimaDemoTest, SamEndsInTheWideValleyFromEveryStart) {
  const auto runs = ResultOf("sharp-minima").numbers["runs"];
  const auto& sgd = runs[0];
  const auto& sam = runs[1];
  ASSERT_EQ(sgd["starts"].size(), 40U);
  EXPECT_GT(sgd["narrow"], 5);
  EXPECT_EQ(sam["narrow"], 0);
  for (size_t i = 0; i < 40; ++i) {
    // The curvatures of the two Gaussians: 100 and 1 / 0.36.
    const double end = sgd["ends"][i], curvature = sgd["curvatures"][i];
    if (end > 0.5) {
      EXPECT_NEAR(curvature, 100, 3) << end;
    } else {
      EXPECT_NEAR(curvature, 1 / 0.36, 0.05) << end;
    }
    EXPECT_NEAR(sam["ends"][i], -1, 0.02);
  }
  // Without a radius both are the same.
  const auto same = ResultOf("sharp-minima", {"rho=0"}).numbers["runs"];
  EXPECT_EQ(same[0]["ends"], same[1]["ends"]);
}

TEST(SmallNetTest, TheGradientIsThatOfTheLoss) {
  const SmallNet net(3, 5);
  const RegressionData data = RegressionData::Random(10, 3, 0.5, 1);
  std::vector<size_t> at = {0, 3, 7};
  std::vector<double> w = net.Start(2), gradient;
  net.Loss(w, data, at, &gradient);
  ASSERT_EQ(gradient.size(), 5U * 3 + 5 + 5);
  for (size_t i = 0; i < w.size(); ++i) {
    const double kept = w[i];
    w[i] = kept + 1e-5;
    const double above = net.Loss(w, data, at);
    w[i] = kept - 1e-5;
    EXPECT_NEAR(gradient[i], (above - net.Loss(w, data, at)) / 2e-5, 1e-8) << i;
    w[i] = kept;
  }
}

}  // namespace sharpness_demos_test
}  // namespace kudari::lab
