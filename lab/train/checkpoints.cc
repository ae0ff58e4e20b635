#include "lab/train/checkpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <system_error>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/torch_checkpoint.h"
#include "lab/files/run_folder.h"
#include "lab/recipe/score.h"

namespace kudari::lab {
namespace {

CheckpointOptions OptionsOf(const Recipe& recipe) {
  const TrainConfig& train = recipe.train;
  return {.retention = {.keep = train.keep},
          .model_nodes = {"session/model/parameters", "session/model/buffers"}};
}

}  // namespace

Checkpoints::Checkpoints(Trainer& trainer, MetricsLog& metrics, std::filesystem::path folder,
                         std::function<void(const std::string&)> warn)
    : trainer_(trainer),
      metrics_(metrics),
      warn_(std::move(warn)),
      every_(trainer.session().recipe().train.save_every),
      folder_(std::move(folder)),
      saver_(folder_, OptionsOf(trainer.session().recipe())),
      began_(Clock::now()),
      // A run that goes on has the checkpoint that it was loaded from.
      begun_step_(trainer.run().steps > 0 ? trainer.run().steps : -1) {}

bool Checkpoints::IsBest() const {
  const RunState& run = trainer_.run();
  if (!trainer_.EvaluatedNow()) return false;
  const TrainConfig& train = trainer_.session().recipe().train;
  const Metric metric = MonitoredMetric(train.monitor, run.validation);
  return run.validation.*metric.value == run.best.*metric.value;
}

bool Checkpoints::Due() const {
  const RunState& run = trainer_.run();
  if (run.diverged) return false;
  if (trainer_.session().recipe().train.keep_best && IsBest()) return true;
  if (every_.steps > 0) return run.steps % every_.steps == 0;
  return every_.seconds > 0 &&
         Clock::now() - began_ >= std::chrono::duration<double>(every_.seconds);
}

void Checkpoints::AfterStep() {
  Watch([this] { return saver_.Saved(); });
  if (!Due()) return;
  Watch([this] { return saver_.Wait(); });
  Begin();
}

bool Checkpoints::SaveNow() {
  Watch([this] { return saver_.Wait(); });
  if (trainer_.run().diverged) return false;
  if (begun_step_ != trainer_.run().steps || failed_) {
    if (!Begin()) return false;
    Watch([this] { return saver_.Wait(); });
  }
  return !failed_;
}

void Checkpoints::Finish() {
  Watch([this] { return saver_.Wait(); });
  std::error_code ignored;
  if (trainer_.run().stopped == kReachedTheEnd && std::filesystem::exists(folder_, ignored)) {
    SaveNow();
  }
}

// Begins to save; returns whether that was possible.
bool Checkpoints::Begin() {
  const RunState& run = trainer_.run();
  const TrainConfig& train = trainer_.session().recipe().train;
  CheckpointManifest manifest{.step = run.steps};
  const Session& session = trainer_.session();
  manifest.texts["recipe"] = ToToml(session.recipe());
  // The specs for a run of this length, which `kudari export-torch` takes.
  for (const Session::Part& part : session.parts()) {
    const std::string before = part.name.empty() ? "" : part.name + "/";
    for (const auto& [title, text] : kudari::torch::RunManifest(*part.optimizer).texts) {
      manifest.texts.emplace(before + title, text);
    }
  }
  if (trainer_.EvaluatedNow()) {
    for (const Metric& metric : kMetrics) {
      const double value = run.validation.*metric.value;
      if (std::isfinite(value)) manifest.metrics[std::string(metric.name)] = value;
    }
    if (train.keep_best) {
      const Metric metric = MonitoredMetric(train.monitor, run.validation);
      saver_.SetRetention({.keep = train.keep,
                           .keep_best = std::string(metric.name),
                           .higher_is_better = metric.higher_is_better});
    }
  }
  began_ = Clock::now();
  begun_step_ = run.steps;
  try {
    CheckNoLink(folder_);
    // What the state counts must be on the disk before the state is.
    metrics_.Sync();
    saver_.Save(StateOf(trainer_), std::move(manifest));
  } catch (const Error& e) {
    failed_ = true;
    warn_(fmt::format("saving the checkpoint of step {} failed: {}", run.steps, e.what()));
    return false;
  }
  return true;
}

// Notes what has become of the save that was begun last.
void Checkpoints::Watch(const std::function<std::optional<std::filesystem::path>()>& outcome) {
  try {
    if (outcome()) {
      failed_ = false;
    }
  } catch (const Error& e) {
    failed_ = true;
    warn_(fmt::format("saving the checkpoint of step {} failed: {}", begun_step_, e.what()));
  }
}

void LoadRun(Trainer& trainer, const Checkpoint& checkpoint) {
  const std::string where = checkpoint.folder.string() + ": ";
  try {
    const LoadReport report = LoadInto(trainer, checkpoint.state, LoadMode::kLenient);
    const auto needed = [](const std::string& path) {
      return !path.starts_with("observers/") || path == "observers/metrics";
    };
    if (const auto at = std::ranges::find_if(report.missing, needed); at != report.missing.end()) {
      throw Error("the state has no " + Quoted(*at));
    }
    if (!report.misshapen.empty()) {
      throw Error("the state has " + Quoted(report.misshapen.front()) + " of another shape");
    }
    if (const auto at = std::ranges::find_if(report.unknown, needed); at != report.unknown.end()) {
      throw Error("the state has " + Quoted(*at) + ", which the recipe has no place for");
    }
  } catch (const Error& e) {
    throw Error(where + "does not fit the recipe: " + e.what());
  }
}

}  // namespace kudari::lab
