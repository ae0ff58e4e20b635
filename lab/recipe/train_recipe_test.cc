#include "lab/recipe/train_recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "kudari/error.h"
#include "kudari/recipe.h"
#include "kudari/rules/all.h"
#include "lab/files/unpack.h"
#include "lab/recipe/explain.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace train_recipe_test {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kRecipe = R"toml([model]
name = "vit"
patch = 2
[data]
name = "digits"
[optimizer]
rule = "adamw"
lr = "2e-3 * warmup(100)"
[[optimizer.group]]
match = "head.*"
lr = 1e-4
[train]
epochs = 30
seed = 7
)toml";

std::string MessageOf(std::string_view toml, const std::vector<std::string>& sets = {}) {
  return kudari::testing::ErrorOf([&] { ParseTrainRecipe(toml, "r.toml", {.sets = sets}); });
}

// The recipe with one line more in the table, whose line is the first of the message.
std::string With(std::string_view table, std::string_view line) {
  std::string text(kRecipe);
  const std::string header = "[" + std::string(table) + "]\n";
  text.insert(text.find(header) + header.size(), std::string(line) + "\n");
  return text;
}

TEST(Recipe, ReadsWhatIsGivenAndFillsTheRest) {
  const Recipe recipe = ParseTrainRecipe(kRecipe, "r.toml");
  EXPECT_EQ(recipe.model, ModelNamed("vit", "patch = 2"));
  EXPECT_NE(recipe.model, ModelNamed("vit"));
  EXPECT_EQ(recipe.train.epochs, 30);
  EXPECT_EQ(recipe.train.seed, 7);
  EXPECT_EQ(recipe.train.batch_size, TrainConfig().batch_size);
  EXPECT_EQ(recipe.optimizer.rule, "adamw");
  EXPECT_EQ(recipe.optimizer.groups.size(), 1U);
}

TEST(Recipe, RoundTripsWithEveryDefaultSpelledOut) {
  for (const std::string set :
       {"model.pool=class", "model.name=linear", "model.name=resnet", "data.label_noise=0.4",
        "data.samples=6000", "data.path=a \"b\\c", "train.min_grad_norm=1e-5", "train.steps=12",
        "hessian.every=3", "train.precision=bf16", "train.weights=f16", "train.loss_scale=none",
        "train.loss_scale=1024.5", "train.growth_interval=7", "train.doctor=false",
        "fault.missing=head.*", "fault.init_scale=0.5", "fault.bad_end=0.25"}) {
    std::string text(kRecipe);
    if (set.starts_with("model.name")) text.erase(text.find("patch"), 10);
    Recipe recipe = ParseTrainRecipe(text, "r.toml", {.sets = {set}});
    recipe.optimizer = Complete(recipe.optimizer);
    const std::string full = ToToml(recipe);
    EXPECT_EQ(ParseTrainRecipe(full, "full"), recipe) << full;
    EXPECT_EQ(ToToml(ParseTrainRecipe(full, "full")), full);
    EXPECT_THAT(full, HasSubstr("beta2 = 0.999"));
    EXPECT_THAT(full, HasSubstr("early_stopping = 0"));
  }
}

TEST(Recipe, ListOfHiddenWidthsRoundTrips) {
  const Recipe recipe = ParseTrainRecipe(
      "model = {name = \"mlp\", hidden = [5, 3]}\noptimizer = {rule = \"sgd\", lr = 1}", "r.toml");
  EXPECT_EQ(recipe.model, ModelNamed("mlp", "hidden = [5, 3]"));
  EXPECT_THAT(ToToml(recipe), HasSubstr("hidden = [5, 3]"));
}

TEST(Recipe, LimitsDefaultToTenEpochs) {
  const std::string text = "[optimizer]\nrule = \"sgd\"\nlr = 0.1\n[train]\n";
  EXPECT_EQ(ParseTrainRecipe(text, "r").train.epochs, 10);
  EXPECT_EQ(ParseTrainRecipe(text + "steps = 5", "r").train.epochs, 0);
  const Recipe both = ParseTrainRecipe(text + "steps = 5\nepochs = 2", "r");
  EXPECT_EQ(both.train.epochs, 2);
  EXPECT_EQ(both.train.steps, 5);
}

