#include "lab/verbs/train.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/checkpoint.h"
#include "kudari/error.h"
#include "kudari/recipe.h"
#include "lab/console/duration.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/files/output_file.h"
#include "lab/files/run_folder.h"
#include "lab/machine/memory_plan.h"
#include "lab/recipe/explain.h"
#include "lab/recipe/recipe_differences.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/checkpoints.h"
#include "lab/train/components.h"
#include "lab/train/early_stop.h"
#include "lab/train/layer_norms.h"
#include "lab/train/live_doctor.h"
#include "lab/train/metrics_log.h"
#include "lab/train/numerics.h"
#include "lab/train/sample_pictures.h"
#include "lab/train/saved_weights.h"
#include "lab/train/trainer.h"
#include "lab/train/trajectory.h"
#include "lab/verbs/train_progress.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

volatile std::sig_atomic_t caught = 0;  // a signal, or 0

// While it lives, the first SIGINT or SIGTERM only sets `caught`; the second of the same has its
// former effect.
class InterruptScope {
 public:
  InterruptScope() {
    caught = 0;
    struct sigaction action {};
    action.sa_handler = [](int signal) { caught = signal; };
    action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
    sigaction(SIGINT, &action, &interrupt_);
    sigaction(SIGTERM, &action, &terminate_);
  }
  ~InterruptScope() {
    sigaction(SIGINT, &interrupt_, nullptr);
    sigaction(SIGTERM, &terminate_, nullptr);
  }
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

 private:
  struct sigaction interrupt_ {
  }, terminate_{};
};

// What can be known beforehand is better said before an hour of training than after it.
void CheckExport(const fs::path& export_file) {
  const fs::path folder = export_file.parent_path();
  if (!folder.empty() && !fs::is_directory(folder)) {
    throw UsageError(
        fmt::format("--export {}: there is no folder {}", export_file.string(), folder.string()));
  }
}

std::vector<std::string_view> VerdictsOf(const LiveDoctor& doctor) {
  std::vector<std::string_view> verdicts;
  for (const Finding& f : doctor.AtTheEnd()) verdicts.push_back(InfoOf(f).name);
  return verdicts;
}

std::string DoctorText(const LiveDoctor& doctor, const fs::path& out) {
  const std::vector<std::string_view> verdicts = VerdictsOf(doctor);
  if (verdicts.empty()) return "nothing wrong";
  return fmt::format("{}; kudari doctor {}", fmt::join(verdicts, ", "), out.string());
}

// A run to go on with: its folder, which stays locked, and the last state in it.
struct Resumed {
  RunFolder folder;
  Checkpoint checkpoint;
};

fs::path UsualFolder(const TrainOptions& options) {
  return fs::path("runs") / options.recipe.stem();
}

// The run that --resume means.
fs::path RunToResume(const TrainOptions& options) {
  if (!options.resume->empty()) return *options.resume;
  if (!options.out.empty()) return options.out;
  if (options.recipe.empty()) {
    throw UsageError("--resume: give the folder of a run, or the recipe of the run before");
  }
  if (const auto latest = LatestRun(UsualFolder(options))) return *latest;
  throw UsageError(fmt::format("--resume: there is no run {}", UsualFolder(options).string()));
}

Resumed OpenRun(const TrainOptions& options, Progress& progress) {
  if (options.force) throw UsageError("--resume keeps the run that --force would delete");
  if (!options.init.empty()) throw UsageError("--resume has its weights, and --init others");
  const fs::path run = RunToResume(options);
  if (!options.out.empty() && fs::path(options.out) != run) {
    throw UsageError(fmt::format("--resume {} goes on in that folder, not in --out {}",
                                 run.string(), options.out.string()));
  }
  RunFolder folder = RunFolder::Resume(run);
  const fs::path checkpoints = CheckpointsOf(run);
  if (!fs::is_directory(checkpoints)) {
    throw Error(
        fmt::format("--resume {}: the run has no checkpoint (train.save_every says when "
                    "one is saved)",
                    run.string()));
  }
  Checkpoint checkpoint = LoadCheckpoint(checkpoints);
  for (const DamagedCheckpoint& d : checkpoint.damaged) {
    progress.Text(fmt::format("warning: a newer checkpoint is damaged: {}\n", d.reason));
  }
  return {std::move(folder), std::move(checkpoint)};
}

