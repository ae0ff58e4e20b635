#include "kudari/batch_scaling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kudari/error.h"
#include "kudari/recipe.h"
#include "kudari/rules/all.h"
#include "tests/support/errors.h"

namespace kudari {
namespace {

using testing::ErrorOf;
using ::testing::HasSubstr;

double Value(const OptimizerSpec& spec, const std::string& name) {
  return spec.options.at(name)(0);
}

// lr = 0.01 at a batch of 32, as the guide's plot has it.
TEST(BatchScaling, LearningRatesOfTheGuide) {
  const double linear[] = {0.01, 0.02, 0.04, 0.08, 0.16, 0.32};
  const double root[] = {0.01, 0.014142135623730951, 0.02, 0.028284271247461901,
                         0.04, 0.056568542494923803};
  for (int i = 0; i < 6; ++i) {
    const double kappa = (32 << i) / 32.0;
    EXPECT_DOUBLE_EQ(ScaleLr(BatchRule::kLinear, 0.01, kappa), linear[i]);
    EXPECT_DOUBLE_EQ(ScaleLr(BatchRule::kSqrt, 0.01, kappa), root[i]);
    EXPECT_DOUBLE_EQ(ScaleLr(BatchRule::kAdamSde, 0.01, kappa), root[i]);
    EXPECT_EQ(ScaleLr(BatchRule::kNone, 0.01, kappa), 0.01);
  }
}

TEST(BatchScaling, AdamsSdeRule) {
  // 1 - 4 * 0.1, 1 - 4 * 0.001, 1e-8 / 2.
  EXPECT_DOUBLE_EQ(ScaleBeta(0.9, 4), 0.6);
  EXPECT_DOUBLE_EQ(ScaleBeta(0.999, 4), 0.996);
  EXPECT_DOUBLE_EQ(ScaleEps(1e-8, 4), 5e-9);
  EXPECT_DOUBLE_EQ(ScaleAverage(0.999, 4), 0.999 * 0.999 * 0.999 * 0.999);
}

TEST(BatchScaling, IdentityAndRoundTrip) {
  for (const double beta : {0.0, 0.5, 0.9, 0.999, 0.9999999}) EXPECT_EQ(ScaleBeta(beta, 1), beta);
  for (const double kappa : {0.01, 0.3, 1.0, 2.5, 9.0}) {
    for (const BatchRule rule :
         {BatchRule::kNone, BatchRule::kLinear, BatchRule::kSqrt, BatchRule::kAdamSde}) {
      EXPECT_NEAR(ScaleLr(rule, ScaleLr(rule, 0.3, kappa), 1 / kappa), 0.3, 1e-15);
      EXPECT_EQ(ScaleLr(rule, 0.3, 1), 0.3);
    }
    EXPECT_NEAR(ScaleBeta(ScaleBeta(0.9, kappa), 1 / kappa), 0.9, 1e-15);
    EXPECT_NEAR(ScaleEps(ScaleEps(1e-8, kappa), 1 / kappa), 1e-8, 1e-22);
    EXPECT_NEAR(ScaleAverage(ScaleAverage(0.99, kappa), 1 / kappa), 0.99, 1e-15);
  }
  OptimizerSpec spec = AdamW{.lr = 1e-3};
  spec.options.at("lr") = 1e-3 * Warmup(120) * Cosine(1200);
  spec.ema = EmaSpec{.decay = 0.99};
  spec.swa = SwaSpec{.start = 96, .every = 8};
  const OptimizerSpec complete = Complete(spec);
  EXPECT_EQ(ScaleBatch(spec, 1), complete);
  const OptimizerSpec back = ScaleBatch(ScaleBatch(spec, 4), 0.25);
  EXPECT_EQ(back.options.at("lr"), complete.options.at("lr"));
  EXPECT_NEAR(Value(back, "beta1"), 0.9, 1e-15);
  EXPECT_NEAR(Value(back, "beta2"), 0.999, 1e-15);
  EXPECT_NEAR(Value(back, "eps"), 1e-8, 1e-22);
  EXPECT_NEAR(back.ema->decay, 0.99, 1e-15);
  EXPECT_EQ(back.swa, complete.swa);
}

TEST(BatchScaling, Domains) {
  EXPECT_EQ(ErrorOf([] { ScaleBeta(0.9, 16); }),
            "kappa (1 - beta) = 16 * (1 - 0.9) is not below 1: adam_sde is defined for kappa < 10; "
            "use sqrt, or a smaller batch");
  EXPECT_NO_THROW(ScaleBeta(0.9, 9.9));
  EXPECT_THAT(ErrorOf([] { ScaleBeta(0.5, 2); }), HasSubstr("is not below 1"));  // beta = 0
  for (const double kappa : {0.0, -2.0, std::nan(""), kInfinity}) {
    EXPECT_THAT(ErrorOf([&] { ScaleLr(BatchRule::kLinear, 1, kappa); }),
                HasSubstr("is outside (0, inf)"));
    EXPECT_THAT(ErrorOf([&] { ScaleSteps(10, kappa); }), HasSubstr("is outside (0, inf)"));
    EXPECT_THAT(ErrorOf([&] { ScaleBatch(AdamW{}, kappa); }), HasSubstr("is outside (0, inf)"));
  }
  EXPECT_THAT(ErrorOf([] { ScaleBatch(AdamW{}, 16, BatchRule::kAdamSde); }),
              ::testing::StartsWith("beta1: kappa (1 - beta) = 16 * (1 - 0.9)"));
  EXPECT_THAT(ErrorOf([] { ScaleBatch(Momentum{}, 2, BatchRule::kAdamSde); }),
              HasSubstr("rule = \"momentum\": adam_sde is defined for adam, adamw"));
  OptimizerSpec ramp = AdamW{};
  ramp.options.at("beta1") = 0.9 * Linear(10, 1.05);
  EXPECT_THAT(ErrorOf([&] { ScaleBatch(ramp, 2, BatchRule::kAdamSde); }),
              HasSubstr("beta1: \"0.9 * linear(10, 1.05)\" is a schedule"));
  EXPECT_EQ(DefaultBatchRule("adamw", ramp.options, 2).rule, BatchRule::kSqrt);
}

TEST(BatchScaling, NamesAndDefaults) {
  for (const std::string& name : BatchRuleNames()) EXPECT_EQ(Name(ParseBatchRule(name)), name);
  EXPECT_EQ(ErrorOf([] { ParseBatchRule("adam_sdw"); }),
            "unknown batch rule \"adam_sdw\"; did you mean \"adam_sde\"?");
  const Options none;
  EXPECT_EQ(DefaultBatchRule("nesterov", none, 4).rule, BatchRule::kLinear);
  EXPECT_EQ(DefaultBatchRule("lars", none, 4).rule, BatchRule::kLinear);
  EXPECT_EQ(DefaultBatchRule("lamb", none, 4).rule, BatchRule::kSqrt);
  EXPECT_EQ(DefaultBatchRule("lion", none, 4).rule, BatchRule::kSqrt);
  const Options adam = Complete(Adam{}).options;
  EXPECT_EQ(DefaultBatchRule("adam", adam, 9.9).rule, BatchRule::kAdamSde);
  const BatchChoice beyond = DefaultBatchRule("adam", adam, 10);
  EXPECT_EQ(beyond.rule, BatchRule::kSqrt);
  EXPECT_THAT(beyond.reason, HasSubstr("ends at kappa = 10"));
  // What the default says can be done is done.
  for (const double kappa : {9.99999, 10.0, 10.00001, 16.0}) {
    EXPECT_NO_THROW(ScaleBatch(Adam{}, kappa));
  }
}

TEST(BatchScaling, StepsOfSchedules) {
  EXPECT_EQ(ScaleSteps(100, 8), 13);
  EXPECT_EQ(ScaleSteps(3, 100), 1);
  EXPECT_EQ(ScaleSteps(0, 100), 0);
  EXPECT_EQ(ScaleSteps(100, 0.125), 800);
  const auto text = [](const std::string& schedule, double kappa) {
    return ScaleSteps(ParseSchedule(schedule), kappa).Text();
  };
  EXPECT_EQ(text("sgdr(100, 2, 0.5, 0.1, 3)", 2), "sgdr(50, 2, 0.5, 0.1, 3)");
  EXPECT_EQ(text("0.002 * warmup(100) * cosine(1600, 0.05)", 4),
            "0.002 * warmup(25) * cosine(400, 0.05)");
  EXPECT_EQ(text("0.002 * warmup(100, 0.5)", 0.5), "0.002 * warmup(200, 0.5)");
  EXPECT_EQ(text("then(0.001, 500, 0.0001 * step(100, 0.5))", 5),
            "then(0.001, 100, 1e-04 * step(20, 0.5))");
  EXPECT_EQ(text("then(100, 500, then(7, 8, 200 * linear(40)))", 2),
            "then(100, 250, then(7, 4, 200 * linear(20, 0)))");
  EXPECT_EQ(text("100", 5), "100");
}

// Every schedule that lists itself, without a line of its own here.
TEST(BatchScaling, EveryScheduleIsScaled) {
  for (const Description& d : DescribeSchedules()) {
    std::string arguments;
    bool counts = false;
    for (const OptionDescription& o : d.options) {
      const bool integer = o.range.find("integer") != std::string::npos;
      std::string value = o.default_value.empty() ? "0.5" : o.default_value;
      if (integer) value = arguments.empty() ? "640" : "64";
      if (o.range.starts_with("[m")) value = "[64, 128]";
      counts = counts || (integer && o.name != "width" && o.name != "cycles");
      arguments += (arguments.empty() ? "" : ", ") + value;
    }
    const Schedule schedule = ParseSchedule(d.name + "(" + arguments + ")");
    const Schedule scaled = ScaleSteps(schedule, 4);
    EXPECT_EQ(scaled != schedule, counts) << scaled.Text();
    EXPECT_EQ(ScaleSteps(scaled, 0.25), schedule) << scaled.Text();
  }
}

TEST(BatchScaling, ScheduleErrorTellsWhatIsNotTheSame) {
  const Schedule before = 0.002 * Warmup(100) * Cosine(1600, 0.05);
  EXPECT_LT(ScheduleError(before, ScaleSteps(before, 4), 4, 400), 1e-3);
  EXPECT_LT(ScheduleError(before, ScaleSteps(before, 7), 7, 228), 0.05);
  EXPECT_LT(ScheduleError(before, ScaleSteps(before, 0.3), 0.3, 5333), 0.01);
  // Had the steps stayed.
  EXPECT_GT(ScheduleError(before, before, 4, 400), 0.5);
  EXPECT_GT(ScheduleError(before, 0.5 * ScaleSteps(before, 4), 4, 400), 0.4);
}

TEST(BatchScaling, SpecsAreScaledWithGroupsAndFallback) {
  const OptimizerSpec spec = ParseRecipe(R"toml([optimizer]
rule = "momentum"
lr = "0.1 * warmup(80)"
weight_decay = 1e-4
clip_norm = "1.0 * linear(160, 0.5)"
ema = {decay = 0.5}
swa = {start = 100, every = 10}
[[optimizer.group]]
match = "head.*"
lr = "then(0.2, 40, 0.1)"
[[optimizer.group]]
match = "embed.*"
rule = "adamw"
lr = 1e-3
)toml");
  const OptimizerSpec scaled = ScaleBatch(spec, 4);
  EXPECT_EQ(scaled.options.at("lr").Text(), "0.4 * warmup(20)");
  EXPECT_EQ(Value(scaled, "weight_decay"), 1e-4);
  EXPECT_EQ(Value(scaled, "momentum"), 0.9);
  EXPECT_EQ(scaled.clip_norm->Text(), "1 * linear(40, 0.5)");
  EXPECT_EQ(scaled.groups[0].options.at("lr").Text(), "4 * then(0.2, 10, 0.1)");
  EXPECT_DOUBLE_EQ(scaled.groups[1].options.at("lr")(0), 2e-3);
  EXPECT_DOUBLE_EQ(scaled.groups[1].options.at("beta1")(0), 0.6);
  EXPECT_DOUBLE_EQ(scaled.ema->decay, 0.0625);
  EXPECT_EQ(scaled.swa, (SwaSpec{.start = 25, .every = 3}));
  // None: only what counts steps.
  const OptimizerSpec none = ScaleBatch(spec, 4, BatchRule::kNone);
  EXPECT_EQ(none.options.at("lr").Text(), "0.1 * warmup(20)");
  EXPECT_EQ(none.groups[1].options.at("beta1")(0), 0.9);

  const OptimizerSpec muon = ParseRecipe(
      "[optimizer]\nrule = \"muon\"\nlr = 0.02\nfallback = {rule = \"adamw\", lr = 1e-3}");
  const OptimizerSpec both = ScaleBatch(muon, 4);
  EXPECT_DOUBLE_EQ(Value(both, "lr"), 0.04);
  EXPECT_DOUBLE_EQ(both.fallback->options.at("lr")(0), 2e-3);
  EXPECT_DOUBLE_EQ(both.fallback->options.at("beta2")(0), 0.996);
}

TEST(BatchScaling, EpsInsideTheRootGoesWithTheSquares) {
  const OptimizerSpec outside = ScaleBatch(OptimizerSpec("rmsprop"), 4);
  const OptimizerSpec inside = ScaleBatch(OptimizerSpec("rmsprop_inside"), 4);
  EXPECT_DOUBLE_EQ(Value(outside, "eps"), Value(Complete(OptimizerSpec("rmsprop")), "eps") / 2);
  EXPECT_DOUBLE_EQ(Value(inside, "eps"),
                   Value(Complete(OptimizerSpec("rmsprop_inside")), "eps") / 4);
  EXPECT_DOUBLE_EQ(1 - Value(outside, "alpha"),
                   4 * (1 - Value(Complete(OptimizerSpec("rmsprop")), "alpha")));
}

}  // namespace
}  // namespace kudari
