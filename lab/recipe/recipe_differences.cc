#include "lab/recipe/recipe_differences.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <map>
#include <sstream>
#include <string_view>

#include "core/option_table.h"
#include "core/toml_table.h"

namespace kudari::lab {
namespace {

// The options of a run that decide what its state is, or what the state means.
constexpr std::array kTrainKeys = {"batch_size",     "seed",      "shuffle",    "loss",
                                   "weights",        "precision", "loss_scale", "plateau_factor",
                                   "early_stopping", "monitor",   "save",       "classifier"};
constexpr std::array kOptimizerParts = {"rule",       "preset",   "match",  "where",
                                        "classes",    "fallback", "source", "precision",
                                        "accumulate", "ema",      "swa",    "lookahead"};

bool IsSafe(std::string_view key) {
  const auto below = [key](std::string_view table) { return key.starts_with(table); };
  if (below("model.") || below("fault.") || below("hessian.")) return false;
  if (below("data.")) return key == "data.path";
  if (below("train.")) return std::ranges::find(kTrainKeys, key.substr(6)) == kTrainKeys.end();
  if (!below("optimizer.")) return true;
  for (size_t begin = 0; begin < key.size();) {
    const size_t end = std::min(key.find('.', begin), key.size());
    const std::string_view part = key.substr(begin, end - begin);
    if (std::ranges::find(kOptimizerParts, part) != kOptimizerParts.end()) return false;
    begin = end + 1;
  }
  return true;
}

std::string ValueText(const toml::node& node) {
  if (const auto* const text = node.as_string()) return internal::TomlText(**text);
  if (const auto* const number = node.as_floating_point()) return internal::TomlText(**number);
  if (const toml::array* const list = node.as_array()) {
    std::vector<std::string> items;
    for (const toml::node& item : *list) items.push_back(ValueText(item));
    return fmt::format("[{}]", fmt::join(items, ", "));
  }
  std::ostringstream text;
  node.visit([&text](const auto& value) { text << value; });
  return text.str();
}

void Flatten(const toml::node& node, const std::string& path,
             std::map<std::string, std::string>& values) {
  const std::string prefix = path.empty() ? "" : path + ".";
  if (const toml::table* const table = node.as_table()) {
    for (const auto& [key, value] : *table) Flatten(value, prefix + std::string(key.str()), values);
    return;
  }
  const toml::array* const list = node.as_array();
  if (list == nullptr || list->empty() || !list->front().is_table()) {
    values.emplace(path, ValueText(node));
    return;
  }
  for (size_t i = 0; i < list->size(); ++i) {
    Flatten((*list)[i], fmt::format("{}{}", prefix, i), values);
  }
}

std::map<std::string, std::string> ValuesOf(const Recipe& recipe) {
  std::map<std::string, std::string> values;
  Flatten(internal::ParseToml(ToToml(recipe), "recipe"), "", values);
  return values;
}

}  // namespace

std::vector<RecipeDifference> DifferencesBetween(const Recipe& before, const Recipe& after) {
  const std::map<std::string, std::string> old = ValuesOf(before), now = ValuesOf(after);
  constexpr const char* kUnset = "unset";
  std::vector<RecipeDifference> differences;
  for (const auto& [key, value] : old) {
    const auto found = now.find(key);
    const std::string other = found == now.end() ? kUnset : found->second;
    if (other != value) differences.push_back({key, value, other, IsSafe(key)});
  }
  for (const auto& [key, value] : now) {
    if (!old.contains(key)) differences.push_back({key, kUnset, value, IsSafe(key)});
  }
  std::ranges::sort(differences, {}, &RecipeDifference::key);
  return differences;
}

}  // namespace kudari::lab
