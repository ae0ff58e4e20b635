#include "kudari/doctor.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "doctor/integrity.h"
#include "doctor/view.h"
#include "kudari/error.h"
#include "kudari/messages.h"

namespace kudari {
namespace {

using enum Verdict;

// The Guide is notebook 116, Advanced Optimization Techniques notebook 115; Optimisation Methods is
// of November 2025, in Japanese; the Playbook is by Godbole, Dahl, Gilmer, Shallue & Nado.
constexpr std::array kVerdicts = {
    VerdictInfo{kDiverged, "diverged", "training diverged",
                "Divide the learning rate by 10; clip the gradient's norm (1.0); lengthen the "
                "warm-up; look for inf, nan and log(0) in data and loss; check loss scaling",
                "Optimizer Selection Guide and Best Practices, sections 4 and 6; Optimisation "
                "Methods (2025), section 7.5",
                "loss"},
    VerdictInfo{kLrTooHigh, "lr_too_high", "the learning rate is too high: the loss oscillates",
                "Divide the learning rate by 10, or find one with kudari lr-find; clip the "
                "gradient's norm; enlarge the batch",
                "Optimizer Selection Guide and Best Practices, section 4; Optimisation Methods "
                "(2025), section 7.5; Deep Learning Tuning Playbook, Optimization failures",
                "loss"},
    VerdictInfo{kLrTooLow, "lr_too_low", "the learning rate is too low",
                "Multiply the learning rate by 10, or find one with kudari lr-find; check "
                "initialisation and the loss",
                "Optimizer Selection Guide and Best Practices, sections 4 and 6; Optimisation "
                "Methods (2025), section 7.5",
                "loss"},
    VerdictInfo{
        kWarmupTooShort, "warmup_too_short", "the warm-up is missing or too short",
        "Warm up over 5 to 10 % of the steps: find the learning rate at which training becomes "
        "unstable and approach it over ten times as many steps; or clip the gradient's norm",
        "Optimizer Selection Guide and Best Practices, sections 3.3 and 4; Deep Learning Tuning "
        "Playbook, Learning rate warmup",
        "loss"},
    VerdictInfo{kPlateau, "plateau", "the loss has stopped falling too early",
                "Decay the learning rate (by a cosine, or to a tenth when the loss stalls: "
                "train.plateau_factor); then check the model's capacity",
                "Optimizer Selection Guide and Best Practices, sections 4 and 6; Optimisation "
                "Methods (2025), section 7.5",
                "loss, better with lr"},
    VerdictInfo{kScheduleEndedEarly, "schedule_ended_early",
                "the schedule has ended long before the training",
                "Make the schedule as long as the run, or stop when it ends",
                "Deep Learning Tuning Playbook, Choosing the initial configuration", "loss, lr"},
    VerdictInfo{kOverfitting, "overfitting", "the model overfits",
                "Use more weight decay (0.01 to 0.1), dropout and augmentation; stop at the lowest "
                "validation loss; use a smaller model; check that both data sets are alike",
                "Optimizer Selection Guide and Best Practices, sections 4 and 6; Optimisation "
                "Methods (2025), section 7.5",
                "loss, val_loss"},
    VerdictInfo{kUnderfitting, "underfitting", "the model underfits",
                "Use a larger model; less weight decay, dropout and label smoothing; train longer",
                "Optimizer Selection Guide and Best Practices, section 4",
                "loss, lr, better with val_accuracy"},
    VerdictInfo{kDataProblem, "data_problem", "some of the data is bad",
                "Check the samples of those batches: labels, scale, encoding; shuffle",
                "Optimizer Selection Guide and Best Practices, section 6",
                "loss of every step, epochs"},
    VerdictInfo{kVanishingGradients, "vanishing_gradients", "gradients vanish towards the input",
                "Check the initial weights; add norm layers or shortcuts; try other activations",
                "Optimizer Selection Guide and Best Practices, section 4; Optimisation Methods "
                "(2025), section 1.3",
                "layers"},
    VerdictInfo{kExplodingGradients, "exploding_gradients", "gradients explode towards the input",
                "Check the initial weights; add norm layers; clip the gradient's norm",
                "Optimizer Selection Guide and Best Practices, section 6; Optimisation Methods "
                "(2025), sections 1.3 and 7.4",
                "layers"},
    VerdictInfo{kDeadTensors, "dead_tensors", "tensors get no gradient",
                "Look for a detach(), a frozen part or a branch that is not used, and for units "
                "that are zero for every sample; take frozen tensors out of the optimiser",
                "Optimizer Selection Guide and Best Practices, section 6", "layers, or grad_norm"},
    VerdictInfo{
        kUpdateRatio, "update_ratio", "tensors change much faster or slower than the others",
        "Check the groups' learning rates; a step usually changes weights by about a thousandth",
        "Karpathy, CS231n, Ratio of weights:updates", "layers"},
    VerdictInfo{kTrustRatioPinned, "trust_ratio_pinned", "the trust ratio is always at its bound",
                "The rule does not adapt: change lr or trust so that ratios are within bounds, or "
                "use the rule without them",
                "You et al., arXiv:1708.03888 and 1904.00962", "layers with trust"},
    VerdictInfo{kAccumulationSum, "accumulation_sum",
                "accumulated gradients are summed, not averaged",
                "Divide the loss by the number of accumulated batches",
                "Advanced Optimization Techniques, section 6", "micro_grad_norm"},
    VerdictInfo{kLossScaleThrash, "loss_scale_thrash", "the loss scale overflows again and again",
                "Use a dynamic scale with a growth interval of 2000, a lower static scale or "
                "bfloat16; look for activations beyond 65504",
                "Optimizer Selection Guide and Best Practices, section 6", "skipped or loss_scale"},
    VerdictInfo{kUpdatesLost, "updates_lost", "updates are rounded away",
                "Keep a master copy of the weights (optimizer.precision.master), round "
                "stochastically, or raise the learning rate",
                "Micikevicius et al., arXiv:1710.03740, section 3.1", "lost"},
    VerdictInfo{kRestart, "restart", "training started over",
                "Check why the weights were lost (a job resumed without its checkpoint, or two "
                "runs in one log), and judge the runs apart",
                "Deep Learning Tuning Playbook, Saving checkpoints and retrospectively selecting "
                "the best one",
                "loss"},
    VerdictInfo{kValNonfinite, "val_nonfinite", "the validation loss is not finite",
                "Look for log(0), empty batches and overflow in the evaluation: half precision, "
                "samples without targets, running statistics that are not finite",
                "Optimizer Selection Guide and Best Practices, section 6", "val_loss"},
};

// A cause makes its usual consequences no news.
struct Explains {
  Verdict cause;
  std::vector<Verdict> consequences;
};

const std::vector<Explains>& Explanations() {
  static const std::vector<Explains> list = {
      {kAccumulationSum,
       {kDiverged, kLrTooHigh, kLrTooLow, kWarmupTooShort, kUpdateRatio, kPlateau, kUnderfitting}},
      {kTrustRatioPinned, {kLrTooLow, kUnderfitting}},
      {kLossScaleThrash, {kLrTooLow, kPlateau, kUnderfitting, kDiverged, kDeadTensors}},
      {kUpdatesLost, {kLrTooLow, kPlateau, kUnderfitting, kUpdateRatio}},
      {kVanishingGradients, {kLrTooLow, kPlateau, kUnderfitting, kUpdateRatio}},
      {kExplodingGradients,
       {kDiverged, kLrTooHigh, kWarmupTooShort, kUpdateRatio, kOverfitting, kPlateau, kUnderfitting,
        kLrTooLow}},
      {kDeadTensors, {kUpdateRatio, kUnderfitting, kPlateau, kLrTooLow}},
      {kUpdateRatio, {kLrTooHigh, kWarmupTooShort, kPlateau, kUnderfitting}},
      {kDataProblem, {kLrTooHigh, kPlateau, kUnderfitting, kOverfitting, kWarmupTooShort}},
      {kDiverged, {kWarmupTooShort, kPlateau, kUnderfitting, kOverfitting}},
      {kLrTooHigh, {kPlateau, kUnderfitting, kOverfitting, kWarmupTooShort, kLrTooLow}},
      {kWarmupTooShort, {kPlateau, kUnderfitting, kOverfitting}},
      {kScheduleEndedEarly, {kLrTooLow, kUnderfitting, kPlateau}},
      {kLrTooLow, {kUnderfitting, kPlateau}},
      {kOverfitting, {kPlateau, kUnderfitting}},
      {kPlateau, {kUnderfitting}},
  };
  return list;
}

void JudgeRecords(const internal::View& run, std::vector<Finding>& found) {
  internal::FindNoGradient(run, found);
  internal::FindSummedAccumulation(run, found);
  internal::FindPinnedTrust(run, found);
  internal::FindScaleThrash(run, found);
  internal::FindLostUpdates(run, found);
  internal::FindGradientFlow(run, found);
  internal::FindDeadTensors(run, found);
  internal::FindUpdateRatios(run, found);
}

void JudgeLosses(const internal::View& run, bool blown_up, std::vector<Finding>& found) {
  if (!blown_up) internal::FindHighRate(run, found);
  if (run.of_validation) return;
  internal::FindBadData(run, found);
  internal::FindShortWarmup(run, found);
  internal::FindLowRate(run, found);
  internal::FindEndedSchedule(run, found);
  internal::FindPlateau(run, found);
  internal::FindUnderfitting(run, found);
  internal::FindOverfitting(run, found);
  internal::FindNonfiniteValidation(run, found);
}

// Why some verdicts cannot be given on the losses of a run.
void NoteLimits(const internal::View& run, std::vector<Note>& notes) {
  if (run.of_validation) return;
  const std::string entries = std::to_string(run.size) + (run.size == 1 ? " entry" : " entries");
  if (run.size < internal::kLeastSteps) {
    notes.push_back({"rates", entries +
                                  ": the learning rate, its warm-up and schedule, and most "
                                  "stalls need " +
                                  std::to_string(internal::kLeastSteps)});
  } else if (run.begins_late) {
    notes.push_back({"start", "the log begins at step " + std::to_string(run.Step(0)) +
                                  ": how far the loss has come down, and whether the learning "
                                  "rate was too low, cannot be told"});
  }
  if (run.peak_lr == 0) {
    notes.push_back({"lr",
                     "the learning rate is not logged: its schedule is not judged, nor "
                     "whether a flat loss is a plateau or the end of training"});
  }
  constexpr size_t kLeastEvaluations = 4;
  if (run.log.evaluations.size() < kLeastEvaluations) {
    notes.push_back({"overfitting", std::to_string(run.log.evaluations.size()) +
                                        " evaluations: overfitting needs " +
                                        std::to_string(kLeastEvaluations)});
  }
}

void LeaveOutConsequences(std::vector<Finding>& found) {
  for (const Explains& e : Explanations()) {
    const auto is_cause = [&](const Finding& f) { return f.verdict == e.cause; };
    if (std::none_of(found.begin(), found.end(), is_cause)) continue;
    std::erase_if(found, [&](const Finding& f) {
      return std::count(e.consequences.begin(), e.consequences.end(), f.verdict) > 0;
    });
  }
}

}  // namespace

std::span<const VerdictInfo> Verdicts() { return kVerdicts; }

const VerdictInfo& InfoOf(const Finding& finding) {
  return kVerdicts[static_cast<size_t>(finding.verdict)];
}

const VerdictInfo& FindVerdict(std::string_view name) {
  std::vector<std::string> names;
  for (const VerdictInfo& v : kVerdicts) {
    if (v.name == name) return v;
    names.emplace_back(v.name);
  }
  throw Error("unknown verdict \"" + std::string(name) + "\"" + Suggest(name, names));
}

Diagnosis Diagnose(const RunLog& log) {
  Diagnosis diagnosis;
  const internal::SoundLog sound = internal::MakeSound(log, diagnosis);
  const internal::View run(sound.log, sound.of_validation);
  if (run.size == 0) return diagnosis;
  internal::NoteOddities(sound.log, diagnosis);
  JudgeRecords(run, diagnosis.findings);
  const bool blown_up = internal::FindDivergence(run, diagnosis.findings);
  if (const auto why = internal::WhyUnjudgeable(run)) {
    diagnosis.not_judged.push_back(*why);
  } else if (run.initial > 0) {
    JudgeLosses(run, blown_up, diagnosis.findings);
    NoteLimits(run, diagnosis.not_judged);
  } else {
    diagnosis.not_judged.push_back({"loss", "the loss is 0 from the start"});
  }
  LeaveOutConsequences(diagnosis.findings);
  std::stable_sort(diagnosis.findings.begin(), diagnosis.findings.end(),
                   [](const Finding& a, const Finding& b) { return a.confidence > b.confidence; });
  return diagnosis;
}

}  // namespace kudari
