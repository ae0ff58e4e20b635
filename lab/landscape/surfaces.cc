#include "lab/landscape/surfaces.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "kudari/messages.h"
#include "lab/console/usage_error.h"

namespace kudari::lab {
namespace {

double Square(double x) { return x * x; }

double Bowl(Position w) { return Square(w.x) + 2 * Square(w.y); }
Position BowlGradient(Position w) { return {2 * w.x, 4 * w.y}; }

double Ravine(Position w) { return (Square(w.x) + 50 * Square(w.y)) / 2; }
Position RavineGradient(Position w) { return {w.x, 50 * w.y}; }

double Rosenbrock(Position w) { return Square(1 - w.x) + 100 * Square(w.y - Square(w.x)); }
Position RosenbrockGradient(Position w) {
  const double off = w.y - Square(w.x);
  return {-2 * (1 - w.x) - 400 * w.x * off, 200 * off};
}

constexpr std::array kBealeTargets = {1.5, 2.25, 2.625};
double Beale(Position w) {
  double sum = 0, power = 1;
  for (const double target : kBealeTargets) {
    power *= w.y;
    sum += Square(target - w.x * (1 - power));
  }
  return sum;
}
Position BealeGradient(Position w) {
  Position slope;
  double power = 1, exponent = 0;
  for (const double target : kBealeTargets) {
    const double before = power;
    power *= w.y;
    ++exponent;
    const double off = target - w.x * (1 - power);
    slope.x -= 2 * off * (1 - power);
    slope.y += 2 * off * w.x * exponent * before;
  }
  return slope;
}

double Himmelblau(Position w) {
  return Square(Square(w.x) + w.y - 11) + Square(w.x + Square(w.y) - 7);
}
Position HimmelblauGradient(Position w) {
  const double a = Square(w.x) + w.y - 11, b = w.x + Square(w.y) - 7;
  return {4 * w.x * a + 2 * b, 2 * a + 4 * w.y * b};
}

double Sharp(Position w) {
  const auto along = [](double x) { return Square(x - 1) + 10 * Square(std::sin(5 * x)); };
  return along(w.x) + along(w.y);
}
Position SharpGradient(Position w) {
  const auto along = [](double x) { return 2 * (x - 1) + 50 * std::sin(10 * x); };
  return {along(w.x), along(w.y)};
}

double Noisy(Position w) {
  return Square(w.x - 2) + Square(w.y - 2) + std::sin(10 * w.x) * std::sin(10 * w.y) / 2;
}
Position NoisyGradient(Position w) {
  return {2 * (w.x - 2) + 5 * std::cos(10 * w.x) * std::sin(10 * w.y),
          2 * (w.y - 2) + 5 * std::sin(10 * w.x) * std::cos(10 * w.y)};
}

// The negative logarithm of a sum of two Gaussians of one height: curvatures 100 at x = 1 and 25/9
// at x = -1.
struct TwoValleys {
  explicit TwoValleys(double x) : narrow(50 * Square(x - 1)), wide(Square(x + 1) / 0.72) {}
  double Loss() const {
    return std::min(narrow, wide) - std::log1p(std::exp(-std::abs(narrow - wide)));
  }
  double NarrowShare() const { return 1 / (1 + std::exp(narrow - wide)); }

