// What each rule is a special case of: no rule of the registry can be without such an identity.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/random.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace identities_test {

using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Random;

/// A run of one tensor, from the same start with the same gradients for the same arguments.
struct Trial {
  int steps = 10;
  std::vector<int64_t> shape = {12, 12};
  bool constant_gradient = false;
};

std::vector<float> Start(const Trial& trial) {
  Random random(31);
  return random.Floats(static_cast<size_t>(trial.shape[0] * trial.shape[1]));
}

std::vector<float> End(const OptimizerSpec& spec, const Trial& trial) {
  std::vector<float> p = Start(trial), g(p.size());
  Optimizer optimizer({{.name = "w", .shape = trial.shape, .param = p.data(), .grad = g.data()}},
                      spec);
  Random random(32);
  for (int step = 0; step < trial.steps; ++step) {
    for (float& x : g) x = step > 0 && trial.constant_gradient ? x : random.Float();
    optimizer.Step();
  }
  return p;
}

/// That two specs are the same; `tolerance` 0 means bit for bit.
struct Identity {
  OptimizerSpec a, b;
  Trial trial = {};
  double tolerance = 0;
};

/// With no class adapted, of one that has a trust ratio.
OptimizerSpec Unadapted(OptimizerSpec spec) {
  spec.no_adapt = {TensorClass::kMatrix};
  return spec;
}

double RootMeanSquare(const std::vector<float>& x) {
  double sum = 0;
  for (const float v : x) sum += static_cast<double>(v) * v;
  return std::sqrt(sum / static_cast<double>(x.size()));
}

