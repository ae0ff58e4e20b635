#ifndef KUDARI_LAB_RECIPE_JSON_TABLE_H_
#define KUDARI_LAB_RECIPE_JSON_TABLE_H_

#include <toml++/toml.h>

#include <nlohmann/json.hpp>

namespace kudari::lab {

/// A JSON object as a table of a recipe, so that TableReader reads it. Throws Error for a null,
/// which recipes do not have, naming its key, and for what is nested more than 100 levels deep.
toml::table TableOf(const nlohmann::ordered_json& json);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_JSON_TABLE_H_
