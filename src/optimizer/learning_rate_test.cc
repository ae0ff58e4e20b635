// Learning rates and other options that are set and read for all tensors or for a group.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kudari/kudari.h"
#include "tests/support/allocations.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"

namespace kudari {
namespace learning_rate_test {

using ::testing::ElementsAre;
using testing::ErrorOf;
using testing::Model;

const Model::Shapes kShapes = {
    {"body.weight", {5, 4}}, {"body.bias", {5}}, {"head.weight", {3, 5}}};

std::vector<double> Rates(const Optimizer& optimizer) {
  std::vector<double> rates;
  for (size_t i = 0; i < optimizer.tensors().size(); ++i) rates.push_back(optimizer.Value(i, "lr"));
  return rates;
}

OptimizerSpec WithHead() {
  OptimizerSpec spec = AdamW{.lr = 0.1};
  spec.groups = {{.match = "head.*", .options = {{"lr", 0.5}}, .lr_scale = 2}};
  return spec;
}

TEST(LearningRateTest, IsSetAndReadForAllOrForAGroup) {
  Model model(kShapes);
  Optimizer optimizer(model.tensors, WithHead());
  EXPECT_EQ(optimizer.Lr(), 0.1);
  EXPECT_EQ(optimizer.Lr(kNoGroup), 0.1);
  EXPECT_EQ(optimizer.Lr(0), 0.5);
  optimizer.SetLr(0.25, 0);
  EXPECT_EQ(optimizer.Lr(0), 0.25);
  EXPECT_THAT(Rates(optimizer), ElementsAre(0.1, 0.1, 0.5));
  optimizer.SetLr(0.125);
  EXPECT_EQ(optimizer.Lr(), 0.125);
  EXPECT_THAT(Rates(optimizer), ElementsAre(0.125, 0.125, 0.25));
  optimizer.SetLr(0, kNoGroup);
  EXPECT_THAT(Rates(optimizer), ElementsAre(0, 0, 0.25));
}

TEST(LearningRateTest, WithoutTensorsInNoGroupTheFirstHasTheRate) {
  Model model(kShapes);
  OptimizerSpec spec;
  spec.groups = {{.match = "head.*", .rule = "sgd", .options = {{"lr", 0.5}}},
                 {.match = "body.*", .rule = "sgd", .options = {{"lr", 0.25}}}};
  EXPECT_EQ(Optimizer(model.tensors, spec).Lr(), 0.25);
}

// Steps with SetLr have the bits of a schedule that says the same, and those of SetSchedule for
// each tensor.
TEST(LearningRateTest, StepsAreThoseOfASchedule) {
  Model a(kShapes), b(kShapes), c(kShapes);
  OptimizerSpec spec = AdamW{.weight_decay = 0.1};
  spec.options.at("lr") = MultiStep({3, 5}, 0.5);
  Optimizer by_schedule(a.tensors, spec);
  spec.options.at("lr") = 7;  // replaced before the first step
  Optimizer by_hand(b.tensors, spec), one_by_one(c.tensors, spec);
  for (int step = 0; step < 8; ++step) {
    const double lr = step < 3 ? 1 : step < 5 ? 0.5 : 0.25;
    by_hand.SetLr(lr);
    for (size_t i = 0; i < kShapes.size(); ++i) one_by_one.SetSchedule(i, "lr", lr);
    for (Model* const m : {&a, &b, &c}) m->NextGradient();
    for (Optimizer* const o : {&by_schedule, &by_hand, &one_by_one}) o->Step();
    ASSERT_EQ(a.params, b.params) << step;
    ASSERT_EQ(a.params, c.params) << step;
  }
}

TEST(LearningRateTest, SchedulesAreSetForAllOrForAGroup) {
  Model model(kShapes);
  Optimizer optimizer(model.tensors, WithHead());
  optimizer.Step();
  optimizer.SetSchedule("lr", Linear(4));
  optimizer.SetSchedule("beta1", 0.5, 0);
  EXPECT_THAT(Rates(optimizer), ElementsAre(0.75, 0.75, 1.5));
  EXPECT_EQ(optimizer.Value(0, "beta1"), 0.9);
  EXPECT_EQ(optimizer.Value(2, "beta1"), 0.5);
  optimizer.Step();
  EXPECT_EQ(optimizer.Lr(), 0.5);
}

TEST(LearningRateTest, IsSavedWithTheState) {
  Model model(kShapes), other(kShapes);
  Optimizer optimizer(model.tensors, WithHead()), loaded(other.tensors, WithHead());
  optimizer.Step();
  optimizer.SetLr(1.0 / 3);
  loaded.LoadState(optimizer.State());
  EXPECT_EQ(loaded.Lr(), 1.0 / 3);
  EXPECT_EQ(loaded.Lr(0), 1.0 / 3);
  other.Assign(model.params);
  for (Model* const m : {&model, &other}) m->NextGradient();
  other.grads = model.grads;
  for (size_t i = 0; i < 3; ++i) loaded.tensors()[i].grad = other.grads[i].data();
  optimizer.Step();
  loaded.Step();
  EXPECT_EQ(model.params, other.params);
}

TEST(LearningRateTest, RulesWithoutTheOptionAreLeftOut) {
  Model model(kShapes);
  OptimizerSpec spec = Momentum{.lr = 0.1};
  spec.groups = {{.match = "head.*", .rule = "sgd"}};
  Optimizer optimizer(model.tensors, spec);
  optimizer.SetSchedule("momentum", 0.5);
  EXPECT_EQ(optimizer.Value(0, "momentum"), 0.5);
  EXPECT_EQ(ErrorOf([&] { optimizer.SetSchedule("momentum", 0.5, 0); }).substr(0, 30),
            "sgd has no option \"momentum\"; ");
}

TEST(LearningRateTest, BadValuesAreNamedAndChangeNothing) {
  Model model(kShapes);
  OptimizerSpec spec = WithHead();
  spec.groups[0].lr_scale = 1e300;
  spec.groups.push_back({.classes = {TensorClass::kEmbedding}});  // which no tensor is
  Optimizer optimizer(model.tensors, spec);
  const StateTree before = optimizer.State();
  EXPECT_EQ(ErrorOf([&] { optimizer.SetLr(-1); }), "adamw: lr = -1 is outside [0, inf)");
  EXPECT_EQ(ErrorOf([&] { optimizer.SetLr(1e200); }),
            "SetSchedule: lr_scale = 1e+300 times lr = 1e+200 = inf is outside [0, inf)");
  EXPECT_EQ(
      ErrorOf([&] { optimizer.SetLr(1, 2); }),
      "SetSchedule: group = 2 is none of kNoGroup, kFallbackGroup and the spec's groups [0, 2)");
  EXPECT_EQ(ErrorOf([&] { optimizer.SetLr(1, 1); }), "SetSchedule: no tensor is in the group");
  EXPECT_EQ(ErrorOf([&] { optimizer.Lr(1); }), "Lr: no tensor is in the group");
  EXPECT_EQ(ErrorOf([&] { optimizer.Lr(-3); }),
            "Lr: group = -3 is none of kNoGroup, kFallbackGroup and the spec's groups [0, 2)");
  EXPECT_EQ(ErrorOf([&] { optimizer.SetSchedule("beta", 1); }),
            "adamw has no option \"beta\"; did you mean \"beta1\"?");
  EXPECT_EQ(ErrorOf([&] { optimizer.SetSchedule("lr", ParseSchedule("warmup(10%)")); }),
            "SetSchedule: lr = \"warmup(10%)\" is relative to the length of a run; call "
            "Resolve({.steps = ...}) on it");
  EXPECT_EQ(FirstDifference(optimizer.State(), before), "");
  EXPECT_EQ(optimizer.Lr(), 0.1);
  EXPECT_EQ(optimizer.Lr(0), 0.5);
}

TEST(LearningRateTest, RulesOfWholeTensorsSayWhatTheyCannotTake) {
  Model model({{"a.weight", {8, 6}}, {"b.weight", {3, 5}}});
  Optimizer optimizer(model.tensors, Muon{});
  const double steps = optimizer.Value(1, "ns_steps");
  EXPECT_EQ(ErrorOf([&] { optimizer.SetSchedule("ns_steps", 2.5); }),
            "muon: tensor \"a.weight\" has ns_steps = 2.500000, which is not an integer");
  EXPECT_EQ(optimizer.Value(0, "ns_steps"), steps);
  EXPECT_EQ(optimizer.Value(1, "ns_steps"), steps);
  optimizer.SetSchedule("ns_steps", 3);
  optimizer.SetLr(0.125);
  EXPECT_EQ(optimizer.Value(1, "ns_steps"), 3);
  EXPECT_EQ(optimizer.Lr(), 0.125);
}

// A call costs the same for any number of tensors, and nothing stays of it.
TEST(LearningRateTest, ManyTensorsCostNoMore) {
  const auto allocations = [](size_t count) {
    Model::Shapes shapes;
    for (size_t i = 0; i < count; ++i) shapes.push_back({"h." + std::to_string(i), {4, 4}});
    Model model(shapes);
    Optimizer optimizer(model.tensors, AdamW{});
    optimizer.SetLr(0.5);
    const int64_t live = testing::LiveAllocations(), before = testing::Allocations();
    for (int i = 0; i < 100; ++i) optimizer.SetLr(1.0 / (i + 1));
    const int64_t calls = testing::Allocations() - before;
    EXPECT_EQ(testing::LiveAllocations(), live) << count;
    EXPECT_EQ(optimizer.Lr(), 0.01);
    return calls;
  };
  EXPECT_EQ(allocations(1000), allocations(2));
}

}  // namespace learning_rate_test
}  // namespace kudari
