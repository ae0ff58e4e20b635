// Proximal policy optimisation: an actor and a critic that share an optimiser, clipping, and a
// learning rate that falls to nothing.
#include <kudari/kudari.h>
#include <kudari/torch.h>

#include <functional>
#include <vector>

#include "clients.h"

namespace ppo {

constexpr int kUpdates = 12, kEpochs = 4;

struct Agent {
  Agent() {
    torch::manual_seed(5);
    namespace nn = torch::nn;
    actor = nn::Sequential(nn::Linear(4, 16), nn::Tanh(), nn::Linear(16, 2));
    critic = nn::Sequential(nn::Linear(4, 16), nn::Tanh(), nn::Linear(16, 1));
  }

  std::vector<torch::Tensor> Parameters() const {
    std::vector<torch::Tensor> all = actor->parameters();
    for (const torch::Tensor& p : critic->parameters()) all.push_back(p);
    return all;
  }

  torch::nn::Sequential actor, critic;
};

/// `before_update` anneals, where the optimiser does not do so itself.
void Train(Agent& agent, torch::optim::Optimizer& optimizer, bool clip,
           const std::function<void(int)>& before_update, Gradients& gradients) {
  torch::manual_seed(6);
  for (int update = 0; update < kUpdates; ++update) {
    const torch::Tensor state = torch::rand({64, 4}) * 2 - 1;
    const torch::Tensor action = torch::randint(2, {64, 1});
    const torch::Tensor reward = (action == (state.sum(1, true) > 0)).to(torch::kFloat);
    const torch::Tensor old_log =
        agent.actor->forward(state).log_softmax(1).gather(1, action).detach();
    const torch::Tensor advantage = (reward - agent.critic->forward(state)).detach();
    for (int epoch = 0; epoch < kEpochs; ++epoch) {
      before_update(update * kEpochs + epoch);
      const torch::Tensor log = agent.actor->forward(state).log_softmax(1).gather(1, action);
      const torch::Tensor ratio = (log - old_log).exp();
      const torch::Tensor gain = torch::min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage);
      const torch::Tensor value = (agent.critic->forward(state) - reward).square();
      optimizer.zero_grad();
      (0.5 * value.mean() - gain.mean()).backward();
      gradients.Exchange(agent.Parameters());
      if (clip) torch::nn::utils::clip_grad_norm_(agent.Parameters(), 0.5);
      optimizer.step();
    }
  }
}

}  // namespace ppo

Outcome Ppo() {
  constexpr int kSteps = ppo::kUpdates * ppo::kEpochs;
  Gradients gradients;
  ppo::Agent theirs, ours;
  torch::optim::Adam adam(theirs.Parameters(), torch::optim::AdamOptions(2e-3).eps(1e-5));
  const auto anneal = [&adam](int step) {
    adam.param_groups()[0].options().set_lr(2e-3 * (1.0 - static_cast<double>(step) / kSteps));
  };
  ppo::Train(theirs, adam, true, anneal, gradients);

  kudari::OptimizerSpec spec = kudari::Adam{.eps = 1e-5};
  spec.clip_norm = 0.5;
  kudari::torch::Optimizer optimizer({{"actor", ours.actor}, {"critic", ours.critic}}, spec);
  optimizer.SetSchedule("lr", 2e-3 * kudari::Linear(kSteps));
  gradients.Replay();
  ppo::Train(
      ours, optimizer, false, [](int) {}, gradients);
  return Compare(theirs.Parameters(), ours.Parameters(), Values(ppo::Agent().Parameters()));
}
