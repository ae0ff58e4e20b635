// How tensors are treated by what they are: adaptive clipping and centralisation unit by unit,
// fallback and no_adapt by class.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace treatment_test {

using nlohmann::json;
using testing::Model;
using Floats = std::vector<float>;

/// What a step with a learning rate of one takes from the first tensor.
Floats Taken(const OptimizerSpec& spec, const Model& model) {
  const Floats before = model.params[0];
  Optimizer(model.tensors, spec).Step();
  Floats taken;
  for (size_t i = 0; i < before.size(); ++i) taken.push_back(before[i] - model.params[0][i]);
  return taken;
}

TEST(AdaptiveClipTest, IsTimms) {
  const json golden =
      json::parse(std::ifstream(KUDARI_SOURCE_DIR "/tests/golden/stages.json"))["agc"];
  ASSERT_FALSE(golden.empty());
  for (const json& c : golden) {
    Model model({{"w", c["shape"]}});
    model.Assign({c["weights"]});
    const Floats gradient = c["gradient"], clipped = c["clipped"];
    std::copy(gradient.begin(), gradient.end(), model.grads[0].begin());
    OptimizerSpec spec = Sgd{.lr = 1};
    spec.agc = AdaptiveClip{.clip = c["clip"].get<double>()};
    const Floats taken = Taken(spec, model);
    for (size_t i = 0; i < clipped.size(); ++i) EXPECT_NEAR(taken[i], clipped[i], 2e-7) << c;
    EXPECT_EQ(model.grads[0], gradient);  // read only
  }
}

TEST(AdaptiveClipTest, ByHand) {
  // Rows: clipped to 0.5 * 5; left alone; zero weights count as 1e-3.
  Model model({{"w", {3, 2}}});
  model.Assign({{3, 4, 3, 4, 0, 0}});
  model.grads[0] = {0, 10, 1, 1, 6e-3F, 8e-3F};
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.agc = AdaptiveClip{.clip = 0.5};
  const Floats taken = Taken(spec, model);
  const double expected[] = {0, 2.5, 1, 1, 3e-4, 4e-4};
  for (size_t i = 0; i < 6; ++i) EXPECT_NEAR(taken[i], expected[i], 1e-6) << i;
}

TEST(AdaptiveClipTest, SeesTheGradientAfterClippingByNormAndLeavesOutWhatIsExcluded) {
  Model model({{"w", {2}}, {"head.w", {2}}});
  model.Assign({{3, 4}, {3, 4}});
  model.grads[0] = {0, 8};
  model.grads[1] = {6, 0};
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.clip_norm = 5.0;  // halves both
  spec.clip_norm_eps = 0;
  spec.agc = AdaptiveClip{.clip = 0.4, .exclude = {"head.*"}};
  Optimizer(model.tensors, spec).Step();
  EXPECT_NEAR(model.params[0][1], 4 - 2.0, 1e-6);
  EXPECT_EQ(model.params[1][0], 3 - 3.0F);
}

TEST(CentralizeTest, TakesTheMeanFromEveryRowAndFilterAndLeavesVectors) {
  Model model({{"matrix", {3, 4}}, {"filters", {2, 3, 2, 2}}, {"vector", {5}}});
  for (auto& p : model.params) std::fill(p.begin(), p.end(), 0.0F);
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.centralize = true;
  Optimizer(model.tensors, spec).Step();
  for (const auto& [tensor, unit] : {std::pair<size_t, size_t>{0, 4}, {1, 12}}) {
    const Floats& g = model.grads[tensor];
    for (size_t i = 0; i < g.size(); ++i) {
      const auto* const row = g.data() + i / unit * unit;
      const double mean = std::accumulate(row, row + unit, 0.0) / static_cast<double>(unit);
      EXPECT_NEAR(model.params[tensor][i], -(g[i] - mean), 1e-7);
    }
  }
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(model.params[2][i], -model.grads[2][i]);
}

