// Small programs as people write them: an adversarial pair that is loaded after its optimisers were
// made, a clipped policy gradient, a language model with tied weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "kudari/kudari.h"
#include "kudari/torch.h"
#include "tests/support/errors.h"

namespace kudari::torch {
namespace nn = ::torch::nn;  // TORCH_MODULE says torch::nn
namespace programs_test {

using at::Tensor;
using kudari::testing::ErrorOf;

nn::Sequential Generator(int64_t channels) {
  return nn::Sequential(
      nn::ConvTranspose2d(nn::ConvTranspose2dOptions(8, channels, 4).bias(false)),
      nn::BatchNorm2d(channels), nn::ReLU(),
      nn::ConvTranspose2d(
          nn::ConvTranspose2dOptions(channels, 1, 4).stride(2).padding(1).bias(false)),
      nn::Tanh());
}

nn::Sequential Discriminator() {
  return nn::Sequential(nn::Conv2d(nn::Conv2dOptions(1, 6, 4).stride(2).padding(1).bias(false)),
                        nn::LeakyReLU(nn::LeakyReLUOptions().negative_slope(0.2)),
                        nn::Conv2d(nn::Conv2dOptions(6, 1, 4)), nn::Sigmoid());
}

// A round of LibTorch's example of a DCGAN.
void TrainRound(nn::Sequential& generator, nn::Sequential& discriminator, Optimizer& g,
                Optimizer& d) {
  discriminator->zero_grad();
  const Tensor real = at::ones({4, 1, 8, 8}) * 0.5;
  const Tensor d_real = discriminator->forward(real).reshape({-1});
  at::binary_cross_entropy(d_real, at::full({4}, 0.9)).backward();
  const Tensor fake = generator->forward(at::randn({4, 8, 1, 1}));
  const Tensor d_fake = discriminator->forward(fake.detach()).reshape({-1});
  at::binary_cross_entropy(d_fake, at::zeros({4})).backward();
  d.Step();
  generator->zero_grad();
  at::binary_cross_entropy(discriminator->forward(fake).reshape({-1}), at::ones({4})).backward();
  g.Step();
}

std::vector<Tensor> Copies(const nn::Module& module) {
  std::vector<Tensor> copies;
  for (const Tensor& p : module.parameters()) copies.push_back(p.detach().clone());
  return copies;
}

TEST(ProgramTest, AnAdversarialPairIsLoadedAfterItsOptimizersWereMade) {
  ::torch::manual_seed(1);
  nn::Sequential trained = Generator(6), trained_d = Discriminator();
  {
    Optimizer g(*trained, AdamW{.lr = 2e-3}), d(*trained_d, AdamW{.lr = 2e-3});
    for (int i = 0; i < 3; ++i) TrainRound(trained, trained_d, g, d);
  }
  std::stringstream g_file, d_file, other_file;
  ::torch::save(trained, g_file);
  ::torch::save(trained_d, d_file);
  ::torch::save(Generator(5), other_file);

  nn::Sequential generator = Generator(6), discriminator = Discriminator();
  Optimizer g(*generator, AdamW{.lr = 2e-3}), d(*discriminator, AdamW{.lr = 2e-3});
  ::torch::load(generator, g_file);
  ::torch::load(discriminator, d_file);
  Optimizer g2(*trained, AdamW{.lr = 2e-3}), d2(*trained_d, AdamW{.lr = 2e-3});
  for (int i = 0; i < 3; ++i) {
    ::torch::manual_seed(i);
    TrainRound(generator, discriminator, g, d);
    ::torch::manual_seed(i);
    TrainRound(trained, trained_d, g2, d2);
  }
  const auto a = Copies(*generator), b = Copies(*trained);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(a[i].equal(b[i])) << i;

  // A checkpoint of another width.
  ::torch::load(generator, other_file);
  const auto loaded = Copies(*generator), judge = Copies(*discriminator);
  EXPECT_EQ(ErrorOf([&] { g.Step(); }),
            "parameter \"0.weight\" now has the shape [8, 5, 4, 4]; the optimizer was made for [8, "
            "6, 4, 4]");
  const auto after = Copies(*generator);
  for (size_t i = 0; i < after.size(); ++i) EXPECT_TRUE(after[i].equal(loaded[i])) << i;
}

// A contextual bandit: the right action is the sign of the context.
TEST(ProgramTest, AClippedPolicyGradientLearns) {
  ::torch::manual_seed(1);
  nn::Sequential actor(nn::Linear(1, 16), nn::Tanh(), nn::Linear(16, 2));
  nn::Sequential critic(nn::Linear(1, 16), nn::Tanh(), nn::Linear(16, 1));
  NamedParameters parameters;
  for (const auto& item : actor->named_parameters()) {
    parameters.emplace_back("actor." + item.key(), item.value());
  }
  for (const auto& item : critic->named_parameters()) {
    parameters.emplace_back("critic." + item.key(), item.value());
  }
  OptimizerSpec spec = AdamW{.lr = 2e-2, .weight_decay = 0};
  spec.clip_norm = 0.5;
  Optimizer optimizer(parameters, spec);
  double reward = 0;
  for (int round = 0; round < 25; ++round) {
    const Tensor state = at::rand({64, 1}) * 2 - 1;
    Tensor action, old_log, advantage, target;
    {
      const ::torch::NoGradGuard off;
      const Tensor logits = actor->forward(state).log_softmax(1);
      action = at::multinomial(logits.exp(), 1);
      old_log = logits.gather(1, action);
      target = (action == (state > 0).to(at::kLong)).to(at::kFloat);
      advantage = target - critic->forward(state);
      reward = target.mean().item<double>();
    }
    for (int epoch = 0; epoch < 4; ++epoch) {
      for (int64_t begin = 0; begin < 64; begin += 32) {
        const auto part = [begin](const Tensor& t) { return t.narrow(0, begin, 32); };
        const Tensor log = actor->forward(part(state)).log_softmax(1).gather(1, part(action));
        const Tensor ratio = (log - part(old_log)).exp();
        const Tensor gain =
            at::minimum(ratio * part(advantage), ratio.clamp(0.8, 1.2) * part(advantage));
        const Tensor loss =
            -gain.mean() + 0.5 * (critic->forward(part(state)) - part(target)).square().mean();
        optimizer.ZeroGrad();
        loss.backward();
        const Report report = optimizer.Step();
        EXPECT_LE(report.grad_norm * report.factor, 0.5 + 1e-6);
      }
    }
  }
  EXPECT_GT(reward, 0.9);
}

// A linear layer that has the weights of another module.
struct TiedLinearImpl : nn::LinearImpl {
  explicit TiedLinearImpl(const Tensor& table)
      : nn::LinearImpl(nn::LinearOptions(table.size(1), table.size(0)).bias(false)) {
    weight = parameters_["weight"] = table;
  }
};
TORCH_MODULE(TiedLinear);

// A language model of one layer, whose head is the table of its tokens.
struct GptImpl : nn::Module {
  GptImpl() {
    wte = register_module("wte", nn::Embedding(11, 16));
    wpe = register_module("wpe", nn::Embedding(8, 16));
    norm = register_module("ln_1", nn::LayerNorm(nn::LayerNormOptions({16})));
    mlp = register_module("mlp", nn::Linear(16, 16));
    lm_head = register_module("lm_head", TiedLinear(wte->weight));
  }
  Tensor Loss(const Tensor& tokens) {
    const Tensor x = wte(tokens) + wpe(at::arange(tokens.size(1)));
    const Tensor logits = lm_head(x + mlp(norm(x)).tanh());
    return at::cross_entropy_loss(logits.reshape({-1, 11}), (tokens + 1).remainder(11).reshape(-1));
  }
  nn::Embedding wte{nullptr}, wpe{nullptr};
  nn::LayerNorm norm{nullptr};
  nn::Linear mlp{nullptr};
  TiedLinear lm_head{nullptr};
};
TORCH_MODULE(Gpt);

Tensor Tokens(int step) { return (at::arange(24).view({4, 6}) * (step + 1) + step).remainder(11); }

TEST(ProgramTest, ALanguageModelWithTiedWeightsTrainsAsWithLibTorchsOptimizer) {
  const auto make = [] {
    ::torch::manual_seed(1);
    return Gpt();
  };
  Gpt ours = make(), theirs = make();
  Optimizer a(*ours, AdamW{.lr = 1e-2, .weight_decay = 0.1});
  ASSERT_EQ(a.core().tensors()[0].name, "wte.weight");
  EXPECT_EQ(a.core().tensors()[0].aliases, std::vector<std::string>{"lm_head.weight"});
  EXPECT_EQ(a.core().Plan()[0].tensor_class, TensorClass::kEmbedding);
  std::vector<Tensor> distinct = theirs->parameters();
  distinct.pop_back();  // the table again
  ASSERT_EQ(a.Parameters().size(), distinct.size());
  ::torch::optim::AdamW b(distinct, ::torch::optim::AdamWOptions(1e-2).weight_decay(0.1));
  const double untrained = ours->Loss(Tokens(0)).item<double>();
  for (int step = 0; step < 60; ++step) {
    a.ZeroGrad();
    ours->Loss(Tokens(step)).backward();
    a.Step();
    b.zero_grad();
    theirs->Loss(Tokens(step)).backward();
    b.step();
  }
  for (size_t i = 0; i < distinct.size(); ++i) {
    EXPECT_LT((a.Parameters()[i] - distinct[i]).abs().max().item<double>(), 1e-4) << i;
  }
  EXPECT_LT(ours->Loss(Tokens(0)).item<double>(), 0.7 * untrained);
}

TEST(ProgramTest, ALanguageModelWithTiedWeightsResumes) {
  OptimizerSpec spec = AdamW{.lr = 1e-2};
  spec.source = "looksam";
  spec.sharpness = SharpnessSpec{.k = 3, .alpha = 0.3};
  spec.ema = EmaSpec{};
  const auto train = [](Gpt& model, Optimizer& optimizer, int from, int to) {
    for (int step = from; step < to; ++step) {
      optimizer.Step([&] {
        Tensor loss = model->Loss(Tokens(step));
        loss.backward();
        return loss;
      });
    }
  };
  Gpt whole;
  Optimizer a(*whole, spec);
  train(whole, a, 0, 4);
  std::stringstream file;
  ::torch::save(whole, file);
  const StateTree state = a.core().State();
  train(whole, a, 4, 8);

  Gpt resumed;
  Optimizer b(*resumed, spec);
  ::torch::load(resumed, file);
  b.core().LoadState(state);
  train(resumed, b, 4, 8);
  const auto x = Copies(*whole), y = Copies(*resumed);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_TRUE(x[i].equal(y[i])) << i;
}

}  // namespace programs_test
}  // namespace kudari::torch
