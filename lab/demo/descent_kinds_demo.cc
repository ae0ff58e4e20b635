// Batch, stochastic and mini-batch descent on one linear regression.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>

#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"

namespace kudari::lab {
namespace {

// Points near a line, which w x + b is fitted to by least squares.
struct LineFit {
  std::vector<double> x = {}, y = {};

  // The mean of squares, and its gradient over some of the points.
  double Loss(double w, double b) const {
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) sum += std::pow(w * x[i] + b - y[i], 2);
    return sum / static_cast<double>(x.size());
  }
  std::vector<double> Gradient(const std::vector<double>& wb, std::span<const size_t> at) const {
    std::vector<double> sum(2);
    for (const size_t i : at) {
      const double off = 2 * (wb[0] * x[i] + wb[1] - y[i]) / static_cast<double>(at.size());
      sum[0] += off * x[i];
      sum[1] += off;
    }
    return sum;
  }
  // The least squares, by the normal equations.
  Position Best() const {
    const auto n = static_cast<double>(x.size());
    const double sx = std::accumulate(x.begin(), x.end(), 0.0);
    const double sy = std::accumulate(y.begin(), y.end(), 0.0);
    const double sxx = std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
    const double sxy = std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
    const double w = (n * sxy - sx * sy) / (n * sxx - sx * sx);
    return {w, (sy - w * sx) / n};
  }
};

// A run with batches of one size: where it is, and how far from the best, by samples seen.
struct FitRun {
  std::string label;
  size_t batch;
  ChartPath path = {};
  Series curve = {};
  double end = 0, late = 0;  // distance from the best at the end, and its mean in the last epoch
  size_t steps = 0;
};

void RunFit(const LineFit& fit, double lr, int64_t epochs, uint64_t seed, FitRun& run) {
  const size_t samples = fit.x.size();
  std::mt19937_64 random(seed);
  Stepped wb({0, 0}, OptimizerSpec("sgd", {{"lr", lr}}));
  std::vector<size_t> order(samples);
  std::iota(order.begin(), order.end(), size_t{0});
  const Position best = fit.Best();
  run.path.label = run.curve.label = run.label;
  double late = 0;
  size_t late_steps = 0;
  const auto note = [&](size_t seen) {
    const std::vector<double> at = wb.weights();
    run.path.x.push_back(at[0]);
    run.path.y.push_back(at[1]);
    run.end = std::hypot(at[0] - best.x, at[1] - best.y);
    AddPoint(run.curve, static_cast<double>(seen), run.end);
  };
  note(0);
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    std::ranges::shuffle(order, random);
    for (size_t begin = 0; begin < samples; begin += run.batch) {
      const std::span batch = std::span(order).subspan(begin, std::min(run.batch, samples - begin));
      wb.Step([&](const std::vector<double>& w) { return fit.Gradient(w, batch); });
      note(static_cast<size_t>(epoch) * samples + begin + batch.size());
      ++run.steps;
      if (epoch + 1 == epochs) {
        late += run.end;
        ++late_steps;
      }
    }
  }
  run.late = late / static_cast<double>(late_steps);
}

DemoResult RunDescentKinds(const DemoSettings& settings) {
  const auto samples = static_cast<size_t>(settings.Whole("samples"));
  const auto size = static_cast<size_t>(settings.Whole("batch"));
  if (size > samples) {
    throw UsageError(fmt::format("--set batch = {} is larger than samples = {}", size, samples));
  }
  std::mt19937_64 random(settings.seed());
  std::normal_distribution<double> normal;
  LineFit fit;
  for (size_t i = 0; i < samples; ++i) {
    fit.x.push_back(normal(random));
    fit.y.push_back(2 * fit.x.back() + 1 + settings("noise") * normal(random));
  }
  std::array runs = {FitRun{.label = "batch", .batch = samples},
                     FitRun{.label = "stochastic", .batch = 1},
                     FitRun{.label = fmt::format("mini-batch of {}", size), .batch = size}};
  const Position best = fit.Best();
  DemoResult result;
  ContourChart map =
      ContoursOf([&](Position at) { return fit.Loss(at.x, at.y); }, {-0.5, -0.5}, {3.5, 2.5});
  map.title = "One sample a step is fast and noisy, all of them smooth and slow";
  map.x_label = "w";
  map.y_label = "b";
  map.points = {{.x = best.x, .y = best.y}};
  LineChart curves{.x_label = "samples seen",
                   .y_label = "distance from the best",
                   .log_y = true,
                   .points = false};
  std::vector<std::vector<std::string>> rows = {
      {"  descent", "steps", "distance at the end", "mean of the last epoch"}};
  result.numbers = {{"best", {best.x, best.y}}, {"start", std::hypot(best.x, best.y)}};
  for (FitRun& run : runs) {
    RunFit(fit, settings("lr"), settings.Whole("epochs"), settings.seed(), run);
    rows.push_back({"  " + run.label, fmt::format("{}", run.steps), fmt::format("{:.3g}", run.end),
                    fmt::format("{:.3g}", run.late)});
    result.numbers["runs"].push_back({{"label", run.label},
                                      {"batch", run.batch},
                                      {"steps", run.steps},
                                      {"distance", run.end},
                                      {"late", run.late},
                                      {"w", run.path.x},
                                      {"b", run.path.y}});
    map.paths.push_back(run.path);
    curves.series.push_back(run.curve);
  }
  result.charts = {curves};
  result.text = fmt::format(
      "y = w x + b is fitted to {} points near y = 2 x + 1. Least squares are at w = {:.4g}, b = "
      "{:.4g}.\nEach descent sees every sample {} times, with learning rate {:g}.\n\n{}"
      "One sample a step soon comes near and then keeps swinging; a small batch does both well.\n",
      samples, best.x, best.y, settings.Whole("epochs"), settings("lr"), TextTable(rows));
  result.svg = LandscapeSvg(map, curves, false);
  result.next = {"kudari demo descent-kinds --set lr=0.01 --set epochs=40",
                 "kudari demo accumulation", "kudari demo momentum"};
  return result;
}

}  // namespace

Demo DescentKindsDemo() {
  const auto whole = [](const char* name, double value, double low, double high, const char* doc) {
    return DemoParameter{name, value, low, high, doc, true};
  };
  return {.name = "descent-kinds",
          .summary =
              "Batch, stochastic and mini-batch descent take different ways to the same "
              "least squares.",
          .source = "gradient descent, 5.5",
          .parameters = {{.name = "lr", .value = 0.05, .low = 0, .high = 1, .doc = "learning rate"},
                         whole("samples", 64, 4, 500, "points"),
                         whole("batch", 8, 1, 500, "samples of a mini-batch, at most all"),
                         whole("epochs", 10, 1, 100, "how often each sample is seen"),
                         {.name = "noise",
                          .value = 1,
                          .low = 0,
                          .high = 10,
                          .doc = "standard deviation of the points around the line"}},
          .run = &RunDescentKinds};
}

}  // namespace kudari::lab
