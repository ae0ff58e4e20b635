#include "lab/logs/run_log_table.h"

#include <csv.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "kudari/error.h"
#include "lab/files/unpack.h"
#include "lab/logs/run_log_events.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::string_view kFormats =
    "metrics.jsonl (or other JSON lines), a .csv file with a header, trainer_state.json of Hugging "
    "Face's Trainer, or TensorBoard's events.out.tfevents files";

// ---- JSON ----

// Python writes NaN, Infinity and -Infinity into JSON, which has no such numbers.
std::string WithoutNans(std::string_view text) {
  std::string out;
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

// Nothing if it is not JSON.
std::optional<Json> ParseJson(std::string_view text) {
  Json json = Json::parse(WithoutNans(text), nullptr, false);
  if (json.is_discarded()) return std::nullopt;
  return json;
}

// Of null, which is what a NaN is written as: not measured. Nothing if it is something else.
std::optional<double> NumberOf(const Json& json) {
  if (json.is_null()) return kNotMeasured;
  if (json.is_boolean()) return json.get<bool>() ? 1 : 0;
  if (json.is_number()) return json.get<double>();
  return std::nullopt;
}

// The numbers of an object, and those of objects in it as "object/key".
void AddNumbers(const Json& object, size_t row, LogTable& table, const std::string& prefix = {}) {
  for (const auto& [key, value] : object.items()) {
    if (const auto number = NumberOf(value)) {
      table.At(prefix + key).cells.push_back({.value = *number, .row = row});
    } else if (value.is_object() && prefix.empty()) {
      AddNumbers(value, row, table, key + "/");
    }
  }
}

// "layers" of a line that `kudari train` wrote.
void AddLayers(const Json& line, LogTable& table) {
  const auto layers = line.find("layers");
  const auto step = line.find("step");
  if (layers == line.end() || !layers->is_object()) return;
  if (step == line.end() || !step->is_number_integer()) return;
  LayersLog log{.step = step->get<int64_t>()};
  for (const auto& [name, norms] : layers->items()) {
    if (!norms.is_object()) continue;
    LayerLog& layer = log.tensors.emplace_back();
    layer.name = name;
    const std::pair<const char*, double LayerLog::*> numbers[] = {{"grad", &LayerLog::grad},
                                                                  {"weight", &LayerLog::weight},
                                                                  {"update", &LayerLog::update},
                                                                  {"trust", &LayerLog::trust}};
    for (const auto& [key, member] : numbers) {
      const auto value = norms.find(key);
      if (value != norms.end()) layer.*member = NumberOf(*value).value_or(kNotMeasured);
    }
    const auto pinned = norms.find("pinned");
    layer.pinned = pinned != norms.end() && pinned->is_boolean() && pinned->get<bool>();
  }
  table.layers.push_back(std::move(log));
}

LogTable ParseLines(std::string_view text, std::string_view name) {
  LogTable table{.files = {std::string(name)}, .row_name = "line"};
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const size_t row = ++table.rows;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const auto json = ParseJson(line);
    if (!json || !json->is_object()) {
      if (end == std::string_view::npos) break;  // still being written
      throw Error(fmt::format("{}: line {} is not a JSON object", name, row));
    }
    AddNumbers(*json, row, table);
    AddLayers(*json, table);
    const auto nonfinite = json->find("first_nonfinite");
    if (nonfinite != json->end() && nonfinite->is_string() && table.first_nonfinite.empty()) {
      table.first_nonfinite = nonfinite->get<std::string>();
    }
  }
  return table;
}