// The recipe to train by. That of a run that goes on may differ in what does not change its state.
Recipe RecipeFor(const TrainOptions& options, const std::optional<Resumed>& resumed,
                 Progress& progress) {
  if (!resumed) {
    Recipe recipe = ReadTrainRecipe(options.recipe, options.changes);
    if (!options.init.empty()) recipe.train.init = options.init.string();
    return recipe;
  }
  const Checkpoint& checkpoint = resumed->checkpoint;
  const auto text = checkpoint.manifest.texts.find("recipe");
  if (text == checkpoint.manifest.texts.end()) {
    throw Error(checkpoint.folder.string() + ": has no recipe, so it is not of kudari train");
  }
  const std::string source = checkpoint.folder.string() + ": recipe";
  const Recipe before = ParseTrainRecipe(text->second, source);
  Recipe now = options.recipe.empty() ? ParseTrainRecipe(text->second, source, options.changes)
                                      : ReadTrainRecipe(options.recipe, options.changes);
  for (const RecipeDifference& d : DifferencesBetween(before, now)) {
    const std::string change = fmt::format("{} = {}, was {}", d.key, d.after, d.before);
    if (!d.safe) {
      throw Error(fmt::format("--resume {}: {}; a run cannot go on with another value",
                              resumed->folder.path().string(), change));
    }
    progress.Text(fmt::format("changed: {}\n", change));
  }
  return now;
}

// Warns of weights that are not finite, since training cannot mend them.
void CheckFinite(Session& session, Progress& progress) {
  for (const auto& item : session.model().named_parameters()) {
    if (item.value().isfinite().all().item<bool>()) continue;
    progress.Text(
        fmt::format("warning: the weight \"{}\" has values that are not finite\n", item.key()));
  }
}

// Trains until the run stops or is interrupted, and returns whether it is to go on another time.
bool TrainToEnd(Trainer& trainer, Checkpoints& checkpoints, double time_limit) {
  const auto start = std::chrono::steady_clock::now();
  trainer.Start();
  bool ended_early = false;
  while (trainer.Step()) {
    checkpoints.AfterStep();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    const bool late = time_limit > 0 && elapsed.count() >= time_limit;
    if (caught == 0 && !late) continue;
    const RunState& run = trainer.run();
    trainer.Stop(
        fmt::format("{} at step {}, epoch {}",
                    caught != 0 ? "interrupted" : "time limit of " + DurationUnits(time_limit),
                    run.steps, run.epoch));
    ended_early = checkpoints.SaveNow();
  }
  checkpoints.Finish();
  trainer.Finish();
  return ended_early;
}

}  // namespace

