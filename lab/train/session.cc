#include "lab/train/session.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <climits>
#include <cmath>
#include <utility>

#include "kudari/error.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "lab/recipe/explain.h"
#include "lab/train/visit.h"

namespace kudari::lab {

using ::at::Tensor;

Session::Session(Recipe recipe) : Problem(std::move(recipe)) {
  const TrainConfig& train = this->recipe().train;
  if (const auto scaling = LossScaling(train)) scaler_.emplace(*scaling);
  OptimizerSpec spec = Resolve(this->recipe().optimizer, length());
  spec.measure_norm = true;
  optimizer_.emplace(model(), spec);
  optimizer_->core().SetParallel({at::get_num_threads(), nullptr});
  batches_.emplace(training(), train, augmenter(), WorkersFor(train, training(), augmenter()));
  FindLearningRateShown();
  FindEstimator();
  MakePlateau();
}

// Rather of the recipe's own rule than of a group, and of that than of the fallback.
void Session::FindLearningRateShown() {
  const std::vector<TensorPlan> plan = optimizer_->core().Plan();
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
  for (const TensorPlan& plan : optimizer_->core().Plan()) {
    const HessianEstimate made_for = Registry::Builtin().Find(plan.rule).hessian;
    if (made_for == HessianEstimate::kNone) continue;
    std::string wanted = recipe().hessian.estimator;
    if (wanted == "auto") wanted = made_for == HessianEstimate::kHutchinson ? "hutchinson" : "gnb";
    if (!estimator_.empty() && wanted != estimator_) {
      throw Error("hessian.estimator = \"auto\": the recipe's rules need different ones");
    }
    estimator_ = wanted;
  }
  if (estimator_ == "gnb" && loss()->name != "cross_entropy") {
    throw Error("hessian.estimator = \"gnb\" needs train.loss = \"cross_entropy\"");
  }
  if (estimator_.empty()) return;
  TrainConfig config = recipe().train;
  ++config.seed;
  hessian_batches_.emplace(training(), config,
                           Augmenter(recipe().augment, data(), static_cast<uint64_t>(config.seed)));
  hessian_batches_->StartEpoch();
}

Evaluation Session::NextLoss(Pass pass) {
  if (pass == Pass::kPlain) {
    if (!batches_->More()) return Evaluation::End();
    step_batches_.push_back(batches_->Next());
  }
  const Batch& batch = pass == Pass::kPlain ? step_batches_.back() : step_batches_.at(repeated_++);
  const Tensor output = Forward(model(), batch.x, compute());
  const Tensor mean = LossOf(loss(), output, batch.y, recipe().train.label_smoothing);
  // The engine takes the mean of what it accumulates.
  const Tensor goal = recipe().fault.sum_accumulation ? mean * recipe().optimizer.accumulate : mean;
  (scaler_ ? scaler_->Scale(goal) : goal).backward();
  SpoilGradients();
  return {mean.item<double>(), static_cast<double>(batch.size())};
}

double Session::BatchGradientNorm() const {
  double squares = 0;
  for (const Tensor& p : model().parameters()) {
    if (!p.grad().defined()) continue;
    const auto norm = at::linalg_vector_norm(p.grad().to(at::kFloat)).item<double>();
    squares += norm * norm;
  }
  const auto summed = static_cast<double>(recipe().optimizer.accumulate);
  return std::sqrt(squares) / (scaler_ ? scaler_->scale() : 1) /
         (recipe().fault.sum_accumulation ? summed : 1);
}

void Session::EndStep(bool skipped) {
  step_batches_.clear();
  repeated_ = 0;
  ++steps_;
  if (!estimator_.empty() && !skipped && steps_ % recipe().hessian.every == 0) EstimateHessian();
}

void Session::MakePlateau() {
  const TrainConfig& train = recipe().train;
  if (train.plateau_factor == 1) return;
  plateau_.emplace(1, ReduceOnPlateauOptions{
                          .factor = train.plateau_factor,
                          .improvement = {.threshold = train.plateau_threshold, .relative = true},
                          .patience = train.plateau_patience,
                          .cooldown = train.plateau_cooldown,
                          .eps = 0});
  for (size_t i = 0; i < optimizer_->core().tensors().size(); ++i) {
    rates_.push_back(optimizer_->core().ScheduleOf(i, "lr"));
  }
}

void Session::EndEvaluation(double validation_loss) {
  if (!plateau_) return;
  const double before = plateau_->value(), now = plateau_->Observe(validation_loss);
  if (now == before) return;
  for (size_t i = 0; i < rates_.size(); ++i) {
    optimizer_->core().SetSchedule(i, "lr", now * rates_[i]);
  }
}

void Session::Visit(StateVisitor& visitor) {
  visitor.Value("steps", steps_, 0);
  visitor.Node("model", [&] { VisitModule(model(), visitor); });
  visitor.Node("optimizer", [&] { optimizer_->core().Visit(visitor); });
  if (scaler_) visitor.Node("scaler", *scaler_);
  if (plateau_) visitor.Node("plateau", *plateau_);
  visitor.Node("batches", *batches_);
  if (hessian_batches_) visitor.Node("hessian_batches", *hessian_batches_);
  VisitRandom("random", at::detail::getDefaultCPUGenerator(), visitor);
}

// The estimate over a batch of its own, at the new weights. It is rare and squares small gradients:
// without autocast, whatever the precision.
void Session::EstimateHessian() {
  if (!hessian_batches_->MoreFull()) hessian_batches_->StartEpoch();
  const Batch batch = hessian_batches_->Next();
  const auto logits = [&] { return Forward(model(), batch.x, {.weights = compute().weights}); };
  const kudari::torch::EstimateOptions keep{.keep_buffers = &model()};
  if (estimator_ == "gnb") {
    const auto flat = [&] { return logits().flatten(0, -2); };
    optimizer_->UpdateHessian(
        kudari::torch::GaussNewtonBartlett(optimizer_->Parameters(), flat, keep));
  } else {
    const auto mean = [&] {
      return LossOf(loss(), logits(), batch.y, recipe().train.label_smoothing);
    };
    optimizer_->UpdateHessian(kudari::torch::Hutchinson(optimizer_->Parameters(), mean, keep));
  }
}

}  // namespace kudari::lab
