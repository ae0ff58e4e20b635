#include "lab/train/session.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <climits>
#include <cmath>
#include <utility>

#include "kudari/error.h"
#include "kudari/registry.h"
#include "lab/recipe/explain.h"
#include "lab/train/weights.h"

namespace kudari::lab {

using ::at::Tensor;

Session::Session(Recipe recipe) : recipe_(std::move(recipe)) {
  const TrainConfig& train = recipe_.train;
  if (train.threads > 0) at::set_num_threads(static_cast<int>(train.threads));
  data_ = LoadTrainingData(recipe_);
  training_ = ToSamples(data_.train, data_);
  validation_ = ToSamples(data_.validation, data_);
  test_ = ToSamples(data_.test, data_);
  loss_ = ChooseLoss(train, data_);
  compute_ = ComputeOf(train);
  if (const auto scaling = LossScaling(train)) scaler_.emplace(*scaling);
  ::torch::manual_seed(static_cast<uint64_t>(train.seed));
  model_ = MakeModel(recipe_.model, data_.shape, data_.Outputs());
  SpoilWeights(recipe_.fault, *model_);
  faults_.emplace(recipe_.fault, *model_);
  model_->StoreWeights(compute_.weights);
  if (!train.init.empty()) LoadWeights(*model_, train.init);
  OptimizerSpec spec = recipe_.optimizer;
  spec.measure_norm = true;
  optimizer_.emplace(*model_, spec);
  optimizer_->engine().SetParallel({at::get_num_threads(), nullptr});
  batches_.emplace(training_, train);
  FindLearningRateShown();
  FindEstimator();
}

// Rather of the recipe's own rule than of a group, and of that than of the fallback.
void Session::FindLearningRateShown() {
  const std::vector<TensorPlan> plan = optimizer_->engine().Plan();
  const auto rank = [&plan](size_t i) {
    return plan[i].group == kFallbackGroup ? INT_MAX : plan[i].group;
  };
  for (size_t i = 0; i < plan.size(); ++i) {
    if (std::isnan(OptionOf(plan[i], "lr"))) continue;
    if (!lr_index_ || rank(i) < rank(*lr_index_)) lr_index_ = i;
  }
}

// Which estimate of the Hessian's diagonal the rules want, if any does.
void Session::FindEstimator() {
  for (const TensorPlan& plan : optimizer_->engine().Plan()) {
    const HessianEstimate made_for = Registry::Builtin().Find(plan.rule).hessian;
    if (made_for == HessianEstimate::kNone) continue;
    std::string wanted = recipe_.hessian.estimator;
    if (wanted == "auto") wanted = made_for == HessianEstimate::kHutchinson ? "hutchinson" : "gnb";
    if (!estimator_.empty() && wanted != estimator_) {
      throw Error("hessian.estimator = \"auto\": the recipe's rules want different ones");
    }
    estimator_ = wanted;
  }
  if (estimator_ == "gnb" && loss_ != Loss::kCrossEntropy) {
    throw Error("hessian.estimator = \"gnb\" needs train.loss = \"cross_entropy\"");
  }
  TrainConfig config = recipe_.train;
  ++config.seed;
  if (estimator_.empty()) return;
  hessian_batches_.emplace(training_, config);
  hessian_batches_->StartEpoch();
}

Evaluation Session::NextLoss(Pass pass) {
  if (pass == Pass::kPlain) {
    if (!batches_->More()) return Evaluation::End();
    step_batches_.push_back(batches_->Next());
  }
  const Samples& batch =
      pass == Pass::kPlain ? step_batches_.back() : step_batches_.at(repeated_++);
  const Tensor output = Forward(*model_, batch.x, compute_);
  const Tensor loss = LossOf(loss_, output, batch.y, recipe_.train.label_smoothing);
  // The engine takes the mean of what it accumulates.
  const Tensor goal = recipe_.fault.sum_accumulation ? loss * recipe_.optimizer.accumulate : loss;
  (scaler_ ? scaler_->Scale(goal) : goal).backward();
  faults_->Apply();
  return {loss.item<double>(), static_cast<double>(batch.size())};
}

double Session::BatchGradientNorm() const {
  double squares = 0;
  for (const Tensor& p : model_->parameters()) {
    if (!p.grad().defined()) continue;
    const auto norm = at::linalg_vector_norm(p.grad().to(at::kFloat)).item<double>();
    squares += norm * norm;
  }
  const auto summed = static_cast<double>(recipe_.optimizer.accumulate);
  return std::sqrt(squares) / (scaler_ ? scaler_->scale() : 1) /
         (recipe_.fault.sum_accumulation ? summed : 1);
}

void Session::EndStep(bool skipped) {
  step_batches_.clear();
  repeated_ = 0;
  ++steps_;
  if (!estimator_.empty() && !skipped && steps_ % recipe_.hessian.every == 0) EstimateHessian();
}

// The estimate over a batch of its own, at the new weights. It is rare and squares small gradients:
// without autocast, whatever the precision.
void Session::EstimateHessian() {
  if (!hessian_batches_->MoreFull()) hessian_batches_->StartEpoch();
  const Samples batch = hessian_batches_->Next();
  const auto logits = [&] { return Forward(*model_, batch.x, {.weights = compute_.weights}); };
  const kudari::torch::EstimateOptions keep{.keep_buffers = model_.get()};
  if (estimator_ == "gnb") {
    optimizer_->UpdateHessian(
        kudari::torch::GaussNewtonBartlett(optimizer_->Parameters(), logits, keep));
  } else {
    const auto loss = [&] {
      return LossOf(loss_, logits(), batch.y, recipe_.train.label_smoothing);
    };
    optimizer_->UpdateHessian(kudari::torch::Hutchinson(optimizer_->Parameters(), loss, keep));
  }
}

}  // namespace kudari::lab
