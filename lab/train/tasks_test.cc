// Training of what is not a class for each sample: several optimisers, policies, boxes, texts.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kudari/recipe.h"
#include "lab/measure/lr_find.h"
#include "lab/measure/measure_sharpness.h"
#include "lab/models/parts/policy.h"
#include "lab/recipe/scale.h"
#include "lab/train/classifier_features.h"
#include "lab/train/data_card.h"
#include "lab/train/rollouts.h"
#include "lab/train/samples.h"
#include "lab/train/trained_model.h"
#include "lab/train/trainer.h"
#include "lab/verbs/generate.h"
#include "tests/support/train_fixture.h"

namespace kudari::lab {
namespace tasks_test {

namespace fs = std::filesystem;

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kPolicy = R"toml([model]
name = "actor_critic"
[data]
name = "cartpole"
episodes = 20
[optimizer]
rule = "adam"
lr = "2e-3 * linear(end)"
eps = 1e-5
clip_norm = 0.5
[train]
steps = 480
batch_size = 128
eval_every = 160
threads = 1
save = "best"
)toml";

constexpr std::string_view kText = R"toml([model]
name = "rnn"
dim = 16
[data]
name = "text"
context = 5
validation = 0.2
[optimizer]
rule = "adam"
lr = 1e-2
[train]
epochs = 6
batch_size = 4
threads = 1
)toml";

class TasksTest : public TrainFixture {
 protected:
  // Sixteen images of noise in four classes.
  void WriteImages(const std::string& name, int64_t channels, int64_t side) const {
    std::mt19937_64 random(1);
    std::vector<float> x(static_cast<size_t>(16 * channels * side * side)), y;
    for (float& value : x) value = static_cast<float>(random() % 100) / 100;
    for (int i = 0; i < 16; ++i) y.push_back(static_cast<float>(i % 4));
    const std::vector<int64_t> shape = {16, channels, side, side};
    WriteSafeTensors(dir_ / name, std::vector<SafeTensor>{{"train/x", shape, x},
                                                          {"train/y", {16}, y},
                                                          {"test/x", shape, x},
                                                          {"test/y", {16}, y}});
  }
};

TEST_F(TasksTest, PartsHaveOptimisersOfTheirOwn) {
  Run(kGan);
  const auto steps = Metrics("parts");
  ASSERT_EQ(steps.size(), 6U);
  for (const json& line : steps) {
    const json& parts = line["parts"];
    ASSERT_EQ(parts.size(), 2U);
    EXPECT_EQ(parts["discriminator"]["lr"], 1e-3);
    EXPECT_EQ(line["loss"], parts["discriminator"]["loss"]);
    EXPECT_GT(parts["generator"]["grad_norm"], 0);
    EXPECT_EQ(line["gradients"], 2);
  }
  EXPECT_EQ(steps[0]["parts"]["generator"]["lr"], 2e-3);
  EXPECT_NEAR(steps[3]["parts"]["generator"]["lr"].get<double>(), 1e-3, 1e-9);
  EXPECT_GT(Metrics("val_frechet_distance")[0]["val_frechet_distance"], 0);
  // A game has no loss that should fall.
  EXPECT_THAT(console_, Not(HasSubstr("doctor")));
  EXPECT_THAT(console_, HasSubstr("discriminator: adam, lr 0.001; generator: adam, lr 0.002 *"));
  // Norms of both parts' gradients are those of their own passes.
  const json layers = Metrics("layers")[0]["layers"];
  double squares = 0;
  for (const auto& [name, norms] : layers.items()) {
    if (name.starts_with("discriminator")) squares += std::pow(norms["grad"].get<double>(), 2);
  }
  EXPECT_NEAR(std::sqrt(squares), steps[0]["grad_norm"].get<double>(), 1e-4);
}

constexpr std::string_view kClassifier = R"toml([model]
name = "mlp"
hidden = [8]
[data]
name = "digits"
[optimizer]
rule = "adam"
lr = 1e-2
[train]
steps = 40
threads = 1
)toml";

