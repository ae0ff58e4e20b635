#ifndef KUDARI_OPTIMIZER_SPEC_OPTIONS_H_
#define KUDARI_OPTIMIZER_SPEC_OPTIONS_H_

#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "averagers/averagers.h"
#include "core/option_table.h"
#include "kudari/description.h"
#include "kudari/spec.h"
#include "kudari/step.h"
#include "sources/sources.h"

namespace kudari::internal {

/// The options of an OptimizerSpec besides its rules and groups: how every rule is applied, then
/// the stages. The order is that of a recipe.
const OptionTable<OptimizerSpec>& TreatmentOptions();
const OptionTable<OptimizerSpec>& StageOptions();
/// The options that a group may also have.
const OptionTable<Group>& GroupOptions();
const OptionTable<AdaptiveClip>& AdaptiveClipOptions();
const OptionTable<Precision>& PrecisionOptions();

/// Processing of gradients and weights other than by rules, sources and averagers: a scale, a
/// regulariser, a treatment of some tensors or a format.
struct StageEntry {
  /// The description, including the options.
  Description text;
  /// The scale that the spec asks for, or null. Absent where the engine's passes do the work.
  std::unique_ptr<Scale> (*make)(const OptimizerSpec& spec) = nullptr;
};

/// The stages, in the order of listings.
const std::vector<StageEntry>& Stages();

/// Calls f(prefix, config, options) for every table of options that the spec has: "" for its own,
/// "group.0." and so on for the groups, and "agc." and the like for those that are set. Spec may be
/// const.
template <class Spec, class F>
void ForTables(Spec& spec, const F& f) {
  f(std::string(), spec, TreatmentOptions());
  for (size_t i = 0; i < spec.groups.size(); ++i) {
    f("group." + std::to_string(i) + ".", spec.groups[i], GroupOptions());
  }
  f(std::string(), spec, StageOptions());
  if (spec.agc) f(std::string("agc."), *spec.agc, AdaptiveClipOptions());
  if (spec.sharpness) {
    f(std::string("sharpness."), *spec.sharpness, SharpnessOptions());
    for (size_t i = 0; i < spec.sharpness->groups.size(); ++i) {
      f("sharpness.group." + std::to_string(i) + ".", spec.sharpness->groups[i], RadiusOptions());
    }
  }
  f(std::string("precision."), spec.precision, PrecisionOptions());
  if (spec.lookahead) f(std::string("lookahead."), *spec.lookahead, LookaheadOptions());
  if (spec.ema) f(std::string("ema."), *spec.ema, EmaOptions());
  if (spec.swa) f(std::string("swa."), *spec.swa, SwaOptions());
}

/// Calls f(name, schedule) for every schedule of the spec that is there, named as in a recipe:
/// "lr", "group.0.lr", "fallback.lr", "agc.clip". Spec may be const.
template <class Spec, class F>
void ForSchedules(Spec& spec, const F& f) {
  const auto of_rule = [&f](const std::string& prefix, auto& options) {
    for (auto& [name, schedule] : options) f(prefix + name, schedule);
  };
  of_rule("", spec.options);
  if (spec.fallback) of_rule("fallback.", spec.fallback->options);
  for (size_t i = 0; i < spec.groups.size(); ++i) {
    of_rule("group." + std::to_string(i) + ".", spec.groups[i].options);
  }
  ForTables(spec, [&f](const std::string& prefix, auto& config, const auto& options) {
    using C = std::remove_cvref_t<decltype(config)>;
    for (const Option<C>& o : options) {
      if (const auto* const plain = std::get_if<Schedule C::*>(&o.member)) {
        f(prefix + o.name, config.**plain);
      } else if (const auto* const optional = std::get_if<std::optional<Schedule> C::*>(&o.member);
                 optional != nullptr && config.**optional) {
        f(prefix + o.name, *(config.**optional));
      }
    }
  });
}

/// Calls f(name, step) for every StepNumber of the spec that is set, named as in a recipe:
/// "group.0.frozen_until". Spec may be const.
template <class Spec, class F>
void ForSteps(Spec& spec, const F& f) {
  ForTables(spec, [&f](const std::string& prefix, auto& config, const auto& options) {
    using C = std::remove_cvref_t<decltype(config)>;
    for (const Option<C>& o : options) {
      const auto* const step = std::get_if<std::optional<StepNumber> C::*>(&o.member);
      if (step != nullptr && config.**step) f(prefix + o.name, *(config.**step));
    }
  });
}

}  // namespace kudari::internal

#endif  // KUDARI_OPTIMIZER_SPEC_OPTIONS_H_
