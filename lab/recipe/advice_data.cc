#include "lab/recipe/advice_data.h"

#include <fmt/format.h>

#include "core/toml_table.h"
#include "kudari/error.h"
#include "lab/console/progress.h"

namespace kudari::lab {

// Written by CMake from advice.toml.
extern const std::string_view kAdviceToml;

const toml::table& AdviceData() {
  static const toml::table data = internal::ParseToml(kAdviceToml, "advice.toml");
  return data;
}

void MissingAdvice(const toml::table& table, std::string_view key) {
  throw Error(fmt::format("advice.toml:{}: {}: missing or of the wrong type",
                          table.source().begin.line, key));
}

const toml::table& TableAt(const toml::table& table, std::string_view key) {
  const toml::node* const node = table.get(key);
  if (node == nullptr || !node->is_table()) MissingAdvice(table, key);
  return *node->as_table();
}

const toml::array& ArrayAt(const toml::table& table, std::string_view key) {
  const toml::node* const node = table.get(key);
  if (node == nullptr || !node->is_array()) MissingAdvice(table, key);
  return *node->as_array();
}

std::string TextAt(const toml::table& table, std::string_view key) {
  const auto text = table[key].value<std::string>();
  if (!text) MissingAdvice(table, key);
  return *text;
}

std::string TextOr(const toml::table& table, std::string_view key, std::string_view other) {
  return table[key].value_or(std::string(other));
}

double NumberAt(const toml::table& table, std::string_view key) {
  const auto number = table[key].value<double>();
  if (!number) MissingAdvice(table, key);
  return *number;
}

const toml::table& ChartQuestion(std::string_view id) {
  const toml::table* found = nullptr;
  ForTables(AdviceData(), "question", [&](const toml::table& q) {
    if (TextAt(q, "id") == id) found = &q;
  });
  if (found == nullptr) throw Error(fmt::format("advice.toml: no question \"{}\"", id));
  return *found;
}

std::vector<std::string> AnswerNames(const toml::table& question) {
  std::vector<std::string> names;
  ForTables(question, "answer", [&](const toml::table& a) {
    if (a.contains("is")) names.push_back(TextAt(a, "is"));
  });
  return names;
}

std::string SettingTaken(const toml::table& answer, std::string_view task) {
  constexpr std::string_view kTask = "$task";
  std::string setting = TextOr(answer, "take", "");
  if (setting.starts_with(kTask)) setting.replace(0, kTask.size(), task);
  return setting;
}

std::string CitedText() {
  std::string text = "Sources\n";
  ForTables(AdviceData(), "cited", [&](const toml::table& cited) {
    text += Wrapped(TextAt(cited, "name") + ": " + TextAt(cited, "is"), 2);
  });
  return text;
}

}  // namespace kudari::lab