// An image is to the classifier what it was in training, although the samples that it is scaled by
// are others.
TEST_F(TasksTest, ClassifiersJudgeImages) {
  Run(kClassifier);
  const TrainedModel trained = LoadRun(dir_ / "out");
  Dataset same = LoadTrainingData(trained.recipe);
  Dataset other =
      LoadTrainingData(ParseTrainRecipe(kClassifier, "other", {.sets = {"data.validation=0.6"}}));
  ASSERT_NE(same.scales[0].mean, other.scales[0].mean);
  const ::torch::NoGradGuard no_grad;
  const at::Tensor before = ToSamples(same.test, same).Range(0, 64).x;
  const at::Tensor now = ToSamples(other.test, other).Range(0, 64).x;
  const at::Tensor outputs = trained.model->forward(before).to(at::kDouble).softmax(1);
  EXPECT_TRUE(ClassifierFeatures(dir_ / "out", same)(before).allclose(outputs, 1e-4, 1e-4));
  EXPECT_TRUE(ClassifierFeatures(dir_ / "out", other)(now).allclose(outputs, 1e-4, 1e-4));
  EXPECT_FALSE(ClassifierFeatures(dir_ / "out", other)(before).allclose(outputs, 1e-4, 1e-4));
}

TEST_F(TasksTest, GeneratorsAreJudgedByAClassifier) {
  const std::string classifier = (dir_ / "classifier").string();
  Run(kClassifier);
  fs::rename(dir_ / "out", classifier);
  Run(kGan);
  const double fixed = Metrics("val_frechet_distance")[0]["val_frechet_distance"];
  const json steps = Metrics("parts");
  fs::rename(dir_ / "out", dir_ / "gan");
  Run(kGan, {"train.classifier=" + classifier});
  EXPECT_NE(Metrics("val_frechet_distance")[0]["val_frechet_distance"], fixed);
  EXPECT_EQ(Metrics("parts")[5]["loss"], steps[5]["loss"]);  // training is the same

  const auto error = [&](std::string_view recipe, std::vector<std::string> sets) {
    WriteRecipe(recipe);
    TrainOptions options = Options({}, "failed");
    options.changes.sets = std::move(sets);
    return MessageOf(options);
  };
  EXPECT_EQ(error(kClassifier, {"train.classifier=" + classifier}),
            "train.classifier has no effect: model.name = \"mlp\" has no frechet_distance");
  EXPECT_EQ(error(kGan, {"train.classifier=" + (dir_ / "gan").string()}),
            "train.classifier = " + (dir_ / "gan").string() +
                ": \"dcgan\" is not a classifier trained with cross_entropy");
  EXPECT_THAT(error(kGan, {"train.classifier=" + (dir_ / "nothing").string()}),
              HasSubstr((dir_ / "nothing").string()));
  const std::string images = (dir_ / "x.safetensors").string();
  WriteImages("x.safetensors", 1, 8);
  EXPECT_EQ(error(kGan, {"data={name = \"safetensors\"}", "data.path=" + images,
                         "train.classifier=" + classifier}),
            "train.classifier = " + classifier +
                ": was trained on digits with samples of the shape [1, 8, 8], not on safetensors "
                "with [1, 8, 8]");
}

TEST_F(TasksTest, EveryStepDrawsItsOwnNoise) {
  // Nothing is learned, and the batch is always the same.
  Run(kGan, {"optimizer.lr=0", "optimizer.generator.lr=0", "data.samples=32", "train.epochs=4",
             "train.shuffle=false"});
  std::set<double> losses;
  for (const json& line : Metrics("parts")) {
    losses.insert(line["parts"]["generator"]["loss"].get<double>());
  }
  EXPECT_EQ(losses.size(), 4U);
}