  double narrow, wide;
};
double Valleys(Position w) { return TwoValleys(w.x).Loss() + Square(w.y) / 2; }
Position ValleysGradient(Position w) {
  const double share = TwoValleys(w.x).NarrowShare();
  return {share * 100 * (w.x - 1) + (1 - share) * 2 * (w.x + 1) / 0.72, w.y};
}

double Saddle(Position w) { return Square(w.x) - Square(w.y); }
Position SaddleGradient(Position w) { return {2 * w.x, -2 * w.y}; }

double MonkeySaddle(Position w) { return w.x * (Square(w.x) - 3 * Square(w.y)); }
Position MonkeySaddleGradient(Position w) {
  return {3 * (Square(w.x) - Square(w.y)), -6 * w.x * w.y};
}

// Where the sharp surface is lowest along each axis.
constexpr double kSharpLowest = 1.255614585278972;

const std::vector<Surface>& All() {
  static const std::vector<Surface> all = {
      {.name = "bowl",
       .formula = "x^2 + 2 y^2",
       .shows = "A bowl without surprises: how steps follow the slope.",
       .low = {-4, -3},
       .high = {4, 3},
       .start = {3, 2},
       .minima = {{0, 0}},
       .loss = &Bowl,
       .gradient = &BowlGradient},
      {.name = "ravine",
       .formula = "(x^2 + 50 y^2) / 2",
       .shows = "A ravine 50 times as steep across as along: why momentum exists.",
       .low = {-11, -2.5},
       .high = {3, 2.5},
       .start = {-10, 1},
       .minima = {{0, 0}},
       .log_levels = true,
       .loss = &Ravine,
       .gradient = &RavineGradient},
      {.name = "rosenbrock",
       .formula = "(1 - x)^2 + 100 (y - x^2)^2",
       .shows = "A bent valley, easily found and slowly followed.",
       .low = {-2, -1},
       .high = {2, 3},
       .start = {-1.2, 1},
       .minima = {{1, 1}},
       .log_levels = true,
       .loss = &Rosenbrock,
       .gradient = &RosenbrockGradient},
      {.name = "beale",
       .formula = "(1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2",
       .shows = "Flat around its minimum and steep elsewhere: one learning rate suits neither.",
       .low = {-1, -2},
       .high = {4.5, 2},
       .start = {1, 1.5},
       .minima = {{3, 0.5}},
       .log_levels = true,
       .loss = &Beale,
       .gradient = &BealeGradient},
      {.name = "himmelblau",
       .formula = "(x^2 + y - 11)^2 + (x + y^2 - 7)^2",
       .shows = "Four minima of one depth: where a run ends depends on how it moves.",
       .low = {-5, -5},
       .high = {5, 5},
       .start = {0, 0},
       .minima = {{3, 2},
                  {-2.8051180869, 3.1313125182},
                  {-3.7793102533, -3.2831859913},
                  {3.5844283403, -1.8481265269}},
       .log_levels = true,
       .loss = &Himmelblau,
       .gradient = &HimmelblauGradient},
      {.name = "sharp",
       .formula = "(x - 1)^2 + 10 sin(5 x)^2 + (y - 1)^2 + 10 sin(5 y)^2",
       .shows = "Many valleys, all equally narrow: where a run begins decides where it ends.",
       .low = {-1, -1},
       .high = {3, 3},
       .start = {-0.4, 2.3},
       .minima = {{kSharpLowest, kSharpLowest}},
       .lowest = 0.13120035660636944,
       .loss = &Sharp,
       .gradient = &SharpGradient},
      {.name = "noisy",
       .formula = "(x - 2)^2 + (y - 2)^2 + sin(10 x) sin(10 y) / 2",
       .shows = "A bowl with ripples: averages of weights see the bowl.",
       .low = {-1, -1},
       .high = {5, 5},
       .start = {-0.5, 4},
       .minima = {{1.738362066126041, 2.0404098322723287}, {2.0404098322723287, 1.738362066126041}},
       .lowest = -0.42710051091474294,
       .loss = &Noisy,
       .gradient = &NoisyGradient},
      {.name = "valleys",
       .formula = "-log(exp(-50 (x - 1)^2) + exp(-(x + 1)^2 / 0.72)) + y^2 / 2",
       .shows = "A narrow and a wide valley of one depth: what sharpness-aware steps look for.",
       .low = {-2.5, -1.6},
       .high = {1.8, 1.6},
       .start = {1.5, 1.2},
       .minima = {{-1, 0}, {0.9997849925953395, 0}},
       .lowest = -0.0038607666693094987,
       .log_levels = true,
       .loss = &Valleys,
       .gradient = &ValleysGradient},
      {.name = "saddle",
       .formula = "x^2 - y^2",
       .shows = "A saddle, near which the slope says little.",
       .low = {-2, -2},
       .high = {2, 2},
       .start = {1.5, 0.01},
       .lowest = -4,
       .loss = &Saddle,
       .gradient = &SaddleGradient},
      {.name = "monkey_saddle",
       .formula = "x^3 - 3 x y^2",
       .shows = "A saddle with three ways down, where the curvature is zero, too.",
       .low = {-2, -2},
       .high = {2, 2},
       .start = {1.2, 0.05},
       .lowest = -16,
       .loss = &MonkeySaddle,
       .gradient = &MonkeySaddleGradient},
  };
  return all;
}

}  // namespace

std::span<const Surface> Surfaces() { return All(); }

const Surface& FindSurface(std::string_view name) {
  std::vector<std::string> names;
  for (const Surface& surface : All()) {
    if (surface.name == name) return surface;
    names.emplace_back(surface.name);
  }
  throw UsageError("unknown function " + Quoted(name) + Suggest(name, names));
}

bool IsInside(const Surface& surface, Position at) {
  return at.x >= surface.low.x && at.x <= surface.high.x && at.y >= surface.low.y &&
         at.y <= surface.high.y;
}

Position Curvature(const Surface& surface, Position at) {
  constexpr double kStep = 1e-5;
  const auto slope = [&](double dx, double dy) { return surface.gradient({at.x + dx, at.y + dy}); };
  return {(slope(kStep, 0).x - slope(-kStep, 0).x) / (2 * kStep),
          (slope(0, kStep).y - slope(0, -kStep).y) / (2 * kStep)};
}

HeightGrid GridOf(const std::function<double(Position)>& height, Position low, Position high,
                  size_t columns, size_t rows) {
  const auto middle = [](double from, double to, size_t i, size_t count) {
    return from + (to - from) * (static_cast<double>(i) + 0.5) / static_cast<double>(count);
  };
  HeightGrid grid;
  for (size_t j = 0; j < columns; ++j) grid.x.push_back(middle(low.x, high.x, j, columns));
  for (size_t i = 0; i < rows; ++i) {
    grid.y.push_back(middle(low.y, high.y, i, rows));
    for (const double x : grid.x) grid.height.push_back(height({x, grid.y.back()}));
  }
  return grid;
}

}  // namespace kudari::lab
