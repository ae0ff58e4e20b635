// A recurrent net whose gradient explodes or vanishes with the length of its sequences.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <random>

#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"
#include "lab/demo/vectors.h"

namespace kudari::lab {
namespace {

constexpr size_t kUnits = 8;

// h_t = W h_{t-1}, without an activation, which could only make the gradient smaller; the loss is
// |h_T - target|^2 / 2.
struct Recurrence {
  std::vector<double> start, target;

  // All states from h_0 to h_T.
  std::vector<std::vector<double>> States(const std::vector<double>& w, size_t length) const {
    std::vector<std::vector<double>> states = {start};
    for (size_t t = 0; t < length; ++t) {
      std::vector<double> next(kUnits);
      for (size_t i = 0; i < kUnits; ++i) {
        for (size_t j = 0; j < kUnits; ++j) next[i] += w[i * kUnits + j] * states[t][j];
      }
      states.push_back(std::move(next));
    }
    return states;
  }

  double Loss(const std::vector<double>& w, size_t length) const {
    const std::vector<double> end = States(w, length).back();
    double sum = 0;
    for (size_t i = 0; i < kUnits; ++i) sum += std::pow(end[i] - target[i], 2) / 2;
    return sum;
  }

  // The gradient for W; `first`, if given, becomes that for h_0.
  std::vector<double> Gradient(const std::vector<double>& w, size_t length,
                               std::vector<double>* first = nullptr) const {
    const std::vector<std::vector<double>> states = States(w, length);
    std::vector<double> back(kUnits), gradient(kUnits * kUnits);
    for (size_t i = 0; i < kUnits; ++i) back[i] = states.back()[i] - target[i];
    for (size_t t = length; t-- > 0;) {
      std::vector<double> before(kUnits);
      for (size_t i = 0; i < kUnits; ++i) {
        for (size_t j = 0; j < kUnits; ++j) {
          gradient[i * kUnits + j] += back[i] * states[t][j];
          before[j] += w[i * kUnits + j] * back[i];
        }
      }
      back = std::move(before);
    }
    if (first != nullptr) *first = std::move(back);
    return gradient;
  }
};

// A random rotation: columns made orthogonal one after the other. All its eigenvalues have
// magnitude 1, so that a multiple of it has exactly that spectral radius.
std::vector<double> RandomRotation(std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  std::vector<double> q(kUnits * kUnits);
  for (size_t j = 0; j < kUnits; ++j) {
    std::vector<double> column(kUnits);
    for (double& x : column) x = normal(random);
    for (size_t k = 0; k < j; ++k) {
      double along = 0;
      for (size_t i = 0; i < kUnits; ++i) along += column[i] * q[i * kUnits + k];
      for (size_t i = 0; i < kUnits; ++i) column[i] -= along * q[i * kUnits + k];
    }
    const double length = Norm(column);
    for (size_t i = 0; i < kUnits; ++i) q[i * kUnits + j] = column[i] / length;
  }
  return q;
}

DemoResult RunExplodingGradient(const DemoSettings& settings) {
  const auto longest = static_cast<size_t>(settings.Whole("length"));
  const std::array radii = {settings("small"), 1.0, settings("large")};
  std::mt19937_64 random(settings.seed());
  const std::vector<double> rotation = RandomRotation(random);
  std::normal_distribution<double> normal(0, 1 / std::sqrt(static_cast<double>(kUnits)));
  Recurrence net{std::vector<double>(kUnits), std::vector<double>(kUnits)};
  for (double& x : net.start) x = normal(random);
  for (double& x : net.target) x = normal(random);
  const auto weights = [&](double radius) {
    std::vector<double> w = rotation;
    for (double& x : w) x *= radius;
    return w;
  };

  DemoResult result;
  LineChart norms{.title =
                      "How far a gradient reaches back depends on the weights' largest "
                      "eigenvalue",
                  .x_label = "length of the sequence",
                  .y_label = "norm at the first state / norm at the last",
                  .log_y = true,
                  .points = false};
  result.numbers = {{"runs", nlohmann::ordered_json::array()}};
  std::vector<std::vector<std::string>> rows = {
      {"  spectral radius", fmt::format("reaches the first of {} states", longest),
       "norm of the weights' gradient"}};
  for (const double radius : radii) {
    Series& line = norms.series.emplace_back(Series{.label = fmt::format("radius {:g}", radius)});
    double share = 1, norm = 0;
    for (size_t length = 1; length <= longest; ++length) {
      std::vector<double> first;
      norm = Norm(net.Gradient(weights(radius), length, &first));
      const std::vector<double> end = net.States(weights(radius), length).back();
      share = Norm(first) / Norm(Minus(end, net.target));
      AddPoint(line, static_cast<double>(length), share);
    }
    rows.push_back({fmt::format("  {:g}", radius), fmt::format("{:.3g} times as large", share),
                    fmt::format("{:.3g}", norm)});
    result.numbers["runs"].push_back({{"radius", radius}, {"share", share}, {"norm", norm}});
  }

  // One step from the largest radius, with and without clipping.
  const std::vector<double> start = weights(radii.back());
  OptimizerSpec free("sgd", {{"lr", settings("lr")}}), clipped = free;
  clipped.clip_norm = settings("max_norm");
  const double before = net.Loss(start, longest);
  const auto after = [&](const OptimizerSpec& spec) {
    Stepped w(start, spec);
    w.Step([&](const std::vector<double>& at) { return net.Gradient(at, longest); });
    return net.Loss(w.weights(), longest);
  };
  const double without = after(free), with = after(clipped);
  result.numbers["step"] = {{"before", before}, {"without", without}, {"with", with}};
  result.charts = {norms};
  result.text = fmt::format(
      "A net of {} units, h <- W h, whose gradient passes back through W once a step:\n\n{}\n"
      "One step with learning rate {:g} at radius {:g}: the loss goes from {:.4g} to {:.3g} "
      "without clipping,\nand to {:.4g} with the gradient clipped to a norm of {:g}.\n",
      kUnits, TextTable(rows), settings("lr"), radii.back(), before, without, with,
      settings("max_norm"));
  result.svg = PanelsSvg(result.charts);
  result.next = {"kudari demo exploding-gradient --set large=1.2",
                 "kudari demo exploding-gradient --set length=100", "kudari demo lookahead"};
  return result;
}

}  // namespace

Demo ExplodingGradientDemo() {
  return {.name = "exploding-gradient",
          .summary =
              "A recurrent net's gradient vanishes or explodes with the length of the "
              "sequence, and clipping saves the step.",
          .source = "advanced techniques, 1.1",
          .parameters = {{.name = "small",
                          .value = 0.9,
                          .low = 0.1,
                          .high = 1,
                          .doc = "spectral radius of the first net's weights"},
                         {.name = "large",
                          .value = 1.1,
                          .low = 1,
                          .high = 2,
                          .doc = "spectral radius of the last net's weights"},
                         {.name = "length",
                          .value = 40,
                          .low = 2,
                          .high = 200,
                          .doc = "steps of the longest sequence",
                          .whole = true},
                         {.name = "lr", .value = 0.01, .low = 0, .high = 1, .doc = "learning rate"},
                         {.name = "max_norm",
                          .value = 1,
                          .low = 1e-6,
                          .high = 1e6,
                          .doc = "largest norm of the clipped step"}},
          .run = &RunExplodingGradient};
}

}  // namespace kudari::lab
