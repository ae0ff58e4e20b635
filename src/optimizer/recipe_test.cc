#include "kudari/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kudari/kudari.h"
#include "tests/support/errors.h"

namespace kudari {
namespace recipe_test {

using ::testing::HasSubstr;

std::string ErrorOf(std::string_view toml) {
  return testing::ErrorOf([&] { ParseRecipe(toml, "r.toml"); });
}

constexpr std::string_view kFull = R"toml(
[model]
name = "whatever belongs to others"

[optimizer]
rule = "adamw"
lr = "2e-3 * warmup(100) * cosine(1500, 0.05)"
weight_decay = 0.05
clip_norm = 1
clip_value = "0.5 * linear(10)"
l1 = "1e-5 * linear(9)"
l2 = 1e-4
decay = "independent"
nonfinite = "skip"
measure_norm = true
accumulate = 4
no_decay = ["bias", "norm"]
no_adapt = "embedding"
fallback = {rule = "sgd", lr = "0.1 * warmup(5)"}
clip_norm_eps = 0
agc = {clip = "0.02 * linear(7)", eps = 1e-4, exclude = ["head.*", "a\"b"]}
centralize = true
source = "nesterov_lookahead"
lookahead = {k = 6, alpha = 0.8, state = "pullback"}
ema = {decay = 0.99, warmup = true}
swa = {start = 1000, every = 100}
strict = true
layer_decay = 0.75
layer_decay_min_scale = 0.1
layer_decay_no_opt_scale = 0.05
layer_match = ["h.#.*", "x.#.y"]

[[optimizer.classify]]
match = "odd*"
class = "embedding"

[[optimizer.group]]
match = "head.*"
match_regex = "weight$"
lr = 1e-3
l1 = 0
lr_scale = 0.5
frozen_until = 100
frozen_from = "90%"

[[optimizer.group]]
class = ["embedding", "convolution"]
modules = ["Embedding", "Conv*"]
rule = "momentum"
dampening = 0.5
frozen = true
)toml";

TEST(RecipeTest, ReadsEverything) {
  const OptimizerSpec spec = ParseRecipe(kFull);
  EXPECT_EQ(spec.rule, "adamw");
  EXPECT_EQ(spec.options.at("lr"), 2e-3 * Warmup(100) * Cosine(1500, 0.05));
  EXPECT_EQ(spec.options.at("weight_decay"), Schedule(0.05));
  EXPECT_EQ(spec.options.count("beta1"), 0U);
  EXPECT_EQ(*spec.clip_norm, Schedule(1));
  EXPECT_EQ(*spec.clip_value, 0.5 * Linear(10));
  EXPECT_EQ(*spec.l1, 1e-5 * Linear(9));
  EXPECT_EQ(*spec.l2, Schedule(1e-4));
  EXPECT_EQ(spec.decay, Decay::kIndependent);
  EXPECT_EQ(spec.nonfinite, NonFinite::kSkip);
  EXPECT_TRUE(spec.measure_norm);
  EXPECT_EQ(spec.accumulate, 4);
  EXPECT_EQ(spec.no_adapt, std::vector{TensorClass::kEmbedding});
  EXPECT_EQ(spec.fallback, (Fallback{.rule = "sgd", .options = {{"lr", 0.1 * Warmup(5)}}}));
  EXPECT_EQ(spec.clip_norm_eps, 0);
  EXPECT_EQ(spec.agc,
            (AdaptiveClip{.clip = 0.02 * Linear(7), .eps = 1e-4, .exclude = {"head.*", "a\"b"}}));
  EXPECT_TRUE(spec.centralize);
  EXPECT_EQ(spec.source, "nesterov_lookahead");
  EXPECT_EQ(spec.lookahead,
            (LookaheadSpec{.k = 6, .alpha = 0.8, .state = LookaheadState::kPullback}));
  EXPECT_EQ(spec.ema, (EmaSpec{.decay = 0.99, .warmup = true}));
  EXPECT_EQ(spec.swa, (SwaSpec{.start = 1000, .every = 100}));
  EXPECT_TRUE(spec.strict);
  EXPECT_EQ(spec.layer_decay, 0.75);
  EXPECT_EQ(spec.layer_decay_min_scale, 0.1);
  EXPECT_EQ(spec.layer_decay_no_opt_scale, 0.05);
  EXPECT_EQ(spec.layer_match, (std::vector<std::string>{"h.#.*", "x.#.y"}));
  EXPECT_EQ(spec.no_decay, (std::vector{TensorClass::kBias, TensorClass::kNorm}));
  ASSERT_EQ(spec.classes.size(), 1U);
  EXPECT_EQ(spec.classes[0].second, TensorClass::kEmbedding);
  ASSERT_EQ(spec.groups.size(), 2U);
  EXPECT_EQ(spec.groups[0].match, "head.*");
  EXPECT_EQ(spec.groups[0].options.at("lr"), Schedule(1e-3));
  EXPECT_EQ(*spec.groups[0].l1, Schedule(0));
  EXPECT_FALSE(spec.groups[0].l2);
  EXPECT_EQ(spec.groups[0].match_regex, "weight$");
  EXPECT_EQ(spec.groups[0].lr_scale, 0.5);
  EXPECT_FALSE(spec.groups[0].frozen);
  EXPECT_EQ(spec.groups[0].frozen_until, StepNumber(100));
  EXPECT_EQ(spec.groups[0].frozen_from, StepNumber(RunSteps{90, StepUnit::kPercent}));
  EXPECT_EQ(spec.groups[1].modules, (std::vector<std::string>{"Embedding", "Conv*"}));
  EXPECT_TRUE(spec.groups[1].frozen);
  EXPECT_FALSE(spec.groups[1].frozen_until);
  EXPECT_EQ(spec.groups[1].match, "*");
  EXPECT_EQ(spec.groups[1].classes.size(), 2U);
  EXPECT_EQ(spec.groups[1].rule, "momentum");
}

TEST(RecipeTest, RoundTripsWithEveryDefaultSpelledOut) {
  const OptimizerSpec spec = ParseRecipe(kFull);
  EXPECT_EQ(ParseRecipe(ToToml(spec)), spec);
  const OptimizerSpec full = Complete(spec);
  EXPECT_EQ(ParseRecipe(ToToml(full)), full);
  EXPECT_EQ(Complete(full), full);
  for (const auto& option : Registry::Builtin().Find("adamw").options) {
    EXPECT_THAT(ToToml(full), HasSubstr(option.name + " = "));
  }
  EXPECT_EQ(full.groups[0].rule, "adamw");
  EXPECT_EQ(full.groups[0].options.at("weight_decay"), Schedule(0.05));  // inherited
  EXPECT_EQ(full.groups[1].options.at("lr"), Schedule(1e-3));            // momentum's own default
}

TEST(RecipeTest, EveryRuleRoundTrips) {
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    const OptimizerSpec full = Complete(OptimizerSpec(rule.name));
    EXPECT_EQ(full.options.size(), rule.options.size());
    EXPECT_EQ(ParseRecipe(ToToml(full)), full);
  }
}

