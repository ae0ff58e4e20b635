// Momentum and Nesterov's momentum in a ravine, and how they depend on beta.
#include <fmt/format.h>

#include <array>

#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"
#include "lab/landscape/descent.h"

namespace kudari::lab {
namespace {

constexpr double kRest = 0.01;  // of the first loss; below it a run has arrived

OptimizerSpec MomentumSpec(const std::string& rule, double lr, double beta) {
  OptimizerSpec spec(rule, {{"lr", lr}});
  if (rule != "sgd") spec.options.emplace("momentum", beta);
  return spec;
}

// The first step after which a run stays below kRest of its first loss; as many as it has if never.
size_t ArrivalOf(const Descent& descent) {
  size_t step = descent.losses.size() - 1;
  while (step > 0 && descent.losses[step - 1] < kRest * descent.losses.front()) --step;
  return step;
}

DemoResult RunMomentum(const DemoSettings& settings) {
  constexpr int64_t kSteps = 1000, kDrawn = 120;
  const Surface& ravine = FindSurface("ravine");
  const double lr = settings("lr"), beta = settings("beta");
  ContourChart map = ContoursOf(ravine.loss, ravine.low, {-ravine.low.x, ravine.high.y});
  map.title = "Momentum sums what steps agree on; Nesterov's form looks ahead";
  map.points = {{.x = 0, .y = 0}};
  map.equal_axes = false;
  LineChart curves{.x_label = "step", .y_label = "loss", .log_y = true, .points = false};
  DemoResult result;
  std::vector<std::vector<std::string>> rows = {{"  rule", "down by 99 % at", "end"}};
  result.numbers = {{"runs", nlohmann::ordered_json::array()},
                    {"arrivals", nlohmann::ordered_json::array()}};
  for (const char* const rule : {"sgd", "momentum", "nesterov"}) {
    const Descent run = Descend(ravine, MomentumSpec(rule, lr, beta), {.steps = kSteps});
    const Position end = run.places.back();
    rows.push_back({fmt::format("  {}", rule), fmt::format("step {}", ArrivalOf(run)),
                    fmt::format("({:.2g}, {:.2g})", end.x, end.y)});
    ChartPath path{.label = rule};
    Series curve{.label = rule};
    for (size_t step = 0; step <= kDrawn && step < run.places.size(); ++step) {
      path.x.push_back(run.places[step].x);
      path.y.push_back(run.places[step].y);
      AddPoint(curve, static_cast<double>(step), run.losses[step]);
    }
    result.numbers["runs"].push_back(
        {{"rule", rule}, {"arrival", ArrivalOf(run)}, {"x", path.x}, {"y", path.y}});
    map.paths.push_back(std::move(path));
    curves.series.push_back(std::move(curve));
  }

  LineChart betas{.title = "Steps until the loss stays below 1 % of the first",
                  .x_label = "beta",
                  .y_label = "steps",
                  .log_y = true};
  std::vector<std::vector<std::string>> table = {{"  beta", "momentum", "nesterov"}};
  for (const double b : {0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99}) {
    table.push_back({fmt::format("  {:g}", b)});
    result.numbers["arrivals"].push_back({{"beta", b}});
    size_t index = 0;
    for (const char* const rule : {"momentum", "nesterov"}) {
      const size_t arrival =
          ArrivalOf(Descend(ravine, MomentumSpec(rule, lr, b), {.steps = kSteps}));
      table.back().push_back(fmt::format("{}", arrival));
      result.numbers["arrivals"].back()[rule] = arrival;
      if (betas.series.size() <= index) betas.series.push_back({.label = rule});
      AddPoint(betas.series[index++], b, static_cast<double>(arrival));
    }
  }
  result.charts = {curves, betas};
  result.text = fmt::format(
      "{} from ({:g}, {:g}), learning rate {:g}, beta {:g}:\n\n{}\nThe larger beta, the longer the "
      "memory: too small is slow, too large overshoots and swings back.\nSteps until the loss "
      "stays below 1 % of the first:\n\n{}",
      ravine.formula, ravine.start.x, ravine.start.y, lr, beta, TextTable(rows), TextTable(table));
  result.svg = StackedSvg({LandscapeSvg(map, curves, false), PanelsSvg({betas})});
  result.next = {"kudari demo momentum --set beta=0.97",
                 "kudari landscape ravine --optimizers sgd,momentum,nesterov --html ravine.html",
                 "kudari demo adagrad"};
  return result;
}

}  // namespace

Demo MomentumDemo() {
  return {.name = "momentum",
          .summary =
              "Momentum gathers speed along a ravine where single steps go from side to "
              "side.",
          .source = "gradient descent, 5.7; overview, 3",
          .parameters =
              {{.name = "lr", .value = 0.02, .low = 1e-4, .high = 0.04, .doc = "learning rate"},
               {.name = "beta",
                .value = 0.9,
                .low = 0,
                .high = 0.999,
                .doc = "momentum of the runs that are drawn"}},
          .run = &RunMomentum};
}

}  // namespace kudari::lab
