// A language model of an LSTM, whose gradients are clipped: by torch's function before torch's
// optimiser, within the step of Kudari's.
#include <kudari/kudari.h>
#include <kudari/torch.h>

#include "clients.h"

namespace lstm {

struct NetImpl : torch::nn::Module {
  NetImpl()
      : embed(register_module("embed", torch::nn::Embedding(17, 12))),
        lstm(register_module("lstm",
                             torch::nn::LSTM(torch::nn::LSTMOptions(12, 24).batch_first(true)))),
        linear(register_module("linear", torch::nn::Linear(24, 17))) {}

  torch::Tensor forward(const torch::Tensor& tokens) {
    return linear(std::get<0>(lstm(embed(tokens))));
  }

  torch::nn::Embedding embed;
  torch::nn::LSTM lstm;
  torch::nn::Linear linear;
};
TORCH_MODULE(Net);

Net MakeNet() {
  torch::manual_seed(2);
  return Net();
}

void Train(Net& net, torch::optim::Optimizer& optimizer, bool clip, Gradients& gradients) {
  for (int step = 0; step < 40; ++step) {
    const torch::Tensor text = (torch::arange(8 * 11) * (step + 3)).remainder(17).view({8, 11});
    const torch::Tensor scores = net->forward(text.slice(1, 0, 10));
    const torch::Tensor loss =
        torch::cross_entropy_loss(scores.reshape({-1, 17}), text.slice(1, 1).reshape({-1}));
    optimizer.zero_grad();
    loss.backward();
    gradients.Exchange(net->parameters());
    if (clip) torch::nn::utils::clip_grad_norm_(net->parameters(), 0.1);
    optimizer.step();
  }
}

}  // namespace lstm

Outcome Lstm() {
  Gradients gradients;
  lstm::Net theirs = lstm::MakeNet(), ours = lstm::MakeNet();
  torch::optim::RMSprop rmsprop(theirs->parameters(),
                                torch::optim::RMSpropOptions(2e-3).momentum(0.5));
  lstm::Train(theirs, rmsprop, true, gradients);

  kudari::OptimizerSpec spec = kudari::RmspropMomentum{.lr = 2e-3, .momentum = 0.5};
  spec.clip_norm = 0.1;
  kudari::torch::Optimizer optimizer(ours, spec);
  gradients.Replay();
  lstm::Train(ours, optimizer, false, gradients);
  return Compare(theirs->parameters(), ours->parameters(), Values(lstm::MakeNet()->parameters()));
}
