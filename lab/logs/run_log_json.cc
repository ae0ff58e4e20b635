#include "lab/logs/run_log_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "kudari/error.h"
#include "lab/logs/run_log_fields.h"

namespace kudari::lab {
namespace {

// Python writes NaN, Infinity and -Infinity into JSON, which has no such numbers: they become texts
// that are numbers.
std::string WithoutNans(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') quoted = !quoted;
    if (quoted && text[i] == '\\') out += text[i++];
    bool word = false;
    for (const auto& [name, number] :
         {std::pair<std::string_view, std::string_view>{"NaN", "\"nan\""},
          {"Infinity", "\"inf\""},
          {"-Infinity", "\"-inf\""}}) {
      if (quoted || !text.substr(i).starts_with(name)) continue;
      out += number;
      i += name.size() - 1;
      word = true;
      break;
    }
    if (!word && i < text.size()) out += text[i];
  }
  return out;
}

// Follows the parser through a JSON text and takes what its rows have, in the order of the text:
// the numbers of an object, and those of objects in it as "object/key". Nothing is kept of what is
// nested deeper, or is neither.
class RowReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  // Rows are the objects inside of these brackets: "" for a text that is one row, "{[" for a text
  // that has a list of them.
  RowReader(std::string_view around, LogTable& table) : around_(around), table_(table) {}

  // Whether the text is JSON.
  bool Read(std::string_view text) { return nlohmann::json::sax_parse(WithoutNans(text), this); }

