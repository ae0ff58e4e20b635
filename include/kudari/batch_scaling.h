#ifndef KUDARI_BATCH_SCALING_H_
#define KUDARI_BATCH_SCALING_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/registry.h"
#include "kudari/schedule.h"
#include "kudari/spec.h"

namespace kudari {

// How hyper-parameters follow the batch. kappa > 0 is the new number of samples of a step over the
// old one; every function is the identity for kappa = 1 and undone by 1 / kappa, and throws Error
// for a kappa that is not positive and finite.

/// "none", "linear", "sqrt" or "adam_sde".
std::string_view Name(BatchRule rule);
std::vector<std::string> BatchRuleNames();
/// The rule of that name; throws Error with the nearest one.
BatchRule ParseBatchRule(std::string_view name);

double ScaleLr(BatchRule rule, double lr, double kappa);
/// 1 - kappa (1 - beta), a moment's decay by the SDE rule. Throws Error if kappa (1 - beta) >= 1,
/// saying for which kappa it is defined.
double ScaleBeta(double beta, double kappa);
/// eps / sqrt(kappa), what is added to the root of the second moment by the SDE rule.
double ScaleEps(double eps, double kappa);
/// decay^kappa: an average of the weights that reaches over as many samples as before (Busbridge et
/// al., arXiv:2307.13813).
double ScaleAverage(double decay, double kappa);
/// A number of steps with as many samples as before: steps / kappa, rounded, at least 1; 0 stays.
int64_t ScaleSteps(int64_t steps, double kappa);
/// The schedule with every number of steps in it scaled so, and the rates for a step (gamma of
/// exponential and exp_range, rate of exp_decay and inverse_time, ...) so that the values at the
/// same samples are what they were; noam, whose height follows from its steps, gets the width that
/// keeps it. Lengths relative to the run stay. Rounded numbers of steps may leave a difference, see
/// ScheduleError. Throws Error if they do not go together.
Schedule ScaleSteps(const Schedule& schedule, double kappa);
/// How far `after` is from `before` at the same samples, over the first `steps` steps of `after`:
/// the largest distance of after(s) from the values of `before` between kappa (s - 1) and kappa (s
/// + 1), over the largest magnitude of `before`. Throws Error unless both are resolved.
double ScheduleError(const Schedule& before, const Schedule& after, double kappa, int64_t steps);

/// A rule, and why it is the one.
struct BatchChoice {
  BatchRule rule = BatchRule::kNone;
  std::string reason = {};
};

/// The batch rule that suits the optimiser's rule, which says so itself (RuleEntry::batch_rule):
/// kLinear for SGD and LARS, kAdamSde for Adam and RMSprop where it is defined, kSqrt elsewhere.
/// Throws Error for an unknown rule.
BatchChoice DefaultBatchRule(std::string_view rule, const Options& options, double kappa,
                             const Registry& registry = Registry::Builtin());

/// `spec`, complete, for steps of kappa times as many samples: learning rates, and what else the
/// batch rule says, of the spec, its fallback and its groups; the steps of all schedules and their
/// rates for a step; options of rules that are rates (Role::kRate); and averages of weights. Unset,
/// the batch rule of each of them is the default of its own rule. weight_decay, penalties,
/// clipping, sharpness and what KeptByScaleBatch names stay.
/// Throws Error naming the option if the batch rule is not defined for it.
OptimizerSpec ScaleBatch(const OptimizerSpec& spec, double kappa,
                         std::optional<BatchRule> rule = std::nullopt,
                         const Registry& registry = Registry::Builtin());

/// The values of `spec` outside its rules that ScaleBatch may change: what follows a schedule,
/// counts steps or is a decay, of the spec, its groups and its stages, as "clip_norm" or
/// "ema.decay".
std::vector<std::pair<std::string, Schedule>> StageValues(const OptimizerSpec& spec);

/// What ScaleBatch leaves alone in `spec` though it counts steps or samples, or is a rate for a
/// step: decays of moments of which the batch rule says nothing, as "beta2" or "group 0: momentum",
/// what else has Role::kCounts, and "ema.warmup", "lookahead.k" and "sharpness.k".
std::vector<std::string> KeptByScaleBatch(const OptimizerSpec& spec, double kappa,
                                          std::optional<BatchRule> rule = std::nullopt,
                                          const Registry& registry = Registry::Builtin());

}  // namespace kudari

#endif  // KUDARI_BATCH_SCALING_H_
