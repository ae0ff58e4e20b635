#include "lab/verbs/train.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <csignal>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/recipe.h"
#include "lab/console/progress.h"
#include "lab/machine/memory_plan.h"
#include "lab/recipe/explain.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/components.h"
#include "lab/train/early_stop.h"
#include "lab/train/layer_norms.h"
#include "lab/train/live_doctor.h"
#include "lab/train/metrics_log.h"
#include "lab/train/numerics.h"
#include "lab/train/saved_weights.h"
#include "lab/train/trainer.h"
#include "lab/verbs/train_progress.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

volatile std::sig_atomic_t interrupted = 0;

// While it lives, the first SIGINT only sets `interrupted`; the second has its former effect.
class InterruptScope {
 public:
  InterruptScope() {
    interrupted = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = 1; };
    action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
    sigaction(SIGINT, &action, &former_);
  }
  ~InterruptScope() { sigaction(SIGINT, &former_, nullptr); }
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

 private:
  struct sigaction former_ {};
};

// What can be known beforehand is better said before an hour of training than after it.
void CheckOutput(const fs::path& out, const fs::path& export_file) {
  if (fs::exists(out) && !fs::is_directory(out)) {
    throw Error(fmt::format("--out {}: is not a folder", out.string()));
  }
  const fs::path folder = export_file.parent_path();
  if (!folder.empty() && !fs::is_directory(folder)) {
    throw Error(
        fmt::format("--export {}: there is no folder {}", export_file.string(), folder.string()));
  }
}

std::string DoctorText(const LiveDoctor& doctor, const fs::path& out) {
  std::vector<std::string_view> verdicts;
  for (const Finding& f : doctor.AtTheEnd()) verdicts.push_back(InfoOf(f).name);
  if (verdicts.empty()) return "nothing wrong";
  return fmt::format("{}; kudari doctor {}", fmt::join(verdicts, ", "), out.string());
}

}  // namespace

RunState Train(const TrainOptions& options, std::FILE* console) {
  Progress progress(console);
  const std::string name = options.recipe.stem().string();
  const fs::path out = options.out.empty() ? fs::path("runs") / name : options.out;
  Trainer trainer(ReadTrainRecipe(options.recipe, options.sets));
  Session& session = trainer.session();
  const Recipe& recipe = session.recipe();
  std::optional<ComponentTracker> components;
  if (options.track_components) components.emplace(session);
  if (options.explain) {
    progress.Text(
        ExplainText(session.optimizer().core(), Resolve(recipe.optimizer, session.length())));
    progress.Text(ScheduleLines(recipe.optimizer, session.length()));
    return {};
  }
  CheckOutput(out, options.export_file);
  std::error_code error;
  fs::create_directories(out, error);
  if (error) throw Error(fmt::format("--out {}: {}", out.string(), error.message()));

  const fs::path log = out / "metrics.jsonl", copy = out / "recipe.toml";
  std::vector<fs::path> weights = {out / "model.safetensors"};
  if (!options.export_file.empty()) weights.push_back(options.export_file);
  LayerNorms layers;
  NumericsCount numerics;
  MetricsLog metrics(log);
  std::optional<LiveDoctor> doctor;
  std::optional<EarlyStop> early_stop;
  if (recipe.train.doctor) {
    doctor.emplace(trainer.run().planned_steps, trainer.run().steps_per_epoch);
  }
  if (recipe.train.early_stopping > 0) early_stop.emplace(recipe.train.early_stopping);
  TrainProgress shown(progress, name, out.string(), doctor ? &*doctor : nullptr);
  SavedWeights saved(weights);
  trainer.Add(layers);
  if (components) trainer.Add(*components);
  trainer.Add(numerics);
  trainer.Add(metrics);
  if (doctor) trainer.Add(*doctor);
  if (early_stop) trainer.Add(*early_stop);
  trainer.Add(shown);
  trainer.Add(saved);
  WriteFileAtomically(copy, ToToml(recipe));
  const InterruptScope interrupts;
  const RunState& run = trainer.Run([] { return interrupted != 0; });

  auto rows = SummaryRows(session, run);
  for (auto& row : numerics.Rows(recipe.optimizer.precision, recipe.train.weights)) {
    rows.push_back(std::move(row));
  }
  if (doctor) rows.push_back({"doctor", DoctorText(*doctor, out)});
  std::vector<std::string> files = {log.string(), copy.string()};
  if (!run.diverged) {
    for (const fs::path& file : weights) files.push_back(file.string());
  }
  rows.push_back({"written", fmt::format("{}", fmt::join(files, " "))});
  progress.Text("\n" + TextTable(rows));
  return run;
}

void PlanTraining(const PlanOptions& options, std::FILE* console) {
  const Recipe recipe = ReadTrainRecipe(options.recipe, options.sets);
  CheckEvaluations(recipe);
  const Session session(recipe);
  const int threads = at::get_num_threads();
  fmt::print(console, "{}", ScheduleLines(recipe.optimizer, session.length()));
  PrintPlan(session.optimizer().core().Memory(), MeasureBandwidth(threads), threads, console);
}

}  // namespace kudari::lab