TEST_F(TasksTest, TablesOfPartsOverrideTheCommonOne) {
  const Recipe recipe = ParseTrainRecipe(kGan, "gan");
  ASSERT_EQ(recipe.other_optimizers.size(), 1U);
  EXPECT_EQ(recipe.optimizer.options.at("lr"), Schedule(1e-3));
  EXPECT_EQ(recipe.other_optimizers[0].options.at("beta1"), Schedule(0.5));
  EXPECT_EQ(recipe.other_optimizers[0].options.at("lr").Text(), "0.002 * linear(end, 0)");
  Recipe complete = recipe;
  complete.optimizer = Complete(recipe.optimizer);
  complete.other_optimizers[0] = Complete(recipe.other_optimizers[0]);
  EXPECT_EQ(ParseTrainRecipe(ToToml(recipe), "again"), complete);

  const auto error = [](const std::string& set) {
    return kudari::testing::ErrorOf([&] { ParseTrainRecipe(kGan, "gan", {.sets = {set}}); });
  };
  EXPECT_THAT(error("optimizer.generator.beta1=2"), HasSubstr("gan: generator: optimizer.beta1"));
  EXPECT_THAT(error("optimizer.critic.lr=2"), HasSubstr("optimizer.critic: unknown key"));
  EXPECT_THAT(error("optimizer.generator.accumulate=2"),
              HasSubstr("optimizer.generator.accumulate = 2 must be 1, as of discriminator"));
}

TEST_F(TasksTest, CommandsForOneOptimiserSaySo) {
  WriteRecipe(kGan);
  LrFindOptions find;
  find.recipe = dir_ / "r.toml";
  ScaleOptions scale{.recipe = dir_ / "r.toml", .batch = 64};
  const std::string why =
      " needs a recipe with one optimiser; the parts of model \"dcgan\" (discriminator, generator) "
      "have one each";
  EXPECT_EQ(kudari::testing::ErrorOf([&] { LrFind(find, stdout); }), "lr-find" + why);
  EXPECT_EQ(kudari::testing::ErrorOf([&] { Scale(scale, stdout); }), "scale" + why);
  EXPECT_THAT(kudari::testing::ErrorOf([&] { Run(kGan, {"optimizer.generator.rule=sophia"}); }),
              HasSubstr("has a loss of its own"));
}

TEST_F(TasksTest, APolicyLearnsToBalance) {
  const RunState run = Run(kPolicy);
  const auto evaluations = Metrics("val_episode_return");
  ASSERT_EQ(evaluations.size(), 3U);
  // Doing nothing, or anything at random, lasts about 10 to 22 steps.
  EXPECT_GT(run.test.episode_return, 100);
  EXPECT_TRUE(std::isnan(run.test.loss));
  EXPECT_THAT(console_, HasSubstr("return"));
  EXPECT_EQ(run.best.episode_return,
            std::max({evaluations[0]["val_episode_return"].get<double>(),
                      evaluations[1]["val_episode_return"].get<double>(),
                      evaluations[2]["val_episode_return"].get<double>()}));
}

// An environment in which step n, from 1, is worth n; an episode is over after `ends` steps, or cut
// after `cut`.
class Counting : public Environment {
 public:
  Counting(int64_t ends, int64_t cut) : ends_(ends), cut_(cut) {}
  EnvironmentShape shape() const override {
    return {.observation = 1, .actions = 2, .most_steps = cut_};
  }
  void Reset(std::mt19937_64& /*random*/) override { state_[0] = 0; }
  Outcome Step(std::span<const float> /*action*/) override {
    state_[0] += 1;
    return {.reward = state_[0], .terminated = static_cast<int64_t>(state_[0]) == ends_};
  }
  void Observe(std::span<float> to) const override { to[0] = static_cast<float>(state_[0]); }
  std::vector<double>& state() override { return state_; }

 private:
  int64_t ends_, cut_;
  std::vector<double> state_ = {0};
};

// Expects 3 n + 2 of a state of n steps.
class Expecting : public Model, public Policy {
 public:
  at::Tensor forward(const at::Tensor& x) override { return x; }
  Action Act(const at::Tensor& x, const std::optional<at::Generator>& /*random*/) override {
    const at::Tensor n = x.select(1, 0);
    return {::torch::zeros({x.size(0), 1}), ::torch::zeros_like(n), 3 * n + 2};
  }
};

