// Adagrad's rate only falls; those of RMSprop and Adam follow the gradient's size.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <random>

#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"

namespace kudari::lab {
namespace {

DemoResult RunAdagrad(const DemoSettings& settings) {
  const int64_t steps = settings.Whole("steps"), change = steps / 2;
  const double lr = settings("lr");
  struct Rule {
    const char* label;
    OptimizerSpec spec;
  };
  // Without a first moment, a step divided by its gradient is the rate.
  const std::array rules = {
      Rule{"Adagrad", OptimizerSpec("adagrad", {{"lr", lr}})},
      Rule{"RMSprop", OptimizerSpec("rmsprop", {{"lr", lr}, {"alpha", settings("alpha")}})},
      Rule{"Adam",
           OptimizerSpec("adam", {{"lr", lr}, {"beta1", 0.0}, {"beta2", settings("beta2")}})}};
  std::mt19937_64 random(settings.seed());
  std::normal_distribution<double> normal;
  std::vector<double> gradients;
  for (int64_t step = 0; step < steps; ++step) {
    const double size = step < change ? 1 : settings("later");
    gradients.push_back(size * (1 + settings("noise") * normal(random)));
  }
  LineChart chart{.title = fmt::format("From step {} on gradients are {:g} times as large; "
                                       "Adagrad's rate only falls",
                                       change, settings("later")),
                  .x_label = "step",
                  .y_label = "rate: step / gradient",
                  .log_y = true,
                  .points = false};
  DemoResult result;
  result.numbers = {{"gradients", gradients}, {"runs", nlohmann::ordered_json::array()}};
  std::vector<std::vector<std::string>> rows = {
      {"  rule", "first step", fmt::format("step {}", change), fmt::format("step {}", steps)}};
  for (const Rule& rule : rules) {
    Series& rates = chart.series.emplace_back(Series{.label = rule.label});
    Stepped weight({0}, rule.spec);
    for (const double g : gradients) {
      AddPoint(rates, static_cast<double>(rates.x.size() + 1), -weight.StepFromZero({g})[0] / g);
    }
    const auto at = [&](int64_t step) {
      return fmt::format("{:.3g}", rates.y[static_cast<size_t>(step - 1)]);
    };
    rows.push_back({fmt::format("  {}", rule.label), at(1), at(change), at(steps)});
    result.numbers["runs"].push_back({{"rule", rule.label}, {"rates", rates.y}});
  }
  result.charts = {chart};
  result.text = fmt::format(
      "All three divide by the size of past gradients, so the rate is what a step is divided by "
      "its gradient.\nAdagrad sums all squares, so its rate falls as lr / sqrt(step) and never "
      "rises. RMSprop and Adam take a\nmean that forgets, Adam's with a correction for its first "
      "steps.\n\n{}",
      TextTable(rows));
  result.svg = PanelsSvg({chart});
  result.next = {"kudari demo adagrad --set later=10",
                 "kudari landscape beale --optimizers adagrad,rmsprop,adam", "kudari demo decay"};
  return result;
}

}  // namespace

Demo AdagradDemo() {
  return {
      .name = "adagrad",
      .summary =
          "Adagrad's rate fades forever, while RMSprop's and Adam's follow the size of "
          "the gradient.",
      .source = "overview, 4",
      .parameters =
          {{.name = "lr", .value = 0.1, .low = 1e-6, .high = 10, .doc = "step size"},
           {.name = "alpha",
            .value = 0.9,
            .low = 0,
            .high = 0.9999,
            .doc = "decay of RMSprop's mean square"},
           {.name = "beta2",
            .value = 0.99,
            .low = 0,
            .high = 0.9999,
            .doc = "decay of Adam's mean square"},
           {.name = "later",
            .value = 0.1,
            .low = 1e-3,
            .high = 1e3,
            .doc = "size of the gradients in the second half of the steps"},
           {.name = "noise",
            .value = 0.2,
            .low = 0,
            .high = 0.25,
            .doc = "their standard deviation, as a share of their size"},
           {.name = "steps", .value = 400, .low = 2, .high = 2000, .doc = "steps", .whole = true}},
      .run = &RunAdagrad};
}

}  // namespace kudari::lab
