// A table of your own: a row for each sample. Columns of numbers are features as they are, columns
// of text become a feature for each different text (one-hot), and one column or several are what is
// to be predicted. It comes in one piece, of which the seed draws the test and validation samples.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/data/data.h"
#include "lab/data/parts/columns.h"
#include "lab/data/parts/splits.h"
#include "lab/files/csv_cells.h"
#include "lab/files/unpack.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostCells = int64_t{1} << 25;  // read, and again as features
constexpr size_t kMostCategories = 1000;          // different texts of a column of features
constexpr size_t kMostTableClasses = 100'000;
constexpr size_t kMostAutoClasses = 100;  // different integers that are taken for classes

struct CsvOptions {
  std::vector<std::string> target, ignore, categorical;
  std::string task = "auto", separator = ",", header = "auto", categories = "one_hot";
  double test = 0.2;
  bool standardize = true;
};

const internal::OptionTable<CsvOptions>& CsvTable() {
  using O = CsvOptions;
  static const internal::OptionTable<O> table = {
      {.name = "target",
       .member = &O::target,
       .range = "column, or list of columns",
       .doc =
           "what is to be predicted: columns by their name or number, from 1, or from -1 for the "
           "last; empty: the last"},
      {.name = "ignore",
       .member = &O::ignore,
       .range = "column, or list of columns",
       .doc = "columns that are not used, by name or number"},
      {.name = "categorical",
       .member = &O::categorical,
       .range = "column, or list of columns",
       .doc = "columns whose numbers are names, such as codes, by name or number"},
      {.name = "task",
       .member = &O::task,
       .choices = {"auto", "regression", "classification"},
       .doc = "auto: classification if the target is text, or integers of which at most 100 are "
              "different and each occurs at least twice on average"},
      {.name = "separator",
       .member = &O::separator,
       .choices = {",", ";", "|", "tab"},
       .doc = "what is between cells"},
      {.name = "header",
       .member = &O::header,
       .choices = {"auto", "yes", "no"},
       .doc = "whether the first row has the names of the columns; auto: if none of its cells is a "
              "number"},
      {.name = "categories",
       .member = &O::categories,
       .choices = {"one_hot", "refuse"},
       .doc = "one_hot: a column of text becomes a feature of 0 and 1 for each different text; "
              "refuse: it is an error"},
      {.name = "standardize",
       .member = &O::standardize,
       .doc = "whether columns of numbers are scaled to mean 0 and deviation 1, as measured on the "
              "training samples"},
      {.name = "test",
       .member = &O::test,
       .low = 0,
       .high = kBelow1,
       .doc = "share of the samples, drawn with the seed, held out for the test"},
  };
  return table;
}

struct Column {
  std::string name;             // empty without a header
  std::vector<double> numbers;  // NaN where the cell is no number
  std::vector<int32_t> words;   // the number of the text in `texts`; -1 where the cell is a number
  std::map<std::string, int32_t, std::less<>> texts;
};

std::optional<double> AsNumber(std::string_view cell) {
  double value = 0;
  if (cell.starts_with('+')) cell.remove_prefix(1);
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (error != std::errc() || end != cell.data() + cell.size()) return std::nullopt;
  return value;
}

bool IsMissing(std::string_view cell) {
  constexpr std::array<std::string_view, 8> kMissing = {"",    "NA",   "N/A",  "n/a",
                                                        "NaN", "null", "NULL", "nan"};
  return std::ranges::find(kMissing, cell) != kMissing.end();
}

class Table : public CsvHandler {
 public:
  Table(fs::path path, std::string header) : path_(std::move(path)), header_(std::move(header)) {}

  void Cell(std::string_view text, int64_t line) override {
    if (cells_ == 0) line_ = line;
    ++cells_;
    if (columns.empty()) {
      first_.emplace_back(text);
      return;
    }
    Add(cells_ - 1, text);
  }

  void EndRow(bool /*closed*/) override {
    const size_t cells = std::exchange(cells_, 0);
    if (columns.empty()) return FinishFirst();
    if (cells < columns.size()) {
      Fail(line_, cells - 1,
           "is the last cell, but the first row has " + std::to_string(columns.size()));
    }
    lines_.push_back(line_);
  }

