#include "lab/train/metrics_log.h"

#include <fmt/format.h>

#include <system_error>

#include "kudari/error.h"

namespace kudari::lab {

void MetricsLog::OnStart(const StartEvent& event) {
  std::error_code none;
  if (bytes_ > 0 && !std::filesystem::exists(path_, none)) {
    warn_(fmt::format("{} is gone, and a new one begins after step {}", path_.string(),
                      event.run.steps));
    bytes_ = 0;
  }
  file_.emplace(path_, bytes_);
}

void MetricsLog::OnStep(const StepEvent& event) { Write(StepJson(event.record)); }

void MetricsLog::OnEvaluation(const EvaluationEvent& event) {
  if (event.validation) Write(ScoreJson(event.run.steps, "val", *event.validation));
}

void MetricsLog::OnEnd(const EndEvent& event) {
  if (!event.run.diverged) Write(ScoreJson(event.run.saved_step, "test", event.run.test));
}

void MetricsLog::Sync() {
  if (complete_ && file_) file_->Sync();
}

void MetricsLog::Write(const std::string& line) {
  if (!complete_) return;
  try {
    file_->Write(line);
    bytes_ += std::ssize(line) + 1;
  } catch (const Error& e) {
    complete_ = false;
    warn_(std::string(e.what()) + "; training goes on without it");
  }
}

}  // namespace kudari::lab
