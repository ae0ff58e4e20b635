#include "lab/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "kudari/controllers.h"
#include "kudari/error.h"
#include "kudari/safetensors.h"
#include "lab/data/data.h"
#include "lab/files/text_file.h"
#include "lab/logs/run_log.h"
#include "lab/models/models.h"
#include "lab/recipe/recipe.h"
#include "lab/train/batches.h"
#include "lab/train/objective.h"
#include "lab/train/weights.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// Images of 4 x 4 pixels whose class is the brightest quarter, under noise.
void WriteQuarters(const fs::path& path, float scale = 1) {
  std::mt19937_64 random(5);
  std::vector<std::vector<float>> storage;
  std::vector<FloatTensor> tensors;
  storage.reserve(4);
  for (const auto& [part, count] : {std::pair<std::string, int64_t>{"train", 150}, {"test", 60}}) {
    auto& x = storage.emplace_back();
    std::vector<float> y;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t label = i % 4;
      y.push_back(static_cast<float>(label));
      for (int64_t pixel = 0; pixel < 16; ++pixel) {
        const int64_t quarter = pixel / 8 * 2 + pixel % 4 / 2;
        const float noise = static_cast<float>(random() % 1000) / 1000 - 0.5F;
        x.push_back(scale * (noise + (quarter == label ? 1.0F : 0.0F)));
      }
    }
    tensors.push_back({part + "/x", {count, 1, 4, 4}, x});
    tensors.push_back({part + "/y", {count}, storage.emplace_back(std::move(y))});
  }
  WriteSafeTensors(path, tensors);
}

constexpr std::string_view kRecipe = R"([model]
name = "vit"
patch = 2
dim = 8
depth = 1
heads = 2
[data]
name = "safetensors"
[optimizer]
rule = "adamw"
lr = 1e-2
[train]
epochs = 2
batch_size = 16
threads = 1
)";

// A folder of its own with the data and a recipe.
class TrainTest : public ::testing::Test {
 protected:
  TrainTest() {
    const std::string test = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    dir_ = fs::path(::testing::TempDir()) / ("train_test-" + std::to_string(getpid()) + "-" + test);
    fs::create_directories(dir_);
    WriteQuarters(dir_ / "data.safetensors");
    WriteRecipe(kRecipe);
  }
  ~TrainTest() override { fs::remove_all(dir_); }

  void WriteRecipe(std::string_view text) { std::ofstream(dir_ / "r.toml") << text; }

  TrainOptions Options(std::vector<std::string> sets, const std::string& out = "out") const {
    TrainOptions options;
    options.recipe = dir_ / "r.toml";
    options.sets = std::move(sets);
    options.sets.push_back("data.path=" + (dir_ / "data.safetensors").string());
    options.out = dir_ / out;
    return options;
  }

  // What `run` prints to the console that it is given.
  static std::string Printed(const std::function<void(std::FILE*)>& run) {
    const std::unique_ptr<std::FILE, decltype(&std::fclose)> console(std::tmpfile(), &std::fclose);
    run(console.get());
    std::string text(100000, '\0');
    std::rewind(console.get());
    text.resize(std::fread(text.data(), 1, text.size(), console.get()));
    return text;
  }

  // Trains, keeping what the console was shown.
  TrainResult Go(const TrainOptions& options) {
    TrainResult result;
    console_ = Printed([&](std::FILE* console) { result = Train(options, console); });
    return result;
  }

  std::string MessageOf(const TrainOptions& options) {
    return kudari::testing::ErrorOf([&] { Go(options); });
  }

  // The lines of metrics.jsonl that have the key; all of them without one.
  std::vector<json> Metrics(const std::string& key = "", const std::string& out = "out") const {
    std::istringstream in(ReadTextFile(dir_ / out / "metrics.jsonl"));
    std::vector<json> lines;
    for (std::string line; std::getline(in, line);) {
      json item = json::parse(line);
      if (key.empty() || item.contains(key)) lines.push_back(std::move(item));
    }
    return lines;
  }

  fs::path dir_;
  std::string console_;
};

