#ifndef KUDARI_DOCTOR_H_
#define KUDARI_DOCTOR_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/step.h"

namespace kudari {

/// One step of a training run as logged. Unknown values are kNotMeasured.
struct StepLog {
  /// Counted from 1, rising from entry to entry. Where it goes back, the run was resumed, or, at or
  /// before its first step, another run begins.
  int64_t step = 0;
  /// Not finite: the loss of the step was not finite. Leave out steps whose loss is unknown.
  double loss = kNotMeasured;
  double lr = kNotMeasured;
  /// Norm of the gradient of the plain loss, before clipping; infinite if it was not finite.
  double grad_norm = kNotMeasured;
  /// Norm of the gradient of the first accumulated micro-batch of the step.
  double micro_grad_norm = kNotMeasured;
  bool skipped = false;  ///< whether the step was skipped because its gradient was not finite
  double loss_scale = 1;
  double lost = kNotMeasured;  ///< share of the weights that should have changed but did not,
                               ///< because of rounding

  friend bool operator==(const StepLog&, const StepLog&) = default;
};

/// An evaluation on held-out data. Without an accuracy, a loss that is not finite was not finite.
struct EvaluationLog {
  int64_t step = 0;  ///< the training step after which it was made
  double loss = kNotMeasured, accuracy = kNotMeasured;

  friend bool operator==(const EvaluationLog&, const EvaluationLog&) = default;
};

/// Norms of one tensor in one step.
struct LayerLog {
  std::string name;
  double grad = kNotMeasured;    ///< gradient; not measured if there was none or it was not finite
  double weight = kNotMeasured;  ///< weights before the step
  double update = kNotMeasured;  ///< change made by the step; not measured if it is frozen
  /// The factor by which a rule with a trust ratio multiplied the step of the tensor, and whether
  /// it is a bound or a substitute for an undefined ratio rather than a ratio.
  double trust = kNotMeasured;
  bool pinned = false;

  friend bool operator==(const LayerLog&, const LayerLog&) = default;
};

/// Norms of all tensors in one step, ordered from the model's input to its output.
struct LayersLog {
  int64_t step = 0;
  std::vector<LayerLog> tensors = {};

  friend bool operator==(const LayersLog&, const LayersLog&) = default;
};

/// The known facts of a training run, complete or so far.
struct RunLog {
  std::vector<StepLog> steps = {};
  std::vector<EvaluationLog> evaluations = {};
  std::vector<LayersLog> layers = {};
  int64_t steps_per_epoch = 0;  ///< 0: unknown
  int64_t planned_steps = 0;    ///< 0: unknown; otherwise the run is over once it has that many
  std::string first_nonfinite = {};  ///< the first tensor whose gradient was not finite, if known
  /// Why the loss does not tell how training goes: a clause such as "the log is of reinforcement
  /// learning (rollout/ep_rew_mean)". Empty: it does tell.
  std::string unjudgeable = {};

  friend bool operator==(const RunLog&, const RunLog&) = default;
};

/// The problems that Diagnose can report.
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
  kRestart,
  kValNonfinite,
};

/// The part of a verdict that does not depend on the run.
struct VerdictInfo {
  Verdict verdict;
  std::string_view name;     ///< for example "lr_too_high"
  std::string_view meaning;  ///< a clause: "the learning rate is too high"
  std::string_view action;   ///< what to do, best option first
  std::string_view source;   ///< the source of the advice
  std::string_view needs;    ///< what a log must contain for the verdict to be possible
};

/// All verdicts, in the order of the enumeration.
std::span<const VerdictInfo> Verdicts();

/// Returns the verdict with that name; throws Error suggesting the nearest name if there is none.
const VerdictInfo& FindVerdict(std::string_view name);

/// A problem that was found, with the evidence for it.
struct Finding {
  Verdict verdict;
  /// In (0, 1]: how far the numbers exceed the limit that was crossed. On logs on which no limit
  /// was set at least 80 % of the verdicts of 0.8 and more were right (docs/doctor.md).
  double confidence = 0;
  int64_t first_step = 0, last_step = 0;  ///< the range where it shows, both included
  std::string evidence;                   ///< a sentence with numbers
  std::vector<std::string> tensors = {};  ///< the tensors concerned, the worst first
};

/// The general information about a finding's verdict.
const VerdictInfo& InfoOf(const Finding& finding);

/// Something that is no problem of the run but that its reader should know.
struct Note {
  std::string subject;  ///< a word to recognise it by, such as "resumed" or "rates"
  std::string text;     ///< a sentence with numbers
};

/// What a log shows.
struct Diagnosis {
  std::vector<Finding> findings = {};  ///< what is wrong, the most certain first
  std::vector<Note> seen = {};         ///< what is odd about the log: several runs, gaps, zeros
  std::vector<Note> not_judged = {};   ///< what the log does not allow to judge, and why
  RunLog run = {};                     ///< the run of the log that was judged: its steps rise
};

/// Reads a training run as an experienced engineer would and returns what is wrong with it. There
/// are no findings for a healthy run, nor for one that is too short to judge, which `not_judged`
/// says; whatever the log lacks is not judged, and nothing is said about a learning rate that it
/// does not have. Of several runs in one log the longest is judged. Limits and their error rates
/// are in docs/doctor.md. Never throws because of the numbers.
///
///     kudari::RunLog log;
///     ...                                 // each step: log.steps.push_back({.step = step, ...});
///     const kudari::Diagnosis diagnosis = kudari::Diagnose(log);
///     for (const auto& f : diagnosis.findings) std::cout << f.evidence << '\n';
Diagnosis Diagnose(const RunLog& log);

}  // namespace kudari

#endif  // KUDARI_DOCTOR_H_
