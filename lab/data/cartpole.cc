// A pole on a cart, to be balanced by pushing the cart left or right (Barto, Sutton and Anderson,
// Neuronlike adaptive elements that can solve difficult learning control problems, 1983), with the
// constants of Gymnasium's CartPole-v1.
#include <cmath>
#include <numbers>

#include "lab/data/data.h"
#include "lab/data/parts/environment.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {
namespace {

class CartPole : public Environment {
 public:
  EnvironmentShape shape() const override {
    return {.observation = 4, .actions = 2, .most_steps = 500};
  }

  void Reset(std::mt19937_64& random) override {
    for (double& x : state_) x = DrawBetween(-0.05, 0.05, random);
  }

  Outcome Step(std::span<const float> action) override {
    constexpr double kGravity = 9.8, kCart = 1, kPole = 0.1, kHalfLength = 0.5, kForce = 10;
    constexpr double kTime = 0.02, kMostPosition = 2.4, kMostAngle = 12 * std::numbers::pi / 180;
    constexpr double kTotal = kCart + kPole, kPoleMoment = kPole * kHalfLength;
    const auto [position, speed, angle, turning] = values();
    const double force = action[0] > 0.5F ? kForce : -kForce;
    const double cosine = std::cos(angle), sine = std::sin(angle);
    const double push = (force + kPoleMoment * turning * turning * sine) / kTotal;
    const double turn = (kGravity * sine - cosine * push) /
                        (kHalfLength * (4.0 / 3 - kPole * cosine * cosine / kTotal));
    const double acceleration = push - kPoleMoment * turn * cosine / kTotal;
    position += kTime * speed;
    speed += kTime * acceleration;
    angle += kTime * turning;
    turning += kTime * turn;
    return {.reward = 1,
            .terminated = std::abs(position) > kMostPosition || std::abs(angle) > kMostAngle};
  }

  void Observe(std::span<float> to) const override {
    for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<float>(state_[i]);
  }

  std::vector<double>& state() override { return state_; }

 private:
  struct Values {
    double &position, &speed, &angle, &turning;
  };
  Values values() { return {state_[0], state_[1], state_[2], state_[3]}; }

  std::vector<double> state_ = std::vector<double>(4);
};

Dataset LoadCartPole(const DataConfig& config, uint64_t /*seed*/) {
  return EnvironmentDataset("cartpole", config, [] { return std::make_unique<CartPole>(); });
}

}  // namespace

DataEntry DescribeCartpole() {
  return {.name = "cartpole",
          .doc = "an environment: a pole on a cart, for at most 500 steps",
          .options = MakeOwnOptions(RolloutOptions(), RolloutTable()),
          .load = &LoadCartPole,
          .source = {.contents = "made by the model's own steps"}};
}

}  // namespace kudari::lab
