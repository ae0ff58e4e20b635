// Clipping by norm and by value, as histograms.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"
#include "lab/demo/vectors.h"

namespace kudari::lab {
namespace {

// What SGD with a rate of 1 subtracts: the gradient after clipping.
std::vector<double> Clipped(const std::vector<double>& gradient, const OptimizerSpec& spec) {
  std::vector<double> step = Stepped(gradient, spec).StepFromZero(gradient);
  for (double& x : step) x = -x;
  return step;
}

DemoResult RunClipping(const DemoSettings& settings) {
  std::mt19937_64 random(settings.seed());
  std::normal_distribution<double> normal;
  std::vector<double> gradient(static_cast<size_t>(settings.Whole("count")));
  for (double& g : gradient) g = settings("size") * normal(random);
  OptimizerSpec by_norm("sgd", {{"lr", 1.0}}), by_value = by_norm;
  by_norm.clip_norm = settings("max_norm");
  by_value.clip_value = settings("clip_value");
  const std::vector<double> norm = Clipped(gradient, by_norm);
  const std::vector<double> value = Clipped(gradient, by_value);
  const auto cut = std::ranges::count_if(
      gradient, [&](double g) { return std::abs(g) > settings("clip_value"); });
  const double share = static_cast<double>(cut) / static_cast<double>(gradient.size());

  DemoResult result;
  result.numbers = {{"gradient", gradient},
                    {"by_norm", norm},
                    {"by_value", value},
                    {"norm", Norm(gradient)},
                    {"norm_after", Norm(norm)},
                    {"value_norm_after", Norm(value)},
                    {"share_cut", share},
                    {"value_cosine", Cosine(gradient, value)},
                    {"norm_cosine", Cosine(gradient, norm)}};
  result.text = fmt::format(
      "A gradient of {} normal random numbers of size {:g}; its norm is {:.4g}.\n\n{}\n"
      "By norm, all elements shrink by one factor and the direction stays. By value, elements are "
      "cut one by one,\nso the direction changes.\n",
      gradient.size(), settings("size"), Norm(gradient),
      TextTable(
          {{"  clipping", "norm after", "elements cut", "cosine with the gradient"},
           {fmt::format("  by norm, {:g}", settings("max_norm")), fmt::format("{:.4g}", Norm(norm)),
            "all or none", fmt::format("{:.4f}", Cosine(gradient, norm))},
           {fmt::format("  by value, {:g}", settings("clip_value")),
            fmt::format("{:.4g}", Norm(value)), Percent(share),
            fmt::format("{:.4f}", Cosine(gradient, value))}}));
  const auto histogram = [&](const std::string& title, const std::vector<double>& after) {
    return Histogram{
        .title = title,
        .x_label = "element of the gradient",
        .series = {{.label = "before", .values = gradient}, {.label = "after", .values = after}}};
  };
  result.svg =
      HistogramsSvg({histogram(fmt::format("by norm, to {:g}", settings("max_norm")), norm),
                     histogram(fmt::format("by value, to {:g}", settings("clip_value")), value)});
  result.next = {"kudari demo clipping --set max_norm=50", "kudari demo exploding-gradient",
                 "kudari describe clip_norm"};
  return result;
}

}  // namespace

Demo ClippingDemo() {
  return {.name = "clipping",
          .summary =
              "Clipping by norm keeps the gradient's direction, and clipping by value does "
              "not.",
          .source = "advanced techniques, 1; gradient descent, 5.8",
          .parameters = {{.name = "max_norm",
                          .value = 1,
                          .low = 1e-6,
                          .high = 1e6,
                          .doc = "largest norm, for clipping by norm"},
                         {.name = "clip_value",
                          .value = 5,
                          .low = 1e-6,
                          .high = 1e6,
                          .doc = "largest magnitude, for clipping by value"},
                         {.name = "size",
                          .value = 10,
                          .low = 1e-3,
                          .high = 1e3,
                          .doc = "standard deviation of the gradient's elements"},
                         {.name = "count",
                          .value = 100,
                          .low = 2,
                          .high = 10000,
                          .doc = "elements of the gradient",
                          .whole = true}},
          .run = &RunClipping};
}

}  // namespace kudari::lab
