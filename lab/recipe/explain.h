#ifndef KUDARI_LAB_RECIPE_EXPLAIN_H_
#define KUDARI_LAB_RECIPE_EXPLAIN_H_

#include <string>
#include <string_view>

#include "kudari/optimizer.h"
#include "kudari/schedule.h"
#include "kudari/spec.h"

namespace kudari::lab {

/// The value of a rule's option at the next step; NaN if the rule has no such option.
double OptionOf(const TensorPlan& plan, std::string_view name);

/// A table of how an optimiser treats each parameter and why, and below it the options of each
/// rule. `spec` is what the optimiser was made from.
std::string ExplainText(const Optimizer& optimizer, const OptimizerSpec& spec);

/// A line for each option of a rule whose schedule is relative to the run, "optimizer.lr is ..."
/// with what it is in a run of that length, and one that begins with "warning: " for each schedule
/// that does not fit it. Throws Error as Resolve.
std::string ScheduleLines(const OptimizerSpec& spec, const RunLength& run);

/// One line: the rule and its learning rate, those of groups with rules of their own, and the
/// source, accumulation, clipping and averagers that the spec asks for.
std::string OptimizerText(const OptimizerSpec& spec);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_EXPLAIN_H_
