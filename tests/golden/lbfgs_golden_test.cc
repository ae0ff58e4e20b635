// L-BFGS against runs of torch's in float64, recorded by make_lbfgs.py: its moves over vectors of
// doubles, and the class over float32 tensors.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "kudari/lbfgs.h"
#include "optimizer/lbfgs_moves.h"

namespace kudari {
namespace lbfgs_golden_test {

using nlohmann::json;
using Doubles = std::vector<double>;
/// Returns the loss at w and writes the gradient, as long as w.
using Function = std::function<double(const Doubles& w, Doubles& dw)>;

double Quadratic(const Doubles& w, Doubles& dw) {
  double loss = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const double curvature =
        std::pow(100.0, static_cast<double>(i) / static_cast<double>(w.size() - 1));
    loss += curvature * w[i] * w[i] / 2;
    dw[i] = curvature * w[i];
  }
  return loss;
}

double Rosenbrock(const Doubles& w, Doubles& dw) {
  double loss = 0;
  std::ranges::fill(dw, 0.0);
  for (size_t i = 0; i + 1 < w.size(); ++i) {
    const double bend = w[i + 1] - w[i] * w[i], rest = 1 - w[i];
    loss += 100 * bend * bend + rest * rest;
    dw[i] -= 400 * bend * w[i] + 2 * rest;
    dw[i + 1] += 200 * bend;
  }
  return loss;
}

double Logistic(const Doubles& w, Doubles& dw) {
  constexpr size_t kSamples = 40;
  double loss = 0;
  for (size_t k = 0; k < w.size(); ++k) {
    loss += 0.005 * w[k] * w[k];
    dw[k] = 0.01 * w[k];
  }
  for (size_t i = 0; i < kSamples; ++i) {
    Doubles x;
    double z = 0;
    for (size_t k = 0; k < w.size(); ++k) {
      x.push_back(std::sin(static_cast<double>(3 * i + 5 * k + i * k)));
      z += x[k] * w[k];
    }
    const double y = std::sin(static_cast<double>(7 * i)) + x[0] > 0 ? 1 : -1;
    loss += std::log1p(std::exp(-y * z)) / kSamples;
    for (size_t k = 0; k < w.size(); ++k) dw[k] -= y * x[k] / (1 + std::exp(y * z)) / kSamples;
  }
  return loss;
}

Function FunctionOf(const json& c) {
  const std::string name = c["function"];
  return name == "quadratic" ? &Quadratic : name == "rosenbrock" ? &Rosenbrock : &Logistic;
}

Doubles StartOf(const json& c) {
  Doubles w(c["size"].get<size_t>());
  for (size_t i = 0; i < w.size(); ++i) {
    w[i] = c["function"] == "quadratic" ? 1 : c["function"] == "logistic" ? 0 : i % 2 ? 1 : -1.2;
  }
  return w;
}

LbfgsOptions OptionsOf(const json& c) {
  LbfgsOptions o;
  const json& given = c["options"];
  o.lr = given.value("lr", o.lr);
  o.max_iter = given.value("max_iter", o.max_iter);
  if (given.contains("max_eval")) o.max_eval = given["max_eval"].get<int64_t>();
  o.tolerance_grad = given.value("tolerance_grad", o.tolerance_grad);
  o.tolerance_change = given.value("tolerance_change", o.tolerance_change);
  o.history_size = given.value("history_size", o.history_size);
  if (given.contains("line_search_fn")) o.line_search_fn = LineSearch::kStrongWolfe;
  return o;
}

/// Vectors of doubles, with plain sums.
class DoubleVectors final : public internal::LbfgsVectors {
 public:
  explicit DoubleVectors(Doubles start) : weights(std::move(start)), gradient(weights.size()) {}

  void Reserve(size_t count) override {
    vectors_.resize(std::max(count, vectors_.size()), weights);
  }
  void TakeGradient(size_t to) override { vectors_[to] = gradient; }
  void BeginLine() override { line_ = weights; }
  void Move(double t, size_t direction) override {
    for (size_t i = 0; i < weights.size(); ++i) {
      weights[i] = line_[i] + t * vectors_[direction][i];
    }
  }
  void MoveBack() override { weights = line_; }
  void Combine(size_t out, double a, size_t x, double b, size_t y) override {
    for (size_t i = 0; i < weights.size(); ++i) {
      vectors_[out][i] = a * vectors_[x][i] + b * vectors_[y][i];
    }
  }
  void Scale(size_t out, double a, size_t x) override {
    for (size_t i = 0; i < weights.size(); ++i) vectors_[out][i] = a * vectors_[x][i];
  }
  double Dot(size_t a, size_t b) override {
    double sum = 0;
    for (size_t i = 0; i < weights.size(); ++i) sum += vectors_[a][i] * vectors_[b][i];
    return sum;
  }
  internal::Magnitudes Measure(size_t a) override {
    internal::Magnitudes m{0, 0};
    for (const double x : vectors_[a]) {
      m.sum += std::abs(x);
      m.largest = std::max(m.largest, std::abs(x));
    }
    return m;
  }