TEST_F(TrainTest, WritesMetricsRecipeAndModel) {
  TrainOptions options = Options({});
  options.export_file = dir_ / "exported.safetensors";
  const TrainResult result = Go(options);
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

// Everything that is measured but the time.
std::vector<json> WithoutTime(std::vector<json> lines) {
  for (json& line : lines) line.erase("seconds");
  return lines;
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

TEST_F(TrainTest, StepsEndInTheMiddleOfAnEpoch) {
  EXPECT_EQ(Go(Options({"train.steps=11"})).steps, 11);
  EXPECT_EQ(Metrics("val_loss").back()["step"], 11);
  EXPECT_EQ(Go(Options({"train.steps=11", "train.epochs=0"})).steps, 11);
  EXPECT_EQ(Go(Options({"train.steps=99"})).steps, 16);
}

TEST_F(TrainTest, MeasuresLayersEverySoManySteps) {
  // With sgd an update is the learning rate times the gradient, but for the rounding of weights,
  // whatever scales the loss.
  for (const std::string precision : {"f32", "f16"}) {
    Go(Options({"optimizer.rule=sgd", "optimizer.lr=0.125", "train.layers_every=5",
                "train.precision=" + precision}));
    const std::vector<json> lines = Metrics("layers");
    ASSERT_EQ(lines.size(), 4U);  // of 16 steps
    for (size_t i = 0; i < lines.size(); ++i) {
      EXPECT_EQ(lines[i]["step"], 5 * i + 1);
      double squares = 0;
      for (const auto& [name, norms] : lines[i]["layers"].items()) {
        const double gradient = norms["grad"];
        EXPECT_GT(gradient, 0) << name;
        EXPECT_NEAR(norms["update"].get<double>(), 0.125 * gradient, 1e-3 * gradient) << name;
        squares += gradient * gradient;
      }
      const double all = lines[i]["grad_norm"];
      EXPECT_NEAR(std::sqrt(squares), all, 1e-5 * all);
    }
  }
  // The weights of the second measured step are those of the first and its update.
  Go(Options({"optimizer.rule=sgd", "optimizer.lr=0.125", "train.layers_every=1"}));
  const std::vector<json> lines = Metrics("layers");
  ASSERT_EQ(lines.size(), 16U);
  for (const auto& [name, norms] : lines[0]["layers"].items()) {
    const double before = norms["weight"], after = lines[1]["layers"][name]["weight"];
    EXPECT_LE(std::abs(after - before), norms["update"].get<double>() * (1 + 1e-5)) << name;
    EXPECT_NE(after, before) << name;
  }
  Go(Options({"train.layers_every=0"}));
  EXPECT_TRUE(Metrics("layers").empty());
}

TEST_F(TrainTest, FaultsTakeGradientsAway) {
  Go(Options({"fault.missing=blocks.0.fc1.*", "fault.zero=head.weight", "train.layers_every=5",
              "optimizer.weight_decay=0"}));
  for (const json& line : Metrics("layers")) {
    const json& layers = line["layers"];
    for (const char* name : {"blocks.0.fc1.weight", "blocks.0.fc1.bias"}) {
      EXPECT_TRUE(layers[name]["grad"].is_null()) << name;
      EXPECT_EQ(layers[name]["update"], 0) << name;
    }
    EXPECT_EQ(layers["head.weight"]["grad"], 0);
    EXPECT_EQ(layers["head.weight"]["update"], 0);
    EXPECT_GT(layers["head.bias"]["update"], 0);
  }
  EXPECT_THAT(console_, ::testing::ContainsRegex("\ndoctor +dead_tensors; kudari doctor "));
  EXPECT_EQ(MessageOf(Options({"fault.zero=no.*"})), "fault.zero = \"no.*\" matches no parameter");
}

TEST_F(TrainTest, FaultsScaleTheFirstWeights) {
  const auto weights = [&](const std::string& scale) {
    Go(Options({"fault.init_scale=" + scale, "train.layers_every=100"}));
    return Metrics("layers")[0]["layers"];
  };
  const json one = weights("1"), four = weights("4");
  for (const auto& [name, norms] : one.items()) {
    const bool matrix = name.ends_with("weight") && name.find("norm") == std::string::npos;
    const double factor = (matrix || name == "pos_embed") && name != "head.weight" ? 4 : 1;
    EXPECT_NEAR(four[name]["weight"].get<double>(), factor * norms["weight"].get<double>(), 1e-4)
        << name;
  }
}

TEST_F(TrainTest, AccumulationIsMeasuredAndMayBeASum) {
  const auto first = [&](const std::string& sum) {
    Go(Options({"optimizer.accumulate=4", "train.batch_size=8", "train.layers_every=1",
                "fault.sum_accumulation=" + sum}));
    return Metrics("micro_grad_norm")[0];
  };
  const json mean = first("false"), sum = first("true");
  EXPECT_THAT(console_, ::testing::ContainsRegex("\ndoctor +accumulation_sum; kudari doctor "));
  EXPECT_NEAR(sum["grad_norm"].get<double>(), 4 * mean["grad_norm"].get<double>(), 1e-4);
  EXPECT_NEAR(sum["micro_grad_norm"].get<double>(), mean["micro_grad_norm"].get<double>(), 1e-6);
  EXPECT_EQ(sum["loss"], mean["loss"]);
  // It is that of the first batch alone, without the loss's scale.
  Go(Options({"train.batch_size=8"}));
  const double alone = Metrics("grad_norm")[0]["grad_norm"];
  EXPECT_NEAR(mean["micro_grad_norm"].get<double>(), alone, 1e-6 * alone);
  Go(Options({"optimizer.accumulate=4", "train.batch_size=8", "train.layers_every=1",
              "train.precision=f16", "train.loss_scale=1024"}));
  EXPECT_NEAR(Metrics("micro_grad_norm")[0]["micro_grad_norm"].get<double>(), alone, 0.02 * alone);
  // Of one batch there is nothing to say.
  Go(Options({"train.layers_every=1"}));
  EXPECT_TRUE(Metrics("micro_grad_norm").empty());
}

TEST_F(TrainTest, TheDoctorSpeaksWhileTrainingAndCanBeSilent) {
  const std::vector<std::string> wild = {"optimizer.rule=sgd", "optimizer.lr=1e4", "train.loss=mse",
                                         "train.epochs=20"};
  Go(Options(wild));
  EXPECT_THAT(console_, ::testing::ContainsRegex("\ndoctor +diverged; kudari doctor "));
  EXPECT_THAT(ReadRunLog(dir_ / "out").first_nonfinite, ::testing::Not(::testing::IsEmpty()));
  std::vector<std::string> silent = wild;
  silent.emplace_back("train.doctor=false");
  Go(Options(silent));
  EXPECT_EQ(console_.find("doctor"), std::string::npos);
  Go(Options({"train.label_smoothing=0", "data.label_noise=0.5", "train.epochs=40",
              "optimizer.weight_decay=0"}));
  EXPECT_THAT(console_, ::testing::ContainsRegex("\ndoctor, at step [0-9]+: overfitting \\("));
  // That a rate is too low is known at the end, not before.
  Go(Options({"optimizer.lr=1e-7", "train.epochs=8"}));
  EXPECT_THAT(console_, ::testing::ContainsRegex("\ndoctor, at step 64: lr_too_low \\("));
  EXPECT_THAT(console_, ::testing::Not(::testing::ContainsRegex("doctor, at step [1-5]")));
}

TEST_F(TrainTest, LayersHaveTheTrustRatiosOfRulesThatHaveThem) {
  // lars, without momentum yet, takes lr trust |w| for a step at first, weight decay or not; biases
  // are not adapted, and larc's rate is lr where trust is large.
  Go(Options({"optimizer.rule=lars", "optimizer.lr=0.5", "optimizer.trust=0.01",
              "optimizer.weight_decay=0", "train.layers_every=5"}));
  for (const json& line : Metrics("layers")) {
    size_t adapted = 0;
    for (const auto& [name, norms] : line["layers"].items()) {
      if (!norms.contains("trust")) continue;
      ++adapted;
      EXPECT_FALSE(norms.contains("pinned")) << name;
      const double ratio = norms["trust"], weight = norms["weight"], grad = norms["grad"];
      EXPECT_NEAR(ratio, 0.01 * weight / grad, 1e-4 * ratio) << name;
      if (line["step"] == 1) {
        EXPECT_NEAR(norms["update"].get<double>(), 0.5 * 0.01 * weight, 1e-4 * weight) << name;
      }
    }
    EXPECT_GT(adapted, 0U);
    EXPECT_LT(adapted, line["layers"].size());
    EXPECT_FALSE(line["layers"]["head.bias"].contains("trust"));
  }
  Go(Options({"optimizer.rule=larc", "optimizer.lr=1e-4", "optimizer.trust=1000"}));
  const json larc = Metrics("layers")[0]["layers"]["head.weight"];
  EXPECT_EQ(larc["trust"], 1);
  EXPECT_EQ(larc["pinned"], true);
}

TEST_F(TrainTest, ItsLogCanBeRead) {
  Go(Options({"optimizer.rule=lamb", "train.layers_every=5"}));
  const std::vector<json> lines = Metrics("lr");
  const RunLog log = ReadRunLog(dir_ / "out");
  ASSERT_EQ(log.steps.size(), lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(log.steps[i].step, lines[i]["step"]);
    EXPECT_EQ(log.steps[i].loss, lines[i]["loss"]);
    EXPECT_EQ(log.steps[i].lr, lines[i]["lr"]);
    EXPECT_EQ(log.steps[i].grad_norm, lines[i]["grad_norm"]);
  }
  ASSERT_EQ(log.evaluations.size(), 2U);
  EXPECT_EQ(log.evaluations[1].accuracy, Metrics("val_accuracy")[1]["val_accuracy"]);
  const json layers = Metrics("layers")[1];
  ASSERT_EQ(log.layers.size(), 4U);
  EXPECT_EQ(log.layers[1].step, 6);
  ASSERT_EQ(log.layers[1].tensors.size(), layers["layers"].size());
  for (const LayerLog& layer : log.layers[1].tensors) {
    const json& norms = layers["layers"][layer.name];
    EXPECT_EQ(layer.grad, norms["grad"]);
    EXPECT_EQ(layer.trust, norms["trust"]);
    EXPECT_EQ(layer.pinned, norms.contains("pinned"));
  }
  EXPECT_EQ(log.steps_per_epoch, 8);
  EXPECT_EQ(log.planned_steps, 16);
}

TEST_F(TrainTest, EvaluatesEverySoManySteps) {
  Go(Options({"train.eval_every=5"}));
  std::vector<int64_t> at;
  for (const json& line : Metrics("val_loss")) at.push_back(line["step"]);
  EXPECT_THAT(at, ::testing::ElementsAre(5, 10, 15, 16));
}

TEST_F(TrainTest, AccumulationFlushesTheShortGroup) {
  // Batches of 16 in threes: 3, 3 and the last 2, of 16 and 8.
  Go(Options({"optimizer.accumulate=3", "train.shuffle=false"}, "a"));
  EXPECT_EQ(Metrics("lr", "a").size(), 6U);
  Go(Options({"train.batch_size=48", "train.shuffle=false"}, "b"));
  const auto a = Metrics("lr", "a"), b = Metrics("lr", "b");
  ASSERT_EQ(b.size(), a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i]["loss"].get<double>(), b[i]["loss"].get<double>(), 1e-4);
  }
}

