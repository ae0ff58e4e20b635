// Lookahead's fast and slow weights on a noisy parabola.
#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <random>

#include "kudari/stages.h"
#include "lab/console/progress.h"
#include "lab/demo/demos.h"
#include "lab/demo/stepped.h"

namespace kudari::lab {
namespace {

// Records the weight after each step, before Lookahead, which follows it, may move it.
class FastWeights : public Averager {
 public:
  explicit FastWeights(std::vector<double>& seen) : seen_(seen) {}
  void Start(Engine& /*engine*/) override {}
  void After(Engine& engine) override {
    float w = 0;
    engine.LoadWeights(0, 0, {&w, 1});
    seen_.push_back(w);
  }
  const float* Evaluated(size_t /*index*/) const override { return nullptr; }
  std::string_view Name() const override { return "fast_weights"; }
  void Visit(const Engine& /*engine*/, StateVisitor& /*visitor*/) override {}

 private:
  std::vector<double>& seen_;
};

// The weights of a run on x^2 / 2 whose slope x has noise of standard deviation 1: the fast ones
// before a sync, and the slow ones, which are those to evaluate.
struct LookaheadRun {
  std::vector<double> fast = {}, slow = {};
};

LookaheadRun RunNoisyParabola(const OptimizerSpec& spec, const LookaheadSpec* lookahead,
                              double start, int64_t steps, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  LookaheadRun run;
  Stepped weight({start}, spec);
  weight.optimizer().AddAverager(std::make_unique<FastWeights>(run.fast));
  if (lookahead != nullptr) weight.optimizer().AddAverager(std::make_unique<Lookahead>(*lookahead));
  for (int64_t step = 0; step < steps; ++step) {
    weight.Step({weight.weights()[0] + normal(random)});
    const auto view = weight.optimizer().EvaluationWeights();
    run.slow.push_back(weight.weights()[0]);
  }
  return run;
}

// The root of the mean square after the first fifth of a run.
double LateSwing(const std::vector<double>& weights) {
  const size_t begin = weights.size() / 5;
  double sum = 0;
  for (size_t i = begin; i < weights.size(); ++i) sum += weights[i] * weights[i];
  return std::sqrt(sum / static_cast<double>(weights.size() - begin));
}

DemoResult RunLookahead(const DemoSettings& settings) {
  constexpr int64_t kLong = 20000, kSteps = 40;
  constexpr double kStart = 6;
  const OptimizerSpec spec("sgd", {{"lr", settings("lr")}});
  const LookaheadSpec lookahead{.k = settings.Whole("k"), .alpha = settings("alpha")};
  const LookaheadRun alone = RunNoisyParabola(spec, nullptr, kStart, kLong, settings.seed());
  const LookaheadRun both = RunNoisyParabola(spec, &lookahead, kStart, kLong, settings.seed());

  DemoResult result;
  LineChart chart{.title =
                      "Fast weights run ahead; slow weights follow a part of the way and "
                      "take the fast ones back",
                  .x_label = "step",
                  .y_label = "weight",
                  .points = false};
  Series fast{.label = "fast weights"}, slow{.label = "slow weights"}, plain{.label = "SGD alone"};
  AddPoint(fast, 0, kStart);
  AddPoint(slow, 0, kStart);
  AddPoint(plain, 0, kStart);
  for (int64_t step = 1; step <= kSteps; ++step) {
    const auto at = static_cast<size_t>(step - 1);
    const auto x = static_cast<double>(step);
    AddPoint(fast, x, both.fast[at]);
    // At a sync the slow weights move, and the fast ones go back to them.
    if (step % lookahead.k == 0) {
      AddPoint(slow, x, slow.y.back());
      AddPoint(fast, x, both.slow[at]);
    }
    AddPoint(slow, x, both.slow[at]);
    AddPoint(plain, x, alone.fast[at]);
  }
  chart.series = {plain, slow, fast};
  const double swing_alone = LateSwing(alone.fast), swing_slow = LateSwing(both.slow);
  result.numbers = {{"fast", both.fast.front()},
                    {"swing_alone", swing_alone},
                    {"swing_slow", swing_slow},
                    {"first_sync",
                     {{"fast", both.fast[static_cast<size_t>(lookahead.k - 1)]},
                      {"slow", both.slow[static_cast<size_t>(lookahead.k - 1)]},
                      {"start", kStart}}}};
  result.charts = {chart};
  result.text = fmt::format(
      "SGD with rate {:g} on f(x) = x^2 / 2 from {:g}; each slope has noise of standard deviation "
      "1.\nAfter every {} the slow weight moves {:g} of the way to the fast one, which goes back "
      "to it:\nthe first time from {:g} towards {:.3f}, which is {:.3f}.\n\nAround the minimum, "
      "over {} steps:\n{}",
      settings("lr"), kStart, Counted(lookahead.k, "step"), lookahead.alpha, kStart,
      both.fast[static_cast<size_t>(lookahead.k - 1)],
      both.slow[static_cast<size_t>(lookahead.k - 1)], kLong * 4 / 5,
      TextTable({{"  weights", "standard deviation"},
                 {"  SGD alone", fmt::format("{:.4f}", swing_alone)},
                 {"  slow weights", fmt::format("{:.4f}", swing_slow)}}));
  result.svg = PanelsSvg(result.charts);
  result.next = {"kudari demo lookahead --set alpha=0.2",
                 "kudari landscape noisy --optimizers adam,ranger --noise 5",
                 "kudari demo accumulation"};
  return result;
}

}  // namespace

Demo LookaheadDemo() {
  return {
      .name = "lookahead",
      .summary =
          "Lookahead's slow weights follow the fast ones part of the way, and swing less "
          "in noise.",
      .source = "advanced techniques, 5",
      .parameters = {{.name = "k",
                      .value = 5,
                      .low = 1,
                      .high = 40,
                      .doc = "steps between syncs",
                      .whole = true},
                     {.name = "alpha",
                      .value = 0.5,
                      .low = 0.01,
                      .high = 1,
                      .doc = "how far the slow weights go"},
                     {.name = "lr", .value = 0.2, .low = 1e-3, .high = 1, .doc = "learning rate"}},
      .run = &RunLookahead};
}

}  // namespace kudari::lab
