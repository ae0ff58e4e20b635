#include "lab/train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "kudari/error.h"
#include "lab/train/objective.h"

namespace kudari::lab {
namespace {

// The better of each value; what is not finite is no better than anything.
Score BestOf(const Score& a, const Score& b) {
  Score best = a;
  for (const Metric& metric : kMetrics) {
    const double old = a.*metric.value, now = b.*metric.value;
    if (!std::isfinite(now)) continue;
    const bool better = std::isnan(old) || (metric.higher_is_better ? now > old : now < old);
    if (better) best.*metric.value = now;
  }
  return best;
}

const Recipe& Checked(const Recipe& recipe) {
  CheckEvaluations(recipe);
  return recipe;
}

}  // namespace

void CheckEvaluations(const Recipe& recipe) {
  if (recipe.data.validation > 0) return;
  if (recipe.train.early_stopping > 0) {
    throw Error("train.early_stopping needs validation data: data.validation is 0");
  }
  if (recipe.train.save == "best") {
    throw Error("train.save = \"best\" needs validation data: data.validation is 0");
  }
  if (recipe.train.plateau_factor < 1) {
    throw Error("train.plateau_factor needs validation data: data.validation is 0");
  }
}

Trainer::Trainer(const Recipe& recipe) : session_(Checked(recipe)) {
  const RunLength length = session_.length();
  run_.steps_per_epoch = static_cast<int64_t>(length.steps_per_epoch);
  run_.planned_steps = length.steps;
  if (SavesBest(recipe.train)) best_.emplace(session_.model());
}

const RunState& Trainer::Run(const std::function<bool()>& interrupted) {
  Start();
  while (Step()) {
    if (interrupted && interrupted()) {
      Stop(fmt::format("interrupted at step {}, epoch {}", run_.steps, run_.epoch));
    }
  }
  Finish();
  return run_;
}

void Trainer::Start() {
  Tell(&TrainObserver::OnStart, StartEvent{session_, run_});
  session_.model().train();
  start_ = Clock::now() -
           std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(run_.seconds));
  if (run_.steps >= run_.planned_steps) Stop(kReachedTheEnd);
}

bool Trainer::Step() {
  if (!run_.stopped.empty()) return false;
  Batches& batches = session_.batches();
  if (run_.epoch == 0 || !batches.More()) {
    ++run_.epoch;
    batches.StartEpoch();
  }
  TakeStep();
  const int64_t every = session_.recipe().train.eval_every;
  const bool due = every > 0 ? run_.steps % every == 0 : !batches.More();
  if (due && !run_.diverged) Evaluate();
  return run_.stopped.empty();
}

void Trainer::Visit(StateVisitor& visitor) {
  visitor.Node("run", run_);
  visitor.Value("evaluated", evaluated_, 0);
  visitor.Value("lowest_monitored", lowest_monitored_);
  visitor.Value("interval_loss", interval_loss_);
  visitor.Value("interval_samples", interval_samples_);
  visitor.Value("former_mean_loss", former_mean_loss_);
  visitor.Node("session", session_);
  if (best_) visitor.Node("best", *best_);
  visitor.Node("observers", [&] {
    for (TrainObserver* const observer : observers_) {
      if (!observer->StateName().empty()) visitor.Node(observer->StateName(), *observer);
    }
  });
}

void Trainer::TakeStep() {
  StepRecord record{.step = run_.steps + 1, .epoch = run_.epoch, .gradients = 0};
  const int64_t seen_before = run_.samples;
  std::vector<Report> reports;
  for (size_t part = 0; part < session_.parts().size(); ++part) {
    reports.push_back(StepPart(part, record));
  }
  session_.EndStep(reports.front().skipped);

  const Report& report = reports.front();
  record.loss = report.loss;
  record.grad_norm = report.grad_norm;
  record.skipped = report.skipped;
  record.loss_scale = report.loss_scale;
  record.numerics = report.numerics;
  record.first_nonfinite = report.first_nonfinite;
  run_.seconds = record.seconds = Seconds();
  run_.steps = record.step;
  run_.loss = report.loss;
  run_.skipped += report.skipped ? 1 : 0;
  run_.gradients += record.gradients;
  const auto samples = static_cast<double>(run_.samples - seen_before);
  interval_samples_ += samples;
  interval_loss_ += samples * report.loss;
  for (const Report& r : reports) CheckStops(r);
  if (run_.steps == run_.planned_steps) Stop(kReachedTheEnd);
  Tell(&TrainObserver::OnStep, StepEvent{session_, run_, report, record});
}

// The step of one optimiser. What the record has of several is that of the first, but for `parts`.
Report Trainer::StepPart(size_t index, StepRecord& record) {
  Session::Part& part = session_.parts()[index];
  const double lr =
      part.lr_index ? part.optimizer->core().Value(*part.lr_index, "lr") : kNotMeasured;
  if (index == 0) record.lr = lr;
  const std::function<Evaluation(Pass)> closure = [&](Pass pass) {
    const Evaluation e = session_.NextLoss(pass, index);
    if (e.end) return e;
    if (pass == Pass::kPlain && index == 0) run_.samples += static_cast<int64_t>(e.samples);
    ++record.gradients;
    Tell(&TrainObserver::OnGradient, GradientEvent{session_, pass, record});
    return e;
  };
  Report report =
      part.scaler ? part.scaler->Step(*part.optimizer, closure) : part.optimizer->Step(closure);
  if (part.scaler) part.scaler->Update();
  if (!part.name.empty()) {
    record.parts.push_back(
        {.name = part.name, .loss = report.loss, .lr = lr, .grad_norm = report.grad_norm});
  }
  return report;
}

