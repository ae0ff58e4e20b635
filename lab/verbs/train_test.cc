#include "lab/verbs/train.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <fstream>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "kudari/safetensors.h"
#include "kudari/schedule.h"
#include "lab/data/data.h"
#include "lab/files/text_file.h"
#include "lab/models/models.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/batches.h"
#include "lab/train/objective.h"
#include "lab/train/weights.h"
#include "lab/verbs/torch_error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/train_fixture.h"

namespace kudari::lab {
namespace train_test {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using TrainTest = TrainFixture;

TEST_F(TrainTest, WritesMetricsRecipeAndModel) {
  TrainOptions options = Options({});
  options.export_file = dir_ / "exported.safetensors";
  const RunState result = Go(options);
  // A fifth of the 150 is validation: 120 samples, 8 batches an epoch, of which the last has 8.
  EXPECT_EQ(result.steps, 16);
  EXPECT_EQ(result.stopped, "reached the end");
  const auto steps = Metrics("lr");
  ASSERT_EQ(steps.size(), 16U);
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i]["step"], i + 1);
    EXPECT_EQ(steps[i]["epoch"], i / 8 + 1);
    EXPECT_EQ(steps[i]["lr"], 1e-2);
    EXPECT_EQ(steps[i]["skipped"], false);
    EXPECT_GT(steps[i]["grad_norm"].get<double>(), 0);
  }
  EXPECT_LT(steps.back()["loss"].get<double>(), steps.front()["loss"].get<double>());
  const auto evaluations = Metrics("val_accuracy");
  ASSERT_EQ(evaluations.size(), 2U);
  EXPECT_EQ(evaluations[0]["step"], 8);
  EXPECT_EQ(evaluations[1]["step"], 16);
  EXPECT_EQ(evaluations[1]["val_loss"].get<double>(), result.validation.loss);
  const json last = Metrics().back();
  EXPECT_EQ(last["step"], 16);
  EXPECT_EQ(last["test_loss"].get<double>(), result.test.loss);
  EXPECT_EQ(last["test_accuracy"].get<double>(), result.test.accuracy);
  EXPECT_EQ(ReadTextFile(dir_ / "out/model.safetensors"), ReadTextFile(options.export_file));
  EXPECT_TRUE(SafeTensorsFile(options.export_file).Contains("blocks.0.qkv.weight"));
  EXPECT_THAT(console_, HasSubstr("test accuracy"));
  EXPECT_THAT(console_, ::testing::Not(HasSubstr("\x1b")));
}

TEST_F(TrainTest, SameSeedSameMetrics) {
  const std::vector<std::string> sets = {"model.dropout=0.1"};
  Go(Options(sets, "a"));
  Go(Options(sets, "b"));
  EXPECT_EQ(WithoutTime(Metrics("", "a")), WithoutTime(Metrics("", "b")));
  EXPECT_EQ(ReadTextFile(dir_ / "a/model.safetensors"), ReadTextFile(dir_ / "b/model.safetensors"));
  Go(Options({"model.dropout=0.1", "train.seed=2"}, "c"));
  EXPECT_NE(WithoutTime(Metrics("", "a")), WithoutTime(Metrics("", "c")));
}

TEST_F(TrainTest, WrittenRecipeGivesTheSameRun) {
  Go(Options({"optimizer.clip_norm=0.5", "optimizer.lr=1e-2 * warmup(5)"}, "a"));
  TrainOptions again;
  again.recipe = dir_ / "a/recipe.toml";
  again.out = dir_ / "b";
  Go(again);
  EXPECT_EQ(WithoutTime(Metrics("", "a")), WithoutTime(Metrics("", "b")));
  EXPECT_EQ(ReadTextFile(dir_ / "a/recipe.toml"), ReadTextFile(dir_ / "b/recipe.toml"));
}

TEST_F(TrainTest, InitStartsFromGivenWeights) {
  Go(Options({}, "a"));
  const std::string weights = (dir_ / "a/model.safetensors").string();
  // A step of no length leaves the weights as they were given.
  Go(Options({"train.init=" + weights, "optimizer.lr=0", "train.steps=1"}, "b"));
  EXPECT_EQ(ReadTextFile(weights), ReadTextFile(dir_ / "b/model.safetensors"));
  EXPECT_THAT(MessageOf(Options({"train.init=" + weights, "model.dim=10"}, "c")),
              HasSubstr("has the shape"));
  EXPECT_THAT(MessageOf(Options({"train.init=" + weights, "model.depth=2"}, "c")),
              HasSubstr("blocks.1."));
  EXPECT_THAT(MessageOf(Options({"train.init=" + weights, "model.depth=0"}, "c")),
              HasSubstr("model.depth"));
  EXPECT_FALSE(fs::exists(dir_ / "c"));
}