  int64_t rows() const { return std::ssize(lines_); }
  const fs::path& path() const { return path_; }

  [[noreturn]] void FailAt(int64_t row, size_t column, const std::string& what) const {
    Fail(lines_.at(static_cast<size_t>(row)), column, what);
  }

  // "column 3 ("age")", or without a name.
  std::string ColumnText(size_t column) const {
    const bool named = column < columns.size() && !columns[column].name.empty();
    return "column " + std::to_string(column + 1) +
           (named ? " (" + Quoted(columns[column].name) + ")" : "");
  }

  std::vector<Column> columns;

 private:
  [[noreturn]] void Fail(int64_t line, size_t column, const std::string& what) const {
    throw Error(path_.string() + ": line " + std::to_string(line) + ", " + ColumnText(column) +
                ": " + what);
  }

  void FinishFirst() {
    const bool numbers = std::ranges::any_of(
        first_, [](const std::string& cell) { return AsNumber(cell).has_value(); });
    const bool header = header_ == "yes" || (header_ == "auto" && !numbers);
    columns.resize(first_.size());
    for (size_t i = 0; i < first_.size(); ++i) {
      if (header) {
        columns[i].name = first_[i];
      } else {
        Add(i, first_[i]);
      }
    }
    if (!header) lines_.push_back(line_);
  }

  void Add(size_t index, std::string_view cell) {
    if (index >= columns.size()) {
      Fail(line_, index, "the first row has only " + std::to_string(columns.size()) + " cells");
    }
    if (++read_ > kMostCells) {
      throw Error(path_.string() + ": has more than " + std::to_string(kMostCells) +
                  " cells, the most that are read of a table");
    }
    Column& column = columns[index];
    const std::optional<double> number = AsNumber(cell);
    column.numbers.push_back(number.value_or(std::numeric_limits<double>::quiet_NaN()));
    int32_t word = -1;
    if (!number || !std::isfinite(*number)) {
      auto at = column.texts.find(cell);
      if (at == column.texts.end()) {
        const auto next = static_cast<int32_t>(column.texts.size());
        at = column.texts.emplace(std::string(cell), next).first;
      }
      word = at->second;
    }
    column.words.push_back(word);
  }

  fs::path path_;
  std::string header_;
  std::vector<std::string> first_;
  std::vector<int64_t> lines_;  // in which the rows begin
  int64_t line_ = 0, read_ = 0;
  size_t cells_ = 0;  // of the row so far
};

Table ReadTable(const fs::path& path, const CsvOptions& options) {
  const std::string bytes = ReadUnpacked(path);
  std::string_view text = bytes;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  Table table(path, options.header);
  const char separator = options.separator == "tab" ? '\t' : options.separator[0];
  if (const auto fault = ParseCsvCells(text, separator, CsvEnd::kWhole, table)) {
    throw Error(path.string() + ": line " + std::to_string(fault->line) +
                " is damaged: " + fault->what);
  }
  if (table.rows() == 0) {
    throw Error(path.string() +
                (table.columns.empty() ? ": is empty" : ": has no rows below its header"));
  }
  return table;
}

std::vector<std::string> NamesOf(const Table& table) {
  std::vector<std::string> names;
  for (const Column& column : table.columns) names.push_back(column.name);
  return names;
}

std::vector<size_t> FindColumns(const Table& table, const std::string& option,
                                const std::vector<std::string>& names) {
  std::vector<size_t> columns;
  for (const std::string& name : names) {
    columns.push_back(FindColumn(NamesOf(table), table.path(), option, name));
    if (std::ranges::count(columns, columns.back()) > 1) {
      throw Error("data." + option + ": " + Quoted(name) + " is named twice");
    }
  }
  return columns;
}

// Throws Error for the first cell that is missing.
void CheckPresent(const Table& table, size_t index) {
  const Column& column = table.columns[index];
  std::vector<bool> missing(column.texts.size());
  for (const auto& [text, word] : column.texts) {
    missing[static_cast<size_t>(word)] = IsMissing(text);
  }
  for (int64_t row = 0; row < table.rows(); ++row) {
    const int32_t word = column.words[static_cast<size_t>(row)];
    if (word >= 0 && missing[static_cast<size_t>(word)]) {
      table.FailAt(row, index, "is missing; fill it in, remove the row, or ignore the column");
    }
  }
}

