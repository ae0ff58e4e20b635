// The two steps of SAM on contours, beside the step of SGD.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"
#include "lab/demo/vectors.h"

namespace kudari::lab {
namespace {

// The highest place on a circle around a place, by trying many.
Position HighestOnCircle(const Surface& surface, Position centre, double radius) {
  constexpr int kDirections = 3600;
  Position best = centre;
  for (int i = 0; i < kDirections; ++i) {
    const double angle = 2 * std::numbers::pi * i / kDirections;
    const Position at{centre.x + radius * std::cos(angle), centre.y + radius * std::sin(angle)};
    if (surface.loss(at) > surface.loss(best)) best = at;
  }
  return best;
}

DemoResult RunSam(const DemoSettings& settings) {
  const Surface& surface = FindSurface("rosenbrock");
  const Position start{settings("x"), settings("y")};
  const double rho = settings("rho");
  OptimizerSpec sgd("sgd", {{"lr", settings("lr")}}), sam = sgd;
  sam.source = "sam";
  sam.sharpness = {.rho = rho};
  // Where the gradients of a step were asked for, and what they are.
  std::vector<std::vector<double>> places, slopes;
  const auto step = [&](const OptimizerSpec& spec) {
    places.clear();
    slopes.clear();
    Stepped w({start.x, start.y}, spec);
    w.Step([&](const std::vector<double>& at) {
      const Position slope = surface.gradient({at[0], at[1]});
      places.push_back(at);
      slopes.push_back({slope.x, slope.y});
      return slopes.back();
    });
    return Position{w.weights()[0], w.weights()[1]};
  };
  const Position plain = step(sgd), sharp = step(sam);
  const Position worst{places.back()[0], places.back()[1]};
  const Position highest = HighestOnCircle(surface, start, rho);
  const double turned =
      std::acos(std::clamp(Cosine(slopes[0], slopes[1]), -1.0, 1.0)) * 180 / std::numbers::pi;

  DemoResult result;
  result.numbers = {{"start", {start.x, start.y}},
                    {"slope", slopes[0]},
                    {"worst", {worst.x, worst.y}},
                    {"slope_there", slopes[1]},
                    {"highest", {highest.x, highest.y}},
                    {"sgd", {plain.x, plain.y}},
                    {"sam", {sharp.x, sharp.y}},
                    {"turned", turned},
                    {"losses",
                     {{"start", surface.loss(start)},
                      {"worst", surface.loss(worst)},
                      {"highest", surface.loss(highest)},
                      {"sgd", surface.loss(plain)},
                      {"sam", surface.loss(sharp)}}}};
  const auto row = [&](const char* name, Position at) {
    return std::vector{std::string("  ") + name, fmt::format("({:.3f}, {:.3f})", at.x, at.y),
                       fmt::format("{:.4g}", surface.loss(at))};
  };
  result.text = fmt::format(
      "{} at ({:g}, {:g}), rho {:g}, learning rate {:g}.\nSAM goes uphill by rho, takes the slope "
      "there, and steps from where it was. The slope at the worst place is\nturned by {:.1f} "
      "degrees and {:.2f} times as long.\n\n{}",
      surface.formula, start.x, start.y, rho, settings("lr"), turned,
      Norm(slopes[1]) / Norm(slopes[0]),
      TextTable({{"  place", "", "loss"},
                 row("start", start),
                 row("SAM's worst place", worst),
                 row("the highest within rho", highest),
                 row("after SGD's step", plain),
                 row("after SAM's step", sharp)}));
  const double reach = 1.25 * std::max({rho, std::hypot(plain.x - start.x, plain.y - start.y),
                                        std::hypot(sharp.x - start.x, sharp.y - start.y)});
  ContourChart map = ContoursOf(surface.loss, {start.x - reach, start.y - reach},
                                {start.x + reach, start.y + reach});
  map.title = "SAM takes the slope of the worst place nearby";
  const auto arrow = [&](const char* label, Position to) {
    map.arrows.push_back({label, start.x, start.y, to.x, to.y});
  };
  arrow("up to the worst place within rho", worst);
  arrow("SGD's step", plain);
  arrow("SAM's step", sharp);
  map.points = {{.label = "w", .x = start.x, .y = start.y}};
  result.svg = ContourSvg(map);
  result.next = {"kudari demo sam --set rho=0.05", "kudari demo sharp-minima",
                 "kudari demo looksam"};
  return result;
}

}  // namespace

Demo SamDemo() {
  return {.name = "sam",
          .summary =
              "SAM goes up to the worst place nearby, takes the slope there, and steps from "
              "where it was.",
          .source = "advanced techniques, 2",
          .parameters =
              {{.name = "rho",
                .value = 0.3,
                .low = 1e-3,
                .high = 2,
                .doc = "distance of the worst place"},
               {.name = "lr", .value = 0.0015, .low = 1e-6, .high = 0.1, .doc = "learning rate"},
               {.name = "x", .value = -0.5, .low = -2, .high = 2, .doc = "place"},
               {.name = "y", .value = 1, .low = -2, .high = 2, .doc = "place"}},
          .run = &RunSam};
}

}  // namespace kudari::lab
