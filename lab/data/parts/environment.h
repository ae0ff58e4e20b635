#ifndef KUDARI_LAB_DATA_PARTS_ENVIRONMENT_H_
#define KUDARI_LAB_DATA_PARTS_ENVIRONMENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/option_table.h"
#include "lab/data/data.h"

namespace kudari::lab {

/// What an environment is to a policy.
struct EnvironmentShape {
  int64_t observation = 0;  ///< values of an observation
  int64_t actions = 0;      ///< number of discrete actions; 0: actions are numbers
  int64_t action_size = 0;  ///< numbers of an action, if they are not discrete
  int64_t most_steps = 0;   ///< after which an episode is cut
};

/// What a step in an environment led to.
struct Outcome {
  double reward = 0;
  bool terminated = false;  ///< the episode is over
};

/// A task that is solved by acting: it is in a state, shows an observation of it, and an action
/// leads to the next one.
class Environment {
 public:
  virtual ~Environment() = default;
  virtual EnvironmentShape shape() const = 0;
  /// Begins an episode with a random state.
  virtual void Reset(std::mt19937_64& random) = 0;
  /// Takes an action: the number of a discrete one, or its numbers, which are limited to what the
  /// environment allows.
  virtual Outcome Step(std::span<const float> action) = 0;
  /// Writes the present observation.
  virtual void Observe(std::span<float> to) const = 0;
  /// The state, as numbers.
  virtual std::vector<double>& state() = 0;
};

/// How a policy is trained in environments: the options of their data sets, named and with defaults
/// as in CleanRL's PPO.
struct RolloutOptions {
  int64_t num_envs = 4, num_steps = 128, update_epochs = 4;
  double gamma = 0.99, gae_lambda = 0.95;
  int64_t episodes = 100;
};

/// The table of these options.
const internal::OptionTable<RolloutOptions>& RolloutTable();

/// An environment that data sets offer, and how to train in it.
struct EnvironmentData {
  std::function<std::unique_ptr<Environment>()> make;
  RolloutOptions options;
};

/// The data set of an environment with the options of RolloutTable. Throws Error naming the option
/// for those that only samples have.
Dataset EnvironmentDataset(std::string name, const DataConfig& config,
                           std::function<std::unique_ptr<Environment>()> make);

/// A number drawn from [low, high), the same on every machine.
double DrawBetween(double low, double high, std::mt19937_64& random);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_ENVIRONMENT_H_
