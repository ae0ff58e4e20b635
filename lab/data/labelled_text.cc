// Texts of your own, or pairs of them, with a class each, from files with a line for each as GLUE
// has them (Wang et al., arXiv:1804.07461).
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/data/data.h"
#include "lab/data/parts/columns.h"
#include "lab/data/parts/labelled.h"
#include "lab/data/parts/utf8.h"
#include "lab/files/csv_cells.h"
#include "lab/files/unpack.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostTextClasses = 1000;

struct LabelledTextOptions : LabelledOptions {
  std::string text = "sentence", pair, label = "label", separator = "tab", header = "yes";
  std::string validation_file, test_file;
};

const internal::OptionTable<LabelledTextOptions>& LabelledTextTable() {
  using O = LabelledTextOptions;
  static const internal::OptionTable<O> table = [] {
    internal::OptionTable<O> all = {
        {.name = "text",
         .member = &O::text,
         .doc = "the column with the text, by its name or its number, from 1, or from -1 for the "
                "last"},
        {.name = "pair",
         .member = &O::pair,
         .doc = "the column with the second text of a pair; empty: there is one text"},
        {.name = "label", .member = &O::label, .doc = "the column with the class"},
        {.name = "validation_file",
         .member = &O::validation_file,
         .doc = "the file with the validation samples, beside that of data.path unless its path is "
                "absolute; empty: data.validation is held out"},
        {.name = "test_file",
         .member = &O::test_file,
         .doc = "the file with the test samples; empty: data.test is held out"},
        {.name = "separator",
         .member = &O::separator,
         .choices = {"tab", ",", ";", "|"},
         .doc = "what is between cells; with tabs quotation marks are part of the text, else cells "
                "may be in quotes"},
        {.name = "header",
         .member = &O::header,
         .choices = {"yes", "no"},
         .doc = "whether the first line has the names of the columns"},
    };
    const auto common = LabelledTable<O>();
    all.insert(all.end(), common.begin(), common.end());
    return all;
  }();
  return table;
}

struct Row {
  std::vector<std::string> cells;
  int64_t line = 0;
};

class Rows : public CsvHandler {
 public:
  void Cell(std::string_view text, int64_t line) override {
    if (row_.cells.empty()) row_.line = line;
    row_.cells.emplace_back(text);
  }
  void EndRow(bool /*closed*/) override { rows.push_back(std::exchange(row_, {})); }

  std::vector<Row> rows;

 private:
  Row row_;
};

