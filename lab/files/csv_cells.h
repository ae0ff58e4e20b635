#ifndef KUDARI_LAB_FILES_CSV_CELLS_H_
#define KUDARI_LAB_FILES_CSV_CELLS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kudari::lab {

/// Takes the cells of a table in order.
class CsvHandler {
 public:
  virtual ~CsvHandler() = default;
  /// A cell without its quotes, which begins in that line, counted from 1.
  virtual void Cell(std::string_view text, int64_t line) = 0;
  /// The end of a row that has at least one cell; `closed` if a line feed ended it, not the text.
  virtual void EndRow(bool closed) = 0;
};

/// What is wrong with quotes, and the line in which it is.
struct CsvFault {
  int64_t line = 0;
  std::string what;
};

/// Whether a text may end within quotes, as a file that is still being written.
enum class CsvEnd { kWhole, kOpen };

/// Hands the cells of a text (RFC 4180, by libcsv) to `handler`, whose exceptions pass through,
/// until the end or a fault. Empty lines are no rows.
std::optional<CsvFault> ParseCsvCells(std::string_view text, char separator, CsvEnd end,
                                      CsvHandler& handler);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_CSV_CELLS_H_
