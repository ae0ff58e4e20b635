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
  if (recipe.train.plateau_factor < 1) {
    throw Error("train.plateau_factor needs validation data: data.validation is 0");
  }
}

Trainer::Trainer(const Recipe& recipe) : session_(Checked(recipe)) {
  const RunLength length = session_.length();
  run_.steps_per_epoch = static_cast<int64_t>(length.steps_per_epoch);
  run_.planned_steps = length.steps;
  if (recipe.train.early_stopping > 0) best_.emplace(session_.model());
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
  if (run_.steps >= run_.planned_steps) Stop("reached the end");
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
  kudari::torch::Optimizer& optimizer = session_.optimizer();
  kudari::torch::GradScaler* const scaler = session_.scaler();
  StepRecord record{.step = run_.steps + 1, .epoch = run_.epoch, .gradients = 0};
  const auto shown = session_.lr_index();
  record.lr = shown ? optimizer.core().Value(*shown, "lr") : kNotMeasured;
  const int64_t seen_before = run_.samples;
  const std::function<Evaluation(Pass)> closure = [&](Pass pass) {
    const Evaluation e = session_.NextLoss(pass);
    if (e.end) return e;
    if (pass == Pass::kPlain) run_.samples += static_cast<int64_t>(e.samples);
    ++record.gradients;
    Tell(&TrainObserver::OnGradient, GradientEvent{session_, pass, record});
    return e;
  };
  const Report report =
      scaler != nullptr ? scaler->Step(optimizer, closure) : optimizer.Step(closure);
  if (scaler != nullptr) scaler->Update();
  session_.EndStep(report.skipped);

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
  CheckStops(report);
  Tell(&TrainObserver::OnStep, StepEvent{session_, run_, report, record});
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
  } else if (run_.steps == run_.planned_steps) {
    Stop("reached the end");
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
  return std::make_unique<EvaluatedWeights>(session_.optimizer(), session_.model(),
                                            session_.training(), session_.recipe().train,
                                            session_.compute(), session_.augmenter());
}

void Trainer::Evaluate() {
  evaluated_ = run_.steps;
  std::optional<Score> score;
  if (session_.validation().size() > 0) {
    const auto view = ShowEvaluatedWeights();
    score = run_.validation = ScoreOf(session_.validation());
    if (best_ && std::isfinite(score->loss) && !(score->loss >= run_.lowest_val_loss)) {
      best_->Keep(run_.steps);
    }
  }
  if (score) {
    if (!(score->accuracy <= run_.best_val_accuracy)) run_.best_val_accuracy = score->accuracy;
    if (!std::isfinite(score->loss)) {
      Diverge(fmt::format("the validation loss is {}", score->loss));
    } else {
      run_.lowest_val_loss = std::fmin(score->loss, run_.lowest_val_loss);
      session_.EndEvaluation(score->loss);
    }
  }
  run_.seconds = Seconds();
  Tell(&TrainObserver::OnEvaluation, EvaluationEvent{session_, run_, score});
  if (!run_.diverged) CheckChange();
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