TEST_F(TrainTest, StopsEarlyOnValidation) {
  // A step of no length never improves on the first evaluation.
  const TrainResult result =
      Go(Options({"optimizer.lr=0", "train.epochs=50", "train.early_stopping=3"}));
  EXPECT_THAT(result.stopped, HasSubstr("train.early_stopping"));
  EXPECT_EQ(result.steps, 4 * 8);
  EXPECT_THAT(MessageOf(Options({"train.early_stopping=3", "data.validation=0"})),
              HasSubstr("train.early_stopping needs validation data"));
}

TEST_F(TrainTest, ReducesLearningRatesOnAPlateau) {
  // No evaluation is better than the first by that much; the third is one too many.
  std::vector<std::string> sets = {"train.plateau_threshold=0.99", "train.plateau_patience=1",
                                   "train.plateau_factor=0.5", "train.epochs=6",
                                   "optimizer.lr=1e-2 * linear(100)"};
  Go(Options(sets));
  const auto steps = Metrics("lr");
  ASSERT_EQ(steps.size(), 48U);
  for (size_t s = 0; s < steps.size(); ++s) {
    const size_t epoch = s / 8;
    const double share = epoch < 3 ? 1 : epoch < 5 ? 0.5 : 0.25;
    EXPECT_DOUBLE_EQ(steps[s]["lr"].get<double>(),
                     share * 1e-2 * (1 - static_cast<double>(s) / 100))
        << s;
  }

  // With other numbers it is the controller that the library has.
  sets = {"train.plateau_threshold=0.2", "train.plateau_patience=0", "train.plateau_cooldown=1",
          "train.plateau_factor=0.9",    "optimizer.lr=1e-2",        "train.epochs=20"};
  Go(Options(sets, "other"));
  ReduceOnPlateau plateau(1e-2, {.factor = 0.9,
                                 .improvement = {.threshold = 0.2, .relative = true},
                                 .patience = 0,
                                 .cooldown = 1});
  std::set<double> rates;
  for (const json& line : Metrics("", "other")) {
    if (line.contains("lr")) {
      EXPECT_DOUBLE_EQ(line["lr"].get<double>(), plateau.value()) << line["step"];
      rates.insert(plateau.value());
    }
    if (line.contains("val_loss")) plateau.Observe(line["val_loss"]);
  }
  EXPECT_GT(rates.size(), 4U);

  // Without any rate nothing moves, in no group.
  sets = {"train.plateau_threshold=0.99", "train.plateau_patience=1", "train.plateau_factor=0",
          "train.epochs=6", "optimizer.lr=1e-2 * linear(100)"};
  WriteRecipe(std::string(kRecipe) + "[[optimizer.group]]\nmatch = \"head.*\"\nlr = 3e-3\n");
  Go(Options(sets, "six"));
  sets[3] = "train.epochs=3";
  Go(Options(sets, "three"));
  EXPECT_EQ(ReadTextFile(dir_ / "six/model.safetensors"),
            ReadTextFile(dir_ / "three/model.safetensors"));
  EXPECT_THAT(MessageOf(Options({"train.plateau_factor=0.1", "data.validation=0"})),
              HasSubstr("train.plateau_factor needs validation data"));
  EXPECT_THAT(MessageOf(Options({"train.plateau_factor=2"})),
              HasSubstr("train.plateau_factor: 2 is outside [0, 1]"));
}

