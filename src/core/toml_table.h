#ifndef KUDARI_CORE_TOML_TABLE_H_
#define KUDARI_CORE_TOML_TABLE_H_

#include <toml++/toml.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kudari/schedule.h"

namespace kudari::internal {

/// Parses TOML of at most 1 MiB, in which dotted keys, lists and tables are nested at most 100
/// levels deep. Throws Error "source:line:column: what".
toml::table ParseToml(std::string_view text, std::string_view source);

/// Reads the keys of one table, each at most once, with errors that name the source, the line, the
/// key and the permitted values. Finish reports keys that were not read.
class TableReader {
 public:
  /// `path` is the table's name in messages, such as "train"; `table` must outlive the reader.
  TableReader(const toml::table& table, std::string_view path, std::string_view source);

  /// Each of these returns nothing if the key is absent, and throws Error if the value has another
  /// type or is outside the closed range. Integers are accepted as numbers, and numbers as
  /// schedules.
  std::optional<double> Number(std::string_view key, double low, double high);
  std::optional<int64_t> Integer(std::string_view key, int64_t low, int64_t high);
  std::optional<bool> Bool(std::string_view key);
  std::optional<std::string> String(std::string_view key);
  /// One of the choices, which the text may give in letters of either case.
  std::optional<std::string> Choice(std::string_view key, std::span<const std::string> choices);
  /// One of the choices, or a number.
  std::optional<std::variant<std::string, double>> ChoiceOrNumber(
      std::string_view key, std::span<const std::string> choices, double low, double high);
  /// A list; a single string counts as a list of one.
  std::optional<std::vector<std::string>> Strings(std::string_view key);
  std::optional<std::vector<int64_t>> Integers(std::string_view key, int64_t low, int64_t high);
  std::optional<std::vector<double>> Numbers(std::string_view key, double low, double high);
  std::optional<Schedule> ScheduleOf(std::string_view key);
  /// An integer of at least 0, or a text such as "10%".
  std::optional<StepNumber> StepOf(std::string_view key);
  std::optional<TableReader> Table(std::string_view key);
  std::vector<TableReader> Tables(std::string_view key);

  /// The keys that are present.
  std::vector<std::string> Keys() const;
  bool Has(std::string_view key) const { return table_->contains(key); }
  /// Whether the key is present with a string.
  bool HasText(std::string_view key) const { return (*table_)[key].is_string(); }

  /// Throws Error for the first key that was not read, with the nearest key that was asked for.
  void Finish() const;

  /// Throws Error "source:line: path.key: message"; an absent key is reported at the table's line.
  [[noreturn]] void Fail(std::string_view key, std::string_view message) const;

 private:
  const toml::node* Take(std::string_view key);

  const toml::table* table_;
  std::string path_, source_;
  std::vector<std::string> known_;
};

}  // namespace kudari::internal

#endif  // KUDARI_CORE_TOML_TABLE_H_
