// A generative adversarial network with two optimisers, which is saved in the middle and goes on in
// new objects.
#include <kudari/kudari.h>
#include <kudari/torch.h>

#include <functional>
#include <memory>
#include <sstream>
#include <vector>

#include "clients.h"

namespace gan {

using torch::nn::Sequential;
using MakeOptimizer = std::function<std::unique_ptr<torch::optim::Optimizer>(Sequential&)>;

Sequential Generator() {
  namespace nn = torch::nn;
  return Sequential(
      nn::ConvTranspose2d(nn::ConvTranspose2dOptions(8, 12, 4).bias(false)), nn::BatchNorm2d(12),
      nn::ReLU(),
      nn::ConvTranspose2d(nn::ConvTranspose2dOptions(12, 1, 4).stride(2).padding(1).bias(false)),
      nn::Tanh());
}

Sequential Discriminator() {
  namespace nn = torch::nn;
  return Sequential(nn::Conv2d(nn::Conv2dOptions(1, 12, 4).stride(2).padding(1).bias(false)),
                    nn::LeakyReLU(nn::LeakyReLUOptions().negative_slope(0.2)),
                    nn::Conv2d(nn::Conv2dOptions(12, 1, 4).bias(false)), nn::Sigmoid());
}

/// The networks and their optimisers.
struct Networks {
  explicit Networks(const MakeOptimizer& make)
      : generator_optimizer(make(generator)), discriminator_optimizer(make(discriminator)) {}

  std::vector<torch::Tensor> Parameters() const {
    std::vector<torch::Tensor> all = generator->parameters();
    for (const torch::Tensor& p : discriminator->parameters()) all.push_back(p);
    return all;
  }

  Sequential generator = Generator(), discriminator = Discriminator();
  std::unique_ptr<torch::optim::Optimizer> generator_optimizer, discriminator_optimizer;
};

void TrainBatch(Networks& n, Gradients& gradients) {
  const auto bce = [](const torch::Tensor& x, double label) {
    return torch::binary_cross_entropy(x.reshape({-1}), torch::full({x.size(0)}, label));
  };
  n.discriminator->zero_grad();
  bce(n.discriminator->forward(torch::rand({16, 1, 8, 8})), 0.9).backward();
  const torch::Tensor fake = n.generator->forward(torch::randn({16, 8, 1, 1}));
  bce(n.discriminator->forward(fake.detach()), 0).backward();
  gradients.Exchange(n.discriminator->parameters());
  n.discriminator_optimizer->step();

  n.generator->zero_grad();
  bce(n.discriminator->forward(fake), 1).backward();
  gradients.Exchange(n.generator->parameters());
  n.generator_optimizer->step();
}

Networks Train(const MakeOptimizer& make, Gradients& gradients) {
  torch::manual_seed(1);
  std::stringstream files[4];
  {
    Networks first(make);
    for (int batch = 0; batch < 15; ++batch) TrainBatch(first, gradients);
    torch::save(first.generator, files[0]);
    torch::save(first.discriminator, files[1]);
    torch::save(*first.generator_optimizer, files[2]);
    torch::save(*first.discriminator_optimizer, files[3]);
  }
  Networks resumed(make);
  torch::load(resumed.generator, files[0]);
  torch::load(resumed.discriminator, files[1]);
  torch::load(*resumed.generator_optimizer, files[2]);
  torch::load(*resumed.discriminator_optimizer, files[3]);
  for (int batch = 0; batch < 15; ++batch) TrainBatch(resumed, gradients);
  return resumed;
}

}  // namespace gan

Outcome Gan() {
  Gradients gradients;
  const gan::Networks theirs = gan::Train(
      [](gan::Sequential& model) {
        return std::make_unique<torch::optim::Adam>(
            model->parameters(), torch::optim::AdamOptions(2e-3).betas({0.5, 0.999}));
      },
      gradients);
  gradients.Replay();
  const gan::Networks ours = gan::Train(
      [](gan::Sequential& model) {
        return std::make_unique<kudari::torch::Optimizer>(model,
                                                          kudari::Adam{.lr = 2e-3, .beta1 = 0.5});
      },
      gradients);
  torch::manual_seed(1);
  const gan::Networks start([](gan::Sequential& model) {
    return std::make_unique<torch::optim::Adam>(model->parameters());
  });
  return Compare(theirs.Parameters(), ours.Parameters(), start.Parameters());
}
