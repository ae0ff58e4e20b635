// Training both recipes of a scaling; apart from scale.cc because it needs LibTorch.
#include "lab/measure/scale_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "kudari/batch_scaling.h"
#include "lab/train/trainer.h"

namespace kudari::lab {
namespace {

/// The recipe for some epochs in one process, its schedules as much shorter.
Recipe Short(const Recipe& recipe, int64_t ranks, double times_shorter) {
  Recipe r = recipe;
  r.optimizer = ScaleBatch(recipe.optimizer, times_shorter, BatchRule::kNone);
  r.optimizer.ema = recipe.optimizer.ema;
  r.optimizer.accumulate *= ranks;
  r.train.steps = ScaleSteps(recipe.train.steps, times_shorter);
  r.train.eval_every = 0;
  r.train.early_stopping = 0;
  return r;
}

/// The mean training loss over the last epoch's steps, those without a finite one left out.
class EpochLoss : public TrainObserver {
 public:
  void OnStep(const StepEvent& event) override {
    if (!std::isfinite(event.record.loss)) return;
    if (event.record.epoch != epoch_) sum_ = 0, steps_ = 0;
    epoch_ = event.record.epoch;
    sum_ += event.record.loss;
    ++steps_;
  }

  double Mean() const { return steps_ > 0 ? sum_ / static_cast<double>(steps_) : sum_; }

 private:
  int64_t epoch_ = 0, steps_ = 0;
  double sum_ = 0;
};

struct ScaledRun {
  RunState run;
  double training_loss = 0;
};

ScaledRun TrainOnce(const Recipe& recipe) {
  Trainer trainer(recipe);
  EpochLoss loss;
  trainer.Add(loss);
  trainer.Run();
  return {trainer.run(), loss.Mean()};
}

}  // namespace

void CheckScaling(const Scaling& scaling, const ScaleOptions& options, std::FILE* console) {
  const int64_t all = scaling.before.train.epochs;
  const int64_t epochs = all > 0 ? std::min(all, options.check_epochs) : options.check_epochs;
  // A run whose length is given in steps has no known number of epochs: the schedule is taken as it
  // is.
  const double shorter = all > 0 ? static_cast<double>(all) / static_cast<double>(epochs) : 1;
  const auto run = [&](const Recipe& recipe, int64_t batch, const std::string& name) {
    const int64_t ranks = batch / (recipe.train.batch_size * recipe.optimizer.accumulate);
    Recipe r = Short(recipe, ranks, shorter);
    r.train.epochs = epochs;
    fmt::print(console, "training: {}\n", name);
    std::fflush(console);
    return TrainOnce(r);
  };
  fmt::print(console, "\nBoth for {} epochs, schedules {} times shorter, in one process:\n", epochs,
             shorter);
  const ScaledRun before = run(scaling.before, scaling.old_batch, "before");
  const ScaledRun after = run(scaling.after, scaling.new_batch, "after");
  const auto row = [&](const char* name, double a, double b) {
    fmt::print(console, "{:<22} {:>12.4f} {:>12.4f}\n", name, a, b);
  };
  fmt::print(console, "{:<22} {:>12} {:>12}\n", "", "before", "after");
  fmt::print(console, "{:<22} {:>12} {:>12}\n", "samples per step", scaling.old_batch,
             scaling.new_batch);
  fmt::print(console, "{:<22} {:>12} {:>12}\n", "steps", before.run.steps, after.run.steps);
  row("training loss", before.training_loss, after.training_loss);
  row("validation loss", before.run.validation.loss, after.run.validation.loss);
  row("validation accuracy", before.run.validation.accuracy, after.run.validation.accuracy);
  if (before.run.diverged || after.run.diverged) {
    fmt::print(console, "diverged: {}\n",
               before.run.diverged ? (after.run.diverged ? "both" : "before") : "after");
  }
  fmt::print(console,
             "The training loss is the mean over the last epoch, in which a run with fewer steps "
             "has learnt less.\n");
}

}  // namespace kudari::lab
