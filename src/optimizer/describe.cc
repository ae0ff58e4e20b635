#include "kudari/presets.h"
#include "kudari/stages.h"
#include "optimizer/spec_options.h"

namespace kudari {
namespace {

using internal::SourceEntry;

/// A source with the option that chooses it, or the one that accumulation has.
Description Describe(const SourceEntry& source) {
  Description d = source.text;
  if (d.name == OptimizerSpec().source) return d;
  const internal::OptionTable<OptimizerSpec>& options = internal::StageOptions();
  const auto& own = internal::FindOption(options, source.by_name ? "source" : d.name);
  d.options.insert(d.options.begin(), internal::DescribeOption("", own, OptimizerSpec()));
  return d;
}

}  // namespace

std::vector<Description> DescribeAll(const Registry& registry) {
  std::vector<Description> all;
  for (const RuleEntry& rule : registry.rules()) all.push_back(Describe(rule));
  for (const SourceEntry& source : internal::Sources()) all.push_back(Describe(source));
  const std::vector<internal::StageEntry>& stages = internal::Stages();
  const auto last = [](const Description& d) {
    return d.kind == "treatment" || d.kind == "format";
  };
  const auto add_stages = [&](bool after_averagers) {
    for (const internal::StageEntry& stage : stages) {
      if (last(stage.text) == after_averagers) all.push_back(stage.text);
    }
  };
  add_stages(false);
  for (const internal::AveragerEntry& averager : internal::Averagers()) {
    all.push_back(averager.text);
  }
  add_stages(true);
  for (Description& d : DescribeSchedules()) all.push_back(std::move(d));
  for (Description& d : DescribePresets()) all.push_back(std::move(d));
  return all;
}

}  // namespace kudari