  bool null() override {
    Element(false);
    if (Column* const column = ColumnHere()) table_.AddNull(*column);
    return true;
  }
  bool boolean(bool value) override {
    if (InLayer("pinned")) layers_->tensors.back().pinned = value;
    return Number(value ? 1 : 0);
  }
  bool number_integer(int64_t value) override { return Integer(value); }
  bool number_unsigned(uint64_t value) override { return Integer(value); }
  bool number_float(double value, const std::string& /*text*/) override { return Number(value); }
  bool binary(binary_t& /*value*/) override { return Element(false); }
  bool string(std::string& value) override {
    if (const auto number = NumberIn(value)) return Number(*number);
    if (level_ == 1) OnText(Key(1), value);
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
      part_.clear();
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
  // Where a number belongs that is in no row; null if nowhere. Cells are added to the last row.
  virtual Column* ColumnOutside() { return nullptr; }

 private:
  static constexpr size_t kLevels = 3;  // of a row, of an object in it, and of one in that

  const std::string& Key(size_t level) const { return keys_[around_.size() + level - 1]; }

  bool InLayer(std::string_view key) const {
    return level_ == 3 && Key(1) == "layers" && Key(3) == key;
  }

  void OnText(const std::string& key, const std::string& value) {
    if (key == "first_nonfinite" && table_.first_nonfinite.empty()) table_.first_nonfinite = value;
    if (key == "mode" && IsHeldOut(PlainName(value))) part_ = "val/";
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

  // That of the number which the parser is at; null if it is not kept in one.
  Column* ColumnHere() {
    if (level_ == 1) return &table_.At(part_.empty() ? Key(1) : part_ + Key(1));
    if (level_ == 2) return &table_.At(part_ + Key(1) + "/" + Key(2));
    return deeper_ == 0 && level_ == 0 ? ColumnOutside() : nullptr;
  }

  bool Number(double value) {
    Element(false);
    if (Column* const column = ColumnHere()) {
      table_.Add({.value = value, .row = table_.rows}, *column);
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
  std::string part_;                 // before the names of the row
};

LogTable ParseLines(std::string_view text, std::string_view name) {
  LogTable table("line");
  table.files.emplace_back(name);
  RowReader reader("", table);
  while (!text.empty()) {
    const bool whole = text.find('\n') != std::string_view::npos;
    const std::string_view line = Trimmed(TakeLine(text));
    table.AddRow();
    if (line.empty()) continue;
    const bool object = line.front() == '{';
    if (!whole && !(object && nlohmann::json::accept(WithoutNans(line)))) {
      break;  // still being written
    }
    if (object && reader.Read(line)) continue;
    throw Error(fmt::format("{}: line {} is not a JSON object", name, table.rows));
  }
  return table;
}

// A text that is one value: a list of rows, an object that has one, or an object of columns. These
// are lists, or objects with the keys "0", "1" and so on as pandas writes them, and may be in an
// object of the first.
class DocumentReader : public RowReader {
 public:
  DocumentReader(std::string_view name, std::string_view around, LogTable& table)
      : RowReader(around, table), name_(name), around_(around), table_(table) {}

  // Reads the text, which must be JSON. Returns whether there is a row or a column in it, and no
  // loss that is in neither.
  bool ReadAll(std::string_view text) {
    if (!Read(text)) throw Error(fmt::format("{}: is not JSON, or truncated", name_));
    table_.rows = std::max(table_.rows, most_rows_);
    return has_history_ || around_ == "[" || (!table_.columns.empty() && !has_loss_outside_);
  }

  bool start_array(size_t size) override {
    if (open() == "{" && HasRows()) BeginHistory();
    if (open() == "{" || open() == "{{") index_ = 0;
    return RowReader::start_array(size);
  }
  bool start_object(size_t size) override {
    if (open() == "{") index_ = 0;
    return RowReader::start_object(size);
  }

 protected:
  bool HasRows() const override { return around_ == "[" || KeyAt(0) == "log_history"; }
  void OnElement(bool object) override {
    if (open() != around_ || !HasRows()) {
      if (open() == "{[" || open() == "{{[" || open() == "{{") ++index_;
      return;
    }
    table_.AddRow();
    if (object) return;
    throw Error(fmt::format("{}: entry {} {}is not an object", name_, table_.rows,
                            around_ == "[" ? "" : "of log_history "));
  }
  void OnInteger(int64_t value) override {
    if (open() != "{") return;
    if (KeyAt(0) == "max_steps") table_.planned_steps = std::max<int64_t>(0, value);
    if (KeyAt(0) == "global_step") made_ = value;
    table_.is_finished = table_.planned_steps > 0 && made_ >= table_.planned_steps;
  }
  Column* ColumnOutside() override {
    if (open() == "{" && IsNamed(LogFieldOf("loss"), PlainName(KeyAt(0)))) has_loss_outside_ = true;
    if (has_history_) return nullptr;
    if (open() == "{[") return InColumn(KeyAt(0));
    if (open() == "{{[")
      return InColumn(KeyAt(0) == "history" ? KeyAt(1) : KeyAt(0) + "/" + KeyAt(1));
    if (open() != "{{" || KeyAt(1) != std::to_string(index_ - 1)) return nullptr;
    return InColumn(KeyAt(0));
  }

 private:
  // What stands in other lists is not the log then.
  void BeginHistory() {
    has_history_ = true;
    table_.ClearColumns();
    table_.rows = most_rows_ = 0;
  }

  // The column, with the row of the element as the table's last; null if it has been there.
  Column* InColumn(std::string_view key) {
    Column& column = table_.At(key);
    if (!column.cells.empty() && column.cells.back().row >= index_) return nullptr;
    table_.rows = index_ - 1;
    table_.AddRow();
    most_rows_ = std::max(most_rows_, table_.rows);
    return &column;
  }

  std::string_view name_, around_;
  LogTable& table_;
  bool has_history_ = false, has_loss_outside_ = false;
  uint32_t index_ = 0;  // of the element of a column, from 1
  uint32_t most_rows_ = 0;
  int64_t made_ = -1;  // steps
};

}  // namespace

bool ReadJsonRow(std::string_view text, LogTable& table) {
  return text.starts_with('{') && nlohmann::json::accept(WithoutNans(text)) &&
         RowReader("", table).Read(text);
}

bool IsJson(std::string_view text) {
  text = Trimmed(text);
  if (text.empty()) return false;
  const std::string_view next = Trimmed(text.substr(1, 256));
  if (text.front() == '[') return next.starts_with('{') || next.starts_with(']');
  return text.front() == '{' && (next.starts_with('"') || next.starts_with('}') || next.empty());
}

LogTable ParseJson(std::string_view text, std::string_view name) {
  std::string_view rest = text.substr(text.find_first_not_of(" \t\r\n"));
  const std::string_view first = Trimmed(TakeLine(rest));
  rest = Trimmed(rest);
  const bool is_object = first.front() == '{';
  LogTable table("line");
  if (is_object && first.ends_with('}') && !rest.empty() &&
      (rest.front() == '{' || nlohmann::json::accept(WithoutNans(first)))) {
    table = ParseLines(text, name);
  } else {
    table = LogTable("entry");
    table.files.emplace_back(name);
    DocumentReader reader(name, is_object ? "{[" : "[", table);
    if (!reader.ReadAll(text) && rest.empty()) table = ParseLines(text, name);  // a single line
  }
  table.DropNulls();
  return table;
}

}  // namespace kudari::lab
