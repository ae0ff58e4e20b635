// A pendulum that is to be swung up and held by a torque that is too weak to lift it at once, with
// the equations and constants of Gymnasium's Pendulum-v1.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "lab/data/data.h"
#include "lab/data/parts/environment.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {
namespace {

// Its state is the angle, 0 upright, and the speed of it.
class Pendulum : public Environment {
 public:
  EnvironmentShape shape() const override {
    return {.observation = 3, .action_size = 1, .most_steps = 200};
  }

  void Reset(std::mt19937_64& random) override {
    state_[0] = DrawBetween(-std::numbers::pi, std::numbers::pi, random);
    state_[1] = DrawBetween(-1, 1, random);
  }

  Outcome Step(std::span<const float> action) override {
    constexpr double kGravity = 10, kMass = 1, kLength = 1, kTime = 0.05, kMostSpeed = 8;
    constexpr double kMostTorque = 2;
    double &angle = state_[0], &speed = state_[1];
    const double torque = std::clamp(static_cast<double>(action[0]), -kMostTorque, kMostTorque);
    const double off = std::remainder(angle, 2 * std::numbers::pi);
    const double cost = off * off + 0.1 * speed * speed + 0.001 * torque * torque;
    speed += kTime * (3 * kGravity / (2 * kLength) * std::sin(angle) +
                      3 / (kMass * kLength * kLength) * torque);
    speed = std::clamp(speed, -kMostSpeed, kMostSpeed);
    angle += kTime * speed;
    return {.reward = -cost};
  }

  void Observe(std::span<float> to) const override {
    to[0] = static_cast<float>(std::cos(state_[0]));
    to[1] = static_cast<float>(std::sin(state_[0]));
    to[2] = static_cast<float>(state_[1]);
  }

  std::vector<double>& state() override { return state_; }

 private:
  std::vector<double> state_ = std::vector<double>(2);
};

Dataset LoadPendulum(const DataConfig& config, uint64_t /*seed*/) {
  return EnvironmentDataset("pendulum", config, [] { return std::make_unique<Pendulum>(); });
}

}  // namespace

DataEntry DescribePendulum() {
  return {.name = "pendulum",
          .doc = "an environment: a pendulum to swing up and hold, for 200 steps",
          .options = MakeOwnOptions(RolloutOptions(), RolloutTable()),
          .load = &LoadPendulum,
          .source = {.contents = "made by the model's own steps"}};
}

}  // namespace kudari::lab
