#include "lab/verbs/train_progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kudari/recipe.h"
#include "lab/recipe/explain.h"
#include "lab/train/session.h"

namespace kudari::lab {
namespace {

std::string SamplesText(const Session& session) {
  return fmt::format("{} training, {} validation, {} test samples", session.training().size(),
                     session.validation().size(), session.test().size());
}

std::string PrecisionText(Session& session, const RunState& run) {
  const Recipe& recipe = session.recipe();
  std::string text = recipe.train.precision;
  if (recipe.train.weights != "f32") {
    text += fmt::format(", weights {}", recipe.train.weights);
    const Master master = recipe.optimizer.precision.master;
    if (master != Master::kNone) text += fmt::format(" with {} master", Name(master));
  }
  if (session.scaler() != nullptr) {
    text += fmt::format(", loss scale {:g}", session.scaler()->scale());
  }
  if (run.skipped > 0) {
    text +=
        fmt::format(", {} step{} skipped by overflow", run.skipped, run.skipped == 1 ? "" : "s");
  }
  return text;
}

// The files that the data leaves out, the first of them by name.
std::string SkippedText(const std::vector<std::string>& skipped) {
  constexpr size_t kMostNamed = 20;
  if (skipped.empty()) return "";
  std::string text =
      fmt::format("warning: {} left out:\n", Counted(std::ssize(skipped), "damaged file"));
  for (size_t i = 0; i < std::min(skipped.size(), kMostNamed); ++i)
    text += "  " + skipped[i] + "\n";
  if (skipped.size() > kMostNamed) {
    text += fmt::format("  and {} more\n", skipped.size() - kMostNamed);
  }
  return text;
}

}  // namespace

void TrainProgress::OnStart(const StartEvent& event) {
  const Session& session = event.session;
  const RunState& run = event.run;
  progress_.Text(
      fmt::format("{}: {} with {} parameters on {} ({})\n{} steps, {} per epoch, batches of {}, {} "
                  "thread{}; results in {}\n",
                  name_, session.recipe().model.name(), session.model().ParameterCount(),
                  session.data().name, SamplesText(session), run.planned_steps, run.steps_per_epoch,
                  session.recipe().train.batch_size, at::get_num_threads(),
                  at::get_num_threads() == 1 ? "" : "s", out_));
  progress_.Text(SkippedText(session.data().skipped));
  progress_.Text(ScheduleLines(session.recipe().optimizer, session.length()));
}

void TrainProgress::OnStep(const StepEvent& event) {
  lr_ = event.record.lr;
  grad_norm_ = event.record.grad_norm;
  if (event.run.stopped.empty()) progress_.Step(Now(event.run));
}

void TrainProgress::OnEvaluation(const EvaluationEvent& event) {
  if (event.run.diverged) return;
  progress_.ShowEvaluation(Now(event.run));
  if (doctor_ == nullptr) return;
  for (const Finding& f : doctor_->New()) {
    progress_.Text(fmt::format("doctor, at step {}: {}\n", event.run.steps, FindingLine(f)));
  }
}

Status TrainProgress::Now(const RunState& run) const {
  return {.step = run.steps,
          .steps = run.planned_steps,
          .epoch = run.epoch,
          .epochs = (run.planned_steps + run.steps_per_epoch - 1) / run.steps_per_epoch,
          .loss = run.loss,
          .val_accuracy = run.validation.accuracy,
          .val_loss = run.validation.loss,
          .lr = lr_,
          .grad_norm = grad_norm_,
          .samples_per_second = static_cast<double>(run.samples) / run.seconds,
          .seconds_left = run.seconds * static_cast<double>(run.planned_steps - run.steps) /
                          static_cast<double>(run.steps)};
}

nlohmann::ordered_json SummaryJson(Session& session, const RunState& run) {
  const Recipe& recipe = session.recipe();
  const auto score = [](const Score& s) {
    return nlohmann::ordered_json{{"loss", s.loss}, {"accuracy", s.accuracy}};
  };
  return {{"model", recipe.model.name()},
          {"parameters", session.model().ParameterCount()},
          {"data", session.data().name},
          {"optimizer", OptimizerText(recipe.optimizer)},
          {"steps", run.steps},
          {"planned_steps", run.planned_steps},
          {"epoch", run.epoch},
          {"skipped", run.skipped},
          {"gradients", run.gradients},
          {"samples", run.samples},
          {"seconds", run.seconds},
          {"stopped", run.stopped},
          {"diverged", run.diverged},
          {"saved_step", run.saved_step},
          {"loss", run.loss},
          {"validation", score(run.validation)},
          {"lowest_validation_loss", run.lowest_val_loss},
          {"best_validation_accuracy", run.best_val_accuracy},
          {"test", score(run.test)}};
}

std::vector<std::vector<std::string>> SummaryRows(Session& session, const RunState& run) {
  const Recipe& recipe = session.recipe();
  const MemoryPlan memory = session.optimizer().core().Memory();
  int64_t weight_bytes = 0, state_bytes = memory.averages;  // masters among the state
  for (const TensorBytes& t : memory.tensors) {
    weight_bytes += t.weights;
    state_bytes += t.master;
    for (const auto& slot : t.state) state_bytes += slot.second;
  }
  const int64_t count = session.model().ParameterCount();
  const auto parameters = static_cast<double>(count);
  std::vector<std::vector<std::string>> rows = {
      {"model", fmt::format("{}, {} parameters", recipe.model.name(), count)},
      {"data", fmt::format("{}: {}", session.data().name, SamplesText(session))},
      {"optimiser", OptimizerText(Resolve(recipe.optimizer, session.length()))},
      {"weights", fmt::format("{} bytes, {:.3g} a parameter, and as many for gradients",
                              weight_bytes, static_cast<double>(weight_bytes) / parameters)},
      {"state", fmt::format("{} bytes, {:.3g} a parameter", state_bytes,
                            static_cast<double>(state_bytes) / parameters)},
      {"steps", fmt::format("{} of {}, in epoch {}", run.steps, run.planned_steps, run.epoch)},
      {"time", fmt::format("{:.1f} s, {:.0f} samples/s", run.seconds,
                           static_cast<double>(run.samples) / run.seconds)},
      {"stopped", run.stopped},
      {"training loss", fmt::format("{:.4f}", run.loss)}};
  if (run.gradients != run.steps) {
    rows.push_back({"gradients", fmt::format("{}, {:.3g} a step", run.gradients,
                                             static_cast<double>(run.gradients) /
                                                 static_cast<double>(run.steps))});
  }
  const Compute& compute = session.compute();
  if (compute.autocast || compute.weights != at::kFloat || session.scaler() != nullptr ||
      run.skipped > 0) {
    rows.insert(rows.begin() + 3, {"precision", PrecisionText(session, run)});
  }
  if (session.validation().size() > 0) {
    rows.push_back({"validation loss", fmt::format("{:.4f}, lowest {:.4f}", run.validation.loss,
                                                   run.lowest_val_loss)});
  }
  if (run.saved_step > 0 && run.saved_step < run.steps) {
    rows.push_back({"weights saved", fmt::format("those after step {}, with the lowest validation "
                                                 "loss (train.early_stopping)",
                                                 run.saved_step)});
  }
  if (session.plateau()) {
    rows.push_back({"plateau", fmt::format("learning rates ended at {:g} of the recipe's",
                                           session.plateau()->value())});
  }
  if (std::isfinite(run.validation.accuracy)) {
    rows.push_back(
        {"validation accuracy", fmt::format("{}, best {}", Percent(run.validation.accuracy),
                                            Percent(run.best_val_accuracy))});
  }
  if (std::isfinite(run.test.loss)) {
    rows.push_back({"test loss", fmt::format("{:.4f}", run.test.loss)});
  }
  if (std::isfinite(run.test.accuracy)) {
    rows.push_back({"test accuracy", Percent(run.test.accuracy)});
  }
  return rows;
}

}  // namespace kudari::lab
