#ifndef KUDARI_RECIPE_H_
#define KUDARI_RECIPE_H_

#include <string>
#include <string_view>
#include <vector>

#include "kudari/registry.h"
#include "kudari/schedule.h"
#include "kudari/spec.h"

namespace kudari {

namespace internal {
class TableReader;
}

/// Reads the [optimizer] table of a recipe in TOML; other tables are left to whoever they belong
/// to.
///
///     [optimizer]
///     rule = "adamw"
///     lr = "2e-3 * warmup(100) * cosine(1500, 0.05)"
///     weight_decay = 0.05
///     clip_norm = 1.0
///     no_decay = ["bias", "norm"]
///     [[optimizer.group]]
///     match = "head.*"
///     lr = 1e-3
///
/// `preset = "ranger"` starts from a preset (kudari/presets.h); the other keys replace its values,
/// tables key by key, and groups are added to its groups.
///
/// Throws Error naming `source` (a file name, say), the line, the key, the range and, for an
/// unknown key or name, the nearest known one.
OptimizerSpec ParseRecipe(std::string_view text, std::string_view source = "recipe",
                          const Registry& registry = Registry::Builtin());

/// The same of a document that has been parsed already; `root` is the reader of the whole document
/// (src/core/toml_table.h). Keys outside [optimizer] are left to the caller.
OptimizerSpec ReadSpec(internal::TableReader& root, const Registry& registry = Registry::Builtin());

/// The [optimizer] table with every default spelled out: ParseRecipe(ToToml(Complete(spec))) is
/// Complete(spec).
std::string ToToml(const OptimizerSpec& spec);

/// `spec` with every option of every rule filled in. Throws Error as ParseRecipe, but looks at no
/// value of schedules that are relative to a run.
OptimizerSpec Complete(const OptimizerSpec& spec, const Registry& registry = Registry::Builtin());

/// `spec` for a run of that length: every schedule of its rules, groups, fallback and stages as
/// Schedule::Resolve makes it. An Optimizer takes no other. Throws Error naming the option.
///
///     spec.options.at("lr") = ParseSchedule("2e-3 * warmup(10%) * cosine(end, 0.05)");
///     Optimizer optimizer(tensors, Resolve(spec, {.steps = 1500}));
OptimizerSpec Resolve(const OptimizerSpec& spec, const RunLength& run);

/// What of all these schedules does not fit a run of that length, as kudari/schedule.h has it for
/// one, each sentence behind the option: "lr: the run ends at ...". Throws Error as Resolve.
std::vector<std::string> ScheduleMisfits(const OptimizerSpec& spec, const RunLength& run);

}  // namespace kudari

#endif  // KUDARI_RECIPE_H_