TEST(Recipe, UnknownKeysAreErrorsWithLineAndNearest) {
  EXPECT_EQ(MessageOf(With("train", "epoch = 3")),
            "r.toml:13: train.epoch: unknown key; did you mean \"epochs\"?");
  EXPECT_EQ(MessageOf(With("model", "headz = 3")),
            "r.toml:2: model.headz: unknown key; did you mean \"heads\"?");
  EXPECT_THAT(MessageOf("[trian]\nepochs = 3\n" + std::string(kRecipe)),
              HasSubstr("r.toml:1: trian: unknown key; did you mean \"train\"?"));
  EXPECT_THAT(MessageOf(With("optimizer", "weight_dcay = 3")),
              HasSubstr("r.toml:7: optimizer.weight_dcay: unknown key; did you mean "
                        "\"weight_decay\"?"));
}

TEST(Recipe, ValuesAreChecked) {
  EXPECT_EQ(MessageOf(With("train", "batch_size = 0")),
            "r.toml:13: train.batch_size: 0 is outside [1, 1000000000]");
  EXPECT_EQ(MessageOf(With("model", "dropout = 1")),
            "r.toml:2: model.dropout: 1 is outside [0, 1)");
  EXPECT_EQ(MessageOf(With("model", "depth = \"4\"")), "r.toml:2: model.depth: must be an integer");
  EXPECT_EQ(MessageOf(With("train", "shuffle = 1")),
            "r.toml:13: train.shuffle: must be true or false");
  EXPECT_THAT(MessageOf(With("train", "loss = \"mes\"")),
              HasSubstr("train.loss: unknown name \"mes\"; did you mean \"mse\"?"));
  EXPECT_EQ(MessageOf(std::string(kRecipe) + "[hessian]\nestimator = \"gmb\"\n"),
            "r.toml:16: hessian.estimator: unknown name \"gmb\"; did you mean \"gnb\"?");
  EXPECT_EQ(MessageOf(std::string(kRecipe) + "[hessian]\nevery = 0\n"),
            "r.toml:16: hessian.every: 0 is outside [1, 1000000000]");
  EXPECT_THAT(MessageOf("[model]\n"), HasSubstr("the table [optimizer] is missing"));
  EXPECT_THAT(MessageOf("[model\n"), StartsWith("r.toml:1:7: "));
}

TEST(Recipe, LossScalesAreNamesOrNumbers) {
  const auto scaling = [](const std::string& precision, const std::string& scale) {
    const Recipe recipe = ParseTrainRecipe(
        kRecipe, "r.toml", {.sets = {"train.precision=" + precision, "train.loss_scale=" + scale}});
    return LossScaling(recipe.train);
  };
  EXPECT_EQ(ParseTrainRecipe(kRecipe, "r.toml").train.precision, "f32");
  for (const std::string precision : {"f32", "bf16", "f16"}) {
    EXPECT_EQ(scaling(precision, "auto").has_value(), precision == "f16");
    EXPECT_FALSE(scaling(precision, "none"));
    EXPECT_TRUE(scaling(precision, "dynamic")->dynamic);
    EXPECT_EQ(scaling(precision, "dynamic")->init_scale, 65536);
    EXPECT_FALSE(scaling(precision, "512")->dynamic);
    EXPECT_EQ(scaling(precision, "512")->init_scale, 512);
    EXPECT_EQ(scaling(precision, "1.5e-3")->init_scale, 1.5e-3);
  }
  const auto of_weights = [](const std::string& weights) {
    return LossScaling(
        ParseTrainRecipe(kRecipe, "r.toml", {.sets = {"train.weights=" + weights}}).train);
  };
  EXPECT_FALSE(of_weights("bf16"));
  EXPECT_TRUE(of_weights("f16")->dynamic);  // the gradients of weights are float16, too
  EXPECT_THAT(MessageOf(With("train", "weights = \"b16\"")),
              HasSubstr("train.weights: unknown name \"b16\"; did you mean \"bf16\"?"));
  EXPECT_EQ(MessageOf(With("train", "loss_scale = 0")),
            "r.toml:13: train.loss_scale: 0 is outside [5.960464477539063e-08, "
            "3.4028234663852886e+38]");
  EXPECT_EQ(MessageOf(With("train", "loss_scale = true")),
            "r.toml:13: train.loss_scale: must be a number");
  EXPECT_THAT(MessageOf(With("train", "loss_scale = \"dynamical\"")),
              HasSubstr("unknown name \"dynamical\"; did you mean \"dynamic\"?"));
  EXPECT_THAT(MessageOf(With("train", "precision = \"fp16\"")),
              HasSubstr("train.precision: unknown name \"fp16\"; did you mean \"f16\"?"));
}