TEST(RecipeTest, SharpnessRoundTrips) {
  const OptimizerSpec spec = ParseRecipe(
      "[optimizer]\nrule = \"sgd\"\nsource = \"look_layersam\"\n"
      "sharpness = {rho = \"0.1 * cosine(100)\", k = 3, alpha = 0.3, layer_scale = \"unit_layer\", "
      "layer = \"module\", decompose = \"layer\", reuse = \"random\", eta = 0.5, adapt = \"all\", "
      "exclude = [\"bias\"], direction = \"bfloat16\", "
      "group = [{match = \"head.*\", class = \"matrix\", rho = 0.2}]}\n");
  ASSERT_TRUE(spec.sharpness);
  EXPECT_EQ(spec.sharpness->rho, 0.1 * Cosine(100));
  EXPECT_EQ(spec.sharpness->k, 3);
  EXPECT_EQ(spec.sharpness->alpha, Schedule(0.3));
  EXPECT_EQ(spec.sharpness->layer_scale, LayerScale::kUnitLayer);
  EXPECT_EQ(spec.sharpness->layer, LayerUnit::kModule);
  EXPECT_TRUE(spec.sharpness->decompose_layers);
  EXPECT_TRUE(spec.sharpness->random_direction);
  EXPECT_EQ(spec.sharpness->eta, 0.5);
  EXPECT_TRUE(spec.sharpness->adapt_biases);
  EXPECT_EQ(spec.sharpness->exclude, std::vector<TensorClass>{TensorClass::kBias});
  EXPECT_EQ(spec.sharpness->direction, StateFormat::kBFloat16);
  ASSERT_EQ(spec.sharpness->groups.size(), 1U);
  EXPECT_EQ(spec.sharpness->groups[0].match, "head.*");
  EXPECT_EQ(spec.sharpness->groups[0].classes, std::vector<TensorClass>{TensorClass::kMatrix});
  EXPECT_EQ(spec.sharpness->groups[0].rho, Schedule(0.2));
  EXPECT_EQ(ParseRecipe(ToToml(spec)), spec);
  for (const std::string& method : Sharpness::Methods()) {
    OptimizerSpec other("sgd");
    other.source = method;
    const OptimizerSpec full = Complete(other);
    ASSERT_TRUE(full.sharpness && full.sharpness->rho && full.sharpness->alpha) << method;
    EXPECT_EQ(ParseRecipe(ToToml(full)), full) << method;
    EXPECT_EQ(Complete(full), full) << method;
  }
}