TEST_F(TrainTest, StopsOnSmallGradientAndSmallChange) {
  EXPECT_EQ(Go(Options({"train.min_grad_norm=1e6"})).steps, 1);
  const TrainResult result =
      Go(Options({"optimizer.lr=0", "train.min_loss_change=1e-3", "train.epochs=5"}));
  EXPECT_THAT(result.stopped, HasSubstr("train.min_loss_change"));
  EXPECT_EQ(result.steps, 16);
}

TEST_F(TrainTest, DivergenceIsToldAndWritesNoWeights) {
  const TrainResult result = Go(Options({"optimizer.rule=sgd", "optimizer.lr=1e30"}));
  EXPECT_TRUE(result.diverged);
  EXPECT_THAT(result.stopped, StartsWith("diverged: "));
  EXPECT_LT(result.steps, 16);
  EXPECT_FALSE(fs::exists(dir_ / "out/model.safetensors"));
  EXPECT_TRUE(Metrics("lr").back()["loss"].is_null() || Metrics().back()["val_loss"].is_null());
}

TEST_F(TrainTest, RunsWithoutValidationData) {
  const TrainResult result = Go(Options({"data.validation=0"}));
  EXPECT_TRUE(std::isnan(result.validation.loss));
  EXPECT_TRUE(Metrics("val_loss").empty());
  EXPECT_EQ(Metrics("test_loss").size(), 1U);
}

TEST_F(TrainTest, MeanSquareOfOneHotClasses) {
  const TrainResult result = Go(Options({"train.loss=mse", "train.epochs=6"}));
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
    return Printed([&](std::FILE* console) { PlanTraining(options, console); });
  };
  const auto row = [](const std::string& text) {
    return ::testing::ContainsRegex("\n" + text + "\n");
  };
  const std::string floats = plan({"model.dim=64"});
  EXPECT_THAT(floats, ::testing::ContainsRegex("^50948 parameters in 19 tensors; 49152 of "));
  EXPECT_THAT(floats, row("weights +4.000 +2.* kB"));
  EXPECT_THAT(floats, row("gradients +4.000 .* kB"));
  EXPECT_THAT(floats, row("state: exp_avg +4.000 .* kB"));
  EXPECT_THAT(floats, row("state: exp_avg_sq +4.000 .* kB"));
  EXPECT_THAT(floats, row("all but activations +16.000 .* kB"));
  EXPECT_THAT(floats, ::testing::Not(HasSubstr("master")));
  EXPECT_THAT(floats, HasSubstr("GB/s, which 1 thread measured here."));
  // Norms stay float32, and small tensors' state as well.
  const std::string bytes = plan({"model.dim=64", "train.weights=bf16",
                                  "optimizer.precision={master=\"split8\", state=\"linear8\"}"});
  EXPECT_THAT(bytes, row("weights +2.0[0-9]+ .* kB"));
  EXPECT_THAT(bytes, row("master +0.9[0-9]+ .* kB"));
  EXPECT_THAT(bytes, row("state: exp_avg +1.[0-9]+ .* kB"));
  EXPECT_THAT(bytes, row("all but activations +7.[0-9]+ .* kB"));
  EXPECT_FALSE(fs::exists(dir_ / "out"));
  EXPECT_THAT(kudari::testing::ErrorOf([&] { plan({"optimizer.lr=-1"}); }), HasSubstr("lr"));
}

TEST_F(TrainTest, SixteenBitsTrainAlmostAsFloat32) {
  const auto train = [this](std::vector<std::string> sets, const std::string& out) {
    for (const char* const set : {"train.epochs=12", "optimizer.accumulate=2"}) {
      sets.emplace_back(set);
    }
    return Go(Options(sets, out));
  };
  const auto weights = [this](const std::string& out) {
    return ReadTextFile(dir_ / out / "model.safetensors");
  };
  for (const std::string model : {"vit", "mlp"}) {
    if (model == "mlp") {
      WriteRecipe("[model]\nname = \"mlp\"\n" +
                  std::string(kRecipe.substr(kRecipe.find("[data]"))));
    }
    const double full = train({}, "f32").test.loss;
    EXPECT_THAT(console_, ::testing::Not(HasSubstr("precision")));
    for (const std::string precision : {"bf16", "f16"}) {
      const std::string set = "train.precision=" + precision;
      const TrainResult result = train({set}, precision);
      const auto steps = Metrics("lr", precision);
      EXPECT_LT(steps.back()["loss"].get<double>(), 0.5 * steps.front()["loss"].get<double>());
      EXPECT_NEAR(result.test.loss, full, 0.1 * full);
      EXPECT_NE(result.test.loss, full);
      EXPECT_EQ(result.skipped, 0);
      for (const json& step : steps) {
        EXPECT_EQ(step["loss_scale"], precision == "f16" ? 65536 : 1);
        EXPECT_GT(step["grad_norm"].get<double>(), 0);
        EXPECT_LT(step["grad_norm"].get<double>(), 100);  // of the plain loss
      }
      EXPECT_THAT(console_, HasSubstr(precision == "f16" ? "f16, loss scale 65536\n" : "bf16\n"));
      train({set}, "again");
      EXPECT_EQ(weights("again"), weights(precision));
      // 2^k of a scale is exact where no gradient is too small.
      train({set, "train.loss_scale=1024"}, "scaled");
      EXPECT_EQ(Metrics("lr", "scaled").front()["loss_scale"], 1024);
      if (precision == "bf16") {
        EXPECT_EQ(weights("scaled"), weights("bf16"));
      }
    }
  }
}