TEST(Recipe, OptionsOfAnotherModelAreErrors) {
  EXPECT_EQ(MessageOf(With("model", "widen = 3")),
            "r.toml:2: model.widen: is not an option of model \"vit\", only of wide_resnet");
  EXPECT_EQ(MessageOf(With("model", "zero_init = true")),
            "r.toml:2: model.zero_init: is not an option of model \"vit\", only of imagenet_resnet "
            "and resnet");
}

TEST(Recipe, DepthHasADefaultForEachModel) {
  const auto depth = [](const std::string& model) {
    const Recipe recipe =
        ParseTrainRecipe("model = {" + model + "}\noptimizer = {rule = \"sgd\", lr = 1}", "r");
    for (const OptionDescription& o : recipe.model.options.Describe()) {
      if (o.name == "depth") return o.default_value;
    }
    return std::string();
  };
  EXPECT_EQ(depth("name = \"vit\""), "4");
  EXPECT_EQ(depth(""), "4");
  EXPECT_EQ(depth("name = \"resnet\""), "8");
  EXPECT_EQ(depth("name = \"resnet\", depth = 20"), "20");
  EXPECT_EQ(depth("depth = 20, name = \"resnet\""), "20");
  EXPECT_EQ(depth("name = \"imagenet_resnet\""), "18");
}

TEST(Recipe, SharesOfDataAreChecked) {
  EXPECT_EQ(MessageOf(With("data", "label_noise = 1")),
            "r.toml:5: data.label_noise: 1 is outside [0, 1)");
  EXPECT_THAT(MessageOf(With("data", "samples = -1")), HasSubstr("data.samples: -1 is outside"));
}

TEST(Recipe, SetChangesAndAdds) {
  const Recipe recipe = ParseTrainRecipe(
      kRecipe, "r.toml",
      {.sets = {"train.epochs=3", "model.pool=class", "optimizer.lr=1e-3 * warmup(10)",
                "optimizer.group.0.lr=0.5", "optimizer.clip_norm=1", "data.path=\"some where\"",
                "train.shuffle=false"}});
  EXPECT_EQ(recipe.train.epochs, 3);
  EXPECT_EQ(recipe.train.seed, 7);
  EXPECT_EQ(recipe.model, ModelNamed("vit", "patch = 2\npool = \"class\""));
  EXPECT_EQ(recipe.optimizer.options.at("lr").Text(), "0.001 * warmup(10)");
  EXPECT_EQ(recipe.optimizer.groups.at(0).options.at("lr"), Schedule(0.5));
  EXPECT_EQ(recipe.optimizer.clip_norm, Schedule(1));
  EXPECT_EQ(recipe.data.path, "some where");
  EXPECT_FALSE(recipe.train.shuffle);
}

