// L1, L2 in the gradient and decoupled decay with Adam, for weights with large and small gradients.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <numeric>
#include <random>

#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"

namespace kudari::lab {
namespace {

DemoResult RunDecay(const DemoSettings& settings) {
  constexpr size_t kWeights = 100;  // of each size of gradient
  const int64_t steps = settings.Whole("steps");
  const double decay = settings("decay"), lr = settings("lr");
  struct Kind {
    const char *name, *title;
    OptimizerSpec spec;
  };
  std::array kinds = {
      Kind{"L1", "L1: a pull of one size, in the gradient", OptimizerSpec("adam", {{"lr", lr}})},
      Kind{"L2", "L2: a pull by the weight, in the gradient",
           OptimizerSpec("adam", {{"lr", lr}, {"weight_decay", decay}})},
      Kind{"decoupled", "Decoupled (AdamW): beside the gradient",
           OptimizerSpec("adamw", {{"lr", lr}, {"weight_decay", decay}})}};
  kinds[0].spec.l1 = decay;
  DemoResult result;
  std::vector<std::vector<std::string>> rows = {
      {"  decay", "large gradients: weights left", "small gradients: weights left"}};
  result.numbers = {{"kinds", nlohmann::ordered_json::array()}};
  for (const Kind& kind : kinds) {
    // The same noise for each: its mean is zero, so that all that moves the mean weight is decay.
    std::mt19937_64 random(settings.seed());
    std::normal_distribution<double> normal;
    Stepped weights(std::vector<double>(2 * kWeights, 1.0), kind.spec);
    LineChart chart{.title = kind.title, .x_label = "step", .y_label = "weight", .points = false};
    chart.series = {{.label = "large gradients"}, {.label = "small gradients"}};
    const auto note = [&](int64_t step) {
      const std::vector<double> w = weights.weights();
      for (size_t half = 0; half < 2; ++half) {
        const auto from = w.begin() + static_cast<std::ptrdiff_t>(half * kWeights);
        AddPoint(chart.series[half], static_cast<double>(step),
                 std::accumulate(from, from + kWeights, 0.0) / kWeights);
      }
    };
    note(0);
    for (int64_t step = 1; step <= steps; ++step) {
      std::vector<double> gradient(2 * kWeights);
      for (size_t i = 0; i < gradient.size(); ++i) {
        gradient[i] = (i < kWeights ? settings("large") : settings("small")) * normal(random);
      }
      weights.Step(gradient);
      note(step);
    }
    const double large = chart.series[0].y.back(), small = chart.series[1].y.back();
    rows.push_back({fmt::format("  {}", kind.name), fmt::format("{:.3f}", large),
                    fmt::format("{:.3f}", small)});
    result.numbers["kinds"].push_back({{"kind", kind.name}, {"large", large}, {"small", small}});
    result.charts.push_back(std::move(chart));
  }
  const double expected = std::pow(1 - lr * decay, static_cast<double>(steps));
  result.numbers["expected"] = expected;
  result.text = fmt::format(
      "Weights of 1, {} of each kind, whose gradients are noise of size {:g} or {:g}: only decay "
      "moves their mean.\nA pull that is in the gradient is divided by the gradient's size with "
      "it, "
      "so weights with large gradients\nhardly decay. Decoupled decay multiplies all by 1 - lr "
      "decay a step, which leaves {:.3f}.\n\n{}",
      kWeights, settings("large"), settings("small"), expected, TextTable(rows));
  result.svg = ChartsSvg(result.charts, 3);
  result.next = {"kudari demo decay --set decay=0.01", "kudari describe adamw",
                 "kudari demo warmup"};
  return result;
}

}  // namespace

Demo DecayDemo() {
  return {
      .name = "decay",
      .summary =
          "With Adam, a penalty in the gradient hardly decays weights with large "
          "gradients; decoupled decay treats all alike.",
      .source = "overview, 5.3",
      .parameters =
          {{.name = "lr", .value = 0.01, .low = 0, .high = 0.1, .doc = "learning rate"},
           {.name = "decay",
            .value = 0.3,
            .low = 0,
            .high = 10,
            .doc = "coefficient of each of the three"},
           {.name = "large",
            .value = 5,
            .low = 0,
            .high = 1e3,
            .doc = "size of the larger "
                   "gradients"},
           {.name = "small",
            .value = 0.2,
            .low = 0,
            .high = 1e3,
            .doc = "size of the smaller "
                   "ones"},
           {.name = "steps", .value = 300, .low = 1, .high = 2000, .doc = "steps", .whole = true}},
      .run = &RunDecay};
}

}  // namespace kudari::lab
