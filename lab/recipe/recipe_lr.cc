#include "lab/recipe/recipe_lr.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "kudari/error.h"
#include "kudari/recipe.h"

namespace kudari::lab {
namespace {

Options& OptionsAt(OptimizerSpec& spec, const LrPlace& place) {
  switch (place.kind) {
    case LrPlace::kGroup:
      return spec.groups[place.group].options;
    case LrPlace::kFallback:
      return spec.fallback->options;
    case LrPlace::kNewGroup:
      spec.groups.push_back({.match = place.match, .rule = spec.rule, .options = spec.options});
      return spec.groups.back().options;
    case LrPlace::kOwn:
      break;
  }
  return spec.options;
}

}  // namespace

Schedule WithLeadingFactor(const Schedule& schedule, double value) {
  bool has_number = false, has_then = false;
  Schedule result = value;
  for (const Schedule& factor : schedule.Factors()) {
    if (factor.IsConstant()) {
      has_number = true;
      continue;
    }
    has_then = has_then || factor.Function() == "then";
    result = result * factor;
  }
  if (has_then && !has_number) {
    throw Error(
        fmt::format("lr = \"{}\" has no numeric factor that a learning rate could replace; write "
                    "it as 1e-3 * then(1, ...)",
                    schedule.Text()));
  }
  return result;
}

double ThreeDigits(double lr) { return std::stod(fmt::format("{:.3g}", lr)); }

std::string LrPlace::Key() const {
  switch (kind) {
    case kGroup:
      return fmt::format("optimizer.group.{}.lr", group);
    case kFallback:
      return "optimizer.fallback.lr";
    case kNewGroup:
      return fmt::format("lr of a new optimizer.group with match = \"{}\"", match);
    case kOwn:
      break;
  }
  return "optimizer.lr";
}

LrPlace FindLrPlace(std::span<const TensorPlan> plan, std::span<const size_t> parameters,
                    const std::string& match) {
  if (match.empty()) return {};
  std::set<int> groups;
  for (const size_t i : parameters) groups.insert(plan[i].group);
  const int group = *groups.begin();
  const auto members = std::ranges::count(plan, group, &TensorPlan::group);
  const bool whole = groups.size() == 1 && members == std::ssize(parameters);
  if (whole && group >= 0) return {.kind = LrPlace::kGroup, .group = static_cast<size_t>(group)};
  if (whole && group == kFallbackGroup) return {.kind = LrPlace::kFallback};
  if (whole) return {};
  if (groups.size() == 1 && group == kNoGroup) return {.kind = LrPlace::kNewGroup, .match = match};
  throw Error(
      fmt::format("the parameters that \"{}\" matches have no learning rate of their own in the "
                  "recipe: they are part of a group, or of several",
                  match));
}

Recipe WithLearningRate(const Recipe& recipe, const LrPlace& place, double lr) {
  Recipe changed = recipe;
  OptimizerSpec& spec = changed.optimizer;
  spec = Complete(spec);
  if (place.kind == LrPlace::kOwn) {
    const Schedule own = spec.options.at("lr");
    for (Group& group : spec.groups) {
      if (group.rule != spec.rule || group.options.at("lr") != own) continue;
      group.options.at("lr") = WithLeadingFactor(own, lr);
    }
  }
  Schedule& value = OptionsAt(spec, place).at("lr");
  value = WithLeadingFactor(value, lr);
  return changed;
}

}  // namespace kudari::lab