TEST(Recipe, SetErrorsNameTheKey) {
  const std::string text(kRecipe);
  EXPECT_EQ(MessageOf(text, {"train.epoch=3"}),
            "r.toml: train.epoch: unknown key; did you mean \"epochs\"?");
  EXPECT_THAT(MessageOf(text, {"optimizer.weight_dcay=3"}),
              HasSubstr("r.toml: optimizer.weight_dcay: unknown key; did you mean "));
  EXPECT_EQ(MessageOf(text, {"epochs"}), "--set epochs: must be key=value, such as train.epochs=3");
  EXPECT_EQ(MessageOf(text, {"train.epochs.x=3"}),
            "--set train.epochs.x=3: there is no \"x\" to set");
  EXPECT_EQ(MessageOf(text, {"optimizer.group.1.lr=3"}),
            "--set optimizer.group.1.lr=3: there is no \"1\" to set");
  EXPECT_THAT(MessageOf(text, {"train.seed=one"}), HasSubstr("train.seed: must be an integer"));
  std::string deep = "a";
  for (int i = 1; i < 100; ++i) deep += ".a";
  EXPECT_THAT(MessageOf(text, {deep + "=1"}), HasSubstr("r.toml: a: unknown key"));
  EXPECT_THAT(MessageOf(text, {deep + ".a=1"}),
              HasSubstr("its key has 101 parts, which is outside"));
  for (int i = 0; i < 60'000; ++i) deep += ".a";  // as long as the system lets an argument be
  EXPECT_THAT(MessageOf(text, {deep + "=1"}),
              HasSubstr("...: its key has 60100 parts, which is outside [1, 100]"));
  EXPECT_THAT(MessageOf(text, {"train.seed={" + deep + "=1}"}),
              HasSubstr("train.seed: must be an integer"));
}

TEST(Recipe, SizesOfModelsHaveLimits) {
  const auto message = [](const std::string& model, const std::string& option) {
    return kudari::testing::ErrorOf([&] { ModelNamed(model, option); });
  };
  EXPECT_THAT(message("vit", "depth = 1000000000"),
              HasSubstr("model.depth: 1000000000 is outside [1, 1000]"));
  EXPECT_THAT(message("vit", "dim = 65537"), HasSubstr("model.dim: 65537 is outside [1, 65536]"));
  EXPECT_THAT(message("vit", "heads = 1025"), HasSubstr("is outside [1, 1024]"));
  EXPECT_THAT(message("vit", "mlp_ratio = 65"), HasSubstr("is outside [1, 64]"));
  EXPECT_THAT(message("vit", "patch = 4097"), HasSubstr("is outside [1, 4096]"));
  EXPECT_THAT(message("resnet", "depth = 2001"), HasSubstr("is outside [1, 2000]"));
  EXPECT_THAT(message("resnet", "width = 4097"), HasSubstr("is outside [1, 4096]"));
  EXPECT_THAT(message("mlp", "hidden = [8, 1000001]"), HasSubstr("is outside [1, 1000000]"));
}

TEST(Recipe, TextsAreUtf8) {
  EXPECT_EQ(MessageOf(kRecipe, {"data.path=a\xff"}), "--set data.path=a\\xff: is not UTF-8");
  OptimizerSpec spec("sgd");
  spec.groups.push_back({.match = "a\xff"});
  EXPECT_EQ(kudari::testing::ErrorOf([&] { kudari::ToToml(spec); }),
            "\"a\\xff\" is not UTF-8, which recipes must be");
}

// Names of keys are shown on one line, and not all of a long one.
TEST(Recipe, KeysAreShownSafely) {
  const std::string escape = MessageOf("\"a\\u001b[2J\" = 1\n");
  EXPECT_THAT(escape, HasSubstr("r.toml:1: a\\x1b[2J: unknown key"));
  const std::string text = "\"" + std::string(1'000'000, 'k') + "\" = 1\n";
  EXPECT_LT(MessageOf(text).size(), 1000u);
  const std::string rule = "[optimizer]\nrule = \"" + std::string(1'000'000, 'k') + "\"\n";
  EXPECT_LT(MessageOf(rule).size(), 3000u);
}

TEST(Recipe, MissingFileIsNamed) {
  try {
    ReadTrainRecipe("no-such.toml");
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("no-such.toml"));
  }
}

// A file without contents that claims more than any memory, plain or packed.
TEST(Recipe, MoreThanMemoryIsAnError) {
  const kudari::testing::TemporaryFolder folder;
  const std::filesystem::path file = folder / "sparse.toml";
  std::ofstream(file) << kRecipe;
  std::filesystem::resize_file(file, uintmax_t{1} << 40);
  EXPECT_EQ(kudari::testing::ErrorOf([&] { ReadTrainRecipe(file); }),
            file.string() + ": has 1099511627776 bytes, which is outside [0, 268435456]");
  const std::filesystem::path packed = std::filesystem::path(file).replace_extension("gz");
  std::filesystem::rename(file, packed);
  EXPECT_EQ(kudari::testing::ErrorOf([&] { ReadUnpacked(packed); }),
            packed.string() + ": has 1099511627776 bytes, which is outside [0, 268435456]");
}

