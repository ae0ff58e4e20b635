// Trainers in threads of their own, each with a model and an optimiser: they have the bits of
// trainers that run one after the other.
#include <kudari/kudari.h>
#include <kudari/torch.h>

#include <limits>
#include <thread>
#include <vector>

#include "clients.h"

namespace threads {

constexpr int kTrainers = 4;

torch::nn::Sequential MakeNet(int trainer) {
  torch::manual_seed(12 + static_cast<uint64_t>(trainer));
  namespace nn = torch::nn;
  return nn::Sequential(nn::Linear(8, 64), nn::GELU(), nn::Linear(64, 4));
}

void Train(torch::nn::Sequential& net, torch::optim::Optimizer& optimizer, Gradients& gradients) {
  for (int step = 0; step < 30; ++step) {
    const torch::Tensor x = (torch::arange(32 * 8) * (step + 1)).remainder(13).view({32, 8}) / 13.0;
    optimizer.zero_grad();
    torch::mse_loss(net->forward(x), x.slice(1, 0, 4).flip(1)).backward();
    gradients.Exchange(net->parameters());
    optimizer.step();
  }
}

/// Trains all nets with optimisers that `make` makes, at the same time or in succession, and
/// returns their weights.
template <class F>
std::vector<torch::Tensor> TrainAll(std::vector<Gradients>& gradients, bool together,
                                    const F& make) {
  std::vector<torch::nn::Sequential> nets;
  for (int i = 0; i < kTrainers; ++i) nets.push_back(MakeNet(i));
  const auto train = [&](size_t i) {
    auto optimizer = make(nets[i]);
    Train(nets[i], optimizer, gradients[i]);
  };
  std::vector<std::thread> trainers;
  for (size_t i = 0; i < nets.size(); ++i) {
    if (together) {
      trainers.emplace_back(train, i);
    } else {
      train(i);
    }
  }
  for (std::thread& trainer : trainers) trainer.join();
  std::vector<torch::Tensor> weights;
  for (const torch::nn::Sequential& net : nets) {
    for (const torch::Tensor& p : net->parameters()) weights.push_back(p);
  }
  return weights;
}

}  // namespace threads

Outcome Threads() {
  std::vector<Gradients> gradients(threads::kTrainers);
  const auto theirs = threads::TrainAll(gradients, false, [](torch::nn::Sequential& net) {
    return torch::optim::AdamW(net->parameters(), torch::optim::AdamWOptions(5e-3));
  });
  for (Gradients& g : gradients) g.Replay();
  std::vector<Gradients> again = gradients;
  const auto make = [](torch::nn::Sequential& net) {
    return kudari::torch::Optimizer(net, kudari::AdamW{.lr = 5e-3});
  };
  const auto ours = threads::TrainAll(gradients, true, make);
  const auto alone = threads::TrainAll(again, false, make);
  std::vector<torch::Tensor> start;
  for (int i = 0; i < threads::kTrainers; ++i) {
    for (const torch::Tensor& p : Values(threads::MakeNet(i)->parameters())) start.push_back(p);
  }
  Outcome outcome = Compare(theirs, ours, start);
  for (size_t i = 0; i < ours.size(); ++i) {
    if (!ours[i].equal(alone[i])) outcome.distance = std::numeric_limits<double>::infinity();
  }
  return outcome;
}