TEST_F(TrainTest, WeightsOfSixteenBitsTrainAlmostAsFloat32) {
  const std::vector<std::string> base = {"train.epochs=12", "optimizer.accumulate=2"};
  for (const std::string model : {"vit", "mlp", "linear"}) {
    if (model != "vit") {
      WriteRecipe("[model]\nname = \"" + model + "\"\n" +
                  std::string(kRecipe.substr(kRecipe.find("[data]"))));
    }
    const double full = Go(Options(base, "f32")).test.loss;
    EXPECT_THAT(console_, HasSubstr("bytes, 4 a parameter, and as many for gradients\n"));
    for (const std::string weights : {"bf16", "f16"}) {
      for (const std::string precision : {"f32", "bf16", "f16"}) {
        std::vector<std::string> sets = base;
        sets.push_back("train.weights=" + weights);
        sets.push_back("train.precision=" + precision);
        const std::string master = weights == "bf16" ? "split8" : "float32";
        sets.push_back("optimizer.precision.master=" + master);
        const TrainResult result = Go(Options(sets, "half"));
        SCOPED_TRACE(::testing::PrintToString(sets));
        EXPECT_NEAR(result.test.loss, full, 0.1 * full + 0.01);
        EXPECT_NE(result.test.loss, full);
        EXPECT_EQ(result.skipped, 0);
        const bool scaled = weights == "f16" || precision == "f16";
        EXPECT_EQ(Metrics("lr", "half").back()["loss_scale"], scaled ? 65536 : 1);
        EXPECT_THAT(console_,
                    HasSubstr(precision + ", weights " + weights + " with " + master + " master"));
      }
    }
  }
}

// The upper halves of the tensors of a file, which are bfloat16, as `dtype`.
void WriteHalves(const SafeTensorsFile& from, const std::string& dtype, const fs::path& path) {
  json header;
  std::string data;
  for (const SafeTensor& t : from.tensors()) {
    const size_t begin = data.size();
    for (const float x : from.Floats(t.name)) {
      const auto half = static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);
      data.append(reinterpret_cast<const char*>(&half), sizeof(half));
    }
    header[t.name] = {{"dtype", dtype}, {"shape", t.shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const auto size = static_cast<uint64_t>(text.size());
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&size), sizeof(size));
  out << text << data;
}

TEST_F(TrainTest, WeightsOfSixteenBitsAreSavedAndLoaded) {
  WriteRecipe("[model]\nname = \"mlp\"\n" + std::string(kRecipe.substr(kRecipe.find("[data]"))));
  std::vector<std::string> sets = {"train.weights=bf16", "optimizer.precision.master=split16"};
  const double trained = Go(Options(sets, "a")).test.loss;
  const fs::path weights = dir_ / "a/model.safetensors";
  const SafeTensorsFile file(weights);
  for (const SafeTensor& t : file.tensors()) {
    for (const float x : file.Floats(t.name)) ASSERT_EQ(std::bit_cast<uint32_t>(x) & 0xFFFF, 0U);
  }
  sets.insert(sets.end(), {"optimizer.lr=0", "train.steps=1"});
  const auto from = [&](const fs::path& path) {
    std::vector<std::string> all = sets;
    all.push_back("train.init=" + path.string());
    return Options(all, "b");
  };
  EXPECT_EQ(Go(from(weights)).test.loss, trained);
  EXPECT_EQ(ReadTextFile(weights), ReadTextFile(dir_ / "b/model.safetensors"));
  WriteHalves(file, "BF16", dir_ / "brain.safetensors");
  EXPECT_EQ(Go(from(dir_ / "brain.safetensors")).test.loss, trained);
  WriteHalves(file, "U16", dir_ / "whole.safetensors");
  EXPECT_THAT(MessageOf(from(dir_ / "whole.safetensors")),
              HasSubstr("has the dtype U16; weights are F32, BF16 or F16"));
}

TEST_F(TrainTest, NumericsNameWhatIsLostAndWhatToDo) {
  // Steps of 1e-5 are nothing to most bfloat16 weights, and all right with 8 more bits.
  std::vector<std::string> sets = {"train.weights=bf16", "optimizer.lr=1e-5",
                                   "optimizer.precision.check=true"};
  Go(Options(sets, "none"));
  for (const json& step : Metrics("lr", "none")) {
    const json& numerics = step["numerics"];
    EXPECT_GT(numerics["lost"].get<double>(), 0.5);
    EXPECT_EQ(numerics["saturated"], 0);
    EXPECT_GT(numerics["tensors"]["pos_embed"]["lost"].get<double>(), 0.5);
    EXPECT_LE(numerics["tensors"]["pos_embed"]["lost"].get<double>(), 1);
  }
  EXPECT_THAT(console_, ::testing::ContainsRegex("lost updates +[5-9][0-9]\\.[0-9]+%; most in "));
  EXPECT_THAT(console_,
              HasSubstr("the learning rate is too small for bf16 weights: keep the digits "
                        "they lack (optimizer.precision.master = \"split8\")"));
  const double without = Metrics("lr", "none").back()["numerics"]["lost"];
  std::vector<std::string> random = sets;
  random.emplace_back("optimizer.precision.rounding=stochastic");
  Go(Options(random, "random"));
  EXPECT_THAT(console_, HasSubstr("no harm: weights are rounded at random"));
  sets.emplace_back("optimizer.precision.master=split8");
  Go(Options(sets, "split8"));
  EXPECT_LT(Metrics("lr", "split8").back()["numerics"]["lost"].get<double>(), 0.2 * without);
  EXPECT_THAT(console_, ::testing::Not(HasSubstr("too small for bf16 weights: keep")));
  Go(Options({}, "off"));
  EXPECT_TRUE(Metrics("numerics", "off").empty());
  EXPECT_THAT(console_, ::testing::Not(HasSubstr("lost updates")));
}

