// What a gradient is: the slope of a function, and the way it points.
#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"

namespace kudari::lab {
namespace {

constexpr double kDegreesInRadian = 180 / std::numbers::pi;
constexpr double kDrawnLength = 0.1;  // of an arrow, as a share of the slope

// The direction around a place, in degrees, in which the function rises most on a small circle.
double SteepestDirection(const Surface& surface, Position at) {
  constexpr double kRadius = 1e-4;
  constexpr int kDirections = 36000;
  double best = 0, most = -kInfinity;
  for (int i = 0; i < kDirections; ++i) {
    const double degrees = 360.0 * i / kDirections;
    const double height = surface.loss({at.x + kRadius * std::cos(degrees / kDegreesInRadian),
                                        at.y + kRadius * std::sin(degrees / kDegreesInRadian)});
    if (height > most) {
      most = height;
      best = degrees;
    }
  }
  return best;
}

// The angle between the slope and the contour: a quarter of a turn from the steepest direction the
// function keeps its height, which bisection finds on a small circle.
double ContourAngle(const Surface& surface, Position at, double slope_direction) {
  constexpr double kRadius = 1e-4;
  const double height = surface.loss(at);
  double rising = slope_direction, falling = slope_direction + 180;
  for (int i = 0; i < 60; ++i) {
    const double middle = (rising + falling) / 2;
    const double there = surface.loss({at.x + kRadius * std::cos(middle / kDegreesInRadian),
                                       at.y + kRadius * std::sin(middle / kDegreesInRadian)});
    (there > height ? rising : falling) = middle;
  }
  return rising - slope_direction;
}

DemoResult RunGradient(const DemoSettings& settings) {
  constexpr double kStep = 1e-3;
  const Surface& bowl = FindSurface("bowl");
  const Position at{settings("x"), settings("y")}, slope = bowl.gradient(at);
  const auto along_x = [&](double h) { return bowl.loss({at.x + h, at.y}); };
  const auto along_y = [&](double h) { return bowl.loss({at.x, at.y + h}); };
  const Position difference{(along_x(kStep) - along_x(-kStep)) / (2 * kStep),
                            (along_y(kStep) - along_y(-kStep)) / (2 * kStep)};
  const double length = std::hypot(slope.x, slope.y);
  const double direction = std::atan2(slope.y, slope.x) * kDegreesInRadian;

  // One variable: x^2 at x, whose derivative is 2 x, beside the slopes of chords.
  const auto square = [](double x) { return x * x; };
  std::vector<std::vector<std::string>> rows = {{"  h", "(f(x + h) - f(x)) / h"}};
  nlohmann::ordered_json chords = nlohmann::ordered_json::array();
  for (const double h : {1.0, 0.1, 0.01, 0.001}) {
    const double chord = (square(at.x + h) - square(at.x)) / h;
    rows.push_back({fmt::format("  {:g}", h), fmt::format("{:.6g}", chord)});
    chords.push_back({{"h", h}, {"slope", chord}});
  }

  DemoResult result;
  result.text = fmt::format(
      "One variable: f(x) = x^2 rises by 2 x = {:g} at x = {:g}. Chords come near it:\n{}\n"
      "Two variables: f(x, y) = x^2 + 2 y^2 has the slope [2 x, 4 y] = [{:g}, {:g}] at ({:g}, "
      "{:g}); "
      "central\ndifferences find [{:.6g}, {:.6g}]. ",
      2 * at.x, at.x, TextTable(rows), slope.x, slope.y, at.x, at.y, difference.x, difference.y);
  result.numbers = {{"derivative", 2 * at.x},
                    {"chords", chords},
                    {"slope", {slope.x, slope.y}},
                    {"differences", {difference.x, difference.y}},
                    {"length", length}};
  ContourChart map = ContoursOf(bowl.loss, bowl.low, bowl.high);
  map.title = "The slope stands at a right angle to the contour, and points where it is steepest";
  map.points = {{.x = 0, .y = 0}};
  if (length == 0) {
    result.text += "It is zero: this is the minimum.\n";
  } else {
    const double steepest = SteepestDirection(bowl, at);
    const double angle = ContourAngle(bowl, at, direction);
    result.numbers["steepest_direction"] = steepest;
    result.numbers["angle_to_contour"] = angle;
    result.text += fmt::format(
        "Its length, {:g}, is how steep it is.\nOf all directions the function rises most at "
        "{:.2f} degrees, where the slope points, and keeps its height\nat {:.2f} degrees from "
        "there: along the contour. A step of descent goes the opposite way.\n",
        length, steepest, angle);
    map.arrows = {
        {.label = fmt::format("slope [{:g}, {:g}], a tenth of its length", slope.x, slope.y),
         .from_x = at.x,
         .from_y = at.y,
         .to_x = at.x + kDrawnLength * slope.x,
         .to_y = at.y + kDrawnLength * slope.y}};
  }
  LineChart curves{
      .x_label = "x, with y left out", .y_label = "x^2 and its tangent", .points = false};
  constexpr double kEnd = 4, kTangent = 1.5;
  curves.series = {SampledLine("tangent", at.x - kTangent, at.x + kTangent, 2,
                               [&](double x) { return square(at.x) + 2 * at.x * (x - at.x); }),
                   SampledLine("x^2", -kEnd, kEnd, 81, square)};
  result.charts = {curves};
  result.svg = LandscapeSvg(map, curves, false);
  result.next = {"kudari demo gradient --set x=1 --set y=-2", "kudari demo learning-rate"};
  return result;
}

}  // namespace

Demo GradientDemo() {
  return {.name = "gradient",
          .summary =
              "The slope of a function points where it rises fastest, at a right angle to "
              "the contour.",
          .source = "gradient descent, 5.3",
          .parameters = {{.name = "x", .value = 3, .low = -3.3, .high = 3.3, .doc = "place"},
                         {.name = "y", .value = 2, .low = -2.1, .high = 2.1, .doc = "place"}},
          .run = &RunGradient};
}

}  // namespace kudari::lab
