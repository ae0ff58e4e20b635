#include "lab/measure/trained_loss.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

// The name of a run: of its folder.
std::string NameOf(const fs::path& run) {
  const fs::path path = fs::absolute(run).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

// The recipe of a run for its weights in float32, whatever it trained in.
Recipe MeasuredRecipe(const Recipe& trained, const fs::path& run) {
  if (TraitsOf(trained.model).own_loss) {
    throw Error(fmt::format("{}: model \"{}\" has a loss of its own, which cannot be measured",
                            run.string(), trained.model.name()));
  }
  Recipe recipe = trained;
  recipe.train.init = (run / "model.safetensors").string();
  recipe.train.init_skip.clear();
  recipe.train.precision = recipe.train.weights = "f32";
  return recipe;
}

}  // namespace

MeasureProgress::MeasureProgress(Progress& progress, std::string what, int64_t count)
    : progress_(progress), what_(std::move(what)), count_(count), told_(Clock::now()) {}

void MeasureProgress::Done() {
  ++done_;
  const auto pause = std::chrono::seconds(quiet_ ? 1 : 5);
  if (done_ == count_ || Clock::now() - told_ < pause) return;
  quiet_ = false;
  told_ = Clock::now();
  progress_.Text(fmt::format("{} {} of {}\n", what_, done_, count_));
}

void CheckRunFolder(const fs::path& run) {
  if (fs::is_directory(run)) return;
  throw Error(
      fmt::format("{}: there is no such folder; give one that kudari train wrote", run.string()));
}

TrainedLoss::TrainedLoss(const fs::path& run, int64_t most_samples)
    : name_(NameOf(run)),
      recipe_(ReadTrainRecipe(run / "recipe.toml")),
      problem_(MeasuredRecipe(recipe_, run)),
      samples_(most_samples == 0 ? problem_.training() : problem_.training().First(most_samples)),
      surface_(problem_.model(), samples_, problem_.loss(), recipe_.train.label_smoothing),
      score_(surface_.At(at::zeros({surface_.size()}, at::kDouble))) {
  if (!std::isfinite(score_.loss)) {
    throw Error(fmt::format("{}: the training loss is {}", run.string(), score_.loss));
  }
}

// A line, if there is something.
std::string TrainedLoss::LeftOut() const {
  const OptimizerSpec& spec = recipe_.optimizer;
  const auto penalised = [](const auto& group) { return group.l1 || group.l2; };
  std::vector<std::string> parts;
  const auto& traits = recipe_.model.entry->traits;
  if (traits && traits(recipe_.model).dropout) parts.emplace_back("dropout");
  if (recipe_.train.precision != "f32" || recipe_.train.weights != "f32") {
    parts.emplace_back("16-bit arithmetic and weights");
  }
  if (penalised(spec) || std::ranges::any_of(spec.groups, penalised)) {
    parts.emplace_back("penalties (l1, l2)");
  }
  const FaultConfig& fault = recipe_.fault;
  if (fault.sum_accumulation) parts.emplace_back("fault.sum_accumulation");
  if (!fault.missing.empty()) parts.emplace_back("fault.missing");
  if (!fault.zero.empty()) parts.emplace_back("fault.zero");
  if (parts.empty()) return "";
  return fmt::format("the loss leaves out {}, which training used\n", fmt::join(parts, ", "));
}

std::string TrainedLoss::Heading() const {
  const FaultConfig& fault = recipe_.fault;
  return fmt::format("{}: {} with {} parameters, {} of {} training samples of {}{}\n{}", name_,
                     recipe_.model.name(), problem_.model().ParameterCount(), used(), samples(),
                     problem_.data().name,
                     fault.bad_begin < fault.bad_end
                         ? fmt::format(", with the {} that fault.bad spoils", fault.bad)
                         : "",
                     LeftOut());
}

}  // namespace kudari::lab
