// Transfer learning: a new head is trained on a frozen body, which then joins the optimiser with a
// smaller learning rate.
#include <kudari/kudari.h>
#include <kudari/torch.h>

#include <functional>
#include <memory>
#include <vector>

#include "clients.h"

namespace transfer {

struct Net {
  Net() {
    torch::manual_seed(8);
    namespace nn = torch::nn;
    body = nn::Sequential(nn::Linear(6, 12), nn::ReLU(), nn::Linear(12, 12), nn::ReLU());
    head = nn::Linear(12, 3);
    for (torch::Tensor& p : body->parameters()) p.requires_grad_(false);
  }

  std::vector<torch::Tensor> Parameters() const {
    std::vector<torch::Tensor> all = head->parameters();
    for (const torch::Tensor& p : body->parameters()) all.push_back(p);
    return all;
  }

  torch::nn::Sequential body{nullptr};
  torch::nn::Linear head{nullptr};
};

void Train(Net& net, torch::optim::Optimizer& optimizer, const std::function<void()>& add_body,
           Gradients& gradients) {
  torch::manual_seed(9);
  for (int step = 0; step < 40; ++step) {
    if (step == 20) {
      for (torch::Tensor& p : net.body->parameters()) p.requires_grad_(true);
      add_body();
    }
    const torch::Tensor x = torch::randn({32, 6});
    optimizer.zero_grad();
    torch::cross_entropy_loss(net.head->forward(net.body->forward(x)), x.slice(1, 0, 3).argmax(1))
        .backward();
    gradients.Exchange(net.Parameters());
    optimizer.step();
  }
}

}  // namespace transfer

Outcome Transfer() {
  Gradients gradients;
  transfer::Net theirs, ours;
  const torch::optim::SGDOptions options =
      torch::optim::SGDOptions(0.05).momentum(0.9).nesterov(true);
  torch::optim::SGD sgd(theirs.head->parameters(), options);
  const auto add_theirs = [&] {
    torch::optim::OptimizerParamGroup body(theirs.body->parameters(),
                                           std::make_unique<torch::optim::SGDOptions>(options));
    body.options().set_lr(0.005);
    sgd.add_param_group(body);
  };
  transfer::Train(theirs, sgd, add_theirs, gradients);

  kudari::torch::Optimizer optimizer(ours.head, kudari::Nesterov{.lr = 0.05, .momentum = 0.9});
  const auto add_ours = [&] {
    optimizer.add_param_group(ours.body->parameters(), {.options = {{"lr", 0.005}}});
  };
  gradients.Replay();
  transfer::Train(ours, optimizer, add_ours, gradients);
  return Compare(theirs.Parameters(), ours.Parameters(), Values(transfer::Net().Parameters()));
}
