#include "lab/train/live_doctor.h"

#include <fmt/format.h>

#include <algorithm>

namespace kudari::lab {

std::string FindingLine(const Finding& f) {
  const VerdictInfo& info = InfoOf(f);
  return fmt::format("{} ({:.2f}): {}", info.name, f.confidence, f.evidence);
}

LiveDoctor::LiveDoctor(int64_t planned_steps, int64_t steps_per_epoch)
    : log_{.steps_per_epoch = steps_per_epoch, .planned_steps = planned_steps} {}

void LiveDoctor::OnEvaluation(const EvaluationEvent& event) {
  if (!event.validation) return;
  Add(EvaluationLog{event.run.steps, event.validation->loss, event.validation->accuracy});
}

void LiveDoctor::Add(const StepRecord& r) {
  constexpr size_t kMostLayers = 400;
  steps_.Add(LogOf(r));
  if (log_.first_nonfinite.empty()) log_.first_nonfinite = r.first_nonfinite;
  if (r.layers.empty()) return;
  log_.layers.push_back({r.step, r.layers});
  if (log_.layers.size() < kMostLayers) return;
  // Every other one will do.
  for (size_t i = 1; 2 * i < kMostLayers; ++i) log_.layers[i] = std::move(log_.layers[2 * i]);
  log_.layers.resize(kMostLayers / 2);
}

std::vector<Finding> LiveDoctor::New() {
  constexpr double kSure = 0.75, kGrowth = 1.1;
  if (static_cast<double>(steps_.count()) < kGrowth * static_cast<double>(seen_)) return {};
  seen_ = steps_.count();
  std::vector<Finding> found = Diagnose(log_);
  std::erase_if(found, [this](const Finding& f) {
    return f.confidence < kSure ||
           std::find(given_.begin(), given_.end(), f.verdict) != given_.end();
  });
  for (const Finding& f : found) given_.push_back(f.verdict);
  return found;
}

std::vector<Finding> LiveDoctor::AtTheEnd() const { return Diagnose(log_); }

}  // namespace kudari::lab