TEST_F(TrainTest, InitWithParametersThatTheModelLacks) {
  Go(Options({"model.pool=class"}, "a"));
  EXPECT_THAT(MessageOf(Options({"train.init=" + (dir_ / "a/model.safetensors").string()}, "b")),
              ::testing::AnyOf(HasSubstr("pos_embed"), HasSubstr("cls_token")));
}

TEST_F(TrainTest, DivergenceIsToldAndWritesNoWeights) {
  const RunState result = Go(Options({"optimizer.rule=sgd", "optimizer.lr=1e30"}));
  EXPECT_TRUE(result.diverged);
  EXPECT_THAT(result.stopped, StartsWith("diverged: "));
  EXPECT_LT(result.steps, 16);
  EXPECT_FALSE(fs::exists(dir_ / "out/model.safetensors"));
  EXPECT_TRUE(Metrics("lr").back()["loss"].is_null() || Metrics().back()["val_loss"].is_null());
}

TEST_F(TrainTest, RunsWithoutValidationData) {
  const RunState result = Go(Options({"data.validation=0"}));
  EXPECT_TRUE(std::isnan(result.validation.loss));
  EXPECT_TRUE(Metrics("val_loss").empty());
  EXPECT_EQ(Metrics("test_loss").size(), 1U);
}

TEST_F(TrainTest, MeanSquareOfOneHotClasses) {
  const RunState result = Go(Options({"train.loss=mse", "train.epochs=6"}));
  EXPECT_LT(result.test.loss, 0.25);
  EXPECT_GT(result.test.accuracy, 0.5);
}

TEST_F(TrainTest, BadInputLeavesTheFolderAlone) {
  EXPECT_THAT(MessageOf(Options({"train.epoch=3"})), HasSubstr("did you mean \"epochs\""));
  EXPECT_THAT(MessageOf(Options({"model.patch=3"})), HasSubstr("model.patch = 3"));
  TrainOptions options = Options({});
  options.export_file = dir_ / "nowhere" / "w.safetensors";
  EXPECT_THAT(MessageOf(options), HasSubstr("there is no folder"));
  EXPECT_FALSE(fs::exists(dir_ / "out"));
  EXPECT_THAT(MessageOf(Options({}, "r.toml")), HasSubstr("is not a folder"));
}

TEST_F(TrainTest, OtherFilesOfTheFolderStay) {
  fs::create_directories(dir_ / "out");
  std::ofstream(dir_ / "out/notes.txt") << "mine";
  Go(Options({}));
  EXPECT_EQ(ReadTextFile(dir_ / "out/notes.txt"), "mine");
}

TEST_F(TrainTest, ExplainTellsThePlanAndTrainsNothing) {
  WriteRecipe(std::string(kRecipe) +
              "[[optimizer.group]]\nmatch = \"head.*\"\nrule = \"sgd\"\nlr = 0.1\n"
              "[[optimizer.classify]]\nmatch = \"blocks.0.proj.*\"\nclass = \"embedding\"\n");
  TrainOptions options = Options({"optimizer.no_decay=[\"bias\", \"norm\"]",
                                  "optimizer.fallback={rule=\"adamw\", lr=1e-3, beta1=0.8}",
                                  "optimizer.group.0.l2=1e-4"});
  options.explain = true;
  Go(options);
  const auto row = [](const std::string& text) { return ::testing::ContainsRegex("\n" + text); };
  EXPECT_THAT(console_,
              row("blocks.0.norm1.weight +\\[8\\] +norm +layer's name has \"norm\" +adamw +"
                  "fallback +0.001 +0 +-\n"));
  EXPECT_THAT(console_, row("blocks.0.qkv.weight +\\[24, 8\\] +matrix +2 dimensions +adamw +"
                            "recipe +0.01 +0.01 +-\n"));
  EXPECT_THAT(console_, row("blocks.0.proj.weight +\\[8, 8\\] +embedding +recipe says so for "
                            "\"blocks.0.proj.\\*\" +adamw +fallback +0.001 +0.01 +-\n"));
  EXPECT_THAT(console_, row("head.bias +\\[4\\] +bias +name has \"bias\" +sgd +group 0 +0.1 +"
                            "0 +-\n"));
  EXPECT_THAT(console_, row("patch_embed.weight +\\[8, 4\\] +matrix +type of its module +adamw +"
                            "recipe +0.01 +0.01 +-\n"));
  // Then each rule's options: four matrices, the head's two, and the rest.
  EXPECT_THAT(console_, row("recipe +4 of 19 +adamw +beta1 = 0.9, "));
  EXPECT_THAT(console_, row("fallback +13 of 19 +adamw +beta1 = 0.8, "));
  EXPECT_THAT(console_, row("group 0 +2 of 19 +sgd +l2 = 1e-04, lr = 0.1, weight_decay = 0\n"));
  EXPECT_FALSE(fs::exists(dir_ / "out"));
}

