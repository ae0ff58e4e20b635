// Where SGD and SAM end on two surfaces, from a grid of starts. Writes a line of CSV for each run:
// what was run, where it began and ended, and how sharp the loss is there.
#include <kudari/kudari.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>

#include "lab/landscape/surfaces.h"

namespace {

using kudari::lab::Position;
using kudari::lab::Surface;

// A surface, and the starts and the learning rate of the runs on it.
struct Runs {
  const char* name;
  const char* surface;
  double low, high;  // of the starts' coordinates
  double lr;
};

constexpr Runs kRuns[] = {{"ripples", "sharp", -1, 3, 1e-3}, {"valleys", "valleys", -3, 3, 5e-3}};

constexpr int kSteps = 1000;
constexpr int kGrid = 20;
constexpr double kBall = 0.05;

// Where steps from `start` end, with gradients to which noise of this deviation is added, the same
// in both passes of a step. rho = 0 is SGD.
Position Descend(const Surface& surface, double lr, double rho, double deviation, Position start,
                 uint64_t seed) {
  std::array<float, 2> w = {static_cast<float>(start.x), static_cast<float>(start.y)}, dw{};
  kudari::OptimizerSpec spec = kudari::Sgd{};
  spec.options.at("lr") = lr * kudari::Cosine(kSteps);
  if (rho > 0) {
    spec.source = "sam";
    spec.sharpness = {.rho = rho};
  }
  kudari::Optimizer optimizer({{.name = "w", .shape = {2}, .param = w.data(), .grad = dw.data()}},
                              spec);
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, 1);
  for (int step = 0; step < kSteps; ++step) {
    const Position noise = {deviation * normal(random), deviation * normal(random)};
    optimizer.Step([&](kudari::Pass) {
      const Position at = {w[0], w[1]}, gradient = surface.gradient(at);
      dw = {static_cast<float>(gradient.x + noise.x), static_cast<float>(gradient.y + noise.y)};
      return kudari::Evaluation(surface.loss(at));
    });
  }
  return {w[0], w[1]};
}

// The larger eigenvalue of the Hessian, from central differences of the gradient.
double TopCurvature(const Surface& surface, Position w) {
  constexpr double kStep = 1e-5;
  const auto change = [&](double dx, double dy) {
    const Position up = surface.gradient({w.x + dx, w.y + dy});
    const Position down = surface.gradient({w.x - dx, w.y - dy});
    return Position{(up.x - down.x) / (2 * kStep), (up.y - down.y) / (2 * kStep)};
  };
  const Position x = change(kStep, 0), y = change(0, kStep);
  return (x.x + y.y) / 2 + std::hypot((x.x - y.y) / 2, (x.y + y.x) / 2);
}

// By how much the loss rises at most on a circle around w.
double Rise(const Surface& surface, Position w) {
  constexpr int kAngles = 360;
  double most = -std::numeric_limits<double>::infinity();
  for (int i = 0; i < kAngles; ++i) {
    const double angle = 2 * std::acos(-1.0) * i / kAngles;
    most = std::max(most,
                    surface.loss({w.x + kBall * std::cos(angle), w.y + kBall * std::sin(angle)}));
  }
  return most - surface.loss(w);
}

}  // namespace

int main() {
  std::puts("surface,noise,rho,x0,y0,x,y,loss,curvature,rise");
  for (const Runs& runs : kRuns) {
    const Surface& surface = kudari::lab::FindSurface(runs.surface);
    for (const double noise : {0.0, 20.0}) {
      for (const double rho : {0.0, 0.05, 0.1, 0.2, 0.3, 0.5}) {
        for (int i = 0; i < kGrid * kGrid; ++i) {
          const double width = (runs.high - runs.low) / kGrid;
          const int column = i % kGrid, row = i / kGrid;
          const Position start = {runs.low + width * (column + 0.5),
                                  runs.low + width * (row + 0.5)};
          const Position end =
              Descend(surface, runs.lr, rho, noise, start, static_cast<uint64_t>(i));
          std::printf("%s,%g,%g,%g,%g,%.6g,%.6g,%.6g,%.6g,%.6g\n", runs.name, noise, rho, start.x,
                      start.y, end.x, end.y, surface.loss(end), TopCurvature(surface, end),
                      Rise(surface, end));
        }
      }
    }
  }
}