std::map<std::string, Identity> Identities() {
  constexpr double kRounding = 2e-6;
  const Trial first{.steps = 1}, before_rectification{.steps = 5};
  const Trial constant{.constant_gradient = true}, row{.steps = 1, .shape = {1, 144}};
  // Adafactor's first step of a row whose columns are factors of their own: the gradient's sign.
  const OptimizerSpec sign = Lion{.lr = 0.01 * RootMeanSquare(Start(row)), .beta1 = 0, .beta2 = 0};
  return {
      {"sgd", {Sgd{.lr = 0.1}, Momentum{.lr = 0.1, .momentum = 0}}},
      {"momentum", {Momentum{.lr = 0.1, .momentum = 0}, Sgd{.lr = 0.1}}},
      {"nesterov", {Nesterov{.lr = 0.1, .momentum = 0}, Sgd{.lr = 0.1}}},
      {"asgd", {Asgd{.lr = 0.1, .lambd = 0}, Sgd{.lr = 0.1}}},
      {"rprop", {Rprop{.lr = 0.1}, Lion{.lr = 0.1, .beta1 = 0, .beta2 = 0}, first}},
      {"adagrad",
       {Adagrad{.lr = 0.1, .eps = 1e-8}, Rmsprop{.lr = 0.1, .alpha = 0, .eps = 1e-8}, first,
        kRounding}},
      {"adagrad_inside",
       {AdagradInside{.lr = 0.1, .eps = 1e-3}, RmspropInside{.lr = 0.1, .alpha = 0, .eps = 1e-3},
        first, kRounding}},
      // The first step is sqrt(eps) g / sqrt(g^2 + eps).
      {"adadelta",
       {Adadelta{.rho = 0, .eps = 1e-2}, RmspropInside{.lr = 0.1, .alpha = 0, .eps = 1e-2}, first,
        kRounding}},
      {"rmsprop",
       {Rmsprop{.lr = 0.1},
        OptimizerSpec("rmsprop_momentum", {{"lr", 0.1}, {"momentum", 0}}),
        {},
        kRounding}},
      {"rmsprop_inside",
       {RmspropInside{.lr = 0.1, .alpha = 0.9, .eps = 0},
        Rmsprop{.lr = 0.1, .alpha = 0.9, .eps = 0},
        {},
        kRounding}},
      {"rmsprop_momentum",
       {OptimizerSpec("rmsprop_momentum", {{"lr", 0.1}, {"momentum", 0}}),
        Rmsprop{.lr = 0.1},
        {},
        kRounding}},
      {"rmsprop_centered",
       {OptimizerSpec("rmsprop_centered", {{"lr", 0.1}}),
        OptimizerSpec("rmsprop_centered_momentum", {{"lr", 0.1}, {"momentum", 0}}),
        {},
        1e-5}},
      {"rmsprop_centered_momentum",
       {OptimizerSpec("rmsprop_centered_momentum", {{"lr", 0.1}, {"momentum", 0}}),
        OptimizerSpec("rmsprop_centered", {{"lr", 0.1}}),
        {},
        1e-5}},
      {"adam", {Adam{.lr = 0.1}, AdamW{.lr = 0.1, .weight_decay = 0}}},
      {"adamw", {AdamW{.lr = 0.1, .weight_decay = 0}, Adam{.lr = 0.1}}},
      // The second moment of a constant gradient only grows.
      {"amsgrad", {AmsGrad{.lr = 0.1}, Adam{.lr = 0.1}, constant, kRounding}},
      {"adamax",
       {Adamax{.lr = 0.1, .beta1 = 0, .beta2 = 0}, Rmsprop{.lr = 0.1, .alpha = 0}, {}, kRounding}},
      {"nadam", {NAdam{.lr = 0.1, .beta1 = 0}, Adam{.lr = 0.1, .beta1 = 0}, {}, kRounding}},
      {"radam", {RAdam{.lr = 0.1, .beta1 = 0}, Sgd{.lr = 0.1}, before_rectification, kRounding}},
      // The first gradient is beta1 times itself away from its mean.
      {"adabelief",
       {AdaBelief{.lr = 0.09}, Lion{.lr = 0.1, .beta1 = 0, .beta2 = 0}, first, kRounding}},
      {"sparse_adam", {SparseAdam{.lr = 0.1, .eps = 0}, Adam{.lr = 0.1, .eps = 0}, {}, kRounding}},
      {"lion",
       {Lion{.lr = 0.1, .beta1 = 0, .beta2 = 0}, Rmsprop{.lr = 0.1, .alpha = 0, .eps = 0}, first,
        kRounding}},
      // Without an estimate of the curvature it is the sign of the momentum.
      {"sophia",
       {Sophia{.lr = 0.1, .beta1 = 0.9, .weight_decay = 0.1},
        Lion{.lr = 0.1, .beta1 = 0.9, .beta2 = 0.9, .weight_decay = 0.1}}},
      {"sophia_h",
       {SophiaH{.lr = 0.1, .beta1 = 0.9, .weight_decay = 0.1},
        Lion{.lr = 0.1, .beta1 = 0.9, .beta2 = 0.9, .weight_decay = 0.1}}},
      {"schedule_free_sgd",
       {OptimizerSpec("schedule_free_sgd", {{"lr", 0.1}}), Sgd{.lr = 0.1}, first, kRounding}},
      {"schedule_free_adamw",
       {ScheduleFreeAdamW{.lr = 0.1, .weight_decay = 0.1},
        AdamW{.lr = 0.1, .beta1 = 0, .weight_decay = 0.1}, first, kRounding}},
      {"lars", {Unadapted(Lars{.lr = 0.1}), Momentum{.lr = 0.1}, {}, kRounding}},
      {"lars_outside",
       {Unadapted(OptimizerSpec("lars_outside", {{"lr", 0.1}})),
        Momentum{.lr = 0.1},
        {},
        kRounding}},
      {"lars_joint",
       {OptimizerSpec("lars_joint", {{"lr", 0.1}, {"weight_decay", 0}}),
        Lars{.lr = 0.1, .weight_decay = 0}}},
      {"larc",
       {Unadapted(OptimizerSpec("larc", {{"lr", 0.1}})), Momentum{.lr = 0.1}, {}, kRounding}},
      {"lamb",
       {Unadapted(Lamb{.lr = 0.1, .eps = 1e-8}),
        AdamW{.lr = 0.1, .weight_decay = 0},
        {},
        kRounding}},
      {"lambc",
       {Unadapted(OptimizerSpec("lambc", {{"lr", 0.1}, {"eps", 1e-8}})),
        AdamW{.lr = 0.1, .weight_decay = 0},
        {},
        kRounding}},
      {"adafactor", {Adafactor{}, sign, row, kRounding}},
      {"adafactor_torch", {AdafactorTorch{}, sign, row, kRounding}},
      // On a square matrix the scalings differ by a constant.
      {"muon", {Muon{.lr = 0.1}, MuonRmsToRms{.lr = 0.1}}},
      {"muon_rms_to_rms", {MuonRmsToRms{.lr = 0.1}, Muon{.lr = 0.1}}},
      {"muon_match_rms",
       {MuonMatchRms{.lr = 0.1, .weight_decay = 0},
        Muon{.lr = 0.1 * 0.2 * std::sqrt(12)},
        {},
        kRounding}},
      // Of a single row the iteration makes a multiple of that row: Keller's and the Polar Express
      // differ by the values of their polynomials at 1 and at 1 / 1.01.
      {"muon_polar_express",
       {MuonPolarExpress{.lr = 0.1 * 0.6964364}, Muon{.lr = 0.1 * 0.8741978}, row, 1e-5}},
      // NorMuon then brings it to norm 1, and the columns to one size: a sign.
      {"normuon", {NorMuon{.lr = 0.1}, Lion{.lr = 0.1 / 12, .beta1 = 0, .beta2 = 0}, row, 1e-5}},
  };
}

