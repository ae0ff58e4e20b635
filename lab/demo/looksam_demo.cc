// The parts of SAM's gradient: along the gradient, and at a right angle to it, which LookSAM
// reuses.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

#include "lab/console/progress.h"
#include "lab/console/usage_error.h"
#include "lab/demo/demos.h"
#include "lab/demo/small_net.h"
#include "lab/demo/stepped.h"
#include "lab/demo/vectors.h"

namespace kudari::lab {
namespace {

// SAM's gradient of one step, and its parts: g_s = g_h + g_v. The part at a right angle is the
// library's own: the direction that its LookSAM keeps.
struct SamParts {
  std::vector<double> g = {}, g_s = {}, g_h = {}, g_v = {};
};

// One step of LookSAM with a perturbed gradient in every step.
SamParts StepOfLookSam(Stepped& weights, const Stepped::Slope& slope) {
  SamParts parts;
  weights.Step([&](const std::vector<double>& w) {
    std::vector<double>& to = parts.g.empty() ? parts.g : parts.g_s;
    to = slope(w);
    return to;
  });
  const StateTree state = weights.optimizer().State();
  const StateTree* const direction = state.Find("source/tensors/w/direction");
  if (direction == nullptr) {
    throw UsageError(
        "--set lets a gradient become infinite, or SAM's gradient have no part at a right angle; "
        "a smaller net_lr or a larger rho may help");
  }
  parts.g_v.assign(direction->Floats().begin(), direction->Floats().end());
  parts.g_h = Minus(parts.g_s, parts.g_v);
  return parts;
}

OptimizerSpec LookSamSpec(double lr, double rho) {
  OptimizerSpec spec("sgd", {{"lr", lr}});
  spec.source = "looksam";
  spec.sharpness = {.rho = rho, .k = 1};
  return spec;
}

// How much each part changes in k steps, over a training run of the small net with mini-batches.
LineChart ChangesOf(const DemoSettings& settings) {
  constexpr size_t kSamples = 256, kInputs = 4, kHidden = 16, kBatch = 32;
  const SmallNet net(kInputs, kHidden);
  const RegressionData data = RegressionData::Random(kSamples, kInputs, 0.3, settings.seed());
  Stepped weights(net.Start(settings.seed() + 1),
                  LookSamSpec(settings("net_lr"), settings("net_rho")));
  std::mt19937_64 random(settings.seed() + 2);
  std::uniform_int_distribution<size_t> any(0, kSamples - 1);
  const auto k = static_cast<size_t>(settings.Whole("k"));
  std::vector<SamParts> steps;
  for (int64_t step = 0; step < settings.Whole("steps"); ++step) {
    std::vector<size_t> batch(kBatch);
    for (size_t& i : batch) i = any(random);
    steps.push_back(StepOfLookSam(weights, [&](const std::vector<double>& w) {
      std::vector<double> gradient;
      net.Loss(w, data, batch, &gradient);
      return gradient;
    }));
  }
  LineChart changes{.x_label = "step",
                    .y_label = "change in " + Counted(settings.Whole("k"), "step"),
                    .points = false};
  changes.series = {{.label = "g_s"}, {.label = "g_h"}, {.label = "g_v"}};
  for (size_t step = 0; step + k < steps.size(); step += k) {
    const std::array parts = {&SamParts::g_s, &SamParts::g_h, &SamParts::g_v};
    for (size_t i = 0; i < parts.size(); ++i) {
      AddPoint(changes.series[i], static_cast<double>(step),
               Norm(Minus(steps[step + k].*parts[i], steps[step].*parts[i])));
    }
  }
  return changes;
}

double MeanOf(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

DemoResult RunLookSam(const DemoSettings& settings) {
  const Surface& surface = FindSurface("rosenbrock");
  const Position at{settings("x"), settings("y")};
  Stepped weights({at.x, at.y}, LookSamSpec(1e-3, settings("rho")));
  const SamParts parts = StepOfLookSam(weights, [&](const std::vector<double>& w) {
    const Position slope = surface.gradient({w[0], w[1]});
    return std::vector{slope.x, slope.y};
  });
  const LineChart changes = ChangesOf(settings);

  DemoResult result;
  result.numbers = {{"g", parts.g},
                    {"g_s", parts.g_s},
                    {"g_h", parts.g_h},
                    {"g_v", parts.g_v},
                    {"mean_changes",
                     {{"g_s", MeanOf(changes.series[0].y)},
                      {"g_h", MeanOf(changes.series[1].y)},
                      {"g_v", MeanOf(changes.series[2].y)}}}};
  const auto row = [](const char* name, const std::vector<double>& v, const char* what,
                      double change) {
    return std::vector{std::string("  ") + name, fmt::format("[{:.1f}, {:.1f}]", v[0], v[1]),
                       fmt::format("{:.1f}", Norm(v)), fmt::format("{:.4f}", change),
                       std::string(what)};
  };
  result.text = fmt::format(
      "{} at ({:g}, {:g}), rho {:g}: SAM's gradient g_s in two parts, along the\ngradient g and at "
      "a right angle to it. Changes are those in {} of a small net's training.\n\n{}\n"
      "LookSAM computes g_v every k steps and adds it, at the size of the new gradient, to the "
      "steps between.\n",
      surface.formula, at.x, at.y, settings("rho"), Counted(settings.Whole("k"), "step"),
      TextTable({{"  part", "on the surface", "length", "mean change", ""},
                 row("g_s", parts.g_s, "SAM's gradient", MeanOf(changes.series[0].y)),
                 row("g_h", parts.g_h, "along the gradient", MeanOf(changes.series[1].y)),
                 row("g_v", parts.g_v, "towards the flat", MeanOf(changes.series[2].y))}));
  // Arrows point downhill, where steps go, and the longest is 0.6 long.
  const double share = -0.6 / std::max(Norm(parts.g_s), Norm(parts.g_h));
  ContourChart map =
      ContoursOf(surface.loss, {at.x - 0.75, at.y - 0.75}, {at.x + 0.75, at.y + 0.75});
  map.title = "SAM's gradient is a part along the gradient and one at a right angle";
  const auto arrow = [&](const char* label, const std::vector<double>& v) {
    map.arrows.push_back({.label = label,
                          .from_x = at.x,
                          .from_y = at.y,
                          .to_x = at.x + share * v[0],
                          .to_y = at.y + share * v[1]});
  };
  arrow("-g_s, SAM", parts.g_s);
  arrow("-g_h, along the gradient", parts.g_h);
  arrow("-g_v, at a right angle", parts.g_v);
  map.points = {{.label = "w", .x = at.x, .y = at.y}};
  result.charts = {changes};
  result.svg = LandscapeSvg(map, changes, false);
  result.next = {"kudari demo looksam --set k=10", "kudari describe looksam",
                 "kudari demo gradient"};
  return result;
}

}  // namespace

Demo LookSamDemo() {
  return {.name = "looksam",
          .summary =
              "SAM's gradient has a part along the gradient and one at a right angle, which "
              "LookSAM reuses.",
          .source = "LookSAM, Figures 2 and 3",
          .parameters =
              {{.name = "rho",
                .value = 0.3,
                .low = 1e-3,
                .high = 2,
                .doc = "distance of the worst place on the surface"},
               {.name = "x", .value = -0.5, .low = -2, .high = 2, .doc = "place on the surface"},
               {.name = "y", .value = 1, .low = -2, .high = 2, .doc = "place on the surface"},
               {.name = "k",
                .value = 5,
                .low = 1,
                .high = 50,
                .doc = "steps between the gradients that are compared",
                .whole = true},
               {.name = "net_lr",
                .value = 0.1,
                .low = 1e-4,
                .high = 1,
                .doc = "learning rate of "
                       "the small net"},
               {.name = "net_rho", .value = 0.1, .low = 1e-3, .high = 2, .doc = "its rho"},
               {.name = "steps",
                .value = 300,
                .low = 60,
                .high = 1000,
                .doc = "its steps",
                .whole = true}},
          .run = &RunLookSam};
}

}  // namespace kudari::lab
