#include "lab/logs/run_log_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "lab/files/csv_cells.h"
#include "lab/logs/run_log_fields.h"

namespace kudari::lab {
namespace {

constexpr int kMostBefore = 100;  // lines that are looked at for a header

// "No log" is what Hugging Face's model cards have, and dashes are a rule below a header, too.
bool IsMissing(std::string_view cell) {
  constexpr std::string_view kMissing[] = {"NA",   "N/A",  "n/a",  "<NA>",
                                           "null", "NULL", "None", "No log"};
  return std::ranges::find(kMissing, cell) != std::end(kMissing) ||
         cell.find_first_not_of("-=:") == std::string_view::npos;
}

// Whether a line is only drawn, as below the header of a table.
bool IsRule(std::string_view line) {
  return line.find_first_not_of("-=:|+ \t\r") == std::string_view::npos &&
         line.find_first_of("-=") != std::string_view::npos;
}

// The number in a cell.
std::optional<double> CellNumber(std::string_view cell, char separator) {
  if (const auto number = NumberIn(cell)) return number;
  const size_t comma = separator == ',' ? std::string_view::npos : cell.find(',');
  if (comma == std::string_view::npos || cell.find('.') != std::string_view::npos) {
    return std::nullopt;
  }
  std::string text(cell);
  text[comma] = '.';
  return NumberIn(text);
}

// The cells of a line that looks like a part of a table.
std::vector<std::string_view> Split(std::string_view line, char separator) {
  std::vector<std::string_view> cells;
  bool quoted = false;
  size_t begin = 0;
  const auto add = [&](size_t end) {
    std::string_view cell = Trimmed(line.substr(begin, end - begin));
    if (cell.size() >= 2 && cell.front() == '"' && cell.back() == '"') {
      cell = cell.substr(1, cell.size() - 2);
    }
    cells.push_back(cell);
  };
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"') quoted = !quoted;
    if (quoted || line[i] != separator) continue;
    add(i);
    begin = i + 1;
  }
  add(line.size());
  return cells;
}

bool NamesLoss(std::string_view line, char separator) {
  return std::ranges::any_of(Split(line, separator), [](std::string_view name) {
    return IsNamed(LogFieldOf("loss"), PlainName(name));
  });
}

// How many columns a line names if it is a header above the line `below`; 0 if it is none. One word
// above a number is a header only if it is a loss or the first line; names between bars, which text
// has as well, are one only with a loss.
size_t ColumnsNamed(std::string_view line, std::string_view below, char separator, bool is_first) {
  const auto names = Split(line, separator);
  const auto cells = Split(below, separator);
  const auto is_number = [separator](std::string_view cell) {
    return CellNumber(cell, separator).has_value();
  };
  if (std::ranges::any_of(names, is_number)) return 0;
  const size_t shared = std::min(names.size(), cells.size());
  const bool is_doubtful = separator == '|' || (names.size() == 1 && !is_first);
  if (is_doubtful && !NamesLoss(line, separator)) return 0;
  return std::any_of(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(shared), is_number)
             ? names.size()
             : 0;
}

// The parts of a line between at least `gap` spaces or tabs; what is in quotes is a part of one.
std::vector<std::string_view> Spaced(std::string_view line, size_t gap) {
  constexpr std::string_view kSpace = " \t\r";
  std::vector<std::string_view> parts;
  for (line = Trimmed(line); !line.empty();) {
    size_t end = 0;
    for (bool quoted = false; end < line.size(); ++end) {
      if (line[end] == '"') quoted = !quoted;
      const size_t next = std::min(line.find_first_not_of(kSpace, end), line.size());
      if (!quoted && next >= end + gap) break;
    }
    std::string_view part = line.substr(0, end);
    if (part.size() >= 2 && part.front() == '"' && part.back() == '"') {
      part = part.substr(1, part.size() - 2);
    }
    parts.push_back(part);
    line = Trimmed(line.substr(end));
  }
  return parts;
}

// Whether a part of a line may be a cell: a number, none, or something with digits, such as a time.
bool MayBeValue(std::string_view part) {
  return CellNumber(part, ' ') || IsMissing(part) || (part[0] >= '0' && part[0] <= '9');
}

// The names of a header whose columns are separated by spaces, among them a loss, above a line with
// as many values. It may begin with a mark of comments, as numpy writes it; if the values are one
// more, the first is pandas' index, which has no name. Names with spaces are two spaces apart. None
// if it is no such header.
std::vector<std::string_view> SpacedNames(std::string_view line, std::string_view below) {
  line = Trimmed(line);
  if (line.starts_with('#') || line.starts_with('%')) line = Trimmed(line.substr(1));
  const auto is_number = [](std::string_view part) { return CellNumber(part, ' ').has_value(); };
  const std::vector<std::string_view> cells = Spaced(below, 1);
  if (cells.size() < 2 || !std::ranges::all_of(cells, MayBeValue)) return {};
  if (std::ranges::none_of(cells, is_number)) return {};
  for (const size_t gap : {size_t{1}, size_t{2}}) {
    std::vector<std::string_view> names = Spaced(line, gap);
    if (std::ranges::any_of(names, is_number)) return {};
    const bool names_loss = std::ranges::any_of(
        names, [](std::string_view name) { return IsNamed(LogFieldOf("loss"), PlainName(name)); });
    if (cells.size() == names.size() + 1) names.insert(names.begin(), "");
    if (names_loss && names.size() == cells.size()) return names;
  }
  return {};
}

// A table whose columns are separated by spaces, with tabs in their place. A line that does not
// begin with a value is one cell, of a row without numbers.
std::string WithTabs(std::string_view text) {
  std::string_view rest = text;
  const std::string_view line = TakeLine(rest);
  std::string_view after = rest;
  std::string_view below;
  do {
    below = TakeLine(after);
  } while (!after.empty() && (Trimmed(below).empty() || IsRule(below)));
  std::string table;
  table.reserve(text.size());
  const auto add = [&table](const std::vector<std::string_view>& parts) {
    for (size_t i = 0; i < parts.size(); ++i) {
      if (i > 0) table += '\t';
      table += parts[i];
    }
  };
  add(SpacedNames(line, below));
  table += '\n';
  while (!rest.empty()) {
    const size_t size = rest.size();
    const std::string_view row = TakeLine(rest);
    const std::vector<std::string_view> parts = Spaced(row, 1);
    if (parts.empty() || MayBeValue(parts[0])) {
      add(parts);
    } else {
      table += "text";
    }
    if (row.size() + rest.size() < size) table += '\n';
  }
  std::ranges::replace(table, '"', '\'');
  return table;
}

// Takes cells and rows as the parser comes to them.
class CellReader : public CsvHandler {
 public:
  // Where a NaN may be a number that was not logged it counts as a null.
  CellReader(char separator, bool nan_is_null, LogTable& table)
      : separator_(separator), nan_is_null_(nan_is_null), table_(table) {}

