#include "lab/landscape/optimizer_json.h"

#include <string>

#include "core/toml_table.h"
#include "kudari/recipe.h"
#include "lab/recipe/json_table.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

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
