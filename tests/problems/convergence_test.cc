// Problems x rules: every rule of the registry must solve every problem with the settings of the
// table, in which no rule may be missing.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <sstream>

#include "kudari/kudari.h"
#include "lab/landscape/surfaces.h"
#include "tests/support/random.h"

namespace kudari {
namespace convergence_test {

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
  for (int i = 0; i < 5000; ++i) {
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

/// A function of two variables, from a start of its own.
Problem OnSurface(const std::string& name, const Doubles& start, double tolerance) {
  const lab::Surface& surface = lab::FindSurface(name);
  return {name, {{2}}, start, surface.lowest, tolerance, [&surface](const Doubles& w, Doubles& dw) {
            const lab::Position at{w[0], w[1]}, slope = surface.gradient(at);
            dw = {slope.x, slope.y};
            return surface.loss(at);
          }};
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
  // Sharp starts in the deepest of its narrow valleys, noisy in the trough of the deepest minimum.
  static const std::vector<Problem> problems = {Quadratic(),
                                                OnSurface("rosenbrock", {-1.2, 1}, 1e-3),
                                                OnSurface("beale", {1, 1}, 1e-4),
                                                OnSurface("himmelblau", {0, 0}, 1e-4),
                                                OnSurface("sharp", {1.45, 1.1}, 1e-4),
                                                OnSurface("noisy", {2.15, 1.65}, 1e-4),
                                                LogisticRegression(),
                                                Factorisation()};
  return problems;
}

/// The diagonal of the problem's Hessian at w, from differences of gradients.
Doubles Curvature(const Problem& problem, const Doubles& w) {
  constexpr double kStep = 1e-4;
  Doubles diagonal, up(w.size()), down(w.size());
  for (size_t i = 0; i < w.size(); ++i) {
    Doubles at = w;
    at[i] = w[i] + kStep;
    problem.value(at, up);
    at[i] = w[i] - kStep;
    problem.value(at, down);
    diagonal.push_back((up[i] - down[i]) / (2 * kStep));
  }
  return diagonal;
}

/// The tensors of a problem, one after the other in w and g.
std::vector<Tensor> TensorsOf(const Problem& problem, std::vector<float>& w,
                              std::vector<float>& g) {
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
  return tensors;
}

/// How far above the optimum a problem ends. Rules that use the Hessian see its true diagonal every
/// ten steps, in their own form.
double Solve(const Problem& problem, OptimizerSpec spec, double lr, int64_t steps) {
  spec.options.insert_or_assign("lr", lr * Cosine(steps));
  spec.no_adapt.emplace();  // vectors are adapted too
  const bool uses_hessian = Registry::Builtin().Find(spec.rule).scalar.hessian != nullptr;
  std::vector<float> w(problem.start.begin(), problem.start.end()), g(w.size());
  Optimizer optimizer(TensorsOf(problem, w, g), spec);
  optimizer.SetParallel({.threads = 1});
  Doubles dw(w.size());
  const auto evaluate = [&]() -> Evaluation {
    const double value = problem.value(Doubles(w.begin(), w.end()), dw);
    std::copy(dw.begin(), dw.end(), g.begin());
    return value;
  };
  for (int64_t step = 0; step < steps; ++step) {
    optimizer.Step([&](Pass) { return evaluate(); });
    if (!uses_hessian || step % 10 != 0) continue;
    Doubles estimate = Curvature(problem, Doubles(w.begin(), w.end()));
    if (spec.rule == "sophia") {  // the root of what its square is an estimate of
      for (double& e : estimate) e = std::sqrt(std::max(e, 0.0) / optimizer.Value(0, "batch_size"));
    }
    std::copy(estimate.begin(), estimate.end(), g.begin());
    optimizer.UpdateHessian();
  }
  const auto view = optimizer.EvaluationWeights();
  return evaluate().loss - problem.optimum;
}

// What each rule solves the problems with, in the order of Problems(): the peak of a cosine
// schedule of the learning rate, times its steps in hundreds, or "-" where it takes no vectors. An
// indented line has the options that are not the defaults of the rule before it.
constexpr std::string_view kTable = R"(
sgd                       .013x20 .0032x100 .05x8   .016x1  .002x1   .025x1  3.2x1  .25x1
momentum                  .02x2   .002x10   .016x3  .004x2  .00025x2 .0079x1 .63x2  .032x2
nesterov                  .013x2  .0016x15  .01x3   .0079x1 .00079x1 .0063x1 2.5x1  .063x1
asgd                      .025x8  .0025x100 .04x8   .025x1  .001x1   .0063x1 40x1   .25x1
rprop                     .1x1    .025x20   .4x1    .01x1   .25x1    .001x1  .00016x1 .00063x1
adagrad                   2.5x1   .63x100   1.3x3   2x1     .13x1    .079x1  3.2x1  .4x1
adagrad_inside            2.5x1   .63x100   1.3x3   2x1     .13x1    .079x1  3.2x1  .4x1
adadelta                  63x1    .63x50    25x2    63x1    10x1     6.3x1   63x1    160x1
rmsprop                   .79x1   .013x30   .13x2   .2x1    .013x1   .0079x1 .79x1  .04x1
rmsprop_inside            .79x1   .01x30    .079x2  .79x1   .025x1   .016x1  1x1    .13x1
rmsprop_momentum          .063x2  .04x8     .063x2  .079x2  .0025x2  .0025x1 .2x2   .01x2
rmsprop_centered          .79x1   .01x30    .13x3   .2x1    .013x1   .01x1   1x1    .05x1
  eps=0.01
rmsprop_centered_momentum .063x2  .04x8     .063x2  .079x2  .0025x2  .004x1  .25x2  .013x2
  eps=0.01
adam                      .79x2   .63x8     .5x2    1x2     .04x2    .04x1   1x2    .16x2
adamw                     .79x2   .63x8     .5x2    1x2     .04x2    .04x1   1x2    .16x2
  weight_decay=0
amsgrad                   1x2     .63x10    .5x2    1x2     .04x2    .04x1   1x2    .16x2
adamax                    1.6x2   1.6x30    .4x3    1.6x2   .063x1   .16x1   1x2     .16x2
nadam                     1.6x1   .063x30   .5x2    2x1     .079x1   .079x1  1.6x1  .25x1
radam                     .032x15 .002x200  .032x30 .04x15  .005x5   .05x1   2x2    .4x2
adabelief                 .4x2    1x8       .25x1   1.6x2   .25x2    .1x1    .25x2   .16x2
sparse_adam               .79x2   .63x8     .5x2    1x2     .04x2    .04x1   1x2    .16x2
lion                      .04x3   .025x10   .079x5  .16x2   .025x1   .025x1  .16x2  .1x3
sophia                    .4x5    .25x50    .13x5   .25x5   .13x3    .1x2    .2x5   .1x5
  weight_decay=0 rho=0.5
sophia_h                  .16x8   2x50      .13x5   .32x5   .1x3     .025x3  .16x5  .079x5
  weight_decay=0 gamma=0.5
schedule_free_sgd         .079x5  .004x50   .05x5   .02x1   .0016x1  .013x1  2.5x1  .32x1
  momentum=0.97 r=5
schedule_free_adamw       1.3x1   .4x8      .79x1   1.6x1   .063x1   .032x1  1.6x1  .25x1
  r=10
lars                      .13x3   .013x5    .0032x3 .004x3  .00063x2 .0002x1 .016x3 .016x2
  weight_decay=0 trust=1
lars_outside              .5x2    .02x3     .0063x2 .0079x2 .002x1   .001x1  .063x1 .063x1
  weight_decay=0 trust=1
lars_joint                1.3x3   .13x5     .032x3  .025x2  .0063x2  .002x1  .1x2   .16x2
  weight_decay=0 trust=0.1
larc                      .32x2   .0063x8   .05x2   .005x2  .00025x2 .0079x1 .79x2  .13x2
  weight_decay=0 trust=0.1
lamb                      .79x1   .063x15   .025x3  .079x3  .005x2   .0063x1 .13x3  .13x2
  weight_decay=0
lambc                     2x1     .5x10     .5x2    1.3x2   .04x2    .04x1   1.3x2  .4x2
  weight_decay=0
adafactor                 5x1     .04x50    .079x3  2.5x1   .04x1    .1x1    3.2x1  1.3x1
adafactor_torch           5x1     .04x50    .079x3  2.5x1   .04x1    .1x1    3.2x1  1.3x1
muon                      -       -         -       -       -        -       -      .2x1
muon_match_rms            -       -         -       -       -        -       -      .5x1
  weight_decay=0
muon_rms_to_rms           -       -         -       -       -        -       -      .2x1
muon_polar_express        -       -         -       -       -        -       -      .2x1
normuon                   -       -         -       -       -        -       -      .16x1
)";

struct Row {
  OptimizerSpec spec;
  std::vector<std::pair<double, int64_t>> settings;
};

std::map<std::string, Row> Rows() {
  std::map<std::string, Row> rows;
  std::istringstream table{std::string(kTable)};
  std::string rule;
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    if (!line.starts_with(' ')) {
      words >> rule;
      rows.emplace(rule, Row{OptimizerSpec(rule), {}});
    }
    Row& row = rows.at(rule);
    for (std::string word; words >> word;) {
      const size_t equals = word.find('='), times = word.find('x');
      if (equals != std::string::npos) {
        row.spec.options.emplace(word.substr(0, equals), std::stod(word.substr(equals + 1)));
      } else if (word == "-") {
        row.settings.emplace_back(0, 0);
      } else {
        row.settings.emplace_back(std::stod(word.substr(0, times)),
                                  100 * std::stoll(word.substr(times + 1)));
      }
    }
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
  ASSERT_EQ(row.settings.size(), Problems().size());
  for (size_t i = 0; i < Problems().size(); ++i) {
    const Problem& problem = Problems()[i];
    const auto [lr, steps] = row.settings[i];
    if (steps > 0) {
      EXPECT_LT(Solve(problem, row.spec, lr, steps), problem.tolerance) << problem.name;
    } else {
      EXPECT_THROW(Solve(problem, row.spec, lr, 1), Error) << problem.name;
    }
  }
}

// L-BFGS with its line search, in evaluations: the others take a hundred to ten thousand.
TEST(LbfgsTest, SolvesEveryProblem) {
  constexpr int64_t kMostEvaluations[] = {40, 60, 20, 20, 60, 20, 20, 60};
  for (size_t i = 0; i < Problems().size(); ++i) {
    const Problem& problem = Problems()[i];
    SCOPED_TRACE(problem.name);
    std::vector<float> w(problem.start.begin(), problem.start.end()), g(w.size());
    Lbfgs lbfgs(TensorsOf(problem, w, g), {.max_iter = 1000,
                                           .max_eval = kMostEvaluations[i],
                                           .line_search_fn = LineSearch::kStrongWolfe});
    Doubles dw(w.size());
    const LbfgsReport report = lbfgs.Step([&] {
      const double value = problem.value(Doubles(w.begin(), w.end()), dw);
      std::copy(dw.begin(), dw.end(), g.begin());
      return value;
    });
    EXPECT_LT(report.final_loss - problem.optimum, problem.tolerance);
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

}  // namespace convergence_test
}  // namespace kudari
