#include "lab/landscape/descent.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <random>
#include <span>
#include <utility>

#include "kudari/error.h"
#include "kudari/presets.h"
#include "kudari/recipe.h"
#include "lab/console/usage_error.h"

namespace kudari::lab {
namespace {

constexpr int64_t kMostSteps = 100'000, kHessianEvery = 10;

void Check(const Surface& surface, const DescentOptions& options) {
  if (options.steps < 1 || options.steps > kMostSteps) {
    throw UsageError(fmt::format("--steps = {} is outside [1, {}]", options.steps, kMostSteps));
  }
  if (!(options.noise >= 0 && std::isfinite(options.noise))) {
    throw UsageError(fmt::format("--noise = {:g} is outside [0, inf)", options.noise));
  }
  if (options.seed < 0) {
    throw UsageError(fmt::format("--seed = {} is outside [0, ...]", options.seed));
  }
  const Position start = options.start.value_or(surface.start);
  if (!IsInside(surface, start)) {
    throw UsageError(fmt::format(
        "--start = ({:g}, {:g}) is outside of {}, where x is in [{:g}, {:g}] and y in [{:g}, {:g}]",
        start.x, start.y, surface.name, surface.low.x, surface.high.x, surface.low.y,
        surface.high.y));
  }
}

// The noise of a step's plain calls, which its perturbed calls have again, in the same order.
class Noise {
 public:
  Noise(double deviation, int64_t seed)
      : deviation_(deviation), random_(static_cast<uint64_t>(seed)) {}

  void BeginStep() {
    drawn_.clear();
    repeated_ = 0;
  }
  Position Of(Pass pass) {
    if (pass == Pass::kPerturbed && repeated_ < drawn_.size()) return drawn_[repeated_++];
    const double x = Normal();
    drawn_.push_back({deviation_ * x, deviation_ * Normal()});
    return drawn_.back();
  }

 private:
  // A number of the normal distribution, by Marsaglia's polar method, which makes two at a time.
  // The standard library's is another one in each implementation.
  double Normal() {
    if (second_) return *std::exchange(second_, std::nullopt);
    double x = 0, y = 0, square = 0;
    do {
      x = 2 * Uniform() - 1;
      y = 2 * Uniform() - 1;
      square = x * x + y * y;
    } while (square > 1 || square == 0);
    const double scale = std::sqrt(-2 * std::log(square) / square);
    second_ = x * scale;
    return y * scale;
  }
  // In [0, 1).
  double Uniform() { return std::min(static_cast<double>(random_()) * 0x1p-64, kBelow1); }