TEST(RecipeTest, SharpnessErrorsNameTheLine) {
  const auto error = [](const std::string& lines) {
    return testing::ErrorOf(
        [&] { ParseRecipe("[optimizer]\nrule = \"sgd\"\n" + lines, "r.toml"); });
  };
  EXPECT_THAT(error("source = \"looksamm\"\n"), HasSubstr("r.toml:3: optimizer.source"));
  EXPECT_THAT(error("source = \"sam\"\nsharpness = {rho = -1}\n"),
              HasSubstr("r.toml:4: optimizer.sharpness.rho: -1 is outside [0, inf)"));
  EXPECT_THAT(error("source = \"sam\"\nsharpness = {layer = \"row\"}\n"),
              HasSubstr("optimizer.sharpness.layer"));
  EXPECT_THAT(error("source = \"sam\"\nsharpness = {group = [{match = \"a\"}]}\n"),
              HasSubstr("rho: is missing"));
  EXPECT_THAT(error("sharpness = {rho = 0.1}\n"),
              HasSubstr("r.toml:3: optimizer.sharpness: is for sharpness-aware sources; source is "
                        "\"plain\""));
}

TEST(RecipeTest, EmptyTablesAreDefaults) {
  const OptimizerSpec spec = ParseRecipe(
      "[optimizer]\nrule = \"sgd\"\nfallback = {}\nagc = {}\nlookahead = {}\nema = {}\nswa = {}\n"
      "no_adapt = []\n");
  EXPECT_EQ(spec.fallback, Fallback());
  EXPECT_EQ(spec.agc, AdaptiveClip());
  EXPECT_EQ(spec.lookahead, LookaheadSpec());
  EXPECT_EQ(spec.ema, EmaSpec());
  EXPECT_EQ(spec.swa, SwaSpec());
  EXPECT_EQ(spec.no_adapt, std::vector<TensorClass>());
  const OptimizerSpec full = Complete(spec);
  EXPECT_EQ(full.fallback->options.size(), Registry::Builtin().Find("adamw").options.size());
  EXPECT_EQ(ParseRecipe(ToToml(full)), full);
  for (const LookaheadState state :
       {LookaheadState::kKeep, LookaheadState::kReset, LookaheadState::kPullback}) {
    OptimizerSpec with = full;
    with.lookahead->state = state;
    EXPECT_EQ(ParseRecipe(ToToml(with)), with);
  }
  for (const NonFinite policy : {NonFinite::kPropagate, NonFinite::kSkip, NonFinite::kError}) {
    OptimizerSpec with = full;
    with.nonfinite = policy;
    EXPECT_EQ(ParseRecipe(ToToml(with)), with);
  }
}

TEST(RecipeTest, PresetsAreRecipes) {
  EXPECT_FALSE(PresetNames().empty());
  for (const std::string& name : PresetNames()) {
    const OptimizerSpec full = Complete(Preset(name));
    EXPECT_EQ(ParseRecipe(ToToml(full)), full) << name;
    EXPECT_EQ(ParseRecipe("[optimizer]\npreset = \"" + name + "\"\n"), Preset(name));
  }
  EXPECT_EQ(testing::ErrorOf([] { Preset("rangr"); }),
            "unknown preset \"rangr\"; did you mean \"ranger\"?");
}

