#include "lab/logs/run_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/console/usage_error.h"
#include "lab/logs/run_log_columns.h"
#include "lab/logs/run_log_fields.h"
#include "lab/logs/run_log_table.h"
#include "lab/recipe/train_recipe.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

// ---- Runs of a folder of event files ----

// "a/b/train" is the part "train" of the run "a/b".
std::pair<std::string, std::string> SplitRun(const std::string& run) {
  const fs::path path(run);
  const std::string last = path.filename().string();
  if (!IsPart(PlainName(last))) return {run, ""};
  return {path.parent_path().generic_string(), last};
}

std::string Joined(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

// Puts folders into the names of tags, but for that of the run itself if only one has a loss.
void NameByRuns(LogTable& table, const std::string& path, bool loss_is_given) {
  std::set<std::string> runs;
  for (const Column& c : table.columns) {
    const auto [run, part] = SplitRun(c.run);
    if (IsNamed(LogFieldOf("loss"), PlainName(Joined(part, c.name)))) runs.insert(run);
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

// ---- The step of each row ----

constexpr int64_t kMostSteps = int64_t{1} << 53;

// -1 if it cannot be a step.
int64_t Whole(double x) {
  const bool whole = x >= 0 && x <= static_cast<double>(kMostSteps) && x == std::trunc(x);
  return whole ? static_cast<int64_t>(x) : -1;
}

// How many losses there have been up to each row, where there are no steps. Where the epochs begin
// again at one that has been, so does the count.
std::vector<int64_t> CountedSteps(const LogTable& table, const std::vector<Cell>& loss,
                                  const std::vector<Cell>& epochs) {
  struct Begun {
    double epoch = 0;
    int64_t before = 0;  // losses
  };
  std::vector<int64_t> steps(table.rows + 1, 0);
  std::vector<Begun> begun;  // epochs that rise, the last is that of the row
  int64_t count = 0;
  auto cell = loss.begin();
  auto epoch = epochs.begin();
  for (size_t row = 0; row < steps.size(); ++row) {
    for (; epoch != epochs.end() && epoch->row == row; ++epoch) {
      if (!std::isfinite(epoch->value)) continue;
      const bool is_back = !begun.empty() && begun.back().epoch > epoch->value;
      for (; is_back && !begun.empty() && begun.back().epoch >= epoch->value; begun.pop_back()) {
        count = begun.back().before;
      }
      if (begun.empty() || begun.back().epoch < epoch->value) {
        begun.push_back({epoch->value, count});
      }
    }
    for (; cell != loss.end() && cell->row == row; ++cell) ++count;
    steps[row] = count;
  }
  return steps;
}

// The steps that a column has, -1 in rows without one.
std::vector<int64_t> StepsIn(const LogTable& table, const std::vector<size_t>& columns) {
  std::vector<int64_t> steps(table.rows + 1, -1);
  for (const Cell& cell : CellsOf(table, columns)) {
    if (std::isnan(cell.value)) continue;
    steps[cell.row] = Whole(cell.value);
    if (steps[cell.row] >= 0) continue;
    throw Error(fmt::format("{}: {} = {} must be a whole number of at least 0", table.Where(cell),
                            table.columns[columns[0]].name, cell.value));
  }
  return steps;
}

// Gives rows without a step that of the row before.
void CarryOn(std::vector<int64_t>& steps) {
  int64_t last = 0;
  for (int64_t& step : steps) {
    if (step < 0) step = last;
    last = step;
  }
}

// The value at a row, or the last before it; a NaN if there is none.
class Walk {
 public:
  explicit Walk(const std::vector<Cell>& cells) : cells_(cells) {}

  // Rows must rise from call to call.
  double At(uint32_t row) {
    for (; next_ < cells_.size() && cells_[next_].row <= row; ++next_) value_ = cells_[next_].value;
    return value_;
  }

 private:
  const std::vector<Cell>& cells_;
  size_t next_ = 0;
  double value_ = kNotMeasured;
};

// Steps that are counted again in each epoch become those of the whole run. Returns how many there
// are to an epoch, about; 0 if they are not counted so.
int64_t CountOn(std::vector<int64_t>& steps, const std::vector<Cell>& loss,
                const std::vector<Cell>& epochs) {
  if (epochs.empty() || loss.empty()) return 0;
  Walk epoch_at(epochs);
  int64_t most = 0, least = kMostSteps, before = 0, rises = 0;
  double first = kNotMeasured, epoch = kNotMeasured, last_epoch = 0;
  for (const Cell& cell : loss) {
    const int64_t step = steps[cell.row];
    const double now = epoch_at.At(cell.row);
    if (now != std::trunc(now)) return 0;
    if (now > epoch) {
      if (step > before) return 0;
      ++rises;
    }
    if (std::isnan(first)) first = now;
    epoch = now;
    last_epoch = std::max(last_epoch, now);
    before = step;
    most = std::max(most, step);
    least = std::min(least, step);
  }
  const int64_t length = most + (least == 0 ? 1 : 0);
  const double total = (last_epoch - first + 1) * static_cast<double>(length);
  if (rises == 0 || !(total <= static_cast<double>(kMostSteps))) return 0;
  Walk epoch_of(epochs);
  for (uint32_t row = 0; row < steps.size(); ++row) {
    const double past = std::min(epoch_of.At(row), last_epoch) - first;
    if (steps[row] >= 0 && past > 0) steps[row] += static_cast<int64_t>(past) * length;
  }
  return length;
}

// ---- From columns to steps ----

class Reader {
 public:
  Reader(const LogTable& table, const std::string& path, const RunLogOptions& options)
      : table_(table), options_(options), columns_(table, path, options.columns) {}

  LogReading Read();

 private:
  std::vector<Cell> Taken(std::string_view field);
  void FindSteps(std::vector<Cell>& loss);
  void DropWithoutStep(std::vector<Cell>& loss) const;
  int64_t StepOf(const Cell& cell) const;
  void FindSegments(const std::vector<Cell>& loss);
  std::vector<Cell> Ordered(std::string_view field);
  std::vector<Cell> GradientNorms();
  void Order(std::vector<Cell>& cells, const std::string& run) const;
  int64_t StepsPerEpoch(const std::vector<Cell>& epochs) const;
  void AddSteps(const std::vector<Cell>& loss);
  void AddEvaluations();
  void AddLayers(const std::vector<Cell>& loss);
  void AddCurves();

  const LogTable& table_;
  const RunLogOptions& options_;
  RunLogColumns columns_;
  LogReading reading_;
  std::vector<int64_t> step_of_row_;
  // Where the loss goes back to a lower step, by file and row: there a segment begins.
  std::vector<std::pair<uint32_t, uint32_t>> segments_;
  std::string run_;    // whose loss it is
  int64_t shift_ = 0;  // of a log that counts from 0
};

// The numbers of a field, as they are in the table; none if it is not there.
std::vector<Cell> Reader::Taken(std::string_view field) {
  const std::vector<size_t> found = columns_.Find(LogFieldOf(field));
  if (found.empty()) return {};
  reading_.columns[std::string(field)] = columns_.NameOf(found);
  return CellsOf(table_, found);
}

int64_t Reader::StepOf(const Cell& cell) const {
  const int64_t step = table_.has_steps ? cell.step : step_of_row_[cell.row];
  if (step >= 0 && step <= kMostSteps) return step;
  throw Error(fmt::format("{} has the step {}, outside [0, 2^53]", table_.Where(cell), step));
}

// In a table a loss must have its step. In text it may be in a line after its step's, once.
void Reader::DropWithoutStep(std::vector<Cell>& loss) const {
  if (!table_.is_text) {
    for (const Cell& cell : loss) {
      if (step_of_row_[cell.row] < 0) throw Error(table_.Where(cell) + " has no step");
    }
    return;
  }
  size_t row = 0;
  bool has_step = false;
  std::erase_if(loss, [&](const Cell& cell) {
    for (; row <= cell.row; ++row) has_step = has_step || step_of_row_[row] >= 0;
    return !std::exchange(has_step, false);
  });
}

void Reader::FindSteps(std::vector<Cell>& loss) {
  const std::vector<Cell> epochs = CellsOf(table_, columns_.Find(LogFieldOf("epoch")));
  std::vector<size_t> found = columns_.Find(LogFieldOf("step"));
  if (found.empty()) {
    step_of_row_ = CountedSteps(table_, loss, epochs);
    return;
  }
  reading_.columns["step"] = columns_.NameOf(found);
  step_of_row_ = StepsIn(table_, found);
  if (table_.is_text) {  // "iter 10" in one line and "step 10" in another
    for (const std::string_view name : LogFieldOf("step").columns) {
      const auto other = std::ranges::find(table_.columns, name, &Column::name);
      if (other == table_.columns.end() || options_.columns.contains("step")) continue;
      const auto at = static_cast<size_t>(other - table_.columns.begin());
      const std::vector<int64_t> more = StepsIn(table_, {at});
      for (size_t row = 0; row < more.size(); ++row) {
        if (step_of_row_[row] < 0) step_of_row_[row] = more[row];
      }
    }
  }
  const std::vector<Cell> all = loss;
  DropWithoutStep(loss);
  if (2 * loss.size() < all.size()) {  // text that hardly has any
    reading_.columns.erase("step");
    loss = all;
    step_of_row_ = CountedSteps(table_, loss, epochs);
    return;
  }
  CarryOn(step_of_row_);
  if (const int64_t length = CountOn(step_of_row_, loss, epochs); length > 0) {
    reading_.log.planned_steps = 0;
    reading_.notes.push_back(fmt::format(
        "steps are counted again in each epoch; they were counted on, {} to an epoch", length));
  }
}

void Reader::FindSegments(const std::vector<Cell>& loss) {
  for (size_t i = 1; i < loss.size(); ++i) {
    const Cell &before = loss[i - 1], &cell = loss[i];
    const int64_t last = StepOf(before);
    if (StepOf(cell) >= last) continue;
    uint32_t row = cell.row;
    if (cell.file != before.file) {
      row = 0;
    } else if (!table_.has_steps) {
      row = before.row + 1;
      while (step_of_row_[row] >= last) ++row;
    }
    segments_.emplace_back(cell.file, row);
  }
}

// Gives cells their steps, and their segments in place of their files, and puts them in that order.
void Reader::Order(std::vector<Cell>& cells, const std::string& run) const {
  uint32_t segment = 0;
  int64_t last = 0;
  for (Cell& cell : cells) {
    cell.step = StepOf(cell);
    if (run == run_) {
      const auto place = std::pair(cell.file, cell.row);
      while (segment < segments_.size() && segments_[segment] <= place) ++segment;
    } else if (cell.step < std::exchange(last, cell.step) && segment < segments_.size()) {
      ++segment;  // files of other folders are in no order with those of the loss
    }
    cell.file = segment;
    cell.step += shift_;
  }
  std::ranges::stable_sort(cells, {}, [](const Cell& c) { return std::pair(c.file, c.step); });
}

std::vector<Cell> Reader::Ordered(std::string_view field) {
  std::vector<Cell> cells = Taken(field);
  if (cells.empty()) return cells;
  Order(cells, table_.columns[columns_.Find(LogFieldOf(field)).front()].run);
  return cells;
}

// A norm that is logged as a NaN was not finite: it becomes infinite, as a NaN would be one that
// was not logged. That is so of a column that has nothing but nulls.
std::vector<Cell> Reader::GradientNorms() {
  std::vector<Cell> norms = Ordered("grad_norm");
  const auto has_numbers = [this](size_t i) {
    const Column& column = table_.columns[i];
    return column.nulls + column.last_nulls < column.cells.size();
  };
  if (std::ranges::none_of(columns_.Find(LogFieldOf("grad_norm")), has_numbers)) return {};
  for (Cell& norm : norms) {
    if (std::isnan(norm.value)) norm.value = std::numeric_limits<double>::infinity();
  }
  return norms;
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
    if (c.file != epochs.front().file) break;
    if (starts.empty() || c.value > starts.back().value) starts.push_back(c);
  }
  // The first epoch may have begun before the log.
  if (!starts.empty() && starts.front().step > 1) starts.erase(starts.begin());
  if (starts.size() < 2) return 0;
  return rounded(static_cast<double>(starts.back().step - starts.front().step) /
                 (starts.back().value - starts.front().value));
}

// The value of a step, that of its row if there are several, or the last before it if it `holds`.
double ValueAt(const std::vector<Cell>& cells, const Cell& step, bool holds, double otherwise) {
  const auto place = [](const Cell& c) { return std::tuple(c.file, c.step, c.row); };
  const auto is_of_step = [&step](const Cell& c) {
    return c.file == step.file && c.step == step.step;
  };
  auto after = std::ranges::upper_bound(cells, place(step), {}, place);
  if (after != cells.begin() && is_of_step(*(after - 1))) return (after - 1)->value;
  after = std::ranges::upper_bound(
      cells, std::tuple(step.file, step.step, std::numeric_limits<uint32_t>::max()), {}, place);
  if (after == cells.begin()) return otherwise;
  --after;
  return holds || is_of_step(*after) ? after->value : otherwise;
}

void Reader::AddSteps(const std::vector<Cell>& loss) {
  const auto lr = Ordered("lr"), grad_norm = GradientNorms(),
             micro_grad_norm = Ordered("micro_grad_norm"), loss_scale = Ordered("loss_scale"),
             lost = Ordered("lost"), skipped = Ordered("skipped");
  reading_.log.steps.reserve(loss.size());
  for (const Cell& c : loss) {
    reading_.log.steps.push_back(
        {.step = c.step,
         .loss = c.value,
         .lr = ValueAt(lr, c, true, kNotMeasured),
         .grad_norm = ValueAt(grad_norm, c, false, kNotMeasured),
         .micro_grad_norm = ValueAt(micro_grad_norm, c, false, kNotMeasured),
         .skipped = ValueAt(skipped, c, false, 0) > 0,
         .loss_scale = ValueAt(loss_scale, c, true, 1),
         .lost = ValueAt(lost, c, false, kNotMeasured)});
  }
}

void Reader::AddEvaluations() {
  const auto val_loss = Ordered("val_loss"), val_accuracy = Ordered("val_accuracy");
  const auto place = [](const Cell& c) { return std::pair(c.file, c.step); };
  std::vector<Cell> evaluated = val_loss;
  evaluated.insert(evaluated.end(), val_accuracy.begin(), val_accuracy.end());
  std::ranges::stable_sort(evaluated, {}, place);
  const auto same = [&place](const Cell& a, const Cell& b) { return place(a) == place(b); };
  evaluated.erase(std::unique(evaluated.begin(), evaluated.end(), same), evaluated.end());
  for (Cell& c : evaluated) {
    c.row = std::numeric_limits<uint32_t>::max();  // the last of the step
    reading_.log.evaluations.push_back({.step = c.step,
                                        .loss = ValueAt(val_loss, c, false, kNotMeasured),
                                        .accuracy = ValueAt(val_accuracy, c, false, kNotMeasured)});
  }
}

// Those of steps that have a loss.
void Reader::AddLayers(const std::vector<Cell>& loss) {
  if (table_.layers.empty()) return;
  std::vector<int64_t> steps;
  for (const Cell& c : loss) steps.push_back(c.step);
  std::ranges::sort(steps);
  for (const LayersLog& layers : table_.layers) {
    if (!std::ranges::binary_search(steps, layers.step + shift_)) continue;
    reading_.log.layers.push_back(layers);
    reading_.log.layers.back().step += shift_;
  }
}

void Reader::AddCurves() {
  std::vector<size_t> left_out;
  if (!table_.has_steps) left_out = columns_.Find(LogFieldOf("step"));
  for (size_t i = 0; i < table_.columns.size(); ++i) {
    const Column& column = table_.columns[i];
    const bool is_step = std::ranges::find(left_out, i) != left_out.end();
    if (is_step || column.cells.empty() || !column.bad.empty()) continue;
    std::vector<Cell> cells = CellsOf(table_, {i});
    Order(cells, column.run);
    std::vector<LogPoint> points;
    for (const Cell& cell : cells) {
      while (!points.empty() && points.back().step >= cell.step) points.pop_back();
      points.push_back({.step = cell.step, .value = cell.value});
    }
    reading_.curves.push_back({.name = column.name, .points = std::move(points)});
  }
}

LogReading Reader::Read() {
  if (options_.steps_per_epoch < 0) {
    throw Error(fmt::format("steps_per_epoch = {} is outside [0, inf)", options_.steps_per_epoch));
  }
  reading_.notes = table_.notes;
  reading_.log.planned_steps = table_.planned_steps;
  const std::vector<size_t> found = columns_.Find(LogFieldOf("loss"));
  if (found.empty()) throw Error(columns_.NoLoss());
  std::vector<Cell> loss = Taken("loss");
  const std::string& name = reading_.columns["loss"];
  if (!table_.has_steps) FindSteps(loss);
  if (loss.empty()) {
    throw Error(fmt::format("{}: {} is empty", table_.files.front(), Quoted(name)));
  }
  for (const std::string_view field : {"loss", "val_loss"}) {
    const std::vector<size_t> terms = columns_.Find(LogFieldOf(field));
    if (terms.size() < 2 || options_.columns.contains(std::string(field))) continue;
    reading_.notes.push_back(fmt::format("{} is the sum of {}", field, columns_.NameOf(terms)));
  }
  run_ = table_.columns[found.front()].run;
  FindSegments(loss);
  const auto least =
      std::ranges::min_element(loss, {}, [this](const Cell& c) { return StepOf(c); });
  shift_ = StepOf(*least) == 0 ? 1 : 0;
  Order(loss, run_);
  AddSteps(loss);
  AddEvaluations();
  AddLayers(loss);
  if (options_.curves) AddCurves();
  reading_.log.first_nonfinite = table_.first_nonfinite;
  reading_.log.unjudgeable = columns_.Unjudgeable();
  reading_.log.steps_per_epoch = StepsPerEpoch(Ordered("epoch"));
  if (table_.is_finished) reading_.log.planned_steps = reading_.log.steps.back().step;
  return std::move(reading_);
}

LogReading FromTable(LogTable table, const std::string& path, const RunLogOptions& options) {
  if (table.has_steps) NameByRuns(table, path, options.columns.contains("loss"));
  return Reader(table, path, options).Read();
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
    for (const LogField& f : LogFields()) all.emplace_back(f.name);
    return all;
  }();
  return names;
}

std::map<std::string, std::string> ColumnsByField(const std::vector<std::string>& maps) {
  std::map<std::string, std::string> columns;
  for (const std::string& map : maps) {
    const size_t equals = map.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == map.size()) {
      throw UsageError(
          fmt::format("--map {}: must be field=column, such as loss=train/total", map));
    }
    const std::string field = map.substr(0, equals);
    if (std::ranges::find(RunLogFields(), field) == RunLogFields().end()) {
      throw UsageError(fmt::format("--map {}: unknown field {}{}", map, Quoted(field),
                                   Suggest(field, RunLogFields())));
    }
    columns[field] = map.substr(equals + 1);
  }
  return columns;
}

LogReading ParseLog(std::string_view contents, std::string_view name,
                    const RunLogOptions& options) {
  return FromTable(ParseLogTable(contents, name), std::string(name), options);
}

LogReading ReadLog(const std::filesystem::path& path, const RunLogOptions& options) {
  LogTable table = ReadLogTable(path);
  const fs::path file = table.files.front();
  LogReading reading = FromTable(std::move(table), path.string(), options);
  const fs::path recipe = file.parent_path() / "recipe.toml";
  if (file.filename().string().starts_with("metrics.jsonl") && fs::exists(recipe)) {
    reading.log.planned_steps = PlannedSteps(recipe, reading.log.steps_per_epoch);
  }
  return reading;
}

RunLog ParseRunLog(std::string_view contents, std::string_view name, const RunLogOptions& options) {
  return ParseLog(contents, name, options).log;
}

RunLog ReadRunLog(const std::filesystem::path& path, const RunLogOptions& options) {
  return ReadLog(path, options).log;
}

}  // namespace kudari::lab
