#ifndef KUDARI_LAB_VERBS_TRAIN_PROGRESS_H_
#define KUDARI_LAB_VERBS_TRAIN_PROGRESS_H_

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "lab/console/progress.h"
#include "lab/train/live_doctor.h"
#include "lab/train/observer.h"

namespace kudari::lab {

/// Shows a run on the console: what is trained on what, how far it is, and what the doctor finds.
class TrainProgress : public TrainObserver {
 public:
  /// `name` is the recipe's, and `out` where results go. The doctor may be null; the observers of
  /// the run must have it before this one.
  TrainProgress(Progress& progress, std::string name, std::string out, LiveDoctor* doctor)
      : progress_(progress), name_(std::move(name)), out_(std::move(out)), doctor_(doctor) {}

  void OnStart(const StartEvent& event) override;
  void OnStep(const StepEvent& event) override;
  void OnEvaluation(const EvaluationEvent& event) override;

 private:
  Status Now(const RunState& run) const;

  Progress& progress_;
  std::string name_, out_;
  LiveDoctor* doctor_;
  double lr_ = kNotMeasured, grad_norm_ = kNotMeasured;  // of the last step
};

/// A run that is over as data: the same facts as SummaryRows, with numbers as numbers and null for
/// those that are not finite.
nlohmann::ordered_json SummaryJson(Session& session, const RunState& run);

/// Rows of text: what a run that is over was and what it came to.
std::vector<std::vector<std::string>> SummaryRows(Session& session, const RunState& run);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_TRAIN_PROGRESS_H_
