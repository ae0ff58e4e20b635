#include "lab/train/metrics_log.h"

#include "kudari/error.h"

namespace kudari::lab {

void MetricsLog::OnStart(const StartEvent& /*event*/) { file_.emplace(path_, bytes_); }

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
    warn_(e.what());
  }
}

}  // namespace kudari::lab
