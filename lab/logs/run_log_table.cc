#include "lab/logs/run_log_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/files/csv_cells.h"
#include "lab/files/unpack.h"
#include "lab/logs/run_log_events.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormats =
    "metrics.jsonl (or other JSON lines), a .csv file with a header, trainer_state.json of Hugging "
    "Face's Trainer, or TensorBoard's events.out.tfevents files";

// Without the byte order mark that some programs begin a file with.
std::string_view WithoutMark(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return text;
}

// ---- JSON ----

// Python writes NaN, Infinity and -Infinity into JSON, which has no such numbers.
std::string WithoutNans(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') quoted = !quoted;
    if (quoted && text[i] == '\\') out += text[i++];
    bool word = false;
    for (const std::string_view name : {"NaN", "Infinity", "-Infinity"}) {
      if (quoted || !text.substr(i).starts_with(name)) continue;
      out += "null";
      i += name.size() - 1;
      word = true;
      break;
    }
    if (!word && i < text.size()) out += text[i];
  }
  return out;
}

// Follows the parser through a JSON text and takes what its rows have, in the order of the text:
// the numbers of an object, and those of objects in it as "object/key". A NaN is written as null:
// not measured. Nothing is kept of what is nested deeper, or is neither.
class RowReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  // Rows are the objects inside of these brackets: "" for a text that is one row, "{[" for a text
  // that has a list of them.
  RowReader(std::string_view around, LogTable& table) : around_(around), table_(table) {}

  // Whether the text is JSON.
  bool Read(std::string_view text) { return nlohmann::json::sax_parse(WithoutNans(text), this); }

  bool null() override { return Number(kNotMeasured); }
  bool boolean(bool value) override {
    if (InLayer("pinned")) layers_->tensors.back().pinned = value;
    return Number(value ? 1 : 0);
  }
  bool number_integer(int64_t value) override { return Integer(value); }
  bool number_unsigned(uint64_t value) override { return Integer(value); }
  bool number_float(double value, const std::string& /*text*/) override { return Number(value); }
  bool binary(binary_t& /*value*/) override { return Element(false); }
  bool string(std::string& value) override {
    std::string& name = table_.first_nonfinite;
    if (level_ == 1 && Key(1) == "first_nonfinite" && name.empty()) name = value;
    return Element(false);
  }
  bool key(std::string& value) override {
    if (deeper_ > 0) return true;
    table_.CheckName(value);
    keys_[open_.size() - 1] = value;
    return true;
  }
  bool start_object(size_t /*size*/) override {
    Element(true);
    Open('{');
    if (level_ == 1) {
      step_.reset();
      layers_.reset();
    } else if (level_ == 2 && Key(1) == "layers") {
      layers_.emplace();
    } else if (level_ == 3 && Key(1) == "layers") {
      table_.Count(4);
      layers_->tensors.push_back({.name = Key(2)});
    }
    return true;
  }
  bool end_object() override {
    if (level_ == 1 && layers_ && step_) {
      layers_->step = *step_;
      table_.layers.push_back(*std::move(layers_));
    }
    return Close();
  }
  bool start_array(size_t /*size*/) override {
    Element(false);
    return Open('[');
  }
  bool end_array() override { return Close(); }
  bool parse_error(size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) override {
    return false;
  }

 protected:
  // The brackets that are open, the first few of them.
  const std::string& open() const { return open_; }
  // The last key of the object behind the first `index` brackets.
  const std::string& KeyAt(size_t index) const { return keys_[index]; }

  // Called for whatever begins, an object or something else, in the brackets that are open.
  virtual void OnElement(bool /*object*/) {}
  virtual void OnInteger(int64_t /*value*/) {}
  // Whether rows may be in the brackets that are open.
  virtual bool HasRows() const { return true; }

 private:
  static constexpr size_t kLevels = 3;  // of a row, of an object in it, and of one in that

  const std::string& Key(size_t level) const { return keys_[around_.size() + level - 1]; }

  bool InLayer(std::string_view key) const {
    return level_ == 3 && Key(1) == "layers" && Key(3) == key;
  }

  bool Element(bool object) {
    if (deeper_ == 0) OnElement(object);
    return true;
  }

  template <class T>
  bool Integer(T value) {
    if (deeper_ == 0) OnInteger(static_cast<int64_t>(value));
    if (level_ == 1 && Key(1) == "step") step_ = static_cast<int64_t>(value);
    return Number(static_cast<double>(value));
  }

  bool Number(double value) {
    Element(false);
    if (level_ == 1) {
      Add(Key(1), value);
    } else if (level_ == 2) {
      Add(Key(1) + "/" + Key(2), value);
    }
    const std::pair<const char*, double LayerLog::*> norms[] = {{"grad", &LayerLog::grad},
                                                                {"weight", &LayerLog::weight},
                                                                {"update", &LayerLog::update},
                                                                {"trust", &LayerLog::trust}};
    for (const auto& [name, member] : norms) {
      if (InLayer(name)) layers_->tensors.back().*member = value;
    }
    return true;
  }

  void Add(const std::string& name, double value) {
    table_.Add({.value = value, .row = table_.rows}, table_.At(name));
  }

  bool Open(char bracket) {
    if (deeper_ > 0 || open_.size() == keys_.size()) {
      ++deeper_;
    } else {
      open_ += bracket;
    }
    FindLevel();
    return true;
  }

  bool Close() {
    if (deeper_ > 0) {
      --deeper_;
    } else {
      open_.pop_back();
    }
    FindLevel();
    return true;
  }

  void FindLevel() {
    level_ = 0;
    if (deeper_ > 0 || !open_.starts_with(around_) || !HasRows()) return;
    const std::string_view inside = std::string_view(open_).substr(around_.size());
    if (inside.find('[') == std::string_view::npos) level_ = inside.size();
  }

  const std::string_view around_;
  LogTable& table_;
  std::string open_;
  size_t deeper_ = 0;  // brackets that are open behind those
  std::array<std::string, 2 + kLevels> keys_;
  size_t level_ = 0;  // objects that are open from the row on; 0: the parser is elsewhere
  std::optional<int64_t> step_;      // of the row
  std::optional<LayersLog> layers_;  // of the row
};

