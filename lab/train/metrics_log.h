#ifndef KUDARI_LAB_TRAIN_METRICS_LOG_H_
#define KUDARI_LAB_TRAIN_METRICS_LOG_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "lab/logs/metrics.h"
#include "lab/train/observer.h"

namespace kudari::lab {

/// Writes metrics.jsonl: a line for each step, each evaluation and the test.
class MetricsLog : public TrainObserver {
 public:
  explicit MetricsLog(std::filesystem::path path) : path_(std::move(path)) {}

  /// Empties the file or, if a run goes on, drops what was logged after its state was saved. This
  /// and the other events throw Error if it cannot be written.
  void OnStart(const StartEvent& event) override;
  void OnStep(const StepEvent& event) override;
  void OnEvaluation(const EvaluationEvent& event) override;
  void OnEnd(const EndEvent& event) override;

  std::string_view StateName() const override { return "metrics"; }
  /// How long the file is.
  void Visit(StateVisitor& visitor) override { visitor.Value("bytes", bytes_, 0); }

 private:
  void Write(const std::string& line);

  std::filesystem::path path_;
  int64_t bytes_ = 0;
  std::optional<MetricsFile> file_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_METRICS_LOG_H_
