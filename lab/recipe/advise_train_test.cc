// Every recipe of the advisor trains a step, on little data with models as small as can be.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "kudari/files.h"
#include "lab/files/text_file.h"
#include "lab/measure/scale_check.h"
#include "lab/recipe/advise.h"
#include "lab/verbs/train.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace advise_train_test {

class AdviseTrainTest : public ::testing::Test {
 protected:
  kudari::testing::TemporaryFolder dir_;
  std::unique_ptr<std::FILE, decltype(&std::fclose)> console_{std::tmpfile(), &std::fclose};
};

// Changes that make a step cheap and leave the optimiser alone.
std::vector<std::string> Small(const Recipe& recipe) {
  std::vector<std::string> sets = {"train.steps=1", "train.threads=1", "data.validation=0"};
  const std::map<std::string, std::vector<std::string>> data = {
      {"digits", {"data.samples=32"}},
      {"shapes", {"data.images=32", "data.test_images=4", "data.size=32"}},
      {"cartpole", {"data.num_steps=16", "data.episodes=1"}}};
  for (const std::string& set : data.at(recipe.data.name())) sets.push_back(set);
  if (recipe.model.name() == "resnet") sets.emplace_back("model.width=4");
  if (recipe.model.name() == "vit") {
    for (const char* const set : {"model.dim=64", "model.depth=1", "model.heads=1"}) {
      sets.emplace_back(set);
    }
  }
  return sets;
}

TEST_F(AdviseTrainTest, EveryPathTrainsAStep) {
  std::set<std::string> trained, metrics;
  for (AdviseOptions options : EveryPath()) {
    for (const std::string memory : {"", "13MB", "9MB", "6MB"}) {
      options.memory = memory;
      options.params = memory.empty() ? "" : "1M";
      options.activations = memory.empty() ? "" : "1";
      const Recipe recipe = GiveAdvice(options).recipe;
      const std::string text = ToToml(recipe);
      if (!trained.insert(text).second) continue;
      WriteFileAtomically(dir_ / "r.toml", text);
      TrainOptions train;
      train.recipe = dir_ / "r.toml";
      train.changes.sets = Small(recipe);
      train.out = dir_ / "out";
      train.force = true;
      const RunState result = Train(train, console_.get());
      EXPECT_EQ(result.steps, 1) << text;
      EXPECT_EQ(result.skipped, 0) << text;
      const auto players = std::ssize(OptimizersOf(recipe));
      EXPECT_EQ(result.gradients, recipe.optimizer.source == "sam" ? 2 : players) << text;
      EXPECT_FALSE(result.diverged) << text;
      const Metric& metric = MonitoredMetric("auto", result.test);
      EXPECT_TRUE(std::isfinite(result.test.*metric.value)) << text;
      metrics.insert(std::string(metric.name));
    }
  }
  // All ten settings, each with every priority and every rung that changes something.
  EXPECT_GT(trained.size(), 80U);
  // Each task in its own way.
  EXPECT_EQ(metrics, (std::set<std::string>{"episode_return", "frechet_distance", "loss", "map"}));
}

TEST_F(AdviseTrainTest, CheckOfAScalingTrainsBothRecipes) {
  const Recipe recipe = ParseTrainRecipe(R"toml([model]
name = "linear"
[data]
name = "digits"
samples = 128
[optimizer]
rule = "momentum"
lr = "0.02 * cosine(80)"
[train]
epochs = 10
batch_size = 16
threads = 1
)toml",
                                         "r.toml");
  ScaleOptions options;
  options.batch = 64;
  options.ranks = 2;
  options.check_epochs = 2;
  CheckScaling(ScaleRecipe(recipe, options), options, console_.get());
  std::string text(100000, '\0');
  std::rewind(console_.get());
  text.resize(std::fread(text.data(), 1, text.size(), console_.get()));
  // Eight steps an epoch became two, of two gradients each.
  EXPECT_NE(text.find("Both for 2 epochs, schedules 5 times shorter"), std::string::npos) << text;
  EXPECT_NE(text.find("steps                            16            4\n"), std::string::npos)
      << text;
  EXPECT_NE(text.find("validation accuracy"), std::string::npos) << text;
  EXPECT_EQ(text.find("diverged"), std::string::npos) << text;
}

}  // namespace advise_train_test
}  // namespace kudari::lab
