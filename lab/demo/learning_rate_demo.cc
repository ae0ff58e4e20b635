// What a learning rate does in one dimension: slow, smooth, swinging forever, diverging.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"

namespace kudari::lab {
namespace {

constexpr double kParabolaStart = 10;

double Parabola(double x) { return 2 * x * x; }

// What a learning rate does to 2 x^2, where a step multiplies x by 1 - 4 lr.
std::string RateVerdict(double lr) {
  const double factor = 1 - 4 * lr;
  if (lr == 0) return "does not move";
  if (std::abs(factor) > 1) return "diverges: each jump is longer than the one before";
  if (std::abs(factor) == 1) return "swings forever";
  if (factor < 0) return "jumps from side to side, and arrives";
  return factor > 0.9 ? "slow" : "smooth";
}

DemoResult RunLearningRate(const DemoSettings& settings) {
  const int64_t steps = settings.Whole("steps");
  const std::array rates = {settings("slow"), settings("smooth"), settings("swinging"),
                            settings("diverging")};
  std::vector<std::vector<double>> places;
  for (const double lr : rates) {
    Stepped x({kParabolaStart}, OptimizerSpec("sgd", {{"lr", lr}}));
    std::vector<double>& way = places.emplace_back(x.weights());
    for (int64_t step = 0; step < steps; ++step) {
      x.Step([](const std::vector<double>& w) { return std::vector{4 * w[0]}; });
      way.push_back(x.weights()[0]);
    }
  }

  DemoResult result;
  std::vector<std::vector<std::string>> rows = {
      {"  rate", "x times, each step", fmt::format("x after {}", Counted(steps, "step")), ""}};
  result.numbers = {{"start", kParabolaStart}, {"limit", 0.5}};
  for (size_t k = 0; k < rates.size(); ++k) {
    rows.push_back({fmt::format("  {:g}", rates[k]), fmt::format("{:g}", 1 - 4 * rates[k]),
                    fmt::format("{:.4g}", places[k].back()), RateVerdict(rates[k])});
    result.numbers["runs"].push_back(
        {{"lr", rates[k]}, {"x", places[k]}, {"verdict", RateVerdict(rates[k])}});
    LineChart chart{.title = fmt::format("{:g}: {}", rates[k], RateVerdict(rates[k])),
                    .x_label = "x",
                    .y_label = "loss"};
    double farthest = kParabolaStart;
    Series way{.label = "steps from x = 10"};
    for (const double x : places[k]) {
      farthest = std::max(farthest, std::abs(x));
      AddPoint(way, x, Parabola(x));
    }
    chart.series = {SampledLine("2 x^2", -1.05 * farthest, 1.05 * farthest, 81, &Parabola), way};
    result.charts.push_back(chart);
  }
  result.text = fmt::format(
      "Descent on f(x) = 2 x^2 from x = {:g}: the slope is 4 x, so a step multiplies x by 1 - 4 "
      "times the rate.\nBeyond 2 / 4 = 0.5, 2 divided by the curvature, steps grow.\n\n{}",
      kParabolaStart, TextTable(rows));
  result.svg = ChartsSvg(result.charts, 2);
  result.next = {"kudari demo learning-rate --set diverging=0.6",
                 "kudari landscape bowl --optimizer '{rule = \"sgd\", lr = 0.48}'",
                 "kudari demo stopping"};
  return result;
}

}  // namespace

Demo LearningRateDemo() {
  const auto rate = [](const char* name, double value, const char* doc) {
    return DemoParameter{.name = name, .value = value, .low = 0, .high = 1, .doc = doc};
  };
  return {.name = "learning-rate",
          .summary =
              "A rate that is too small is slow, and one beyond 2 divided by the curvature "
              "diverges.",
          .source = "gradient descent, 5.4.2",
          .parameters = {rate("slow", 0.01, "the first rate"),
                         rate("smooth", 0.1, "the second"),
                         rate("swinging", 0.5, "the third"),
                         rate("diverging", 0.52, "the fourth"),
                         {.name = "steps",
                          .value = 12,
                          .low = 1,
                          .high = 30,
                          .doc = "steps of each run",
                          .whole = true}},
          .run = &RunLearningRate};
}

}  // namespace kudari::lab