// Schulman et al., arXiv:1506.02438, equation 16, as the sum that it is.
TEST(Rollouts, AdvantagesAreTheSumOfDiscountedErrors) {
  constexpr double kGamma = 0.9, kLambda = 0.8;
  constexpr int64_t kSteps = 11;
  struct Case {
    int64_t ends, cut;
  };
  for (const Case& c : {Case{4, 100}, Case{100, 3}, Case{100, 100}}) {
    const auto data = std::make_shared<EnvironmentData>();
    data->make = [c] { return std::make_unique<Counting>(c.ends, c.cut); };
    data->options = {.num_envs = 1, .num_steps = kSteps, .gamma = kGamma, .gae_lambda = kLambda};
    Expecting model;
    Samples samples(Rollouts(data, 1));
    samples.Attach(model);
    samples.StartEpoch();
    const Batch all = samples.All();
    const int64_t length = std::min(c.ends, c.cut);
    for (int64_t t = 0; t < kSteps; ++t) {
      double expected = 0, weight = 1;
      for (int64_t k = t; k < kSteps; ++k) {
        const auto n = static_cast<double>(k % length);
        const bool last = (k + 1) % length == 0;
        const double later = last && c.ends <= c.cut ? 0 : 3 * (n + 1) + 2;
        expected += weight * (n + 1 + kGamma * later - (3 * n + 2));
        weight *= kGamma * kLambda;
        if (last) break;
      }
      EXPECT_NEAR(all.y[t][1 + kAdvantage].item<double>(), expected, 1e-4) << t;
      const double value = 3 * static_cast<double>(t % length) + 2;
      EXPECT_NEAR(all.y[t][1 + kReturn].item<double>(), expected + value, 1e-4) << t;
      EXPECT_EQ(all.x[t][0].item<double>(), static_cast<double>(t % length));
    }
  }
}

TEST_F(TasksTest, WhatDoesNotSuitATaskIsAnError) {
  const std::string policy =
      "model.name = \"actor_critic\"\ndata.name = \"cartpole\"\n"
      "optimizer = {rule = \"adam\"}\ntrain.steps = 2\n";
  const auto error = [&](const std::string& recipe, const std::string& set) {
    return kudari::testing::ErrorOf([&] { Run(recipe, {set}); });
  };
  EXPECT_EQ(error(policy, "train.workers=2"),
            "train.workers = 2 must be 0 for the environment cartpole, which is stepped between "
            "epochs");
  EXPECT_EQ(error(policy, "train.weights=bf16"),
            "train.precision and train.weights must be \"f32\" for the environment cartpole");
  const std::string boxes =
      "model.name = \"detector\"\ndata = {name = \"shapes\", images = 20, test_images = 2}\n"
      "optimizer = {rule = \"adam\"}\ntrain.steps = 2\n";
  EXPECT_EQ(error(boxes, "train.loss=l1"),
            "train.loss has no effect: model.name = \"detector\" has a loss of its own");
  EXPECT_EQ(error(boxes, "train.monitor=accuracy"),
            "train.monitor = \"accuracy\": an evaluation of model \"detector\" on shapes has none");
  EXPECT_EQ(error(boxes, "augment.flip=0.5"),
            "augment.flip: the boxes of the data set shapes do not change with its images");
  EXPECT_EQ(error(boxes, "fault={bad=\"labels\", bad_end=0.5}"),
            "fault.bad = \"labels\": shapes has none");
}

