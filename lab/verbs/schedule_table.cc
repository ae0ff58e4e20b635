#include "lab/verbs/schedule_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/schedule.h"
#include "lab/console/json_text.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/draw/chart.h"
#include "lab/files/output_file.h"

namespace kudari::lab {
namespace {

constexpr int kPlotColumns = 64, kPlotRows = 12;
constexpr int64_t kTableRows = 12;  // of round steps, about
constexpr size_t kMostJoints = 8;
constexpr int64_t kMostPoints = 1000;  // of a picture

// A NaN has no sign worth showing.
std::string Number(double x) { return std::isnan(x) ? "nan" : fmt::format("{:.6g}", x); }

std::vector<double> ValuesOf(const Schedule& schedule, int64_t steps) {
  std::vector<double> values(static_cast<size_t>(steps));
  for (int64_t s = 0; s < steps; ++s) values[static_cast<size_t>(s)] = schedule(s);
  return values;
}

// The smallest of 1, 2, 5, 10, 20, ... that `most` of which reach `steps`.
int64_t RoundStep(int64_t steps, int64_t most) {
  int64_t power = 1;
  while (true) {
    for (const int64_t digit : {1, 2, 5}) {
      if (digit * power * most >= steps) return digit * power;
    }
    power *= 10;
  }
}

// Multiples of `every` and the last step, and what else is given, in order.
std::vector<int64_t> StepsShown(int64_t steps, int64_t every, std::vector<int64_t> shown = {}) {
  for (int64_t s = 0; s < steps; s += every) shown.push_back(s);
  shown.push_back(steps - 1);
  std::sort(shown.begin(), shown.end());
  shown.erase(std::unique(shown.begin(), shown.end()), shown.end());
  return shown;
}

Series SeriesOf(std::span<const double> values) {
  const auto steps = static_cast<int64_t>(values.size());
  Series series;
  for (const int64_t s :
       StepsShown(steps, (steps + kMostPoints - 1) / kMostPoints, Joints(values))) {
    series.x.push_back(static_cast<double>(s));
    series.y.push_back(values[static_cast<size_t>(s)]);
  }
  return series;
}

// The lowest and the highest of the finite values, if there are any.
std::optional<std::pair<size_t, size_t>> Extremes(std::span<const double> values) {
  std::optional<std::pair<size_t, size_t>> found;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) continue;
    if (!found) found = {i, i};
    if (values[i] < values[found->first]) found->first = i;
    if (values[i] > values[found->second]) found->second = i;
  }
  return found;
}

void PrintValues(const ScheduleOptions& options, const Schedule& schedule,
                 std::span<const double> values, std::FILE* console) {
  const std::vector<int64_t> shown = StepsShown(options.steps, std::max<int64_t>(options.every, 1));
  if (options.csv) {
    fmt::print(console, "step,value\n");
    for (const int64_t s : shown) {
      const double x = values[static_cast<size_t>(s)];
      fmt::print(console, "{},{}\n", s, std::isnan(x) ? "nan" : NumberText(x));
    }
    return;
  }
  nlohmann::ordered_json json = {{"schedule", schedule.Text()}, {"steps", shown}};
  for (const int64_t s : shown) json["values"].push_back(values[static_cast<size_t>(s)]);
  WriteOutput(options.json, JsonText(json) + "\n");
}

void PrintReport(const ScheduleOptions& options, const Schedule& schedule,
                 std::span<const double> values, std::FILE* console) {
  fmt::print(console, "{}\n{} step{}: first {}, last {}", schedule.Text(), options.steps,
             options.steps == 1 ? "" : "s", Number(values.front()), Number(values.back()));
  if (const auto extremes = Extremes(values)) {
    const auto [low, high] = *extremes;
    fmt::print(console, "; lowest {} at step {}, highest {} at step {}", Number(values[low]), low,
               Number(values[high]), high);
  }
  fmt::print(console, "\n\n{}\n", BlockChart(values, kPlotColumns, kPlotRows));
  std::vector<std::vector<std::string>> rows = {{"step", "value"}};
  const std::vector<int64_t> shown =
      options.every > 0
          ? StepsShown(options.steps, options.every)
          : StepsShown(options.steps, RoundStep(options.steps, kTableRows), Joints(values));
  for (const int64_t s : shown) {
    rows.push_back({std::to_string(s), Number(values[static_cast<size_t>(s)])});
  }
  fmt::print(console, "{}", TextTable(rows));
}

}  // namespace