TEST(RecipeTest, OtherKeysReplaceThoseOfAPreset) {
  EXPECT_EQ(Preset("ranger").rule, "radam");
  EXPECT_EQ(Preset("ranger").lookahead, (LookaheadSpec{.k = 5, .alpha = 0.5}));
  OptimizerSpec expected = Preset("ranger");
  expected.options.emplace("lr", 0.5);
  expected.lookahead->k = 6;
  expected.centralize = true;
  EXPECT_EQ(ParseRecipe("[optimizer]\npreset = \"ranger\"\nlr = 0.5\nlookahead = {k = 6}\n"
                        "centralize = true\n"),
            expected);
  const std::string rule = Preset("ranger").rule;
  EXPECT_EQ(ParseRecipe("[optimizer]\npreset = \"ranger\"\nrule = \"" + rule + "\"\n"),
            Preset("ranger"));
  EXPECT_EQ(ErrorOf("[optimizer]\nrule = \"sgd\"\npreset = \"ranger\"\n"),
            "r.toml:2: optimizer.rule: \"sgd\" contradicts preset = \"ranger\", whose rule is \"" +
                rule + "\"; remove one of the two");
}

TEST(RecipeTest, AStructAndARecipeAreTheSame) {
  const OptimizerSpec spec = AdamW{.lr = 0.5, .beta2 = 0.95};
  EXPECT_EQ(Complete(spec), Complete(ParseRecipe("[optimizer]\nrule = \"adamw\"\nlr = 0.5\n"
                                                 "beta2 = 0.95\n")));
}

TEST(RecipeTest, StringsOfAnyKindSurvive) {
  OptimizerSpec spec = Sgd{};
  spec.groups = {{.match = "quote \" backslash \\ tab \t newline \n 下り *"}};
  spec.classes = {{"\x01\x7f", TensorClass::kNorm}};
  EXPECT_EQ(ParseRecipe(ToToml(spec)), spec);
}

TEST(RecipeTest, NamesMayBeInAnyCase) {
  const OptimizerSpec spec = ParseRecipe(
      "[optimizer]\nrule = \"SGD\"\nno_decay = \"bias\"\nsource = \"SAM\"\n"
      "fallback = {rule = \"AdamW\"}\n[[optimizer.group]]\nmatch = \"a\"\nrule = \"NAdam\"\n");
  EXPECT_EQ(spec.rule, "sgd");
  EXPECT_EQ(spec.source, "sam");
  EXPECT_EQ(spec.fallback->rule, "adamw");
  EXPECT_EQ(spec.groups[0].rule, "nadam");
  OptimizerSpec by_name("AdamW", {{"lr", 0.5}});
  by_name.groups = {{.match = "a", .rule = "ADAMW"}};
  const OptimizerSpec complete = Complete(by_name);
  EXPECT_EQ(complete.rule, "adamw");
  EXPECT_EQ(complete.groups[0].rule, "adamw");
  EXPECT_EQ(complete.groups[0].options.at("lr"), Schedule(0.5));  // of the same rule
}

TEST(RecipeTest, TheFirstGroupMayHaveTheRule) {
  const OptimizerSpec spec = ParseRecipe(
      "[optimizer]\n[[optimizer.group]]\nmatch = \"*\"\nrule = \"sgd\"\n"
      "[[optimizer.group]]\nmatch = \"a\"\nrule = \"adam\"\n");
  EXPECT_EQ(Complete(spec).groups[0].options.at("lr"), Schedule(1e-3));
  EXPECT_EQ(ParseRecipe(ToToml(spec)), spec);
}

