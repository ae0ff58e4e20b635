// Penalties l1 and l2, and weight decay that is independent of the learning rate's height.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"
#include "tests/support/rules.h"

namespace kudari {
namespace regularisation_test {

using nlohmann::json;
using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Model;
using Floats = std::vector<float>;

TEST(RegularisationTest, IsTorchsAutogradAndOptaxsIndependentDecay) {
  const json golden =
      json::parse(std::ifstream(KUDARI_SOURCE_DIR "/tests/golden/regularisation.json"));
  ASSERT_EQ(golden["cases"].size(), 12U);
  for (const json& c : golden["cases"]) {
    const auto recipe = c["recipe"].get<std::string>();
    SCOPED_TRACE(recipe);
    Floats p = golden["start"], g(p.size());
    Optimizer optimizer({{.name = "w", .shape = {2, 3}, .param = p.data(), .grad = g.data()}},
                        ParseRecipe("[optimizer]\n" + recipe));
    for (size_t step = 0; step < golden["gradients"].size(); ++step) {
      const Floats gradient = golden["gradients"][step];
      std::copy(gradient.begin(), gradient.end(), g.begin());
      optimizer.Step();
      EXPECT_EQ(g, gradient);
      for (size_t i = 0; i < p.size(); ++i) {
        EXPECT_NEAR(p[i], c["weights"][step][i].get<double>(), 3e-6) << step << ' ' << i;
      }
    }
  }
}

class EveryRule : public ::testing::TestWithParam<RuleEntry> {
 protected:
  OptimizerSpec Spec() const {
    OptimizerSpec spec(GetParam().name);
    spec.options.emplace("lr", 1e-2 * Warmup(3));
    spec.options.emplace("weight_decay", 0.1);
    return spec;
  }
};

INSTANTIATE_TEST_SUITE_P(Registry, EveryRule, ::testing::ValuesIn(testing::RulesForBuild()),
                         [](const auto& info) { return info.param.name; });

std::vector<RuleEntry> DecoupledRules() {
  std::vector<RuleEntry> rules = testing::RulesForBuild();
  std::erase_if(rules, [](const RuleEntry& rule) { return !rule.decoupled_decay; });
  return rules;
}

class DecoupledRule : public EveryRule {};

INSTANTIATE_TEST_SUITE_P(Registry, DecoupledRule, ::testing::ValuesIn(DecoupledRules()),
                         [](const auto& info) { return info.param.name; });

// The rule sees the same bits if the caller adds the penalty to the gradient.
TEST_P(EveryRule, SeesTheGradientOfThePenalty) {
  const bool whole = GetParam().whole != nullptr;  // and slow as scalar code
  const Model::Shapes shapes = {{"a", {whole ? 40 : 350, whole ? 50 : 400}}, {"b", {9, 7}}};
  constexpr int kSteps = 3;
  const Schedule l1 = 0.02 * Linear(2), l2 = 0.3;
  Model plain(shapes);
  Optimizer expected(plain.tensors, Spec());
  plain.params[1][4] = 0;
  for (int step = 0; step < kSteps; ++step) {
    plain.NextGradient();
    for (size_t k = 0; k < 2; ++k) {
      for (size_t i = 0; i < plain.grads[k].size(); ++i) {
        const float p = plain.params[k][i];
        plain.grads[k][i] = Fma(static_cast<float>(l1(step)), Sign(p),
                                Fma(static_cast<float>(l2(step)), p, plain.grads[k][i]));
      }
    }
    expected.Step();
  }
  for (const std::string_view target : KernelTargets()) {
    for (const int threads : {1, 5}) {
      Model model(shapes);
      model.params[1][4] = 0;
      OptimizerSpec spec = Spec();
      spec.l1 = l1;
      spec.l2 = l2;
      setenv("KUDARI_TARGET", std::string(target).c_str(), 1);
      Optimizer optimizer(model.tensors, spec);
      unsetenv("KUDARI_TARGET");
      optimizer.SetParallel({.threads = threads, .run = {}});
      for (int step = 0; step < kSteps; ++step) {
        model.NextGradient();
        const auto before = model.grads;
        optimizer.Step();
        EXPECT_EQ(model.grads, before);
      }
      EXPECT_EQ(model.params, plain.params) << target << ", " << threads;
    }
  }
}

// With an lr of 1 the weights lose the gradient that the rule sees.
TEST(PenaltyTest, ComesAfterUnscalingClippingAndCentralisation) {
  Model model({{"w", {2, 2}}});
  const Floats start = {0.5F, -0.25F, 0.125F, -1};
  model.Assign({start});
  model.grads[0] = {512 * 3, 512 * 1, -512 * 2, 0};  // at scale 512: 3, 1, -2, 0
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.clip_norm = std::sqrt(14.0) / 2;  // halves them
  spec.clip_norm_eps = 0;
  spec.centralize = true;   // 0.5, -0.5, -0.5, 0.5
  spec.clip_value = 0.375;  // 0.375, -0.375, -0.375, 0.375
  spec.l1 = 0.25;
  spec.l2 = 0.5;
  Optimizer optimizer(model.tensors, spec);
  const Report report = optimizer.StepScaled(512);
  EXPECT_NEAR(report.grad_norm, std::sqrt(14.0), 1e-6);
  const double seen[] = {0.375 + 0.25 + 0.25, -0.375 - 0.25 - 0.125, -0.375 + 0.25 + 0.0625,
                         0.375 - 0.25 - 0.5};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(model.params[0][i], start[i] - seen[i], 1e-6) << i;
}

TEST(PenaltyTest, IsAddedOnceToAnAccumulatedGradientAndAtTheWeightsThatWerePerturbed) {
  for (const std::string source : {"plain", "sam"}) {
    Model model({{"w", {1, 3}}});
    model.Assign({{1, -2, 0}});
    OptimizerSpec spec = Sgd{.lr = 0.5};
    spec.l1 = 0.25;
    spec.l2 = 0.5;
    spec.accumulate = 2;
    spec.source = source;
    Optimizer optimizer(model.tensors, spec);
    optimizer.Step([&](Pass) -> Evaluation {
      std::fill(model.grads[0].begin(), model.grads[0].end(), 1.0F);
      return {0.0, 4.0};
    });
    EXPECT_THAT(model.params[0],
                ::testing::ElementsAre(1 - 0.5F * 1.75F, -2 - 0.5F * -0.25F, -0.5F))
        << source;
  }
}

TEST(PenaltyTest, LeavesOutWhatDoesNotDecayAndAGroupHasItsOwn) {
  Model model({{"w", {2, 2}}, {"w.bias", {2}}, {"other", {2, 2}}, {"free", {2, 2}}});
  for (auto& p : model.params) std::fill(p.begin(), p.end(), 2.0F);
  for (auto& g : model.grads) std::fill(g.begin(), g.end(), 0.0F);
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.l1 = 0.5;
  spec.l2 = 0.125;
  spec.no_decay = {TensorClass::kBias};
  spec.groups = {{.match = "other", .rule = "momentum", .options = {{"lr", 1}}, .l1 = 1},
                 {.match = "free", .l1 = 0, .l2 = 0}};
  Optimizer(model.tensors, spec).Step();
  EXPECT_EQ(model.params[0][0], 2 - 0.75F);
  EXPECT_EQ(model.params[1][0], 2);
  EXPECT_EQ(model.params[2][0], 2 - 1.25F);
  EXPECT_EQ(model.params[3][0], 2);
}

TEST(PenaltyTest, ReachesWhatOtherFormatsKeep) {
  // A float32 master and the two bfloat16 halves of one follow float32 to the bit.
  const auto bfloat = [](float x) {
    return static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);
  };
  for (const std::string rule : {"adamw", "lamb", "muon"}) {
    for (const Master master : {Master::kFloat32, Master::kSplit16}) {
      constexpr size_t kSize = 600;
      Model model({{"w", {20, 30}}});
      std::vector<uint16_t> half(kSize);
      for (size_t i = 0; i < kSize; ++i) {
        half[i] = bfloat(model.params[0][i]);
        model.params[0][i] = std::bit_cast<float>(static_cast<uint32_t>(half[i]) << 16);
      }
      OptimizerSpec spec(rule);
      spec.l1 = 0.05;
      spec.l2 = 0.3;
      Optimizer whole(model.tensors, spec);
      spec.precision.master = master;
      Tensor small = model.tensors[0];
      small.param = half.data();
      small.dtype = DType::kBFloat16;
      small.grad_dtype = DType::kFloat32;
      Optimizer split({small}, spec);
      for (int step = 0; step < 20; ++step) {
        model.NextGradient();
        whole.Step();
        split.Step();
      }
      for (size_t i = 0; i < kSize; ++i) {
        const float weight = model.params[0][i];
        const float seen = std::bit_cast<float>(static_cast<uint32_t>(half[i]) << 16);
        EXPECT_LE(std::abs(seen - weight), std::ldexp(std::abs(weight), -8))
            << rule << ' ' << Name(master) << ' ' << i;
      }
    }
  }
}

TEST(PenaltyTest, ReleasedTensorsResumedOnesAndAWholeStepAreTheSame) {
  const Model::Shapes shapes = {{"a", {30, 40}}, {"b", {5, 5}}};
  OptimizerSpec spec = Adam{.lr = 0.01};
  spec.l1 = 0.1 * Linear(4);
  spec.l2 = 0.2;
  Model one(shapes), released(shapes), resumed(shapes);
  Optimizer a(one.tensors, spec), b(released.tensors, spec);
  std::optional<Optimizer> c(std::in_place, resumed.tensors, spec);
  for (int step = 0; step < 6; ++step) {
    for (Model* m : {&one, &released, &resumed}) m->NextGradient();
    a.Step();
    b.StepTensor(1);
    b.StepTensor(0);
    b.FinishStep();
    const StateTree state = c->State();
    c.emplace(resumed.tensors, spec);
    c->LoadState(state);
    c->Step();
    EXPECT_EQ(one.params, released.params) << step;
    EXPECT_EQ(one.params, resumed.params) << step;
  }
}

TEST(PenaltyTest, BadValuesAreErrors) {
  const auto error = [](const std::string& lines) {
    return ErrorOf([&] { ParseRecipe("[optimizer]\nrule = \"sgd\"\n" + lines, "r.toml"); });
  };
  EXPECT_THAT(error("l1 = -1\n"), HasSubstr("optimizer.l1: -1 is outside [0, inf)"));
  EXPECT_THAT(error("l2 = \"-1 * warmup(3)\"\n"),
              HasSubstr("optimizer.l2: -1 * warmup(3) is outside"));
  EXPECT_THAT(error("[[optimizer.group]]\nl2 = -1\n"), HasSubstr("l2: -1 is outside [0, inf)"));
  EXPECT_THAT(error("decay = \"independant\"\n"), HasSubstr("\"independent\""));

  Model model({{"w", {2, 2}}});
  OptimizerSpec spec = Sgd{};
  spec.l1 = -0.5;
  EXPECT_EQ(ErrorOf([&] { Optimizer(model.tensors, spec); }), "l1 = -0.5 is outside [0, inf)");
  spec.l1.reset();
  spec.groups = {{.l2 = -0.5}};
  EXPECT_EQ(ErrorOf([&] { Optimizer(model.tensors, spec); }),
            "group \"*\": l2 = -0.5 is outside [0, inf)");
  spec.groups.clear();
  spec.l2 = Ramp(2, 1, -1);
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  optimizer.Step();
  const auto before = model.params;
  EXPECT_EQ(ErrorOf([&] { optimizer.Step(); }),
            "l2 = ramp(2, 1, -1) at step 2 = -1 is outside [0, inf)");
  EXPECT_EQ(model.params, before);
}

// A power of two, by which division is exact: weight_decay is then that of the rule over base.
TEST_P(EveryRule, HasAnIndependentDecayIfItsOwnIsDecoupled) {
  constexpr double kBase = 0x1p-7;
  OptimizerSpec spec(GetParam().name), same = spec;
  spec.options = {{"lr", kBase * Warmup(3)}, {"weight_decay", 0.01}};
  same.options = {{"lr", kBase * Warmup(3)}, {"weight_decay", 0.01 / kBase}};
  spec.decay = Decay::kIndependent;
  Model a({{"w", {6, 8}}}), b({{"w", {6, 8}}});
  if (!GetParam().decoupled_decay) {
    EXPECT_THAT(ErrorOf([&] { Optimizer(a.tensors, spec); }),
                HasSubstr(GetParam().name + " does not, and has weight_decay = 0.01"));
    spec.options.at("weight_decay") = 0;
    EXPECT_NO_THROW(Optimizer(a.tensors, spec));
    return;
  }
  Optimizer independent(a.tensors, spec), ruled(b.tensors, same);
  EXPECT_EQ(independent.Value(0, "weight_decay"), 0.01);
  for (int step = 0; step < 5; ++step) {
    a.NextGradient();
    b.NextGradient();
    independent.Step();
    ruled.Step();
  }
  EXPECT_EQ(a.params, b.params);
}

// Without gradients nothing but the decay is left: the same share of each weight, in proportion
// to lr.
TEST_P(DecoupledRule, DecayIsAMultipleOfLrAndTheWeight) {
  const auto share = [](double lr, size_t element) {
    Model model({{"w", {8, 8}}});
    std::fill(model.grads[0].begin(), model.grads[0].end(), 0.0F);
    const Floats before = model.params[0];
    OptimizerSpec spec(GetParam().name);
    spec.options = {{"lr", lr}, {"weight_decay", 0.25}};
    Optimizer(model.tensors, spec).Step();
    return 1 - model.params[0][element] / before[element];
  };
  for (const size_t element : {0U, 17U, 63U}) {
    EXPECT_GT(share(0.1, element), 0);
    EXPECT_NEAR(share(0.1, element), share(0.1, 5), 1e-6);
    EXPECT_NEAR(share(0.2, element), 2 * share(0.1, element), 1e-6);
  }
}

TEST(DecayTest, IsIndependentOfTheHeightOfTheLearningRateAndFollowsIt) {
  const auto left = [](const Schedule& lr, const auto& change) {
    Model model({{"w", {1, 4}}});
    model.Assign({{1, 1, 1, 1}});
    std::fill(model.grads[0].begin(), model.grads[0].end(), 0.0F);
    OptimizerSpec spec = AdamW{.weight_decay = 0.125};
    spec.options.at("lr") = lr;
    spec.decay = Decay::kIndependent;
    Optimizer optimizer(model.tensors, spec);
    change(optimizer);
    optimizer.Step();
    return model.params[0][0];
  };
  const auto nothing = [](Optimizer&) {};
  EXPECT_EQ(left(1e-3, nothing), 0.875F);
  EXPECT_EQ(left(0.5, nothing), 0.875F);
  EXPECT_NEAR(left(2 * Warmup(4) * 1e-3, nothing), 1 - 0.125 / 4, 1e-7);
  // A plateau is a schedule, too: the base stays.
  EXPECT_NEAR(left(1e-3, [](Optimizer& o) { o.SetSchedule(0, "lr", 0.1 * Schedule(1e-3)); }),
              1 - 0.0125, 1e-7);
}

TEST(DecayTest, NeedsANumberToBeRelativeTo) {
  Model model({{"w", {2, 2}}, {"w.bias", {2}}});
  OptimizerSpec spec = AdamW{};
  spec.decay = Decay::kIndependent;
  const auto error = [&](const Schedule& lr) {
    spec.options.at("lr") = lr;
    return ErrorOf([&] { Optimizer(model.tensors, spec); });
  };
  EXPECT_THAT(error(Then(1e-3, 5, 1e-4)), HasSubstr("adamw has lr = then(0.001, 5, 1e-04)"));
  EXPECT_THAT(error(0.0), HasSubstr("a number other than 0 among the factors of lr"));
  EXPECT_EQ(error(1e-3 * Then(1, 5, 0.1)), "no error");
  spec.no_decay = {TensorClass::kMatrix, TensorClass::kBias};
  EXPECT_EQ(error(0.0), "no error");  // nothing decays
  spec = Adam{};
  spec.decay = Decay::kIndependent;
  Optimizer optimizer(model.tensors, spec);
  EXPECT_THAT(ErrorOf([&] { optimizer.SetSchedule(0, "weight_decay", 0.1); }),
              HasSubstr("adam does not, and has weight_decay = 0.1"));
  EXPECT_EQ(optimizer.Value(0, "weight_decay"), 0);
}

}  // namespace regularisation_test
}  // namespace kudari
