#include "lab/train/objective.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
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

Loss ChooseLoss(const TrainConfig& config, const Dataset& data) {
  if (config.loss == "mse") return Loss::kMeanSquare;
  if (config.loss == "auto") return data.classes > 0 ? Loss::kCrossEntropy : Loss::kMeanSquare;
  if (data.classes == 0) {
    throw Error(
        fmt::format("train.loss = \"cross_entropy\" needs classes; the data set {} has other "
                    "targets: use \"mse\"",
                    data.name));
  }
  return Loss::kCrossEntropy;
}

Tensor LossOf(Loss loss, const Tensor& output, const Tensor& y, double label_smoothing) {
  namespace f = ::torch::nn::functional;
  if (loss == Loss::kCrossEntropy) {
    return f::cross_entropy(output, y,
                            f::CrossEntropyFuncOptions().label_smoothing(label_smoothing));
  }
  const Tensor target =
      y.scalar_type() == ::torch::kInt64 ? ::torch::one_hot(y, output.size(1)).to(output) : y;
  return f::mse_loss(output, target);
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
                                   const Compute& compute)
    : statistics_(model) {
  std::vector<Tensor> trained;
  if (!model.buffers().empty()) trained = Copies(model.parameters());
  view_.emplace(optimizer.EvaluationWeights());
  const auto same = [](const Tensor& a, const Tensor& b) { return a.equal(b); };
  if (std::ranges::equal(trained, trained.empty() ? trained : model.parameters(), same)) return;
  TrainConfig order = config;
  order.shuffle = true;
  Batches batches(training, order);
  batches.StartEpoch();
  kudari::torch::UpdateBatchNorm(model, [&] {
    for (int i = 0; i < kStatisticsBatches && batches.MoreFull(); ++i) {
      Forward(model, batches.Next().x, compute);
    }
  });
}

Score Evaluate(Model& model, const Samples& samples, Loss loss, const Compute& compute) {
  const ::torch::NoGradGuard no_grad;
  model.eval();
  double total = 0;
  int64_t right = 0;
  for (int64_t begin = 0; begin < samples.size(); begin += kEvaluationBatch) {
    const int64_t count = std::min(kEvaluationBatch, samples.size() - begin);
    const Tensor y = samples.y.narrow(0, begin, count);
    const Tensor output = Forward(model, samples.x.narrow(0, begin, count), compute);
    total += LossOf(loss, output, y, 0).item<double>() * static_cast<double>(count);
    if (y.scalar_type() == ::torch::kInt64) right += (output.argmax(1) == y).sum().item<int64_t>();
  }
  model.train();
  const double n = static_cast<double>(samples.size());
  const bool classes = samples.size() > 0 && samples.y.scalar_type() == ::torch::kInt64;
  return {total / n,
          classes ? static_cast<double>(right) / n : std::numeric_limits<double>::quiet_NaN()};
}

}  // namespace kudari::lab
