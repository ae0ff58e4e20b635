#ifndef KUDARI_SOURCES_SOURCES_H_
#define KUDARI_SOURCES_SOURCES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/option_table.h"
#include "kudari/description.h"
#include "kudari/spec.h"
#include "kudari/step.h"

namespace kudari::internal {

/// All that is known of a source outside its own code.
struct SourceEntry {
  /// With its options.
  Description text;
  /// Whether OptimizerSpec::source may name it. Accumulation goes with every source.
  bool by_name = true;
  /// Whether its options are OptimizerSpec::sharpness.
  bool sharpness = false;
  /// The source around `inner`, which calls the oracle. Throws Error if the spec, complete, or the
  /// engine's tensors do not suit it.
  std::unique_ptr<Source> (*make)(const OptimizerSpec& spec, std::unique_ptr<Source> inner,
                                  const Engine& engine);
  /// The bytes that it keeps for a tensor whose weights, of `elements` numbers, take `weights`.
  int64_t (*bytes)(const OptimizerSpec& spec, int64_t weights, int64_t elements);

  /// Whether it has the option OptimizerSpec::sharpness.name.
  bool UsesSharpness(std::string_view name) const;
};

/// The sources, in the order in which they are listed.
const std::vector<SourceEntry>& Sources();
/// The one that goes with every source.
const SourceEntry& Accumulation();
/// The names that OptimizerSpec::source may have.
const std::vector<std::string>& SourceNames();
/// The source of that name; throws Error "source: unknown name ..." with the nearest one.
const SourceEntry& FindSource(std::string_view name);

/// The options of OptimizerSpec::sharpness, and of its groups.
const OptionTable<SharpnessSpec>& SharpnessOptions();
const OptionTable<SharpnessSpec::Radius>& RadiusOptions();

}  // namespace kudari::internal

#endif  // KUDARI_SOURCES_SOURCES_H_