TEST(RecipeTest, ErrorsNameTheLineTheKeyAndTheNearestName) {
  const auto with = [](const std::string& line) {
    return ErrorOf("[optimizer]\nrule = \"adamw\"\n" + line + "\n");
  };
  EXPECT_THAT(with("wieght_decay = 0.1"),
              HasSubstr("r.toml:3: optimizer.wieght_decay: unknown key; did you mean "
                        "\"weight_decay\"?"));
  EXPECT_THAT(with("momentum = 0.9"), HasSubstr("optimizer.momentum: unknown key"));
  EXPECT_THAT(with("lr = -1"), HasSubstr("r.toml:3: optimizer.lr: -1 is outside [0, inf)"));
  EXPECT_THAT(with("beta1 = 1"), HasSubstr("is outside [0, 1)"));
  EXPECT_THAT(with("lr = true"), HasSubstr("optimizer.lr: must be a number or a schedule"));
  EXPECT_THAT(with("lr = \"1e-3 * warmap(3)\""),
              HasSubstr("r.toml:3: optimizer.lr: schedule \"1e-3 * warmap(3)\", column 8"));
  EXPECT_THAT(with("lr = inf"), HasSubstr("not a finite number"));
  EXPECT_THAT(with("clip_norm = -1"), HasSubstr("optimizer.clip_norm: -1 is outside [0, inf)"));
  EXPECT_THAT(with("nonfinite = \"skipp\""), HasSubstr("did you mean \"skip\"?"));
  EXPECT_THAT(with("accumulate = 0"), HasSubstr("optimizer.accumulate: 0 is outside [1"));
  EXPECT_THAT(with("accumulate = 1.5"), HasSubstr("must be an integer"));
  EXPECT_THAT(with("measure_norm = 1"), HasSubstr("must be true or false"));
  EXPECT_THAT(with("no_decay = [\"bais\"]"), HasSubstr("did you mean \"bias\"?"));
  EXPECT_THAT(with("no_decay = [1]"), HasSubstr("must be a string or a list of strings"));
  EXPECT_THAT(with("no_adpat = []"), HasSubstr("did you mean \"no_adapt\"?"));
  EXPECT_THAT(with("clip_norm_eps = -1"),
              HasSubstr("optimizer.clip_norm_eps: -1 is outside [0, inf)"));
  EXPECT_THAT(with("preset = \"rangr\""),
              HasSubstr("r.toml:3: optimizer.preset: unknown name \"rangr\"; did you mean"));
  EXPECT_THAT(with("source = \"plane\""), HasSubstr("did you mean \"plain\"?"));
  EXPECT_THAT(with("fallback = {rule = \"adamv\"}"),
              HasSubstr("r.toml:3: optimizer.fallback.rule: unknown name \"adamv\""));
  EXPECT_THAT(with("fallback = {momentum = 0.9}"),
              HasSubstr("optimizer.fallback.momentum: unknown key"));
  EXPECT_THAT(with("fallback = {beta1 = 1}"),
              HasSubstr("optimizer.fallback.beta1: 1 is outside [0, 1)"));
  EXPECT_THAT(with("fallback = \"adamw\""), HasSubstr("fallback: must be a table"));
  EXPECT_THAT(with("agc = {clip = -1}"), HasSubstr("optimizer.agc.clip: -1 is outside [0, inf)"));
  EXPECT_THAT(with("agc = {eps = -1}"), HasSubstr("optimizer.agc.eps: -1 is outside [0, inf)"));
  EXPECT_THAT(with("agc = {excluded = []}"), HasSubstr("did you mean \"exclude\"?"));
  EXPECT_THAT(with("centralize = 1"), HasSubstr("must be true or false"));
  EXPECT_THAT(with("lookahead = {k = 0}"),
              HasSubstr("r.toml:3: optimizer.lookahead.k: 0 is outside [1, ...]"));
  EXPECT_THAT(with("lookahead = {k = 2.5}"), HasSubstr("lookahead.k: must be an integer"));
  EXPECT_THAT(with("lookahead = {alpha = 1.5}"),
              HasSubstr("optimizer.lookahead.alpha: 1.5 is outside [0, 1]"));
  EXPECT_THAT(with("lookahead = {state = \"pullbak\"}"), HasSubstr("did you mean \"pullback\"?"));
  EXPECT_THAT(with("lookahead = {beta = 1}"), HasSubstr("optimizer.lookahead.beta: unknown key"));
  EXPECT_THAT(with("ema = {decay = 1}"), HasSubstr("optimizer.ema.decay: 1 is outside [0, 1)"));
  EXPECT_THAT(with("ema = {decay = nan}"), HasSubstr("is outside [0, 1)"));
  EXPECT_THAT(with("ema = 0.999"), HasSubstr("optimizer.ema: must be a table"));
  EXPECT_THAT(with("swa = {start = -1}"), HasSubstr("optimizer.swa.start: -1 is outside [0, ...]"));
  EXPECT_THAT(with("swa = {every = 0}"), HasSubstr("optimizer.swa.every: 0 is outside [1, ...]"));
  EXPECT_THAT(with("[[optimizer.group]]\nmatsch = \"*\""),
              HasSubstr("r.toml:4: optimizer.group.matsch: unknown key; did you mean \"match\"?"));
  EXPECT_THAT(with("[[optimizer.group]]\nrule = \"sdg\""), HasSubstr("did you mean \"sgd\"?"));
  const auto group = [&](const std::string& line) { return with("[[optimizer.group]]\n" + line); };
  EXPECT_THAT(group("lr_scale = -1"),
              HasSubstr("r.toml:4: optimizer.group.lr_scale: -1 is outside [0, inf)"));
  EXPECT_THAT(group("lr_scale = \"cosine(9)\""), HasSubstr("lr_scale: must be a number"));
  EXPECT_THAT(group("frozen = 1"), HasSubstr("optimizer.group.frozen: must be true or false"));
  EXPECT_THAT(group("frozen_until = -1"),
              HasSubstr("optimizer.group.frozen_until: step \"-1\" = -1 is outside [0, "));
  EXPECT_THAT(group("frozen_until = 1.5"),
              HasSubstr("must be a number of steps, such as 100, \"10%\", \"3ep\" or \"end\""));
  EXPECT_THAT(group("frozen_from = \"120%\""), HasSubstr("120% is outside [0%, 100%]"));
  EXPECT_THAT(group("frozen_from = \"soon\""),
              HasSubstr("frozen_from: step \"soon\" must be a number of steps"));
  EXPECT_THAT(group("match_regex = \"a(\""),
              HasSubstr("r.toml:4: optimizer.group.match_regex: regular expression \"a(\", column "
                        "2: \"(\" without \")\""));
  EXPECT_THAT(group("match_regex = \"\""), HasSubstr("match_regex: is empty"));
  EXPECT_THAT(group("modules = 3"), HasSubstr("optimizer.group.modules: must be"));
  EXPECT_THAT(with("layer_decay = 1.5"), HasSubstr("layer_decay: 1.5 is outside [0, 1]"));
  EXPECT_THAT(with("layer_decay_no_opt_scale = -1"), HasSubstr("-1 is outside [0, 1]"));
  EXPECT_THAT(with("strict = 1"), HasSubstr("optimizer.strict: must be true or false"));
  EXPECT_THAT(with("[[optimizer.classify]]\nclass = \"norm\""), HasSubstr("match: is missing"));
  EXPECT_THAT(with("[[optimizer.classify]]\nmatch = \"a\""), HasSubstr("must be one class"));
  EXPECT_THAT(with("group = 3"), HasSubstr("must be a list of tables"));
  EXPECT_THAT(ErrorOf("[optimizer]\nrule = \"adamx\"\n"),
              HasSubstr("r.toml:2: optimizer.rule: unknown name \"adamx\"; did you mean \"adam"));
  EXPECT_THAT(ErrorOf("[optimizer]\nrule = \"adam\"\nrule = \"sgd\"\n"), HasSubstr("r.toml:3:"));
  EXPECT_THAT(ErrorOf("[optimizer]\nlr = 1\n"), HasSubstr("optimizer.rule: is missing"));
  EXPECT_THAT(ErrorOf("optimizer = 3\n"), HasSubstr("optimizer: must be a table"));
  EXPECT_THAT(ErrorOf("[model]\n"), HasSubstr("the table [optimizer] is missing"));
  EXPECT_THAT(ErrorOf("[optimizer\n"), HasSubstr("r.toml:1:"));
}