TEST(Recipe, FaultsAreWrittenOnlyIfThereAreAny) {
  Recipe recipe = ParseTrainRecipe(kRecipe, "r.toml");
  EXPECT_EQ(ToToml(recipe).find("[fault]"), std::string::npos);
  recipe.fault.sum_accumulation = true;
  EXPECT_THAT(ToToml(recipe), HasSubstr("[fault]\nmissing = "));
}

TEST(Recipe, GrowthIntervalIsThatOfADynamicScale) {
  const Recipe recipe = ParseTrainRecipe(
      kRecipe, "r.toml", {.sets = {"train.precision=f16", "train.growth_interval=7"}});
  EXPECT_EQ(LossScaling(recipe.train)->growth_interval, 7);
}

TEST(Recipe, DescriptionsHaveDefaultsAndRanges) {
  const std::vector<Description> tables = DescribeRecipe();
  ASSERT_EQ(tables.size(), 6U);
  EXPECT_EQ(tables[2].name, "augment");
  EXPECT_EQ(tables[4].name, "train");
  EXPECT_EQ(tables[5].name, "fault");
  for (const Description& d : tables) {
    for (const OptionDescription& o : d.options) {
      EXPECT_NE(o.default_value, "") << o.name;
      EXPECT_NE(o.range, "") << o.name;
      EXPECT_NE(o.doc, "") << o.name;
    }
  }
}

// Every recipe that the project ships may be trained for longer or shorter than it says.
TEST(Recipe, SchedulesOfTheRecipesFollowTheRun) {
  int relative = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(KUDARI_SOURCE_DIR) / "recipes")) {
    const Recipe recipe = ReadTrainRecipe(entry.path());
    SCOPED_TRACE(entry.path());
    for (const auto& [part, spec] : OptimizersOf(recipe)) {
      const Schedule& lr = spec->options.at("lr");
      EXPECT_TRUE(lr.IsConstant() || !lr.IsResolved()) << lr.Text();
      relative += lr.IsResolved() ? 0 : 1;
      for (const double times : {0.5, 1.0, 2.0}) {
        for (const int64_t epoch : {3, 17, 422}) {
          const int64_t whole =
              recipe.train.epochs > 0 ? recipe.train.epochs * epoch : recipe.train.steps;
          const auto steps = static_cast<int64_t>(std::ceil(times * static_cast<double>(whole)));
          EXPECT_THAT(ScheduleMisfits(*spec, {steps, static_cast<double>(epoch)}),
                      ::testing::IsEmpty());
        }
      }
    }
  }
  EXPECT_GE(relative, 9);
}

TEST(Recipe, ScheduleLinesTellLengthsAndMisfits) {
  const Recipe recipe =
      ParseTrainRecipe(With("optimizer",
                            "beta1 = \"0.9 * warmup(10%)\"\nclip_norm = \"linear(20)\"\n"
                            "fallback = {rule = \"sgd\", lr = \"0.1 * linear(3ep)\"}"),
                       "r.toml", {.sets = {"optimizer.group.0.lr=1e-4 * cosine(end)"}});
  EXPECT_EQ(
      ScheduleLines(recipe.optimizer, {.steps = 90, .steps_per_epoch = 30}),
      "optimizer.beta1 is 0.9 * warmup(9)\n"
      "optimizer.fallback.lr is 0.1 * linear(90, 0)\n"
      "optimizer.group.0.lr is 1e-04 * cosine(90, 0)\n"
      "warning: optimizer.lr: the warm-up of 100 steps does not end within the run of 90 steps\n"
      "warning: optimizer.clip_norm: the schedule ends at step 20 of 90; from there on the "
      "value is 0 of the peak\n");
  EXPECT_EQ(ScheduleLines(ParseTrainRecipe(kRecipe, "r.toml").optimizer, {.steps = 300}), "");
  OptimizerSpec spec = Sgd{};
  spec.groups = {{.frozen_until = RunSteps{10, StepUnit::kPercent}, .frozen_from = 301}};
  EXPECT_EQ(ScheduleLines(spec, {.steps = 300}),
            "optimizer.group.0.frozen_until is 30\n"
            "warning: optimizer.group.0.frozen_from: step 301 is behind the end of the run, 300 "
            "steps\n");
}

