// A learning-rate range test on Rosenbrock's function.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kudari/lr_range.h"
#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"

namespace kudari::lab {
namespace {

DemoResult RunRangeTest(const DemoSettings& settings) {
  if (settings("start") >= settings("end")) {
    throw UsageError(fmt::format("--set start = {:g} is not below end = {:g}", settings("start"),
                                 settings("end")));
  }
  const Surface& rosenbrock = FindSurface("rosenbrock");
  const LrRangeOptions options{.start = settings("start"),
                               .end = settings("end"),
                               .steps = settings.Whole("steps"),
                               .ramp_end = LrRampEnd::kBefore,
                               .smooth = settings("smooth"),
                               .stop_at = LrStopAt::kFirst};
  LrRangeTest test(options);
  Stepped place({-1, 1}, OptimizerSpec("sgd", {{"lr", LrRampSchedule(options)}}));
  const auto slope = [&](const std::vector<double>& w) {
    const Position s = rosenbrock.gradient({w[0], w[1]});
    return std::vector{s.x, s.y};
  };
  while (test.Running()) {
    const std::vector<double> w = place.weights();
    test.Add(rosenbrock.loss({w[0], w[1]}));
    if (test.Running()) place.Step(slope);
  }
  const LrSuggestions read = SuggestLearningRates(test.range(), {.skip_first = 0, .skip_last = 0});

  DemoResult result;
  LineChart chart{.title =
                      "The rate rises until the loss does: a tenth of where it is lowest is "
                      "safe",
                  .x_label = "learning rate",
                  .y_label = "loss",
                  .log_x = true,
                  .points = false};
  chart.series = {{.label = "smoothed"}, {.label = "loss"}};
  for (const LrPoint& p : test.range().points) {
    AddPoint(chart.series[0], p.lr, p.smoothed);
    AddPoint(chart.series[1], p.lr, p.loss);
  }
  chart.y_most = 1.1 * test.range().points.front().smoothed;
  std::vector<std::vector<std::string>> rows = {{"  suggestion", "learning rate"}};
  result.numbers = {{"end", Name(test.range().end)},
                    {"points", std::ssize(test.range().points)},
                    {"suggestions", nlohmann::ordered_json::object()}};
  for (const LrSuggestion& s : read.suggestions) {
    rows.push_back({fmt::format("  {}", Name(s.method)), fmt::format("{:.3g}", s.lr)});
    result.numbers["suggestions"][std::string(Name(s.method))] = s.lr;
    chart.marks.push_back({.label = fmt::format("{} {:.2g}", Name(s.method), s.lr),
                           .from = s.lr,
                           .to = s.lr,
                           .strong = s.method == LrMethod::kMinimum});
  }
  result.charts = {chart};
  result.text = fmt::format(
      "Descent on {} from (-1, 1), with a rate that\nrises from {:g} towards {:g}. The test ended "
      "after {} steps: {}.\n\n{}",
      rosenbrock.formula, settings("start"), settings("end"), test.range().points.size(),
      test.range().end == LrEnd::kRamp ? "the rate was at its end"
                                       : "the loss was far above the first",
      TextTable(rows));
  result.svg = PanelsSvg(result.charts);
  result.next = {"kudari demo range-test --set smooth=0.9",
                 "kudari lr-find recipes/digits-mlp.toml", "kudari demo batch-scaling"};
  return result;
}

}  // namespace

Demo RangeTestDemo() {
  return {
      .name = "range-test",
      .summary =
          "A learning-rate range test raises the rate until the loss rises, and suggests "
          "a rate well below.",
      .source = "practical guide, 3.1",
      .parameters = {{.name = "start", .value = 1e-6, .low = 1e-12, .high = 1, .doc = "first rate"},
                     {.name = "end", .value = 1, .low = 1e-11, .high = 100, .doc = "last rate"},
                     {.name = "steps",
                      .value = 100,
                      .low = 10,
                      .high = 2000,
                      .doc = "steps of the ramp",
                      .whole = true},
                     {.name = "smooth",
                      .value = 0.98,
                      .low = 0,
                      .high = 0.999,
                      .doc = "weight of the past in the smoothed loss"}},
      .run = &RunRangeTest};
}

}  // namespace kudari::lab
