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

/// Everything about a source that other code needs.
struct SourceEntry {
  /// The description, including the options.
  Description text;
  /// Whether OptimizerSpec::source may name it. Accumulation applies to every source.
  bool by_name = true;
  /// Whether its options are in OptimizerSpec::sharpness.
  bool sharpness = false;
  /// Makes the source around `inner`, which calls the oracle. Throws Error if the completed spec or
  /// the engine's tensors are not suitable.
  std::unique_ptr<Source> (*make)(const OptimizerSpec& spec, std::unique_ptr<Source> inner,
                                  const Engine& engine);
  /// The number of bytes that it keeps for a tensor with `elements` weights of `weights` bytes in
  /// total.
  int64_t (*bytes)(const OptimizerSpec& spec, int64_t weights, int64_t elements);

  /// Whether it has the option OptimizerSpec::sharpness.name.
  bool UsesSharpness(std::string_view name) const;
};

/// The sources, in the order of listings.
const std::vector<SourceEntry>& Sources();
/// The entry of the source that applies to every other source.
const SourceEntry& Accumulation();
/// The permitted values of OptimizerSpec::source.
const std::vector<std::string>& SourceNames();
/// Returns the source with that name; throws Error "source: unknown name ..." with the nearest one.
const SourceEntry& FindSource(std::string_view name);

/// The options of OptimizerSpec::sharpness, and of its groups.
const OptionTable<SharpnessSpec>& SharpnessOptions();
const OptionTable<SharpnessSpec::Radius>& RadiusOptions();

}  // namespace kudari::internal

#endif  // KUDARI_SOURCES_SOURCES_H_
