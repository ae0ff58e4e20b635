// The recipes of papers and of the guides, compared with what these say. Every number here is from
// the document that its row names, not from the recipe. The documents: "guide" is the Optimizer
// Selection Guide and Best Practices (notebook 116), "advanced" Advanced Optimization Techniques
// (notebook 115), "notes" Optimisation Methods (November 2025), "descent" the chapter on gradient
// descent that quotes nanochat, "LookSAM note" the reading notes on arXiv:2203.02714.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <numbers>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "kudari/recipe.h"
#include "lab/recipe/train_recipe.h"

namespace kudari::lab {
namespace recipe_settings_test {

// The value of a schedule at a step, counted from 0; a negative one counts from the end.
struct At {
  int64_t step;
  double value;
};

// One rule's settings.
struct Rule {
  std::string rule;
  std::map<std::string, double> options;  // that stay the same
  std::vector<At> lr;
  std::map<std::string, std::vector<At>> moving = {};  // options that are schedules
};

struct Settings {
  std::string recipe, source;
  // The run: samples of an update, and its length in epochs of so many updates, or in updates.
  int64_t batch = 0, epochs = 0, steps = 0;
  int64_t steps_per_epoch = 1;
  Rule rule;
  std::vector<TensorClass> no_decay = {};
  std::optional<double> clip = std::nullopt;
  double label_smoothing = 0;
};

const std::vector<TensorClass> kBiasAndNorm = {TensorClass::kBias, TensorClass::kNorm};

// Cosine from 1 to `last` after a share of the way.
double Cosine(double share, double last) {
  return last + (1 - last) * (1 + std::cos(std::numbers::pi * share)) / 2;
}

std::vector<Settings> AllSettings() {
  // Updates of an epoch: 1,281,167 images of ImageNet, 45,000 of CIFAR's 50,000.
  constexpr int64_t kImageNet256 = 5005, kImageNet1024 = 1252, kImageNet64k = 20, kCifar128 = 352;
  return {
      {.recipe = "resnet50-imagenet",
       .source = "guide 5.1: SGD(lr=0.1, momentum=0.9, weight_decay=1e-4), MultiStepLR([30, 60, "
                 "90], gamma=0.1), 100 epochs; guide 2.1: batches of 128 to 256",
       .batch = 256,
       .epochs = 100,
       .steps_per_epoch = kImageNet256,
       .rule = {.rule = "momentum",
                .options = {{"momentum", 0.9}, {"weight_decay", 1e-4}},
                .lr = {{0, 0.1},
                       {30 * kImageNet256 - 1, 0.1},
                       {30 * kImageNet256, 0.01},
                       {60 * kImageNet256 - 1, 0.01},
                       {60 * kImageNet256, 1e-3},
                       {90 * kImageNet256 - 1, 1e-3},
                       {90 * kImageNet256, 1e-4},
                       {-1, 1e-4}}}},
      {.recipe = "resnet20-cifar10",
       .source = "He et al., arXiv:1512.03385, section 4.2: momentum 0.9, weight decay 0.0001, "
                 "mini-batches of 128, 0.1 divided by 10 at 32k and 48k of 64k iterations",
       .batch = 128,
       .steps = 64000,
       .rule =
           {.rule = "momentum",
            .options = {{"momentum", 0.9}, {"weight_decay", 1e-4}},
            .lr =
                {{0, 0.1}, {31999, 0.1}, {32000, 0.01}, {47999, 0.01}, {48000, 1e-3}, {-1, 1e-3}}}},
      {.recipe = "wrn28-cifar100",
       .source = "Zagoruyko and Komodakis, arXiv:1605.07146, section 3: Nesterov momentum 0.9, "
                 "weight decay 0.0005, 128 samples, 0.1 times 0.2 at 60, 120 and 160 of 200 epochs",
       .batch = 128,
       .epochs = 200,
       .steps_per_epoch = kCifar128,
       .rule = {.rule = "nesterov",
                .options = {{"momentum", 0.9}, {"weight_decay", 5e-4}},
                .lr = {{0, 0.1},
                       {60 * kCifar128 - 1, 0.1},
                       {60 * kCifar128, 0.02},
                       {120 * kCifar128, 0.004},
                       {160 * kCifar128 - 1, 0.004},
                       {160 * kCifar128, 0.0008},
                       {-1, 0.0008}}}},
      {.recipe = "vit-imagenet",
       .source =
           "guide 5.3: AdamW(lr=1e-3, betas=(0.9, 0.999), weight_decay=0.3), 5 epochs of "
           "linear warm-up, a cosine to 1e-5, 300 epochs; eps as torch's; notes 7.3: no decay "
           "of biases and norms; arXiv:2012.12877, Table 9: batches of 1024, smoothing 0.1",
       .batch = 1024,
       .epochs = 300,
       .steps_per_epoch = kImageNet1024,
       .rule = {.rule = "adamw",
                .options = {{"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-8}, {"weight_decay", 0.3}},
                .lr = {{0, 1e-3 / (5 * kImageNet1024)},
                       {5 * kImageNet1024 / 2 - 1, 5e-4},
                       {5 * kImageNet1024 - 1, 1e-3},
                       {5 * kImageNet1024, 1e-3},
                       // In the middle of the 295 epochs that are left, and at their end.
                       {305 * kImageNet1024 / 2, 5.05e-4},
                       {-1, 1e-5}}},
       .no_decay = kBiasAndNorm,
       .label_smoothing = 0.1},
      {.recipe = "onecycle",
       .source = "guide 5.4: Adam, OneCycleLR(max_lr=1e-2, pct_start=0.3, div_factor=25, "
                 "final_div_factor=1e4), which moves beta1 from 0.95 to 0.85 and back unless told "
                 "otherwise; it has no batch and no number of epochs",
       .batch = 128,
       .epochs = 15,
       .steps_per_epoch = 100,
       .rule = {.rule = "adam",
                .options = {{"beta2", 0.999}, {"eps", 1e-8}, {"weight_decay", 0}},
                .lr = {{0, 1e-2 / 25}, {449, 1e-2}, {-1, 1e-2 / 25 / 1e4}},
                .moving = {{"beta1", {{0, 0.95}, {449, 0.85}, {-1, 0.95}}}}}},
      {.recipe = "dcgan",
       .source = "Radford et al., arXiv:1511.06434, section 4: Adam, 0.0002, beta1 0.5, "
                 "mini-batches of 128; guide 2.5: beta2 0.999, weight decay 0, for both players",
       .batch = 128,
       .epochs = 25,
       .steps_per_epoch = 100,
       .rule = {.rule = "adam",
                .options = {{"beta1", 0.5}, {"beta2", 0.999}, {"eps", 1e-8}, {"weight_decay", 0}},
                .lr = {{0, 2e-4}, {1250, 2e-4}, {-1, 2e-4}}}},
      {.recipe = "ppo-cartpole",
       .source = "guide 2.6: Adam, 3e-4, eps 1e-5, norm clipped at 0.5; CleanRL's ppo.py: 500,000 "
                 "steps in 4 environments, 128 each, 4 epochs of 4 minibatches, annealed to 0",
       .batch = 128,
       .steps = int64_t{500000} / 512 * 16,  // batches of 4 * 128, 4 * 4 minibatches
       .rule = {.rule = "adam",
                .options = {{"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-5}, {"weight_decay", 0}},
                .lr = {{0, 3e-4}, {7808, 1.5e-4}, {-1, 3e-4 / 15616}}},
       .clip = 0.5},
      {.recipe = "detection",
       .source = "guide 2.2: SGD with momentum 0.9, 0.01, weight decay 5e-4, a warm-up, then steps "
                 "or a cosine, batches of 16 to 64; YOLOv5's train.py: clip_grad_norm_ at 10",
       .batch = 16,
       .epochs = 40,
       .steps_per_epoch = 500,
       .rule = {.rule = "momentum",
                .options = {{"momentum", 0.9}, {"weight_decay", 5e-4}},
                .lr = {{0, 0.01 / 1000},
                       {999, 0.01 * Cosine(999.0 / 20000, 0)},
                       {10000, 0.005},
                       {-1, 0.01 * Cosine(19999.0 / 20000, 0)}}},
       .clip = 10},
      {.recipe = "nanochat-gpt",
       .source = "descent 5.6, 5.8 and 5.10, and nanochat 3a5e0bc, base_train.py: Muon for the "
                 "matrices at 0.02, momentum from 0.85 to 0.95 in 300 steps, clip 1.0, a warm-down "
                 "to 0 over the last fifth, 524,288 tokens a step, 20 tokens for each of the "
                 "561 million parameters",
       .batch = 524288 / 2048,
       .steps = 21400,
       .rule = {.rule = "muon",
                .options = {{"weight_decay", 0}},
                .lr = {{0, 0.02}, {17120, 0.02}, {17120 + 2140, 0.01}, {-1, 0.02 / 4280}},
                .moving = {{"momentum", {{0, 0.85}, {150, 0.9}, {300, 0.95}, {-1, 0.95}}}}},
       .clip = 1},
      {.recipe = "gpt2-124m",
       .source =
           "nanoGPT, config/train_gpt2.py and train.py: 12 x 40 samples, 600,000 steps, "
           "weight decay 0.1 of matrices only, 6e-4, betas 0.9 and 0.95, clip 1.0; notes 6.4: "
           "a warm-up of 2,000 steps and a cosine to a tenth",
       .batch = 480,
       .steps = 600000,
       .rule = {.rule = "adamw",
                .options = {{"beta1", 0.9}, {"beta2", 0.95}, {"eps", 1e-8}, {"weight_decay", 0.1}},
                .lr = {{0, 6e-4 / 2000},
                       {999, 3e-4},
                       {1999, 6e-4},
                       {301000, 6e-4 * Cosine(0.5, 0.1)},
                       {-1, 6e-5}}},
       .no_decay = kBiasAndNorm,
       .clip = 1},
      {.recipe = "large-batch-vit",
       .source =
           "LookSAM note, Tables 3, 6, 7 and 10: LAMB, batches of 64k, 300 epochs, a warm-up; "
           "the learning rate, decay and clip are second hand",
       .batch = 65536,
       .epochs = 300,
       .steps_per_epoch = kImageNet64k,
       .rule = {.rule = "lamb",
                .options = {{"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-6}, {"weight_decay", 0.1}},
                .lr = {{0, 1e-2 / (8 * kImageNet64k)}, {-1, 1e-2 * Cosine(5999.0 / 6000, 0)}}},
       .no_decay = kBiasAndNorm,
       .clip = 1},
      {.recipe = "bert-finetune",
       .source =
           "guide 5.2: AdamW(lr=2e-5, weight_decay=0.01), a linear warm-up over 10 % of the "
           "steps, then linear to 0, clip_grad_norm_ at 1.0; guide 2.4: 3 to 10 epochs; "
           "arXiv:1810.04805, A.3: batches of 32, 3 epochs; notes 7.3: no decay of biases and "
           "norms",
       .batch = 32,
       .epochs = 3,
       .steps_per_epoch = 100,
       .rule =
           {.rule = "adamw",
            .options = {{"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-8}, {"weight_decay", 0.01}},
            .lr = {{0, 2e-5 / 30}, {14, 1e-5}, {29, 2e-5}, {165, 1e-5}, {-1, 2e-5 / 270}}},
       .no_decay = kBiasAndNorm,
       .clip = 1},
      {.recipe = "vae",
       .source = "PyTorch's examples, vae/main.py: Adam at 1e-3, batches of 128, 10 epochs",
       .batch = 128,
       .epochs = 10,
       .steps_per_epoch = 100,
       .rule = {.rule = "adam",
                .options = {{"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-8}, {"weight_decay", 0}},
                .lr = {{0, 1e-3}, {500, 1e-3}, {-1, 1e-3}}}},
  };
}

std::filesystem::path PathOf(const std::string& recipe) {
  return std::filesystem::path(KUDARI_SOURCE_DIR) / "recipes" / (recipe + ".toml");
}

void ExpectSchedule(const Schedule& schedule, const RunLength& length,
                    const std::vector<At>& values) {
  const Schedule resolved = schedule.Resolve(length);
  for (const auto& [step, value] : values) {
    EXPECT_NEAR(resolved(step < 0 ? length.steps + step : step), value, 1e-4 * value + 1e-10)
        << schedule.Text() << " at step " << step;
  }
}

void ExpectRule(const std::string& name, const Options& given, const Rule& rule,
                const RunLength& length) {
  EXPECT_EQ(name, rule.rule);
  for (const auto& [option, value] : rule.options) {
    ASSERT_TRUE(given.contains(option)) << option;
    EXPECT_EQ(given.at(option), Schedule(value)) << option;
  }
  ExpectSchedule(given.at("lr"), length, rule.lr);
  for (const auto& [option, values] : rule.moving) {
    ExpectSchedule(given.at(option), length, values);
  }
}

TEST(RecipeSettings, AreThoseOfTheirSources) {
  for (const Settings& expected : AllSettings()) {
    SCOPED_TRACE(expected.recipe + ": " + expected.source);
    const Recipe recipe = ReadTrainRecipe(PathOf(expected.recipe));
    const TrainConfig& train = recipe.train;
    EXPECT_EQ(train.batch_size * recipe.optimizer.accumulate, expected.batch);
    EXPECT_EQ(train.epochs, expected.epochs);
    EXPECT_EQ(train.steps, expected.steps);
    EXPECT_EQ(train.label_smoothing, expected.label_smoothing);
    const RunLength length = {
        .steps = expected.steps > 0 ? expected.steps : expected.epochs * expected.steps_per_epoch,
        .steps_per_epoch = static_cast<double>(expected.steps_per_epoch)};
    for (const auto& [part, given] : OptimizersOf(recipe)) {
      SCOPED_TRACE(part);
      const OptimizerSpec spec = Complete(*given);
      ExpectRule(spec.rule, spec.options, expected.rule, length);
      EXPECT_EQ(spec.no_decay, expected.no_decay);
      EXPECT_EQ(spec.clip_norm,
                expected.clip ? std::optional<Schedule>(*expected.clip) : std::nullopt);
    }
  }
}

// What one row has no room for.

// nanochat 3a5e0bc, base_train.py and gpt.py: AdamW with betas 0.8 and 0.95, eps 1e-10 and no
// decay, at 0.2 for the embedding and 0.004 for the head, times (1280 / 768)^-0.5.
TEST(RecipeSettings, NanochatsAdamw) {
  const RunLength length = {.steps = 21400};
  const auto adamw = [](double lr) {
    const double first = lr * std::pow(1280.0 / 768, -0.5);
    return Rule{.rule = "adamw",
                .options = {{"beta1", 0.8}, {"beta2", 0.95}, {"eps", 1e-10}, {"weight_decay", 0}},
                .lr = {{0, first}, {17120, first}, {19260, first / 2}}};
  };
  const OptimizerSpec spec = Complete(ReadTrainRecipe(PathOf("nanochat-gpt")).optimizer);
  ASSERT_TRUE(spec.fallback.has_value());
  ExpectRule(spec.fallback->rule, spec.fallback->options, adamw(0.004), length);
  ASSERT_EQ(spec.groups.size(), 1U);
  EXPECT_THAT(spec.groups[0].classes, ::testing::ElementsAre(TensorClass::kEmbedding));
  ExpectRule(spec.groups[0].rule, spec.groups[0].options, adamw(0.2), length);
}

// LookSAM note, 4.4 and Tables 6 and 7: Look-LayerSAM with rho 1.0 and alpha 0.7, k = 5,
// RandAugment and Mixup.
TEST(RecipeSettings, LookLayerSamInLargeBatches) {
  const Recipe recipe = ReadTrainRecipe(PathOf("large-batch-vit"));
  EXPECT_EQ(recipe.optimizer.source, "look_layersam");
  ASSERT_TRUE(recipe.optimizer.sharpness.has_value());
  EXPECT_EQ(recipe.optimizer.sharpness->rho, Schedule(1.0));
  EXPECT_EQ(recipe.optimizer.sharpness->alpha, Schedule(0.7));
  EXPECT_EQ(recipe.optimizer.sharpness->k, 5);
  EXPECT_GT(recipe.augment.randaugment.n, 0);
  EXPECT_GT(recipe.augment.mixup, 0);
}

// advanced 1 and arXiv:1211.5063: plain gradients whose norm is clipped; neither gives numbers for
// this model.
TEST(RecipeSettings, ClippingOfARecurrentNetwork) {
  const OptimizerSpec spec = Complete(ReadTrainRecipe(PathOf("rnn-clipping")).optimizer);
  EXPECT_EQ(spec.rule, "sgd");
  EXPECT_EQ(spec.options.at("weight_decay"), Schedule(0));
  EXPECT_TRUE(spec.clip_norm.has_value());
}

// Every recipe is in the table or said to be this program's own.
TEST(RecipeSettings, NoRecipeIsForgotten) {
  std::set<std::string> known = {"rnn-clipping"};
  for (const Settings& settings : AllSettings()) known.insert(settings.recipe);
  // Of small models on small data, with settings found here.
  for (const char* const own :
       {"cifar10-resnet8", "cifar10-vit", "cifar10-vit-7bytes", "digits-linear", "digits-mlp",
        "digits-resnet8", "digits-vit", "digits-vit-7bytes", "digits-vit-looksam", "mnist-mlp",
        "mnist-vit", "sine-mlp"}) {
    known.insert(own);
  }
  std::set<std::string> there;
  for (const auto& file : std::filesystem::directory_iterator(PathOf("x").parent_path())) {
    if (file.path().extension() == ".toml") there.insert(file.path().stem().string());
  }
  EXPECT_EQ(there, known);
}

}  // namespace recipe_settings_test
}  // namespace kudari::lab