  // That the parser is in.
  uint32_t row() const { return table_.rows + (fields_ == 0 ? 1 : 0); }

  void Cell(std::string_view text, int64_t /*line*/) override {
    if (fields_ == 0) table_.AddRow();
    const std::string_view cell = Trimmed(text);
    const size_t k = fields_++;
    if (!has_header_) {
      table_.AddColumn(cell);
      return;
    }
    if (k >= table_.columns.size()) return;
    Column& column = table_.columns[k];
    if (nan_is_null_ && cell == "NaN") {
      table_.AddNull(column);
    } else if (const auto value = CellNumber(cell, separator_)) {
      table_.Add({.value = *value, .row = table_.rows}, column);
      has_number_ = true;
    } else if (!IsMissing(cell) && column.bad_row == 0) {
      column.bad = cell;
      column.bad_row = table_.rows;
    }
    repeats_header_ = repeats_header_ && cell == column.name;
  }

  void EndRow(bool closed) override {
    const size_t fields = std::exchange(fields_, 0);
    const bool has_number = std::exchange(has_number_, false);
    const bool repeats_header = std::exchange(repeats_header_, true);
    const size_t columns = table_.columns.size();
    if (!std::exchange(has_header_, true) || (fields == columns && !repeats_header)) return;
    if (!closed && fields < columns) {
      Forget(fields);  // it is still being written
    } else if (has_number) {
      Note(fields > columns ? longer_ : shorter_);
    } else {
      Forget(fields);
      Note(text_);
    }
  }

