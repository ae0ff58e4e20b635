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

/// Reads the [optimizer] table of a recipe in TOML and ignores all other tables.
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
/// `preset = "ranger"` starts from a preset (kudari/presets.h). The other keys override its values,
/// tables are merged key by key, and groups are appended to its groups. A `rule` other than the
/// preset's is an error.
///
/// Throws Error naming `source` (such as a file name), the line, the key and the range and, for an
/// unknown key or name, the nearest known one.
OptimizerSpec ParseRecipe(std::string_view text, std::string_view source = "recipe",
                          const Registry& registry = Registry::Builtin());

/// Reads the [optimizer] table of a document that is already parsed. `root` reads the whole
/// document (src/core/toml_table.h); keys outside [optimizer] are left to the caller. Throws the
/// same errors as ParseRecipe.
OptimizerSpec ReadSpec(internal::TableReader& root, const Registry& registry = Registry::Builtin());

/// Writes the [optimizer] table with every default spelled out. It round-trips:
/// ParseRecipe(ToToml(Complete(spec))) equals Complete(spec).
std::string ToToml(const OptimizerSpec& spec);

/// Returns `spec` with every option of every rule filled in. Throws the same errors as ParseRecipe,
/// but does not check the values of schedules that are relative to a run.
OptimizerSpec Complete(const OptimizerSpec& spec, const Registry& registry = Registry::Builtin());

/// `spec` for a run of that length: every schedule of its rules, groups, fallback and stages as
/// Schedule::Resolve makes it. An Optimizer takes no other. Throws Error naming the option.
///
///     spec.options.at("lr") = ParseSchedule("2e-3 * warmup(10%) * cosine(end, 0.05)");
///     Optimizer optimizer(tensors, Resolve(spec, {.steps = 1500}));
OptimizerSpec Resolve(const OptimizerSpec& spec, const RunLength& run);

/// The misfits of all schedules of the spec with a run of that length, as kudari/schedule.h finds
/// them for one, each sentence after its option: "lr: the run ends at ...". Throws Error as
/// Resolve.
std::vector<std::string> ScheduleMisfits(const OptimizerSpec& spec, const RunLength& run);

}  // namespace kudari

#endif  // KUDARI_RECIPE_H_