  Doubles weights, gradient;

 private:
  std::vector<Doubles> vectors_;
  Doubles line_;
};

const json& Golden() {
  static const json golden = [] {
    std::ifstream file(std::string(KUDARI_SOURCE_DIR) + "/tests/golden/data/lbfgs.json");
    return json::parse(file);
  }();
  return golden;
}

class LbfgsGolden : public ::testing::TestWithParam<size_t> {
 protected:
  const json& case_ = Golden()["cases"][GetParam()];
};

INSTANTIATE_TEST_SUITE_P(Torch, LbfgsGolden, ::testing::Range<size_t>(0, 12),
                         [](const auto& info) { return "case" + std::to_string(info.param); });

TEST(LbfgsGoldenTest, AllCasesAreRun) { EXPECT_EQ(Golden()["cases"].size(), 12U); }

TEST_P(LbfgsGolden, MovesInDoubleAreTorchs) {
  const Function function = FunctionOf(case_);
  DoubleVectors vectors(StartOf(case_));
  internal::LbfgsPast past;
  for (const json& step : case_["steps"]) {
    const LbfgsReport report =
        internal::MoveByLbfgs([&] { return function(vectors.weights, vectors.gradient); },
                              OptionsOf(case_), vectors, past);
    SCOPED_TRACE(step["iterations"].get<int64_t>());
    const double loss = step["loss"];
    // A line search in a curved valley magnifies roundings, by up to a factor of ten a move: 1.5e-8
    // of a weight after 51 moves.
    EXPECT_NEAR(report.loss, loss, 1e-9 * loss + 2e-9);
    EXPECT_EQ(past.evaluations, step["evaluations"]);
    EXPECT_EQ(past.iterations, step["iterations"]);
    const Doubles weights = step["weights"];
    for (size_t i = 0; i < weights.size(); ++i) EXPECT_NEAR(vectors.weights[i], weights[i], 1e-7);
  }
}

/// Two tensors and one between them that has no gradient.
struct Tensors {
  explicit Tensors(const Doubles& start) : w(start.begin(), start.end()), dw(w.size()) {
    const size_t cut = w.size() / 3;
    list = {
        {.name = "a", .shape = {static_cast<int64_t>(cut)}, .param = w.data(), .grad = dw.data()},
        {.name = "unused", .shape = {1, 3}, .param = unused},
        {.name = "b",
         .shape = {static_cast<int64_t>(w.size() - cut)},
         .param = w.data() + cut,
         .grad = dw.data() + cut}};
  }

  double Evaluate(const Function& function) {
    Doubles gradient(w.size());
    const double loss = function(Doubles(w.begin(), w.end()), gradient);
    std::ranges::copy(gradient, dw.begin());
    return loss;
  }

  std::vector<float> w, dw;
  float unused[3] = {1, 2, 3};
  std::vector<Tensor> list;
};

// Float32 rounds weights and gradients, which changes the path, where the loss is hardly curved,
// before it changes its end: the first step is compared move by move, and the last one's loss.
TEST_P(LbfgsGolden, TheClassFollows) {
  const Function function = FunctionOf(case_);
  for (int64_t moves = 1; moves <= 4; ++moves) {
    LbfgsOptions options = OptionsOf(case_);
    options.max_eval = options.max_eval.value_or(options.max_iter * 5 / 4);
    options.max_iter = moves;
    DoubleVectors vectors(StartOf(case_));
    internal::LbfgsPast past;
    const LbfgsReport expected = internal::MoveByLbfgs(
        [&] { return function(vectors.weights, vectors.gradient); }, options, vectors, past);
    Tensors tensors(StartOf(case_));
    Lbfgs lbfgs(tensors.list, options);
    const LbfgsReport report = lbfgs.Step([&] { return tensors.Evaluate(function); });
    SCOPED_TRACE(moves);
    EXPECT_EQ(report.evaluations, expected.evaluations);
    EXPECT_EQ(report.iterations, expected.iterations);
    EXPECT_EQ(report.stop, expected.stop);
    for (size_t i = 0; i < tensors.w.size(); ++i) {
      EXPECT_NEAR(tensors.w[i], vectors.weights[i], 1e-4 * (1 + std::abs(vectors.weights[i])));
    }
    EXPECT_EQ(tensors.unused[1], 2);
  }
  Tensors tensors(StartOf(case_));
  Lbfgs lbfgs(tensors.list, OptionsOf(case_));
  LbfgsReport report;
  for (size_t step = 0; step < case_["steps"].size(); ++step) {
    report = lbfgs.Step([&] { return tensors.Evaluate(function); });
  }
  const double first = case_["steps"][0]["loss"];
  const Doubles last = case_["steps"].back()["weights"];
  Doubles gradient(last.size());
  EXPECT_LT(std::abs(tensors.Evaluate(function) - function(last, gradient)), 2e-3 * first);
}

}  // namespace lbfgs_golden_test
}  // namespace kudari
