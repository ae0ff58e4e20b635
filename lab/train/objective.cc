#include "lab/train/objective.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

#include "kudari/error.h"
#include "kudari/torch_amp.h"

namespace kudari::lab {
namespace {

using ::at::Tensor;

constexpr int64_t kEvaluationBatch = 512;
constexpr int kStatisticsBatches = 20;

std::vector<Tensor> Copies(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> copies;
  for (const Tensor& t : tensors) copies.push_back(t.detach().clone());
  return copies;
}

at::ScalarType TypeOf(std::string_view name) {
  if (name == "f32") return at::kFloat;
  return name == "bf16" ? at::kBFloat16 : at::kHalf;
}

}  // namespace

Loss LossNamed(std::string_view name) { return LabRegistry::Builtin().losses.Get(name); }

Loss ChooseLoss(const TrainConfig& config, const Dataset& data) {
  if (config.loss == "auto") return LossNamed(data.classes > 0 ? "cross_entropy" : "mse");
  Loss loss = LossNamed(config.loss);
  if (loss->needs_classes && data.classes == 0) {
    throw Error(
        fmt::format("train.loss = \"{}\" needs classes; the data set {} has other targets: use "
                    "\"mse\"",
                    loss->name, data.name));
  }
  return loss;
}

Tensor LossOf(const Loss& loss, const Tensor& output, const Tensor& y, double label_smoothing) {
  const Tensor flat = output.flatten(0, -2);
  if (y.scalar_type() != ::torch::kInt64) return loss->mean(flat, y, label_smoothing);
  const Tensor classes = y.flatten();
  if (loss->needs_classes) return loss->mean(flat, classes, label_smoothing);
  return loss->mean(flat, ::torch::one_hot(classes, flat.size(1)).to(flat), label_smoothing);
}

Compute ComputeOf(const TrainConfig& config) {
  Compute compute{.weights = TypeOf(config.weights)};
  if (config.precision != "f32") compute.autocast = TypeOf(config.precision);
  return compute;
}

Tensor Forward(Model& model, const Tensor& x, const Compute& compute) {
  if (!compute.autocast) return model.forward(x.to(compute.weights)).to(at::kFloat);
  const kudari::torch::Autocast autocast(*compute.autocast);
  return model.forward(x).to(at::kFloat);
}

EvaluatedWeights::Kept::Kept(Model& model) {
  for (const Tensor& buffer : model.buffers()) buffers_.emplace_back(buffer, buffer.clone());
}

EvaluatedWeights::Kept::~Kept() {
  const ::torch::NoGradGuard no_grad;
  for (auto& [buffer, before] : buffers_) buffer.copy_(before);
}

EvaluatedWeights::EvaluatedWeights(kudari::torch::Optimizer& optimizer, Model& model,
                                   const Samples& training, const TrainConfig& config,
                                   const Compute& compute, const Augmenter& augmenter)
    : statistics_(model) {
  std::vector<Tensor> trained;
  if (!model.buffers().empty()) trained = Copies(model.parameters());
  view_.emplace(optimizer.EvaluationWeights());
  const auto same = [](const Tensor& a, const Tensor& b) { return a.equal(b); };
  if (std::ranges::equal(trained, trained.empty() ? trained : model.parameters(), same)) return;
  TrainConfig order = config;
  order.shuffle = true;
  Batches batches(training, order, augmenter);
  batches.StartEpoch();
  kudari::torch::UpdateBatchNorm(model, [&] {
    for (int i = 0; i < kStatisticsBatches && batches.MoreFull(); ++i) {
      Forward(model, batches.Next().x, compute);
    }
  });
}

Score Evaluate(Model& model, const Samples& samples, const Loss& loss, const Compute& compute) {
  const ::torch::NoGradGuard no_grad;
  model.eval();
  double total = 0;
  int64_t right = 0, answers = 0;
  for (int64_t begin = 0; begin < samples.size(); begin += kEvaluationBatch) {
    const int64_t count = std::min(kEvaluationBatch, samples.size() - begin);
    const auto [x, y] = samples.Range(begin, count);
    const Tensor output = Forward(model, x, compute);
    total += LossOf(loss, output, y, 0).item<double>() * static_cast<double>(count);
    if (y.scalar_type() != ::torch::kInt64) continue;
    right += (output.argmax(-1) == y).sum().item<int64_t>();
    answers += y.numel();
  }
  model.train();
  return {.loss = total / static_cast<double>(samples.size()),
          .accuracy = answers > 0 ? static_cast<double>(right) / static_cast<double>(answers)
                                  : kNotMeasured};
}

Score WithMetrics(Score score, const Loss& loss, const Dataset& data) {
  if (!data.next_token || loss->name != "cross_entropy") return score;
  score.perplexity = std::exp(score.loss);
  if (data.bytes_per_token > 0) {
    score.bits_per_byte = score.loss / std::numbers::ln2 / data.bytes_per_token;
  }
  return score;
}

}  // namespace kudari::lab