LogTable ParseLines(std::string_view text, std::string_view name) {
  text = WithoutMark(text);
  LogTable table("line");
  table.files.emplace_back(name);
  RowReader reader("", table);
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    table.AddRow();
    const size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) continue;
    const bool object = line[begin] == '{';
    if (end == std::string_view::npos && !(object && nlohmann::json::accept(WithoutNans(line)))) {
      break;  // still being written
    }
    if (object && reader.Read(line)) continue;
    throw Error(fmt::format("{}: line {} is not a JSON object", name, table.rows));
  }
  return table;
}

// trainer_state.json: an object with a list of rows.
class StateReader : public RowReader {
 public:
  StateReader(std::string_view name, LogTable& table)
      : RowReader("{[", table), name_(name), table_(table) {}

  bool found() const { return found_; }  // whether there is the list

  bool start_array(size_t size) override {
    found_ = found_ || (open() == "{" && HasRows());
    return RowReader::start_array(size);
  }

 protected:
  bool HasRows() const override { return KeyAt(0) == "log_history"; }
  void OnElement(bool object) override {
    if (open() != "{[" || !HasRows()) return;
    table_.AddRow();
    if (object) return;
    throw Error(fmt::format("{}: entry {} of log_history is not an object", name_, table_.rows));
  }
  void OnInteger(int64_t value) override {
    if (open() == "{" && KeyAt(0) == "max_steps")
      table_.planned_steps = std::max<int64_t>(0, value);
  }

 private:
  std::string_view name_;
  LogTable& table_;
  bool found_ = false;
};

LogTable ParseTrainerState(std::string_view text, std::string_view name) {
  LogTable table("entry");
  table.files.emplace_back(name);
  StateReader reader(name, table);
  if (!reader.Read(text)) throw Error(fmt::format("{}: is not JSON, or truncated", name));
  if (!reader.found()) {
    throw Error(fmt::format(
        "{}: has no list \"log_history\", as trainer_state.json of Hugging Face's Trainer has it",
        name));
  }
  return table;
}

// ---- CSV ----

// Takes cells and rows as the parser comes to them.
class CsvReader : public CsvHandler {
 public:
  CsvReader(std::string_view name, LogTable& table) : name_(name), table_(table) {}

  // That the parser is in.
  uint32_t row() const { return table_.rows + (fields_ == 0 ? 1 : 0); }

  void Cell(std::string_view field, int64_t /*line*/) override {
    if (fields_ == 0) table_.AddRow();
    const size_t k = fields_++;
    if (table_.rows == 1) {
      table_.AddColumn(field);
      return;
    }
    if (k >= table_.columns.size() || field.empty()) return;
    Column& column = table_.columns[k];
    double value = 0;
    const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    if (error == std::errc() && end == field.data() + field.size()) {
      table_.Add({.value = value, .row = table_.rows}, column);
    } else if (column.bad_row == 0) {
      column.bad = field;
      column.bad_row = table_.rows;
    }
  }

  void EndRow(bool closed) override {
    const size_t fields = std::exchange(fields_, 0);
    if (fields == table_.columns.size()) return;
    if (closed) {
      throw Error(fmt::format("{}: row {} has {} cells, but the header has {}", name_, table_.rows,
                              fields, table_.columns.size()));
    }
    // Still being written.
    for (Column& column : table_.columns) {
      if (!column.cells.empty() && column.cells.back().row == table_.rows) column.cells.pop_back();
      if (column.bad_row == table_.rows) column.bad_row = 0;
    }
  }

 private:
  std::string_view name_;
  LogTable& table_;
  size_t fields_ = 0;  // of the row so far
};

LogTable ParseCsv(std::string_view text, std::string_view name) {
  text = WithoutMark(text);
  LogTable table("row");
  table.files.emplace_back(name);
  CsvReader reader(name, table);
  if (const auto fault = ParseCsvCells(text, ',', CsvEnd::kOpen, reader)) {
    throw Error(fmt::format("{}: row {} is damaged: {}", name, reader.row(), fault->what));
  }
  if (table.rows == 0) throw Error(fmt::format("{}: is empty; it must have a header", name));
  return table;
}

// ---- Event files ----

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

std::string LogTable::Where(const Cell& cell) const {
  return fmt::format("{}: {} {}", files[cell.file], row_name, cell.row);
}

LogTable ParseLogTable(std::string_view contents, std::string_view name) {
  const fs::path path(name);
  const std::string file = path.filename().string();
  if (IsEventFile(file)) {
    LogTable table = EventTable();
    AddEvents(contents, std::string(name), "", table);
    return table;
  }
  const fs::path inner =
      path.extension() == ".gz" || path.extension() == ".xz" ? path.stem() : path;
  if (inner.extension() == ".jsonl") return ParseLines(contents, name);
  if (inner.extension() == ".json") return ParseTrainerState(contents, name);
  if (inner.extension() == ".csv") return ParseCsv(contents, name);
  throw Error(fmt::format("{}: is not named like a log; known are {}", name, kFormats));
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
  for (const char* name : {"trainer_state.json", "metrics.csv"}) {
    if (const auto file = file_of(name)) return ReadLogTable(*file);
  }
  throw Error(
      fmt::format("{}: has no log of a training run; known are {}", path.string(), kFormats));
}

}  // namespace kudari::lab
