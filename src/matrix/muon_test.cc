// Muon and its relatives against their formulas, with the iteration written as three products.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "kudari/kudari.h"
#include "tests/support/random.h"
#include "tests/support/reference.h"

namespace kudari {
namespace muon_test {

using testing::Random;
using testing::Reference;
using Doubles = std::vector<double>;

/// A small matrix in double.
struct Matrix {
  Matrix(size_t the_rows, size_t the_cols) : rows(the_rows), cols(the_cols), x(rows * cols) {}
  double& operator()(size_t r, size_t c) { return x[r * cols + c]; }
  double operator()(size_t r, size_t c) const { return x[r * cols + c]; }

  Matrix Transposed() const {
    Matrix t(cols, rows);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < cols; ++c) t(c, r) = (*this)(r, c);
    }
    return t;
  }
  Matrix operator*(const Matrix& b) const {
    Matrix out(rows, b.cols);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < b.cols; ++c) {
        for (size_t k = 0; k < cols; ++k) out(r, c) += (*this)(r, k) * b(k, c);
      }
    }
    return out;
  }
  /// a * this + b * other
  Matrix Mixed(double a, double b, const Matrix& other) const {
    Matrix out = *this;
    for (size_t i = 0; i < x.size(); ++i) out.x[i] = a * x[i] + b * other.x[i];
    return out;
  }
  double Norm() const {
    double sum = 0;
    for (const double v : x) sum += v * v;
    return std::sqrt(sum);
  }
  void Multiply(double f) {
    for (double& v : x) v *= f;
  }

  size_t rows, cols;
  Doubles x;
};

using Coefficients = std::vector<std::array<double, 3>>;

