// Why a warm-up: Adam's rates vary most in its first steps, when they rest on few gradients.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <random>

#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"

namespace kudari::lab {
namespace {

// The mean of numbers and the standard deviation around it.
struct Spread {
  double mean = 0, deviation = 0;
};

Spread SpreadOf(const std::vector<double>& numbers) {
  Spread s;
  const auto n = static_cast<double>(numbers.size());
  for (const double x : numbers) s.mean += x / n;
  for (const double x : numbers) s.deviation += (x - s.mean) * (x - s.mean) / n;
  s.deviation = std::sqrt(s.deviation);
  // Rounding alone.
  if (s.deviation < 1e-6 * std::abs(s.mean)) s.deviation = 0;
  return s;
}

DemoResult RunWarmup(const DemoSettings& settings) {
  const int64_t steps = settings.Whole("steps");
  const auto weights = static_cast<size_t>(settings.Whole("weights"));
  const Schedule warm = Warmup(settings.Whole("warmup"));
  // Without a first moment, a step divided by its gradient is the rate of its weight.
  const auto options = [&](const Schedule& lr) {
    return Options{{"lr", lr}, {"beta1", 0.0}, {"beta2", settings("beta2")}, {"eps", 0.0}};
  };
  struct Rule {
    const char* label;
    OptimizerSpec spec;
  };
  const std::array rules = {Rule{"Adam", OptimizerSpec("adam", options(1.0))},
                            Rule{"Adam with a warm-up", OptimizerSpec("adam", options(warm))},
                            Rule{"RAdam", OptimizerSpec("radam", options(1.0))}};
  LineChart chart{.title = "Adam's rates differ most between weights in the first steps",
                  .x_label = "step",
                  .y_label = "standard deviation of the rate over weights",
                  .log_x = true,
                  .log_y = true,
                  .points = false};
  LineChart means{
      .x_label = "step", .y_label = "mean rate", .log_x = true, .log_y = true, .points = false};
  DemoResult result;
  result.numbers = {{"runs", nlohmann::ordered_json::array()}};
  std::vector<std::vector<std::string>> rows = {{"  rule"}};
  const std::array<int64_t, 5> shown = {1, 2, 10, 50, steps};
  for (const int64_t step : shown) rows[0].push_back(fmt::format("step {}", step));
  for (const Rule& rule : rules) {
    std::mt19937_64 random(settings.seed());
    std::normal_distribution<double> normal;
    Stepped all(std::vector<double>(weights), rule.spec);
    Series spread{.label = rule.label}, mean{.label = rule.label};
    for (int64_t step = 1; step <= steps; ++step) {
      std::vector<double> gradient(weights);
      for (double& g : gradient) g = normal(random);
      std::vector<double> rates = all.StepFromZero(gradient);
      for (size_t i = 0; i < weights; ++i) rates[i] /= -gradient[i];
      const Spread s = SpreadOf(rates);
      AddPoint(spread, static_cast<double>(step), s.deviation);
      AddPoint(mean, static_cast<double>(step), s.mean);
    }
    rows.push_back({fmt::format("  {}", rule.label)});
    for (const int64_t step : shown) {
      rows.back().push_back(
          step > steps ? "-" : fmt::format("{:.3g}", spread.y[static_cast<size_t>(step - 1)]));
    }
    result.numbers["runs"].push_back(
        {{"rule", rule.label}, {"deviations", spread.y}, {"means", mean.y}});
    chart.series.push_back(std::move(spread));
    means.series.push_back(std::move(mean));
  }
  result.charts = {chart, means};
  result.text = fmt::format(
      "{} weights have gradients that are normal random numbers, so the right rate is 1 for all. "
      "Adam's rate is\n1 / sqrt(v), and v is at first the square of one gradient, which may be "
      "anything. A warm-up multiplies the\nrates while they differ; RAdam takes none of them for "
      "its first steps, and then a part that it computes\nfrom beta2.\n\nstandard deviation of the "
      "rate over the weights\n{}",
      weights, TextTable(rows));
  result.svg = PanelsSvg(result.charts);
  result.next = {"kudari demo warmup --set beta2=0.9",
                 "kudari schedule \"warmup(10%) * cosine(end)\" --steps 1000",
                 "kudari demo clipping"};
  return result;
}

}  // namespace

Demo WarmupDemo() {
  return {
      .name = "warmup",
      .summary =
          "Adam's rates rest on few gradients at first and vary widely, which a warm-up "
          "or RAdam keeps small.",
      .source = "overview, 6.2",
      .parameters =
          {{.name = "beta2",
            .value = 0.999,
            .low = 0.5,
            .high = 0.9999,
            .doc = "decay of the mean square"},
           {.name = "warmup",
            .value = 100,
            .low = 1,
            .high = 1000,
            .doc = "steps of the warm-up",
            .whole = true},
           {.name = "weights",
            .value = 2000,
            .low = 10,
            .high = 20000,
            .doc = "number of weights",
            .whole = true},
           {.name = "steps", .value = 300, .low = 1, .high = 1000, .doc = "steps", .whole = true}},
      .run = &RunWarmup};
}

}  // namespace kudari::lab
