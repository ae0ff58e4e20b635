// Adafactor against the formulas of the paper and of torch, written out over indices.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "kudari/kudari.h"
#include "tests/support/random.h"
#include "tests/support/reference.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace adafactor_test {

using testing::Random;
using testing::Reference;
using Doubles = std::vector<double>;
using Shape = std::vector<int64_t>;

size_t Count(const Shape& shape) {
  return static_cast<size_t>(
      std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()));
}

/// The formulas with indices: factored over dimensions `row` < `column`, or not if there are fewer.
struct Formula {
  Formula(const Shape& the_shape, Doubles initial, size_t row_dim, size_t column_dim, bool is_torch)
      : shape(the_shape), p(std::move(initial)), row(row_dim), column(column_dim), torch(is_torch) {
    full.resize(p.size());
  }

  /// The flat index of the element's group when dimension `dim` is left out.
  size_t Without(size_t element, size_t dim) const {
    size_t index = 0, stride = 1;
    for (size_t k = shape.size(); k-- > 0;) {
      const auto extent = static_cast<size_t>(shape[k]);
      const size_t at = element % extent;
      element /= extent;
      if (k == dim) continue;
      index += at * stride;
      stride *= extent;
    }
    return index;
  }

  Doubles Means(const Doubles& squares, size_t over) const {
    Doubles means(squares.size() / static_cast<size_t>(shape[over]));
    for (size_t e = 0; e < squares.size(); ++e) {
      means[Without(e, over)] += squares[e] / static_cast<double>(shape[over]);
    }
    return means;
  }

  void Step(const Doubles& g, int t, double lr, double eps1, double eps2, double d, double wd) {
    const double blend = std::pow(t, -0.8), rho = std::min(lr, 1 / std::sqrt(t));
    const auto n = static_cast<double>(p.size());
    double pp = 0;
    for (const double x : p) pp += x * x;
    const double alpha = std::max(eps2, std::sqrt(pp / n)) * rho;
    Doubles squares;
    for (const double x : g) squares.push_back(x * x + (torch ? 0 : eps1));
    Doubles variance(p.size());
    const auto blended = [&](Doubles& old, const Doubles& now) {
      old.resize(now.size());
      for (size_t i = 0; i < now.size(); ++i) old[i] = (1 - blend) * old[i] + blend * now[i];
    };
    if (shape.size() < 2) {
      blended(full, squares);
      variance = full;
    } else {
      blended(r, Means(squares, column));
      blended(c, Means(squares, row));
      for (size_t e = 0; e < p.size(); ++e) {
        // The mean of r over the rows of e's matrix.
        double mean = 0;
        for (size_t other = 0; other < p.size(); ++other) {
          if (SameMatrix(e, other)) mean += r[Without(other, column)];
        }
        mean /= static_cast<double>(shape[row] * shape[column]);
        if (torch) mean = std::max(mean, eps1);
        variance[e] = r[Without(e, column)] * c[Without(e, row)] / mean;
      }
    }
    if (torch) {
      for (double& v : variance) v = std::max(v, eps1 * eps1);
    }
    Doubles u;
    double uu = 0;
    for (size_t e = 0; e < p.size(); ++e) {
      u.push_back(g[e] / std::sqrt(variance[e]));
      uu += u[e] * u[e];
    }
    const double shorter = std::max(1.0, std::sqrt(uu / n) / d);
    for (size_t e = 0; e < p.size(); ++e) {
      p[e] -= alpha * u[e] / shorter + (torch ? lr : alpha) * wd * p[e];
    }
  }

  bool SameMatrix(size_t a, size_t b) const {
    for (size_t k = shape.size(); k-- > 0;) {
      const auto extent = static_cast<size_t>(shape[k]);
      if (k != row && k != column && a % extent != b % extent) return false;
      a /= extent;
      b /= extent;
    }
    return true;
  }

  Shape shape;
  Doubles p, full, r, c;
  size_t row, column;
  bool torch;
};

struct Case {
  Shape shape;
  size_t row, column;
  bool torch;
  double eps1 = torch ? 0x1p-23 : 1e-30;
};

// An eps1 of torch's convention that many elements' variance is beneath, but not all.
constexpr double kHighFloor = 0.3;

/// Gradients with a row and a column of zeros, of very different sizes, some missing entirely.
Doubles NextGradient(Random& random, const Shape& shape, int step) {
  Doubles g(Count(shape));
  for (size_t i = 0; i < g.size(); ++i) {
    g[i] = static_cast<double>(random.Float()) * (i % 5 == 0 ? 1e-3 : 1);
    if (shape.size() > 1 && i / static_cast<size_t>(shape.back()) == 1) g[i] = 0;
    if (i % static_cast<size_t>(shape.empty() ? 1 : shape.back()) == 2 && step < 3) g[i] = 0;
  }
  return g;
}