TEST_F(TrainTest, OverflowSkipsStepsUntilTheScaleFits) {
  // The scale that f16 begins with is all right here; this one is not.
  const TrainResult result =
      Go(Options({"train.precision=f16", "train.loss_scale=3e38", "train.epochs=1"}, "static"));
  EXPECT_EQ(result.skipped, 8);
  EXPECT_FALSE(result.diverged);
  EXPECT_THAT(console_, HasSubstr("f16, loss scale 3e+38, 8 steps skipped by overflow"));
  for (const json& step : Metrics("lr", "static")) {
    EXPECT_EQ(step["skipped"], true);
    EXPECT_GT(step["loss"].get<double>(), 0);
    EXPECT_TRUE(step["grad_norm"].is_null());
  }

  // Images of 1e4 make gradients too large for the first scales.
  WriteRecipe("[model]\nname = \"linear\"\n" + std::string(kRecipe.substr(kRecipe.find("[data]"))));
  WriteQuarters(dir_ / "data.safetensors", 1e4F);
  const TrainResult found = Go(Options({"train.precision=f16", "optimizer.lr=1e-7"}, "dynamic"));
  const auto steps = Metrics("lr", "dynamic");
  ASSERT_EQ(steps.size(), 16U);
  double scale = 65536;
  int64_t skipped = 0;
  for (const json& step : steps) {
    EXPECT_EQ(step["loss_scale"], scale);
    if (step["skipped"]) {
      scale /= 2;
      ++skipped;
    }
  }
  EXPECT_EQ(found.skipped, skipped);
  EXPECT_GE(skipped, 1);
  EXPECT_LT(skipped, 16);
  EXPECT_EQ(steps.back()["skipped"], false);
}

TEST_F(TrainTest, NoScaleHelpsALossThatIsNotFinite) {
  WriteQuarters(dir_ / "data.safetensors", 1e6F);  // beyond float16
  const TrainResult result = Go(Options({"train.precision=f16"}));
  EXPECT_TRUE(result.diverged);
  EXPECT_THAT(result.stopped, HasSubstr("the training loss is nan at step 1"));
}

TEST_F(TrainTest, SophiaGetsEstimatesUnderLossScaling) {
  // The first steps overflow; estimates are of the plain loss in float32.
  for (const std::string rule : {"sophia", "sophia_h"}) {
    const TrainResult result =
        Go(Options({"optimizer.rule=" + rule, "train.precision=f16", "hessian.every=1"}));
    EXPECT_FALSE(result.diverged);
    EXPECT_EQ(result.steps, 16);
  }
}

TEST_F(TrainTest, SophiaGetsEstimatesOfSixteenBitWeights) {
  for (const std::string rule : {"sophia", "sophia_h"}) {
    for (const std::string weights : {"bf16", "f16"}) {
      const TrainResult result =
          Go(Options({"optimizer.rule=" + rule, "train.weights=" + weights, "hessian.every=1"}));
      EXPECT_FALSE(result.diverged) << rule << weights;
      EXPECT_EQ(result.steps, 16);
    }
  }
}

TEST_F(TrainTest, SophiaGetsEstimatesOfTheHessian) {
  // Weights after the run; without estimates every step has full length.
  const auto weights = [this](std::vector<std::string> sets, const std::string& out) {
    sets.emplace_back("train.steps=6");
    Go(Options(sets, out));
    return ReadTextFile(dir_ / out / "model.safetensors");
  };
  for (const std::string rule : {"sophia", "sophia_h"}) {
    const std::string set = "optimizer.rule=" + rule;
    const std::string never = weights({set, "hessian.every=7"}, rule + "-never");
    const std::string some = weights({set, "hessian.every=2"}, rule + "-some");
    EXPECT_NE(some, never);
    EXPECT_EQ(weights({set, "hessian.every=2"}, rule + "-again"), some);
    const std::string own = rule == "sophia" ? "gnb" : "hutchinson";
    EXPECT_EQ(weights({set, "hessian={every=2, estimator=\"" + own + "\"}"}, rule + "-own"), some);
  }
  EXPECT_EQ(MessageOf(Options({"optimizer.rule=sophia", "train.loss=mse"})),
            "hessian.estimator = \"gnb\" needs train.loss = \"cross_entropy\"");
  EXPECT_EQ(MessageOf(Options(
                {"optimizer.rule=sophia", "optimizer.fallback={rule=\"sophia_h\", lr=1e-3}"})),
            "hessian.estimator = \"auto\": the recipe's rules want different ones");
}

TEST_F(TrainTest, AveragedWeightsAreEvaluatedAndSaved) {
  const std::vector<std::string> sets = {"optimizer.lr=0.05", "train.epochs=1"};
  std::vector<std::string> averaged = sets;
  averaged.emplace_back("optimizer.swa={start=0, every=1}");
  const TrainResult plain = Go(Options(sets, "a")), swa = Go(Options(averaged, "b"));
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
  const TrainResult again = Go(Options(
      {"optimizer.lr=0", "train.steps=1", "train.init=" + (dir_ / "b/model.safetensors").string()},
      "c"));
  EXPECT_EQ(again.test.loss, swa.test.loss);
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
  const TrainResult result = Go(Options({"train.epochs=1000000"}));
  user.join();
  EXPECT_THAT(result.stopped, StartsWith("interrupted at step "));
  EXPECT_FALSE(result.diverged);
  EXPECT_EQ(Metrics().back()["step"], result.steps);
  EXPECT_EQ(Metrics("test_accuracy").size(), 1U);
  EXPECT_TRUE(fs::exists(dir_ / "out/model.safetensors"));
  EXPECT_THAT(console_, HasSubstr("interrupted at step"));
}

