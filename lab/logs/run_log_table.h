#ifndef KUDARI_LAB_LOGS_RUN_LOG_TABLE_H_
#define KUDARI_LAB_LOGS_RUN_LOG_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/doctor.h"

namespace kudari::lab {

/// One number of a log.
struct Cell {
  int64_t step = 0;  ///< of event files; that of other logs is in a column
  double value = kNotMeasured;
  uint32_t row = 0, file = 0;
};

/// A column of a CSV file, a key of JSON objects or of text, or a tag of event files, in the log's
/// order.
struct Column {
  std::string name;
  std::string run = {};  ///< of event files: their folder below the one that is read
  std::vector<Cell> cells = {};
  std::string bad = {};  ///< the first cell that is no number, and where it is
  uint32_t bad_row = 0;
  size_t nulls = 0, last_nulls = 0;  ///< null in JSON, before the last number and behind it
};

/// The number that a whole text is, among them "nan", "inf" and "Infinity"; nothing if it is none.
std::optional<double> NumberIn(std::string_view text);

/// Without the white space at both ends.
std::string_view Trimmed(std::string_view text);

/// Takes the first line off a text, without the line feed.
std::string_view TakeLine(std::string_view& text);

/// A log of any format. What is added throws Error where there would be more than is read of one.
class LogTable {
 public:
  /// Rows that a log may have, and numbers that a column may have.
  static constexpr size_t kMostRows = size_t{1} << 23;
  /// Numbers in all, of which a layer has four.
  static constexpr size_t kMostNumbers = size_t{1} << 25;
  /// Columns, and bytes of the name of one.
  static constexpr size_t kMostColumns = size_t{1} << 18, kMostName = 512;

  /// `the_row_name` is what a row is called, as "line".
  explicit LogTable(std::string_view the_row_name, bool the_has_steps = false)
      : row_name(the_row_name), has_steps(the_has_steps) {}

  std::vector<std::string> files = {};  ///< names
  std::string row_name;
  bool has_steps;        ///< in its cells
  bool is_text = false;  ///< numbers found in text, where a row is only a line
  uint32_t rows = 0;     ///< numbered up to this one
  std::vector<Column> columns = {};
  std::vector<LayersLog> layers = {};
  std::string first_nonfinite = {};
  int64_t planned_steps = 0;            ///< 0: not known
  bool is_finished = false;             ///< the log says that the planned steps have been made
  std::vector<std::string> notes = {};  ///< what of the file is not in here, in sentences

  /// Begins the next row.
  void AddRow();
  /// Makes a column, which may have the name of another.
  Column& AddColumn(std::string_view name, std::string_view run = {});
  /// The column of a name, which is made if there is none yet.
  Column& At(std::string_view name, std::string_view run = {});
  /// Removes all columns.
  void ClearColumns();
  /// Adds a number, in place of the one that the column has of the same row.
  void Add(const Cell& cell, Column& column);
  /// Adds a null of this row.
  void AddNull(Column& column);
  /// Removes the nulls of columns that have a number in less than half of their rows, up to the
  /// last number: there a null was not logged. Elsewhere it is a NaN.
  void DropNulls();
  /// Counts numbers that are not in a column.
  void Count(size_t numbers);
  /// Throws Error if a column cannot have the name.
  void CheckName(std::string_view name) const;
  /// "FILE: line 3".
  std::string Where(const Cell& cell) const;

 private:
  std::map<std::pair<std::string, std::string>, size_t> index_;  // of columns that At has made
  size_t last_ = 0;                                              // which At found last
  size_t numbers_ = 0;                                           // counted
};

/// The log in the contents of a file, in the format that they have; event files may be told by the
/// name, too. Throws Error naming file and line, row or record.
LogTable ParseLogTable(std::string_view contents, std::string_view name);

/// The log at a path: a file, packed or not, or a folder that has one. Throws Error as above, and
/// if there is none.
LogTable ReadLogTable(const std::filesystem::path& path);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_RUN_LOG_TABLE_H_
