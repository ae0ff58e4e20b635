#include "core/toml_table.h"

#include <algorithm>
#include <cmath>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/registry.h"

namespace kudari::internal {
namespace {

std::string RangeText(int64_t low, int64_t high) {
  const std::string top = high == INT64_MAX ? "..." : std::to_string(high);
  return "[" + std::to_string(low) + ", " + top + "]";
}

// Where the string ends that begins with the quote at `begin`: behind its last quote, or where the
// line or the text ends first.
size_t EndOfString(std::string_view text, size_t begin) {
  const char quote = text[begin];
  const std::string three(3, quote);
  const bool multi_line = text.substr(begin).starts_with(three);
  const auto ends = [&](size_t i) {
    return multi_line ? text.substr(i).starts_with(three) : text[i] == quote || text[i] == '\n';
  };
  size_t i = begin + (multi_line ? 3 : 1);
  while (i < text.size() && !ends(i)) i += quote == '"' && text[i] == '\\' ? 2 : 1;
  // Two quotes of the string may stand before the three that end it.
  const size_t most = std::min(i + (multi_line ? 5 : 1), text.size());
  while (i < most && text[i] == quote) ++i;
  return std::min(i, text.size());
}

// "source:line:column" of what follows the text.
std::string PlaceAfter(std::string_view text, std::string_view source) {
  const auto is_begin = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; };
  const std::string_view line = text.substr(text.rfind('\n') + 1);
  return std::string(source) + ":" + std::to_string(1 + std::ranges::count(text, '\n')) + ":" +
         std::to_string(1 + std::ranges::count_if(line, is_begin));
}

// Throws Error where dots of keys, lists and tables are nested deeper than in any recipe: the
// parser and the destructors of what it makes call themselves for each level, and the stack has an
// end.
void CheckDepth(std::string_view text, std::string_view source) {
  constexpr size_t kMostLevels = 100;
  std::vector<size_t> open = {0};  // the levels of the brackets that are open
  size_t level = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    switch (text[i]) {
      case '"':
      case '\'':
        i = EndOfString(text, i) - 1;
        break;
      case '#':
        i = std::min(text.find('\n', i), text.size()) - 1;
        break;
      case '.':  // each part of a key is a table in the one before
        ++level;
        break;
      case '[':
      case '{':
        open.push_back(++level);
        break;
      case ']':
      case '}':
        if (open.size() > 1) open.pop_back();
        level = open.back();
        break;
      case ',':
      case '\n':
        level = open.back();
        break;
      default:
        break;
    }
    if (level <= kMostLevels) continue;
    throw Error(PlaceAfter(text.substr(0, i), source) + ": is nested more than " +
                std::to_string(kMostLevels) + " levels deep by dots of keys, lists and tables");
  }
}

}  // namespace

toml::table ParseToml(std::string_view text, std::string_view source) {
  constexpr size_t kMostText = size_t{1} << 20;
  if (text.size() > kMostText) {
    throw Error(std::string(source) + ": has " + std::to_string(text.size()) +
                " bytes, which is outside [0, 1048576]");
  }
  CheckDepth(text, source);
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& e) {
    const auto& at = e.source().begin;
    throw Error(std::string(source) + ":" + std::to_string(at.line) + ":" +
                std::to_string(at.column) + ": " + std::string(e.description()));
  }
}

TableReader::TableReader(const toml::table& table, std::string_view path, std::string_view source)
    : table_(&table), path_(path), source_(source) {}

const toml::node* TableReader::Take(std::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
  return table_->get(key);
}

void TableReader::Fail(std::string_view key, std::string_view message) const {
  const toml::node* node = table_->get(key);
  const auto line = (node != nullptr ? node->source() : table_->source()).begin.line;
  std::string where = source_;
  if (line != 0) where += ":" + std::to_string(line);
  where += ": " + path_;
  if (!key.empty()) where += (path_.empty() ? "" : ".") + OneLine(key);
  throw Error(where + ": " + std::string(message));
}

std::optional<double> TableReader::Number(std::string_view key, double low, double high) {
  const toml::node* node = Take(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_number()) Fail(key, "must be a number");
  const double x = *node->value<double>();
  if (!(low <= x && x <= high)) {
    Fail(key, NumberText(x) + " is outside " + kudari::RangeText(low, high));
  }
  return x;
}

std::optional<int64_t> TableReader::Integer(std::string_view key, int64_t low, int64_t high) {
  const toml::node* node = Take(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_integer()) Fail(key, "must be an integer");
  const int64_t x = **node->as_integer();
  if (x < low || x > high) Fail(key, std::to_string(x) + " is outside " + RangeText(low, high));
  return x;
}

std::optional<bool> TableReader::Bool(std::string_view key) {
  const toml::node* node = Take(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_boolean()) Fail(key, "must be true or false");
  return **node->as_boolean();
}