TEST(AdafactorTest, IsTheFormulaInDouble) {
  for (const Case& c : {Case{{7, 5}, 0, 1, false},
                        {{5, 40}, 0, 1, false},
                        {{1, 9}, 0, 1, false},
                        {{40, 1}, 0, 1, false},
                        {{6, 5, 3, 3}, 0, 1, false},
                        {{3, 8, 6}, 1, 2, false},
                        {{8, 3, 6}, 0, 2, false},
                        {{4, 4, 4}, 1, 2, false},
                        {{9}, 0, 0, false},
                        {{}, 0, 0, false},
                        {{7, 5}, 0, 1, true},
                        {{7, 5}, 0, 1, true, kHighFloor},
                        {{6, 5, 3, 3}, 2, 3, true},
                        {{6, 5, 3, 3}, 2, 3, true, kHighFloor},
                        {{9}, 0, 0, true},
                        {{9}, 0, 0, true, kHighFloor}}) {
    for (const double wd : {0.0, 0.3}) {
      const RuleEntry& rule = Registry::Builtin().Find(c.torch ? "adafactor_torch" : "adafactor");
      const double eps1 = c.eps1, lr = 0.03, d = 0.7, eps2 = 1e-3;
      const Doubles values = {lr, -0.8, eps1, eps2, d, wd};
      Random random(3);
      Doubles initial(Count(c.shape));
      for (double& x : initial) x = static_cast<double>(random.Float());
      Formula formula(c.shape, initial, c.row, c.column, c.torch);
      Reference reference(rule, c.shape, initial, values);
      for (int t = 1; t <= 20; ++t) {
        const Doubles g = NextGradient(random, c.shape, t);
        formula.Step(g, t, lr, eps1, eps2, d, wd);
        reference.Step(values, g);
      }
      for (size_t i = 0; i < initial.size(); ++i) {
        EXPECT_NEAR(reference.p[i], formula.p[i], 1e-12) << rule.name << " " << c.shape.size();
      }
      if (c.shape.size() > 1) {
        ASSERT_EQ(reference.state[0].size(), formula.r.size());
        ASSERT_EQ(reference.state[1].size(), formula.c.size());
        EXPECT_TRUE(reference.state[2].empty());
        for (size_t i = 0; i < formula.r.size(); ++i) {
          EXPECT_NEAR(reference.state[0][i], formula.r[i], 1e-13);
        }
      }
    }
  }
}

TEST(AdafactorTest, FloatsFollowDoublesOverPanelsOfRowsAndAnyThreads) {
  for (const Shape& shape : {Shape{700, 300}, {33, 5000}, {64, 32, 3, 3}, {3000}}) {
    for (const OptimizerSpec& spec : {OptimizerSpec("adafactor"), OptimizerSpec("adafactor_torch"),
                                      OptimizerSpec("adafactor_torch", {{"eps1", kHighFloor}})}) {
      const RuleEntry& rule = Registry::Builtin().Find(spec.rule);
      Doubles values;
      for (const auto& o : rule.options) {
        const auto at = spec.options.find(o.name);
        values.push_back(at == spec.options.end() ? o.default_value : at->second(0));
      }
      Random random(4);
      std::vector<std::vector<float>> p(3, random.Floats(Count(shape))), g;
      Reference reference(rule, shape, Doubles(p[0].begin(), p[0].end()), values);
      std::vector<Optimizer> optimizers;
      for (size_t k = 0; k < 3; ++k) {
        optimizers.emplace_back(
            std::vector<Tensor>{{.name = "w", .shape = shape, .param = p[k].data()}}, spec);
        optimizers.back().SetParallel({.threads = static_cast<int>(k + 1)});
      }
      for (int t = 1; t <= 10; ++t) {
        const Doubles gradient = NextGradient(random, shape, t);
        const std::vector<float> floats(gradient.begin(), gradient.end());
        for (Optimizer& o : optimizers) {
          o.tensors()[0].grad = floats.data();
          o.Step();
        }
        reference.Step(values, Doubles(floats.begin(), floats.end()));
      }
      EXPECT_EQ(p[1], p[0]);
      EXPECT_EQ(p[2], p[0]);
      double distance = 0;
      for (size_t i = 0; i < p[0].size(); ++i) {
        distance = std::max(distance, std::abs(p[0][i] - reference.p[i]));
      }
      EXPECT_LT(distance, 1e-6) << spec.rule;
    }
  }
}

TEST(AdafactorTest, StateIsRowsAndColumns) {
  std::vector<float> p(3072), g(p.size(), 1);
  Optimizer optimizer({{.name = "w", .shape = {48, 64}, .param = p.data(), .grad = g.data()}},
                      Adafactor{});
  optimizer.Step();
  const std::vector<testing::Buffer> buffers = testing::Buffers(optimizer, 0);
  ASSERT_EQ(buffers.size(), 3U);
  EXPECT_EQ(buffers[0].values.size(), 48U);
  EXPECT_EQ(buffers[1].values.size(), 64U);
  EXPECT_TRUE(buffers[2].values.empty());
}

TEST(AdafactorTest, TheFirstUpdateOfARankOneGradientHasRootMeanSquareOne) {
  // |g| = a b^T: the factored variance is exact, so u is the gradient's sign.
  const Shape shape = {12, 20};
  std::vector<float> p(240, 0.5F), g(240);
  for (size_t i = 0; i < 240; ++i) {
    const size_t a = i / 20 + 1, b = i % 20 + 1;
    g[i] = (i % 3 == 0 ? -1.0F : 1.0F) * static_cast<float>(a * b);
  }
  Optimizer optimizer({{.name = "w", .shape = shape, .param = p.data(), .grad = g.data()}},
                      Adafactor{.lr = 0.1});
  optimizer.Step();
  for (size_t i = 0; i < 240; ++i) {
    EXPECT_NEAR(p[i], 0.5F + (i % 3 == 0 ? 0.05F : -0.05F), 1e-6);  // alpha = 0.5 * 0.1
  }
}

TEST(AdafactorTest, ZeroGradientsMakeNoUpdate) {
  for (const std::string name : {"adafactor", "adafactor_torch"}) {
    std::vector<float> p(40, 0.5F), g(40);
    Optimizer optimizer({{.name = "w", .shape = {4, 10}, .param = p.data(), .grad = g.data()}},
                        OptimizerSpec(name, {{"eps1", 0.0}}));
    optimizer.Step();
    optimizer.Step();
    EXPECT_EQ(p, std::vector<float>(40, 0.5F)) << name;
  }
}

}  // namespace adafactor_test
}  // namespace kudari
