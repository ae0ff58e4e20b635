#include "lab/data/parts/environment.h"

#include <utility>

#include "kudari/error.h"
#include "lab/data/parts/splits.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {

const internal::OptionTable<RolloutOptions>& RolloutTable() {
  using O = RolloutOptions;
  static const internal::OptionTable<O> table = {
      {.name = "num_envs",
       .member = &O::num_envs,
       .least = 1,
       .most = 4096,
       .doc = "number of environments that are stepped side by side"},
      {.name = "num_steps",
       .member = &O::num_steps,
       .least = 1,
       .most = 1 << 20,
       .doc = "number of steps in each environment between two rounds of training"},
      {.name = "update_epochs",
       .member = &O::update_epochs,
       .least = 1,
       .most = 1000,
       .doc = "number of epochs that train on the same steps"},
      {.name = "gamma",
       .member = &O::gamma,
       .low = 0,
       .high = 1,
       .doc = "discount of later rewards"},
      {.name = "gae_lambda",
       .member = &O::gae_lambda,
       .low = 0,
       .high = 1,
       .doc = "weight of longer estimates in the generalised advantage estimation"},
      {.name = "episodes",
       .member = &O::episodes,
       .least = 1,
       .most = 100'000,
       .doc = "number of episodes of an evaluation"},
  };
  return table;
}

Dataset EnvironmentDataset(std::string name, const DataConfig& config,
                           std::function<std::unique_ptr<Environment>()> make) {
  CheckShare(config.validation, 1);
  if (config.samples != 0) {
    throw Error("data.samples = " + std::to_string(config.samples) + ": the environment " + name +
                " has no samples; data.num_steps says how many steps train at a time");
  }
  const auto& options = ValuesOf<RolloutOptions>(config.options);
  const EnvironmentShape shape = make()->shape();
  Dataset data{.name = std::move(name),
               .shape = {shape.observation},
               .classes = shape.actions,
               .target_size = shape.action_size};
  data.environment =
      std::make_shared<const EnvironmentData>(EnvironmentData{std::move(make), options});
  data.train.samples = options.num_envs * options.num_steps;
  data.validation.samples = config.validation > 0 ? options.episodes : 0;
  data.test.samples = options.episodes;
  return data;
}

double DrawBetween(double low, double high, std::mt19937_64& random) {
  constexpr double kUnit = 0x1p-53;
  return low + (high - low) * kUnit * static_cast<double>(random() >> 11);
}

}  // namespace kudari::lab
