// The demonstrations of optimisers and their stages: adagrad, decay, warmup, clipping,
// exploding-gradient, lookahead.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "tests/support/demo_result.h"

namespace kudari::lab {
namespace optimiser_demos_test {

using testing::ResultOf;

TEST(AdagradDemoTest, RatesAreThoseOfTheFormulas) {
  const auto numbers = ResultOf("adagrad").numbers;
  double sum = 0, mean = 0, adam = 0, correction = 1;
  ASSERT_EQ(numbers["gradients"].size(), 400U);
  for (size_t step = 0; step < 400; ++step) {
    const double g = numbers["gradients"][step];
    sum += g * g;
    mean = 0.9 * mean + 0.1 * g * g;
    adam = 0.99 * adam + 0.01 * g * g;
    correction *= 0.99;
    const std::array exact = {0.1 / std::sqrt(sum), 0.1 / std::sqrt(mean),
                              0.1 / std::sqrt(adam / (1 - correction))};
    for (size_t k = 0; k < exact.size(); ++k) {
      EXPECT_NEAR(numbers["runs"][k]["rates"][step], exact[k], 2e-5 * exact[k])
          << numbers["runs"][k]["rule"] << ' ' << step;
    }
  }
}

TEST(AdagradDemoTest, WithoutNoiseTheRateFallsWithTheRootOfTheStep) {
  const auto rates = ResultOf("adagrad", {"noise=0", "later=1"}).numbers["runs"][0]["rates"];
  for (size_t step = 0; step < 400; ++step) {
    EXPECT_NEAR(rates[step], 0.1 / std::sqrt(static_cast<double>(step + 1)), 1e-6);
  }
}

TEST(DecayDemoTest, DecoupledDecayIsOneFactorAndPenaltiesDependOnTheGradient) {
  const auto numbers = ResultOf("decay").numbers;
  const double expected = std::pow(1 - 0.01 * 0.3, 300);
  EXPECT_NEAR(numbers["expected"], expected, 1e-12);
  const auto& l1 = numbers["kinds"][0];
  const auto& l2 = numbers["kinds"][1];
  const auto& decoupled = numbers["kinds"][2];
  EXPECT_NEAR(decoupled["large"], expected, 0.05);
  EXPECT_NEAR(decoupled["small"], expected, 0.05);
  for (const auto& kind : {l1, l2}) {
    EXPECT_GT(kind["large"], 0.7) << kind["kind"];
    EXPECT_LT(kind["small"], 0.3) << kind["kind"];
  }
}

// Adam in double, with the same noise and the penalty's gradient added.
TEST(DecayDemoTest, MeansAreThoseOfAdamInDouble) {
  const DemoResult result = ResultOf("decay", {"steps=50"});
  for (size_t kind = 0; kind < 3; ++kind) {
    std::mt19937_64 random(1);
    std::normal_distribution<double> normal;
    std::vector<double> w(200, 1), m(200), v(200);
    for (int t = 1; t <= 50; ++t) {
      for (size_t i = 0; i < 200; ++i) {
        const double noise = (i < 100 ? 5 : 0.2) * normal(random);
        const double sign = w[i] > 0 ? 1 : -1;
        const double g = noise + (kind == 0 ? 0.3 * sign : kind == 1 ? 0.3 * w[i] : 0);
        m[i] = 0.9 * m[i] + 0.1 * g;
        v[i] = 0.999 * v[i] + 0.001 * g * g;
        const double step =
            m[i] / (1 - std::pow(0.9, t)) / (std::sqrt(v[i] / (1 - std::pow(0.999, t))) + 1e-8);
        w[i] -= 0.01 * step + (kind == 2 ? 0.01 * 0.3 * w[i] : 0);
      }
    }
    for (size_t half = 0; half < 2; ++half) {
      double mean = 0;
      for (size_t i = 0; i < 100; ++i) mean += w[100 * half + i] / 100;
      EXPECT_NEAR(result.charts[kind].series[half].y.back(), mean, 1e-4) << kind << ' ' << half;
    }
  }
}

// The square root of the variance correction of RAdam (arXiv:1908.03265), or 0 where it is not
// defined.
double Rectification(double beta2, double t) {
  const double most = 2 / (1 - beta2) - 1, power = std::pow(beta2, t);
  const double length = most - 2 * t * power / (1 - power);
  if (length <= 5) return 0;
  return std::sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length));
}

TEST(WarmupDemoTest, RAdamAndTheWarmupMultiplyAdamsRates) {
  const auto runs = ResultOf("warmup", {"steps=150", "weights=500"}).numbers["runs"];
  for (size_t step = 0; step < 150; ++step) {
    const double adam = runs[0]["deviations"][step], mean = runs[0]["means"][step];
    const double warm = std::min(1.0, static_cast<double>(step + 1) / 100);
    EXPECT_NEAR(runs[1]["deviations"][step], warm * adam, 1e-4 * adam) << step;
    EXPECT_NEAR(runs[1]["means"][step], warm * mean, 1e-4 * mean) << step;
    const double rectified = Rectification(0.999, static_cast<double>(step + 1));
    if (rectified == 0) {
      EXPECT_NEAR(runs[2]["deviations"][step], 0, 1e-5) << step;
    } else {
      EXPECT_NEAR(runs[2]["deviations"][step], rectified * adam, 1e-3 * adam) << step;
    }
  }
}

