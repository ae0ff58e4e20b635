// A program that uses the installed LibTorch adapter: one step of AdamW over a module.
#include <kudari/kudari.h>
#include <kudari/torch.h>

#include <cmath>
#include <cstdio>

int main() {
  torch::nn::Linear model(torch::nn::LinearOptions(2, 1).bias(false));
  {
    const torch::NoGradGuard guard;
    model->weight.copy_(torch::tensor({{1.0f, -2.0f}}));
  }
  kudari::torch::Optimizer optimizer(*model, kudari::AdamW{.lr = 0.1, .weight_decay = 0.5});
  optimizer.ZeroGrad();
  model->forward(torch::tensor({{0.5f, -0.25f}})).sum().backward();
  optimizer.Step();

  const auto w = model->weight.flatten();
  const double first = w[0].item<double>(), second = w[1].item<double>();
  const bool right = std::abs(first - 0.85) < 1e-6 && std::abs(second - -1.8) < 1e-6;
  std::printf("%s: %.6f %.6f\n", right ? "right" : "wrong", first, second);
  return right ? 0 : 1;
}
