// The losses that recipes may name, by the names of torch's functions.
#include "lab/models/parts/losses.h"

#ifdef KUDARI_LAB_TORCH
#include <torch/torch.h>

#include <map>
#endif

namespace kudari::lab {

std::vector<LossEntry> DescribeLosses() {
  return {{.name = "cross_entropy",
           .doc = "negative logarithm of the probability of the class",
           .needs_classes = true,
           .smooths_labels = true},
          {.name = "mse", .doc = "mean of the squared differences"},
          {.name = "l1", .doc = "mean of the absolute differences"},
          {.name = "smooth_l1",
           .doc = "half the squared difference below 1, the absolute one less a half above"},
          {.name = "bce_with_logits",
           .doc = "cross-entropy of each output by itself, with a sigmoid",
           .smooths_labels = true}};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace f = ::torch::nn::functional;
using ::at::Tensor;

Tensor CrossEntropy(const Tensor& output, const Tensor& y, double label_smoothing) {
  return f::cross_entropy(output, y, f::CrossEntropyFuncOptions().label_smoothing(label_smoothing));
}

Tensor Mse(const Tensor& output, const Tensor& y, double /*label_smoothing*/) {
  return f::mse_loss(output, y);
}

Tensor L1(const Tensor& output, const Tensor& y, double /*label_smoothing*/) {
  return f::l1_loss(output, y);
}

Tensor SmoothL1(const Tensor& output, const Tensor& y, double /*label_smoothing*/) {
  return f::smooth_l1_loss(output, y);
}

// Smoothed as by timm: towards an equal share of all outputs.
Tensor BceWithLogits(const Tensor& output, const Tensor& y, double label_smoothing) {
  const Tensor target =
      y * (1 - label_smoothing) + label_smoothing / static_cast<double>(output.size(-1));
  return f::binary_cross_entropy_with_logits(output, target);
}

}  // namespace

std::vector<LossEntry> BuildLosses() {
  const std::map<std::string, decltype(&Mse)> functions = {{"cross_entropy", &CrossEntropy},
                                                           {"mse", &Mse},
                                                           {"l1", &L1},
                                                           {"smooth_l1", &SmoothL1},
                                                           {"bce_with_logits", &BceWithLogits}};
  std::vector<LossEntry> losses = DescribeLosses();
  for (LossEntry& loss : losses) loss.mean = functions.at(loss.name);
  return losses;
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
