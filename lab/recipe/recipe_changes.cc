#include "lab/recipe/recipe_changes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/toml_table.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/console/usage_error.h"

namespace kudari::lab {
namespace {

// The part of a dotted path before the first dot, which is cut off `path`.
std::string_view TakeComponent(std::string_view& path) {
  const size_t dot = path.find('.');
  const std::string_view part = path.substr(0, dot);
  path = dot == std::string_view::npos ? "" : path.substr(dot + 1);
  return part;
}

// Parses a value as TOML; what is none is text.
toml::table ParseValue(std::string_view value) {
  try {
    toml::table parsed = internal::ParseToml(fmt::format("value = {}", value), "--set");
    if (parsed.size() == 1) return parsed;
  } catch (const Error&) {
    // A schedule, a name or a path.
  }
  return toml::table{{"value", std::string(value)}};
}

// The node of that name in a table, or of that index in a list; null if there is none.
toml::node* Inside(toml::node& node, std::string_view part) {
  if (toml::table* const table = node.as_table()) return table->get(part);
  toml::array* const list = node.as_array();
  size_t index = 0;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
  if (list == nullptr || error != std::errc() || end != part.data() + part.size()) return nullptr;
  return list->get(index);
}

// Makes the changes of the table [scale.NAME], and takes all of [scale] away.
void ApplyScale(const std::string& name, toml::table& root) {
  toml::table scales;
  if (toml::table* const given = root["scale"].as_table()) {
    scales = std::move(*given);
    root.erase("scale");
  }
  if (name.empty()) return;
  if (toml::table* const scale = scales[name].as_table()) {
    MergeTables(*scale, root);
    return;
  }
  std::vector<std::string> names;
  for (const auto& [key, value] : scales) names.emplace_back(key.str());
  throw UsageError(fmt::format(
      "--scale {0}: the recipe has no table [scale.{0}]{1}", name,
      names.empty() ? std::string() : fmt::format(", only {}", fmt::join(names, ", "))));
}

// Makes the change of one "key=value".
void ApplySet(std::string_view set, toml::table& root) {
  constexpr auto kMostParts = std::ptrdiff_t{100};
  const size_t equals = set.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    throw UsageError(fmt::format("--set {}: must be key=value, such as train.epochs=3", set));
  }
  if (!IsUtf8(set)) throw UsageError(fmt::format("--set {}: is not UTF-8", set));
  const toml::table parsed = ParseValue(set.substr(equals + 1));
  std::string_view path = set.substr(0, equals);
  const std::ptrdiff_t parts = 1 + std::ranges::count(path, '.');
  if (parts > kMostParts) {
    throw Error(fmt::format("--set {}: its key has {} parts, which is outside [1, {}]",
                            OneLine(set), parts, kMostParts));
  }
  toml::node* at = &root;
  while (true) {
    const std::string_view part = TakeComponent(path);
    toml::table* const table = at->as_table();
    if (table != nullptr && path.empty()) {
      table->insert_or_assign(part, *parsed.get("value"));
      return;
    }
    at = table != nullptr ? &table->insert(part, toml::table{}).first->second : Inside(*at, part);
    if (at == nullptr || (table == nullptr && path.empty())) {
      throw UsageError(fmt::format("--set {}: there is no \"{}\" to set", set, part));
    }
  }
}

// Removes a key.
void ApplyUnset(std::string_view key, toml::table& root) {
  std::string_view path = key;
  toml::node* at = &root;
  while (true) {
    const std::string_view part = TakeComponent(path);
    if (Inside(*at, part) == nullptr) {
      throw UsageError(fmt::format("--unset {}: the recipe has no \"{}\"", key, part));
    }
    if (!path.empty()) {
      at = Inside(*at, part);
    } else if (toml::table* const table = at->as_table()) {
      table->erase(part);
      return;
    } else {
      throw UsageError(fmt::format("--unset {}: an element of a list cannot be removed", key));
    }
  }
}

}  // namespace

void MergeTables(toml::table& from, toml::table& to) {
  for (auto&& [key, value] : from) {
    toml::table* const inner = value.as_table();
    toml::table* const old = to[key].as_table();
    if (inner != nullptr && old != nullptr && !inner->contains("name")) {
      MergeTables(*inner, *old);
    } else {
      value.visit([&, at = &key](auto& node) { to.insert_or_assign(*at, std::move(node)); });
    }
  }
}

void ApplyChanges(const RecipeChanges& changes, toml::table& root) {
  ApplyScale(changes.scale, root);
  for (const std::string& key : changes.unsets) ApplyUnset(key, root);
  for (const std::string& set : changes.sets) ApplySet(set, root);
}

}  // namespace kudari::lab