// With beta2 near 1 the first vhat are plain means of t squares, so a rate is the inverse root of
// a chi-squared number over t, whose mean and variance are known for t > 2.
TEST(WarmupDemoTest, AdamsSpreadIsThatOfTheInverseRootOfChiSquared) {
  const auto runs =
      ResultOf("warmup", {"steps=30", "weights=20000", "beta2=0.9999"}).numbers["runs"];
  for (const double t : {8.0, 16.0, 30.0}) {
    const double mean = std::sqrt(t / 2) * std::exp(std::lgamma((t - 1) / 2) - std::lgamma(t / 2));
    const double deviation = std::sqrt(t / (t - 2) - mean * mean);
    const auto at = static_cast<size_t>(t) - 1;
    EXPECT_NEAR(runs[0]["means"][at], mean, 0.02 * mean) << t;
    EXPECT_NEAR(runs[0]["deviations"][at], deviation, 0.06 * deviation) << t;
  }
}

TEST(ClippingDemoTest, ByNormIsOneFactorAndByValueIsEachElement) {
  for (const char* const max_norm : {"1", "1000"}) {
    const auto numbers = ResultOf("clipping", {std::string("max_norm=") + max_norm}).numbers;
    double squares = 0;
    for (const double g : numbers["gradient"]) squares += g * g;
    const double norm = std::sqrt(squares), most = std::stod(max_norm);
    const double factor = std::min(1.0, most / (norm + 1e-6));
    EXPECT_NEAR(numbers["norm"], norm, 1e-9 * norm);
    EXPECT_NEAR(numbers["norm_after"], std::min(norm, most), 1e-5 * norm);
    EXPECT_NEAR(numbers["norm_cosine"], 1, 1e-9);
    EXPECT_LT(numbers["value_cosine"], 0.99);
    size_t cut = 0;
    for (size_t i = 0; i < 100; ++i) {
      const double g = numbers["gradient"][i];
      EXPECT_NEAR(numbers["by_norm"][i], factor * g, 1e-6 * std::abs(g));
      EXPECT_NEAR(numbers["by_value"][i], std::clamp(g, -5.0, 5.0), 1e-5);
      cut += std::abs(g) > 5 ? 1 : 0;
    }
    EXPECT_NEAR(numbers["share_cut"], static_cast<double>(cut) / 100, 1e-12);
  }
}

TEST(ExplodingGradientDemoTest, TheGradientReachesBackByThePowerOfTheRadius) {
  const DemoResult result = ResultOf("exploding-gradient");
  const std::array radii = {0.9, 1.0, 1.1};
  for (size_t k = 0; k < radii.size(); ++k) {
    for (size_t i = 0; i < 40; ++i) {
      const double exact = std::pow(radii[k], static_cast<double>(i + 1));
      EXPECT_NEAR(result.charts[0].series[k].y[i], exact, 1e-9 * exact);
    }
  }
}

TEST(ExplodingGradientDemoTest, ClippingSavesTheStep) {
  const auto step = ResultOf("exploding-gradient").numbers["step"];
  EXPECT_LT(step["with"], step["before"]);
  EXPECT_GT(step["without"], 100 * step["before"].get<double>());
  // A bound that is never reached changes nothing.
  const auto loose = ResultOf("exploding-gradient", {"max_norm=1e6", "large=1"}).numbers["step"];
  EXPECT_EQ(loose["with"], loose["without"]);
}

TEST(LookaheadDemoTest, SlowWeightsGoPartOfTheWayAndTakeTheFastOnesBack) {
  const DemoResult result = ResultOf("lookahead");
  const auto sync = result.numbers["first_sync"];
  const double fast = sync["fast"], slow = sync["slow"];
  EXPECT_NEAR(slow, 6 + 0.5 * (fast - 6), 1e-6);
  const Series& line = result.charts[0].series[2];
  // At step 5 the fast weights have two values, before and after the sync.
  ASSERT_EQ(line.x[5], 5);
  ASSERT_EQ(line.x[6], 5);
  EXPECT_EQ(line.y[5], fast);
  EXPECT_EQ(line.y[6], slow);
  // The fast weights before the first sync are SGD's.
  for (size_t i = 0; i <= 5; ++i) EXPECT_EQ(line.y[i], result.charts[0].series[0].y[i]);
}

// Zhang et al., Proposition 2, for curvature 1 and noise of variance 1.
TEST(LookaheadDemoTest, SwingsAreThoseOfTheStationaryDistribution) {
  for (const double alpha : {0.5, 0.2}) {
    const auto numbers = ResultOf("lookahead", {"alpha=" + std::to_string(alpha)}).numbers;
    const double lr = 0.2, k = 5, decay = 1 - lr;
    const double sgd = lr * lr / (1 - decay * decay);
    const double a = alpha * alpha * (1 - std::pow(decay, 2 * k));
    const double slow = sgd * a / (a + 2 * alpha * (1 - alpha) * (1 - std::pow(decay, k)));
    EXPECT_NEAR(numbers["swing_alone"], std::sqrt(sgd), 0.03 * std::sqrt(sgd));
    EXPECT_NEAR(numbers["swing_slow"], std::sqrt(slow), 0.06 * std::sqrt(slow)) << alpha;
  }
}

}  // namespace optimiser_demos_test
}  // namespace kudari::lab
