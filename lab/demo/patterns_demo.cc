// Four training runs with the curves that a diagnosis starts from, and what the doctor says.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>

#include "kudari/doctor.h"
#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/small_net.h"
#include "lab/demo/stepped.h"

namespace kudari::lab {
namespace {

constexpr size_t kInputs = 4, kMostBatch = 256;

// A run of small_net.h on `samples` samples.
struct PatternRun {
  const char* title;
  size_t samples, hidden;
  double lr, noise;
  int64_t epochs;
};

RunLog TrainPattern(const PatternRun& run, uint64_t seed) {
  const RegressionData train = RegressionData::Random(run.samples, kInputs, run.noise, seed);
  const RegressionData held = RegressionData::Random(256, kInputs, run.noise, seed + 1);
  const SmallNet net(kInputs, run.hidden);
  std::mt19937_64 random(seed + 3);
  std::vector<size_t> order(run.samples), all_held(held.y.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::iota(all_held.begin(), all_held.end(), size_t{0});
  const size_t size = std::min(run.samples, kMostBatch);
  const auto batches = static_cast<int64_t>(run.samples / size);
  const Schedule lr = run.lr * Warmup(std::max<int64_t>(1, batches * run.epochs / 10));
  OptimizerSpec spec("momentum", {{"lr", lr}});
  spec.clip_norm = 1.0;  // with a rate that is too large the loss swings rather than overflows
  Stepped weights(net.Start(seed + 2), spec);
  RunLog log{.steps_per_epoch = batches, .planned_steps = batches * run.epochs};
  for (int64_t epoch = 0; epoch < run.epochs; ++epoch) {
    std::ranges::shuffle(order, random);
    for (int64_t batch = 0; batch < batches; ++batch) {
      const std::span at = std::span(order).subspan(static_cast<size_t>(batch) * size, size);
      StepLog step{.step = std::ssize(log.steps) + 1, .lr = lr(std::ssize(log.steps))};
      step.grad_norm = weights
                           .Step([&](const std::vector<double>& w) {
                             std::vector<double> gradient;
                             step.loss = net.Loss(w, train, at, &gradient);
                             return gradient;
                           })
                           .grad_norm;
      log.steps.push_back(step);
      if (!std::isfinite(step.loss)) return log;
    }
    log.evaluations.push_back(
        {.step = std::ssize(log.steps), .loss = net.Loss(weights.weights(), held, all_held)});
  }
  return log;
}

// The mean training loss of each epoch, and the held-out loss after it.
LineChart CurvesOfPattern(const PatternRun& run, const RunLog& log) {
  LineChart chart{.title = run.title,
                  .x_label = "epoch",
                  .y_label = "loss",
                  .points = false,
                  .from_zero = true};
  chart.series = {{.label = "training"}, {.label = "validation"}};
  for (size_t epoch = 0; epoch < log.evaluations.size(); ++epoch) {
    const auto begin = log.steps.begin() + static_cast<std::ptrdiff_t>(epoch) * log.steps_per_epoch;
    const double sum =
        std::accumulate(begin, begin + log.steps_per_epoch, 0.0,
                        [](double before, const StepLog& step) { return before + step.loss; });
    AddPoint(chart.series[0], static_cast<double>(epoch + 1),
             sum / static_cast<double>(log.steps_per_epoch));
    AddPoint(chart.series[1], static_cast<double>(epoch + 1), log.evaluations[epoch].loss);
  }
  return chart;
}

DemoResult RunPatterns(const DemoSettings& settings) {
  const int64_t epochs = settings.Whole("epochs");
  const double good = settings("lr");
  const std::array runs = {
      PatternRun{"the learning rate is too small", 256, 24, good / settings("small"), 0.3, epochs},
      PatternRun{"the learning rate is too large", 256, 24, good * settings("large"), 0.3, epochs},
      PatternRun{"overfitting", 32, 64, good / 2, 1, epochs},
      PatternRun{"a good run", 256, 24, good, 0.3, epochs}};
  DemoResult result;
  result.numbers = {{"runs", nlohmann::ordered_json::array()}};
  result.text =
      "A small net learns a sum of sines: with rates that are too small and too large, from too "
      "few "
      "noisy samples,\nand well. This is what the doctor says of each log:\n";
  for (const PatternRun& run : runs) {
    const RunLog log = TrainPattern(run, settings.seed());
    const std::vector<Finding> findings = Diagnose(log).findings;
    const LineChart chart = CurvesOfPattern(run, log);
    nlohmann::ordered_json found = nlohmann::ordered_json::array();
    result.text += fmt::format("\n{} (rate {:.3g}, {} samples)\n", run.title, run.lr, run.samples);
    if (findings.empty()) result.text += "  nothing is wrong\n";
    for (const Finding& finding : findings) {
      const VerdictInfo& info = InfoOf(finding);
      found.push_back(info.name);
      result.text += Wrapped(fmt::format("{}: {}", info.meaning, finding.evidence), 2);
    }
    if (!findings.empty()) {
      result.text += Wrapped(fmt::format("what to do: {}", InfoOf(findings.front()).action), 2);
    }
    result.numbers["runs"].push_back({{"run", run.title},
                                      {"lr", run.lr},
                                      {"samples", run.samples},
                                      {"training", chart.series[0].y},
                                      {"validation", chart.series[1].y},
                                      {"verdicts", found}});
    result.charts.push_back(chart);
  }
  result.svg = ChartsSvg(result.charts, 2);
  result.next = {"kudari demo patterns --set large=100", "kudari advise --task cnn --batch 256",
                 "kudari demo sam"};
  return result;
}

}  // namespace

Demo PatternsDemo() {
  return {
      .name = "patterns",
      .summary =
          "Four training runs and what their curves say: a rate too small, one too "
          "large, overfitting, and a good run.",
      .source = "practical guide, 4",
      .parameters =
          {{.name = "lr",
            .value = 0.05,
            .low = 1e-4,
            .high = 1,
            .doc = "learning rate of the good run"},
           {.name = "small",
            .value = 2000,
            .low = 1,
            .high = 1e6,
            .doc = "what it is divided by for the rate that is too small"},
           {.name = "large",
            .value = 30,
            .low = 1,
            .high = 1000,
            .doc = "how many times as large the rate is that is too large"},
           {.name = "epochs", .value = 240, .low = 2, .high = 500, .doc = "epochs", .whole = true}},
      .run = &RunPatterns};
}

}  // namespace kudari::lab
