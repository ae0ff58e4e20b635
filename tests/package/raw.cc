// A program that uses an installed or embedded Kudari: one step of AdamW over raw buffers.
#include <kudari/kudari.h>

#include <cmath>
#include <cstdio>
#include <vector>

int main() {
  std::vector<float> w = {1.0f, -2.0f};
  const std::vector<float> dw = {0.5f, -0.25f};
  kudari::Optimizer optimizer({{.name = "w", .shape = {2}, .param = w.data(), .grad = dw.data()}},
                              kudari::AdamW{.lr = 0.1, .weight_decay = 0.5});
  optimizer.Step();

  // AdamW's first step is lr * (sign(g) + weight_decay * w), but for eps.
  const bool right = std::abs(w[0] - 0.85f) < 1e-6f && std::abs(w[1] - -1.8f) < 1e-6f;
  std::printf("%s: %.6f %.6f\n", right ? "right" : "wrong", double{w[0]}, double{w[1]});
  return right ? 0 : 1;
}
