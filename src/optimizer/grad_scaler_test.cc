#include "kudari/grad_scaler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"
#include "tests/support/rules.h"

namespace kudari {
namespace grad_scaler_test {

using nlohmann::json;
using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Model;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

void Multiply(Model& model, double factor) {
  for (auto& g : model.grads) {
    for (float& x : g) x *= static_cast<float>(factor);
  }
}

void ExpectSameState(const StateTree& a, const StateTree& b) {
  EXPECT_EQ(FirstDifference(a, b), "");
}

StateTree ScalerState(double scale, int64_t growth_tracker) {
  StateTree state;
  state.Set("scale", scale);
  state.Set("growth_tracker", growth_tracker);
  return state;
}

TEST(GradScalerTest, ScalesAndSkipsAreTorchs) {
  const json golden =
      json::parse(std::ifstream(KUDARI_SOURCE_DIR "/tests/golden/data/grad_scaler.json"))["cases"];
  ASSERT_FALSE(golden.empty());
  for (const json& c : golden) {
    const json& o = c["options"];
    GradScaler scaler({.init_scale = o["init_scale"],
                       .growth_factor = o["growth_factor"],
                       .backoff_factor = o["backoff_factor"],
                       .growth_interval = o["growth_interval"]});
    const std::vector<std::string> scripts = c["scripts"];
    std::vector<Model> models;
    std::vector<Optimizer> optimizers;
    for (size_t k = 0; k < scripts.size(); ++k) {
      models.emplace_back(Model::Shapes{{"w", {2}}});
      optimizers.emplace_back(models.back().tensors, Sgd{.lr = 0.5});
    }
    size_t step = 0;
    for (const json& run : c["runs"]) {  // [first tracker, count, skipped, scale]
      for (int64_t i = 0; i < run[1]; ++i, ++step) {
        for (size_t k = 0; k < scripts.size(); ++k) {
          const char kind = scripts[k][step];
          const float x = kind == '.' ? 1 : kind == 'i' ? kInf : kNan;
          models[k].grads[0] = {1, x};
          Multiply(models[k], scaler.scale());
          const auto before = models[k].params;
          const Report report = scaler.Step(optimizers[k]);
          EXPECT_EQ(report.skipped, run[2][k].get<bool>());
          EXPECT_EQ(report.first_nonfinite, kind == '.' ? "" : "w");
          EXPECT_EQ(models[k].params == before, report.skipped);
        }
        scaler.Update();
        EXPECT_EQ(scaler.scale(), run[3].get<double>()) << c["scripts"] << " step " << step;
        EXPECT_EQ(scaler.growth_tracker(), run[0].get<int64_t>() + i);
      }
    }
    EXPECT_EQ(step, scripts[0].size());
  }
}

TEST(GradScalerTest, APowerOfTwoChangesNoBitOfAnyRule) {
  for (const RuleEntry& rule : testing::RulesForBuild()) {
    OptimizerSpec spec(rule.name);
    spec.clip_norm = 1.0;
    spec.clip_value = 0.05;
    spec.agc = AdaptiveClip{.clip = 0.1};
    spec.centralize = true;
    spec.ema = EmaSpec{};
    const Model::Shapes shapes = {{"a", {20, 30}}, {"b", {1, 17}}, {"c", {400, 350}}};
    Model plain(shapes), scaled(shapes);
    Optimizer plain_optimizer(plain.tensors, spec), scaled_optimizer(scaled.tensors, spec);
    GradScaler scaler({.growth_interval = 2});
    for (int step = 0; step < 5; ++step) {
      plain.NextGradient();
      scaled.NextGradient();
      const double scale = scaler.scale();
      EXPECT_EQ(scale, 65536 * std::exp2(step / 2));
      Multiply(scaled, scale);
      const auto gradients = scaled.grads;
      const Report expected = plain_optimizer.Step();
      const Report report = scaler.Step(scaled_optimizer);
      scaler.Update();
      EXPECT_EQ(scaled.grads, gradients) << rule.name;  // read only
      EXPECT_EQ(scaled.params, plain.params) << rule.name << " step " << step;
      EXPECT_EQ(report.grad_norm, expected.grad_norm);
      EXPECT_EQ(report.factor * scale, expected.factor);
      EXPECT_EQ(report.loss_scale, scale);
      EXPECT_EQ(expected.loss_scale, 1);
    }
    ExpectSameState(scaled_optimizer.State(), plain_optimizer.State());
  }
}

TEST(GradScalerTest, AnyScaleIsDividedOutInDouble) {
  Model model({{"w", {1}}});
  model.Assign({{0}});
  model.grads[0] = {3 * 1000.1F};
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.measure_norm = true;
  Optimizer optimizer(model.tensors, spec);
  GradScaler scaler({.init_scale = 1000.1});
  EXPECT_EQ(scaler.scale(), static_cast<double>(1000.1F));
  const Report report = scaler.Step(optimizer);
  EXPECT_NEAR(model.params[0][0], -3, 4e-7);
  EXPECT_NEAR(report.grad_norm, 3, 4e-7);
  EXPECT_EQ(report.factor, 1 / scaler.scale());
}

TEST(GradScalerTest, UnscalingAddsOneReadOfTheGradientAndClippingNone) {
  Model model({{"w", {1000}}});
  OptimizerSpec spec = AdamW{};
  const Report plain = Optimizer(model.tensors, spec).Step();
  spec.clip_norm = 1.0;
  Optimizer optimizer(model.tensors, spec);
  const Report scaled = GradScaler().Step(optimizer);
  EXPECT_EQ(scaled.bytes_read, plain.bytes_read + 4000);
  EXPECT_EQ(scaled.bytes_written, plain.bytes_written);
  model.grads[0][7] = kNan;
  EXPECT_EQ(GradScaler().Step(optimizer).bytes_written, 0);
}

TEST(GradScalerTest, ASkippedStepAdvancesNothing) {
  for (const RuleEntry& rule : testing::RulesForBuild()) {
    OptimizerSpec spec(rule.name);
    spec.options.emplace("lr", 1e-2 * Cosine(20));
    spec.clip_norm = 1.0 * Warmup(5);
    spec.lookahead = LookaheadSpec{.k = 2};
    spec.ema = EmaSpec{.decay = 0.5};
    spec.nonfinite = NonFinite::kError;  // the scaler's skip wins
    Model model({{"a", {6, 5}}, {"b", {1, 17}}});
    Optimizer optimizer(model.tensors, spec);
    GradScaler scaler;
    const auto overflow = [&](float x) {
      model.grads[1][3] = x;
      const auto params = model.params;
      const StateTree state = optimizer.State();
      const double lr = optimizer.Value(0, "lr");
      const Report report = scaler.Step(optimizer);
      scaler.Update();
      EXPECT_TRUE(report.skipped);
      EXPECT_EQ(report.first_nonfinite, "b");
      EXPECT_FALSE(std::isfinite(report.grad_norm));
      EXPECT_EQ(model.params, params) << rule.name;
      EXPECT_EQ(optimizer.steps(), state.At("step").Int());
      EXPECT_EQ(optimizer.Value(0, "lr"), lr);
      ExpectSameState(optimizer.State(), state);
    };
    for (const float x : {kInf, -kInf, kNan}) {
      model.NextGradient();
      EXPECT_FALSE(scaler.Step(optimizer).skipped);
      scaler.Update();
      overflow(x);
    }
    EXPECT_EQ(optimizer.steps(), 3);
  }
}

TEST(GradScalerTest, TheFirstStepsMayOverflow) {
  // As if they had not been.
  const Model::Shapes shapes = {{"a", {6, 5}}, {"b", {17}}};
  OptimizerSpec spec = AdamW{.lr = 0.1};
  spec.lookahead = LookaheadSpec{.k = 2};
  spec.ema = EmaSpec{.warmup = true};
  Model model(shapes), expected(shapes);
  Optimizer optimizer(model.tensors, spec), expected_optimizer(expected.tensors, spec);
  GradScaler scaler({.init_scale = 8});
  for (int step = 1; step <= 3; ++step) {
    const float kept = std::exchange(model.grads[0][0], kInf);
    EXPECT_TRUE(scaler.Step(optimizer).skipped);
    scaler.Update();
    model.grads[0][0] = kept;
  }
  EXPECT_EQ(scaler.scale(), 1);
  for (int step = 0; step < 4; ++step) {
    EXPECT_FALSE(scaler.Step(optimizer).skipped);
    scaler.Update();
    expected_optimizer.Step();
  }
  EXPECT_EQ(model.params, expected.params);
  ExpectSameState(optimizer.State(), expected_optimizer.State());
}

TEST(GradScalerTest, AccumulatedGradientsShareTheScale) {
  const auto run = [](double scale, int overflow_in) {
    Model model({{"w", {1}}});
    model.Assign({{0}});
    OptimizerSpec spec = Sgd{.lr = 1};
    spec.accumulate = 3;
    spec.measure_norm = true;
    Optimizer optimizer(model.tensors, spec);
    GradScaler scaler({.init_scale = scale});
    int call = 0;
    const Report report = scaler.Step(optimizer, [&](Pass) -> Evaluation {
      model.grads[0][0] = 1.0F + static_cast<float>(call);
      Multiply(model, call == overflow_in ? kInf : scale);
      ++call;
      return {static_cast<double>(call), call == 3 ? 3.0 : 1.0};
    });
    return std::tuple(model.params[0][0], report.loss, report.grad_norm, report.skipped);
  };
  // (1 + 2 + 3 * 3) / 5
  EXPECT_EQ(run(1024, -1), run(1, -1));
  EXPECT_NEAR(std::get<0>(run(1024, -1)), -2.4, 1e-6);
  EXPECT_NEAR(std::get<1>(run(1024, -1)), 2.4, 1e-12);
  EXPECT_NEAR(std::get<2>(run(1024, -1)), 2.4, 1e-6);
  for (const int call : {0, 1, 2}) {
    EXPECT_TRUE(std::get<3>(run(1024, call)));
    EXPECT_EQ(std::get<0>(run(1024, call)), 0);
  }
}

TEST(GradScalerTest, AnOracleWithoutDataIsNoStep) {
  Model model({{"w", {2}}});
  Optimizer optimizer(model.tensors, Sgd{});
  GradScaler scaler;
  EXPECT_TRUE(scaler.Step(optimizer, [](Pass) -> Evaluation { return Evaluation::End(); }).skipped);
  EXPECT_THAT(ErrorOf([&] { scaler.Update(); }), HasSubstr("Update without a step"));
  EXPECT_FALSE(scaler.Step(optimizer, [](Pass) -> Evaluation { return 1; }).skipped);
  scaler.Update();
  EXPECT_EQ(scaler.growth_tracker(), 1);
}

TEST(GradScalerTest, WhatTheOracleThrowsIsNoStep) {
  Model model({{"w", {2}}});
  Optimizer optimizer(model.tensors, Sgd{});
  GradScaler scaler;
  EXPECT_THROW(scaler.Step(optimizer, [](Pass) -> Evaluation { throw std::runtime_error("no"); }),
               std::runtime_error);
  EXPECT_FALSE(scaler.Step(optimizer).skipped);
}

TEST(GradScalerTest, ScaleStaysAtItsLeast) {
  Model model({{"w", {1}}});
  model.grads[0] = {kNan};
  Optimizer optimizer(model.tensors, Sgd{});
  GradScaler scaler({.init_scale = 20, .min_scale = 3});
  for (const double expected : {10, 5, 3, 3}) {
    EXPECT_TRUE(scaler.Step(optimizer).skipped);
    scaler.Update();
    EXPECT_EQ(scaler.scale(), expected);
  }
  GradScaler standard;
  for (int i = 0; i < 60; ++i) {
    standard.Step(optimizer);
    standard.Update();
  }
  EXPECT_EQ(standard.scale(), std::exp2(-24));
}

TEST(GradScalerTest, AStaticScaleOnlySkips) {
  Model model({{"w", {1}}});
  Optimizer optimizer(model.tensors, Sgd{.lr = 1});
  GradScaler scaler({.init_scale = 512, .growth_interval = 1, .dynamic = false});
  for (const float g : {1.0F, kInf, 1.0F, kNan}) {
    model.grads[0] = {g * 512};
    const float before = model.params[0][0];
    EXPECT_EQ(scaler.Step(optimizer).skipped, !std::isfinite(g));
    EXPECT_EQ(model.params[0][0], std::isfinite(g) ? before - 1 : before);
    EXPECT_THAT(ErrorOf([&] { scaler.Step(optimizer); }), HasSubstr("already been stepped"));
    scaler.Update();
    EXPECT_EQ(scaler.State(), ScalerState(512, 0));
  }
}

TEST(GradScalerTest, UnscaledGradientsAreTakenAsTheyAre) {
  Model model({{"a", {1}}, {"b", {1}}});
  model.Assign({{0}, {0}});
  Optimizer optimizer(model.tensors, Sgd{.lr = 1});
  GradScaler scaler;
  model.grads = {{3}, {4}};
  scaler.Unscaled(optimizer, {});
  EXPECT_THAT(ErrorOf([&] { scaler.Unscaled(optimizer, {}); }), HasSubstr("already unscaled"));
  EXPECT_THAT(ErrorOf([&] { scaler.Step(optimizer, [](Pass) -> Evaluation { return 1; }); }),
              HasSubstr("step without an oracle"));
  const Report report = scaler.Step(optimizer);
  EXPECT_EQ(model.params, (std::vector<std::vector<float>>{{-3}, {-4}}));
  EXPECT_EQ(report.loss_scale, 65536);
  EXPECT_THAT(ErrorOf([&] { scaler.Unscaled(optimizer, {}); }), HasSubstr("already been stepped"));
  scaler.Update();
  EXPECT_EQ(scaler.State(), ScalerState(65536, 1));

  // What was found then counts, even if the caller has put it right.
  scaler.Unscaled(optimizer, optimizer.tensors()[1].name);
  const Report skipped = scaler.Step(optimizer);
  EXPECT_TRUE(skipped.skipped);
  EXPECT_EQ(skipped.first_nonfinite, "b");
  EXPECT_EQ(optimizer.steps(), 1);
  scaler.Update();
  EXPECT_EQ(scaler.State(), ScalerState(32768, 0));

  // So does what the caller has made of them.
  scaler.Unscaled(optimizer, {});
  model.grads[0] = {kNan};
  EXPECT_EQ(scaler.Step(optimizer).first_nonfinite, "a");
  scaler.Update();
  EXPECT_EQ(scaler.scale(), 16384);
}

TEST(GradScalerTest, StepsAndUpdatesAlternate) {
  Model model({{"w", {2}}}), other({{"w", {2}}});
  Optimizer optimizer(model.tensors, Sgd{}), second(other.tensors, Sgd{});
  GradScaler scaler;
  EXPECT_THAT(ErrorOf([&] { scaler.Update(); }), HasSubstr("call Step first"));
  scaler.Step(optimizer);
  EXPECT_THAT(ErrorOf([&] { scaler.Step(optimizer); }), HasSubstr("call Update first"));
  EXPECT_EQ(optimizer.steps(), 1);
  scaler.Step(second);
  scaler.Update();
  EXPECT_EQ(scaler.growth_tracker(), 1);  // once for both
  EXPECT_THAT(ErrorOf([&] { scaler.Update(); }), HasSubstr("call Step first"));
  for (Tensor& t : optimizer.tensors()) t.grad = nullptr;
  EXPECT_THAT(ErrorOf([&] { scaler.Step(optimizer); }), HasSubstr("no tensor has a gradient"));
  EXPECT_EQ(optimizer.steps(), 1);
}

TEST(GradScalerTest, ResumesWhereItWas) {
  Model model({{"w", {1}}});
  Optimizer optimizer(model.tensors, Sgd{});
  const GradScalerOptions options = {.growth_interval = 5};
  GradScaler scaler(options);
  const auto steps = [&](GradScaler& s, int count) {
    for (int i = 0; i < count; ++i) {
      s.Step(optimizer);
      s.Update();
    }
  };
  steps(scaler, 8);
  EXPECT_EQ(scaler.State(), ScalerState(131072, 3));
  GradScaler resumed(options);
  resumed.Step(optimizer);  // is forgotten
  resumed.LoadState(scaler.State());
  steps(scaler, 4);
  steps(resumed, 4);
  EXPECT_EQ(resumed.State(), ScalerState(262144, 2));
  EXPECT_EQ(resumed.State(), scaler.State());
}

TEST(GradScalerTest, StatesOutOfRangeAreNamed) {
  GradScaler scaler({.growth_interval = 10, .min_scale = 0.5});
  const auto load = [&](double scale, int64_t tracker) {
    return ErrorOf([&] { scaler.LoadState(ScalerState(scale, tracker)); });
  };
  for (const double bad : {0.25, 0.0, -8.0, 1e39, static_cast<double>(kInf), double(kNan)}) {
    EXPECT_THAT(load(bad, 0), HasSubstr("state: \"scale\" = "));
    EXPECT_THAT(load(bad, 0), HasSubstr("is outside [0.5, 3.4028234663852886e+38]"));
  }
  EXPECT_THAT(load(8, 10), HasSubstr("state: \"growth_tracker\" = 10 is outside [0, 9]"));
  EXPECT_THAT(load(8, -1), HasSubstr("state: \"growth_tracker\" = -1 is outside [0, 9]"));
  EXPECT_EQ(scaler.State(), ScalerState(65536, 0));
  GradScaler fixed({.dynamic = false});
  EXPECT_THAT(ErrorOf([&] { fixed.LoadState(ScalerState(8, 1)); }),
              HasSubstr("\"growth_tracker\" = 1 is outside [0, 0]"));
}

TEST(GradScalerTest, OptionsOutOfRangeAreNamed) {
  const auto error = [](const GradScalerOptions& o) { return ErrorOf([&] { GradScaler s(o); }); };
  EXPECT_EQ(error({}), "no error");
  EXPECT_THAT(error({.init_scale = 0}), HasSubstr("init_scale = 0 is outside [5.96"));
  EXPECT_THAT(error({.init_scale = -1}), HasSubstr("init_scale = -1 is outside"));
  EXPECT_THAT(error({.init_scale = kNan}), HasSubstr("init_scale = nan is outside"));
  EXPECT_THAT(error({.init_scale = kInf}), HasSubstr("init_scale = inf is outside"));
  EXPECT_THAT(error({.init_scale = 2, .min_scale = 4}), HasSubstr("init_scale = 2 is outside [4,"));
  EXPECT_THAT(error({.growth_factor = 1}), HasSubstr("growth_factor = 1 is outside (1, inf)"));
  EXPECT_THAT(error({.growth_factor = kInf}), HasSubstr("growth_factor = inf is outside (1, inf)"));
  EXPECT_THAT(error({.backoff_factor = 1}), HasSubstr("backoff_factor = 1 is outside (0, 1)"));
  EXPECT_THAT(error({.backoff_factor = 0}), HasSubstr("backoff_factor = 0 is outside (0, 1)"));
  EXPECT_THAT(error({.backoff_factor = kNan}), HasSubstr("backoff_factor = nan is outside (0, 1)"));
  EXPECT_THAT(error({.growth_interval = 0}), HasSubstr("growth_interval = 0 is outside [1, "));
  EXPECT_THAT(error({.min_scale = 0}), HasSubstr("min_scale = 0 is outside [1.17"));
  EXPECT_THAT(error({.min_scale = 1e39}), HasSubstr("min_scale = 1e+39 is outside"));
}

TEST(GradScalerTest, LossScalesOutOfRangeAreNamed) {
  Model model({{"w", {1}}});
  Optimizer optimizer(model.tensors, Sgd{});
  for (const double bad : {0.0, -1.0, static_cast<double>(kInf), double(kNan)}) {
    EXPECT_THAT(ErrorOf([&] { optimizer.StepScaled(bad); }), HasSubstr("loss_scale = "));
  }
  EXPECT_EQ(optimizer.steps(), 0);
}

}  // namespace grad_scaler_test
}  // namespace kudari
