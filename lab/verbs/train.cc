#include "lab/verbs/train.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/recipe.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/files/output_file.h"
#include "lab/files/run_folder.h"
#include "lab/machine/memory_plan.h"
#include "lab/recipe/explain.h"
#include "lab/recipe/train_recipe.h"
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

}  // namespace

TrainResult Train(const TrainOptions& options, std::FILE* console) {
  Progress progress(console);
  const std::string name = options.recipe.stem().string();
  Trainer trainer(ReadTrainRecipe(options.recipe, options.changes));
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
  const fs::path usual = fs::path("runs") / name;
  const RunFolder folder =
      options.out.empty() && !options.force
          ? RunFolder::New(usual)
          : RunFolder::At(options.out.empty() ? usual : options.out, options.force);
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
  WriteRunFile(copy, ToToml(recipe));
  const InterruptScope interrupts;
  const RunState& run = trainer.Run([] { return caught != 0; });

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
  progress.Text("\n" + TextTable(rows));
  if (!options.json.empty()) {
    nlohmann::ordered_json json = SummaryJson(session, run);
    json["files"] = files;
    if (doctor) json["verdicts"] = VerdictsOf(*doctor);
    WriteOutput(options.json, JsonText(json, 2) + "\n");
  }
  TrainResult result{run};
  if (run.diverged || !metrics.complete()) result.exit_code = 1;
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