std::optional<std::string> TableReader::String(std::string_view key) {
  const toml::node* node = Take(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_string()) Fail(key, "must be a string");
  return **node->as_string();
}

std::optional<std::string> TableReader::Choice(std::string_view key,
                                               std::span<const std::string> choices) {
  const auto name = String(key);
  if (!name) return std::nullopt;
  const auto choice =
      std::ranges::find_if(choices, [&name](const std::string& c) { return SameName(c, *name); });
  if (choice == choices.end()) Fail(key, "unknown name " + Quoted(*name) + Suggest(*name, choices));
  return *choice;
}

std::optional<std::variant<std::string, double>> TableReader::ChoiceOrNumber(
    std::string_view key, std::span<const std::string> choices, double low, double high) {
  const toml::node* node = Take(key);
  if (node == nullptr) return std::nullopt;
  if (node->is_string()) return *Choice(key, choices);
  return *Number(key, low, high);
}

std::optional<std::vector<std::string>> TableReader::Strings(std::string_view key) {
  const toml::node* node = Take(key);
  if (node == nullptr) return std::nullopt;
  std::vector<std::string> values;
  const auto add = [&](const toml::node& item) {
    if (!item.is_string()) Fail(key, "must be a string or a list of strings");
    values.push_back(**item.as_string());
  };
  if (!node->is_array()) {
    add(*node);
  } else {
    for (const toml::node& item : *node->as_array()) add(item);
  }
  return values;
}

std::optional<std::vector<int64_t>> TableReader::Integers(std::string_view key, int64_t low,
                                                          int64_t high) {
  const toml::node* node = Take(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_array()) Fail(key, "must be a list of integers");
  std::vector<int64_t> values;
  for (const toml::node& item : *node->as_array()) {
    if (!item.is_integer()) Fail(key, "must be a list of integers");
    const int64_t x = **item.as_integer();
    if (x < low || x > high) Fail(key, std::to_string(x) + " is outside " + RangeText(low, high));
    values.push_back(x);
  }
  return values;
}

std::optional<std::vector<double>> TableReader::Numbers(std::string_view key, double low,
                                                        double high) {
  const toml::node* node = Take(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_array()) Fail(key, "must be a list of numbers");
  std::vector<double> values;
  for (const toml::node& item : *node->as_array()) {
    if (!item.is_number()) Fail(key, "must be a list of numbers");
    const double x = *item.value<double>();
    if (!(x >= low && x <= high)) {
      Fail(key, NumberText(x) + " is outside " + kudari::RangeText(low, high));
    }
    values.push_back(x);
  }
  return values;
}

std::optional<Schedule> TableReader::ScheduleOf(std::string_view key) {
  const toml::node* node = Take(key);
  if (node == nullptr) return std::nullopt;
  try {
    if (node->is_number()) return Schedule(*node->value<double>());
    if (node->is_string()) return ParseSchedule(**node->as_string());
  } catch (const Error& e) {
    Fail(key, e.what());
  }
  Fail(key, "must be a number or a schedule such as \"1e-3 * warmup(100)\"");
}

std::optional<StepNumber> TableReader::StepOf(std::string_view key) {
  const toml::node* node = Take(key);
  if (node == nullptr) return std::nullopt;
  try {
    if (node->is_integer()) return ParseStepNumber(std::to_string(**node->as_integer()));
    if (node->is_string()) return ParseStepNumber(**node->as_string());
  } catch (const Error& e) {
    Fail(key, e.what());
  }
  Fail(key, "must be a number of steps, such as 100, \"10%\", \"3ep\" or \"end\"");
}

std::optional<TableReader> TableReader::Table(std::string_view key) {
  const toml::node* node = Take(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_table()) Fail(key, "must be a table");
  return TableReader(*node->as_table(), path_.empty() ? key : path_ + "." + std::string(key),
                     source_);
}

std::vector<TableReader> TableReader::Tables(std::string_view key) {
  const toml::node* node = Take(key);
  std::vector<TableReader> tables;
  if (node == nullptr) return tables;
  if (!node->is_array()) Fail(key, "must be a list of tables");
  for (const toml::node& item : *node->as_array()) {
    if (!item.is_table()) Fail(key, "must be a list of tables");
    std::string path = (path_.empty() ? "" : path_ + ".") + std::string(key);
    // Lines say which table it is, if the tables have any.
    if (item.source().begin.line == 0) path += "[" + std::to_string(tables.size()) + "]";
    tables.emplace_back(*item.as_table(), path, source_);
  }
  return tables;
}

std::vector<std::string> TableReader::Keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, node] : *table_) keys.emplace_back(key.str());
  return keys;
}

void TableReader::Finish() const {
  for (const std::string& key : Keys()) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
      Fail(key, "unknown key" + Suggest(key, known_));
    }
  }
}

}  // namespace kudari::internal
