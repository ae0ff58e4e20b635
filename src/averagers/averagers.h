#ifndef KUDARI_AVERAGERS_AVERAGERS_H_
#define KUDARI_AVERAGERS_AVERAGERS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/stage_arrays.h"
#include "core/option_table.h"
#include "kudari/description.h"
#include "kudari/spec.h"
#include "kudari/step.h"

namespace kudari::internal {

/// All that is known of an averager outside its own code.
struct AveragerEntry {
  /// With its options.
  Description text;
  /// The table of its options in OptimizerSpec, unset unless it averages.
  Option<OptimizerSpec> table;
  /// The averager that a spec asks for, or null. Throws Error as the constructor.
  std::unique_ptr<Averager> (*make)(const OptimizerSpec& spec);
  /// How many float32 copies of the parameters it then keeps.
  int64_t (*copies)(const OptimizerSpec& spec);
};

/// The averagers, in the order in which they are applied.
const std::vector<AveragerEntry>& Averagers();
AveragerEntry LookaheadEntry();
AveragerEntry EmaEntry();
AveragerEntry SwaEntry();

/// Their options.
const OptionTable<LookaheadSpec>& LookaheadOptions();
const OptionTable<EmaSpec>& EmaOptions();
const OptionTable<SwaSpec>& SwaOptions();

/// The averagers that a spec asks for. Throws Error as their constructors.
std::vector<std::unique_ptr<Averager>> MakeAveragers(const OptimizerSpec& spec);

/// float32 copies of the weights, where these are.
std::unique_ptr<StageArrays> CopyParameters(const Engine& engine);

}  // namespace kudari::internal

#endif  // KUDARI_AVERAGERS_AVERAGERS_H_
