// Exercise 8.1: SGD and SAM from many starts, and how sharp the minima are where they end.
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"
#include "lab/landscape/descent.h"

namespace kudari::lab {
namespace {

DemoResult RunSharpMinima(const DemoSettings& settings) {
  const Surface& valleys = FindSurface("valleys");
  const int64_t starts = settings.Whole("starts"), steps = settings.Whole("steps");
  OptimizerSpec sgd("sgd", {{"lr", settings("lr")}}), sam = sgd;
  sam.source = "sam";
  // A radius that falls to zero lets a run end in a minimum rather than near it.
  sam.sharpness = {.rho = settings("rho") * Linear(steps / 2)};
  struct Kind {
    const char* label;
    const OptimizerSpec* spec;
  };
  const std::array kinds = {Kind{"SGD", &sgd}, Kind{"SAM", &sam}};
  DemoResult result;
  LineChart ends{
      .title =
          "Where runs end by where they start: x = 1 is the narrow valley, x = -1 the wide one",
      .x_label = "x at the start",
      .y_label = "x at the end"};
  LineChart curvatures{
      .x_label = "x at the start", .y_label = "curvature at the end", .log_y = true};
  std::vector<std::vector<std::string>> rows = {
      {"  optimiser", "in the narrow valley", "in the wide valley", "mean curvature at the end"}};
  result.numbers = {{"runs", nlohmann::ordered_json::array()}};
  for (const Kind& kind : kinds) {
    Series& end = ends.series.emplace_back(Series{.label = kind.label});
    Series& sharpness = curvatures.series.emplace_back(Series{.label = kind.label});
    int64_t narrow = 0;
    double sum = 0;
    for (int64_t i = 0; i < starts; ++i) {
      const double x = valleys.low.x + (valleys.high.x - valleys.low.x) *
                                           (static_cast<double>(i) + 0.5) /
                                           static_cast<double>(starts);
      const Descent run = Descend(valleys, *kind.spec,
                                  {.start = Position{x, settings("y")},
                                   .steps = steps,
                                   .noise = settings("noise"),
                                   .seed = static_cast<int64_t>(settings.seed()) + i});
      const Position at = run.places.back();
      const double curvature = Curvature(valleys, at).x;
      AddPoint(end, x, at.x);
      AddPoint(sharpness, x, curvature);
      narrow += at.x > 0.5 ? 1 : 0;
      sum += curvature / static_cast<double>(starts);
    }
    rows.push_back({fmt::format("  {}", kind.label), fmt::format("{}", narrow),
                    fmt::format("{}", starts - narrow), fmt::format("{:.3g}", sum)});
    result.numbers["runs"].push_back({{"optimiser", kind.label},
                                      {"starts", end.x},
                                      {"ends", end.y},
                                      {"curvatures", sharpness.y},
                                      {"narrow", narrow},
                                      {"mean_curvature", sum}});
  }
  result.charts = {ends, curvatures};
  result.text = fmt::format(
      "Two valleys of one depth: at x = 1 the curvature is {:.3g}, at x = -1 it is {:.3g}.\nFrom "
      "{} "
      "starts, {} of each optimiser with learning rate {:g}; SAM's rho falls from {:g} to 0:\n\n{}",
      Curvature(valleys, valleys.minima[1]).x, Curvature(valleys, valleys.minima[0]).x, starts,
      Counted(steps, "step"), settings("lr"), settings("rho"), TextTable(rows));
  result.text +=
      "At rates near 2 divided by its curvature SGD can just stay in the narrow valley, and SAM, "
      "whose "
      "slopes there\nare longer, cannot; at smaller rates both stay.\n";
  result.svg = PanelsSvg(result.charts);
  result.next = {"kudari demo sharp-minima --set lr=0.01",
                 "kudari landscape valleys --optimizers sgd,adam", "kudari demo looksam"};
  return result;
}

}  // namespace

Demo SharpMinimaDemo() {
  return {.name = "sharp-minima",
          .summary =
              "From many starts, SGD ends in the valley that is nearest and SAM in the one "
              "that is wide.",
          .source = "advanced techniques, exercise 8.1",
          .parameters =
              {{.name = "rho", .value = 0.1, .low = 0, .high = 5, .doc = "SAM's first radius"},
               {.name = "lr", .value = 0.02, .low = 1e-4, .high = 0.02, .doc = "learning rate"},
               {.name = "noise",
                .value = 0,
                .low = 0,
                .high = 100,
                .doc = "standard deviation of the noise of each slope"},
               {.name = "y", .value = 0.5, .low = -1.5, .high = 1.5, .doc = "y at every start"},
               {.name = "starts",
                .value = 40,
                .low = 2,
                .high = 200,
                .doc = "starts, evenly spaced along x",
                .whole = true},
               {.name = "steps",
                .value = 400,
                .low = 10,
                .high = 1000,
                .doc = "steps of each run",
                .whole = true}},
          .run = &RunSharpMinima};
}

}  // namespace kudari::lab