  double deviation_;
  std::mt19937_64 random_;
  std::optional<double> second_;
  std::vector<Position> drawn_;
  size_t repeated_ = 0;
};

// Sophia squares what it is given, and multiplies it by its batch size.
Position HessianEstimateAt(const Surface& surface, Position at, const Optimizer& optimizer,
                           HessianEstimate kind) {
  Position diagonal = Curvature(surface, at);
  if (kind == HessianEstimate::kGaussNewton) {
    const double batch = optimizer.Value(0, "batch_size");
    for (double* d : {&diagonal.x, &diagonal.y}) *d = std::sqrt(std::max(*d, 0.0) / batch);
  }
  return diagonal;
}

// How far a run is above the lowest place in the second half of its steps, on average; infinity if
// it diverged.
double LateHeight(const Surface& surface, const Descent& descent, int64_t steps) {
  if (descent.Diverged(steps) || !std::isfinite(descent.losses.back())) return kInfinity;
  double sum = 0;
  const std::span<const double> late = std::span(descent.losses).subspan(descent.losses.size() / 2);
  for (const double loss : late) sum += std::max(loss - surface.lowest, 0.0);
  return sum / static_cast<double>(late.size());
}

// The first step after which a run was outside of the picture, if its end is, too.
std::optional<size_t> LeftAt(const Surface& surface, const Descent& descent) {
  if (IsInside(surface, descent.places.back())) return std::nullopt;
  size_t step = descent.places.size() - 1;
  while (step > 0 && !IsInside(surface, descent.places[step - 1])) --step;
  return step;
}

}  // namespace

std::string EndText(const Surface& surface, const Descent& descent, int64_t steps) {
  if (descent.Diverged(steps)) return fmt::format("diverged at step {}", descent.places.size() - 1);
  if (const auto left = LeftAt(surface, descent)) {
    return fmt::format("left the picture at step {}", *left);
  }
  if (surface.minima.empty()) return "is still in the picture";
  const Position end = descent.places.back();
  double nearest = kInfinity;
  for (const Position& m : surface.minima) {
    nearest = std::min(nearest, std::hypot(end.x - m.x, end.y - m.y));
  }
  return fmt::format("{:.2g} from {} minimum", nearest,
                     surface.minima.size() > 1 ? "the nearest" : "the");
}

Runner ReadRunner(std::string_view text) {
  const size_t table = text.find('{');
  if (table == std::string_view::npos) {
    const std::string name(text);
    const std::vector<std::string> presets = PresetNames();
    if (std::ranges::find(presets, name) != presets.end()) {
      return {.label = name, .spec = Preset(name), .lr_given = false};
    }
    Registry::Builtin().Find(name);  // throws if there is none
    return {.label = name, .spec = OptimizerSpec(name), .lr_given = false};
  }
  std::string label(text.substr(0, table));
  while (!label.empty() && (label.back() == ' ' || label.back() == '=')) label.pop_back();
  OptimizerSpec spec = ParseRecipe("optimizer = " + std::string(text.substr(table)),
                                   label.empty() ? "--optimizer" : label);
  if (spec.rule.empty()) throw Error((label.empty() ? "--optimizer" : label) + ": rule is missing");
  if (label.empty()) {
    label = spec.rule;
    if (!spec.source.empty() && spec.source != "plain") label += " + " + spec.source;
  }
  const bool given = spec.options.contains("lr");
  return {.label = std::move(label), .spec = std::move(spec), .lr_given = given};
}

Descent Descend(const Surface& surface, const OptimizerSpec& spec, const DescentOptions& options,
                const std::function<void(Optimizer&)>& watch) {
  Check(surface, options);
  const Position start = options.start.value_or(surface.start);
  std::array<float, 2> w = {static_cast<float>(start.x), static_cast<float>(start.y)}, dw{};
  Optimizer optimizer({{.name = "w", .shape = {1, 2}, .param = w.data(), .grad = dw.data()}},
                      Resolve(spec, {.steps = options.steps}));
  optimizer.SetParallel({.threads = 1});
  const HessianEstimate kind = Registry::Builtin().Find(optimizer.Plan().front().rule).hessian;
  Noise noise(options.noise, options.seed);
  const auto here = [&w] { return Position{w[0], w[1]}; };
  Descent descent{{start}, {surface.loss(start)}};
  watch(optimizer);
  for (int64_t step = 0; step < options.steps && std::isfinite(descent.losses.back()); ++step) {
    noise.BeginStep();
    optimizer.Step([&](Pass pass) -> Evaluation {
      const Position slope = surface.gradient(here()), added = noise.Of(pass);
      dw = {static_cast<float>(slope.x + added.x), static_cast<float>(slope.y + added.y)};
      return surface.loss(here());
    });
    descent.places.push_back(here());
    descent.losses.push_back(surface.loss(here()));
    if (kind != HessianEstimate::kNone && step % kHessianEvery == 0) {
      const Position diagonal = HessianEstimateAt(surface, here(), optimizer, kind);
      const std::array<float, 2> estimate = {static_cast<float>(diagonal.x),
                                             static_cast<float>(diagonal.y)};
      optimizer.UpdateHessian(std::array{estimate.data()});
    }
    watch(optimizer);
  }
  return descent;
}

void EvaluatedWay::Watch(Optimizer& optimizer) {
  const EvaluationView view = optimizer.EvaluationWeights();
  differs_ = differs_ || !view.Changed().empty();
  const auto* const w = static_cast<const float*>(optimizer.tensors()[0].param);
  descent_.places.push_back({w[0], w[1]});
  descent_.losses.push_back(surface_->loss(descent_.places.back()));
}

std::optional<Descent> EvaluatedWay::Way() const {
  return differs_ ? std::optional(descent_) : std::nullopt;
}

std::vector<double> LearningRates() {
  std::vector<double> rates;
  for (const double power : {1e-4, 1e-3, 1e-2, 1e-1, 1.0}) {
    for (const double digit : {1.0, 2.0, 5.0}) rates.push_back(digit * power);
  }
  rates.push_back(10);
  return rates;
}

double BestLearningRate(const Surface& surface, const OptimizerSpec& spec,
                        const DescentOptions& options) {
  constexpr double kAsLow = 1e-3;
  const std::vector<double> rates = LearningRates();
  std::vector<double> heights;
  for (const double lr : rates) {
    OptimizerSpec tried = spec;
    tried.options.insert_or_assign("lr", lr);
    heights.push_back(LateHeight(surface, Descend(surface, tried, options), options.steps));
  }
  const double best = *std::ranges::min_element(heights);
  if (best == kInfinity) {
    throw Error(
        fmt::format("every learning rate from {:g} to {:g} diverges", rates.front(), rates.back()));
  }
  const double start = surface.loss(options.start.value_or(surface.start)) - surface.lowest;
  const auto enough = [&](double height) { return height <= best + kAsLow * start; };
  return rates[static_cast<size_t>(std::ranges::find_if(heights, enough) - heights.begin())];
}

}  // namespace kudari::lab
