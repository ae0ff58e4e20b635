#include "lab/logs/run_log.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/logs/run_log_table.h"
#include "lab/recipe/train_recipe.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

struct Field {
  std::string_view name;
  /// What columns of it are called, the surest name first; as Plain writes them. "x*" is any that
  /// begins with x.
  std::vector<std::string_view> columns;
};

// Names of Lightning, Hugging Face, Keras, fairseq, timm and of many scripts.
const std::vector<Field>& Fields() {
  static const std::vector<Field> fields = {
      {"step",
       {"step", "global_step", "trainer_global_step", "train_step", "train_global_step",
        "iteration", "iter", "steps", "iterations", "num_updates"}},
      {"epoch", {"epoch", "train_epoch"}},
      {"loss",
       {"loss", "train_loss", "loss_train", "training_loss", "loss_training", "train_loss_step",
        "loss_step", "batch_loss", "train_batch_loss", "train_epoch_loss", "epoch_loss",
        "train_loss_epoch", "loss_epoch"}},
      {"lr",
       {"lr", "learning_rate", "train_lr", "train_learning_rate", "epoch_lr", "train_epoch_lr",
        "epoch_learning_rate", "train_epoch_learning_rate", "lr_*", "learning_rate_*"}},
      {"grad_norm",
       {"grad_norm", "gradient_norm", "total_norm", "gnorm", "train_grad_norm", "train_gnorm",
        "train_gradient_norm", "grad_2_0_norm_total"}},
      {"micro_grad_norm", {"micro_grad_norm"}},
      {"loss_scale", {"loss_scale", "train_loss_scale"}},
      {"lost", {"numerics_lost"}},
      {"skipped", {"skipped"}},
      {"val_loss",
       {"val_loss", "valid_loss", "validation_loss", "eval_loss", "loss_val", "loss_valid",
        "loss_validation", "loss_eval", "val_loss_epoch", "validation_epoch_loss",
        "val_epoch_loss"}},
      {"val_accuracy",
       {"val_accuracy", "val_acc", "valid_accuracy", "valid_acc", "validation_accuracy",
        "validation_acc", "eval_accuracy", "eval_acc", "accuracy_val", "acc_val", "val_acc_epoch",
        "val_accuracy_epoch", "validation_epoch_accuracy", "val_epoch_accuracy"}}};
  return fields;
}

const Field& FieldOf(std::string_view name) {
  return *std::ranges::find(Fields(), name, &Field::name);
}

// In small letters and digits, with one "_" for each run of other characters.
std::string Plain(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0) {
      plain += static_cast<char>(std::tolower(byte));
    } else if (!plain.empty() && plain.back() != '_') {
      plain += '_';
    }
  }
  if (plain.ends_with('_')) plain.pop_back();
  return plain;
}

std::string Titles(const LogTable& table) {
  const std::string_view kind = table.has_steps ? "tags" : "columns";
  if (table.columns.empty()) return fmt::format("it has no {}", kind);
  std::vector<std::string> names;
  for (const Column& c : table.columns) names.push_back(c.name);
  return fmt::format("its {} are {}", kind, QuotedList(names));
}

// ---- Runs of a folder of event files ----

// "a/b/train" is the part "train" of the run "a/b".
std::pair<std::string, std::string> SplitRun(const std::string& run) {
  static const std::set<std::string> kParts = {"train", "training",   "val",  "valid", "validation",
                                               "eval",  "evaluation", "test", "dev"};
  const fs::path path(run);
  const std::string last = path.filename().string();
  if (!kParts.contains(Plain(last))) return {run, ""};
  return {path.parent_path().generic_string(), last};
}

