#include "lab/data/parts/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lab/recipe/train_recipe.h"
#include "lab/verbs/data_list.h"
#include "tests/support/errors.h"
#include "tests/support/printed.h"

namespace kudari::lab {
namespace environment_test {

DataConfig Config(const std::string& name) {
  return DataConfig(LabRegistry::Builtin().data.Find(name));
}

std::unique_ptr<Environment> Make(const std::string& name) {
  return LoadData(Config(name), 1).environment->make();
}

// tests/golden/data/environments.json: what Gymnasium's environments do.
TEST(Environments, GoAsGymnasiumsDo) {
  std::ifstream file(KUDARI_SOURCE_DIR "/tests/golden/data/environments.json");
  const auto golden = nlohmann::json::parse(file);
  ASSERT_GE(golden["cases"].size(), 6U);
  for (const auto& c : golden["cases"]) {
    const std::string name = c["environment"] == "CartPole-v1" ? "cartpole" : "pendulum";
    const auto environment = Make(name);
    environment->state() = c["start"].get<std::vector<double>>();
    bool terminated = false;
    size_t i = 0;
    for (const auto& expected : c["steps"]) {
      ASSERT_FALSE(terminated);
      const float action = c["actions"][i++].get<float>();
      const Outcome outcome = environment->Step({&action, 1});
      terminated = outcome.terminated;
      EXPECT_EQ(terminated, expected["terminated"].get<bool>()) << name << " " << i;
      // Actions are float32 here and double there.
      EXPECT_NEAR(outcome.reward, expected["reward"].get<double>(), 1e-5) << name << " " << i;
      std::vector<float> observation(expected["observation"].size());
      environment->Observe(observation);
      for (size_t k = 0; k < observation.size(); ++k) {
        EXPECT_NEAR(observation[k], expected["observation"][k].get<double>(), 1e-5)
            << name << " " << i;
      }
      for (size_t k = 0; k < environment->state().size(); ++k) {
        EXPECT_NEAR(environment->state()[k], expected["state"][k].get<double>(), 1e-5)
            << name << " " << i;
      }
    }
  }
}

TEST(Environments, BeginAtRandomWithinTheirRanges) {
  for (const std::string name : {"cartpole", "pendulum"}) {
    const auto environment = Make(name);
    std::mt19937_64 random(3), again(3);
    double low = 100, high = -100;
    for (int i = 0; i < 1000; ++i) {
      environment->Reset(random);
      low = std::min(low, environment->state()[0]);
      high = std::max(high, environment->state()[0]);
    }
    const double limit = name == "cartpole" ? 0.05 : 3.14159265358979;
    EXPECT_GE(low, -limit);
    EXPECT_LE(high, limit);
    EXPECT_LT(low, -0.98 * limit);
    EXPECT_GT(high, 0.98 * limit);
    const auto other = Make(name);
    for (int i = 0; i < 1000; ++i) other->Reset(again);
    EXPECT_EQ(other->state(), environment->state());
  }
}

TEST(Environments, AreDataSetsOfStepsAndEpisodes) {
  const Recipe recipe = ParseTrainRecipe(
      "model.name = \"actor_critic\"\n"
      "data = {name = \"cartpole\", num_envs = 3, num_steps = 7, episodes = 11}\n"
      "optimizer = {rule = \"adam\"}\n",
      "r");
  Dataset data = LoadData(recipe.data, 1);
  EXPECT_EQ(data.train.samples, 21);
  EXPECT_EQ(data.validation.samples, 11);
  EXPECT_EQ(data.test.samples, 11);
  EXPECT_EQ(data.Outputs(), 2);
  EXPECT_TRUE(data.Shape().acts);
  EXPECT_TRUE(data.Shape().discrete);
  EXPECT_FALSE(LoadData(Config("pendulum"), 1).Shape().discrete);

  DataConfig config = Config("cartpole");
  config.samples = 5;
  EXPECT_EQ(
      kudari::testing::ErrorOf([&] { LoadData(config, 1); }),
      "data.samples = 5: the environment cartpole has no samples; data.num_steps says how many "
      "steps train at a time");
  config = Config("cartpole");
  config.label_noise = 0.1;
  EXPECT_EQ(kudari::testing::ErrorOf([&] { LoadData(config, 1); }),
            "data.label_noise = 0.1 needs at least two classes; the data set cartpole has other "
            "targets");
}

TEST(DataList, SaysWhereSamplesComeFrom) {
  const std::string text = kudari::testing::Printed([](std::FILE* out) { ListData(out); });
  EXPECT_THAT(text, ::testing::ContainsRegex("\ncartpole +made by the model's own steps "));
  EXPECT_THAT(text, ::testing::ContainsRegex("\nshapes +made from a formula "));
  EXPECT_THAT(text, ::testing::ContainsRegex("\ncsv +named by data.path "));
}

}  // namespace environment_test
}  // namespace kudari::lab
