#include "lab/train/objective.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>
#include <utility>

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
  Loss loss = LossNamed(config.loss != "auto" ? std::string_view(config.loss)
                        : data.classes > 0    ? "cross_entropy"
                                              : "mse");
  if (config.label_smoothing > 0 && !(loss->smooths_labels && data.classes > 0)) {
    throw Error(
        fmt::format("train.label_smoothing = {:g} needs classes and a loss that uses it, "
                    "cross_entropy or bce_with_logits; the loss for {} is {}",
                    config.label_smoothing, data.name, loss->name));
  }
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

namespace {

// Numbers in the type of the weights; tokens as they are.
Tensor Input(const Tensor& x, const Compute& compute) {
  return x.is_floating_point() ? x.to(compute.weights) : x;
}

}  // namespace

Tensor Forward(Model& model, const Tensor& x, const Compute& compute) {
  if (!compute.autocast) return model.forward(Input(x, compute)).to(at::kFloat);
  const kudari::torch::Autocast autocast(*compute.autocast);
  return model.forward(x).to(at::kFloat);
}

Tensor OwnLoss(Model& model, const TrainingPass& pass, const Compute& compute) {
  if (!compute.autocast) {
    const Batch batch = {Input(pass.batch.x, compute), pass.batch.y};
    return model.TrainingLoss({.batch = batch, .part = pass.part, .random = pass.random})
        .to(at::kFloat);
  }
  const kudari::torch::Autocast autocast(*compute.autocast);
  return model.TrainingLoss(pass).to(at::kFloat);
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
    : EvaluatedWeights(
          {&optimizer}, model, training, config,
          [&](const Batch& batch) { Forward(model, batch.x, compute); }, augmenter) {}

EvaluatedWeights::EvaluatedWeights(const std::vector<kudari::torch::Optimizer*>& optimizers,
                                   Model& model, const Samples& training, const TrainConfig& config,
                                   const std::function<void(const Batch&)>& forward,
                                   const Augmenter& augmenter)
    : statistics_(model) {
  std::vector<Tensor> trained;
  if (!model.buffers().empty()) trained = Copies(model.parameters());
  for (kudari::torch::Optimizer* const optimizer : optimizers) {
    views_.push_back(optimizer->EvaluationWeights());
  }
  const auto same = [](const Tensor& a, const Tensor& b) { return a.equal(b); };
  if (std::ranges::equal(trained, trained.empty() ? trained : model.parameters(), same)) return;
  TrainConfig order = config;
  order.shuffle = true;
  Batches batches(training, order, augmenter);
  batches.StartEpoch();
  kudari::torch::UpdateBatchNorm(model, [&] {
    for (int i = 0; i < kStatisticsBatches && batches.MoreFull(); ++i) forward(batches.Next());
  });
}

namespace {

// What the samples, or the model, have to say themselves.
std::optional<Score> OwnScore(Model& model, const Samples& samples) {
  if (samples.size() == 0) return std::nullopt;
  if (const auto score = samples.Evaluate(model)) return score;
  int64_t begin = 0;
  return model.EvaluateOn([&]() -> Batch {
    const int64_t count = std::min(kEvaluationBatch, samples.size() - begin);
    return count > 0 ? samples.Range(std::exchange(begin, begin + count), count) : Batch();
  });
}

}  // namespace

namespace {

// How many samples are evaluated at a time: fewer where the outputs for all their tokens would fill
// the memory.
int64_t EvaluationBatch(Model& model, const Samples& samples, const Compute& compute) {
  constexpr int64_t kMostOutputs = int64_t{1} << 26;
  if (samples.size() == 0) return kEvaluationBatch;
  const auto [x, y] = samples.Range(0, 1);
  if (y.scalar_type() != ::torch::kInt64 || y.dim() < 2) return kEvaluationBatch;
  const int64_t outputs = Forward(model, x, compute).numel();
  return std::clamp(kMostOutputs / outputs, int64_t{1}, kEvaluationBatch);
}

}  // namespace

Score Evaluate(Model& model, const Samples& samples, const Loss& loss, const Compute& compute) {
  const ::torch::NoGradGuard no_grad;
  model.eval();
  if (const auto own = OwnScore(model, samples)) {
    model.train();
    return *own;
  }
  double total = 0;
  int64_t right = 0, answers = 0;
  const int64_t most = EvaluationBatch(model, samples, compute);
  for (int64_t begin = 0; begin < samples.size(); begin += most) {
    const int64_t count = std::min(most, samples.size() - begin);
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
