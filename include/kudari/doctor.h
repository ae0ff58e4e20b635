#ifndef KUDARI_DOCTOR_H_
#define KUDARI_DOCTOR_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/step.h"

namespace kudari {

/// One step of a training run as it was logged; what is not known is kNotMeasured.
struct StepLog {
  int64_t step = 0;            ///< counted from 1, rising from entry to entry
  double loss = kNotMeasured;  ///< not finite: it was not; steps of unknown loss are left out
  double lr = kNotMeasured;
  double grad_norm = kNotMeasured;  ///< of the plain loss, before clipping
  /// Norm of the gradient of the first batch that was accumulated in the step.
  double micro_grad_norm = kNotMeasured;
  bool skipped = false;  ///< the gradient was not finite, so nothing was changed
  double loss_scale = 1;
  double lost = kNotMeasured;  ///< share of weights that were to change and, rounded, did not

  friend bool operator==(const StepLog&, const StepLog&) = default;
};

/// An evaluation on data that is not trained on.
struct EvaluationLog {
  int64_t step = 0;  ///< that it came after
  double loss = kNotMeasured, accuracy = kNotMeasured;

  friend bool operator==(const EvaluationLog&, const EvaluationLog&) = default;
};

/// Norms of one tensor in one step.
struct LayerLog {
  std::string name;
  double grad = kNotMeasured;    ///< not measured: it had no gradient, or one that is not finite
  double weight = kNotMeasured;  ///< before the step
  double update = kNotMeasured;  ///< of what the step changed
  /// What a rule with a trust ratio multiplied the tensor's step with, and whether that is a bound
  /// or a value for want of a ratio, rather than a ratio.
  double trust = kNotMeasured;
  bool pinned = false;

  friend bool operator==(const LayerLog&, const LayerLog&) = default;
};

/// Norms of all tensors, from the input of the model to its output, in one step.
struct LayersLog {
  int64_t step = 0;
  std::vector<LayerLog> tensors = {};

  friend bool operator==(const LayersLog&, const LayersLog&) = default;
};

/// What is known of a training run: all of it, or as much as has happened.
struct RunLog {
  std::vector<StepLog> steps = {};
  std::vector<EvaluationLog> evaluations = {};
  std::vector<LayersLog> layers = {};
  int64_t steps_per_epoch = 0;       ///< 0: not known
  int64_t planned_steps = 0;         ///< 0: not known; else the run is over when it has as many
  std::string first_nonfinite = {};  ///< tensor whose gradient was not finite first, if known

  friend bool operator==(const RunLog&, const RunLog&) = default;
};

/// What can be wrong with a run.
enum class Verdict {
  kDiverged,
  kLrTooHigh,
  kLrTooLow,
  kWarmupTooShort,
  kPlateau,
  kScheduleEndedEarly,
  kOverfitting,
  kUnderfitting,
  kDataProblem,
  kVanishingGradients,
  kExplodingGradients,
  kDeadTensors,
  kUpdateRatio,
  kTrustRatioPinned,
  kAccumulationSum,
  kLossScaleThrash,
  kUpdatesLost,
};

/// What is said of a verdict whatever the run.
struct VerdictInfo {
  Verdict verdict;
  std::string_view name;     ///< as "lr_too_high"
  std::string_view meaning;  ///< a clause: "the learning rate is too high"
  std::string_view action;   ///< what to do, best first
  std::string_view source;   ///< where the advice is from
  std::string_view needs;    ///< what a log must have for the verdict to be possible
};

/// All verdicts, in the order of the enumeration.
std::span<const VerdictInfo> Verdicts();

/// Throws Error with the nearest name if there is no verdict of that name.
const VerdictInfo& FindVerdict(std::string_view name);

/// Something that is wrong, and why one should think so.
struct Finding {
  Verdict verdict;
  double confidence = 0;  ///< in (0, 1]: how far the numbers are past the limit that was crossed
  int64_t first_step = 0, last_step = 0;  ///< where it is seen, both included
  std::string evidence;                   ///< a sentence with numbers
  std::vector<std::string> tensors = {};  ///< that are concerned, the worst first
};

/// What is said of a finding's verdict.
const VerdictInfo& InfoOf(const Finding& finding);

/// Reads a training run as an experienced engineer would: what is wrong, the surest finding first;
/// nothing for a healthy run, or one too short to tell. What is not in the log is not judged.
/// Limits were set on the development half of a labelled suite, see docs/doctor.md; they are
/// relative to the first loss, so of losses that are not all positive only that they cease to be
/// finite is seen. Throws Error if steps do not rise.
///
///     kudari::RunLog log;
///     ...                                 // each step: log.steps.push_back({.step = step, ...});
///     for (const auto& f : kudari::Diagnose(log)) std::cout << f.evidence << '\n';
std::vector<Finding> Diagnose(const RunLog& log);

}  // namespace kudari

#endif  // KUDARI_DOCTOR_H_
