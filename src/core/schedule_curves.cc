// The curves: what each is, takes and gives. Everything else follows from this table.
#include "core/schedule_curves.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/registry.h"

namespace kudari::internal {
namespace {

// Ways from 1 at p = 0 to `last` at p = 1.
double FallLinear(double p, double last) { return 1 + (last - 1) * p; }
double FallCosine(double p, double last) {
  return last + (1 - last) * 0.5 * (1 + std::cos(std::numbers::pi * p));
}

double Fall(Shape shape, double p, double last) {
  switch (shape) {
    case Shape::kLinear:
      return FallLinear(p, last);
    case Shape::kCosine:
      return FallCosine(p, last);
    case Shape::kSqrt:
      return last + (1 - last) * (1 - std::sqrt(p));
    case Shape::kExponential:
      return std::pow(last, p);
  }
  return last;
}

Shape ShapeOf(double index) { return static_cast<Shape>(static_cast<int>(index)); }

double Between(double a, double b, double p, double shape) {
  return b + (a - b) * Fall(ShapeOf(shape), p, 0);
}

double Constant(const Arguments& a, int64_t /*step*/) { return a.x[0]; }

double Warmup(const Arguments& a, int64_t step) {
  const auto s = static_cast<double>(step);
  return s < a.x[0] ? (s + 1) / a.x[0] : 1;
}

double WarmupFrom(const Arguments& a, int64_t step) {
  const auto s = static_cast<double>(step);
  return s < a.x[0] ? a.x[1] + (1 - a.x[1]) * s / a.x[0] : 1;
}

double Ramp(const Arguments& a, int64_t step) {
  const auto s = static_cast<double>(step);
  return s < a.x[0] ? a.x[1] + (a.x[2] - a.x[1]) * (s / a.x[0]) : a.x[2];
}

double Cosine(const Arguments& a, int64_t step) {
  const auto s = static_cast<double>(step);
  if (s >= a.x[0]) return a.x[1];
  return a.x[1] + (1 - a.x[1]) * 0.5 * (1 + std::cos(std::numbers::pi * s / a.x[0]));
}

double CosinePeriodic(const Arguments& a, int64_t step) {
  return FallCosine(std::fmod(static_cast<double>(step), 2 * a.x[0]) / a.x[0], a.x[1]);
}

double Linear(const Arguments& a, int64_t step) {
  const auto s = static_cast<double>(step);
  return s < a.x[0] ? 1 + (a.x[1] - 1) * s / a.x[0] : a.x[1];
}

double Polynomial(const Arguments& a, int64_t step) {
  const auto s = static_cast<double>(step);
  const double steps = a.x[0], power = a.x[1], last = a.x[2];
  return s < steps ? last + (1 - last) * std::pow(1 - s / steps, power) : last;
}

double Step(const Arguments& a, int64_t step) {
  return std::pow(a.x[1], std::floor(static_cast<double>(step) / a.x[0]));
}

double MultiStep(const Arguments& a, int64_t step) {
  const auto passed =
      std::upper_bound(a.milestones.begin(), a.milestones.end(), static_cast<double>(step)) -
      a.milestones.begin();
  return std::pow(a.x[0], static_cast<double>(passed));
}

double Exponential(const Arguments& a, int64_t step) {
  return std::pow(a.x[0], static_cast<double>(step) / a.x[1]);
}

double ExpDecay(const Arguments& a, int64_t step) {
  return std::exp(-a.x[0] * static_cast<double>(step));
}

double InverseTime(const Arguments& a, int64_t step) {
  return 1 / (1 + a.x[0] * (static_cast<double>(step) / a.x[1]));
}

double InverseTimeStaircase(const Arguments& a, int64_t step) {
  return 1 / (1 + a.x[0] * std::floor(static_cast<double>(step) / a.x[1]));
}

double InverseSqrt(const Arguments& a, int64_t step) {
  return std::sqrt(a.x[0] / std::max(static_cast<double>(step), a.x[0]));
}

double Noam(const Arguments& a, int64_t step) {
  const double t = static_cast<double>(step) + 1, width = a.x[0], warmup = a.x[1];
  return (t < warmup ? t * std::pow(warmup, -1.5) : 1 / std::sqrt(t)) / std::sqrt(width);
}

double Rsqrt(const Arguments& a, int64_t step) {
  return 1 / std::sqrt(1 + (static_cast<double>(step) + a.x[1]) / a.x[0]);
}

double Sgdr(const Arguments& a, int64_t step) {
  const auto s = static_cast<double>(step);
  const double steps = a.x[0], mult = a.x[1], decay = a.x[2], last = a.x[3], cycles = a.x[4];
  const auto start = [&](double i) {
    return mult == 1 ? i * steps : steps * ((std::pow(mult, i) - 1) / (mult - 1));
  };
  double cycle = std::floor(s / steps);
  if (mult > 1) {
    const double passed = std::min(s / steps * (mult - 1), std::numeric_limits<double>::max());
    cycle = std::floor(std::log1p(passed) / std::log(mult));
  }
  // The logarithms may round to the wrong side of a restart.
  if (start(cycle + 1) <= s) ++cycle;
  if (start(cycle) > s) --cycle;
  if (cycles > 0 && cycle >= cycles) return last;
  const double p = (s - start(cycle)) / (steps * std::pow(mult, cycle));
  return last + (std::pow(decay, cycle) - last) * FallCosine(p, 0);
}

double Trapezoid(const Arguments& a, int64_t step) {
  const auto s = static_cast<double>(step);
  const double steps = a.x[0], last = a.x[3];
  // Halves go to the even neighbour, as Python's round takes them.
  const double warmup = std::nearbyint(a.x[1] * steps), warmdown = std::nearbyint(a.x[2] * steps);
  if (s >= steps) return last;
  if (s < warmup) return (s + 1) / warmup;
  return s <= steps - warmdown ? 1 : FallLinear(1 - (steps - s) / warmdown, last);
}

double Wsd(const Arguments& a, int64_t step) {
  const auto s = static_cast<double>(step);
  const double steps = a.x[0], warmup = a.x[1], decay = a.x[2], last = a.x[3];
  if (s >= steps) return last;
  if (s < warmup) return (s + 1) / warmup;
  const double p = s - (steps - decay);
  return p < 0 ? 1 : Fall(ShapeOf(a.x[4]), p / decay, last);
}

std::string WsdConflict(const Arguments& a) {
  if (a.x[1] + a.x[2] > a.x[0]) {
    return "warmup + decay = " + NumberText(a.x[1] + a.x[2]) +
           " is more than steps = " + NumberText(a.x[0]);
  }
  if (ShapeOf(a.x[4]) == Shape::kExponential && a.x[3] == 0) {
    return "an exponential decay needs last above 0";
  }
  return "";
}

// Of a cycle policy: from one value to the next, which is reached at step `end`.
struct Phase {
  double end, from, to;
};

// torch's arithmetic of phases, whose ends need not be integers. One without length is a jump, and
// the last value stays.
double AtPhase(std::span<const Phase> phases, double shape, double s) {
  s = std::min(s, phases.back().end);
  double start = 0;
  for (const Phase& phase : phases) {
    if (s <= phase.end || &phase == &phases.back()) {
      const double p = phase.end > start ? (s - start) / (phase.end - start) : 1;
      return Between(phase.from, phase.to, p, shape);
    }
    start = phase.end;
  }
  return phases.back().to;
}

// torch's two phases: up until the step pct steps - 1, down until steps - 1.
double Cycle(double steps, double pct, double first, double peak, double last, double shape,
             int64_t step) {
  const Phase phases[] = {{pct * steps - 1, first, peak}, {steps - 1, peak, last}};
  return AtPhase(phases, shape, static_cast<double>(step));
}

// torch's three: up, as long down to the first value, from there to the last one.
double Cycle3(double steps, double pct, double first, double peak, double last, double shape,
              int64_t step) {
  const Phase phases[] = {
      {pct * steps - 1, first, peak}, {2 * pct * steps - 2, peak, first}, {steps - 1, first, last}};
  return AtPhase(phases, shape, static_cast<double>(step));
}

// fastai's: the position in training is s / steps, and the phases meet at pct.
double CycleFastai(double steps, double pct, double first, double peak, double last, int64_t step) {
  constexpr auto kCosine = static_cast<double>(Shape::kCosine);
  const double p = static_cast<double>(step) / steps;
  if (p >= 1) return last;
  return p < pct ? Between(first, peak, p / pct, kCosine)
                 : Between(peak, last, (p - pct) / (1 - pct), kCosine);
}

double OneCycle(const Arguments& a, int64_t step) {
  const double first = 1 / a.x[2];
  return Cycle(a.x[0], a.x[1], first, 1, first / a.x[3], a.x[4], step);
}

double OneCycle3(const Arguments& a, int64_t step) {
  const double first = 1 / a.x[2];
  return Cycle3(a.x[0], a.x[1], first, 1, first / a.x[3], a.x[4], step);
}

double OneCycleFastai(const Arguments& a, int64_t step) {
  return CycleFastai(a.x[0], a.x[1], 1 / a.x[2], 1, 1 / a.x[3], step);
}

double OneCycleMomentum(const Arguments& a, int64_t step) {
  return Cycle(a.x[0], a.x[1], a.x[3], a.x[2], a.x[3], a.x[4], step);
}

double OneCycle3Momentum(const Arguments& a, int64_t step) {
  return Cycle3(a.x[0], a.x[1], a.x[3], a.x[2], a.x[3], a.x[4], step);
}

double OneCycleFastaiMomentum(const Arguments& a, int64_t step) {
  return CycleFastai(a.x[0], a.x[1], a.x[3], a.x[2], a.x[3], step);
}

// A triangle between 0 and 1 that begins at 0; `cycle` counts them from 0.
double Triangle(double up, double down, double s, double* cycle) {
  *cycle = std::floor(s / (up + down));
  const double t = std::fmod(s, up + down);
  return t < up ? t / up : t > up ? 1 - (t - up) / down : 1;
}

double Triangular(const Arguments& a, int64_t step) {
  double cycle = 0;
  const double x = Triangle(a.x[0], a.x[1], static_cast<double>(step), &cycle);
  return a.x[2] + (a.x[3] - a.x[2]) * x;
}

double Triangular2(const Arguments& a, int64_t step) {
  double cycle = 0;
  const double x = Triangle(a.x[0], a.x[1], static_cast<double>(step), &cycle);
  return a.x[2] + (a.x[3] - a.x[2]) * x * std::exp2(-cycle);
}

double ExpRange(const Arguments& a, int64_t step) {
  double cycle = 0;
  const auto s = static_cast<double>(step);
  const double x = Triangle(a.x[1], a.x[2], s, &cycle);
  return a.x[3] + (a.x[4] - a.x[3]) * x * std::pow(a.x[0], s);
}

std::string CycleConflict(double up, double down) {
  return up + down == 0 ? "up and down are both 0" : "";
}
std::string TriangleConflict(const Arguments& a) { return CycleConflict(a.x[0], a.x[1]); }
std::string ExpRangeConflict(const Arguments& a) { return CycleConflict(a.x[1], a.x[2]); }

double Then(const Arguments& a, int64_t step) {
  const auto boundary = static_cast<int64_t>(a.x[0]);
  return step < boundary ? a.parts[0](step) : a.parts[1](step - boundary);
}

using P = Parameter;
using Kind = ArgumentKind;

P StepsFrom(double low, std::string_view name, std::string_view doc) {
  return {Kind::kSteps, name, low, kMostSteps, {}, doc};
}
P Spanning(Span span, P steps) {
  steps.span = span;
  return steps;
}
P Length(Span span, std::string_view doc = "length") {
  return Spanning(span, StepsFrom(0, "steps", doc));
}
P CycleLength() { return Spanning(Span::kRun, StepsFrom(1, "steps", "length of training")); }
P Number(std::string_view name, double low, double high, std::optional<double> default_value,
         std::string_view doc) {
  return {Kind::kNumber, name, low, high, default_value, doc};
}
P Factor(double high, std::optional<double> default_value, std::string_view per,
         std::string_view doc) {
  return {Kind::kFactor, "gamma", 0, high, default_value, doc, per};
}
P Rate(std::string_view per, std::string_view doc) {
  return {Kind::kRate, "rate", 0, kInfinity, {}, doc, per};
}
P Last() { return Number("last", 0, kInfinity, 0, "value from s = steps on"); }
P ShapeParameter(Shape most, Shape default_value, std::string_view doc) {
  return {Kind::kShape, "shape", 0, static_cast<double>(most), static_cast<double>(default_value),
          doc};
}
P Anneal() {
  return ShapeParameter(Shape::kCosine, Shape::kCosine, "shape of the curve in between");
}
P Pct(double default_value) {
  return Number("pct", 0, 1, default_value, "share of the steps that rise");
}
P Unbounded(std::string_view name, std::optional<double> default_value, std::string_view doc) {
  return Number(name, -kInfinity, kInfinity, default_value, doc);
}

std::vector<P> OneCycleParameters() {
  return {CycleLength(), Pct(0.3),
          Number("div", 1, kInfinity, 25, "peak divided by the first value"),
          Number("final_div", 1, kInfinity, 1e4, "first value divided by the last"), Anneal()};
}

std::vector<P> OneCycleMomentumParameters(double pct) {
  return {CycleLength(), Pct(pct),
          Unbounded("base", 0.85, "value where the learning rate is highest"),
          Unbounded("top", 0.95, "value at both ends"), Anneal()};
}

std::vector<P> WithoutLast(std::vector<P> parameters) {
  parameters.pop_back();
  return parameters;
}

std::vector<P> TriangleParameters() {
  return {StepsFrom(0, "up", "number of steps from base to peak"),
          StepsFrom(0, "down", "number of steps from peak to base"),
          Unbounded("base", 0, "value at s = 0"), Unbounded("peak", 1, "value of the first peak")};
}

std::vector<P> ExpRangeParameters() {
  std::vector<P> parameters = TriangleParameters();
  parameters.insert(parameters.begin(), Factor(1, {}, "", "factor per step"));
  return parameters;
}

constexpr std::string_view kSgdr = "Loshchilov & Hutter, SGDR, arXiv:1608.03983";
constexpr std::string_view kSuper = "Smith & Topin, Super-Convergence, arXiv:1708.07120";
constexpr std::string_view kFastai = "Howard & Gugger, fastai, arXiv:2002.04688";
constexpr std::string_view kClr = "Smith, Cyclical Learning Rates, arXiv:1506.01186";

}  // namespace

std::span<const std::string_view> Shapes() {
  static constexpr std::array<std::string_view, 4> kShapes = {"linear", "cosine", "sqrt",
                                                              "exponential"};
  return kShapes;
}

const std::vector<Curve>& Curves() {
  static const std::vector<Curve> curves = {
      {.name = "constant",
       .summary = "The same value at every step; a bare number is the same",
       .formula = "value",
       .example = "constant(0.5)",
       .value = &Constant,
       .parameters = {Unbounded("value", {}, "the value")}},
      {.name = "warmup",
       .summary = "Linear warm-up to 1 whose first update is not wasted",
       .formula = "(s + 1) / steps while s < steps, then 1",
       .paper = "Goyal et al., arXiv:1706.02677",
       .example = "warmup(20)",
       .value = &Warmup,
       .parameters = {Length(Span::kWarmup)}},
      {.name = "warmup",
       .summary = "Linear warm-up to 1 from a given value; start = 0 is the warm-up of Hugging "
                  "Face and timm",
       .formula = "start + (1 - start) s / steps while s < steps, then 1",
       .torch = "LinearLR(start_factor = start, total_iters = steps)",
       .example = "warmup(20, 0.25)",
       .value = &WarmupFrom,
       .parameters = {Length(Span::kWarmup), Number("start", 0, 1, {}, "value at s = 0")}},
      {.name = "ramp",
       .summary = "A straight line between any two values, as nanochat uses for Muon's momentum",
       .formula = "first + (last - first) s / steps while s < steps, then last",
       .example = "ramp(60, 0.85, 0.95)",
       .value = &Ramp,
       .parameters = {Length(Span::kTransition), Unbounded("first", {}, "value at s = 0"),
                      Unbounded("last", {}, "value from s = steps on")}},
      {.name = "linear",
       .summary = "A straight line from 1 to last, then last",
       .formula = "1 + (last - 1) s / steps while s < steps, then last",
       .torch = "LinearLR(1, last, steps)",
       .example = "linear(80, 0.1)",
       .value = &Linear,
       .parameters = {Length(Span::kRun), Last()}},
      {.name = "cosine",
       .summary = "Half a cosine from 1 to last, then last",
       .formula = "last + (1 - last) (1 + cos(pi s / steps)) / 2 while s < steps, then last",
       .paper = kSgdr,
       .torch = "CosineAnnealingLR(T_max = steps) until T_max, after which torch's rises again",
       .example = "cosine(80, 0.1)",
       .value = &Cosine,
       .parameters = {Length(Span::kRun), Last()}},
      {.name = "cosine_periodic",
       .summary = "A cosine between 1 and last that repeats without end",
       .formula = "last + (1 - last) (1 + cos(pi s / steps)) / 2",
       .torch = "CosineAnnealingLR(T_max = steps), in closed form",
       .example = "cosine_periodic(25, 0.1)",
       .value = &CosinePeriodic,
       .parameters = {StepsFrom(1, "steps", "half a period"),
                      Number("last", 0, kInfinity, 0, "lowest value")}},
      {.name = "sgdr",
       .summary = "Cosines with warm restarts, each mult times as long and decay times as high",
       .formula = "last + (decay^i - last) (1 + cos(pi t / (steps mult^i))) / 2\n"
                  "  at the t-th step, from 0, of cycle i; from cycle number cycles on, last",
       .paper = kSgdr,
       .torch = "CosineAnnealingWarmRestarts(T_0 = steps, T_mult = mult); timm's CosineLRScheduler "
                "calls the others cycle_decay and cycle_limit",
       .example = "sgdr(14, 2, 0.8)",
       .value = &Sgdr,
       .parameters = {StepsFrom(1, "steps", "length of the first cycle"),
                      Number("mult", 1, kInfinity, 1,
                             "length of a cycle relative to the one before"),
                      Number("decay", 0, 1, 1, "height of a cycle relative to the one before"),
                      Number("last", 0, kInfinity, 0, "value that each cycle goes to"),
                      {Kind::kCount, "cycles", 0, kMostSteps, 0,
                       "number of cycles; 0: unlimited"}}},
      {.name = "polynomial",
       .summary = "A power of the share of steps left, from 1 to last, then last",
       .formula = "last + (1 - last) (1 - s / steps)^power while s < steps, then last",
       .torch = "PolynomialLR(total_iters = steps, power), which has no last",
       .example = "polynomial(80, 2, 0.1)",
       .value = &Polynomial,
       .parameters = {Length(Span::kRun), Number("power", 0, kInfinity, 1, "exponent; 1 is linear"),
                      Last()}},
      {.name = "step",
       .summary = "A drop by the factor gamma after each interval of equal length",
       .formula = "gamma^floor(s / steps)",
       .torch = "StepLR(step_size = steps, gamma)",
       .example = "step(30, 0.5)",
       .value = &Step,
       .parameters = {StepsFrom(1, "steps", "length of one level"),
                      Factor(kInfinity, 0.1, "steps", "factor")}},
      {.name = "multistep",
       .summary = "A drop by the factor gamma at each milestone; a repeated milestone counts again",
       .formula = "gamma^(number of milestones <= s)",
       .torch = "MultiStepLR(milestones, gamma)",
       .example = "multistep([30, 60, 90], 0.5)",
       .value = &MultiStep,
       .parameters =
           {{Kind::kStepList, "milestones", 0, kMostSteps, {}, "first step of each level"},
            Number("gamma", 0, kInfinity, 0.1, "factor")}},
      {.name = "exponential",
       .summary = "A smooth decay by the factor gamma over each interval of equal length",
       .formula = "gamma^(s / steps)",
       .torch = "ExponentialLR(gamma)",
       .example = "exponential(0.97)",
       .value = &Exponential,
       .parameters = {Factor(kInfinity, {}, "steps", "factor"),
                      {Kind::kSteps, "steps", 1, kMostSteps, 1, "number of steps per factor"}}},
      {.name = "exp_decay",
       .summary = "Exponential decay by its rate",
       .formula = "exp(-rate s)",
       .torch = "ExponentialLR(gamma = exp(-rate))",
       .example = "exp_decay(0.03)",
       .value = &ExpDecay,
       .parameters = {Rate("", "rate per step")}},
      {.name = "inverse_time",
       .summary = "Inverse time decay",
       .formula = "1 / (1 + rate s / steps)",
       .example = "inverse_time(0.1)",
       .value = &InverseTime,
       .parameters = {Rate("steps", "rate of decay"),
                      {Kind::kSteps, "steps", 1, kMostSteps, 1,
                       "number of steps that the rate is for"}}},
      {.name = "inverse_time_staircase",
       .summary = "Inverse time decay that drops once in each interval of equal length",
       .formula = "1 / (1 + rate floor(s / steps))",
       .example = "inverse_time_staircase(0.5, 20)",
       .value = &InverseTimeStaircase,
       .parameters = {Rate("steps", "rate of decay"),
                      StepsFrom(1, "steps", "length of one level")}},
      {.name = "inverse_sqrt",
       .summary =
           "Inverse square root decay after a plateau; after a warm-up, that of Hugging Face",
       .formula = "sqrt(steps / max(s, steps))",
       .paper = "Raffel et al., T5, arXiv:1910.10683",
       .example = "inverse_sqrt(10)",
       .value = &InverseSqrt,
       .parameters = {{Kind::kSteps, "steps", 1, kMostSteps, 1,
                       "number of steps before the decay"}}},
      {.name = "noam",
       .summary =
           "The Transformer's own: linear warm-up, then inverse square root; not relative to 1",
       .formula = "width^-0.5 min(t^-0.5, t warmup^-1.5), t = s + 1",
       .paper = "Vaswani et al., Attention Is All You Need, arXiv:1706.03762",
       .example = "noam(16, 20)",
       .value = &Noam,
       .parameters = {{Kind::kWidth, "width", 1, kMostSteps, {}, "width of the model"},
                      Spanning(Span::kWarmup,
                               StepsFrom(0, "warmup",
                                         "number of steps; the peak is at s = warmup - 1"))},
       .goes_on = true},
      {.name = "rsqrt",
       .summary = "Inverse square root decay with a time scale, starting at once",
       .formula = "1 / sqrt(1 + (s + shift) / timescale)",
       .paper = "Zhai et al., Scaling Vision Transformers, arXiv:2106.04560",
       .example = "rsqrt(10)",
       .value = &Rsqrt,
       .parameters = {StepsFrom(1, "timescale", "number of steps until the square has halved"),
                      {Kind::kSteps, "shift", 0, kMostSteps, 0,
                       "number of steps counted as already taken"}}},
      {.name = "trapezoid",
       .summary = "Warm-up, constant, linear warm-down, each a share of training, as in nanochat",
       .formula = "W = round(warmup steps), D = round(warmdown steps), halves to even\n"
                  "(s + 1) / W while s < W, 1 while s <= steps - D,\n"
                  "p + (1 - p) last with p = (steps - s) / D while s < steps, then last",
       .paper = "Xing et al., A Walk with SGD, arXiv:1802.08770; Karpathy, nanochat",
       .example = "trapezoid(100, 0.1, 0.4, 0.1)",
       .value = &Trapezoid,
       .parameters = {Length(Span::kRun, "length of training"),
                      Number("warmup", 0, 1, 0,
                             "share of the steps that warm up; takes precedence in an overlap"),
                      Number("warmdown", 0, 1, 0.2, "share of the steps that warm down"), Last()}},
      {.name = "wsd",
       .summary = "Warm-up, stable, decay in one of four shapes",
       .formula = "(s + 1) / warmup while s < warmup, 1 while s < steps - decay; then with\n"
                  "p = (s - (steps - decay)) / decay, while p < 1, then last:\n"
                  "  linear       1 - (1 - last) p\n"
                  "  cosine       last + (1 - last) (1 + cos(pi p)) / 2\n"
                  "  sqrt         last + (1 - last) (1 - sqrt(p))\n"
                  "  exponential  last^p",
       .paper = "Hu et al., MiniCPM, arXiv:2404.06395; Hagele et al., arXiv:2405.18392",
       .example = "wsd(100, 10, 40, 0.1, sqrt)",
       .value = &Wsd,
       .parameters = {Length(Span::kRun, "length of training"),
                      Spanning(Span::kWarmup, StepsFrom(0, "warmup", "number of steps")),
                      StepsFrom(0, "decay", "number of steps"), Last(),
                      ShapeParameter(Shape::kExponential, Shape::kLinear, "shape of the decay")},
       .conflict = &WsdConflict},
      {.name = "onecycle",
       .summary = "One cycle over the whole training: up to 1, down to nearly nothing, then last",
       .formula = "1 / div -> 1 at s = pct steps - 1 -> 1 / (div final_div) at s = steps - 1",
       .paper = kSuper,
       .torch = "OneCycleLR, except that torch's divides by zero if pct steps = 1 and rises at s = "
                "steps",
       .example = "onecycle(100)",
       .value = &OneCycle,
       .parameters = OneCycleParameters()},
      {.name = "onecycle_momentum",
       .summary = "The momentum to go with onecycle",
       .formula = "top -> base at s = pct steps - 1 -> top at s = steps - 1",
       .paper = kSuper,
       .torch = "the momentum, or beta1, that OneCycleLR sets",
       .example = "onecycle_momentum(100)",
       .value = &OneCycleMomentum,
       .parameters = OneCycleMomentumParameters(0.3)},
      {.name = "onecycle3",
       .summary = "One cycle in three phases: up, down in as many steps, then to nearly nothing",
       .formula = "1 / div -> 1 at s = pct steps - 1 -> 1 / div at s = 2 pct steps - 2\n"
                  "-> 1 / (div final_div) at s = steps - 1",
       .paper = kSuper,
       .torch = "OneCycleLR(three_phase = True), with the exceptions of onecycle",
       .example = "onecycle3(100)",
       .value = &OneCycle3,
       .parameters = OneCycleParameters()},
      {.name = "onecycle3_momentum",
       .summary = "The momentum to go with onecycle3",
       .formula = "top -> base at s = pct steps - 1 -> top at s = 2 pct steps - 2, then top",
       .paper = kSuper,
       .torch = "the momentum, or beta1, that OneCycleLR(three_phase = True) sets",
       .example = "onecycle3_momentum(100)",
       .value = &OneCycle3Momentum,
       .parameters = OneCycleMomentumParameters(0.3)},
      {.name = "onecycle_fastai",
       .summary = "One cycle as in fastai's fit_one_cycle, by half cosines",
       .formula = "1 / div -> 1 at s = pct steps -> 1 / div_final at s = steps, then that",
       .paper = kFastai,
       .torch = "differs from OneCycleLR in pct, in the ends of the phases and in the last value",
       .example = "onecycle_fastai(100)",
       .value = &OneCycleFastai,
       .parameters = {CycleLength(), Pct(0.25),
                      Number("div", 1, kInfinity, 25, "peak divided by the first value"),
                      Number("div_final", 1, kInfinity, 1e5, "peak divided by the last value")}},
      {.name = "onecycle_fastai_momentum",
       .summary = "The momentum to go with onecycle_fastai",
       .formula = "top -> base at s = pct steps -> top at s = steps, then that",
       .paper = kFastai,
       .example = "onecycle_fastai_momentum(100)",
       .value = &OneCycleFastaiMomentum,
       .parameters = WithoutLast(OneCycleMomentumParameters(0.25))},
      {.name = "triangular",
       .summary = "A repeated triangle; base above peak turns it upside down, for momentum",
       .formula = "base + (peak - base) x, x = 0 at s = 0, 1 at s = up, 0 at s = up + down, ...",
       .paper = kClr,
       .torch = "CyclicLR(step_size_up = up, step_size_down = down); its momentum uses 0.9, 0.8",
       .example = "triangular(15, 25, 0.1)",
       .value = &Triangular,
       .parameters = TriangleParameters(),
       .conflict = &TriangleConflict},
      {.name = "triangular2",
       .summary = "A repeated triangle, each half as high as the one before",
       .formula = "base + (peak - base) x / 2^c, x as in triangular, c whole cycles before s",
       .paper = kClr,
       .torch = "CyclicLR(mode = 'triangular2')",
       .example = "triangular2(15, 25, 0.1)",
       .value = &Triangular2,
       .parameters = TriangleParameters(),
       .conflict = &TriangleConflict},
      {.name = "exp_range",
       .summary = "A repeated triangle under an exponential decay",
       .formula = "base + (peak - base) x gamma^s, x as in triangular",
       .paper = kClr,
       .torch = "CyclicLR(mode = 'exp_range', gamma)",
       .example = "exp_range(0.98, 15, 25, 0.1)",
       .value = &ExpRange,
       .parameters = ExpRangeParameters(),
       .conflict = &ExpRangeConflict},
      {.name = "then",
       .summary = "One schedule, then another, which starts at its own step 0",
       .formula = "first(s) while s < boundary, then second(s - boundary)",
       .torch = "SequentialLR([first, second], [boundary])",
       .example = "then(warmup(20, 0), 20, rsqrt(20))",
       .value = &Then,
       .parameters = {{Kind::kSchedule, "first", 0, 0, {}, "before the boundary"},
                      StepsFrom(0, "boundary", "first step of the second"),
                      {Kind::kSchedule, "second", 0, 0, {}, "from the boundary on"}}},
  };
  return curves;
}

}  // namespace kudari::internal
