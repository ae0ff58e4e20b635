// advice.toml, and how it is read. Every error in it is a programmer's.
#ifndef KUDARI_LAB_RECIPE_ADVICE_DATA_H_
#define KUDARI_LAB_RECIPE_ADVICE_DATA_H_

#include <toml++/toml.h>

#include <string>
#include <string_view>
#include <vector>

namespace kudari::lab {

/// All of advice.toml.
const toml::table& AdviceData();

/// Throws Error saying that the key of the table is missing or of the wrong type.
[[noreturn]] void MissingAdvice(const toml::table& table, std::string_view key);

/// The table with that key; throws Error if there is none.
const toml::table& TableAt(const toml::table& table, std::string_view key);

/// The array with that key; throws Error if there is none.
const toml::array& ArrayAt(const toml::table& table, std::string_view key);

/// The text with that key; throws Error if there is none.
std::string TextAt(const toml::table& table, std::string_view key);

/// The text with that key, or `other` if there is none.
std::string TextOr(const toml::table& table, std::string_view key, std::string_view other);

/// The number with that key; throws Error if there is none.
double NumberAt(const toml::table& table, std::string_view key);

/// Calls f(table) for each table of the list with that key.
template <class F>
void ForTables(const toml::table& table, std::string_view key, const F& f) {
  for (const toml::node& node : ArrayAt(table, key)) {
    if (!node.is_table()) MissingAdvice(table, key);
    f(*node.as_table());
  }
}

/// The question of the chart with that id; throws Error if there is none.
const toml::table& ChartQuestion(std::string_view id);

/// What a user can say to a question that asks for a name.
std::vector<std::string> AnswerNames(const toml::table& question);

/// The setting that an answer of the chart takes for a task; empty if it takes none.
std::string SettingTaken(const toml::table& answer, std::string_view task);

/// The list of sources that advice cites, with their names.
std::string CitedText();

}  // namespace kudari::lab

#endif  // KUDARI_LAB_RECIPE_ADVICE_DATA_H_