std::vector<int64_t> Joints(std::span<const double> values) {
  const auto extremes = Extremes(values);
  if (!extremes) return {};
  const double noise = 1e-9 * (values[extremes->second] - values[extremes->first]);
  // How much the curve bends at step i; beyond the ends it does not.
  const auto bend = [&](size_t i) {
    if (i < 1 || i + 1 >= values.size()) return 0.0;
    return std::abs(values[i + 1] - 2 * values[i] + values[i - 1]);
  };
  std::vector<int64_t> joints;
  for (size_t i = 1; i + 1 < values.size(); ++i) {
    // A jump bends it at two steps, so that those next to i do not count.
    const double around = std::max(i >= 2 ? bend(i - 2) : 0, bend(i + 2));
    if (bend(i) > noise && bend(i) > 4 * around) joints.push_back(static_cast<int64_t>(i));
  }
  if (joints.size() > kMostJoints) joints.clear();
  return joints;
}

std::string BlockChart(std::span<const double> values, int columns, int rows) {
  static constexpr std::array<const char*, 9> kBlocks = {" ", "▁", "▂", "▃", "▄",
                                                         "▅", "▆", "▇", "█"};
  constexpr int kEighths = 8;
  const auto extremes = Extremes(values);
  if (!extremes) return "no finite values\n";
  const double low = values[extremes->first], high = values[extremes->second];
  // From zero, unless that would leave the curve a narrow band.
  const double floor = low >= 0 && (low < high / 2 || low == high) ? 0 : low;
  const double height = high > floor ? high - floor : 1;

  const size_t n = values.size(), width = static_cast<size_t>(columns);
  std::vector<int> eighths(width);
  for (size_t c = 0; c < width; ++c) {
    const size_t begin = c * n / width, end = std::max(begin + 1, (c + 1) * n / width);
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += values[i];
    const double part = (sum / static_cast<double>(end - begin) - floor) / height;
    // What is low is still drawn.
    if (std::isfinite(part)) {
      eighths[c] = std::max(1, static_cast<int>(std::lround(part * rows * kEighths)));
    }
  }
  const std::string top = Number(high), bottom = Number(floor);
  const size_t label = std::max(top.size(), bottom.size());
  std::string chart;
  for (int r = rows - 1; r >= 0; --r) {
    chart += fmt::format("{:>{}} |", r == rows - 1 ? top : r == 0 ? bottom : "", label);
    for (const int e : eighths) {
      chart += kBlocks[static_cast<size_t>(std::clamp(e - r * kEighths, 0, kEighths))];
    }
    chart.erase(chart.find_last_not_of(' ') + 1);
    chart += '\n';
  }
  return chart + fmt::format("{:>{}}  0{:>{}}\n", "", label, n - 1, columns - 1);
}

void ShowSchedule(const ScheduleOptions& options, std::FILE* console) {
  if (options.steps < 1 || options.steps > kMostScheduleSteps) {
    throw UsageError(
        fmt::format("--steps = {} is outside [1, {}]", options.steps, kMostScheduleSteps));
  }
  if (options.every < 0) throw UsageError(fmt::format("--every = {} is negative", options.every));
  if (!(options.steps_per_epoch >= 0)) {
    throw UsageError(fmt::format("--steps-per-epoch = {} is negative", options.steps_per_epoch));
  }
  if (!options.file.empty()) CheckChartFile(options.file);
  const Schedule schedule =
      ParseSchedule(options.text)
          .Resolve({.steps = options.steps, .steps_per_epoch = options.steps_per_epoch});
  const std::vector<double> values = ValuesOf(schedule, options.steps);
  if (options.csv || !options.json.empty()) {
    PrintValues(options, schedule, values, console);
  } else {
    PrintReport(options, schedule, values, console);
  }
  if (!options.file.empty()) {
    DrawChart(LineChart{.title = schedule.Text(),
                        .x_label = "step",
                        .y_label = "value",
                        .points = false,
                        .series = {SeriesOf(values)}},
              options.file);
  }
}

void DrawEverySchedule(const std::filesystem::path& file) {
  constexpr int64_t kSteps = 101;
  constexpr int kGridColumns = 5;
  std::vector<LineChart> charts;
  for (const Description& d : DescribeSchedules()) {
    charts.push_back({.title = d.example,
                      .points = false,
                      .series = {SeriesOf(ValuesOf(ParseSchedule(d.example), kSteps))}});
  }
  DrawCharts(charts, kGridColumns, file);
}

}  // namespace kudari::lab
