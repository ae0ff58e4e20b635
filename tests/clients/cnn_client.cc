// A convolutional network whose learning rate is changed by a scheduler of LibTorch and by hand, in
// a program that uses both namespaces.
#include <kudari/kudari.h>
#include <kudari/torch.h>

#include "clients.h"

namespace cnn {

using namespace torch;   // NOLINT(google-build-using-namespace): as people write it
using namespace kudari;  // NOLINT(google-build-using-namespace)

nn::Sequential MakeNet() {
  manual_seed(3);
  return nn::Sequential(nn::Conv2d(nn::Conv2dOptions(1, 6, 3).padding(1)), nn::BatchNorm2d(6),
                        nn::ReLU(), nn::MaxPool2d(2), nn::Conv2d(6, 8, 3), nn::ReLU(),
                        nn::Flatten(), nn::Linear(32, 10));
}

void Train(nn::Sequential& net, optim::Optimizer& optimizer, Gradients& gradients) {
  optim::StepLR scheduler(optimizer, 2, 0.5);
  manual_seed(4);
  for (int epoch = 0; epoch < 8; ++epoch) {
    for (int batch = 0; batch < 5; ++batch) {
      const auto x = ::torch::rand({16, 1, 8, 8});
      const auto y = (x.sum({1, 2, 3}) * 3).to(kLong).remainder(10);
      optimizer.zero_grad();
      cross_entropy_loss(net->forward(x), y).backward();
      gradients.Exchange(net->parameters());
      optimizer.step();
    }
    scheduler.step();
    if (epoch == 5) {
      for (auto& group : optimizer.param_groups()) group.options().set_lr(1e-3);
    }
  }
}

}  // namespace cnn

Outcome Cnn() {
  Gradients gradients;
  auto theirs = cnn::MakeNet(), ours = cnn::MakeNet();
  torch::optim::SGD sgd(theirs->parameters(),
                        torch::optim::SGDOptions(0.05).momentum(0.9).weight_decay(5e-4));
  cnn::Train(theirs, sgd, gradients);

  kudari::torch::Optimizer optimizer(
      ours, kudari::Momentum{.lr = 0.05, .momentum = 0.9, .weight_decay = 5e-4});
  gradients.Replay();
  cnn::Train(ours, optimizer, gradients);
  return Compare(theirs->parameters(), ours->parameters(), Values(cnn::MakeNet()->parameters()));
}