void Trainer::CheckStops(const Report& report) {
  const Recipe& recipe = session_.recipe();
  // No scale helps a loss that is not finite by itself: it is skipped only if the recipe says so.
  const bool skips = report.skipped && (session_.scaler() == nullptr ||
                                        recipe.optimizer.nonfinite == NonFinite::kSkip);
  if (!std::isfinite(report.loss) && !skips) {
    Diverge(fmt::format("the training loss is {}", report.loss));
  } else if (report.skipped && report.loss_scale == GradScalerOptions().min_scale) {
    Diverge(fmt::format("the gradient of \"{}\" is not finite at the smallest loss scale",
                        report.first_nonfinite));
  } else if (report.grad_norm < recipe.train.min_grad_norm) {
    Stop(fmt::format("gradient norm {:.3g} is below train.min_grad_norm = {:g}", report.grad_norm,
                     recipe.train.min_grad_norm));
  }
}

void Trainer::Diverge(std::string_view what) {
  run_.diverged = true;
  run_.stopped = fmt::format("diverged: {} at step {}", what, run_.steps);
}

Score Trainer::ScoreOf(const Samples& samples) {
  const Score score = lab::Evaluate(session_.model(), samples, session_.loss(), session_.compute());
  return WithMetrics(score, session_.loss(), session_.data());
}

std::unique_ptr<EvaluatedWeights> Trainer::ShowEvaluatedWeights() {
  std::vector<kudari::torch::Optimizer*> optimizers;
  for (Session::Part& part : session_.parts()) optimizers.push_back(part.optimizer.get());
  return std::make_unique<EvaluatedWeights>(
      optimizers, session_.model(), session_.training(), session_.recipe().train,
      [this](const Batch& batch) { session_.ForwardOnly(batch); }, session_.augmenter());
}

void Trainer::Evaluate() {
  evaluated_ = run_.steps;
  EvaluationEvent event{session_, run_, std::nullopt};
  {
    const auto view = ShowEvaluatedWeights();
    if (session_.validation().size() > 0) {
      event.validation = run_.validation = ScoreOf(session_.validation());
      event.metric = MonitoredMetric(session_.recipe().train.monitor, *event.validation);
      event.monitored = Monitored(event.metric, *event.validation);
      if (best_ && event.monitored < lowest_monitored_) best_->Keep(run_.steps);
    }
    Tell(&TrainObserver::OnShown, ShownEvent{session_, run_});
  }
  if (event.validation) {
    run_.best = BestOf(run_.best, *event.validation);
    if (std::isfinite(event.monitored)) {
      lowest_monitored_ = std::min(lowest_monitored_, event.monitored);
      session_.EndEvaluation(event.monitored);
    }
  }
  run_.seconds = Seconds();
  Tell(&TrainObserver::OnEvaluation, event);
  if (!run_.diverged) CheckChange();
}

// The value that the recipe follows, the lower the better. A run diverges if it is not finite.
double Trainer::Monitored(const Metric& metric, const Score& score) {
  const double value = score.*metric.value;
  if (std::isnan(value) && std::isfinite(score.loss)) {
    throw Error(fmt::format("train.monitor = \"{}\": an evaluation of model \"{}\" on {} has none",
                            metric.name, session_.recipe().model.name(), session_.data().name));
  }
  if (!std::isfinite(value)) Diverge(fmt::format("the validation {} is {}", metric.name, value));
  return metric.higher_is_better ? -value : value;
}

void Trainer::CheckChange() {
  const double limit = session_.recipe().train.min_loss_change;
  const double mean_loss = interval_loss_ / interval_samples_;
  const double change = std::abs(mean_loss - former_mean_loss_);
  if (change < limit) {
    Stop(fmt::format("the training loss changed by {:.3g}, less than train.min_loss_change = {:g}",
                     change, limit));
  }
  former_mean_loss_ = mean_loss;
  interval_loss_ = interval_samples_ = 0;
}

void Trainer::Finish() {
  if (evaluated_ != run_.steps && !run_.diverged) Evaluate();
  run_.seconds = Seconds();
  std::unique_ptr<EvaluatedWeights> view;
  std::optional<BestWeights::Shown> shown;
  if (!run_.diverged) {
    run_.saved_step = run_.steps;
    view = ShowEvaluatedWeights();
    if (best_ && best_->step() > 0 && best_->step() < run_.steps) {
      run_.saved_step = best_->step();
      shown.emplace(*best_);
    }
    run_.test = ScoreOf(session_.test());
  }
  Tell(&TrainObserver::OnEnd, EndEvent{session_, run_});
}

}  // namespace kudari::lab