std::string TextOf(const Column& column, int32_t word) {
  for (const auto& [text, number] : column.texts) {
    if (number == word) return text;
  }
  return "";
}

bool IsText(const Column& column) {
  return std::ranges::all_of(column.words, [](int32_t word) { return word >= 0; });
}

// Throws Error for a cell that is not a number that a float32 can hold.
void CheckNumbers(const Table& table, size_t index) {
  const Column& column = table.columns[index];
  for (int64_t row = 0; row < table.rows(); ++row) {
    const auto at = static_cast<size_t>(row);
    if (column.words[at] >= 0) {
      table.FailAt(row, index,
                   Quoted(TextOf(column, column.words[at])) +
                       " is not a finite number, as the column needs; name it in "
                       "data.categorical if its cells are names");
    }
    if (!std::isfinite(static_cast<float>(column.numbers[at]))) {
      table.FailAt(row, index, NumberText(column.numbers[at]) + " is outside [-3.4e38, 3.4e38]");
    }
  }
}

// The number of each row's value among the different values of a column: numbers by size, then
// texts in the order of their bytes. The first is how many there are.
std::pair<int64_t, std::vector<int64_t>> Distinct(const Column& column) {
  std::map<double, int64_t> numbers;
  for (size_t row = 0; row < column.words.size(); ++row) {
    if (column.words[row] < 0) numbers.emplace(column.numbers[row], 0);
  }
  int64_t next = 0;
  for (auto& [value, number] : numbers) number = next++;
  std::vector<int64_t> of_word(column.texts.size());
  for (const auto& [text, word] : column.texts) of_word[static_cast<size_t>(word)] = next++;
  std::vector<int64_t> values;
  for (size_t row = 0; row < column.words.size(); ++row) {
    const int32_t word = column.words[row];
    values.push_back(word < 0 ? numbers.at(column.numbers[row])
                              : of_word[static_cast<size_t>(word)]);
  }
  return {next, std::move(values)};
}

bool LooksLikeClasses(const Table& table, size_t index) {
  const Column& column = table.columns[index];
  if (IsText(column)) return true;
  for (size_t row = 0; row < column.words.size(); ++row) {
    const double value = column.numbers[row];
    if (column.words[row] >= 0 || value != std::trunc(value)) return false;
  }
  const auto distinct = static_cast<size_t>(Distinct(column).first);
  return distinct <= kMostAutoClasses && 2 * distinct <= column.words.size();
}

void ReadTargets(const Table& table, const std::vector<size_t>& targets, const CsvOptions& options,
                 Dataset& data) {
  for (const size_t index : targets) CheckPresent(table, index);
  const bool one = targets.size() == 1;
  if (options.task == "classification" && !one) {
    throw Error("data.target names " + std::to_string(targets.size()) +
                " columns, but must name one if data.task = \"classification\"");
  }
  if (one && (options.task == "classification" ||
              (options.task == "auto" && LooksLikeClasses(table, targets[0])))) {
    std::tie(data.classes, data.train.labels) = Distinct(table.columns[targets[0]]);
    if (data.classes < 2 || data.classes > static_cast<int64_t>(kMostTableClasses)) {
      throw Error(table.path().string() + ": " + table.ColumnText(targets[0]) + " has " +
                  std::to_string(data.classes) + " classes, which is outside [2, " +
                  std::to_string(kMostTableClasses) + "]");
    }
    return;
  }
  for (const size_t index : targets) CheckNumbers(table, index);
  data.target_size = std::ssize(targets);
  for (size_t row = 0; row < static_cast<size_t>(table.rows()); ++row) {
    for (const size_t index : targets) {
      data.train.targets.push_back(static_cast<float>(table.columns[index].numbers[row]));
    }
  }
}

// The features of one column: it as it is, or one for each of its different values.
struct Feature {
  const Column* column;
  std::vector<int64_t> values = {};  // of the rows, if they are one-hot
  int64_t width = 1;
};