LogTable ParseTrainerState(std::string_view text, std::string_view name) {
  LogTable table{.files = {std::string(name)}, .row_name = "entry"};
  const auto json = ParseJson(text);
  if (!json) throw Error(fmt::format("{}: is not JSON, or truncated", name));
  const auto history = json->is_object() ? json->find("log_history") : json->end();
  if (!json->is_object() || history == json->end() || !history->is_array()) {
    throw Error(fmt::format(
        "{}: has no list \"log_history\", as trainer_state.json of Hugging Face's Trainer has it",
        name));
  }
  for (const Json& entry : *history) {
    ++table.rows;
    if (!entry.is_object()) {
      throw Error(fmt::format("{}: entry {} of log_history is not an object", name, table.rows));
    }
    AddNumbers(entry, table.rows, table);
  }
  const auto most = json->find("max_steps");
  if (most != json->end() && most->is_number_integer()) {
    table.planned_steps = std::max<int64_t>(0, most->get<int64_t>());
  }
  return table;
}

// ---- CSV ----

struct CsvRows {
  std::vector<std::vector<std::string>> rows = {{}};
  bool last_ended = false;  // by a line feed
};

void TakeField(void* bytes, size_t size, void* to) {
  static_cast<CsvRows*>(to)->rows.back().emplace_back(static_cast<const char*>(bytes), size);
}

void EndRow(int by, void* to) {
  static_cast<CsvRows*>(to)->rows.emplace_back();
  static_cast<CsvRows*>(to)->last_ended = by >= 0;
}

CsvRows ReadCsv(std::string_view text, std::string_view name) {
  struct Parser {
    csv_parser state;
    ~Parser() { csv_free(&state); }
  } parser;
  csv_init(&parser.state, CSV_STRICT);
  CsvRows csv;
  if (csv_parse(&parser.state, text.data(), text.size(), &TakeField, &EndRow, &csv) !=
      text.size()) {
    throw Error(fmt::format("{}: row {} is damaged: {}", name, csv.rows.size(),
                            csv_strerror(csv_error(&parser.state))));
  }
  csv_fini(&parser.state, &TakeField, &EndRow, &csv);
  csv.rows.pop_back();  // which the last end has begun
  return csv;
}

LogTable ParseCsv(std::string_view text, std::string_view name) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  LogTable table{.files = {std::string(name)}, .row_name = "row"};
  const CsvRows csv = ReadCsv(text, name);
  if (csv.rows.empty()) throw Error(fmt::format("{}: is empty; it must have a header", name));
  const std::vector<std::string>& header = csv.rows[0];
  for (const std::string& title : header) table.columns.push_back({.name = title});
  table.rows = csv.rows.size();
  for (size_t r = 1; r < csv.rows.size(); ++r) {
    const std::vector<std::string>& row = csv.rows[r];
    if (row.size() != header.size()) {
      if (r + 1 == csv.rows.size() && !csv.last_ended) break;  // still being written
      throw Error(fmt::format("{}: row {} has {} cells, but the header has {}", name, r + 1,
                              row.size(), header.size()));
    }
    for (size_t k = 0; k < row.size(); ++k) {
      const std::string_view cell = row[k];
      if (cell.empty()) continue;
      double value = 0;
      const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
      Column& column = table.columns[k];
      if (error == std::errc() && end == cell.data() + cell.size()) {
        column.cells.push_back({.value = value, .row = r + 1});
      } else if (column.bad_row == 0) {
        column.bad = cell;
        column.bad_row = r + 1;
      }
    }
  }
  return table;
}

// ---- Event files ----

void AddEvents(std::string_view bytes, const std::string& name, std::string_view run,
               LogTable& table) {
  const size_t file = table.files.size();
  table.files.push_back(name);
  for (const ScalarEvent& e : ReadScalarEvents(bytes, name)) {
    table.At(e.tag, run)
        .cells.push_back({.step = e.step, .value = e.value, .row = e.record, .file = file});
  }
}

LogTable EventTable() { return {.files = {}, .row_name = "record", .has_steps = true}; }

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

Column& LogTable::At(std::string_view name, std::string_view run) {
  // Rows mostly have the same keys in the same order.
  for (size_t i = 0; i < columns.size(); ++i) {
    last = (last + 1) % columns.size();
    if (columns[last].name == name && columns[last].run == run) return columns[last];
  }
  last = columns.size();
  return columns.emplace_back(Column{.name = std::string(name), .run = std::string(run)});
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
