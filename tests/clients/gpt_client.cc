// A small GPT with tied weights: matrices decay and vectors do not, the learning rate warms up and
// falls along a cosine.
#include <kudari/kudari.h>
#include <kudari/torch.h>

#include <cmath>
#include <functional>
#include <memory>
#include <vector>

#include "clients.h"

namespace gpt {

constexpr int kSteps = 40, kWarmup = 8;
constexpr int64_t kTokens = 19, kWidth = 16, kLength = 12;

struct BlockImpl : torch::nn::Module {
  BlockImpl() {
    const auto norm = [] { return torch::nn::LayerNorm(torch::nn::LayerNormOptions({kWidth})); };
    ln_1 = register_module("ln_1", norm());
    attn = register_module("attn", torch::nn::Linear(kWidth, 3 * kWidth));
    proj = register_module("proj", torch::nn::Linear(kWidth, kWidth));
    ln_2 = register_module("ln_2", norm());
    up = register_module("up", torch::nn::Linear(kWidth, 4 * kWidth));
    down = register_module("down", torch::nn::Linear(4 * kWidth, kWidth));
  }

  torch::Tensor forward(torch::Tensor x) {
    const std::vector<torch::Tensor> qkv = attn(ln_1(x)).chunk(3, -1);
    x = x + proj(torch::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], {}, 0.0, true));
    return x + down(torch::gelu(up(ln_2(x))));
  }

  torch::nn::LayerNorm ln_1{nullptr}, ln_2{nullptr};
  torch::nn::Linear attn{nullptr}, proj{nullptr}, up{nullptr}, down{nullptr};
};
TORCH_MODULE(Block);

struct ModelImpl : torch::nn::Module {
  ModelImpl() {
    wte = register_module("wte", torch::nn::Embedding(kTokens, kWidth));
    wpe = register_module("wpe", torch::nn::Embedding(kLength, kWidth));
    blocks = register_module("blocks", torch::nn::Sequential(Block(), Block()));
    ln_f = register_module("ln_f", torch::nn::LayerNorm(torch::nn::LayerNormOptions({kWidth})));
  }

  torch::Tensor forward(const torch::Tensor& tokens) {
    const torch::Tensor x = wte(tokens) + wpe(torch::arange(tokens.size(1)));
    return torch::matmul(ln_f(blocks->forward(x)), wte->weight.t());
  }

  torch::nn::Embedding wte{nullptr}, wpe{nullptr};
  torch::nn::Sequential blocks{nullptr};
  torch::nn::LayerNorm ln_f{nullptr};
};
TORCH_MODULE(Model);

Model MakeModel() {
  torch::manual_seed(7);
  return Model();
}

void Train(Model& model, torch::optim::Optimizer& optimizer,
           const std::function<void(int)>& before_step, Gradients& gradients) {
  for (int step = 0; step < kSteps; ++step) {
    const torch::Tensor text = (torch::arange(4 * (kLength + 1)) * (step % 5 + 2))
                                   .remainder(kTokens)
                                   .view({4, kLength + 1});
    const torch::Tensor logits = model->forward(text.slice(1, 0, kLength));
    optimizer.zero_grad();
    torch::cross_entropy_loss(logits.reshape({-1, kTokens}), text.slice(1, 1).reshape({-1}))
        .backward();
    gradients.Exchange(model->parameters());
    before_step(step);
    optimizer.step();
  }
}

/// nanoGPT's.
double LearningRate(int step) {
  if (step < kWarmup) return 3e-3 * (step + 1) / kWarmup;
  return 3e-3 * (0.1 + 0.9 * 0.5 * (1 + std::cos(M_PI * (step - kWarmup) / (kSteps - kWarmup))));
}

}  // namespace gpt

Outcome Gpt() {
  Gradients gradients;
  gpt::Model theirs = gpt::MakeModel(), ours = gpt::MakeModel();
  std::vector<torch::Tensor> matrices, vectors;
  for (const torch::Tensor& p : theirs->parameters()) {
    (p.dim() >= 2 ? matrices : vectors).push_back(p);
  }
  const torch::optim::AdamWOptions options =
      torch::optim::AdamWOptions(3e-3).betas({0.9, 0.95}).weight_decay(0.1);
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(matrices, std::make_unique<torch::optim::AdamWOptions>(options));
  groups.emplace_back(vectors, std::make_unique<torch::optim::AdamWOptions>(
                                   torch::optim::AdamWOptions(options).weight_decay(0)));
  torch::optim::AdamW adamw(groups, torch::optim::AdamWOptions(3e-3).betas({0.9, 0.95}));
  const auto set_rate = [&adamw](int step) {
    for (auto& group : adamw.param_groups()) group.options().set_lr(gpt::LearningRate(step));
  };
  gpt::Train(theirs, adamw, set_rate, gradients);

  kudari::OptimizerSpec spec = kudari::AdamW{.beta2 = 0.95, .weight_decay = 0.1};
  spec.options.at("lr") = 3e-3 * kudari::Then(kudari::Warmup(gpt::kWarmup), gpt::kWarmup,
                                              kudari::Cosine(gpt::kSteps - gpt::kWarmup, 0.1));
  spec.no_decay = {kudari::TensorClass::kBias, kudari::TensorClass::kNorm};
  kudari::torch::Optimizer optimizer(ours, spec);
  gradients.Replay();
  gpt::Train(
      ours, optimizer, [](int) {}, gradients);
  return Compare(theirs->parameters(), ours->parameters(), Values(gpt::MakeModel()->parameters()));
}
