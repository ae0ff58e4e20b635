#include "lab/logs/run_log_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <system_error>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/files/unpack.h"
#include "lab/logs/run_log_cells.h"
#include "lab/logs/run_log_events.h"
#include "lab/logs/run_log_json.h"
#include "lab/logs/run_log_text.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormats =
    "JSON lines such as metrics.jsonl, JSON objects of lists and lists of objects, "
    "trainer_state.json of Hugging Face's Trainer, tables with a header and separated by commas, "
    "semicolons, tabs, spaces or bars, text such as \"step 10: loss 2.5\", and TensorBoard's "
    "events.out.tfevents files";

// Without the byte order mark that some programs begin a file with.
std::string_view WithoutMark(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return text;
}

void AddEvents(std::string_view bytes, const std::string& name, std::string_view run,
               LogTable& table) {
  const auto file = static_cast<uint32_t>(table.files.size());
  table.files.push_back(name);
  ReadScalarEvents(bytes, name, [&](const ScalarEvent& e) {
    table.Add({.step = e.step, .value = e.value, .row = e.record, .file = file},
              table.At(e.tag, run));
  });
}

LogTable EventTable() { return LogTable("record", true); }

bool IsEventFile(const std::string& name) { return name.find("tfevents") != std::string::npos; }

// Of a folder, each run's in the order in which they were begun.
std::vector<fs::path> EventFiles(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry :
       fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied)) {
    if (entry.is_regular_file() && IsEventFile(entry.path().filename().string())) {
      files.push_back(entry.path());
    }
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace

std::optional<double> NumberIn(std::string_view text) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  double value = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value);
  if (text.empty() || error != std::errc() || end != last) return std::nullopt;
  return value;
}

std::string_view Trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::string_view TakeLine(std::string_view& text) {
  const size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

void LogTable::AddRow() {
  if (rows == kMostRows) {
    throw Error(fmt::format("{}: has more than {} rows, the most that are read of a log",
                            files.back(), kMostRows));
  }
  ++rows;
}

Column& LogTable::AddColumn(std::string_view name, std::string_view run) {
  if (columns.size() == kMostColumns) {
    throw Error(fmt::format("{}: has more than {} columns, the most that are read of a log",
                            files.back(), kMostColumns));
  }
  CheckName(name);
  return columns.emplace_back(Column{.name = std::string(name), .run = std::string(run)});
}

Column& LogTable::At(std::string_view name, std::string_view run) {
  // Rows mostly have the same keys in the same order.
  last_ = last_ + 1 < columns.size() ? last_ + 1 : 0;
  if (!columns.empty() && columns[last_].name == name && columns[last_].run == run) {
    return columns[last_];
  }
  const auto [at, is_new] =
      index_.try_emplace({std::string(name), std::string(run)}, columns.size());
  last_ = at->second;
  return is_new ? AddColumn(name, run) : columns[last_];
}

void LogTable::ClearColumns() {
  columns.clear();
  index_.clear();
  last_ = 0;
}

void LogTable::Count(size_t numbers) {
  numbers_ += numbers;
  if (numbers_ <= kMostNumbers) return;
  throw Error(fmt::format("{}: has more than {} numbers, the most that are read of a log",
                          files.back(), kMostNumbers));
}

void LogTable::CheckName(std::string_view name) const {
  if (name.size() <= kMostName) return;
  throw Error(fmt::format("{}: the name {} has {} bytes, which is outside [0, {}]", files.back(),
                          Quoted(name), name.size(), kMostName));
}

void LogTable::Add(const Cell& cell, Column& column) {
  column.nulls += std::exchange(column.last_nulls, 0);
  std::vector<Cell>& cells = column.cells;
  if (!cells.empty() && cells.back().row == cell.row && cells.back().file == cell.file) {
    cells.back() = cell;
    return;
  }
  Count(1);
  if (cells.size() == kMostRows) {
    throw Error(fmt::format("{}: {} has more than {} numbers, the most that are read of a {}",
                            files.back(), Quoted(column.name), kMostRows,
                            has_steps ? "tag" : "column"));
  }
  cells.push_back(cell);
}

void LogTable::AddNull(Column& column) {
  const size_t before = std::exchange(column.last_nulls, 0);
  Add({.value = kNotMeasured, .row = rows}, column);
  column.last_nulls = before + 1;
}

void LogTable::DropNulls() {
  for (Column& column : columns) {
    const size_t up_to_last =
        column.cells.size() - std::min(column.cells.size(), column.last_nulls);
    if (2 * column.nulls <= up_to_last) continue;
    std::erase_if(column.cells, [](const Cell& cell) { return std::isnan(cell.value); });
  }
}

std::string LogTable::Where(const Cell& cell) const {
  return fmt::format("{}: {} {}", files[cell.file], row_name, cell.row);
}

LogTable ParseLogTable(std::string_view contents, std::string_view name) {
  const std::string file = fs::path(name).filename().string();
  if (IsEventFile(file) || HasScalarEvents(contents)) {
    LogTable table = EventTable();
    AddEvents(contents, std::string(name), "", table);
    return table;
  }
  const std::string_view text = WithoutMark(contents);
  if (Trimmed(text).empty()) {
    throw Error(fmt::format("{}: is empty; logs are {}", name, kFormats));
  }
  if (IsJson(text)) return ParseJson(text, name);
  if (const auto header = FindHeader(text)) return ParseCells(text, *header, name);
  LogTable table = ParseText(text, name);
  if (!table.columns.empty()) return table;
  throw Error(fmt::format("{}: no log was found in it, which begins with {}; logs are {}", name,
                          Quoted(Trimmed(text).substr(0, LogTable::kMostName)), kFormats));
}

LogTable ReadLogTable(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) return ParseLogTable(ReadUnpacked(path), path.string());
  const auto file_of = [&path](const std::string& name) -> std::optional<fs::path> {
    for (const char* packing : {"", ".gz", ".xz"}) {
      if (fs::path file = path / (name + packing); fs::is_regular_file(file)) return file;
    }
    return std::nullopt;
  };
  if (const auto file = file_of("metrics.jsonl")) return ReadLogTable(*file);
  if (const std::vector<fs::path> files = EventFiles(path); !files.empty()) {
    LogTable table = EventTable();
    for (const fs::path& file : files) {
      const std::string run = file.parent_path().lexically_relative(path).generic_string();
      AddEvents(ReadUnpacked(file), file.string(), run == "." ? "" : run, table);
    }
    return table;
  }
  // Of Hugging Face, Lightning, detectron2, Ultralytics, Stable Baselines and timm.
  for (const char* name : {"trainer_state.json", "metrics.csv", "metrics.json", "results.csv",
                           "progress.csv", "summary.csv"}) {
    if (const auto file = file_of(name)) return ReadLogTable(*file);
  }
  throw Error(
      fmt::format("{}: has no log of a training run; known are {}", path.string(), kFormats));
}

}  // namespace kudari::lab
