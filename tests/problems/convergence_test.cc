// Problems x rules: every rule of the registry must solve every problem with the settings of the
// table, in which no rule may be missing.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <sstream>

#include "kudari/kudari.h"
#include "tests/support/random.h"

namespace kudari {
namespace {

using Doubles = std::vector<double>;

/// A function with its start, its smallest value and how near a run must come to that.
struct Problem {
  std::string name;
  /// Of the tensors that w consists of.
  std::vector<std::vector<int64_t>> shapes;
  Doubles start;
  double optimum;
  double tolerance;
  /// Returns the value at w and writes the gradient, as long as w.
  std::function<double(const Doubles& w, Doubles& dw)> value;
};

/// The value that gradient descent in double finds from the problem's start, far past convergence.
double Descend(const Problem& problem, double lr) {
  Doubles w = problem.start, dw(w.size());
  double value = 0;
  for (int i = 0; i < 20000; ++i) {
    value = problem.value(w, dw);
    for (size_t k = 0; k < w.size(); ++k) w[k] -= lr * dw[k];
  }
  return value;
}

Problem Quadratic() {
  // Curvatures from 1 to 100 along the axes.
  return {"quadratic", {{10}}, Doubles(10, 1), 0, 1e-6, [](const Doubles& w, Doubles& dw) {
            double sum = 0;
            for (size_t i = 0; i < w.size(); ++i) {
              const double curvature = std::pow(100.0, static_cast<double>(i) / 9);
              sum += curvature * w[i] * w[i] / 2;
              dw[i] = curvature * w[i];
            }
            return sum;
          }};
}

Problem Rosenbrock() {
  return {"rosenbrock", {{2}}, {-1.2, 1}, 0, 1e-3, [](const Doubles& w, Doubles& dw) {
            const double x = w[0], y = w[1], a = 1 - x, b = y - x * x;
            dw = {-2 * a - 400 * x * b, 200 * b};
            return a * a + 100 * b * b;
          }};
}

Problem Beale() {
  // Flat around (3, 0.5), steep elsewhere.
  return {"beale", {{2}}, {1, 1}, 0, 1e-4, [](const Doubles& w, Doubles& dw) {
            const double x = w[0];
            double value = 0, power = 1;
            dw = {0, 0};
            for (const double target : {1.5, 2.25, 2.625}) {
              const double slope = power;  // y^(i - 1)
              power *= w[1];
              const double i = target == 1.5 ? 1 : target == 2.25 ? 2 : 3;
              const double a = target - x * (1 - power);
              value += a * a;
              dw[0] -= 2 * a * (1 - power);
              dw[1] += 2 * a * x * i * slope;
            }
            return value;
          }};
}

Problem Himmelblau() {
  // Four minima of value zero; starts near the maximum between them.
  return {"himmelblau", {{2}}, {0, 0}, 0, 1e-4, [](const Doubles& w, Doubles& dw) {
            const double x = w[0], y = w[1], a = x * x + y - 11, b = x + y * y - 7;
            dw = {4 * x * a + 2 * b, 2 * a + 4 * y * b};
            return a * a + b * b;
          }};
}

Problem Sharp() {
  // Narrow valleys, for sharpness-aware steps: (x - 1)^2 + 10 sin(5x)^2 along both axes. Starts in
  // the deepest, at x = y = 1.25.
  Problem problem{"sharp", {{2}}, {1.45, 1.1}, 0, 1e-4, [](const Doubles& w, Doubles& dw) {
                    double value = 0;
                    for (size_t i = 0; i < 2; ++i) {
                      const double s = std::sin(5 * w[i]), c = std::cos(5 * w[i]);
                      value += (w[i] - 1) * (w[i] - 1) + 10 * s * s;
                      dw[i] = 2 * (w[i] - 1) + 100 * s * c;
                    }
                    return value;
                  }};
  problem.optimum = Descend(problem, 1e-3);
  return problem;
}

Problem Noisy() {
  // A bowl around (2, 2) with ripples. Starts in the trough of the deepest of its minima.
  Problem problem{"noisy", {{2}}, {2.15, 1.65}, 0, 1e-4, [](const Doubles& w, Doubles& dw) {
                    const double x = w[0], y = w[1];
                    dw = {2 * (x - 2) + 5 * std::cos(10 * x) * std::sin(10 * y),
                          2 * (y - 2) + 5 * std::sin(10 * x) * std::cos(10 * y)};
                    return (x - 2) * (x - 2) + (y - 2) * (y - 2) +
                           0.5 * std::sin(10 * x) * std::sin(10 * y);
                  }};
  problem.optimum = Descend(problem, 1e-3);
  return problem;
}

Problem LogisticRegression() {
  // Labels from a known weight vector, ridge 0.1: strongly convex.
  constexpr size_t kSamples = 200, kDims = 3;
  testing::Random random(21);
  std::vector<std::vector<float>> x;
  Doubles y;
  for (size_t i = 0; i < kSamples; ++i) {
    x.push_back(random.Floats(kDims, 2));
    y.push_back(x[i][0] - 2 * x[i][1] + 0.5 * random.Float() > 0 ? 1 : -1);
  }
  Problem problem{
      "logistic", {{3}}, Doubles(kDims), 0, 1e-6, [x, y](const Doubles& w, Doubles& dw) {
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
      }};
  problem.optimum = Descend(problem, 0.5);
  return problem;
}

Problem Factorisation() {
  // |U V^T - M|^2 / 2 for M of rank 2, U of 6 x 2 and V of 5 x 2: no minimum but M itself, and a
  // saddle at zero.
  constexpr size_t kRows = 6, kColumns = 5, kRank = 2;
  testing::Random random(22);
  const auto draw = [&random](size_t n) {
    const std::vector<float> x = random.Floats(n);
    return Doubles(x.begin(), x.end());
  };
  const auto product = [](const Doubles& uv, size_t i, size_t j) {
    double sum = 0;
    for (size_t k = 0; k < kRank; ++k) sum += uv[i * kRank + k] * uv[(kRows + j) * kRank + k];
    return sum;
  };
  const Doubles truth = draw((kRows + kColumns) * kRank);
  Doubles start = draw(truth.size());
  for (double& x : start) x /= 4;
  return {"factorisation",
          {{kRows, kRank}, {kColumns, kRank}},
          start,
          0,
          1e-4,
          [product, truth](const Doubles& w, Doubles& dw) {
            double value = 0;
            dw.assign(w.size(), 0);
            for (size_t i = 0; i < kRows; ++i) {
              for (size_t j = 0; j < kColumns; ++j) {
                const double error = product(w, i, j) - product(truth, i, j);
                value += error * error / 2;
                for (size_t k = 0; k < kRank; ++k) {
                  dw[i * kRank + k] += error * w[(kRows + j) * kRank + k];
                  dw[(kRows + j) * kRank + k] += error * w[i * kRank + k];
                }
              }
            }
            return value;
          }};
}

const std::vector<Problem>& Problems() {
  static const std::vector<Problem> problems = {Quadratic(),          Rosenbrock(),   Beale(),
                                                Himmelblau(),         Sharp(),        Noisy(),
                                                LogisticRegression(), Factorisation()};
  return problems;
}

/// How far above the optimum a problem ends.
double Solve(const Problem& problem, OptimizerSpec spec, double lr, int64_t steps) {
  spec.options.insert_or_assign("lr", lr * Cosine(steps));
  std::vector<float> w(problem.start.begin(), problem.start.end()), g(w.size());
  std::vector<Tensor> tensors;
  int64_t begin = 0;
  for (const auto& shape : problem.shapes) {
    int64_t size = 1;
    for (const int64_t extent : shape) size *= extent;
    tensors.push_back({.name = "w" + std::to_string(tensors.size()),
                       .shape = shape,
                       .param = w.data() + begin,
                       .grad = g.data() + begin});
    begin += size;
  }
  Optimizer optimizer(tensors, spec);
  Doubles dw(w.size());
  const auto evaluate = [&]() -> Evaluation {
    const double value = problem.value(Doubles(w.begin(), w.end()), dw);
    std::copy(dw.begin(), dw.end(), g.begin());
    return value;
  };
  for (int64_t step = 0; step < steps; ++step) optimizer.Step([&](Pass) { return evaluate(); });
  return evaluate().loss - problem.optimum;
}

// What each rule solves the problems with, in the order of Problems(): the peak of a cosine
// schedule of the learning rate, times its steps; then the options that are not the rule's
// defaults.
constexpr std::string_view kTable = R"(
sgd                       0.016x1500 0.0032x10000 0.05x800  0.016x100  0.002x100   0.025x100  3.2x100  0.25x100
momentum                  0.02x200   0.002x1000   0.02x200  0.004x200  0.00025x200 0.0079x100 0.63x200 0.032x200
nesterov                  0.013x200  0.0016x1500  0.01x300  0.0079x100 0.00079x100 0.0063x100 2.5x100  0.063x100
adagrad                   2.5x100    0.63x10000   1.6x200   2x100      0.13x100    0.079x100  3.2x100  0.4x100
adagrad_inside            2.5x100    0.63x10000   1.6x200   2x100      0.13x100    0.079x100  3.2x100  0.4x100
rmsprop                   0.79x100   0.013x3000   0.13x200  0.2x100    0.013x100   0.0079x100 0.79x100 0.04x100
rmsprop_inside            0.79x100   0.01x3000    0.079x200 0.79x100   0.025x100   0.016x100  1x100    0.13x100
rmsprop_momentum          0.063x200  0.04x800     0.063x200 0.079x200  0.0025x200  0.0025x100 0.2x200  0.01x200
rmsprop_centered          0.79x100   0.01x3000    0.13x200  0.2x100    0.013x100   0.01x100   1x100    0.05x100  eps=0.01
rmsprop_centered_momentum 0.063x200  0.04x800     0.063x200 0.079x200  0.0025x200  0.004x100  0.25x200 0.013x200 eps=0.01
adam                      0.79x200   0.63x800     0.5x200   1x200      0.25x100    0.04x100   1x200    0.16x200
adamw                     0.79x200   0.63x800     0.5x200   1x200      0.25x100    0.04x100   1x200    0.16x200  weight_decay=0
amsgrad                   1x200      0.63x1000    0.5x200   1x200      0.25x100    0.04x100   1x200    0.16x200
radam                     0.032x1000 0.002x20000  0.04x2000 0.063x500  0.005x500   0.05x100   2x200    0.4x200
lion                      0.04x300   0.025x1000   0.079x500 0.16x200   0.025x100   0.025x100  0.13x100 0.1x300
)";

struct Row {
  OptimizerSpec spec;
  std::vector<std::pair<double, int64_t>> settings;
};

std::map<std::string, Row> Rows() {
  std::map<std::string, Row> rows;
  std::istringstream table{std::string(kTable)};
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    std::string rule, option;
    words >> rule;
    Row row{OptimizerSpec(rule), {}};
    for (size_t i = 0; i < Problems().size(); ++i) {
      double lr = 0;
      char times = 0;
      int64_t steps = 0;
      words >> lr >> times >> steps;
      row.settings.emplace_back(lr, steps);
    }
    while (words >> option) {
      const size_t equals = option.find('=');
      row.spec.options.emplace(option.substr(0, equals), std::stod(option.substr(equals + 1)));
    }
    rows.emplace(rule, row);
  }
  return rows;
}

