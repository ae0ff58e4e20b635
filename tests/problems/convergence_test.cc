// Problems x rules: every rule of the registry must solve every problem with the settings of the
// table, in which no rule may be missing.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "kudari/kudari.h"
#include "tests/support/random.h"

namespace kudari {
namespace {

/// A function with its start, its smallest value and how near a run must come to that.
struct Problem {
  std::string name;
  std::vector<float> start;
  double optimum;
  double tolerance;
  /// Returns the value at w and writes the gradient.
  std::function<double(const std::vector<float>& w, std::vector<float>& dw)> value;
};

Problem Quadratic() {
  // Curvatures from 1 to 100 along the axes.
  return {"quadratic", std::vector<float>(10, 1), 0, 1e-6, [](const auto& w, auto& dw) {
            double sum = 0;
            for (size_t i = 0; i < w.size(); ++i) {
              const double curvature = std::pow(100.0, static_cast<double>(i) / 9);
              sum += curvature * w[i] * w[i] / 2;
              dw[i] = static_cast<float>(curvature * w[i]);
            }
            return sum;
          }};
}

Problem Rosenbrock() {
  return {"rosenbrock", {-1.2F, 1}, 0, 1e-3, [](const auto& w, auto& dw) {
            const double x = w[0], y = w[1], a = 1 - x, b = y - x * x;
            dw[0] = static_cast<float>(-2 * a - 400 * x * b);
            dw[1] = static_cast<float>(200 * b);
            return a * a + 100 * b * b;
          }};
}

Problem LogisticRegression() {
  // Labels from a known weight vector, ridge 0.1: strongly convex. The optimum is Newton's.
  constexpr size_t kSamples = 200, kDims = 3;
  testing::Random random(21);
  std::vector<std::vector<float>> x;
  std::vector<double> y;
  for (size_t i = 0; i < kSamples; ++i) {
    x.push_back(random.Floats(kDims, 2));
    y.push_back(x[i][0] - 2 * x[i][1] + 0.5 * random.Float() > 0 ? 1 : -1);
  }
  const auto evaluate = [x, y](const std::vector<double>& w, std::vector<double>& dw) {
    double loss = 0;
    dw.assign(kDims, 0);
    for (size_t i = 0; i < kSamples; ++i) {
      double z = 0;
      for (size_t k = 0; k < kDims; ++k) z += w[k] * x[i][k];
      loss += std::log1p(std::exp(-y[i] * z)) / kSamples;
      for (size_t k = 0; k < kDims; ++k) {
        dw[k] -= y[i] * x[i][k] / (1 + std::exp(y[i] * z)) / kSamples;
      }
    }
    for (size_t k = 0; k < kDims; ++k) {
      loss += 0.05 * w[k] * w[k];
      dw[k] += 0.1 * w[k];
    }
    return loss;
  };
  // Plain gradient descent in double, far past convergence, finds the optimum independently.
  std::vector<double> w(kDims), dw;
  double optimum = 0;
  for (int i = 0; i < 20000; ++i) {
    optimum = evaluate(w, dw);
    for (size_t k = 0; k < kDims; ++k) w[k] -= 0.5 * dw[k];
  }
  return {"logistic", std::vector<float>(kDims), optimum, 1e-6,
          [evaluate](const std::vector<float>& p, std::vector<float>& dp) {
            std::vector<double> gradient;
            const double loss = evaluate({p.begin(), p.end()}, gradient);
            dp.assign(gradient.begin(), gradient.end());
            return loss;
          }};
}

struct Setting {
  OptimizerSpec spec;
  int64_t steps;
};

/// What each rule solves each problem with, in the order quadratic, Rosenbrock, logistic.
std::map<std::string, std::vector<Setting>> Settings() {
  const auto decayed = [](OptimizerSpec spec, double lr, int64_t steps) {
    spec.options.at("lr") = lr * Cosine(steps);
    return Setting{std::move(spec), steps};
  };
  return {
      {"sgd", {{Sgd{.lr = 0.015}, 2000}, {Sgd{.lr = 1e-3}, 30000}, {Sgd{.lr = 0.5}, 1000}}},
      {"momentum",
       {{Momentum{.lr = 0.01}, 500}, {Momentum{.lr = 3e-4}, 10000}, {Momentum{.lr = 0.1}, 500}}},
      {"nesterov",
       {{Nesterov{.lr = 0.01}, 500}, {Nesterov{.lr = 3e-4}, 10000}, {Nesterov{.lr = 0.1}, 500}}},
      {"adam", {decayed(Adam{}, 0.1, 500), decayed(Adam{}, 0.05, 5000), decayed(Adam{}, 0.1, 500)}},
      {"adamw",
       {decayed(AdamW{.weight_decay = 0}, 0.1, 500), decayed(AdamW{.weight_decay = 0}, 0.05, 5000),
        decayed(AdamW{.weight_decay = 0}, 0.1, 500)}},
  };
}

class ConvergenceTest : public ::testing::TestWithParam<RuleEntry> {};

INSTANTIATE_TEST_SUITE_P(Registry, ConvergenceTest,
                         ::testing::ValuesIn(Registry::Builtin().rules()),
                         [](const auto& info) { return info.param.name; });

TEST_P(ConvergenceTest, SolvesEveryProblem) {
  const Problem problems[] = {Quadratic(), Rosenbrock(), LogisticRegression()};
  const auto settings = Settings();
  ASSERT_TRUE(settings.contains(GetParam().name))
      << "no settings for this rule: add a line to the table of this test";
  for (size_t i = 0; i < std::size(problems); ++i) {
    const Problem& problem = problems[i];
    const Setting& setting = settings.at(GetParam().name).at(i);
    std::vector<float> w = problem.start, dw(w.size());
    Optimizer optimizer({{.name = "w",
                          .shape = {static_cast<int64_t>(w.size())},
                          .param = w.data(),
                          .grad = dw.data()}},
                        setting.spec);
    const double first = problem.value(w, dw);
    for (int64_t step = 0; step < setting.steps; ++step) {
      optimizer.Step([&](Pass) -> Evaluation { return problem.value(w, dw); });
    }
    const double last = problem.value(w, dw);
    EXPECT_LT(last - problem.optimum, problem.tolerance) << problem.name << " from " << first;
  }
}

TEST(ProblemsTest, GradientsAreThoseOfTheFunctions) {
  for (const Problem& problem : {Quadratic(), Rosenbrock(), LogisticRegression()}) {
    std::vector<float> w = problem.start, dw(w.size()), unused(w.size());
    for (float& x : w) x += 0.25F;
    problem.value(w, dw);
    for (size_t i = 0; i < w.size(); ++i) {
      std::vector<float> up = w, down = w;
      up[i] += 1.0F / 1024;
      down[i] -= 1.0F / 1024;
      const double slope = (problem.value(up, unused) - problem.value(down, unused)) * 512;
      EXPECT_NEAR(dw[i], slope, 1e-3 * (1 + std::abs(slope))) << problem.name;
    }
  }
}

}  // namespace
}  // namespace kudari