// The project's promise: the recipe of the README on real handwriting.
TEST(TrainEndToEnd, DigitsReach96Percent) {
  const fs::path out = fs::path(::testing::TempDir()) / ("digits-" + std::to_string(getpid()));
  TrainOptions options;
  options.recipe = fs::path(KUDARI_SOURCE_DIR) / "recipes/digits-vit.toml";
  options.out = out;
  const TrainResult result = Train(options, stdout);
  EXPECT_GE(result.test.accuracy, 0.96);
  fs::remove_all(out);
}

// The first steps of the seven-byte recipe, in both 16-bit types.
TEST(TrainEndToEnd, SevenBytesLearnDigits) {
  const fs::path out = fs::path(::testing::TempDir()) / ("seven-" + std::to_string(getpid()));
  for (const std::string precision : {"bf16", "f16"}) {
    TrainOptions options;
    options.recipe = fs::path(KUDARI_SOURCE_DIR) / "recipes/digits-vit-7bytes.toml";
    options.sets = {"train.steps=" + std::string(precision == "bf16" ? "60" : "20"),
                    "train.precision=" + precision};
    options.out = out;
    const TrainResult result = Train(options, stdout);
    EXPECT_GE(result.test.accuracy, precision == "bf16" ? 0.7 : 0.3);
    EXPECT_FALSE(result.diverged);
  }
  fs::remove_all(out);
}

// The same recipe for a residual network, with what `train` adds to it.
std::string ResNetRecipe() {
  return "[model]\nname = \"resnet\"\nwidth = 4\n" +
         std::string(kRecipe.substr(kRecipe.find("[data]")));
}

// The test loss of what a run has saved.
double LossOfSaved(const fs::path& out) {
  const Recipe recipe = ReadTrainRecipe(out / "recipe.toml");
  Dataset data = LoadData(recipe.data.name, recipe.data.path,
                          static_cast<uint64_t>(recipe.train.seed), recipe.data.validation);
  const auto model = MakeModel(recipe.model, data.shape, data.Outputs());
  LoadWeights(*model, out / "model.safetensors");
  return Evaluate(*model, ToSamples(data.test, data), Loss::kCrossEntropy, {}).loss;
}

TEST_F(TrainTest, ResidualNetworkIsSavedAsItWasEvaluated) {
  WriteRecipe(ResNetRecipe());
  const std::vector<std::string> sets = {"train.epochs=6"};
  const TrainResult plain = Go(Options(sets, "a"));
  EXPECT_GE(plain.test.accuracy, 0.9);
  EXPECT_EQ(LossOfSaved(dir_ / "a"), plain.test.loss);
  // Averages are evaluated, and saved, with statistics of their own; training does not notice.
  std::vector<std::string> averaged = sets;
  averaged.insert(averaged.end(), {"optimizer.ema={decay=0.9}", "train.eval_every=3"});
  const TrainResult ema = Go(Options(averaged, "b"));
  EXPECT_GE(ema.test.accuracy, 0.9);
  EXPECT_NE(ema.test.loss, plain.test.loss);
  EXPECT_EQ(LossOfSaved(dir_ / "b"), ema.test.loss);
  const auto a = Metrics("lr", "a"), b = Metrics("lr", "b");
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i]["loss"], b[i]["loss"]);
}

TEST_F(TrainTest, ResidualNetworkTrainsInSixteenBits) {
  WriteRecipe(ResNetRecipe());
  for (const std::string type : {"bf16", "f16"}) {
    for (const std::string where : {"train.precision=", "train.weights="}) {
      std::vector<std::string> sets = {where + type, "train.epochs=6", "train.loss_scale=1024"};
      if (where == "train.weights=") sets.emplace_back("optimizer.precision.master=float32");
      const TrainResult result = Go(Options(sets));
      EXPECT_GE(result.test.accuracy, 0.9) << where << type;
      EXPECT_EQ(result.skipped, 0);
    }
  }
}

// With steps of no length nothing but the batches of training moves the statistics.
TEST_F(TrainTest, EstimatesOfTheHessianLeaveStatisticsAlone) {
  WriteRecipe(ResNetRecipe());
  const auto model = [this](const std::string& rule, const std::string& every) {
    Go(Options({"optimizer.rule=" + rule, "optimizer.lr=0", "hessian.every=" + every}));
    return ReadTextFile(dir_ / "out/model.safetensors");
  };
  for (const std::string rule : {"sophia", "sophia_h"}) {
    EXPECT_EQ(model(rule, "1"), model(rule, "1000")) << rule;
  }
}

TEST_F(TrainTest, LabelNoiseIsInTrainingAlone) {
  const auto run = [this](const std::string& noise) {
    const TrainResult result =
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

TEST_F(TrainTest, PerturbedPassesSeeTheBatchesOfTheStep) {
  // Two batches of 8, accumulated, are one of 16 in both passes, in whatever order they come.
  const auto weights = [this](const std::vector<std::string>& changes) {
    std::vector<std::string> sets = {
        "optimizer.rule=sgd",          "optimizer.source=looksam",      "train.steps=6",
        "optimizer.sharpness.rho=0.5", "optimizer.sharpness.alpha=0.3", "optimizer.sharpness.k=2"};
    sets.insert(sets.end(), changes.begin(), changes.end());
    const TrainResult result = Go(Options(sets));
    EXPECT_EQ(result.steps, 6);
    std::vector<float> all;
    const SafeTensorsFile file(dir_ / "out/model.safetensors");
    for (const SafeTensor& t : file.tensors()) {
      const auto values = file.Floats(t.name);
      all.insert(all.end(), values.begin(), values.end());
    }
    return std::pair(all, result.gradients);
  };
  const auto [whole, whole_gradients] = weights({});
  const auto [halves, half_gradients] = weights({"train.batch_size=8", "optimizer.accumulate=2"});
  const auto [plain, plain_gradients] = weights({"optimizer.sharpness.rho=0"});
  EXPECT_EQ(whole_gradients, 9);
  EXPECT_EQ(half_gradients, 18);
  double most = 0, moved = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(whole[i]) - halves[i]));
    moved = std::max(moved, std::abs(static_cast<double>(whole[i]) - plain[i]));
  }
  EXPECT_LT(most, 1e-5);
  EXPECT_GT(moved, 1e-3);
  EXPECT_THAT(console_, ::testing::ContainsRegex("gradients +9, 1.5 a step"));
}

