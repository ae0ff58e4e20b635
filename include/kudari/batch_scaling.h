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

// Scaling of hyper-parameters with the batch size. kappa > 0 is the new number of samples per step
// divided by the old one. Every function is the identity for kappa = 1, is undone by 1 / kappa, and
// throws Error if kappa is not positive and finite.

/// The name of a batch rule: "none", "linear", "sqrt" or "adam_sde".
std::string_view Name(BatchRule rule);
/// The names of all batch rules, in the order of the enumeration.
std::vector<std::string> BatchRuleNames();
/// Returns the rule with that name; throws Error suggesting the nearest name if there is none.
BatchRule ParseBatchRule(std::string_view name);

/// The learning rate after scaling: lr for kNone, lr kappa for kLinear, lr sqrt(kappa) for kSqrt
/// and kAdamSde.
double ScaleLr(BatchRule rule, double lr, double kappa);
/// The decay of a running mean under the SDE rule: 1 - kappa (1 - beta). Throws Error if kappa (1 -
/// beta) >= 1; the message says for which kappa it is defined.
double ScaleBeta(double beta, double kappa);
/// The epsilon added to the root of the second moment under the SDE rule: eps / sqrt(kappa).
double ScaleEps(double eps, double kappa);
/// The decay of a weight average that spans as many samples as before: decay^kappa (Busbridge et
/// al., arXiv:2307.13813).
double ScaleAverage(double decay, double kappa);
/// The number of steps that covers as many samples as before: steps / kappa, rounded, at least 1; 0
/// stays 0. Throws Error if the result exceeds 2^53.
int64_t ScaleSteps(int64_t steps, double kappa);
/// The schedule with every step count scaled by ScaleSteps and every per-step rate (gamma of
/// exponential and exp_range, rate of exp_decay and inverse_time, ...) adjusted so that the values
/// at the same samples stay the same. The height of noam depends on its step counts, so its width
/// is changed to keep the height. Lengths relative to the run stay. Rounding of step counts may
/// leave a difference; see ScheduleError. Throws Error if the scaled arguments are not valid
/// together.
Schedule ScaleSteps(const Schedule& schedule, double kappa);
/// How far `after` deviates from `before` at the same samples, over the first `steps` steps of
/// `after` (at most 2,000 of them, evenly spaced): the largest distance of after(s) from the range
/// of values that `before` takes between kappa (s - 1) and kappa (s + 1), relative to the largest
/// magnitude of `before`. Throws Error unless both schedules are resolved.
double ScheduleError(const Schedule& before, const Schedule& after, double kappa, int64_t steps);

/// A batch rule and the reason for choosing it.
struct BatchChoice {
  BatchRule rule = BatchRule::kNone;
  std::string reason = {};
};

/// The batch rule that suits an optimiser rule, as given by RuleEntry::batch_rule: kLinear for SGD
/// and LARS, kAdamSde for Adam and RMSprop where it is defined, kSqrt otherwise. Throws Error for
/// an unknown rule.
BatchChoice DefaultBatchRule(std::string_view rule, const Options& options, double kappa,
                             const Registry& registry = Registry::Builtin());

/// Completes `spec` and scales it to steps with kappa times as many samples. This changes the
/// learning rates and whatever else the batch rule covers in the spec, its fallback and its groups,
/// the step counts and per-step rates of all schedules, rule options with Role::kRate, and weight
/// averages. If `rule` is unset, each optimiser rule uses its own default batch rule. weight_decay,
/// penalties, clipping, sharpness and everything KeptByScaleBatch names stay as they are. Throws
/// Error naming the option if the batch rule is not defined for it.
OptimizerSpec ScaleBatch(const OptimizerSpec& spec, double kappa,
                         std::optional<BatchRule> rule = std::nullopt,
                         const Registry& registry = Registry::Builtin());

/// The options of `spec` outside its rules that ScaleBatch may change, with their values:
/// schedules, numbers of steps and decays of the spec, its groups and its stages, such as
/// "clip_norm" or "ema.decay".
std::vector<std::pair<std::string, Schedule>> StageValues(const OptimizerSpec& spec);

/// The options that ScaleBatch leaves alone in `spec` although they count steps or samples or are
/// per-step rates: decays of running means that the batch rule does not cover, such as "beta2" or
/// "group 0: momentum", other options with Role::kCounts, and "ema.warmup", "lookahead.k" and
/// "sharpness.k".
std::vector<std::string> KeptByScaleBatch(const OptimizerSpec& spec, double kappa,
                                          std::optional<BatchRule> rule = std::nullopt,
                                          const Registry& registry = Registry::Builtin());

}  // namespace kudari

#endif  // KUDARI_BATCH_SCALING_H_
