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

/// Everything about an averager that other code needs.
struct AveragerEntry {
  /// The description, including the options.
  Description text;
  /// The table of its options in OptimizerSpec; unset unless the averager averages.
  Option<OptimizerSpec> table;
  /// Makes the averager that a spec asks for, or null. Throws the same errors as the constructor.
  std::unique_ptr<Averager> (*make)(const OptimizerSpec& spec);
  /// The number of float32 copies of the parameters that it keeps.
  int64_t (*copies)(const OptimizerSpec& spec);
};

/// The averagers, in the order in which they are applied.
const std::vector<AveragerEntry>& Averagers();
AveragerEntry LookaheadEntry();
AveragerEntry EmaEntry();
AveragerEntry SwaEntry();

/// The options of the averagers.
const OptionTable<LookaheadSpec>& LookaheadOptions();
const OptionTable<EmaSpec>& EmaOptions();
const OptionTable<SwaSpec>& SwaOptions();

/// Makes the averagers that a spec asks for. Throws the same errors as their constructors.
std::vector<std::unique_ptr<Averager>> MakeAveragers(const OptimizerSpec& spec);

/// float32 copies of the weights, on the same backend.
std::unique_ptr<StageArrays> CopyParameters(const Engine& engine);
/// Copies the weights of tensors that were added, or drops those of tensors that are gone again.
void FollowTensors(const Engine& engine, StageArrays& copies);

}  // namespace kudari::internal

#endif  // KUDARI_AVERAGERS_AVERAGERS_H_