class IdentityTest : public ::testing::TestWithParam<std::string> {};

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const RuleEntry& r : Registry::Builtin().rules()) names.push_back(r.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Registry, IdentityTest, ::testing::ValuesIn(Names()),
                         [](const auto& info) { return info.param; });

TEST_P(IdentityTest, ReducesToAnotherRule) {
  const auto identities = Identities();
  ASSERT_TRUE(identities.contains(GetParam())) << "add a line to the table of this test";
  const Identity& identity = identities.at(GetParam());
  ASSERT_EQ(identity.a.rule, GetParam());
  ASSERT_NE(identity.b.rule, GetParam());
  const std::vector<float> a = End(identity.a, identity.trial), b = End(identity.b, identity.trial);
  EXPECT_NE(a, Start(identity.trial));
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_NEAR(a[i], b[i], identity.tolerance) << "element " << i;
  }
}

/// Rules that use the Hessian, over threads and instruction sets.
TEST(HessianTest, NeitherThreadsNorTargetsMatter) {
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    if (rule.scalar.hessian == nullptr) continue;
    std::vector<float> expected;
    for (const std::string_view target : KernelTargets()) {
      for (const int threads : {1, 2, 3}) {
        setenv("KUDARI_TARGET", std::string(target).c_str(), 1);
        Random random(33);
        std::vector<float> p = random.Floats(40003), g(p.size()), e(p.size());
        Optimizer optimizer({{.name = "w", .shape = {40003}, .param = p.data(), .grad = g.data()}},
                            OptimizerSpec(rule.name, {{"lr", 0.01}}));
        unsetenv("KUDARI_TARGET");
        optimizer.SetParallel({.threads = threads});
        for (int step = 0; step < 4; ++step) {
          for (float& x : g) x = random.Float();
          for (float& x : e) x = 0.01F * random.Float();
          optimizer.Step();
          const float* const estimate = e.data();
          optimizer.UpdateHessian({&estimate, 1});
        }
        if (expected.empty()) expected = p;
        EXPECT_EQ(p, expected) << rule.name << " " << target << " " << threads;
      }
    }
  }
}

TEST(HessianTest, BadCallsAreNamedAndChangeNothing) {
  std::vector<float> p = {1, 2}, g = {1, 1};
  const std::vector<Tensor> tensors = {
      {.name = "w", .shape = {2}, .param = p.data(), .grad = g.data()}};
  Optimizer without(tensors, AdamW{});
  EXPECT_EQ(ErrorOf([&] { without.UpdateHessian(); }),
            "UpdateHessian: no tensor's rule uses the Hessian; sophia and sophia_h do");
  Optimizer optimizer(tensors, Sophia{});
  EXPECT_EQ(ErrorOf([&] { optimizer.UpdateHessian(); }),
            "UpdateHessian: tensor \"w\" has had no step; call Step first");
  optimizer.Step();
  const std::vector<const float*> two(2, g.data());
  EXPECT_THAT(ErrorOf([&] { optimizer.UpdateHessian(two); }),
              HasSubstr("2 estimates for 1 tensors"));
  EXPECT_EQ(testing::Buffers(optimizer, 0)[1].values, std::vector<float>(2));
  optimizer.UpdateHessian();  // the gradients are the estimates
  EXPECT_GT(testing::Buffers(optimizer, 0)[1].values[0], 0);
}

}  // namespace identities_test
}  // namespace kudari
