// Gradient accumulation: micro-batches that equal one large batch, and weightings that do not.
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

constexpr size_t kFeatures = 10;
constexpr double kLeastDrawn = 1e-9;  // of distances, which have logarithms

// Linear regression: the gradient of the mean square over samples [begin, end).
struct LinearProblem {
  std::vector<std::vector<double>> x;
  std::vector<double> y;

  std::vector<double> Gradient(const std::vector<double>& w, size_t begin, size_t end) const {
    std::vector<double> sum(kFeatures);
    for (size_t i = begin; i < end; ++i) {
      const double off = 2 * (Dot(x[i], w) - y[i]) / static_cast<double>(end - begin);
      for (size_t k = 0; k < kFeatures; ++k) sum[k] += off * x[i][k];
    }
    return sum;
  }
};

// How the batch of a step is cut, and what each micro-batch is told to weigh.
struct Cut {
  const char* label;
  std::vector<size_t> sizes;
  bool by_samples = true;  // otherwise each micro-batch counts as one sample
  bool summed = false;     // the gradients are added without dividing by their number
};

// The weights after each step of a run over batches of `batch` samples.
std::vector<std::vector<double>> RunCut(const LinearProblem& problem, OptimizerSpec spec,
                                        const Cut& cut, size_t batch, int64_t steps) {
  spec.accumulate = std::ssize(cut.sizes);
  std::vector<float> w(kFeatures), dw(kFeatures);
  Optimizer optimizer(
      {{.name = "w", .shape = {1, std::ssize(w)}, .param = w.data(), .grad = dw.data()}}, spec);
  optimizer.SetParallel({.threads = 1});
  std::vector<std::vector<double>> places;
  for (int64_t step = 0; step < steps; ++step) {
    size_t begin = static_cast<size_t>(step) * batch, call = 0;
    optimizer.Step([&](Pass) -> Evaluation {
      const size_t size = cut.sizes[call++];
      const std::vector<double> g = problem.Gradient({w.begin(), w.end()}, begin, begin + size);
      const double factor = cut.summed ? static_cast<double>(cut.sizes.size()) : 1;
      for (size_t k = 0; k < kFeatures; ++k) dw[k] = static_cast<float>(factor * g[k]);
      begin += size;
      return {0, cut.by_samples ? static_cast<double>(size) : 1};
    });
    places.emplace_back(w.begin(), w.end());
  }
  return places;
}

// `count` sizes of one sum that double from one to the next, roughly; each at least 1.
std::vector<size_t> UnequalSizes(size_t batch, size_t count) {
  std::vector<size_t> sizes;
  size_t left = batch;
  for (size_t k = count; k > 1; --k) {
    sizes.push_back(std::max<size_t>(1, std::min(left / 2, left - (k - 1))));
    left -= sizes.back();
  }
  sizes.push_back(left);
  return sizes;
}

DemoResult RunAccumulation(const DemoSettings& settings) {
  const auto count = static_cast<size_t>(settings.Whole("micro_batches"));
  const size_t batch = count * static_cast<size_t>(settings.Whole("samples"));
  const int64_t steps = settings.Whole("steps");
  std::mt19937_64 random(settings.seed());
  std::normal_distribution<double> normal;
  LinearProblem problem;
  for (size_t i = 0; i < batch * static_cast<size_t>(steps); ++i) {
    std::vector<double>& x = problem.x.emplace_back(kFeatures);
    for (double& v : x) v = normal(random);
    double y = normal(random);
    for (size_t k = 0; k < kFeatures; ++k) y += x[k] * (k % 2 == 0 ? 1 : -1);
    problem.y.push_back(y);
  }
  const Cut whole{"one batch", {batch}};
  const std::vector<size_t> equal(count, batch / count), unequal = UnequalSizes(batch, count);
  const std::array cuts = {Cut{"equal micro-batches", equal},
                           Cut{"unequal ones, by their samples", unequal},
                           Cut{"unequal ones, each counted alike", unequal, false},
                           Cut{"summed, not divided", equal, true, true}};
  const std::array rules = {OptimizerSpec("sgd", {{"lr", settings("lr")}}),
                            OptimizerSpec("adamw", {{"lr", settings("lr")}})};
  DemoResult result;
  result.numbers = {{"batch", batch}, {"unequal", unequal}};
  std::vector<std::vector<std::string>> rows = {{"  micro-batches", "SGD", "AdamW"}};
  for (const Cut& cut : cuts) rows.push_back({std::string("  ") + cut.label});
  for (const OptimizerSpec& rule : rules) {
    const std::vector<std::vector<double>> reference = RunCut(problem, rule, whole, batch, steps);
    const std::string name = rule.rule == "sgd" ? "SGD" : "AdamW";
    LineChart chart{.title = name + ": distance from the run with one large batch",
                    .x_label = "step",
                    .y_label = "distance, at least 1e-9",
                    .log_y = true,
                    .points = false};
    for (size_t k = 0; k < cuts.size(); ++k) {
      const std::vector<std::vector<double>> places = RunCut(problem, rule, cuts[k], batch, steps);
      Series& line = chart.series.emplace_back(Series{.label = cuts[k].label});
      double most = 0;
      for (size_t step = 0; step < places.size(); ++step) {
        const double distance = Norm(Minus(places[step], reference[step]));
        most = std::max(most, distance);
        AddPoint(line, static_cast<double>(step + 1), std::max(distance, kLeastDrawn));
      }
      rows[k + 1].push_back(fmt::format("{:.2g}", most));
      result.numbers[name][cuts[k].label] = most;
    }
    result.numbers[name]["reference"] = reference;
    result.charts.push_back(std::move(chart));
  }
  std::string sizes;
  for (const size_t size : unequal) sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  result.text = fmt::format(
      "{} steps of linear regression with {} samples a step: at once, in {} micro-batches of {}, "
      "and of unequal\nsizes ({}). The largest distance from the weights of the run with one "
      "batch:\n\n{}\nThe mean over all samples is what counts. Adding the gradients instead "
      "multiplies SGD's learning rate by {};\nAdamW divides by the gradient's size and hardly "
      "notices.\n",
      steps, batch, count, batch / count, sizes, TextTable(rows), count);
  result.svg = ChartsSvg(result.charts, 2);
  result.next = {"kudari demo accumulation --set micro_batches=2", "kudari demo batch-scaling",
                 "kudari demo loss-scaling"};
  return result;
}

}  // namespace

Demo AccumulationDemo() {
  return {
      .name = "accumulation",
      .summary = "Micro-batches equal one large batch if each counts by its samples.",
      .source = "advanced techniques, 6",
      .parameters =
          {{.name = "micro_batches",
            .value = 4,
            .low = 2,
            .high = 16,
            .doc = "micro-batches of a step",
            .whole = true},
           {.name = "samples",
            .value = 8,
            .low = 2,
            .high = 64,
            .doc = "mean number of samples of a micro-batch",
            .whole = true},
           {.name = "lr", .value = 0.02, .low = 1e-5, .high = 0.1, .doc = "learning rate"},
           {.name = "steps", .value = 60, .low = 1, .high = 200, .doc = "steps", .whole = true}},
      .run = &RunAccumulation};
}

}  // namespace kudari::lab