TEST_F(TrainTest, PlanTellsWhatTheRecipeTakesAndTrainsNothing) {
  const auto plan = [this](std::vector<std::string> sets) {
    const TrainOptions options = Options(std::move(sets));
    return kudari::testing::Printed([&](std::FILE* console) {
      PlanTraining({.recipe = options.recipe, .changes = options.changes}, console);
    });
  };
  const auto row = [](const std::string& text) {
    return ::testing::ContainsRegex("\n" + text + "\n");
  };
  const std::string floats = plan({"model.dim=64"});
  EXPECT_THAT(floats, ::testing::ContainsRegex("^50948 parameters in 19 tensors; 49152 of "));
  EXPECT_THAT(floats, row("weights +4.000 +[0-9.]* KiB"));
  EXPECT_THAT(floats, row("gradients +4.000 .* KiB"));
  EXPECT_THAT(floats, row("state: exp_avg +4.000 .* KiB"));
  EXPECT_THAT(floats, row("state: exp_avg_sq +4.000 .* KiB"));
  EXPECT_THAT(floats, row("total without activations +16.000 .* KiB"));
  EXPECT_THAT(floats, ::testing::Not(HasSubstr("master")));
  EXPECT_THAT(floats, HasSubstr("GB/s, measured here with 1 thread."));
  // Norms stay float32, and small tensors' state as well.
  const std::string bytes = plan({"model.dim=64", "train.weights=bf16",
                                  "optimizer.precision={master=\"split8\", state=\"linear8\"}"});
  EXPECT_THAT(bytes, row("weights +2.0[0-9]+ .* KiB"));
  EXPECT_THAT(bytes, row("master +0.9[0-9]+ .* KiB"));
  EXPECT_THAT(bytes, row("state: exp_avg +1.[0-9]+ .* KiB"));
  EXPECT_THAT(bytes, row("total without activations +7.[0-9]+ .* KiB"));
  EXPECT_FALSE(fs::exists(dir_ / "out"));
  EXPECT_THAT(kudari::testing::ErrorOf([&] { plan({"optimizer.lr=-1"}); }), HasSubstr("lr"));
}

