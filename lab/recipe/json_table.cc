#include "lab/recipe/json_table.h"

#include <cstdint>
#include <string>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMostLevels = 100;

toml::table TableFrom(const Json& json, int level);
toml::array ArrayFrom(const Json& json, const std::string& key, int level);

// Calls add with the value of a key as TOML has it.
template <class F>
void AddValue(const Json& value, const std::string& key, int level, const F& add) {
  const bool large = value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX;
  if (level > kMostLevels) throw Error(Quoted(key) + " is nested more than 100 levels deep");
  if (value.is_object()) {
    add(TableFrom(value, level));
  } else if (value.is_array()) {
    add(ArrayFrom(value, key, level));
  } else if (value.is_string()) {
    add(value.get<std::string>());
  } else if (value.is_boolean()) {
    add(value.get<bool>());
  } else if (value.is_number_integer() && !large) {
    add(value.get<int64_t>());
  } else if (value.is_number()) {
    add(value.get<double>());
  } else {
    throw Error(Quoted(key) + " is null, which is no value");
  }
}

toml::table TableFrom(const Json& json, int level) {
  toml::table table;
  for (const auto& item : json.items()) {
    AddValue(item.value(), item.key(), level + 1,
             [&](auto value) { table.insert(item.key(), std::move(value)); });
  }
  return table;
}

toml::array ArrayFrom(const Json& json, const std::string& key, int level) {
  toml::array array;
  for (const Json& item : json) {
    AddValue(item, key, level + 1, [&](auto value) { array.push_back(std::move(value)); });
  }
  return array;
}

}  // namespace

toml::table TableOf(const Json& json) { return TableFrom(json, 0); }

}  // namespace kudari::lab
