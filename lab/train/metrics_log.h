#ifndef KUDARI_LAB_TRAIN_METRICS_LOG_H_
#define KUDARI_LAB_TRAIN_METRICS_LOG_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "lab/logs/metrics.h"
#include "lab/train/observer.h"

namespace kudari::lab {

/// Writes metrics.jsonl: a line for each step, each evaluation and the test. If that fails during
/// the run, on a full disk say, the run goes on without it.
class MetricsLog : public TrainObserver {
 public:
  /// `warn` is called once, with the reason, if a line cannot be written.
  explicit MetricsLog(
      std::filesystem::path path,
      std::function<void(const std::string&)> warn = [](const std::string&) {})
      : path_(std::move(path)), warn_(std::move(warn)) {}

  /// Waits until all lines so far are on the disk. Throws Error for what the system reports.
  void Sync();
  /// Whether all lines so far were written.
  bool complete() const { return complete_; }

  /// Empties the file or, if a run goes on, drops what was logged after its state was saved. Throws
  /// Error if it cannot be opened or is a symbolic link.
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
  std::function<void(const std::string&)> warn_;
  bool complete_ = true;
  int64_t bytes_ = 0;
  std::optional<MetricsFile> file_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_METRICS_LOG_H_
