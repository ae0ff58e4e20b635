// A policy and an estimate of its return, trained by proximal policy optimisation (Schulman et al.,
// arXiv:1707.06347), with the details of CleanRL's ppo.py.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <fmt/format.h>
#include <torch/torch.h>

#include <cmath>
#include <numbers>

#include "kudari/error.h"
#include "lab/models/models.h"
#include "lab/models/parts/layers.h"
#include "lab/models/parts/policy.h"
#endif

namespace kudari::lab {
namespace {

struct ActorCriticOptions {
  std::vector<int64_t> hidden = {64, 64};
  double clip_coef = 0.2, ent_coef = 0.01, vf_coef = 0.5;
  bool clip_vloss = true, norm_adv = true;
};

const internal::OptionTable<ActorCriticOptions>& ActorCriticTable() {
  using O = ActorCriticOptions;
  static const internal::OptionTable<O> table = {
      {.name = "hidden",
       .member = &O::hidden,
       .least = 1,
       .most = 1'000'000,
       .doc = "width of each hidden layer"},
      {.name = "clip_coef",
       .member = &O::clip_coef,
       .low = 0,
       .high = kInfinity,
       .doc = "how far the probability of an action may move from that of the rollout before it "
              "gets no gradient, as a share"},
      {.name = "ent_coef",
       .member = &O::ent_coef,
       .low = 0,
       .high = kInfinity,
       .doc = "weight of the entropy in the loss"},
      {.name = "vf_coef",
       .member = &O::vf_coef,
       .low = 0,
       .high = kInfinity,
       .doc = "weight of the value's loss"},
      {.name = "clip_vloss",
       .member = &O::clip_vloss,
       .doc = "whether the value, too, is kept within clip_coef of that of the rollout"},
      {.name = "norm_adv",
       .member = &O::norm_adv,
       .doc = "whether the advantages of a batch are scaled to mean 0 and deviation 1"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeActorCritic() {
  return {.name = "actor_critic",
          .doc = "two perceptrons with tanh, for actions and for the return, trained by PPO",
          .options = MakeOwnOptions(ActorCriticOptions(), ActorCriticTable()),
          .traits = [](const ModelConfig& /*config*/) {
            return ModelTraits{.acts = true, .own_loss = true, .moving_loss = true};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

nn::Sequential Perceptron(int64_t in, const std::vector<int64_t>& hidden, int64_t out,
                          double last_gain) {
  nn::Sequential layers;
  const auto add = [&layers](int64_t from, int64_t to, double gain) {
    nn::Linear layer(from, to);
    nn::init::orthogonal_(layer->weight, gain);
    nn::init::zeros_(layer->bias);
    layers->push_back(layer);
  };
  for (const int64_t width : hidden) {
    add(in, width, std::numbers::sqrt2);
    layers->push_back(nn::Tanh());
    in = width;
  }
  add(in, out, last_gain);
  return layers;
}

class ActorCritic : public Model, public Policy {
 public:
  ActorCritic(const ActorCriticOptions& options, const DataShape& data)
      : options_(options), discrete_(data.discrete) {
    constexpr double kActorGain = 0.01, kCriticGain = 1;
    const int64_t in = Product(data.sample);
    critic_ = register_module("critic", Perceptron(in, options.hidden, 1, kCriticGain));
    actor_ = register_module("actor", Perceptron(in, options.hidden, data.outputs, kActorGain));
    if (!discrete_) {
      log_std_ = register_parameter("actor_logstd", ::torch::zeros({1, data.outputs}));
    }
  }

  // [batch, outputs + 1]: logits or means of the action, and the value.
  Tensor forward(const Tensor& x) override {
    return ::torch::cat({actor_->forward(x), critic_->forward(x)}, 1);
  }

  Action Act(const Tensor& observation, const std::optional<at::Generator>& random) override {
    const Tensor actor = actor_->forward(observation);
    Tensor action;
    if (discrete_) {
      action = random ? actor.softmax(1).multinomial(1, false, random) : actor.argmax(1, true);
      action = action.to(actor);
    } else {
      action = random ? actor + log_std_.exp() * ::torch::randn(actor.sizes(), random) : actor;
    }
    return {action, LogProb(actor, action), critic_->forward(observation).squeeze(1)};
  }

  Tensor TrainingLoss(const TrainingPass& pass) override {
    const Tensor& y = pass.batch.y;
    const int64_t numbers = y.size(1) - kRolloutColumns;
    const auto column = [&](RolloutColumn c) { return y.select(1, numbers + c); };
    const Tensor actor = actor_->forward(pass.batch.x);
    const Tensor value = critic_->forward(pass.batch.x).squeeze(1);
    const Tensor ratio = (LogProb(actor, y.narrow(1, 0, numbers)) - column(kLogProb)).exp();
    Tensor advantage = column(kAdvantage);
    if (options_.norm_adv && advantage.size(0) > 1) {
      advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8);
    }
    const double clip = options_.clip_coef;
    const Tensor policy_loss =
        at::maximum(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip)).mean();
    Tensor error = (value - column(kReturn)).square();
    if (options_.clip_vloss) {
      const Tensor near = column(kValue) + (value - column(kValue)).clamp(-clip, clip);
      error = at::maximum(error, (near - column(kReturn)).square());
    }
    return policy_loss - options_.ent_coef * Entropy(actor).mean() +
           options_.vf_coef * 0.5 * error.mean();
  }

 private:
  // Logarithms of the probabilities of actions, [batch].
  Tensor LogProb(const Tensor& actor, const Tensor& action) const {
    if (discrete_) return actor.log_softmax(1).gather(1, action.to(::torch::kInt64)).squeeze(1);
    const Tensor z = (action - actor) / log_std_.exp();
    return (-0.5 * z.square() - log_std_ - 0.5 * std::log(2 * std::numbers::pi)).sum(1);
  }

  Tensor Entropy(const Tensor& actor) const {
    if (!discrete_) {
      return (log_std_ + 0.5 * (1 + std::log(2 * std::numbers::pi))).sum().expand({actor.size(0)});
    }
    return -(actor.softmax(1) * actor.log_softmax(1)).sum(1);
  }

  ActorCriticOptions options_;
  bool discrete_;
  nn::Sequential critic_{nullptr}, actor_{nullptr};
  Tensor log_std_;
};

}  // namespace

std::shared_ptr<Model> BuildActorCritic(const ModelConfig& config, const DataShape& data) {
  const auto& options = ValuesOf<ActorCriticOptions>(config.options);
  double parameters = 0;
  auto in = static_cast<double>(Product(data.sample));
  for (const int64_t width : options.hidden) {
    parameters += 2 * in * static_cast<double>(width);
    in = static_cast<double>(width);
  }
  CheckParameters(parameters);
  return std::make_shared<ActorCritic>(options, data);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
