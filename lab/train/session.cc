#include "lab/train/session.h"

#include <fmt/format.h>
#include <torch/torch.h>

#include <array>
#include <climits>
#include <cmath>
#include <random>
#include <utility>

#include "kudari/error.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "kudari/torch_visit.h"
#include "lab/recipe/explain.h"

namespace kudari::lab {

using ::at::Tensor;

namespace {

// While it lives, only the parameters of one part get gradients: those of the others stay what
// their own pass made them.
class OthersFrozen {
 public:
  OthersFrozen(Model& model, size_t parts, size_t trained) {
    for (size_t i = 0; i < parts; ++i) {
      if (i == trained) continue;
      for (Tensor& p : model.Part(i).parameters()) {
        if (p.requires_grad()) others_.push_back(p.requires_grad_(false));
      }
    }
  }
  ~OthersFrozen() {
    for (const Tensor& p : others_) p.requires_grad_(true);
  }
  OthersFrozen(const OthersFrozen&) = delete;
  OthersFrozen& operator=(const OthersFrozen&) = delete;

 private:
  std::vector<Tensor> others_;
};

}  // namespace

Session::Session(Recipe recipe) : Problem(std::move(recipe)) {
  const TrainConfig& train = this->recipe().train;
  for (const auto& [name, given] : OptimizersOf(this->recipe())) {
    Part& part = parts_.emplace_back();
    part.name = name;
    if (const auto scaling = LossScaling(train)) part.scaler.emplace(*scaling);
    OptimizerSpec spec = Resolve(*given, length());
    spec.measure_norm = true;
    part.optimizer =
        std::make_unique<kudari::torch::Optimizer>(model().Part(parts_.size() - 1), spec);
    part.optimizer->core().SetParallel({at::get_num_threads(), nullptr});
    part.lr_index = FindLearningRateShown(*part.optimizer);
  }
  batches_.emplace(training(), train, augmenter(), WorkersFor(train, training(), augmenter()));
  FindEstimator();
  MakePlateau();
}

// Rather of the recipe's own rule than of a group, and of that than of the fallback.
std::optional<size_t> Session::FindLearningRateShown(const kudari::torch::Optimizer& optimizer) {
  const std::vector<TensorPlan> plan = optimizer.core().Plan();
  const auto rank = [&plan](size_t i) {
    return plan[i].group == kFallbackGroup ? INT_MAX : plan[i].group;
  };
  std::optional<size_t> shown;
  for (size_t i = 0; i < plan.size(); ++i) {
    if (std::isnan(OptionOf(plan[i], "lr"))) continue;
    // Of those with the same rate, the one whose rate is scaled down least.
    const auto place = [&](size_t k) { return std::pair(rank(k), -plan[k].lr_scale); };
    if (!shown || place(i) < place(*shown)) shown = i;
  }
  return shown;
}

// Which estimate of the Hessian's diagonal the rules want, if any does.
void Session::FindEstimator() {
  for (const Part& part : parts_) {
    for (const TensorPlan& plan : part.optimizer->core().Plan()) {
      const HessianEstimate made_for = Registry::Builtin().Find(plan.rule).hessian;
      if (made_for == HessianEstimate::kNone) continue;
      std::string wanted = recipe().hessian.estimator;
      if (wanted == "auto")
        wanted = made_for == HessianEstimate::kHutchinson ? "hutchinson" : "gnb";
      if (!estimator_.empty() && wanted != estimator_) {
        throw Error("hessian.estimator = \"auto\": the recipe's rules need different ones");
      }
      estimator_ = wanted;
    }
  }
  if (!estimator_.empty() && (traits().own_loss || !parts_.front().name.empty())) {
    throw Error(
        fmt::format("model.name = \"{}\" has a loss of its own, of which no rule can use "
                    "the Hessian yet; use another rule",
                    recipe().model.name()));
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

Evaluation Session::NextLoss(Pass pass, size_t part) {
  if (pass != last_pass_ || part != last_part_) next_ = 0;
  last_pass_ = pass;
  last_part_ = part;
  if (pass == Pass::kPlain && part == 0) {
    if (!batches_->More()) return Evaluation::End();
    step_batches_.push_back(batches_->Next());
  }
  if (next_ == step_batches_.size()) return Evaluation::End();
  const Batch& batch = step_batches_[next_];
  const OthersFrozen frozen(model(), parts_.size(), part);
  const Tensor mean = MeanLoss(batch, part);
  ++next_;
  // The engine takes the mean of what it accumulates.
  const Tensor goal = recipe().fault.sum_accumulation ? mean * recipe().optimizer.accumulate : mean;
  auto& scaler = parts_.at(part).scaler;
  (scaler ? scaler->Scale(goal) : goal).backward();
  SpoilGradients();
  return {mean.item<double>(), static_cast<double>(batch.size())};
}

Tensor Session::MeanLoss(const Batch& batch, size_t part) {
  if (!traits().own_loss) {
    const Tensor output = Forward(model(), batch.x, compute());
    return LossOf(loss(), output, batch.y, recipe().train.label_smoothing);
  }
  std::seed_seq place = {recipe().train.seed, steps_, static_cast<int64_t>(next_)};
  std::array<uint32_t, 2> seed = {};
  place.generate(seed.begin(), seed.end());
  const at::Generator random = at::detail::createCPUGenerator(uint64_t{seed[0]} << 32 | seed[1]);
  return OwnLoss(model(), {.batch = batch, .part = part, .random = random}, compute());
}

void Session::ForwardOnly(const Batch& batch) {
  const ::torch::NoGradGuard no_grad;
  if (!traits().own_loss) {
    Forward(model(), batch.x, compute());
    return;
  }
  for (size_t part = 0; part < parts_.size(); ++part) MeanLoss(batch, part);
}

double Session::BatchGradientNorm() const {
  double squares = 0;
  const std::vector<Tensor> parameters = optimizer().Parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor& p = parameters[i];
    if (!p.grad().defined() || optimizer().core().Frozen(i)) continue;
    const auto norm = at::linalg_vector_norm(p.grad().to(at::kFloat)).item<double>();
    squares += norm * norm;
  }
  const auto summed = static_cast<double>(recipe().optimizer.accumulate);
  const auto& scaler = parts_.front().scaler;
  return std::sqrt(squares) / (scaler ? scaler->scale() : 1) /
         (recipe().fault.sum_accumulation ? summed : 1);
}

void Session::EndStep(bool skipped) {
  step_batches_.clear();
  next_ = last_part_ = 0;
  last_pass_ = Pass::kPlain;
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
  for (Part& part : parts_) {
    kudari::Optimizer& core = part.optimizer->core();
    for (size_t i = 0; i < core.tensors().size(); ++i) {
      rates_.push_back({&core, i, core.ScheduleOf(i, "lr")});
    }
  }
}

void Session::EndEvaluation(double monitored) {
  if (!plateau_) return;
  const double before = plateau_->value(), now = plateau_->Observe(monitored);
  if (now == before) return;
  for (const Rate& rate : rates_) rate.core->SetSchedule(rate.tensor, "lr", now * rate.lr);
}

void Session::Visit(StateVisitor& visitor) {
  visitor.Value("steps", steps_, 0);
  visitor.Node("model", [&] { kudari::torch::VisitModule(model(), visitor); });
  const auto visit_part = [&visitor](Part& part) {
    visitor.Node("optimizer", [&] { part.optimizer->core().Visit(visitor); });
    if (part.scaler) visitor.Node("scaler", *part.scaler);
  };
  for (Part& part : parts_) {
    if (part.name.empty()) {
      visit_part(part);
    } else {
      visitor.Node(part.name, [&] { visit_part(part); });
    }
  }
  if (plateau_) visitor.Node("plateau", *plateau_);
  visitor.Node("batches", *batches_);
  if (hessian_batches_) visitor.Node("hessian_batches", *hessian_batches_);
  kudari::torch::VisitRandom("random", at::detail::getDefaultCPUGenerator(), visitor);
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
    optimizer().UpdateHessian(
        kudari::torch::GaussNewtonBartlett(optimizer().Parameters(), flat, keep));
  } else {
    const auto mean = [&] {
      return LossOf(loss(), logits(), batch.y, recipe().train.label_smoothing);
    };
    optimizer().UpdateHessian(kudari::torch::Hutchinson(optimizer().Parameters(), mean, keep));
  }
}

}  // namespace kudari::lab
