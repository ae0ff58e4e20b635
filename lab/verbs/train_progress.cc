#include "lab/verbs/train_progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

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

// The optimisers, each with the name of its part; with schedules resolved for a run of that length.
std::string OptimizersText(const Recipe& recipe, const std::optional<RunLength>& run) {
  std::string text;
  for (const auto& [part, spec] : OptimizersOf(recipe)) {
    text += fmt::format("{}{}{}{}", text.empty() ? "" : "; ", part, part.empty() ? "" : ": ",
                        OptimizerText(run ? Resolve(*spec, *run) : *spec));
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

// Beside the loss: what the task is about, or the perplexity of a language model, or the accuracy.
const Metric& ShownMetric(const Score& score) {
  const Metric& monitored = MonitoredMetric("auto", score);
  if (monitored.aim) return monitored;
  return MonitoredMetric(std::isnan(score.perplexity) ? "accuracy" : "perplexity", score);
}

std::string TitleOf(const Metric& metric) {
  std::string title(metric.name);
  std::ranges::replace(title, '_', ' ');
  return title;
}

std::string ValueText(const Metric& metric, double value) {
  return metric.value == &Score::accuracy ? Percent(value) : fmt::format("{:.4f}", value);
}

std::string_view BestWord(const Metric& metric) {
  if (metric.value == &Score::accuracy) return "best";
  return metric.higher_is_better ? "highest" : "lowest";
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
  for (const auto& [part, spec] : OptimizersOf(session.recipe())) {
    progress_.Text(ScheduleLines(*spec, session.length()));
  }
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
  const Metric& metric = ShownMetric(run.best);
  return {.step = run.steps,
          .steps = run.planned_steps,
          .epoch = run.epoch,
          .epochs = (run.planned_steps + run.steps_per_epoch - 1) / run.steps_per_epoch,
          .loss = run.loss,
          .val_accuracy = run.validation.accuracy,
          .val_loss = run.validation.loss,
          .metric = metric.value == &Score::accuracy ? std::string_view() : metric.brief,
          .val_metric = run.validation.*metric.value,
          .lr = lr_,
          .grad_norm = grad_norm_,
          .samples_per_second = static_cast<double>(run.samples) / run.seconds,
          .seconds_left = run.seconds * static_cast<double>(run.planned_steps - run.steps) /
                          static_cast<double>(run.steps)};
}

nlohmann::ordered_json SummaryJson(Session& session, const RunState& run) {
  const Recipe& recipe = session.recipe();
  const auto score = [](const Score& s) {
    nlohmann::ordered_json json = {{"loss", s.loss}, {"accuracy", s.accuracy}};
    for (const Metric& metric : kMetrics) {
      if (!std::isnan(s.*metric.value)) json[metric.name] = s.*metric.value;
    }
    return json;
  };
  return {{"model", recipe.model.name()},
          {"parameters", session.model().ParameterCount()},
          {"data", session.data().name},
          {"optimizer", OptimizersText(recipe, std::nullopt)},
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
          {"lowest_validation_loss", run.best.loss},
          {"best_validation_accuracy", run.best.accuracy},
          {"test", score(run.test)}};
}

std::vector<std::vector<std::string>> SummaryRows(Session& session, const RunState& run) {
  const Recipe& recipe = session.recipe();
  int64_t weight_bytes = 0, state_bytes = 0;  // masters among the state
  for (const Session::Part& part : session.parts()) {
    const MemoryPlan memory = part.optimizer->core().Memory();
    state_bytes += memory.averages;
    for (const TensorBytes& t : memory.tensors) {
      weight_bytes += t.weights;
      state_bytes += t.master;
      for (const auto& slot : t.state) state_bytes += slot.second;
    }
  }
  const int64_t count = session.model().ParameterCount();
  const auto parameters = static_cast<double>(count);
  std::vector<std::vector<std::string>> rows = {
      {"model", fmt::format("{}, {} parameters", recipe.model.name(), count)},
      {"data", fmt::format("{}: {}", session.data().name, SamplesText(session))},
      {"optimiser", OptimizersText(recipe, session.length())},
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
  if (run.saved_step > 0 && run.saved_step < run.steps) {
    rows.push_back(
        {"weights saved",
         fmt::format("those after step {}, with the best validation "
                     "{}",
                     run.saved_step, MonitoredMetric(recipe.train.monitor, run.validation).name)});
  }
  if (session.plateau()) {
    rows.push_back({"plateau", fmt::format("learning rates ended at {:g} of the recipe's",
                                           session.plateau()->value())});
  }
  for (const Metric& metric : kMetrics) {
    const double value = run.validation.*metric.value;
    if (std::isnan(value) && std::isnan(run.best.*metric.value)) continue;
    rows.push_back({fmt::format("validation {}", TitleOf(metric)),
                    fmt::format("{}, {} {}", ValueText(metric, value), BestWord(metric),
                                ValueText(metric, run.best.*metric.value))});
  }
  for (const Metric& metric : kMetrics) {
    const double value = run.test.*metric.value;
    if (!std::isfinite(value)) continue;
    rows.push_back({fmt::format("test {}", TitleOf(metric)), ValueText(metric, value)});
  }
  return rows;
}

}  // namespace kudari::lab