const Coefficients kKeller = {{3.4445, -4.7750, 2.0315}};
// Amsel et al., for five iterations, as nanochat has them.
const Coefficients kPolar = {{8.156554524902461, -22.48329292557795, 15.878769915207462},
                             {4.042929935166739, -2.808917465908714, 0.5000178451051316},
                             {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
                             {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
                             {2.3465413258596377, -1.7097828382687081, 0.42323551169305323}};

Matrix Iterated(Matrix x, const Coefficients& coefficients, size_t steps) {
  const bool tall = x.rows > x.cols;
  if (tall) x = x.Transposed();
  for (size_t k = 0; k < steps; ++k) {
    const auto& [a, b, c] = coefficients[std::min(k, coefficients.size() - 1)];
    const Matrix xx = x * x.Transposed();
    x = x.Mixed(a, 1, xx.Mixed(b, c, xx * xx) * x);
  }
  return tall ? x.Transposed() : x;
}

/// One tensor under the formula of a rule.
struct Formula {
  Formula(std::string the_rule, size_t rows, size_t cols, const Doubles& initial)
      : rule(std::move(the_rule)), p(rows, cols), buffer(rows, cols) {
    p.x = initial;
    variance.resize(std::max(rows, cols));
  }

  void Step(const Doubles& gradient, double lr, double momentum, double wd, size_t steps,
            double beta2) {
    const size_t rows = p.rows, cols = p.cols;
    const double ratio = static_cast<double>(rows) / static_cast<double>(cols);
    Matrix g = p;
    g.x = gradient;
    buffer = buffer.Mixed(momentum, 1 - momentum, g);
    Matrix x = g.Mixed(1 - momentum, momentum, buffer);
    const bool polar = rule == "muon_polar_express" || rule == "normuon";
    if (rule == "normuon") Equilibrate(x);
    x.Multiply(1 / (rule == "normuon" ? 1.01 * x.Norm() + 1e-6
                                      : std::max((polar ? 1.01 : 1) * x.Norm(), 1e-7)));
    Matrix o = Iterated(x, polar ? kPolar : kKeller, steps);
    double scale = std::sqrt(std::max(1.0, ratio));
    if (rule == "muon_match_rms") {
      scale = 0.2 * std::sqrt(static_cast<double>(std::max(rows, cols)));
    }
    if (rule == "muon_rms_to_rms") scale = std::sqrt(ratio);
    if (rule == "normuon") {
      Normalize(o, beta2);
      for (size_t i = 0; i < p.x.size(); ++i) {
        const double decay = o.x[i] * p.x[i] >= 0 ? wd * p.x[i] : 0;
        p.x[i] -= lr * scale * (o.x[i] + decay);
      }
      return;
    }
    for (size_t i = 0; i < p.x.size(); ++i) p.x[i] -= lr * (wd * p.x[i] + scale * o.x[i]);
  }

  static void Equilibrate(Matrix& x) {
    const double target = x.Norm() / std::sqrt(static_cast<double>(x.rows));
    for (size_t r = 0; r < x.rows; ++r) {
      double sum = 0;
      for (size_t c = 0; c < x.cols; ++c) sum += x(r, c) * x(r, c);
      for (size_t c = 0; c < x.cols; ++c) x(r, c) *= target / std::max(std::sqrt(sum), 1e-6);
    }
  }

  void Normalize(Matrix& o, double beta2) {
    o.Multiply(std::sqrt(static_cast<double>(std::min(o.rows, o.cols))) / std::max(o.Norm(), 1e-6));
    const double norm = o.Norm();
    const bool by_rows = o.rows >= o.cols;
    for (size_t k = 0; k < variance.size(); ++k) {
      double sum = 0;
      const size_t extent = by_rows ? o.cols : o.rows;
      for (size_t j = 0; j < extent; ++j) {
        const double v = by_rows ? o(k, j) : o(j, k);
        sum += v * v;
      }
      variance[k] = beta2 * variance[k] + (1 - beta2) * sum / static_cast<double>(extent);
      for (size_t j = 0; j < extent; ++j) {
        (by_rows ? o(k, j) : o(j, k)) /= std::sqrt(std::max(variance[k], 1e-10));
      }
    }
    o.Multiply(norm / std::max(o.Norm(), 1e-10));
  }

  std::string rule;
  Matrix p, buffer;
  Doubles variance;
};

const std::vector<std::string> kRules = {"muon", "muon_match_rms", "muon_rms_to_rms",
                                         "muon_polar_express", "normuon"};

Doubles NextGradient(Random& random, size_t n) {
  Doubles g(n);
  for (size_t i = 0; i < n; ++i) {
    g[i] = static_cast<double>(random.Float()) + (i % 7 == 0 ? 2 : 0);
  }
  return g;
}

TEST(MuonTest, IsTheFormulaInDouble) {
  const std::vector<std::vector<int64_t>> shapes = {{6, 6}, {4, 20}, {20, 4},
                                                    {1, 9}, {9, 1},  {5, 2, 3, 2}};
  for (const std::string& name : kRules) {
    const RuleEntry& rule = Registry::Builtin().Find(name);
    for (const auto& shape : shapes) {
      SCOPED_TRACE(name + ", " + std::to_string(shape[0]) + " rows");
      const auto rows = static_cast<size_t>(shape[0]);
      size_t n = 1;
      for (const int64_t d : shape) n *= static_cast<size_t>(d);
      const double lr = 0.05, momentum = 0.8, wd = 0.3, steps = 5, beta2 = 0.7;
      Doubles values = {lr, momentum, wd, steps};
      if (name == "normuon") values = {lr, momentum, beta2, wd, steps};
      Random random(7);
      Doubles initial(n);
      for (double& x : initial) x = static_cast<double>(random.Float());
      Formula formula(name, rows, n / rows, initial);
      Reference reference(rule, shape, initial, values);
      for (int t = 0; t < 10; ++t) {
        const Doubles g = NextGradient(random, n);
        formula.Step(g, lr, momentum, wd, 5, beta2);
        reference.Step(values, g);
      }
      for (size_t i = 0; i < n; ++i) {
        EXPECT_NEAR(reference.p[i], formula.p.x[i], 1e-10);
        EXPECT_NEAR(reference.state[0][i], formula.buffer.x[i], 1e-13);
      }
      for (size_t k = 0; name == "normuon" && k < formula.variance.size(); ++k) {
        EXPECT_NEAR(reference.state[1][k], formula.variance[k], 1e-10);
      }
    }
  }
}

TEST(MuonTest, FloatsFollowDoublesForAnyThreads) {
  for (const std::string& name : kRules) {
    const RuleEntry& rule = Registry::Builtin().Find(name);
    // Stepped side by side, and alone by all threads.
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{48, 96}, {520, 600}}) {
      const auto n = static_cast<size_t>(shape[0] * shape[1]);
      Doubles values;
      for (const auto& o : rule.options) values.push_back(o.default_value);
      Random random(8);
      std::vector<std::vector<float>> p(3, random.Floats(n));
      Reference reference(rule, shape, Doubles(p[0].begin(), p[0].end()), values);
      const bool small = n < 10000;
      std::vector<Optimizer> optimizers;
      for (size_t k = 0; k < 3; ++k) {
        optimizers.emplace_back(
            std::vector<Tensor>{{.name = "w", .shape = shape, .param = p[k].data()}},
            OptimizerSpec(name));
        optimizers.back().SetParallel({.threads = static_cast<int>(k + 1)});
      }
      for (int t = 0; t < (small ? 5 : 1); ++t) {
        const Doubles gradient = NextGradient(random, n);
        const std::vector<float> floats(gradient.begin(), gradient.end());
        for (Optimizer& o : optimizers) {
          o.tensors()[0].grad = floats.data();
          o.Step();
        }
        if (small) reference.Step(values, Doubles(floats.begin(), floats.end()));
      }
      EXPECT_EQ(p[1], p[0]);
      EXPECT_EQ(p[2], p[0]);
      if (!small) continue;
      double distance = 0;
      for (size_t i = 0; i < n; ++i) {
        distance = std::max(distance, std::abs(p[0][i] - reference.p[i]));
      }
      EXPECT_LT(distance, 1e-5) << name;
    }
  }
}

TEST(MuonTest, AZeroGradientMovesNothing) {
  for (const std::string& name : kRules) {
    std::vector<float> p(40, 0.5F), g(40);
    Optimizer optimizer({{.name = "w", .shape = {4, 10}, .param = p.data(), .grad = g.data()}},
                        OptimizerSpec(name, {{"weight_decay", 0.0}}));
    optimizer.Step();
    EXPECT_EQ(p, std::vector<float>(40, 0.5F)) << name;
  }
}

TEST(MuonTest, WantsMatricesAndWholeNumbersOfSteps) {
  std::vector<float> p(7), g(7);
  const auto make = [&](const std::vector<int64_t>& shape, const OptimizerSpec& spec) {
    try {
      Optimizer optimizer({{.name = "w", .shape = shape, .param = p.data(), .grad = g.data()}},
                          spec);
      optimizer.Step();
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  for (const std::string& name : kRules) {
    EXPECT_THAT(make({7}, OptimizerSpec(name)),
                ::testing::HasSubstr(name + ": tensor \"w\" has shape {7}; this rule is for "
                                            "tensors of two dimensions or more"));
    EXPECT_THAT(make({1, 7}, OptimizerSpec(name, {{"ns_steps", 2.5}})),
                ::testing::HasSubstr("has ns_steps = 2.5"));
    EXPECT_EQ(make({1, 7}, OptimizerSpec(name)), "");
    OptimizerSpec spec(name);
    spec.fallback = Fallback{};
    EXPECT_EQ(make({7}, spec), "");
  }
}

}  // namespace muon_test
}  // namespace kudari