TEST(CentralizeTest, ComesAfterAdaptiveClipping) {
  Model model({{"w", {1, 2}}});
  model.Assign({{3, 4}});
  model.grads[0] = {6, 8};  // clipped to (3, 4), whose mean is 3.5
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.agc = AdaptiveClip{.clip = 1.0};
  spec.centralize = true;
  const Floats taken = Taken(spec, model);
  EXPECT_NEAR(taken[0], -0.5, 1e-6);
  EXPECT_NEAR(taken[1], 0.5, 1e-6);
}

const Model::Shapes kVit = {{"wte.weight", {6, 4}},        {"h.0.norm.weight", {4}},
                            {"h.0.fc.weight", {4, 4}},     {"h.0.fc.bias", {4}},
                            {"conv.weight", {2, 1, 2, 2}}, {"lm_head.weight", {6, 4}}};

TEST(FallbackTest, TakesWhatMatrixRulesDoNotSuitUnlessAGroupDoes) {
  Model model(kVit);
  OptimizerSpec spec = Momentum{.lr = 0.5};
  spec.fallback = Fallback{.rule = "adamw", .options = {{"beta2", 0.95}}};
  spec.groups = {{.match = "lm_head.*", .rule = "sgd"}, {.match = "h.0.fc.bias"}};
  Optimizer optimizer(model.tensors, spec);
  std::vector<std::string> rules;
  std::vector<int> groups;
  for (const TensorPlan& p : optimizer.Plan()) {
    rules.push_back(p.rule);
    groups.push_back(p.group);
  }
  EXPECT_EQ(rules, (std::vector<std::string>{"adamw", "adamw", "momentum", "momentum", "momentum",
                                             "sgd"}));
  EXPECT_EQ(groups, (std::vector{-2, -2, -1, 1, -1, 0}));
  EXPECT_EQ(optimizer.Value(0, "beta2"), 0.95);
  EXPECT_EQ(optimizer.Value(0, "lr"), 1e-3);  // adamw's own
}

/// A rule with a norm: the step is along the gradient, as long as the learning rate.
struct Directed {
  double lr = 1, weight_decay = 0.5;
  static constexpr std::string_view kName = "directed";
  static constexpr std::string_view kSummary = "test";
  static constexpr std::string_view kFormula = "test";
  static constexpr std::string_view kPaper = "test";
  static constexpr std::array kFields = {
      Field<Directed>{"lr", &Directed::lr, 0, kInfinity, "step size"},
      Field<Directed>{"weight_decay", &Directed::weight_decay, 0, kInfinity, "decoupled"}};
  static constexpr std::array<Slot, 0> kState = {};
  static constexpr size_t kNorms = 1;
  static constexpr StatePass kStatePass = StatePass::kUpdate;
  static constexpr bool kAdaptsVectors = false;
  template <class T>
  struct Coeffs {
    T step, decay;
  };
  Coeffs<double> At(int64_t /*t*/) const { return {lr, weight_decay}; }
  static Coeffs<double> Adapted(Coeffs<double> c, std::span<const double> norms) {
    return {c.step / norms[0], c.decay};
  }
};

template <class V, class T>
void Measure(const Directed::Coeffs<T>& /*c*/, V g, V /*p*/, V (&x)[1]) {
  x[0] = g;
}

template <class V, class T>
void Update(const Directed::Coeffs<T>& c, V g, V& p) {
  p = p - V(c.decay) * p - V(c.step) * g;
}

TEST(NoAdaptTest, ByClassAsTheSpecOrTheRuleSays) {
  Registry registry = Registry::Builtin();
  registry.Add(MakeEntry<Directed>());
  const auto adapted = [&](const std::optional<std::vector<TensorClass>>& no_adapt) {
    Model model(kVit);
    for (size_t i = 0; i < model.params.size(); ++i) {
      std::fill(model.params[i].begin(), model.params[i].end(), 4.0F);
      std::fill(model.grads[i].begin(), model.grads[i].end(), 0.0F);
      model.grads[i][0] = 16;
    }
    OptimizerSpec spec("directed");
    spec.no_adapt = no_adapt;
    Optimizer(model.tensors, spec, registry).Step();
    std::string result;
    for (const Floats& p : model.params) {
      // Adapted: 4 - 2 - 1, and the rest decays. Not: 4 - 16, and nothing decays.
      if (p[0] == 1 && p[1] == 2) result += 'a';
      if (p[0] == -12 && p[1] == 4) result += '-';
    }
    return result;
  };
  EXPECT_EQ(adapted(std::nullopt), "a-a-aa");
  EXPECT_EQ(adapted(std::vector<TensorClass>{}), "aaaaaa");
  EXPECT_EQ(adapted(std::vector{TensorClass::kEmbedding, TensorClass::kHead}), "-aaaa-");
}

