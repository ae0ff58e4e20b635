// Where SGD and SAM end on two surfaces, from a grid of starts. Writes a line of CSV for each run:
// what was run, where it began and ended, and how sharp the loss is there.
#include <kudari/kudari.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>

namespace {

using Point = std::array<double, 2>;

struct Surface {
  const char* name;
  double low, high;  // of the starts' coordinates
  double lr;
  double (*loss)(const Point&);
  Point (*gradient)(const Point&);
};

double Square(double x) { return x * x; }

// (x - 1)^2 + 10 sin(5 x)^2 along both axes: many valleys, all as narrow.
double RippleLoss(const Point& w) {
  double loss = 0;
  for (const double x : w) loss += Square(x - 1) + 10 * Square(std::sin(5 * x));
  return loss;
}

Point RippleGradient(const Point& w) {
  const auto of = [](double x) { return 2 * (x - 1) + 50 * std::sin(10 * x); };
  return {of(w[0]), of(w[1])};
}

// A narrow valley of curvature 100 at x = 1 and a wide one of 25/9 at x = -1, equally deep: the
// negative log of two Gaussians' sum; and y^2 / 2.
struct Valleys {
  explicit Valleys(double x) : narrow(50 * Square(x - 1)), wide(Square(x + 1) / 0.72) {}
  double Loss() const {
    return std::min(narrow, wide) - std::log1p(std::exp(-std::abs(narrow - wide)));
  }
  double Narrow() const { return 1 / (1 + std::exp(narrow - wide)); }  // its share

  double narrow, wide;
};

double ValleysLoss(const Point& w) { return Valleys(w[0]).Loss() + Square(w[1]) / 2; }

Point ValleysGradient(const Point& w) {
  const double share = Valleys(w[0]).Narrow();
  return {share * 100 * (w[0] - 1) + (1 - share) * 2 * (w[0] + 1) / 0.72, w[1]};
}

constexpr Surface kSurfaces[] = {{"ripples", -1, 3, 1e-3, &RippleLoss, &RippleGradient},
                                 {"valleys", -3, 3, 5e-3, &ValleysLoss, &ValleysGradient}};

constexpr int kSteps = 1000;
constexpr int kGrid = 20;
constexpr double kBall = 0.05;

// Where steps from `start` end, with gradients to which noise of this deviation is added, the same
// in both passes of a step. rho = 0 is SGD.
Point Descend(const Surface& surface, double rho, double deviation, const Point& start,
              uint64_t seed) {
  std::array<float, 2> w = {static_cast<float>(start[0]), static_cast<float>(start[1])}, dw{};
  kudari::OptimizerSpec spec = kudari::Sgd{};
  spec.options.at("lr") = surface.lr * kudari::Cosine(kSteps);
  if (rho > 0) {
    spec.source = "sam";
    spec.sharpness = {.rho = rho};
  }
  kudari::Optimizer optimizer({{.name = "w", .shape = {2}, .param = w.data(), .grad = dw.data()}},
                              spec);
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, 1);
  for (int step = 0; step < kSteps; ++step) {
    const Point noise = {deviation * normal(random), deviation * normal(random)};
    optimizer.Step([&](kudari::Pass) {
      const Point at = {w[0], w[1]}, gradient = surface.gradient(at);
      dw = {static_cast<float>(gradient[0] + noise[0]), static_cast<float>(gradient[1] + noise[1])};
      return kudari::Evaluation(surface.loss(at));
    });
  }
  return {w[0], w[1]};
}

// The larger eigenvalue of the Hessian, from central differences of the gradient.
double TopCurvature(const Surface& surface, const Point& w) {
  constexpr double kStep = 1e-5;
  double h[2][2];
  for (size_t i = 0; i < 2; ++i) {
    Point up = w, down = w;
    up[i] += kStep;
    down[i] -= kStep;
    const Point above = surface.gradient(up), below = surface.gradient(down);
    for (size_t k = 0; k < 2; ++k) h[i][k] = (above[k] - below[k]) / (2 * kStep);
  }
  return (h[0][0] + h[1][1]) / 2 + std::hypot((h[0][0] - h[1][1]) / 2, (h[0][1] + h[1][0]) / 2);
}

// By how much the loss rises at most on a circle around w.
double Rise(const Surface& surface, const Point& w) {
  constexpr int kAngles = 360;
  double most = -std::numeric_limits<double>::infinity();
  for (int i = 0; i < kAngles; ++i) {
    const double angle = 2 * std::acos(-1.0) * i / kAngles;
    most = std::max(most,
                    surface.loss({w[0] + kBall * std::cos(angle), w[1] + kBall * std::sin(angle)}));
  }
  return most - surface.loss(w);
}

}  // namespace

int main() {
  std::puts("surface,noise,rho,x0,y0,x,y,loss,curvature,rise");
  for (const Surface& surface : kSurfaces) {
    for (const double noise : {0.0, 20.0}) {
      for (const double rho : {0.0, 0.05, 0.1, 0.2, 0.3, 0.5}) {
        for (int i = 0; i < kGrid * kGrid; ++i) {
          const double width = (surface.high - surface.low) / kGrid;
          const int column = i % kGrid, row = i / kGrid;
          const Point start = {surface.low + width * (column + 0.5),
                               surface.low + width * (row + 0.5)};
          const Point end = Descend(surface, rho, noise, start, static_cast<uint64_t>(i));
          std::printf("%s,%g,%g,%g,%g,%.6g,%.6g,%.6g,%.6g,%.6g\n", surface.name, noise, rho,
                      start[0], start[1], end[0], end[1], surface.loss(end),
                      TopCurvature(surface, end), Rise(surface, end));
        }
      }
    }
  }
}