// What Ctrl-C does: as much as was reached is written, and the program goes on.
TEST_F(TrainTest, InterruptFinishesCleanly) {
  std::thread user([this] {
    const auto begun = [this] {
      std::error_code error;
      const auto size = fs::file_size(dir_ / "out/metrics.jsonl", error);
      return !error && size > 1000;
    };
    while (!begun()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    kill(getpid(), SIGINT);
  });
  const RunState result = Go(Options({"train.epochs=1000000"}));
  user.join();
  EXPECT_THAT(result.stopped, StartsWith("interrupted at step "));
  EXPECT_FALSE(result.diverged);
  EXPECT_EQ(Metrics().back()["step"], result.steps);
  EXPECT_EQ(Metrics("test_accuracy").size(), 1U);
  EXPECT_TRUE(fs::exists(dir_ / "out/model.safetensors"));
  EXPECT_THAT(console_, HasSubstr("interrupted at step"));
}

TEST_F(TrainTest, AveragedWeightsAreEvaluatedAndSaved) {
  const std::vector<std::string> sets = {"optimizer.lr=0.05", "train.epochs=1"};
  std::vector<std::string> averaged = sets;
  averaged.emplace_back("optimizer.swa={start=0, every=1}");
  const RunState plain = Go(Options(sets, "a")), swa = Go(Options(averaged, "b"));
  // The same training, other weights at the end.
  const auto losses = [this](const std::string& out) {
    std::vector<double> values;
    for (const json& line : Metrics("lr", out)) values.push_back(line["loss"]);
    return values;
  };
  EXPECT_EQ(losses("a"), losses("b"));
  EXPECT_NE(plain.test.loss, swa.test.loss);
  EXPECT_NE(plain.validation.loss, swa.validation.loss);
  EXPECT_THAT(console_, ::testing::ContainsRegex("state +[0-9]+ bytes, 12 a parameter\n"));
  // What was saved is what was evaluated.
  const RunState again = Go(Options(
      {"optimizer.lr=0", "train.steps=1", "train.init=" + (dir_ / "b/model.safetensors").string()},
      "c"));
  EXPECT_EQ(again.test.loss, swa.test.loss);
}

// The test loss of what a run has saved.
double LossOfSaved(const fs::path& out) {
  const Recipe recipe = ReadTrainRecipe(out / "recipe.toml");
  Dataset data = LoadData(recipe.data.name(), recipe.data.path,
                          static_cast<uint64_t>(recipe.train.seed), recipe.data.validation);
  const auto model = MakeModel(recipe.model, data.Shape());
  LoadWeights(*model, out / "model.safetensors");
  return Evaluate(*model, ToSamples(data.test, data), LossNamed("cross_entropy"), {}).loss;
}

TEST_F(TrainTest, ResidualNetworkIsSavedAsItWasEvaluated) {
  WriteRecipe(ResNetRecipe());
  const std::vector<std::string> sets = {"train.epochs=6"};
  const RunState plain = Go(Options(sets, "a"));
  EXPECT_GE(plain.test.accuracy, 0.9);
  EXPECT_EQ(LossOfSaved(dir_ / "a"), plain.test.loss);
  // Averages are evaluated, and saved, with statistics of their own; training does not notice.
  std::vector<std::string> averaged = sets;
  averaged.insert(averaged.end(), {"optimizer.ema={decay=0.9}", "train.eval_every=3"});
  const RunState ema = Go(Options(averaged, "b"));
  EXPECT_GE(ema.test.accuracy, 0.9);
  EXPECT_NE(ema.test.loss, plain.test.loss);
  EXPECT_EQ(LossOfSaved(dir_ / "b"), ema.test.loss);
  const auto a = Metrics("lr", "a"), b = Metrics("lr", "b");
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i]["loss"], b[i]["loss"]);
}

TEST_F(TrainTest, LabelNoiseIsInTrainingAlone) {
  const auto run = [this](const std::string& noise) {
    const RunState result =
        Go(Options({"data.label_noise=" + noise, "optimizer.lr=0", "train.epochs=1"}));
    return std::pair(result, Metrics("lr").front()["loss"].get<double>());
  };
  const auto [clean, clean_loss] = run("0");
  const auto [noisy, noisy_loss] = run("0.5");
  EXPECT_EQ(noisy.validation.loss, clean.validation.loss);
  EXPECT_EQ(noisy.test.loss, clean.test.loss);
  EXPECT_NE(noisy_loss, clean_loss);
  EXPECT_EQ(run("0.5").second, noisy_loss);
}

TEST_F(TrainTest, TrainsOnSomeSamples) {
  // 120 are left for training; 40 of them are three batches of 16.
  EXPECT_EQ(Go(Options({"data.samples=40"})).steps, 6);
  EXPECT_THAT(console_, HasSubstr("(40 training, 30 validation, 60 test samples)"));
  EXPECT_THAT(MessageOf(Options({"data.samples=121"})),
              HasSubstr("data.samples = 121 is outside [0, 120]"));
}

