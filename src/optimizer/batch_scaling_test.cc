#include "kudari/batch_scaling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kudari/error.h"
#include "kudari/recipe.h"
#include "kudari/rules/all.h"
#include "tests/support/errors.h"

namespace kudari {
namespace batch_scaling_test {

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
  EXPECT_THAT(beyond.reason, HasSubstr("is defined up to kappa = 10"));
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

// What is relative to the run has the same samples in any batch.
TEST(BatchScaling, LengthsRelativeToTheRunStay) {
  const auto text = [](const std::string& schedule, double kappa) {
    return ScaleSteps(ParseSchedule(schedule), kappa).Text();
  };
  for (const std::string same :
       {"0.002 * warmup(10%) * cosine(end, 0.05)", "multistep([30ep, 60ep, end], 0.1)",
        "step(5%, 0.5)", "inverse_time(0.5, 10%)", "then(0.5, 1.5ep, linear(end, 0))"}) {
    EXPECT_EQ(text(same, 4), same);
  }
  EXPECT_EQ(text("warmup(100) * cosine(end)", 4), "warmup(25) * cosine(end, 0)");
  EXPECT_EQ(text("multistep([100, 60%])", 4), "multistep([25, 60%], 0.1)");
  EXPECT_EQ(text("wsd(end, 100, 10%)", 4), "wsd(end, 25, 10%, 0, linear)");
  EXPECT_EQ(text("then(1, 50%, exponential(0.5))", 2), "then(1, 50%, exponential(0.25, 1))");
  EXPECT_EQ(text("noam(512, 10%)", 4), "noam(2048, 10%)");
  // Resolved for runs over the same samples, they are what is scaled after it is resolved.
  for (const std::string relative :
       {"warmup(10%) * cosine(end)", "noam(512, 10%)", "then(1, 50%, exponential(0.5, 64))",
        "step(5%, 0.5)", "multistep([1ep, 3ep])"}) {
    const Schedule schedule = ParseSchedule(relative);
    EXPECT_EQ(ScaleSteps(schedule, 4).Resolve({.steps = 400, .steps_per_epoch = 100}),
              ScaleSteps(schedule.Resolve({.steps = 1600, .steps_per_epoch = 400}), 4));
  }
  OptimizerSpec spec = AdamW{};
  spec.options.at("lr") = ParseSchedule("1e-3 * warmup(10%) * cosine(end)");
  spec.clip_norm = ParseSchedule("linear(50%)");
  const OptimizerSpec scaled = ScaleBatch(spec, 4);
  EXPECT_EQ(scaled.options.at("lr").Text(), "0.002 * warmup(10%) * cosine(end, 0)");
  EXPECT_EQ(scaled.clip_norm->Text(), "linear(50%, 0)");
}

TEST(BatchScaling, RatesOfSchedules) {
  const auto text = [](const std::string& schedule, double kappa) {
    return ScaleSteps(ParseSchedule(schedule), kappa).Text();
  };
  EXPECT_EQ(text("exponential(0.5)", 2), "exponential(0.25, 1)");
  EXPECT_EQ(text("exponential(0.5, 100)", 4), "exponential(0.5, 25)");
  EXPECT_EQ(text("exponential(0.25, 1)", 0.5), "exponential(0.25, 2)");
  EXPECT_EQ(text("exp_decay(0.125)", 4), "exp_decay(0.5)");
  EXPECT_EQ(text("inverse_time(0.125, 2)", 4), "inverse_time(0.25, 1)");
  EXPECT_EQ(text("step(1, 0.5)", 2), "step(1, 0.25)");
  EXPECT_EQ(text("exp_range(0.5, 8, 16)", 2), "exp_range(0.25, 4, 8, 0, 1)");
  EXPECT_EQ(text("2 * noam(512, 4000)", 4), "2 * noam(2048, 1000)");
  EXPECT_EQ(text("noam(512, 4000)", 0.5), "noam(256, 8000)");
  // A width that is not whole is rounded, and the rest a factor.
  const Schedule third = ScaleSteps(Noam(512, 3000), 1.0 / 3);
  EXPECT_DOUBLE_EQ(third(8999), Noam(512, 3000)(2999));
  EXPECT_THAT(ErrorOf([&] { text("exponential(1e200)", 4); }),
              HasSubstr("\"exponential(1e+200, 1)\" with its steps divided by 4: "));
}

// The peak of the Transformer's schedule is what the batch rule says, and so is its tail.
TEST(BatchScaling, NoamIsScaledLikeAnyOther) {
  OptimizerSpec spec = Adam{};
  spec.options.at("lr") = 0.5 * Noam(64, 400);
  for (const auto& [rule, factor] : {std::pair{BatchRule::kNone, 1.0},
                                     {BatchRule::kSqrt, 2.0},
                                     {BatchRule::kAdamSde, 2.0},
                                     {BatchRule::kLinear, 4.0}}) {
    const Schedule& before = spec.options.at("lr");
    const Schedule after = ScaleBatch(spec, 4, rule).options.at("lr");
    for (const int64_t t : {4, 200, 400, 4000, 400'000}) {
      EXPECT_DOUBLE_EQ(after(t / 4 - 1), factor * before(t - 1)) << Name(rule) << " at " << t;
    }
  }
}

// Every schedule that lists itself, without a line of its own here: the value in a step is among
// those that the old schedule had in the steps of the same samples.
void ExpectSameSamples(const Schedule& before, const Schedule& after, int64_t kappa) {
  // The way down of a cycle in three phases ends a step before twice its way up.
  const int64_t steps = before.Text().starts_with("onecycle3") ? 2 * kappa - 1 : kappa;
  for (int64_t s = 0; s < 300; ++s) {
    double low = kInfinity, high = -kInfinity;
    for (int64_t k = 0; k < steps; ++k) {
      low = std::min(low, before(kappa * s + k));
      high = std::max(high, before(kappa * s + k));
    }
    const double rounding = 1e-9 * std::max(std::abs(low), std::abs(high)) + 1e-300;
    ASSERT_GE(after(s), low - rounding) << after.Text() << " in step " << s;
    ASSERT_LE(after(s), high + rounding) << after.Text() << " in step " << s;
  }
}

TEST(BatchScaling, EveryScheduleIsScaled) {
  for (const Description& d : DescribeSchedules()) {
    std::string arguments;
    for (const OptionDescription& o : d.options) {
      const bool integer = o.range.find("integer") != std::string::npos ||
                           o.range.find("steps") != std::string::npos;
      std::string value = o.default_value.empty() ? "0.5" : o.default_value;
      if (integer) value = arguments.empty() ? "640" : "64";
      if (o.range.starts_with("[m")) value = "[64, 128]";
      arguments += (arguments.empty() ? "" : ", ") + value;
    }
    const Schedule schedule = ParseSchedule(d.name + "(" + arguments + ")");
    const Schedule scaled = ScaleSteps(schedule, 4);
    ExpectSameSamples(schedule, scaled, 4);
    EXPECT_EQ(scaled != schedule, d.name != "constant") << scaled.Text();
    EXPECT_EQ(ScaleSteps(scaled, 0.25), schedule) << scaled.Text();
    // The other way, of which shorter numbers of steps are multiples.
    const Schedule example = ParseSchedule(d.example);
    const Schedule stretched = ScaleSteps(example, 1.0 / 8);
    ExpectSameSamples(stretched, example, 8);
    ExpectSameSamples(stretched, ScaleSteps(stretched, 8), 8);
  }
}

// What the options of a rule do, step by step, they do by samples.
TEST(BatchScaling, RatesOfRules) {
  const Adagrad before{.lr = 0.1, .lr_decay = 0.25};
  const OptimizerSpec scaled = ScaleBatch(before, 4, BatchRule::kNone);
  const Adagrad after{.lr = 0.1, .lr_decay = Value(scaled, "lr_decay")};
  for (const int64_t s : {0, 1, 7, 1000}) {
    EXPECT_DOUBLE_EQ(after.At(1 + s).step, before.At(1 + 4 * s).step);
  }
  EXPECT_EQ(Value(ScaleBatch(AdagradInside{.lr_decay = 0.25}, 0.5), "lr_decay"), 0.125);
  EXPECT_EQ(Value(ScaleBatch(NAdam{.momentum_decay = 0.25}, 4), "momentum_decay"), 1);
}

// A rule of the user's is scaled by what it says of itself, not by its names and texts.
struct Homemade {
  double lr = 0.1, hold = 0.75, floor = 1e-4, pace = 0.5, window = 10;
  static constexpr std::string_view kName = "homemade", kSummary = "s", kFormula = "f",
                                    kPaper = "p";
  static constexpr BatchRule kBatchRule = BatchRule::kAdamSde;
  static constexpr std::array kFields = {
      Field<Homemade>{"lr", &Homemade::lr, 0, 1, "step size"},
      Field<Homemade>{"hold", &Homemade::hold, 0, kBelow1, "memory", Role::kDecay},
      Field<Homemade>{"floor", &Homemade::floor, 0, 1, "safety", Role::kEpsInside},
      Field<Homemade>{"pace", &Homemade::pace, 0, 9, "speed", Role::kRate},
      Field<Homemade>{"window", &Homemade::window, 0, 99, "decay of nothing", Role::kCounts}};
  static constexpr std::array<Slot, 0> kState = {};
  template <class T>
  struct Coeffs {
    T lr;
  };
  Coeffs<double> At(int64_t /*t*/) const { return {lr}; }
};
template <class V, class T>
void Update(const Homemade::Coeffs<T>& c, V g, V& p) {
  p = p - V(c.lr) * g;
}

TEST(BatchScaling, RulesSayThemselvesHowTheyAreScaled) {
  Registry registry = Registry::Builtin();
  registry.Add(MakeEntry<Homemade>());
  const OptimizerSpec spec = Homemade{};
  const OptimizerSpec twice = ScaleBatch(spec, 2, std::nullopt, registry);
  EXPECT_DOUBLE_EQ(Value(twice, "lr"), 0.1 * std::sqrt(2));
  EXPECT_DOUBLE_EQ(Value(twice, "hold"), 0.5);
  EXPECT_DOUBLE_EQ(Value(twice, "floor"), 0.5e-4);
  EXPECT_EQ(Value(twice, "pace"), 1);
  EXPECT_EQ(Value(twice, "window"), 10);
  EXPECT_THAT(KeptByScaleBatch(spec, 2, std::nullopt, registry), ::testing::ElementsAre("window"));
  EXPECT_THAT(KeptByScaleBatch(spec, 2, BatchRule::kSqrt, registry),
              ::testing::ElementsAre("hold", "window"));
  EXPECT_THAT(ErrorOf([] { DefaultBatchRule("adamm", {}, 2); }),
              HasSubstr("unknown rule \"adamm\"; did you mean \"adam"));
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    SCOPED_TRACE(rule.name);
    EXPECT_EQ(rule.hessian != HessianEstimate::kNone, rule.scalar.hessian != nullptr);
    if (rule.large_batch.empty()) continue;
    EXPECT_NO_THROW(Registry::Builtin().Find(rule.large_batch));
  }
}

TEST(BatchScaling, WhatIsKeptIsNamed) {
  using ::testing::ElementsAre;
  EXPECT_THAT(KeptByScaleBatch(AdamW{}, 4), ElementsAre());
  EXPECT_THAT(KeptByScaleBatch(AdamW{}, 16), ElementsAre("beta1", "beta2"));  // sqrt
  EXPECT_THAT(KeptByScaleBatch(AdamW{}, 4, BatchRule::kSqrt), ElementsAre("beta1", "beta2"));
  EXPECT_THAT(KeptByScaleBatch(ParseRecipe(R"toml([optimizer]
rule = "muon"
lr = 0.02
fallback = {rule = "rmsprop_momentum", momentum = 0.5}
lookahead = {k = 5}
ema = {decay = 0.9, warmup = true}
source = "looksam"
sharpness = {k = 3}
[[optimizer.group]]
match = "head.*"
rule = "adafactor"
)toml"),
                               4),
              ElementsAre("momentum", "fallback: alpha", "fallback: momentum",
                          "group 0: beta2_decay", "ema.warmup", "lookahead.k", "sharpness.k"));
  // Of every rule, what its description calls a decay is scaled or named.
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    const OptimizerSpec spec = Complete(OptimizerSpec(rule.name)), scaled = ScaleBatch(spec, 4);
    const std::vector<std::string> kept = KeptByScaleBatch(spec, 4);
    for (const RuleEntry::Option& o : rule.options) {
      const bool is_kept = std::find(kept.begin(), kept.end(), o.name) != kept.end();
      const bool is_same = scaled.options.at(o.name) == spec.options.at(o.name);
      EXPECT_FALSE(is_kept && !is_same) << rule.name << "." << o.name;
      const bool decays = o.doc.find("decay of") != o.doc.npos && o.default_value != 0;
      EXPECT_TRUE(!decays || is_kept || !is_same) << rule.name << "." << o.name;
    }
  }
}

TEST(BatchScaling, StepsOfEveryScheduleOfASpec) {
  const OptimizerSpec spec = ParseRecipe(R"toml([optimizer]
rule = "sgd"
lr = 0.1
l1 = "1e-4 * linear(160)"
l2 = "1e-4 * linear(80)"
clip_value = "step(40, 0.5)"
agc = {clip = "0.01 * linear(40, 0.5)"}
source = "sam"
sharpness = {rho = "0.05 * warmup(40)"}
[[optimizer.group]]
match = "head.*"
l1 = "1e-3 * linear(400)"
l2 = "1e-3 * linear(4)"
)toml");
  const OptimizerSpec scaled = ScaleBatch(spec, 4);
  EXPECT_EQ(scaled.l1->Text(), "1e-04 * linear(40, 0)");
  EXPECT_EQ(scaled.l2->Text(), "1e-04 * linear(20, 0)");
  EXPECT_EQ(scaled.clip_value->Text(), "step(10, 0.5)");
  EXPECT_EQ(scaled.agc->clip.Text(), "0.01 * linear(10, 0.5)");
  EXPECT_EQ(scaled.sharpness->rho->Text(), "0.05 * warmup(10)");
  EXPECT_EQ(scaled.groups[0].l1->Text(), "0.001 * linear(100, 0)");
  EXPECT_EQ(scaled.groups[0].l2->Text(), "0.001 * linear(1, 0)");
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

}  // namespace batch_scaling_test
}  // namespace kudari