std::string Joined(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

// Puts folders into the names of tags, but for that of the run itself if only one has a loss.
void NameByRuns(LogTable& table, const std::string& path, bool loss_is_given) {
  const auto is_loss = [](const std::string& name) {
    const auto& columns = FieldOf("loss").columns;
    return std::ranges::find(columns, Plain(name)) != columns.end();
  };
  std::set<std::string> runs;
  for (const Column& c : table.columns) {
    const auto [run, part] = SplitRun(c.run);
    if (is_loss(Joined(part, c.name))) runs.insert(run);
  }
  if (runs.size() > 1 && !loss_is_given) {
    const std::vector<std::string> names(runs.begin(), runs.end());
    throw Error(fmt::format("{}: has the logs of several runs, {}; give the folder of one", path,
                            QuotedList(names)));
  }
  for (Column& c : table.columns) {
    const auto [run, part] = SplitRun(c.run);
    const bool own = runs.size() == 1 && runs.contains(run);
    c.name = Joined(own ? part : c.run, c.name);
  }
}

// ---- From columns to steps ----

class Reader {
 public:
  Reader(LogTable table, const std::string& path, const RunLogOptions& options)
      : table_(std::move(table)), path_(path), options_(options) {}

  RunLog Read();

 private:
  void NoteNames();
  std::vector<size_t> Named(std::string_view pattern) const;
  const Column* Find(const Field& field) const;
  std::vector<Cell> CellsOf(std::string_view field);
  void CheckResumed(const std::vector<Cell>& losses, const Cell& cell, const Column& loss);
  void FindRedone();
  bool Redone(const Cell& cell, const Column& column) const;
  int64_t StepOf(const Cell& cell) const;
  void CountSteps(const Column& loss);
  int64_t StepsPerEpoch(const std::vector<Cell>& epochs) const;

  LogTable table_;
  std::string path_;
  const RunLogOptions& options_;
  std::multimap<std::string, size_t, std::less<>> names_;  // columns by what Plain makes of them
  std::vector<int64_t> step_of_row_;                       // -1: none
  // Losses that are behind the ones before them, in the order of files and rows, with the lowest
  // step from there on.
  std::vector<Cell> resumed_;
  std::string resumed_run_;  // whose they are
};

void Reader::NoteNames() {
  for (size_t i = 0; i < table_.columns.size(); ++i) {
    names_.emplace(Plain(table_.columns[i].name), i);
  }
}

// Columns that match, in the order of the log.
std::vector<size_t> Reader::Named(std::string_view pattern) const {
  const bool begins = pattern.ends_with('*');
  if (begins) pattern.remove_suffix(1);
  std::vector<size_t> found;
  for (auto at = names_.lower_bound(pattern); at != names_.end(); ++at) {
    if (begins ? !at->first.starts_with(pattern) : at->first != pattern) break;
    found.push_back(at->second);
  }
  std::ranges::sort(found);
  return found;
}

// Null if there is none.
const Column* Reader::Find(const Field& field) const {
  if (const auto given = options_.columns.find(std::string(field.name));
      given != options_.columns.end()) {
    const auto found = std::ranges::find(table_.columns, given->second, &Column::name);
    if (found != table_.columns.end()) return &*found;
    throw Error(fmt::format("{}: has no {}, which was given as {}; {}", path_,
                            Quoted(given->second), field.name, Titles(table_)));
  }
  for (const std::string_view pattern : field.columns) {
    const std::vector<size_t> found = Named(pattern);
    // Of many learning rates the first is that of the first group.
    if (found.size() > 1 && !pattern.ends_with('*')) {
      std::vector<std::string> names;
      for (const size_t i : found) names.push_back(table_.columns[i].name);
      throw Error(fmt::format("{}: {} could be any of {}; choose one, as in {}={}", path_,
                              field.name, QuotedList(names), field.name, names[0]));
    }
    if (!found.empty()) return &table_.columns[found[0]];
  }
  return nullptr;
}

constexpr int64_t kMostSteps = int64_t{1} << 53;

// -1 if it cannot be a step.
int64_t Whole(double x) {
  const bool whole = x >= 0 && x <= static_cast<double>(kMostSteps) && x == std::trunc(x);
  return whole ? static_cast<int64_t>(x) : -1;
}

// The step of each row: its own, or how many losses there have been.
void Reader::CountSteps(const Column& loss) {
  const Column* const steps = Find(FieldOf("step"));
  step_of_row_.assign(table_.rows + 1, -1);
  if (steps != nullptr) {
    for (const Cell& cell : steps->cells) {
      int64_t& step = step_of_row_[cell.row];
      step = Whole(cell.value);
      if (step >= 0) continue;
      throw Error(fmt::format("{}: {} = {} must be a whole number of at least 0",
                              table_.Where(cell), steps->name, cell.value));
    }
    return;
  }
  int64_t count = 0;
  auto cell = loss.cells.begin();
  for (size_t row = 0; row < step_of_row_.size(); ++row) {
    for (; cell != loss.cells.end() && cell->row == row; ++cell) ++count;
    step_of_row_[row] = count;
  }
}

int64_t Reader::StepOf(const Cell& cell) const {
  const int64_t step = table_.has_steps ? cell.step : step_of_row_[cell.row];
  if (step >= 0 && step <= kMostSteps) return step;
  throw Error(table_.Where(cell) + (table_.has_steps
                                        ? fmt::format(" has the step {}, outside [0, 2^53]", step)
                                        : std::string(" has no step")));
}

// Appends an entry in place of what was logged from its step on.
template <class T>
void Append(T entry, std::vector<T>& entries) {
  while (!entries.empty() && entries.back().step >= entry.step) entries.pop_back();
  entries.push_back(std::move(entry));
}

// With their steps, which rise; nothing if the log does not have the field. The loss comes first:
// it tells where the run was resumed.
std::vector<Cell> Reader::CellsOf(std::string_view field) {
  const Column* const column = Find(FieldOf(field));
  std::vector<Cell> cells;
  if (column == nullptr) return cells;
  if (column->bad_row > 0) {
    const Cell bad{.row = column->bad_row};
    throw Error(fmt::format("{}: {} = {} is not a number", table_.Where(bad), OneLine(column->name),
                            Quoted(column->bad)));
  }
  for (Cell cell : column->cells) {
    cell.step = StepOf(cell);
    if (field == "loss") {
      CheckResumed(cells, cell, *column);
    } else if (Redone(cell, *column)) {
      continue;
    }
    Append(cell, cells);
  }
  if (field == "loss") FindRedone();
  return cells;
}

// Notes it if the run was resumed before this loss.
void Reader::CheckResumed(const std::vector<Cell>& losses, const Cell& cell, const Column& loss) {
  if (losses.empty() || cell.step >= losses.back().step) return;
  if (cell.step <= losses.front().step) {
    throw Error(
        fmt::format("{}: {} starts over, with step {} after {}; steps must come from one run and "
                    "increase over all its epochs",
                    table_.Where(cell), loss.name, cell.step, losses.back().step));
  }
  resumed_.push_back(cell);
  resumed_run_ = loss.run;
}

// Gives all that resumed the run the lowest step at which it was resumed from there on.
void Reader::FindRedone() {
  for (size_t i = resumed_.size(); i-- > 1;) {
    resumed_[i - 1].step = std::min(resumed_[i - 1].step, resumed_[i].step);
  }
}

// Whether what was logged here was done again. Only files of one run are in the order of time.
bool Reader::Redone(const Cell& cell, const Column& column) const {
  if (column.run != resumed_run_) return false;
  const auto place = [](const Cell& c) { return std::pair(c.file, c.row); };
  const auto after = std::ranges::upper_bound(resumed_, place(cell), {}, place);
  return after != resumed_.end() && cell.step >= after->step;
}

// As the epochs of the log have it, 0 if they do not: of logs that do not have every step, about.
int64_t Reader::StepsPerEpoch(const std::vector<Cell>& epochs) const {
  if (options_.steps_per_epoch > 0) return options_.steps_per_epoch;
  const auto rounded = [](double steps) {
    return steps >= 2 && steps < 1e15 ? std::llround(steps) : 0;
  };
  if (std::ranges::any_of(epochs, [](const Cell& c) { return c.value != std::trunc(c.value); })) {
    const Cell& last = epochs.back();  // a part of an epoch is in it
    return last.value > 0 ? rounded(static_cast<double>(last.step) / last.value) : 0;
  }
  std::vector<Cell> starts;
  for (const Cell& c : epochs) {
    if (starts.empty() || c.value > starts.back().value) starts.push_back(c);
  }
  // The first epoch may have begun before the log.
  if (!starts.empty() && starts.front().step > 1) starts.erase(starts.begin());
  if (starts.size() < 2) return 0;
  return rounded(static_cast<double>(starts.back().step - starts.front().step) /
                 (starts.back().value - starts.front().value));
}

// The value of a step, or the last before it if it `holds`.
double ValueAt(const std::vector<Cell>& cells, int64_t step, bool holds, double otherwise) {
  auto after = std::ranges::upper_bound(cells, step, {}, &Cell::step);
  if (after == cells.begin()) return otherwise;
  --after;
  return holds || after->step == step ? after->value : otherwise;
}

RunLog Reader::Read() {
  for (const auto& [field, column] : options_.columns) {
    if (std::ranges::find(RunLogFields(), field) != RunLogFields().end()) continue;
    throw Error(fmt::format("unknown field {}{}", Quoted(field), Suggest(field, RunLogFields())));
  }
  if (options_.steps_per_epoch < 0) {
    throw Error(fmt::format("steps_per_epoch = {} is outside [0, inf)", options_.steps_per_epoch));
  }
  if (table_.has_steps) NameByRuns(table_, path_, options_.columns.contains("loss"));
  NoteNames();
  const Column* const loss_column = Find(FieldOf("loss"));
  if (loss_column == nullptr) {
    throw Error(
        fmt::format("{}: has no loss, which is usually called \"loss\" or \"train/loss\"; {}. Name "
                    "it, as in loss=NAME",
                    path_, Titles(table_)));
  }
  if (!table_.has_steps) CountSteps(*loss_column);
  const std::vector<Cell> loss = CellsOf("loss");
  if (loss.empty()) throw Error(fmt::format("{}: \"{}\" is empty", path_, loss_column->name));
  const int64_t shift = loss.front().step == 0 ? 1 : 0;

  const auto lr = CellsOf("lr"), grad_norm = CellsOf("grad_norm"),
             micro_grad_norm = CellsOf("micro_grad_norm"), loss_scale = CellsOf("loss_scale"),
             lost = CellsOf("lost"), skipped = CellsOf("skipped");
  RunLog log{.planned_steps = table_.planned_steps};
  log.steps.reserve(loss.size());
  for (const Cell& c : loss) {
    log.steps.push_back({.step = c.step + shift,
                         .loss = c.value,
                         .lr = ValueAt(lr, c.step, true, kNotMeasured),
                         .grad_norm = ValueAt(grad_norm, c.step, false, kNotMeasured),
                         .micro_grad_norm = ValueAt(micro_grad_norm, c.step, false, kNotMeasured),
                         .skipped = ValueAt(skipped, c.step, false, 0) == 1,
                         .loss_scale = ValueAt(loss_scale, c.step, true, 1),
                         .lost = ValueAt(lost, c.step, false, kNotMeasured)});
  }
  const auto val_loss = CellsOf("val_loss"), val_accuracy = CellsOf("val_accuracy");
  std::vector<int64_t> evaluated;
  for (const auto* cells : {&val_loss, &val_accuracy}) {
    for (const Cell& c : *cells) evaluated.push_back(c.step);
  }
  std::ranges::sort(evaluated);
  evaluated.erase(std::unique(evaluated.begin(), evaluated.end()), evaluated.end());
  for (const int64_t step : evaluated) {
    log.evaluations.push_back({.step = step + shift,
                               .loss = ValueAt(val_loss, step, false, kNotMeasured),
                               .accuracy = ValueAt(val_accuracy, step, false, kNotMeasured)});
  }
  log.first_nonfinite = table_.first_nonfinite;
  for (LayersLog& layers : table_.layers) {
    if (!std::ranges::binary_search(loss, layers.step, {}, &Cell::step)) continue;
    layers.step += shift;
    Append(std::move(layers), log.layers);
  }
  std::vector<Cell> epochs = CellsOf("epoch");
  for (Cell& c : epochs) c.step += shift;
  log.steps_per_epoch = StepsPerEpoch(epochs);
  return log;
}

// Of the plan of a run of `kudari train`, as far as it can be known; 0 if it cannot.
int64_t PlannedSteps(const fs::path& recipe, int64_t steps_per_epoch) {
  const TrainConfig train = ReadTrainRecipe(recipe).train;
  if (train.epochs == 0) return train.steps;
  const int64_t most = train.steps == 0 ? kMostSteps : train.steps;
  return steps_per_epoch > most / train.epochs ? most : train.epochs * steps_per_epoch;
}

}  // namespace

const std::vector<std::string>& RunLogFields() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Field& f : Fields()) all.emplace_back(f.name);
    return all;
  }();
  return names;
}

RunLog ParseRunLog(std::string_view contents, std::string_view name, const RunLogOptions& options) {
  return Reader(ParseLogTable(contents, name), std::string(name), options).Read();
}

RunLog ReadRunLog(const std::filesystem::path& path, const RunLogOptions& options) {
  LogTable table = ReadLogTable(path);
  const fs::path file = table.files.front();
  RunLog log = Reader(std::move(table), path.string(), options).Read();
  const fs::path recipe = file.parent_path() / "recipe.toml";
  if (file.filename().string().starts_with("metrics.jsonl") && fs::exists(recipe)) {
    log.planned_steps = PlannedSteps(recipe, log.steps_per_epoch);
  }
  return log;
}

}  // namespace kudari::lab