TEST_F(TrainTest, SchedulesFollowTheRun) {
  const std::string lr = "0.01 * warmup(25%) * cosine(end, 0.5)";
  const auto rates = [&](const std::vector<std::string>& changes, const std::string& out) {
    std::vector<std::string> sets = {"optimizer.lr=" + lr};
    sets.insert(sets.end(), changes.begin(), changes.end());
    Go(Options(sets, out));
    std::vector<double> values;
    for (const json& line : Metrics("lr", out)) values.push_back(line["lr"]);
    return values;
  };
  const auto expected = [](const Schedule& s, int64_t steps) {
    std::vector<double> values;
    for (int64_t i = 0; i < steps; ++i) values.push_back(s(i));
    return values;
  };
  // 8 batches an epoch: of 2 epochs, of 5, of accumulated ones, and of fewer steps.
  EXPECT_EQ(rates({}, "a"), expected(0.01 * Warmup(4) * Cosine(16, 0.5), 16));
  EXPECT_THAT(console_, HasSubstr("\noptimizer.lr is 0.01 * warmup(4) * cosine(16, 0.5)\n"));
  EXPECT_THAT(console_, HasSubstr("adamw, lr 0.01 * warmup(4) * cosine(16, 0.5)\n"));
  EXPECT_THAT(console_, ::testing::Not(HasSubstr("warning")));
  EXPECT_THAT(ReadTextFile(dir_ / "a/recipe.toml"), HasSubstr("lr = \"" + lr + "\"\n"));
  EXPECT_EQ(rates({"train.epochs=5"}, "b"), expected(0.01 * Warmup(10) * Cosine(40, 0.5), 40));
  EXPECT_EQ(rates({"optimizer.accumulate=2"}, "c"), expected(0.01 * Warmup(2) * Cosine(8, 0.5), 8));
  EXPECT_EQ(rates({"train.steps=12"}, "d"), expected(0.01 * Warmup(3) * Cosine(12, 0.5), 12));
  // The recipe that was written is the same run.
  TrainOptions again;
  again.recipe = dir_ / "a/recipe.toml";
  again.out = dir_ / "again";
  Go(again);
  EXPECT_EQ(WithoutTime(Metrics("", "a")), WithoutTime(Metrics("", "again")));
  // In epochs.
  Go(Options({"optimizer.lr=0.01 * multistep([0.5ep, 1ep])"}, "e"));
  EXPECT_THAT(console_, HasSubstr("\noptimizer.lr is 0.01 * multistep([4, 8], 0.1)\n"));

  TrainOptions explain = Options({"optimizer.lr=" + lr});
  explain.explain = true;
  Go(explain);
  EXPECT_THAT(console_, HasSubstr("lr = 0.01 * warmup(4) * cosine(16, 0.5), weight_decay"));
  EXPECT_THAT(
      MessageOf(Options({"optimizer.lr=0.01 * wsd(end, 60%, 60%)"}, "f")),
      HasSubstr("lr: schedule \"0.01 * wsd(end, 60%, 60%, 0, linear)\" in a run of 16 steps"));
}

TEST_F(TrainTest, AScheduleThatDoesNotFitIsAWarningBeforeTheFirstStep) {
  const std::vector<std::string> sets = {"optimizer.lr=0.01 * warmup(100) * cosine(510)"};
  const std::string warnings =
      "warning: optimizer.lr: the warm-up of 100 steps does not end within the run of 16 steps\n"
      "warning: optimizer.lr: the run ends at step 16 of the schedule's 510, at 1 of the peak\n";
  Go(Options(sets));
  const size_t at = console_.find(warnings);
  ASSERT_NE(at, std::string::npos) << console_;
  EXPECT_LT(at, console_.find("epoch 1/2"));
  TrainOptions explain = Options(sets);
  explain.explain = true;
  Go(explain);
  EXPECT_THAT(console_, HasSubstr(warnings));
  const std::string plan = kudari::testing::Printed([&](std::FILE* console) {
    PlanTraining({.recipe = explain.recipe, .changes = explain.changes}, console);
  });
  EXPECT_THAT(plan, StartsWith(warnings));
}