TEST_F(TrainTest, StatisticsStayThoseOfPlainPasses) {
  // With steps of no length, sam leaves what a plain run leaves.
  WriteRecipe(ResNetRecipe());
  const auto model = [this](const std::string& source) {
    Go(Options({"optimizer.source=" + source, "optimizer.lr=0"}));
    return ReadTextFile(dir_ / "out/model.safetensors");
  };
  EXPECT_EQ(model("sam"), model("plain"));
}

TEST_F(TrainTest, SharpnessWorksWithEveryPrecision) {
  const auto train = [this](std::vector<std::string> sets) {
    sets.insert(sets.end(), {"optimizer.source=looksam", "optimizer.sharpness.alpha=0.2"});
    const TrainResult result = Go(Options(sets));
    EXPECT_FALSE(result.diverged);
    return result.test.loss;
  };
  const double floats = train({});
  for (const std::string precision : {"bf16", "f16"}) {
    EXPECT_NEAR(train({"train.precision=" + precision}), floats, 0.1) << precision;
  }
  EXPECT_NEAR(train({"train.weights=bf16", "optimizer.precision.master=split8"}), floats, 0.1);
  EXPECT_NEAR(train({"train.weights=f16", "optimizer.precision.master=float32"}), floats, 0.1);
}

TEST_F(TrainTest, SophiaGetsEstimatesAtTheWeightsThemselves) {
  const auto train = [this](std::vector<std::string> sets, int64_t gradients) {
    sets.insert(sets.end(), {"train.steps=6", "optimizer.sharpness.k=2"});
    EXPECT_EQ(Go(Options(sets)).gradients, gradients);
    return ReadTextFile(dir_ / "out/model.safetensors");
  };
  for (const std::string rule : {"sophia", "sophia_h"}) {
    const std::string set = "optimizer.rule=" + rule, every = "hessian.every=2";
    const std::string looksam = "optimizer.source=looksam";
    // A ball without radius changes no weight, so estimates are those of a run without a source.
    Go(Options({set, every, "train.steps=6"}));
    const std::string plain = ReadTextFile(dir_ / "out/model.safetensors");
    EXPECT_EQ(train({set, every, looksam, "optimizer.sharpness.rho=0"}, 9), plain) << rule;
    const std::string sharp = train({set, every, looksam, "optimizer.sharpness.rho=0.5"}, 9);
    EXPECT_NE(sharp, plain) << rule;
    EXPECT_NE(train({set, "hessian.every=7", looksam, "optimizer.sharpness.rho=0.5"}, 9), sharp);
  }
}

TEST_F(TrainTest, TracksComponents) {
  TrainOptions options = Options({"optimizer.source=sam", "optimizer.sharpness.k=3",
                                  "optimizer.sharpness.rho=0.5", "train.precision=f16"});
  options.track_components = true;
  const TrainResult result = Go(options);
  const std::vector<json> lines = Metrics("components");
  ASSERT_EQ(static_cast<int64_t>(lines.size()), (result.steps + 2) / 3);
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i]["step"], 3 * i + 1);
    const json& c = lines[i]["components"];
    const double s = c["norm"]["g_s"], h = c["norm"]["g_h"], v = c["norm"]["g_v"];
    EXPECT_NEAR(s * s, h * h + v * v, 1e-9 * s * s);
    EXPECT_GT(v, 0);
    EXPECT_NEAR(s, lines[i]["grad_norm"], 1e-5 * s);
    EXPECT_EQ(c.contains("change"), i > 0);
    if (i == 0) continue;
    for (const char* const name : {"g_s", "g_h", "g_v"}) {
      // |a - b|^2 = |a|^2 + |b|^2 - 2 |a| |b| cos
      const double now = c["norm"][name], former = lines[i - 1]["components"]["norm"][name];
      const double change = c["change"][name];
      EXPECT_NEAR(change * change,
                  now * now + former * former - 2 * now * former * c["cosine"][name].get<double>(),
                  1e-9 * (now * now + former * former));
      EXPECT_NEAR(c["relative"][name].get<double>() * former, change, 1e-9 * change);
    }
  }
  options.sets.emplace_back("optimizer.source=plain");
  options.sets.erase(options.sets.begin() + 1, options.sets.begin() + 3);
  EXPECT_THAT(MessageOf(options), HasSubstr("--track components needs a sharpness-aware source"));
  options = Options({"optimizer.source=sam", "optimizer.accumulate=2"});
  options.track_components = true;
  EXPECT_THAT(MessageOf(options), HasSubstr("needs optimizer.accumulate = 1, not 2"));
}

TEST(TrainEndToEnd, ResidualNetworkReaches97PercentOfDigits) {
  const fs::path out = fs::path(::testing::TempDir()) / ("resnet-" + std::to_string(getpid()));
  TrainOptions options;
  options.recipe = fs::path(KUDARI_SOURCE_DIR) / "recipes/digits-resnet8.toml";
  options.out = out;
  EXPECT_GE(Train(options, stdout).test.accuracy, 0.97);
  fs::remove_all(out);
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

}  // namespace
}  // namespace kudari::lab
