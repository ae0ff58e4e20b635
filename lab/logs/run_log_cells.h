#ifndef KUDARI_LAB_LOGS_RUN_LOG_CELLS_H_
#define KUDARI_LAB_LOGS_RUN_LOG_CELLS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "lab/logs/run_log_table.h"

namespace kudari::lab {

/// The header of a table in a text.
struct TableHeader {
  size_t begin = 0;     ///< of its line, in bytes
  uint32_t before = 0;  ///< lines before it, which are not of the table
  char separator = ',';
};

/// The header of a table: among the first hundred lines, the first with names, and no numbers,
/// above a line with a number in one of its columns; else a first line that names a loss. Names are
/// separated by commas, tabs, semicolons or bars, whichever makes the most of them, or else by
/// spaces. Lines that are only drawn are passed over. Nothing if there is none.
std::optional<TableHeader> FindHeader(std::string_view text);

/// The log in a table with cells of numbers, in which a comma may be the decimal point where it is
/// not the separator. "NA" and the like are empty. Rows that have more or fewer cells than the
/// header, headers that are repeated and lines of text are noted. A last row that is not complete
/// is not read. Throws Error naming file and row for quotes that do not match.
LogTable ParseCells(std::string_view text, const TableHeader& header, std::string_view name);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LOGS_RUN_LOG_CELLS_H_