// The README's recipe, and the others on data that is always there, with other numbers of epochs.
TEST(Recipes, SchedulesEndWithTheRun) {
  const auto explained = [](const std::string& name, const std::vector<std::string>& sets) {
    TrainOptions options;
    options.recipe = fs::path(KUDARI_SOURCE_DIR) / "recipes" / name;
    options.changes.sets = sets;
    options.explain = true;
    return kudari::testing::Printed([&](std::FILE* console) { Train(options, console); });
  };
  const auto vit = [&](const std::string& epochs) {
    return explained("digits-vit.toml", {"train.epochs=" + epochs});
  };
  // What it was when it counted steps.
  EXPECT_THAT(vit("30"), HasSubstr("lr = 0.002 * warmup(100) * cosine(510, 0.05)"));
  EXPECT_THAT(vit("5"), HasSubstr("lr = 0.002 * warmup(17) * cosine(85, 0.05)"));
  EXPECT_THAT(vit("200"), HasSubstr("lr = 0.002 * warmup(666) * cosine(3400, 0.05)"));
  EXPECT_THAT(explained("digits-mlp.toml", {}), HasSubstr("warmup(50) * cosine(680, 0.05)"));
  EXPECT_THAT(explained("digits-resnet8.toml", {}), HasSubstr("warmup(50) * cosine(340, 0.01)"));
  for (const auto& entry : fs::directory_iterator(fs::path(KUDARI_SOURCE_DIR) / "recipes")) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("digits")) continue;
    const int64_t epochs = ReadTrainRecipe(entry.path()).train.epochs;
    for (const int64_t changed : {epochs / 2, epochs, 2 * epochs}) {
      EXPECT_THAT(explained(name, {"train.epochs=" + std::to_string(changed)}),
                  ::testing::Not(HasSubstr("warning")))
          << name << " " << changed;
    }
  }
}

// The project's promise: the recipe of the README on real handwriting.
TEST(TrainEndToEnd, DigitsReach96Percent) {
  const kudari::testing::TemporaryFolder out;
  TrainOptions options;
  options.recipe = fs::path(KUDARI_SOURCE_DIR) / "recipes/digits-vit.toml";
  options.out = out.path();
  options.force = true;
  const RunState result = Train(options, stdout);
  EXPECT_GE(result.test.accuracy, 0.96);
}

// The first steps of the seven-byte recipe, in both 16-bit types.
TEST(TrainEndToEnd, SevenBytesLearnDigits) {
  const kudari::testing::TemporaryFolder out;
  for (const std::string precision : {"bf16", "f16"}) {
    TrainOptions options;
    options.recipe = fs::path(KUDARI_SOURCE_DIR) / "recipes/digits-vit-7bytes.toml";
    options.changes.sets = {"train.steps=" + std::string(precision == "bf16" ? "60" : "20"),
                            "train.precision=" + precision};
    options.out = out.path();
    options.force = true;
    const RunState result = Train(options, stdout);
    EXPECT_GE(result.test.accuracy, precision == "bf16" ? 0.7 : 0.3);
    EXPECT_FALSE(result.diverged);
  }
}

TEST(TrainEndToEnd, ResidualNetworkReaches97PercentOfDigits) {
  const kudari::testing::TemporaryFolder out;
  TrainOptions options;
  options.recipe = fs::path(KUDARI_SOURCE_DIR) / "recipes/digits-resnet8.toml";
  options.out = out.path();
  EXPECT_GE(Train(options, stdout).test.accuracy, 0.97);
}

// Every recipe that the project ships can be read.
TEST(Recipes, AreAllValid) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(KUDARI_SOURCE_DIR) / "recipes")) {
    EXPECT_NO_THROW(ReadTrainRecipe(entry.path())) << entry.path();
    ++count;
  }
  EXPECT_GE(count, 10);
}

TEST(WithoutTracesTest, ErrorsOfTorchAreOneLine) {
  EXPECT_EQ(WithoutTraces([] { return 3; }), 3);
  EXPECT_EQ(kudari::testing::ErrorOf(
                [] { WithoutTraces([]() -> int { TORCH_CHECK(false, "what is wrong"); }); }),
            "what is wrong");
  const auto mismatch = [] {
    at::matmul(at::ones({2, 3}), at::ones({2, 3}));
    return 0;
  };
  const std::string message = kudari::testing::ErrorOf([&] { WithoutTraces(mismatch); });
  EXPECT_THAT(message, HasSubstr("shapes cannot be multiplied"));
  EXPECT_EQ(std::ranges::count(message, '\n'), 0) << message;
  const auto too_large = [] { return static_cast<int>(at::empty({int64_t{1} << 50}).size(0)); };
  EXPECT_THROW(WithoutTraces(too_large), std::bad_alloc);
}

}  // namespace train_test
}  // namespace kudari::lab