// Lines of cells with tabs between, in which nothing else means anything.
std::vector<Row> TabbedRows(std::string_view text) {
  std::vector<Row> rows;
  for (int64_t number = 1; !text.empty(); ++number) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    Row& row = rows.emplace_back(Row{.cells = {}, .line = number});
    for (size_t begin = 0; begin <= line.size();) {
      const size_t end = std::min(line.find('\t', begin), line.size());
      row.cells.emplace_back(line.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  return rows;
}

// The rows of a file, all of them with as many cells as the first.
std::vector<Row> ReadRows(const fs::path& path, const std::string& separator) {
  const std::string bytes = ReadUnpacked(path);
  std::string_view text = bytes;
  CheckUtf8(text, path);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  Rows handler;
  if (separator == "tab") {
    handler.rows = TabbedRows(text);
  } else if (const auto fault = ParseCsvCells(text, separator[0], CsvEnd::kWhole, handler)) {
    throw Error(path.string() + ": line " + std::to_string(fault->line) +
                " is damaged: " + fault->what);
  }
  if (handler.rows.empty()) throw Error(path.string() + ": is empty");
  const size_t columns = handler.rows[0].cells.size();
  for (const Row& row : handler.rows) {
    if (row.cells.size() == columns) continue;
    throw Error(path.string() + ": line " + std::to_string(row.line) + " has " +
                std::to_string(row.cells.size()) + " cells, but the first has " +
                std::to_string(columns));
  }
  return std::move(handler.rows);
}

// A file with the texts of its labels, which have no numbers yet.
struct Read {
  LabelledFile file;
  std::vector<std::string> labels;
};

Read ReadTexts(const fs::path& path, const LabelledTextOptions& options) {
  std::vector<Row> rows = ReadRows(path, options.separator);
  const bool header = options.header == "yes";
  const std::vector<std::string> names =
      header ? rows[0].cells : std::vector<std::string>(rows[0].cells.size());
  const size_t text = FindColumn(names, path, "text", options.text);
  const size_t label = FindColumn(names, path, "label", options.label);
  std::optional<size_t> pair;
  if (!options.pair.empty()) pair = FindColumn(names, path, "pair", options.pair);
  if (header) rows.erase(rows.begin());
  if (rows.empty()) throw Error(path.string() + ": has no lines below its header");
  Read read{.file = {.path = path, .texts = {}}, .labels = {}};
  for (Row& row : rows) {
    for (const size_t needed : {text, label, pair.value_or(text)}) {
      if (!row.cells[needed].empty()) continue;
      throw Error(path.string() + ": line " + std::to_string(row.line) + ", column " +
                  std::to_string(needed + 1) + (header ? " (" + Quoted(names[needed]) + ")" : "") +
                  " is empty");
    }
    read.labels.push_back(row.cells[label]);
    LabelledText& to = read.file.texts.emplace_back();
    to.line = row.line;
    if (pair) to.pair = row.cells[*pair];
    to.text = std::move(row.cells[text]);
  }
  return read;
}

// Labels in the order of their numbers, or of their bytes where one is no integer.
std::vector<std::string> InOrder(const std::set<std::string>& labels) {
  std::vector<std::string> sorted(labels.begin(), labels.end());
  std::map<std::string, int64_t> numbers;
  for (const std::string& label : sorted) {
    int64_t number = 0;
    const char* const last = label.data() + label.size();
    const auto [end, error] = std::from_chars(label.data(), last, number);
    if (error != std::errc() || end != last) return sorted;
    numbers[label] = number;
  }
  std::ranges::stable_sort(sorted, {}, [&](const std::string& label) { return numbers.at(label); });
  return sorted;
}

// Numbers the labels of a file. Those of the training file are all that there are.
void Number(Read& read, const std::vector<std::string>& classes, const fs::path& train) {
  std::map<std::string_view, int64_t> numbers;
  for (const std::string& label : classes) numbers.emplace(label, std::ssize(numbers));
  for (size_t i = 0; i < read.labels.size(); ++i) {
    const auto at = numbers.find(read.labels[i]);
    LabelledText& text = read.file.texts[i];
    if (at == numbers.end()) {
      throw Error(read.file.path.string() + ": line " + std::to_string(text.line) +
                  " has the label " + Quoted(read.labels[i]) + ", but those of " + train.string() +
                  " are " + QuotedList(classes));
    }
    text.label = at->second;
  }
}

Dataset LoadLabelledText(const DataConfig& config, uint64_t seed) {
  const auto& options = ValuesOf<LabelledTextOptions>(config.options);
  const fs::path path = config.path;
  if (path.empty()) throw Error("data.path is missing: it must name a file of labelled texts");
  if (!options.test_file.empty() && options.test > 0) {
    throw Error("data.test = " + NumberText(options.test) +
                " has no effect: data.test_file has the test samples");
  }
  Read train = ReadTexts(path, options);
  const std::vector<std::string> classes = InOrder({train.labels.begin(), train.labels.end()});
  if (classes.size() < 2 || classes.size() > kMostTextClasses) {
    throw Error(path.string() + ": column " + Quoted(options.label) + " has " +
                std::to_string(classes.size()) + " different labels, which is outside [2, " +
                std::to_string(kMostTextClasses) + "]");
  }
  Number(train, classes, path);
  LabelledTexts texts{.name = path.filename().string(),
                      .classes = std::ssize(classes),
                      .pairs = !options.pair.empty(),
                      .train = std::move(train.file),
                      .validation = {},
                      .test = {}};
  const auto read = [&](const std::string& name) {
    if (name.empty()) return LabelledFile();
    Read part = ReadTexts(path.parent_path() / name, options);
    Number(part, classes, path);
    return std::move(part.file);
  };
  texts.validation = read(options.validation_file);
  texts.test = read(options.test_file);
  return MakeLabelled(texts, options, config.validation, seed);
}

}  // namespace

DataEntry DescribeLabelledText() {
  return {.name = "labelled-text",
          .doc =
              "texts of your own, or pairs of them, with a class each, in a file with a line for "
              "each",
          .options = MakeOwnOptions(LabelledTextOptions(), LabelledTextTable()),
          .load = &LoadLabelledText};
}

}  // namespace kudari::lab