// Losses and evaluations of models' own work with weights and arithmetic of 16 bits.
TEST_F(TasksTest, OwnLossesComputeIn16Bits) {
  const std::string boxes =
      "model = {name = \"detector\", width = 4}\n"
      "data = {name = \"shapes\", images = 20, test_images = 4}\n"
      "optimizer = {rule = \"adam\"}\ntrain = {steps = 2, batch_size = 4, threads = 1}\n";
  const std::string vae =
      "model = {name = \"vae\", hidden = 8, latent = 2}\ndata = {name = \"digits\", samples = 32}\n"
      "optimizer = {rule = \"adam\"}\ntrain = {steps = 2, batch_size = 4, threads = 1}\n";
  for (const std::string& recipe : {std::string(kGan), boxes, vae}) {
    for (const std::vector<std::string>& sets : {std::vector<std::string>{"train.weights=bf16"},
                                                 {"train.precision=bf16"},
                                                 {"train.weights=bf16", "train.precision=bf16"}}) {
      SCOPED_TRACE(recipe + sets.front());
      const RunState run = Run(recipe, sets);
      EXPECT_FALSE(run.diverged) << run.stopped;
      EXPECT_TRUE(std::isfinite(run.test.*MonitoredMetric("auto", run.test).value));
    }
  }
}

TEST_F(TasksTest, WhatALossDoesNotUseIsAnError) {
  const auto error = [&](std::vector<std::string> sets) {
    return MessageOf(Options(std::move(sets)));
  };
  const std::string needs =
      " needs classes and a loss that uses it, cross_entropy or bce_with_logits; the loss for "
      "safetensors is mse";
  EXPECT_EQ(error({"train.loss=mse", "train.label_smoothing=0.1"}),
            "train.label_smoothing = 0.1" + needs);
  EXPECT_EQ(error({"train.loss=bce_with_logits", "train.label_smoothing=0.1"}), "no error");
  Run(kGan);
  SharpnessOptions sharpness;
  sharpness.run = dir_ / "out";
  EXPECT_THAT(kudari::testing::ErrorOf([&] { MeasureSharpness(sharpness, stdout); }),
              HasSubstr("model \"dcgan\" has a loss of its own, which cannot be measured"));
}

TEST_F(TasksTest, PerplexityAndBitsFollowFromTheLoss) {
  std::string text;
  for (int i = 0; i < 60; ++i)
    text +=
        "\xc3\xa4"
        "bc";  // four bytes in three characters
  std::ofstream(dir_ / "text.txt") << text;
  const RunState run = Run(kText, {"data.path=" + (dir_ / "text.txt").string()});
  EXPECT_LT(run.validation.loss, 0.5);  // log 3 before
  EXPECT_NEAR(run.validation.perplexity, std::exp(run.validation.loss), 1e-12);
  EXPECT_NEAR(run.validation.bits_per_byte, run.validation.loss / std::log(2.0) * 3 / 4, 1e-12);
  EXPECT_THAT(console_, HasSubstr("val ppl"));

  const DataCard card = ReadCard(dir_ / "out/model.safetensors");
  EXPECT_THAT(card.symbols, ElementsAre("b", "c", "\xc3\xa4"));
  const auto generate = [&](GenerateOptions options) {
    options.run = dir_ / "out";
    return kudari::testing::Printed([&](std::FILE* file) { Generate(options, file); });
  };
  EXPECT_EQ(generate({.prompt = "bc", .tokens = 7, .temperature = 0}),
            "bc"
            "\xc3\xa4"
            "bc"
            "\xc3\xa4"
            "bc"
            "\xc3\xa4"
            "\n");
  const std::string drawn = generate({.tokens = 50, .temperature = 3, .seed = 1});
  EXPECT_EQ(generate({.tokens = 50, .temperature = 3, .seed = 1}), drawn);
  EXPECT_NE(generate({.tokens = 50, .temperature = 3, .seed = 2}), drawn);
  EXPECT_EQ(generate({.prompt = "bc", .tokens = 4, .temperature = 5, .top_k = 1}),
            generate({.prompt = "bc", .tokens = 4, .temperature = 0}));
  const auto error = [&](const GenerateOptions& options) {
    return kudari::testing::ErrorOf([&] { generate(options); });
  };
  EXPECT_EQ(error({.prompt = "bx"}), "--prompt: the run's data has no token for \"x\"");
  EXPECT_EQ(error({.tokens = 0}), "--tokens 0: is outside [1, 1e+06]");
  EXPECT_EQ(error({.temperature = -1}), "--temperature -1: is outside [0, 100]");
  EXPECT_EQ(error({.out = "x.png"}), "--out is for models that make images, and " +
                                         (dir_ / "out").string() + " has one that writes texts");
}

