#include "lab/landscape/optimizer_json.h"

#include <cstdint>
#include <string>
#include <utility>

#include "core/toml_table.h"
#include "kudari/error.h"
#include "kudari/recipe.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

toml::table TableOf(const Json& json);
toml::array ArrayOf(const Json& json);

// Calls add with the value as TOML has it.
template <class F>
void AddValue(const Json& value, const F& add) {
  const bool large = value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX;
  if (value.is_object()) {
    add(TableOf(value));
  } else if (value.is_array()) {
    add(ArrayOf(value));
  } else if (value.is_string()) {
    add(value.get<std::string>());
  } else if (value.is_boolean()) {
    add(value.get<bool>());
  } else if (value.is_number_integer() && !large) {
    add(value.get<int64_t>());
  } else if (value.is_number()) {
    add(value.get<double>());
  } else {
    throw Error("an option of the optimiser is null");
  }
}

toml::table TableOf(const Json& json) {
  toml::table table;
  for (const auto& item : json.items()) {
    AddValue(item.value(), [&](auto value) { table.insert(item.key(), std::move(value)); });
  }
  return table;
}

toml::array ArrayOf(const Json& json) {
  toml::array array;
  for (const Json& item : json) {
    AddValue(item, [&](auto value) { array.push_back(std::move(value)); });
  }
  return array;
}

Json JsonOf(const toml::node& node) {
  Json json;
  if (const toml::table* const table = node.as_table()) {
    json = Json::object();
    for (const auto& [key, value] : *table) json[std::string(key.str())] = JsonOf(value);
  } else if (const toml::array* const array = node.as_array()) {
    json = Json::array();
    for (const toml::node& item : *array) json.push_back(JsonOf(item));
  } else if (const auto* const text = node.as_string()) {
    json = text->get();
  } else if (const auto* const integer = node.as_integer()) {
    json = integer->get();
  } else if (const auto* const number = node.as_floating_point()) {
    json = number->get();
  } else if (const auto* const boolean = node.as_boolean()) {
    json = boolean->get();
  }
  return json;
}

// A table without what `defaults` has as well.
Json Without(const Json& table, const Json& defaults) {
  Json rest = Json::object();
  for (const auto& item : table.items()) {
    const Json& value = item.value();
    const auto found = defaults.find(item.key());
    if (found == defaults.end()) {
      rest[item.key()] = value;
    } else if (value != *found) {
      rest[item.key()] = value.is_object() ? Without(value, *found) : value;
    }
  }
  return rest;
}

Json FullTable(const OptimizerSpec& spec) {
  const toml::table document = internal::ParseToml(ToToml(Complete(spec)), "recipe");
  return JsonOf(*document.get("optimizer"));
}

}  // namespace

OptimizerSpec OptimizerOf(const Json& table) {
  toml::table document;
  document.insert("optimizer", TableOf(table));
  internal::TableReader reader(document, "", "recipe");
  return ReadSpec(reader);
}

Json OptimizerJson(const OptimizerSpec& spec) {
  OptimizerSpec defaults(spec.rule);
  defaults.source = spec.source;
  const Json full = FullTable(spec), without = Without(full, FullTable(defaults));
  Json table = {{"rule", spec.rule}, {"lr", full.at("lr")}};
  if (spec.source != OptimizerSpec().source) table["source"] = spec.source;
  table.update(without);
  return table;
}

}  // namespace kudari::lab