  // Adds what is to be said of the rows to the table.
  void AddNotes() const {
    const auto add = [this](std::string_view what, const Rows& rows) {
      if (rows.count == 0) return;
      table_.notes.push_back(fmt::format("{}: {}, from row {} on", what, rows.count, rows.first));
    };
    add("rows with more cells than the header, of which the last are not read", longer_);
    add("rows with fewer cells than the header, of which the last count as empty", shorter_);
    add("rows without numbers, which are not read", text_);
  }

 private:
  struct Rows {
    uint32_t first = 0, count = 0;
  };

  void Note(Rows& rows) const {
    if (rows.count++ == 0) rows.first = table_.rows;
  }

  // What the row's first cells were.
  void Forget(size_t fields) {
    for (size_t k = 0; k < std::min(fields, table_.columns.size()); ++k) {
      Column& column = table_.columns[k];
      if (!column.cells.empty() && column.cells.back().row == table_.rows) column.cells.pop_back();
      if (column.bad_row == table_.rows) column.bad_row = 0;
    }
  }

  const char separator_;
  const bool nan_is_null_;
  LogTable& table_;
  bool has_header_ = false;
  size_t fields_ = 0;  // of the row so far
  bool has_number_ = false, repeats_header_ = true;
  Rows longer_, shorter_, text_;
};

}  // namespace

std::optional<TableHeader> FindHeader(std::string_view text) {
  std::optional<TableHeader> names_loss, above;
  std::string_view line;  // above
  std::string_view rest = text;
  uint32_t number = 0;
  for (int i = 0; i < kMostBefore && !rest.empty(); ++i) {
    const size_t begin = text.size() - rest.size();
    const std::string_view below = TakeLine(rest);
    ++number;
    if (Trimmed(below).empty() || IsRule(below)) continue;
    size_t most = 0;
    for (const char separator : {',', '\t', ';', '|'}) {
      if (!names_loss && separator != '|' && NamesLoss(below, separator))
        names_loss = TableHeader{begin, number - 1, separator};
      const size_t columns = above ? ColumnsNamed(line, below, separator, above->begin == 0) : 0;
      if (columns <= most) continue;
      most = columns;
      above->separator = separator;
    }
    const bool is_whole = begin + below.size() < text.size();
    if (most == 0 && above && is_whole && !SpacedNames(line, below).empty()) {
      above->separator = ' ';
      return above;
    }
    if (most > 0) return above;
    above = TableHeader{begin, number - 1, ','};
    line = below;
  }
  return names_loss;
}

LogTable ParseCells(std::string_view text, const TableHeader& header, std::string_view name) {
  LogTable table("row");
  table.files.emplace_back(name);
  table.rows = header.before;
  text.remove_prefix(header.begin);
  const bool spaced = header.separator == ' ';
  const std::string tabs = spaced ? WithTabs(text) : std::string();
  const bool of_pandas =
      tabs.starts_with('\t');  // its index, which prints NaN for what is not there
  CellReader reader(header.separator, of_pandas, table);
  const auto fault = spaced ? ParseCsvCells(tabs, '\t', CsvEnd::kOpen, reader)
                            : ParseCsvCells(text, header.separator, CsvEnd::kOpen, reader);
  if (fault) {
    throw Error(fmt::format("{}: row {} is damaged: {}", name, reader.row(), fault->what));
  }
  reader.AddNotes();
  if (of_pandas) table.DropNulls();
  return table;
}

}  // namespace kudari::lab
