// Three rules that end a descent, on one run.
#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"

namespace kudari::lab {
namespace {

// A rule, and the first step after which it ends the run.
struct StoppingRule {
  std::string label;
  std::optional<size_t> stop = std::nullopt;
};

DemoResult RunStopping(const DemoSettings& settings) {
  constexpr int64_t kLongest = 600;
  const Surface& ravine = FindSurface("ravine");
  OptimizerSpec spec("sgd", {{"lr", settings("lr")}});
  spec.measure_norm = true;
  Stepped place({ravine.start.x, ravine.start.y}, spec);
  const auto here = [&] { return Position{place.weights()[0], place.weights()[1]}; };
  std::vector<Position> places = {here()};
  std::vector<double> losses = {ravine.loss(here())}, norms;
  for (int64_t step = 0; step < kLongest; ++step) {
    norms.push_back(place
                        .Step([&](const std::vector<double>& w) {
                          const Position slope = ravine.gradient({w[0], w[1]});
                          return std::vector{slope.x, slope.y};
                        })
                        .grad_norm);
    places.push_back(here());
    losses.push_back(ravine.loss(here()));
  }

  StoppingRule most{fmt::format("{} steps", settings.Whole("steps")),
                    static_cast<size_t>(settings.Whole("steps"))};
  StoppingRule norm{fmt::format("norm below {:g}", settings("norm"))};
  StoppingRule change{fmt::format("change below {:g}", settings("change"))};
  Series loss{.label = ""}, slope{.label = ""}, changes{.label = ""};
  for (size_t step = 0; step < norms.size(); ++step) {
    const double changed = std::abs(losses[step + 1] - losses[step]);
    AddPoint(loss, static_cast<double>(step), losses[step]);
    AddPoint(slope, static_cast<double>(step), norms[step]);
    AddPoint(changes, static_cast<double>(step + 1), changed);
    // The norm is that of the gradient before the step; the change is known after it.
    if (!norm.stop && norms[step] < settings("norm")) norm.stop = step;
    if (!change.stop && changed < settings("change")) change.stop = step + 1;
  }
  const auto panel = [](const char* label, Series series) {
    return LineChart{.x_label = "step",
                     .y_label = label,
                     .log_y = true,
                     .points = false,
                     .series = {std::move(series)}};
  };
  DemoResult result;
  result.charts = {panel("loss", loss), panel("norm of the gradient", slope),
                   panel("change of the loss", changes)};
  result.charts[0].title = "Three rules end one run at different steps";
  std::vector<std::vector<std::string>> rows = {
      {"  rule", "stops at step", "loss left to gain", "distance from the minimum"}};
  result.numbers = {{"start", losses.front()}, {"rules", nlohmann::ordered_json::array()}};
  for (const StoppingRule& rule : {most, norm, change}) {
    if (!rule.stop) {
      rows.push_back({"  " + rule.label, fmt::format("not in {}", kLongest), "-", "-"});
      result.numbers["rules"].push_back({{"rule", rule.label}, {"step", nullptr}});
      continue;
    }
    const size_t step = *rule.stop;
    const double distance = std::hypot(places[step].x, places[step].y);
    rows.push_back({"  " + rule.label, fmt::format("{}", step), fmt::format("{:.3g}", losses[step]),
                    fmt::format("{:.3g}", distance)});
    result.numbers["rules"].push_back(
        {{"rule", rule.label}, {"step", step}, {"left", losses[step]}, {"distance", distance}});
    result.charts[0].marks.push_back({.label = fmt::format("{}: {}", step, rule.label),
                                      .from = static_cast<double>(step),
                                      .to = static_cast<double>(step)});
  }
  result.text = fmt::format(
      "Descent on {} from ({:g}, {:g}), where the loss is {:g}.\nA small change of the loss does "
      "not mean that little is left: along the ravine each step is short.\n\n{}",
      ravine.formula, ravine.start.x, ravine.start.y, losses.front(), TextTable(rows));
  result.svg = PanelsSvg(result.charts);
  result.next = {"kudari demo stopping --set lr=0.002",
                 "kudari landscape ravine --optimizers sgd --steps 600",
                 "kudari demo descent-kinds"};
  return result;
}

}  // namespace

Demo StoppingDemo() {
  return {.name = "stopping",
          .summary =
              "Three rules end a descent: a number of steps, a small gradient, a small "
              "change of the loss.",
          .source = "gradient descent, 5.4.3",
          .parameters =
              {{.name = "lr", .value = 0.02, .low = 1e-5, .high = 0.04, .doc = "learning rate"},
               {.name = "steps",
                .value = 100,
                .low = 1,
                .high = 600,
                .doc = "the first rule: most steps",
                .whole = true},
               {.name = "norm",
                .value = 0.1,
                .low = 1e-6,
                .high = 100,
                .doc = "the second: stop when the gradient's norm is smaller"},
               {.name = "change",
                .value = 1e-3,
                .low = 1e-9,
                .high = 100,
                .doc = "the third: stop when the loss changes by less"}},
          .run = &RunStopping};
}

}  // namespace kudari::lab
