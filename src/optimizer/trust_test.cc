// The trust ratios that a step reports, against the formulas of the rules in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <string_view>

#include "kudari/kudari.h"
#include "tests/support/model.h"

namespace kudari {
namespace trust_test {

using testing::Model;
using Floats = std::vector<float>;

struct Expected {
  double ratio;
  bool pinned;
};

double Norm(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  return std::sqrt(sum);
}

/// The definition of each rule: of the first step at weights p with gradient g.
Expected ByFormula(const std::string& rule, double lr, double decay, double trust, const Floats& p,
                   const Floats& g) {
  std::vector<double> weights(p.begin(), p.end()), gradient(g.begin(), g.end()), step, both;
  for (size_t i = 0; i < p.size(); ++i) {
    both.push_back(gradient[i] + decay * weights[i]);
    // The first step's moments without their bias are g and g^2.
    step.push_back(gradient[i] / (std::abs(gradient[i]) + 1e-6) + decay * weights[i]);
  }
  const double w = Norm(weights), n = Norm(gradient), r = Norm(step);
  if (rule == "lamb" || rule == "lambc") {
    if (w == 0 || r == 0) return {1, true};
    if (rule == "lambc" && w > r) return {1, true};
    return {w / r, false};
  }
  const double below = rule == "lars_joint" ? Norm(both) : n + decay * w;
  const bool zero = w == 0 || (rule == "lars_joint" ? below : n) == 0;
  const double ratio = zero ? 1 : trust * w / below;
  if (rule != "larc") return {ratio, zero};
  return {std::min(1.0, ratio / lr), zero || ratio > lr};
}

// A matrix in one piece, one in several, one whose step is bounded, a vector, and zeros.
const Model::Shapes kShapes = {{"small", {8, 4}}, {"large", {400, 400}}, {"long", {6, 5}},
                               {"bias", {9}},     {"born_zero", {3, 3}}, {"unused", {2, 2}},
                               {"still", {4, 4}}};

class TrustTest : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Rules, TrustTest,
                         ::testing::Values("lamb", "lambc", "lars", "lars_outside", "lars_joint",
                                           "larc"),
                         [](const auto& info) { return info.param; });

TEST_P(TrustTest, IsTheFormulas) {
  const std::string& rule = GetParam();
  const bool moments = rule.starts_with("lamb");
  constexpr double kLr = 0.05, kDecay = 0.1, kTrust = 0.02;
  OptimizerSpec spec(rule);
  spec.options = {{"lr", kLr}, {"weight_decay", kDecay}};
  if (!moments) spec.options.emplace("trust", kTrust);
  spec.no_adapt = std::vector{TensorClass::kBias};
  spec.no_decay = {};

  Model model(kShapes);
  for (float& x : model.params[0]) x *= 0.1F;
  for (float& x : model.params[2]) x *= 50;
  std::ranges::fill(model.params[4], 0.0F);
  model.tensors[5].grad = nullptr;
  std::ranges::fill(model.grads[6], 0.0F);
  const auto params = model.params;

  Optimizer optimizer(model.tensors, spec);
  const Report report = optimizer.Step();
  std::map<std::string_view, Trust> trust;
  for (const Trust& t : report.trust) trust[t.tensor] = t;
  ASSERT_EQ(report.trust.size(), 5U);
  EXPECT_FALSE(trust.contains("bias"));
  EXPECT_FALSE(trust.contains("unused"));
  bool seen[2] = {};
  for (const size_t i : {0U, 1U, 2U, 4U, 6U}) {
    const std::string& name = model.tensors[i].name;
    const Expected expected = ByFormula(rule, kLr, kDecay, kTrust, params[i], model.grads[i]);
    ASSERT_TRUE(trust.contains(name));
    EXPECT_NEAR(trust[name].ratio, expected.ratio, 1e-5 * expected.ratio) << name;
    EXPECT_EQ(trust[name].pinned, expected.pinned) << name;
    seen[expected.pinned ? 1 : 0] = true;
  }
  EXPECT_TRUE(seen[0] && seen[1]);
  EXPECT_EQ(trust["long"].pinned, rule == "lambc" || rule == "larc");
}

TEST_P(TrustTest, IsWhatTheStepIsMultipliedWith) {
  const Model::Shapes shapes = {{"w", {8, 4}}};
  Model adapted(shapes), plain(shapes);
  const Floats before = adapted.params[0];
  OptimizerSpec spec(GetParam());
  spec.options = {{"lr", 0.05}, {"weight_decay", 0.0}};
  spec.no_adapt = std::vector<TensorClass>{};
  Optimizer optimizer(adapted.tensors, spec);
  const Report report = optimizer.Step();
  ASSERT_EQ(report.trust.size(), 1U);
  spec.no_adapt = std::vector{TensorClass::kMatrix};
  EXPECT_TRUE(Optimizer(plain.tensors, spec).Step().trust.empty());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_NEAR(before[i] - adapted.params[0][i],
                report.trust[0].ratio * (before[i] - plain.params[0][i]), 1e-6)
        << i;
  }
}

TEST(TrustReportTest, IsOfTheStepAndOfItsTensors) {
  Model model({{"a", {4, 4}}, {"b", {4, 4}}});
  Optimizer optimizer(model.tensors, Lamb{});
  EXPECT_EQ(optimizer.Step().trust.size(), 2U);
  const Report one = optimizer.StepTensor(1);
  ASSERT_EQ(one.trust.size(), 1U);
  EXPECT_EQ(one.trust[0].tensor, "b");
  optimizer.FinishStep();
  model.grads[0][0] = std::numeric_limits<float>::quiet_NaN();
  OptimizerSpec skipping = Lamb{};
  skipping.nonfinite = NonFinite::kSkip;
  EXPECT_TRUE(Optimizer(model.tensors, skipping).Step().trust.empty());
  EXPECT_TRUE(Optimizer(model.tensors, AdamW{}).Step().trust.empty());
}

}  // namespace trust_test
}  // namespace kudari