void ReadFeatures(const Table& table, const std::vector<bool>& used,
                  const std::vector<bool>& categorical, const CsvOptions& options, Dataset& data,
                  std::vector<bool>& numeric) {
  std::vector<Feature> features;
  for (size_t index = 0; index < used.size(); ++index) {
    if (!used[index]) continue;
    CheckPresent(table, index);
    Feature feature{&table.columns[index]};
    if (categorical[index] || IsText(*feature.column)) {
      if (options.categories == "refuse") {
        table.FailAt(0, index,
                     "the column has names, not numbers, which data.categories = \"refuse\" does "
                     "not permit; ignore it, or use \"one_hot\"");
      }
      std::tie(feature.width, feature.values) = Distinct(*feature.column);
      if (static_cast<size_t>(feature.width) > kMostCategories) {
        throw Error(table.path().string() + ": " + table.ColumnText(index) + " has " +
                    std::to_string(feature.width) + " different names, which is outside [1, " +
                    std::to_string(kMostCategories) + "]; ignore it with data.ignore");
      }
    } else {
      CheckNumbers(table, index);
    }
    numeric.push_back(feature.values.empty());
    numeric.resize(numeric.size() + static_cast<size_t>(feature.width) - 1, numeric.back());
    features.push_back(std::move(feature));
  }
  const auto width = std::ssize(numeric);
  if (width == 0) throw Error(table.path().string() + ": has no column of features");
  if (width > kMostCells / table.rows()) {
    throw Error(table.path().string() + ": has " + std::to_string(table.rows()) + " rows of " +
                std::to_string(width) + " features, which is more than " +
                std::to_string(kMostCells) + " values; ignore columns of many names");
  }
  data.shape = {width};
  data.train.samples = table.rows();
  data.train.x.reserve(static_cast<size_t>(width * table.rows()));
  for (size_t row = 0; row < static_cast<size_t>(table.rows()); ++row) {
    for (const Feature& f : features) {
      if (f.values.empty()) {
        data.train.x.push_back(static_cast<float>(f.column->numbers[row]));
      } else {
        for (int64_t i = 0; i < f.width; ++i) data.train.x.push_back(i == f.values[row] ? 1 : 0);
      }
    }
  }
}

Dataset LoadCsv(const DataConfig& config, uint64_t seed) {
  const auto& options = ValuesOf<CsvOptions>(config.options);
  CheckShare(config.validation, 1 - options.test);
  if (config.path.empty()) throw Error("data.path is missing: it must name a CSV file");
  const Table table = ReadTable(config.path, options);
  std::vector<size_t> targets = FindColumns(table, "target", options.target);
  if (options.target.empty()) targets.push_back(table.columns.size() - 1);
  std::vector<bool> used(table.columns.size(), true), categorical(table.columns.size());
  for (const size_t index : targets) used[index] = false;
  for (const size_t index : FindColumns(table, "ignore", options.ignore)) {
    if (std::ranges::find(targets, index) != targets.end()) {
      throw Error("data.ignore: " + table.ColumnText(index) + " is a target");
    }
    used[index] = false;
  }
  for (const size_t index : FindColumns(table, "categorical", options.categorical)) {
    categorical[index] = true;
  }
  Dataset data{.name = fs::path(config.path).filename().string()};
  std::vector<bool> numeric;  // the features that are numbers of the table
  ReadTargets(table, targets, options, data);
  ReadFeatures(table, used, categorical, options, data, numeric);
  std::mt19937_64 random(seed);
  data.test = TakeOut(data.train, data.classes, options.test, random);
  data.validation =
      TakeOut(data.train, data.classes, config.validation / (1 - options.test), random);
  for (size_t i = 0; options.standardize && i < numeric.size(); ++i) {
    if (numeric[i]) Standardize(data, i, 1);
  }
  return data;
}

}  // namespace

DataEntry DescribeCsv() {
  return {.name = "csv",
          .doc = "a table of your own, a row for each sample, to predict classes or numbers",
          .options = MakeOwnOptions(CsvOptions(), CsvTable()),
          .load = &LoadCsv};
}

}  // namespace kudari::lab