TEST_F(TasksTest, LearnedPiecesAreGenerated) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "the cat sat\n";
  std::ofstream(dir_ / "text.txt") << text;
  const RunState run = Run(kText, {"data.path=" + (dir_ / "text.txt").string(),
                                   "data.tokenizer=bpe", "data.vocabulary=300",
                                   "model={name=\"gpt2\", layers=1, dim=16, heads=2, dropout=0}"});
  // A line is 12 bytes in four tokens: "the", " cat", " sat" and the byte at its end.
  EXPECT_NEAR(run.validation.bits_per_byte, run.validation.loss / std::log(2.0) * 4 / 12, 1e-12);
  EXPECT_LT(run.validation.loss, 0.5);
  const std::string generated = kudari::testing::Printed([&](std::FILE* file) {
    Generate({.run = dir_ / "out", .prompt = "the cat", .tokens = 6, .temperature = 0}, file);
  });
  EXPECT_EQ(generated, "the cat sat\nthe cat sat\n\n");
}

TEST_F(TasksTest, RunsOfOtherKindsGenerateNothing) {
  Go(Options({}));
  EXPECT_THAT(kudari::testing::ErrorOf([&] { Generate({.run = dir_ / "out"}, stdout); }),
              HasSubstr("is no run of a language model or of one that makes images: \"vit\" was "
                        "trained on safetensors"));
}

// Every recipe takes two steps at its small scale, with a stand-in for data that has to be fetched.
TEST_F(TasksTest, EveryRecipeRuns) {
  std::ofstream(dir_ / "text.txt") << std::string(4000, 'x') + std::string(4000, 'y');
  WriteImages("grey.safetensors", 1, 28);
  WriteImages("colour.safetensors", 3, 32);
  {
    std::ofstream reviews(dir_ / "movieReviewSnippets_GroundTruth.txt");
    for (int i = 0; i < 40; ++i) reviews << i << (i % 2 == 0 ? "\t1.5\tgood\n" : "\t-1\tbad\n");
  }
  const std::set<std::string> fetched = {"cifar10", "cifar100", "fashion-mnist", "image-folder",
                                         "mnist"};
  int recipes = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(KUDARI_SOURCE_DIR) / "recipes")) {
    SCOPED_TRACE(entry.path());
    RecipeChanges changes;
    if (ReadTextFile(entry.path()).find("[scale.small]") != std::string::npos) {
      changes.scale = "small";
    }
    const std::string data = ReadTrainRecipe(entry.path(), changes).data.name();
    changes.sets = {"train.steps=2", "train.batch_size=4", "train.eval_every=0", "train.threads=1",
                    "optimizer.accumulate=1"};
    if (fetched.contains(data)) {
      changes.sets.push_back(
          "data={name=\"safetensors\", validation=0.25, path=\"" +
          (dir_ / (data.ends_with("mnist") ? "grey.safetensors" : "colour.safetensors")).string() +
          "\"}");
    } else if (data == "text") {
      changes.sets.push_back("data.path=" + (dir_ / "text.txt").string());
    } else if (data == "movie-reviews") {
      changes.sets.push_back("data.path=" + dir_.path().string());
    } else if (data == "shapes") {
      changes.sets.emplace_back("data={name=\"shapes\", images=20, test_images=4}");
    } else if (data == "cartpole") {
      changes.sets.emplace_back("data.episodes=2");
    }
    Trainer trainer(ReadTrainRecipe(entry.path(), changes));
    trainer.Run();
    EXPECT_EQ(trainer.run().steps, 2);
    EXPECT_FALSE(trainer.run().diverged) << trainer.run().stopped;
    const Score& score = trainer.run().validation;
    EXPECT_TRUE(std::isfinite(score.*MonitoredMetric("auto", score).value));
    ++recipes;
  }
  EXPECT_GE(recipes, 18);
}

}  // namespace tasks_test
}  // namespace kudari::lab
