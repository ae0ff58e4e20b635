#include "lab/train/trajectory.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "kudari/error.h"
#include "lab/files/run_folder.h"
#include "lab/train/session.h"
#include "lab/train/weights.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";

}  // namespace

void Trajectory::OnStart(const StartEvent& event) {
  every_ = event.session.recipe().train.trajectory_every;
  // What a run that goes on had kept after its state was saved.
  for (const WeightCopy& copy : WeightCopies(folder_)) {
    if (copy.step > event.run.steps) fs::remove(copy.file);
  }
  if (every_ > 0 && event.run.steps == 0) Keep(event.session, 0);
}

void Trajectory::OnStep(const StepEvent& event) {
  if (every_ > 0 && event.run.steps % every_ == 0) Keep(event.session, event.run.steps);
}

void Trajectory::Keep(const Session& session, int64_t step) const {
  CheckNoLink(folder_);
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) throw Error(fmt::format("{}: {}", folder_.string(), error.message()));
  const fs::path file = folder_ / fmt::format("{}{:09}.safetensors", kPrefix, step);
  CheckNoLink(file);
  SaveWeights(session.model(), file);
}

void CheckTrajectory(int64_t every, int64_t planned_steps) {
  constexpr int64_t kMost = 1000;
  if (every == 0 || planned_steps / every < kMost) return;
  throw Error(
      fmt::format("train.trajectory_every = {} would keep {} copies of the weights; at most {} are "
                  "kept, so it has to be at least {}",
                  every, planned_steps / every + 1, kMost, planned_steps / kMost + 1));
}

std::vector<WeightCopy> WeightCopies(const fs::path& folder) {
  std::vector<WeightCopy> copies;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const std::string name = entry.path().stem().string();
    int64_t step = 0;
    const char* const end = name.data() + name.size();
    if (entry.path().extension() != ".safetensors" || !name.starts_with(kPrefix) ||
        std::from_chars(name.data() + kPrefix.size(), end, step).ptr != end) {
      continue;
    }
    copies.push_back({step, entry.path()});
  }
  std::ranges::sort(copies, {}, &WeightCopy::step);
  return copies;
}

}  // namespace kudari::lab
