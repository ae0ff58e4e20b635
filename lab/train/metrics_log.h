#ifndef KUDARI_LAB_TRAIN_METRICS_LOG_H_
#define KUDARI_LAB_TRAIN_METRICS_LOG_H_

#include <filesystem>

#include "lab/logs/metrics.h"
#include "lab/train/observer.h"

namespace kudari::lab {

/// Writes metrics.jsonl: a line for each step, each evaluation and the test.
class MetricsLog : public TrainObserver {
 public:
  /// Empties the file. Throws Error if it cannot be written, as do the events.
  explicit MetricsLog(const std::filesystem::path& path) : file_(path) {}

  void OnStep(const StepEvent& event) override { file_.Write(StepJson(event.record)); }
  void OnEvaluation(const EvaluationEvent& event) override {
    if (event.validation) file_.Write(ScoreJson(event.run.steps, "val", *event.validation));
  }
  void OnEnd(const EndEvent& event) override {
    if (!event.run.diverged) file_.Write(ScoreJson(event.run.steps, "test", event.run.test));
  }

 private:
  MetricsFile file_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_METRICS_LOG_H_