constexpr std::string_view kRelative = R"toml(
[optimizer]
rule = "adamw"
lr = "2e-3 * warmup(10%) * cosine(end, 0.05)"
beta1 = "0.9 * ramp(2ep, 0.5, 1)"
clip_norm = "1 * linear(end)"
l1 = "1e-5 * linear(50%)"
agc = {clip = "0.02 * linear(end)"}
fallback = {rule = "sgd", lr = "0.1 * warmup(1ep)"}
source = "sam"
sharpness = {rho = "0.05 * warmup(5%)", group = [{match = "head.*", rho = "linear(end)"}]}
[[optimizer.group]]
match = "head.*"
lr = "1e-3 * linear(end)"
l2 = "linear(1ep)"
)toml";

TEST(RecipeTest, SchedulesMayBeRelativeToTheRun) {
  const OptimizerSpec spec = ParseRecipe(kRelative);
  const OptimizerSpec full = Complete(spec);
  EXPECT_EQ(full.options.at("lr").Text(), "0.002 * warmup(10%) * cosine(end, 0.05)");
  EXPECT_EQ(ParseRecipe(ToToml(full)), full);
  const RunLength run = {.steps = 200, .steps_per_epoch = 20};
  for (const OptimizerSpec& resolved : {Resolve(spec, run), Resolve(full, run)}) {
    EXPECT_EQ(resolved.options.at("lr"), 2e-3 * Warmup(20) * Cosine(200, 0.05));
    EXPECT_EQ(resolved.options.at("beta1"), 0.9 * Ramp(40, 0.5, 1));
    EXPECT_EQ(*resolved.clip_norm, 1 * Linear(200));
    EXPECT_EQ(*resolved.l1, 1e-5 * Linear(100));
    EXPECT_EQ(resolved.agc->clip, 0.02 * Linear(200));
    EXPECT_EQ(resolved.fallback->options.at("lr"), 0.1 * Warmup(20));
    EXPECT_EQ(*resolved.sharpness->rho, 0.05 * Warmup(10));
    EXPECT_EQ(resolved.sharpness->groups[0].rho, Linear(200));
    EXPECT_EQ(resolved.groups[0].options.at("lr"), 1e-3 * Linear(200));
    EXPECT_EQ(*resolved.groups[0].l2, Linear(20));
    EXPECT_EQ(Resolve(resolved, {}), resolved);
  }
  EXPECT_EQ(Resolve(full, run), Complete(Resolve(spec, run)));
  EXPECT_EQ(testing::ErrorOf([&] { Resolve(spec, {.steps = 200}); }),
            "beta1: schedule \"0.9 * ramp(2ep, 0.5, 1)\" in a run of 200 steps: how many steps an "
            "epoch has is not known");
}

