// PyTorch's optimisers in Kudari's words and back. tests/torch_state_peer.py and the adapter's
// tests go on from runs of PyTorch itself.
#include "kudari/torch_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"

namespace kudari {
namespace torch_state_test {

using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Model;

const Model::Shapes kShapes = {{"a.weight", {4, 6}}, {"b/c.weight", {3, 2, 2, 2}}, {"late", {5}}};
const Model::Shapes kMatrices = {{"a.weight", {4, 6}}, {"b.weight", {5, 3}}};

// A state of PyTorch's for one parameter "w" of two elements.
StateTree TorchOf(const std::string& optimizer,
                  const std::vector<std::pair<std::string, StateTree>>& options) {
  StateTree torch;
  torch.Set("param_groups/0/optimizer", optimizer);
  torch.Set("param_groups/0/params/0", std::string("w"));
  for (const auto& [name, value] : options) torch.Set("param_groups/0/" + name, value);
  return torch;
}

StateTree AdamWOf(double weight_decay = 0.1) {
  return TorchOf("AdamW", {{"lr", 0.01},
                           {"betas/0", 0.8},
                           {"betas/1", 0.95},
                           {"eps", 1e-6},
                           {"weight_decay", weight_decay},
                           {"amsgrad", false},
                           {"maximize", false}});
}

StateArray Floats(const std::vector<float>& values) {
  return StateArray::Of(std::span<const float>(values));
}

// With the state of three updates.
StateTree WithState(StateTree torch) {
  torch.Set("state/w/step", 3.0);
  torch.Set("state/w/exp_avg", Floats({1, 2}));
  torch.Set("state/w/exp_avg_sq", Floats({3, 4}));
  return torch;
}

StateTree Set(StateTree torch, const std::string& path, StateTree value) {
  torch.Set(path, std::move(value));
  return torch;
}

// Gradients that are the same for both of two models; the last tensor's begin later.
void Step(Optimizer& optimizer, Model& model, int step) {
  model.NextGradient();
  for (size_t i = 0; i < model.grads.size(); ++i) {
    const bool missing = i == 2 && step < 2;
    optimizer.tensors()[i].grad = missing ? nullptr : model.grads[i].data();
  }
  optimizer.Step();
}

// A run that goes to PyTorch and comes back has the bits that it would have had.
void ExpectSameBits(const OptimizerSpec& spec, const Model::Shapes& shapes) {
  constexpr int kBefore = 4, kAfter = 4;
  Model one(shapes), other(shapes);
  Optimizer first(one.tensors, spec);
  for (int step = 0; step < kBefore; ++step) Step(first, one, step);
  const StateTree torch = StateToTorch(first);
  other.Assign(one.params);
  other.random = one.random;
  Optimizer second(other.tensors, SpecFromTorch(torch));
  EXPECT_EQ(second.LoadState(StateFromTorch(torch)), LoadReport());
  EXPECT_EQ(StateToTorch(second), torch) << FirstDifference(StateToTorch(second), torch);
  for (int step = kBefore; step < kBefore + kAfter; ++step) {
    Step(first, one, step);
    Step(second, other, step);
  }
  EXPECT_EQ(one.params, other.params);
}

TEST(TorchStateTest, EveryTwinComesBackWithItsBits) {
  const std::vector<std::string> rules = {"sgd",
                                          "momentum",
                                          "nesterov",
                                          "adam",
                                          "amsgrad",
                                          "adamw",
                                          "nadam",
                                          "radam",
                                          "adamax",
                                          "adagrad",
                                          "adadelta",
                                          "asgd",
                                          "rprop",
                                          "rmsprop",
                                          "rmsprop_momentum",
                                          "rmsprop_centered",
                                          "rmsprop_centered_momentum",
                                          "adafactor_torch"};
  for (const std::string& rule : rules) {
    SCOPED_TRACE(rule);
    OptimizerSpec spec(rule, {{"lr", 0.02}, {"weight_decay", 0.1}});
    if (rule == "asgd") spec.options.emplace("t0", 2);
    if (rule == "rprop") {
      spec.options.at("weight_decay") = 0.0;
      spec.options.emplace("etaplus", 1.5);
    }
    if (rule == "momentum") spec.options.emplace("dampening", 0.3);
    if (rule == "adagrad") {
      spec.options.emplace("initial_accumulator_value", 0.5);
      spec.options.emplace("lr_decay", 0.1);
    }
    ExpectSameBits(spec, kShapes);
  }
  for (const char* const rule : {"muon", "muon_match_rms"}) {
    SCOPED_TRACE(rule);
    ExpectSameBits(OptimizerSpec(rule, {{"lr", 0.02}}), kMatrices);
  }
}

TEST(TorchStateTest, GroupsAndRulesOfSeveralClassesComeBack) {
  OptimizerSpec spec = AdamW{.lr = 0.01};
  spec.groups = {{.match = "b/*", .rule = "muon", .options = {{"lr", 0.1}}},
                 {.match = "late", .options = {{"weight_decay", 0}}}};
  ExpectSameBits(spec, kShapes);
  Model model(kShapes);
  const StateTree torch = StateToTorch(Optimizer(model.tensors, spec));
  EXPECT_EQ(torch.At("param_groups").members().size(), 3U);
  EXPECT_EQ(torch.At("param_groups/1/optimizer").Text(), "Muon");
  EXPECT_EQ(torch.At("param_groups/1/params/0").Text(), "b/c.weight");
  EXPECT_EQ(torch.At("param_groups/2/weight_decay").Double(), 0);
}

TEST(TorchStateTest, SpecsHaveTheHyperParametersOfTheGroups) {
  const OptimizerSpec adamw = SpecFromTorch(AdamWOf());
  EXPECT_EQ(adamw.rule, "adamw");
  EXPECT_EQ(
      adamw.options,
      (Options{
          {"lr", 0.01}, {"beta1", 0.8}, {"beta2", 0.95}, {"eps", 1e-6}, {"weight_decay", 0.1}}));
  // Without a decay the two ways to have one are the same.
  EXPECT_EQ(SpecFromTorch(Set(AdamWOf(0), "param_groups/0/amsgrad", true)).rule, "amsgrad");
  // An Adam of PyTorch's may be an AdamW.
  StateTree adam = Set(AdamWOf(), "param_groups/0/optimizer", std::string("Adam"));
  EXPECT_EQ(SpecFromTorch(adam).rule, "adam");
  adam.Set("param_groups/0/decoupled_weight_decay", true);
  EXPECT_EQ(SpecFromTorch(adam).rule, "adamw");
  // None is the default of float32.
  const OptimizerSpec adafactor = SpecFromTorch(TorchOf(
      "Adafactor",
      {{"lr", 0.01}, {"beta2_decay", -0.8}, {"eps/1", 1e-3}, {"d", 1.0}, {"weight_decay", 0.0}}));
  EXPECT_EQ(adafactor.options.at("eps1"), Schedule(0x1p-23));
  const auto sgd = [](double momentum, bool nesterov) {
    return SpecFromTorch(TorchOf("SGD", {{"lr", int64_t{1}},
                                         {"momentum", momentum},
                                         {"dampening", 0.0},
                                         {"nesterov", nesterov},
                                         {"weight_decay", 0.0}}))
        .rule;
  };
  EXPECT_EQ(sgd(0, false), "sgd");
  EXPECT_EQ(sgd(0.5, false), "momentum");
  EXPECT_EQ(sgd(0.5, true), "nesterov");
}

TEST(TorchStateTest, ManyNamesOfAGroupAreMatchedAndNoOthers) {
  StateTree torch = AdamWOf();
  Model::Shapes shapes;
  const auto name = [](size_t i) {
    return "layers." + std::to_string(i) + ".mlp(x)|[a+b]{2}.proj^$?.weight";
  };
  constexpr size_t kNames = 100;
  for (size_t i = 0; i < kNames; ++i) {
    const bool second = i % 2 == 1 && i < 60;
    const std::string group = second ? "1" : "0";
    if (second) {
      for (const char* const o : {"optimizer", "betas/0", "betas/1", "eps", "weight_decay"}) {
        torch.Set("param_groups/1/" + std::string(o),
                  StateTree(torch.At("param_groups/0/" + std::string(o))));
      }
      torch.Set("param_groups/1/lr", 0.5);
    }
    torch.Set("param_groups/" + group + "/params/" + std::to_string(second ? i / 2 : 100 + i),
              name(i));
    shapes.emplace_back(name(i), std::vector<int64_t>{2});
  }
  // The first group's are 0 to 69.
  StateTree first;
  for (size_t i = 0, k = 0; i < kNames; ++i) {
    if (i % 2 == 0 || i >= 60) first.Set(std::to_string(k++), name(i));
  }
  torch.Set("param_groups/0/params", first);
  Model model(shapes);
  const Optimizer optimizer(model.tensors, SpecFromTorch(torch));
  for (size_t i = 0; i < kNames; ++i) {
    EXPECT_EQ(optimizer.Value(i, "lr"), i % 2 == 1 && i < 60 ? 0.5 : 0.01) << i;
  }
}

TEST(TorchStateTest, WhatHasNoTwinIsRefusedByItsName) {
  const auto error = [](const StateTree& torch) { return ErrorOf([&] { SpecFromTorch(torch); }); };
  EXPECT_EQ(error(TorchOf("LBFGS", {})),
            "param_groups/0: Kudari has no twin of PyTorch's LBFGS; it has those of SGD, Adam, "
            "AdamW, NAdam, RAdam, Adamax, Adagrad, Adadelta, RMSprop, Adafactor, Muon, ASGD, "
            "Rprop, SparseAdam");
  EXPECT_THAT(error(Set(AdamWOf(), "param_groups/0/maximize", true)),
              HasSubstr("param_groups/0: maximize = true: Kudari minimises"));
  EXPECT_THAT(error(Set(AdamWOf(), "param_groups/0/amsgrad", true)),
              HasSubstr("amsgrad = true with a decoupled weight_decay = 0.1"));
  EXPECT_EQ(error(Set(AdamWOf(), "param_groups/0/betas/1", 1.5)),
            "param_groups/0: betas/1 = 1.5 is outside [0, 1)");
  EXPECT_THAT(error(Set(AdamWOf(), "param_groups/0/lr", std::numeric_limits<double>::quiet_NaN())),
              HasSubstr("lr = nan is outside"));
  EXPECT_EQ(error(Set(AdamWOf(), "param_groups/0/lr", true)),
            "param_groups/0: lr is bool, but must be a number");
  EXPECT_EQ(error(Set(AdamWOf(), "param_groups/0/params/1", std::string("w"))),
            "param_groups/0: parameter \"w\" is there twice");
  StateTree without = AdamWOf();
  without.Erase("param_groups/0/eps");
  EXPECT_EQ(error(without), "param_groups/0: eps is missing, which AdamW has");
  EXPECT_EQ(error(StateTree()), "param_groups: there are no parameters");
  const std::vector<std::pair<std::string, StateTree>> muon = {
      {"lr", 0.02}, {"momentum", 0.95}, {"weight_decay", 0.0}, {"ns_steps", int64_t{5}}};
  const StateTree nesterov = Set(TorchOf("Muon", muon), "param_groups/0/nesterov", true);
  EXPECT_EQ(error(nesterov), "no error");
  EXPECT_THAT(error(TorchOf("Muon", muon)), HasSubstr("nesterov = false"));
  EXPECT_THAT(error(Set(nesterov, "param_groups/0/ns_coefficients/1", -4.0)),
              HasSubstr("ns_coefficients/1 = -4, but must be -4.775"));
  EXPECT_THAT(error(Set(nesterov, "param_groups/0/eps", 1e-5)), HasSubstr("eps = 1e-05"));
  EXPECT_THAT(error(Set(nesterov, "param_groups/0/adjust_lr_fn", std::string("x"))),
              HasSubstr("adjust_lr_fn = \"x\""));
  for (const char* const name : {"NAdam", "RAdam"}) {
    StateTree torch = Set(AdamWOf(), "param_groups/0/optimizer", std::string(name));
    torch.Set("param_groups/0/momentum_decay", 0.004);
    EXPECT_EQ(error(torch), "no error");
    torch.Set("param_groups/0/decoupled_weight_decay", true);
    EXPECT_THAT(error(torch), HasSubstr("decoupled_weight_decay = true with weight_decay = 0.1"));
  }
}

TEST(TorchStateTest, StatesThatDoNotFitAreRefusedByTheirNames) {
  const StateTree good = WithState(AdamWOf());
  const auto error = [](const StateTree& torch) { return ErrorOf([&] { StateFromTorch(torch); }); };
  EXPECT_EQ(error(good), "no error");
  EXPECT_EQ(error(Set(good, "state/v/step", 1.0)), "state/v: no group has this parameter");
  EXPECT_EQ(error(Set(good, "state/w/exp_avgs", 1.0)),
            "state/w: AdamW keeps no \"exp_avgs\"; did you mean \"exp_avg\"?");
  EXPECT_EQ(error(Set(good, "state/w/step", 2.5)),
            "state/w: step = 2.5 is not an integer in [0, 2^53]");
  EXPECT_THAT(error(Set(good, "state/w/step", -1.0)), HasSubstr("step = -1 is not"));
  EXPECT_THAT(error(Set(good, "state/w/step", std::nan(""))), HasSubstr("step = nan is not"));
  EXPECT_EQ(error(Set(good, "state/w/exp_avg", 1.0)),
            "state/w/exp_avg is double, but must be an array of F64, F32, BF16 or F16");
  EXPECT_THAT(error(Set(good, "state", 1.0)), HasSubstr("state is double"));
  EXPECT_THAT(error(Set(good, "state/w", 1.0)), HasSubstr("state/w is double"));
  EXPECT_THAT(error(Set(good, "step", int64_t{-1})), HasSubstr("step = -1 is outside"));
  StateTree without = good;
  without.Erase("state/w/exp_avg_sq");
  EXPECT_EQ(error(without),
            "state/w has no \"exp_avg_sq\", which AdamW keeps with these hyper-parameters");
  without = good;
  without.Erase("state/w/step");
  EXPECT_EQ(error(without), "state/w has no \"step\"");
  // A shape is wrong for a tensor.
  Model model({{"w", {3}}});
  Optimizer optimizer(model.tensors, SpecFromTorch(good));
  const StateTree before = optimizer.State();
  EXPECT_THAT(ErrorOf([&] { optimizer.LoadState(StateFromTorch(good)); }),
              HasSubstr("\"tensors/w/slots/exp_avg\" is F32 [2], but must be F32 [3]"));
  EXPECT_EQ(optimizer.State(), before);
}

TEST(TorchStateTest, FactorsMustFitEachOther) {
  StateTree torch = TorchOf("Adafactor", {{"lr", 0.01},
                                          {"beta2_decay", -0.8},
                                          {"eps/0", 1e-7},
                                          {"eps/1", 1e-3},
                                          {"d", 1.0},
                                          {"weight_decay", 0.0}});
  const auto factor = [](std::vector<int64_t> shape) {
    int64_t size = 1;
    for (const int64_t n : shape) size *= n;
    const std::vector<float> values(static_cast<size_t>(size), 1.5F);
    return StateArray::Of(std::span<const float>(values), std::move(shape));
  };
  torch.Set("state/w/step", 2.0);
  torch.Set("state/w/row_var", factor({2, 1}));
  EXPECT_THAT(ErrorOf([&] { StateFromTorch(torch); }),
              HasSubstr("state/w has neither \"variance\" nor both"));
  torch.Set("state/w/col_var", factor({1, 3}));
  Model model({{"w", {2, 3}}});
  Optimizer optimizer(model.tensors, SpecFromTorch(torch));
  optimizer.LoadState(StateFromTorch(torch));
  EXPECT_THAT(optimizer.SlotValues(0, "row_var"), ElementsAre(1.5, 1.5));
  torch.Set("state/w/col_var", factor({3}));
  EXPECT_THAT(ErrorOf([&] { StateFromTorch(torch); }),
              HasSubstr("row_var is [2, 1] and col_var [3], but they must be"));
}

TEST(TorchStateTest, OtherFloatingTypesAreConverted) {
  StateTree torch = WithState(AdamWOf());
  const std::vector<double> doubles = {0.1, -3};
  torch.Set("state/w/exp_avg", StateArray::Of(std::span<const double>(doubles)));
  // 1.5 and the smallest number of float16.
  const std::vector<uint16_t> halves = {0x3E00, 0x0001};
  StateArray half = StateArray::Of(std::span<const uint16_t>(halves));
  half.type = ElementType::kFloat16;
  torch.Set("state/w/exp_avg_sq", half);
  const StateTree state = StateFromTorch(torch);
  const StateTree& slots = state.At("tensors/w/slots");
  EXPECT_THAT(slots.At("exp_avg").Array().As<double>(), ElementsAre(0.1, -3));  // of float64
  EXPECT_THAT(slots.At("exp_avg_sq").Floats(), ElementsAre(1.5F, 0x1p-24F));
  Model model({{"w", {2}}});
  Optimizer optimizer(model.tensors, SpecFromTorch(torch));
  optimizer.LoadState(state);
  EXPECT_THAT(optimizer.SlotValues(0, "exp_avg"), ElementsAre(0.1F, -3.0F));
}

TEST(TorchStateTest, StepsOfClassesThatCountNoneAreThoseOfTheRun) {
  StateTree torch = TorchOf("SGD", {{"lr", 0.1},
                                    {"momentum", 0.9},
                                    {"dampening", 0.5},
                                    {"nesterov", false},
                                    {"weight_decay", 0.0}});
  EXPECT_EQ(StateFromTorch(torch).At("tensors/w/step").Int(), 0) << "it has no buffer";
  torch.Set("state/w/momentum_buffer", Floats({1, 2}));
  // Not 0, at which dampening would not count.
  EXPECT_EQ(StateFromTorch(torch).At("tensors/w/step").Int(), 1);
  torch.Set("step", int64_t{7});
  EXPECT_EQ(StateFromTorch(torch).At("tensors/w/step").Int(), 7);
  EXPECT_EQ(StateFromTorch(torch).At("step").Int(), 7);
  const StateTree adam = WithState(AdamWOf());
  EXPECT_EQ(StateFromTorch(adam).At("step").Int(), 3);
  EXPECT_EQ(StateFromTorch(Set(adam, "step", int64_t{9})).At("tensors/w/step").Int(), 3);
}

TEST(TorchStateTest, CodedStateIsDecodedAndWhatIsLeftOutIsSaid) {
  OptimizerSpec spec("adamw", {{"lr", 0.01 * Cosine(100)}});
  spec.precision.state = StateFormat::kLinear8;
  spec.clip_norm = 1;
  spec.ema = EmaSpec{};
  Model model({{"w", {64, 66}}});
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  const StateTree torch = StateToTorch(optimizer);
  const auto values = torch.At("state/w/exp_avg").Floats();
  EXPECT_EQ(std::vector<float>(values.begin(), values.end()), optimizer.SlotValues(0, "exp_avg"));
  EXPECT_EQ(torch.At("param_groups/0/lr").Double(), 0.01 * Cosine(100)(1));
  EXPECT_THAT(NotInTorch(optimizer),
              ElementsAre("the state of the averager ema is left out",
                          "gradients are not clipped by clip_norm",
                          "hyper-parameters have their values at the next step; schedules are left "
                          "out"));
  EXPECT_THAT(NotInTorch(Optimizer(model.tensors, Adam{})), IsEmpty());
}

TEST(TorchStateTest, RulesThatPyTorchLacksAreRefused) {
  Model model(kMatrices);
  EXPECT_THAT(
      ErrorOf([&] { StateToTorch(Optimizer(model.tensors, Lion{})); }),
      HasSubstr("tensor \"a.weight\": PyTorch has no twin of rule \"lion\"; it has those of"));
  EXPECT_EQ(ErrorOf([&] { StateToTorch(Optimizer(model.tensors, Rprop{.weight_decay = 0.1})); }),
            "tensor \"a.weight\": weight_decay = 0.1: PyTorch's Rprop has no weight_decay");
  OptimizerSpec independent = AdamW{};
  independent.decay = Decay::kIndependent;
  EXPECT_THAT(ErrorOf([&] { StateToTorch(Optimizer(model.tensors, independent)); }),
              HasSubstr("decay = \"independent\""));
}

}  // namespace torch_state_test
}  // namespace kudari
