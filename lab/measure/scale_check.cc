// Training both recipes of a scaling; apart from scale.cc because it needs LibTorch.
#include "lab/measure/scale_check.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kudari/batch_scaling.h"
#include "kudari/error.h"
#include "kudari/files.h"
#include "lab/files/text_file.h"
#include "lab/train/trainer.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

/// A folder that goes with its contents.
class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_(fs::temp_directory_path() / fmt::format("kudari-scale-{}", ::getpid())) {
    fs::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

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

struct Outcome {
  TrainResult result;
  double training_loss = 0;  // mean over the last epoch's steps
};

Outcome TrainOnce(const Recipe& recipe, const fs::path& folder, const std::string& name) {
  WriteFileAtomically(folder / (name + ".toml"), ToToml(recipe));
  const std::unique_ptr<std::FILE, decltype(&std::fclose)> quiet(std::tmpfile(), &std::fclose);
  if (quiet == nullptr) throw Error("a temporary file cannot be made");
  TrainOptions options;
  options.recipe = folder / (name + ".toml");
  options.out = folder / name;
  Outcome outcome{.result = Train(options, quiet.get())};
  std::istringstream lines(ReadTextFile(options.out / "metrics.jsonl"));
  int64_t epoch = 0, steps = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line);
    if (!json.contains("epoch") || json["loss"].is_null()) continue;
    if (json["epoch"] != epoch) outcome.training_loss = 0, steps = 0;
    epoch = json["epoch"];
    outcome.training_loss += json["loss"].get<double>();
    ++steps;
  }
  if (steps > 0) outcome.training_loss /= static_cast<double>(steps);
  return outcome;
}

}  // namespace

void CheckScaling(const Scaling& scaling, const ScaleOptions& options, std::FILE* console) {
  const int64_t all = scaling.before.train.epochs;
  const int64_t epochs = all > 0 ? std::min(all, options.check_epochs) : options.check_epochs;
  // A run whose length is given in steps has no known number of epochs: the schedule is taken as it
  // is.
  const double shorter = all > 0 ? static_cast<double>(all) / static_cast<double>(epochs) : 1;
  const TemporaryFolder folder;
  const auto run = [&](const Recipe& recipe, int64_t batch, const std::string& name) {
    const int64_t ranks = batch / (recipe.train.batch_size * recipe.optimizer.accumulate);
    Recipe r = Short(recipe, ranks, shorter);
    r.train.epochs = epochs;
    fmt::print(console, "training: {}\n", name);
    std::fflush(console);
    return TrainOnce(r, folder.path(), name);
  };
  fmt::print(console, "\nBoth for {} epochs, schedules {} times shorter, in one process:\n", epochs,
             shorter);
  const Outcome before = run(scaling.before, scaling.old_batch, "before");
  const Outcome after = run(scaling.after, scaling.new_batch, "after");
  const auto row = [&](const char* name, double a, double b) {
    fmt::print(console, "{:<22} {:>12.4f} {:>12.4f}\n", name, a, b);
  };
  fmt::print(console, "{:<22} {:>12} {:>12}\n", "", "before", "after");
  fmt::print(console, "{:<22} {:>12} {:>12}\n", "samples of a step", scaling.old_batch,
             scaling.new_batch);
  fmt::print(console, "{:<22} {:>12} {:>12}\n", "steps", before.result.steps, after.result.steps);
  row("training loss", before.training_loss, after.training_loss);
  row("validation loss", before.result.validation.loss, after.result.validation.loss);
  row("validation accuracy", before.result.validation.accuracy, after.result.validation.accuracy);
  if (before.result.diverged || after.result.diverged) {
    fmt::print(console, "diverged: {}\n",
               before.result.diverged ? (after.result.diverged ? "both" : "before") : "after");
  }
  fmt::print(console,
             "The training loss is the mean over the last epoch, in which fewer steps have learnt "
             "less.\n");
}

}  // namespace kudari::lab
