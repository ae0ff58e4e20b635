#include "lab/recipe/recipe_lr.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <optional>
#include <set>
#include <sstream>
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

// As it is written in TOML.
std::string ValueText(const Schedule& schedule) {
  return schedule.IsConstant() ? schedule.Text() : fmt::format("\"{}\"", schedule.Text());
}

// The offset of a position in the text, both counted from 1; columns count characters of UTF-8.
size_t Offset(std::string_view text, const toml::source_position& at) {
  size_t i = 0;
  for (toml::source_index line = 1; line < at.line; ++line) i = text.find('\n', i) + 1;
  for (toml::source_index column = 1; column < at.column; ++column) {
    do {
      ++i;
    } while (i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U);
  }
  return std::min(i, text.size());
}

// `text` with the value at the place changed, nothing if it is not clear how.
std::optional<std::string> Edit(std::string_view text, const LrPlace& place,
                                const std::string& value) {
  std::string edited(text);
  if (place.kind == LrPlace::kNewGroup) {
    std::ostringstream match;
    match << toml::value<std::string>(place.match);
    return fmt::format("{}{}\n[[optimizer.group]]\nmatch = {}\nlr = {}\n", edited,
                       text.ends_with('\n') ? "" : "\n", match.str(), value);
  }
  const toml::table root = toml::parse(text);
  auto table = root["optimizer"];
  if (place.kind == LrPlace::kGroup) table = table["group"][place.group];
  if (place.kind == LrPlace::kFallback) table = table["fallback"];
  if (!table.is_table()) return std::nullopt;
  if (const toml::node* const lr = table["lr"].node()) {
    const size_t begin = Offset(text, lr->source().begin), end = Offset(text, lr->source().end);
    return edited.replace(begin, end - begin, value);
  }
  // On a line of its own below the table's header.
  const size_t header = Offset(text, table.node()->source().begin);
  const size_t line = text.find('\n', header);
  if (line == std::string_view::npos) return std::nullopt;
  return edited.insert(line + 1, fmt::format("lr = {}\n", value));
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

std::string RewriteRecipe(std::string_view text, const LrPlace& place, const Recipe& changed) {
  OptimizerSpec spec = changed.optimizer;
  LrPlace at = place;
  if (at.kind == LrPlace::kNewGroup) {  // by now the last of the groups
    at = {.kind = LrPlace::kGroup, .group = spec.groups.size() - 1};
  }
  try {
    const std::string value = ValueText(OptionsAt(spec, at).at("lr"));
    if (const auto edited = Edit(text, place, value)) {
      Recipe read = ParseTrainRecipe(*edited, "recipe");
      read.optimizer = Complete(read.optimizer);
      if (read == changed) return *edited;
    }
  } catch (const Error&) {
    // What cannot be read cannot be what is wanted.
  }
  return ToToml(changed);
}

}  // namespace kudari::lab
