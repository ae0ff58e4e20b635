// Gradient release: tensors stepped one by one as their gradients come.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"
#include "tests/support/rules.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace release_test {

using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Model;

const Model::Shapes kShapes = {{"a", {200, 100}}, {"b", {7}}, {"c", {150, 1000}}, {"d", {64, 64}}};

class ReleaseTest : public ::testing::TestWithParam<RuleEntry> {};

INSTANTIATE_TEST_SUITE_P(Registry, ReleaseTest, ::testing::ValuesIn(testing::RulesForBuild()),
                         [](const auto& info) { return info.param.name; });

TEST_P(ReleaseTest, OneByOneInAnyOrderIsTheStepOfAll) {
  for (const bool clipped : {false, true}) {
    OptimizerSpec spec(GetParam().name);
    spec.options.emplace("lr", 0.01 * Warmup(3));
    if (GetParam().whole != nullptr) spec.fallback = Fallback{};
    spec.ema = EmaSpec{.decay = 0.5};
    spec.precision.state = StateFormat::kLinear8;
    if (clipped) spec.clip_norm = 0.5;
    Model all(kShapes), each(kShapes);
    Optimizer a(all.tensors, spec), b(each.tensors, spec);
    for (int step = 0; step < 3; ++step) {
      all.NextGradient();
      each.NextGradient();
      const Report report = a.Step();
      std::optional<double> norm;
      if (clipped) {
        double sum = 0;
        for (size_t i = 0; i < kShapes.size(); ++i) sum += b.GradientSquares(i);
        norm = std::sqrt(sum);
        EXPECT_DOUBLE_EQ(*norm, report.grad_norm);
      }
      for (const size_t i : {3U, 0U, 2U, 1U}) {
        const Report one = b.StepTensor(i, norm);
        EXPECT_DOUBLE_EQ(one.factor, report.factor);
        b.tensors()[i].grad = nullptr;  // released
        EXPECT_EQ(b.steps(), step);
      }
      b.FinishStep();
      EXPECT_EQ(b.steps(), step + 1);
      for (size_t i = 0; i < kShapes.size(); ++i) b.tensors()[i].grad = each.grads[i].data();
    }
    EXPECT_EQ(all.params, each.params);
    EXPECT_EQ(FirstDifference(a.State(), b.State()), "");
    // And back to steps of all.
    all.NextGradient();
    each.NextGradient();
    a.Step();
    b.Step();
    EXPECT_EQ(all.params, each.params);
  }
}

TEST(ReleaseErrorsTest, WhatNeedsAllGradientsIsRefused) {
  Model model(kShapes);
  const auto error = [&](const auto& change, std::optional<double> norm = std::nullopt) {
    OptimizerSpec spec = AdamW{};
    change(spec);
    Optimizer optimizer(model.tensors, spec);
    const auto before = model.params;
    std::string message = ErrorOf([&] { optimizer.StepTensor(0, norm); });
    EXPECT_EQ(model.params == before, message != "no error");
    return message;
  };
  EXPECT_THAT(
      error([](OptimizerSpec& s) { s.clip_norm = 1.0; }),
      HasSubstr("clipping by norm needs the norm of all gradients before the first update"));
  EXPECT_EQ(error([](OptimizerSpec& s) { s.clip_norm = 1.0; }, 2.0), "no error");
  EXPECT_THAT(error([](OptimizerSpec& s) { s.measure_norm = true; }), HasSubstr("measure_norm"));
  EXPECT_THAT(error([](OptimizerSpec& s) { s.nonfinite = NonFinite::kSkip; }),
              HasSubstr("nonfinite"));
  EXPECT_THAT(error([](OptimizerSpec& s) { s.accumulate = 2; }, 1.0), HasSubstr("accumulate = 2"));
}

TEST(ReleaseErrorsTest, AStepOfTensorsWithoutGradientIsNone) {
  Model model(kShapes);
  model.tensors[0].grad = model.tensors[1].grad = nullptr;
  Optimizer optimizer(model.tensors, AdamW{});
  for (const size_t i : {0U, 1U}) optimizer.StepTensor(i);
  EXPECT_EQ(ErrorOf([&] { optimizer.FinishStep(); }),
            "FinishStep: StepTensor has stepped no tensor");
  EXPECT_EQ(optimizer.steps(), 0);
  optimizer.Step();  // nothing has begun
  EXPECT_EQ(optimizer.steps(), 1);
}

TEST(ReleaseErrorsTest, StepsAreWhole) {
  Model model(kShapes);
  Optimizer optimizer(model.tensors, AdamW{});
  EXPECT_THAT(ErrorOf([&] { optimizer.FinishStep(); }), HasSubstr("has stepped no tensor"));
  const StateTree state = optimizer.State();
  optimizer.StepTensor(1);
  EXPECT_THAT(ErrorOf([&] { optimizer.StepTensor(1); }),
              HasSubstr("tensor \"b\" has already been stepped"));
  const std::vector<std::pair<std::string, std::function<void()>>> calls = {
      {"Step", [&] { optimizer.Step(); }},
      {"UpdateHessian", [&] { optimizer.UpdateHessian(); }},
      {"Evaluation", [&] { static_cast<void>(optimizer.EvaluationWeights()); }},
      {"State", [&] { static_cast<void>(optimizer.State()); }},
      {"LoadState", [&] { optimizer.LoadState(state); }},
      {"Refresh", [&] { optimizer.Refresh(); }},
      {"SetSchedule", [&] { optimizer.SetSchedule(0, "lr", 0.5); }},
      {"AddScale", [&] { optimizer.AddScale(std::make_unique<ClipNorm>(1.0)); }},
      {"AddAverager", [&] { optimizer.AddAverager(std::make_unique<Ema>()); }},
  };
  for (const auto& [name, call] : calls) {
    EXPECT_EQ(ErrorOf(call), name + ": StepTensor has begun a step; call FinishStep first");
  }
  EXPECT_THAT(ErrorOf([&] { optimizer.StepTensor(4); }), HasSubstr("outside [0, 4)"));
  optimizer.FinishStep();
  EXPECT_EQ(optimizer.steps(), 1);
  optimizer.Step();
  EXPECT_EQ(testing::Updates(optimizer, 1), 2);
  EXPECT_EQ(testing::Updates(optimizer, 0), 1);
}

}  // namespace release_test
}  // namespace kudari