/// A tensor with two names and one with one.
std::vector<Tensor> Tied(Model& model) {
  model.tensors[0].aliases = {"lm_head.weight"};
  return model.tensors;
}

TEST(AliasTest, WhateverMatchesNamesMatchesAnyOfThem) {
  Model model({{"wte.weight", {2, 2}}, {"w", {2, 2}}});
  OptimizerSpec spec = Sgd{};
  spec.groups = {{.match = "lm_head.*", .options = {{"lr", 0.5}}}};
  spec.classes = {{"lm_*", TensorClass::kHead}};
  const std::vector<TensorPlan> plan = Optimizer(Tied(model), spec).Plan();
  EXPECT_EQ(plan[0].name, "wte.weight");
  EXPECT_EQ(plan[0].group, 0);
  EXPECT_EQ(plan[0].tensor_class, TensorClass::kHead);
  EXPECT_EQ(plan[1].group, -1);

  OptimizerSpec clipping = Sgd{.lr = 1};
  clipping.agc = AdaptiveClip{.clip = 0.0, .exclude = {"lm_head.weight"}};
  const auto before = model.params;
  Optimizer(Tied(model), clipping).Step();
  EXPECT_NE(model.params[0], before[0]);
  EXPECT_EQ(model.params[1], before[1]);

  spec = Sgd{};
  spec.source = "sam";
  spec.sharpness = SharpnessSpec{.rho = 0.5, .groups = {{.match = "lm_head.*", .rho = 0}}};
  const auto weights = model.params;
  Optimizer(Tied(model), spec).Step([&](Pass pass) -> Evaluation {
    EXPECT_EQ(model.params[0], weights[0]);
    EXPECT_EQ(model.params[1] == weights[1], pass == Pass::kPlain);
    return 1.0;
  });
}

TEST(AliasTest, AnAliasIsANameLikeAnyOther) {
  Model model({{"a", {2}}, {"b", {2}}});
  const auto error = [&](std::vector<std::string> aliases) {
    model.tensors[0].aliases = std::move(aliases);
    return testing::ErrorOf([&] { Optimizer(model.tensors, Sgd{}); });
  };
  EXPECT_EQ(error({"b"}), "duplicate tensor name \"b\"");
  EXPECT_EQ(error({"c", "c"}), "duplicate tensor name \"c\"");
  EXPECT_EQ(error({""}), "a tensor has an empty name");
}

TEST(AliasTest, StatesMayHaveAnyName) {
  OptimizerSpec spec = AdamW{};
  spec.ema = EmaSpec{.decay = 0.5};
  spec.source = "looksam";
  Model model({{"wte.weight", {2, 2}}, {"w", {2, 2}}});
  Optimizer optimizer(Tied(model), spec);
  for (int i = 0; i < 2; ++i) {
    optimizer.Step([&](Pass) -> Evaluation {
      model.NextGradient();
      return 1.0;
    });
  }
  // As if it had been saved when the head came first.
  const StateTree state = optimizer.State();
  StateTree other = state;
  for (const std::string path : {"tensors/", "averagers/ema/tensors/", "source/tensors/"}) {
    other.Set(path + "lm_head.weight", state.At(path + "wte.weight"));
    other.Erase(path + "wte.weight");
  }
  Optimizer resumed(Tied(model), spec);
  resumed.LoadState(other);
  EXPECT_EQ(testing::Updates(resumed, 0), 2);
  EXPECT_EQ(FirstDifference(resumed.State(), state), "");

  other.Set("tensors/wte.weight", state.At("tensors/wte.weight"));
  EXPECT_EQ(testing::ErrorOf([&] { resumed.LoadState(other); }),
            "state: \"tensors/lm_head.weight\" (a node) is unknown");
}

}  // namespace treatment_test
}  // namespace kudari