// The first values are looked at once there are any.
TEST(RecipeTest, RangesOfRelativeSchedulesAreCheckedOnceTheyAreResolved) {
  const OptimizerSpec spec = ParseRecipe(
      "[optimizer]\nrule = \"adam\"\nbeta1 = \"2 * cosine(end)\"\n"
      "clip_norm = \"-1 * linear(end)\"\n");
  EXPECT_NO_THROW(Complete(spec));
  OptimizerSpec resolved = Resolve(spec, {.steps = 10});
  EXPECT_THAT(testing::ErrorOf([&] { Complete(resolved); }),
              HasSubstr("adam: beta1 = 2 is outside [0, 1)"));
  resolved.options.clear();
  EXPECT_THAT(testing::ErrorOf([&] { Complete(resolved); }),
              HasSubstr("clip_norm = -1 is outside [0, inf)"));
}

TEST(RecipeTest, MisfitsNameTheOption) {
  OptimizerSpec spec = ParseRecipe(kRelative);
  EXPECT_THAT(
      ScheduleMisfits(spec, {.steps = 200, .steps_per_epoch = 20}),
      ::testing::ElementsAre(
          "l1: the schedule ends at step 100 of 200; from there on the value is 0 of the peak",
          "group.0.l2: the schedule ends at step 20 of 200; from there on the value is 0 of the "
          "peak"));
  spec.groups[0].l2.reset();
  spec.l1.reset();
  spec.clip_norm = Linear(400);
  EXPECT_THAT(
      ScheduleMisfits(spec, {.steps = 200, .steps_per_epoch = 20}),
      ::testing::ElementsAre("clip_norm: the run ends at step 200 of the schedule's 400, at "
                             "0.5 of the peak"));
}

}  // namespace recipe_test
}  // namespace kudari
