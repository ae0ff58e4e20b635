// An actor and a critic with a common body, which balance a point on a line, all in float64.
#include <kudari/kudari.h>
#include <kudari/torch.h>

#include <cmath>
#include <utility>
#include <vector>

#include "clients.h"

namespace actor_critic {

struct NetImpl : torch::nn::Module {
  NetImpl()
      : body(register_module("body", torch::nn::Linear(2, 24))),
        action_head(register_module("action_head", torch::nn::Linear(24, 3))),
        value_head(register_module("value_head", torch::nn::Linear(24, 1))) {}

  /// Log-probabilities of the actions, and the value of the state.
  std::pair<torch::Tensor, torch::Tensor> forward(const torch::Tensor& state) {
    const torch::Tensor x = torch::relu(body(state));
    return {action_head(x).log_softmax(-1), value_head(x)};
  }

  torch::nn::Linear body, action_head, value_head;
};
TORCH_MODULE(Net);

Net MakeNet() {
  torch::manual_seed(10);
  Net net;
  net->to(torch::kFloat64);
  return net;
}

void Train(Net& net, torch::optim::Optimizer& optimizer, Gradients& gradients) {
  torch::manual_seed(11);
  for (int episode = 0; episode < 20; ++episode) {
    torch::Tensor state = torch::rand({2}, torch::kFloat64) - 0.5;
    std::vector<torch::Tensor> logs, values;
    std::vector<double> rewards;
    for (int step = 0; step < 15; ++step) {
      const auto [log, value] = net->forward(state);
      const auto action = torch::multinomial(log.exp(), 1).item<int64_t>();
      logs.push_back(log[action]);
      values.push_back(value[0]);
      const auto position = state[0].item<double>(), speed = state[1].item<double>();
      const double faster = speed + 0.1 * static_cast<double>(action - 1);
      state = torch::tensor({position + 0.2 * faster, faster}, state.options());
      rewards.push_back(1 - std::abs(position));
    }
    double discounted = 0;
    torch::Tensor loss = torch::zeros({}, torch::kFloat64);
    for (size_t i = rewards.size(); i-- > 0;) {
      discounted = rewards[i] + 0.9 * discounted;
      const double advantage = discounted - values[i].item<double>();
      loss = loss - advantage * logs[i] + (values[i] - discounted).square();
    }
    optimizer.zero_grad();
    loss.backward();
    gradients.Exchange(net->parameters());
    optimizer.step();
  }
}

}  // namespace actor_critic

Outcome ActorCritic() {
  Gradients gradients;
  actor_critic::Net theirs = actor_critic::MakeNet(), ours = actor_critic::MakeNet();
  torch::optim::Adam adam(theirs->parameters(), torch::optim::AdamOptions(3e-3).amsgrad(true));
  actor_critic::Train(theirs, adam, gradients);

  kudari::torch::Optimizer optimizer(ours, kudari::AmsGrad{.lr = 3e-3});
  gradients.Replay();
  actor_critic::Train(ours, optimizer, gradients);
  return Compare(theirs->parameters(), ours->parameters(),
                 Values(actor_critic::MakeNet()->parameters()));
}