TEST(Recipe, ExplainHasColumnsForScalesLayersAndFreezing) {
  std::vector<float> memory(4);
  std::vector<Tensor> tensors;
  for (const char* name : {"emb.weight", "h.0.weight", "h.1.weight", "head.weight"}) {
    tensors.push_back({.name = name, .shape = {1, 1}, .param = &memory[tensors.size()]});
  }
  OptimizerSpec spec = Sgd{.lr = 1};
  const auto explained = [&] { return ExplainText(Optimizer(tensors, spec), spec); };
  const auto row = [](const std::string& text) { return ::testing::ContainsRegex("\n" + text); };
  EXPECT_THAT(explained(), row("h.0.weight +.* recipe +1 +0 +-\n"));
  EXPECT_THAT(explained(), ::testing::Not(HasSubstr("lr_scale")));
  spec.layer_decay = 0.5;
  spec.groups = {{.match = "emb.*", .frozen = true},
                 {.match = "h.1.*", .lr_scale = 3, .frozen_until = 5},
                 {.match = "head.*", .frozen_until = 2, .frozen_from = 9}};
  EXPECT_THAT(explained(), row("emb.weight +.* group 0 +0.125 +0 +- +0 +0.125 +always\n"));
  EXPECT_THAT(explained(), row("h.0.weight +.* recipe +0.25 +0 +- +1 +0.25 +-\n"));
  EXPECT_THAT(explained(), row("h.1.weight +.* group 1 +1.5 +0 +- +2 +1.5 +until 5\n"));
  EXPECT_THAT(explained(), row("head.weight +.* group 2 +1 +0 +- +3 +1 +until 2, from 9\n"));
  EXPECT_THAT(explained(), row("group 1 +1 of 4 +sgd +lr = 1, lr_scale = 3, weight_decay = 0\n"));
  EXPECT_THAT(explained(), HasSubstr("lr is already multiplied by lr_scale.\n"));
}

TEST(Recipe, AScaleReplacesValues) {
  const std::string text = R"(
[model]
name = "vit"
dim = 768
heads = 12
[optimizer]
rule = "adamw"
lr = 1e-3
[train]
steps = 1000
batch_size = 512
[scale.small.model]
dim = 64
[scale.small.train]
steps = 10
[scale.tiny]
model = {name = "linear"}
)";
  const Recipe full = ParseTrainRecipe(text, "r.toml");
  EXPECT_EQ(full.model.options.Lines(), ModelNamed("vit", "dim = 768\nheads = 12").options.Lines());
  EXPECT_EQ(full.train.steps, 1000);
  const Recipe small =
      ParseTrainRecipe(text, "r.toml", {.scale = "small", .sets = {"train.batch_size=8"}});
  EXPECT_EQ(small.model.options.Lines(), ModelNamed("vit", "dim = 64\nheads = 12").options.Lines());
  EXPECT_EQ(small.train.steps, 10);
  EXPECT_EQ(small.train.batch_size, 8);
  EXPECT_EQ(small.optimizer, full.optimizer);
  Recipe complete = small;
  complete.optimizer = Complete(small.optimizer);
  EXPECT_EQ(ParseTrainRecipe(ToToml(small), "again"), complete);
  // Another model has none of the former one's options.
  EXPECT_EQ(ParseTrainRecipe(text, "r.toml", {.scale = "tiny"}).model, ModelNamed("linear"));

  const auto error = [&](std::string_view toml, const std::string& scale) {
    return kudari::testing::ErrorOf([&] { ParseTrainRecipe(toml, "r.toml", {.scale = scale}); });
  };
  EXPECT_EQ(error(text, "large"),
            "--scale large: the recipe has no table [scale.large], only small, tiny");
  EXPECT_EQ(error(kRecipe, "small"), "--scale small: the recipe has no table [scale.small]");
  EXPECT_EQ(error("scale = 3\n" + text.substr(0, text.find("[scale")), ""),
            "r.toml:1: scale: unknown key; known: model, data, augment, hessian, train, fault, "
            "optimizer");
  EXPECT_EQ(error(text + "[scale.wide.model]\nwiden = 3\n", "wide"),
            "r.toml:19: model.widen: is not an option of model \"vit\", only of wide_resnet");
}

}  // namespace train_recipe_test
}  // namespace kudari::lab