TrainResult Train(const TrainOptions& options, std::FILE* console) {
  Progress progress(console);
  std::optional<Resumed> resumed;
  if (options.resume) resumed.emplace(OpenRun(options, progress));
  Trainer trainer(RecipeFor(options, resumed, progress));
  Session& session = trainer.session();
  const Recipe& recipe = session.recipe();
  std::optional<ComponentTracker> components;
  if (options.track_components) components.emplace(session);
  if (options.explain) {
    for (size_t i = 0; i < session.parts().size(); ++i) {
      const OptimizerSpec& spec = *OptimizersOf(recipe)[i].second;
      if (i > 0) progress.Text("\n");
      progress.Text(
          ExplainText(session.parts()[i].optimizer->core(), Resolve(spec, session.length())));
      progress.Text(ScheduleLines(spec, session.length()));
    }
    return {};
  }
  CheckExport(options.export_file);
  CheckTrajectory(recipe.train.trajectory_every, trainer.run().planned_steps);
  const RunFolder folder =
      resumed ? std::move(resumed->folder)
      : options.out.empty() && !options.force
          ? RunFolder::New(UsualFolder(options))
          : RunFolder::At(options.out.empty() ? UsualFolder(options) : options.out, options.force);
  const fs::path& out = folder.path();
  const fs::path log = out / "metrics.jsonl", copy = out / "recipe.toml";
  const fs::path weights = out / "model.safetensors", pictures = out / "samples.png";
  LayerNorms layers;
  NumericsCount numerics;
  MetricsLog metrics(log, [&progress](const std::string& why) {
    progress.Text("warning: " + why + "; training goes on without it\n");
  });
  std::optional<LiveDoctor> doctor;
  std::optional<EarlyStop> early_stop;
  if (recipe.train.doctor && !session.traits().moving_loss) {
    doctor.emplace(trainer.run().planned_steps, trainer.run().steps_per_epoch);
  }
  if (recipe.train.early_stopping > 0) early_stop.emplace(recipe.train.early_stopping);
  const std::string name =
      options.recipe.empty() ? out.filename().string() : options.recipe.stem().string();
  TrainProgress shown(progress, name, out.string(), doctor ? &*doctor : nullptr);
  SavedWeights saved(weights, options.export_file);
  trainer.Add(layers);
  if (components) trainer.Add(*components);
  trainer.Add(numerics);
  trainer.Add(metrics);
  if (doctor) trainer.Add(*doctor);
  if (early_stop) trainer.Add(*early_stop);
  Trajectory trajectory(out / "trajectory");
  trainer.Add(trajectory);
  SamplePictures samples(session, pictures);
  trainer.Add(shown);
  trainer.Add(samples);
  trainer.Add(saved);
  if (resumed) {
    LoadRun(trainer, resumed->checkpoint);
    progress.Text(fmt::format("resumed at step {} from {}\n", trainer.run().steps,
                              resumed->checkpoint.folder.string()));
    if (trainer.run().steps > trainer.run().planned_steps) {
      throw Error(fmt::format("--resume {}: the run has taken {} steps, and the recipe plans {}",
                              out.string(), trainer.run().steps, trainer.run().planned_steps));
    }
    resumed.reset();
    CheckFinite(session, progress);
  }
  WriteRunFile(copy, ToToml(recipe));
  Checkpoints checkpoints(trainer, metrics, CheckpointsOf(out),
                          [&progress](const std::string& why) {
                            progress.Text("warning: " + why + "; training goes on\n");
                          });
  const InterruptScope interrupts;
  const bool ended_early = TrainToEnd(trainer, checkpoints, options.time_limit);
  const RunState& run = trainer.run();

  auto rows = SummaryRows(session, run);
  for (auto& row : numerics.Rows(recipe.optimizer.precision, recipe.train.weights)) {
    rows.push_back(std::move(row));
  }
  if (doctor) rows.push_back({"doctor", DoctorText(*doctor, out)});
  std::vector<std::string> files = {log.string(), copy.string()};
  if (!run.diverged) {
    files.push_back(weights.string());
    if (samples.draws()) files.push_back(pictures.string());
    if (!options.export_file.empty()) files.push_back(options.export_file.string());
  }
  rows.push_back({"written", fmt::format("{}", fmt::join(files, " "))});
  if (ended_early && !checkpoints.failed()) {
    rows.push_back({"to go on", fmt::format("kudari train --resume {}", out.string())});
  }
  progress.Text("\n" + TextTable(rows));
  if (!options.json.empty()) {
    nlohmann::ordered_json json = SummaryJson(session, run);
    json["files"] = files;
    if (doctor) json["verdicts"] = VerdictsOf(*doctor);
    WriteOutput(options.json, JsonText(json, 2) + "\n");
  }
  TrainResult result{run};
  if (run.diverged || !metrics.complete() || checkpoints.failed()) result.exit_code = 1;
  if (caught != 0) result.exit_code = 128 + caught;
  return result;
}

void PlanTraining(const PlanOptions& options, std::FILE* console) {
  const Recipe recipe = ReadTrainRecipe(options.recipe, options.changes);
  CheckEvaluations(recipe);
  const Session session(recipe);
  const int threads = at::get_num_threads();
  MemoryPlan plan;
  for (size_t i = 0; i < session.parts().size(); ++i) {
    fmt::print(console, "{}", ScheduleLines(*OptimizersOf(recipe)[i].second, session.length()));
    plan = Combined(std::move(plan), session.parts()[i].optimizer->core().Memory());
  }
  const double bandwidth = MeasureBandwidth(threads);
  PrintPlan(plan, bandwidth, threads, console);
  if (!options.json.empty()) WriteOutput(options.json, PlanJson(plan, bandwidth, threads));
}

}  // namespace kudari::lab