class ConvergenceTest : public ::testing::TestWithParam<RuleEntry> {};

INSTANTIATE_TEST_SUITE_P(Registry, ConvergenceTest,
                         ::testing::ValuesIn(Registry::Builtin().rules()),
                         [](const auto& info) { return info.param.name; });

TEST_P(ConvergenceTest, SolvesEveryProblem) {
  const auto rows = Rows();
  ASSERT_TRUE(rows.contains(GetParam().name))
      << "no settings for this rule: add a line to the table of this test";
  const Row& row = rows.at(GetParam().name);
  for (size_t i = 0; i < Problems().size(); ++i) {
    const Problem& problem = Problems()[i];
    const auto [lr, steps] = row.settings[i];
    EXPECT_LT(Solve(problem, row.spec, lr, steps), problem.tolerance) << problem.name;
  }
}

TEST(ProblemsTest, GradientsAreThoseOfTheFunctions) {
  for (const Problem& problem : Problems()) {
    Doubles w = problem.start, dw(w.size()), unused(w.size());
    for (double& x : w) x += 0.25;
    problem.value(w, dw);
    for (size_t i = 0; i < w.size(); ++i) {
      constexpr double kStep = 1e-5;
      Doubles up = w, down = w;
      up[i] += kStep;
      down[i] -= kStep;
      const double slope = (problem.value(up, unused) - problem.value(down, unused)) / (2 * kStep);
      EXPECT_NEAR(dw[i], slope, 1e-6 * (1 + std::abs(slope))) << problem.name;
    }
  }
}

TEST(ProblemsTest, NoPointIsBelowTheOptimum) {
  for (const Problem& problem : Problems()) {
    if (problem.start.size() != 2) continue;
    Doubles dw(2);
    double least = kInfinity;
    for (int i = -500; i <= 500; ++i) {
      for (int j = -500; j <= 500; ++j) {
        least = std::min(least, problem.value({i * 0.01, j * 0.01}, dw));
      }
    }
    EXPECT_GE(least, problem.optimum - 1e-12) << problem.name;
    EXPECT_LE(least, problem.optimum + 0.1) << problem.name;
  }
}

}  // namespace
}  // namespace kudari
