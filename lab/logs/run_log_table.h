#ifndef KUDARI_LAB_LOGS_RUN_LOG_TABLE_H_
#define KUDARI_LAB_LOGS_RUN_LOG_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/doctor.h"

namespace kudari::lab {

/// One number of a log.
struct Cell {
  int64_t step = 0;  ///< of event files; that of other logs is in a column
  double value = kNotMeasured;
  size_t row = 0, file = 0;
};

/// A column of a CSV file, a key of JSON objects or a tag of event files, in the log's order.
struct Column {
  std::string name;
  std::string run = {};  ///< of event files: their folder below the one that is read
  std::vector<Cell> cells = {};
  std::string bad = {};  ///< the first cell that is no number, and where it is
  size_t bad_row = 0;
};

/// A log of any format.
struct LogTable {
  std::vector<std::string> files;  ///< names
  std::string row_name;            ///< as "line"
  bool has_steps = false;          ///< in its cells
  size_t rows = 0;                 ///< numbered up to this one
  std::vector<Column> columns = {};
  std::vector<LayersLog> layers = {};
  std::string first_nonfinite = {};
  int64_t planned_steps = 0;  ///< 0: not known
  size_t last = 0;            ///< index of the column that At found last

  /// The column of a name, which is made if there is none yet.
  Column& At(std::string_view name, std::string_view run = {});
  /// "FILE: line 3".
  std::string Where(const Cell& cell) const;
};

/// The log in the contents of a file, in the format that the name tells. Throws Error naming file
/// and line, row or record.
LogTable ParseLogTable(std::string_view contents, std::string_view name);

/// The log at a path: a file, packed or not, or a folder that has one. Throws Error as above, and
/// if there is none.
LogTable ReadLogTable(const std::filesystem::path& path);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_RUN_LOG_TABLE_H_
