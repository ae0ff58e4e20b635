#ifndef KUDARI_SCHEDULE_H_
#define KUDARI_SCHEDULE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kudari/description.h"

namespace kudari {

struct ScheduleArgument;

/// How long a run is, for schedules whose lengths are relative to it.
struct RunLength {
  int64_t steps = 0;           ///< updates, in [1, 2^53]
  double steps_per_epoch = 0;  ///< above 0; 0: unknown, so that no length can be in epochs
};

/// A pure function of the step number s = 0, 1, ..., where s = 0 is the first update. Immutable, so
/// it has no state to save: Text() is its whole description and ParseSchedule(s.Text()) is s.
///
///     Schedule lr = 2e-3 * Warmup(100) * Cosine(1500, 0.05);
///     lr(0);      // 2e-5
///     lr.Text();  // "0.002 * warmup(100) * cosine(1500, 0.05)"
///
/// Lengths in a text may be relative to the run, "2e-3 * warmup(10%) * cosine(end, 0.05)"; such a
/// schedule has no values until Resolve has put numbers of steps in their place.
class Schedule {
 public:
  /// The same value at every step; throws Error if it is not finite.
  Schedule(double constant);  // NOLINT(google-explicit-constructor): numbers are schedules

  /// The value at step s >= 0. Throws Error unless IsResolved().
  double operator()(int64_t step) const;

  /// Canonical text, as ParseSchedule reads it.
  const std::string& Text() const { return text_; }

  /// Whether the value is the same at every step.
  bool IsConstant() const;

  /// Whether no length in it is relative to a run, so that it has values.
  bool IsResolved() const;

  /// The schedule for a run of that length: each relative length as the nearest number of steps, at
  /// least 1 where the function takes no 0. "end" in the second part of then(...) is what is left
  /// of the run there; percentages and epochs are always those of the whole run. Where lengths fit
  /// together only so, as those of wsd(end, 10%, 90%) may, all of a call are rounded down. Throws
  /// Error naming the text and the run's length if one is in epochs and steps_per_epoch is 0, if
  /// `run` is out of its range, or if the numbers of steps do not suit the function. The identity
  /// for a schedule that is resolved.
  Schedule Resolve(const RunLength& run) const;

  /// The factors of the product, each a schedule.
  std::vector<Schedule> Factors() const;
  /// The first factor's function, "constant" if it is a number, and its arguments, one for each
  /// parameter.
  std::string_view Function() const;
  std::vector<ScheduleArgument> Arguments() const;
  /// The product of the numbers among the factors, if there are any: 2e-3 of 2e-3 * warmup(100).
  std::optional<double> LeadingNumber() const;

  friend bool operator==(const Schedule& a, const Schedule& b) { return a.text_ == b.text_; }

  /// One factor of the product; defined in schedule.cc.
  struct Factor;

 private:
  friend Schedule operator*(const Schedule&, const Schedule&);
  friend class ScheduleBuilder;
  explicit Schedule(std::vector<std::shared_ptr<const Factor>> factors);

  std::vector<std::shared_ptr<const Factor>> factors_;  // multiplied from left to right
  std::string text_;
};

/// What an argument of a schedule's function is.
enum class ArgumentKind {
  kSteps,     ///< a number of steps, or the number of a step: an integer
  kStepList,  ///< ascending numbers of steps
  kCount,     ///< an integer that counts something else
  kWidth,     ///< an integer whose root the value is divided by: noam's
  kNumber,    ///< a number that steps have no part in
  kFactor,    ///< what the value is multiplied with in so many steps, see ScheduleArgument::per
  kRate,      ///< what is added in so many steps to something that the value is a function of
  kShape,     ///< a Shape, as the number of its enumerator
  kSchedule   ///< a schedule
};

/// What a length that is relative to a run is counted in.
enum class StepUnit {
  kPercent,  ///< "10%": hundredths of the run's steps, [0, 100]
  kEpochs,   ///< "30ep": epochs of the run, [0, inf), fractions too
  kEnd       ///< "end": the steps up to the run's end, without an amount
};

/// A length relative to a run, in place of a number of steps.
struct RunSteps {
  double amount = 0;
  StepUnit unit = StepUnit::kEnd;

  friend bool operator==(const RunSteps&, const RunSteps&) = default;
};

/// A number of steps, or a length relative to the run.
using StepCount = std::variant<double, RunSteps>;

/// A list is of steps, and a number everything but that and a schedule. What counts steps may be
/// relative to a run; a list of which an element is has a StepCount for each.
using ArgumentValue =
    std::variant<double, std::vector<double>, Schedule, RunSteps, std::vector<StepCount>>;

/// An argument of a schedule's function, see Schedule::Arguments.
struct ScheduleArgument {
  std::string_view name;
  ArgumentKind kind;
  /// The name of the argument that says for how many steps a kFactor or kRate is; "": for one.
  std::string_view per;
  ArgumentValue value;
};

/// The schedule of one call; `arguments` has a value for each parameter of the function, in their
/// order. Throws Error if there is no such function, or if an argument is out of its range.
Schedule MakeSchedule(std::string_view function, std::span<const ScheduleArgument> arguments);

/// The steps of the first warm-up in a schedule, wherever in it that is. Throws Error if they are
/// relative to a run.
std::optional<int64_t> WarmupSteps(const Schedule& schedule);

/// What does not fit a run of that length, in sentences without capital and full stop: a warm-up
/// that does not end before the run or takes more than half of it, a curve over the run, such as
/// cosine, that ends before 90 % of the run or of which the run takes less than 90 %. None for a
/// schedule that fits or has no end. Throws Error as Schedule::Resolve, and if `run` is out of its
/// range.
std::vector<std::string> ScheduleMisfits(const Schedule& schedule, const RunLength& run);

/// How a value goes from one to another over p in [0, 1].
enum class Shape {
  kLinear,       ///< "linear": a straight line
  kCosine,       ///< "cosine": half a cosine
  kSqrt,         ///< "sqrt": 1 - sqrt(p), fast at first
  kExponential,  ///< "exponential": last^p
};

// The curves. Most begin at, or go up to, 1, so that the product with a number has that number as
// its start or peak. Lengths are in steps, from 0 to 2^53; a phase of length 0 is a jump. Where a
// curve has `last`, that is its value from step `steps` on, one step after a training of `steps`
// updates. All throw Error if an argument is out of its range.

/// The same value at every step: Schedule(value) by name.
Schedule Constant(double value);

/// Linear warm-up to 1 over `steps` steps: (s + 1) / steps while s < steps, then 1. The first
/// update has 1 / steps and is never wasted (nanochat, schedule-free).
Schedule Warmup(int64_t steps);

/// Linear warm-up from `start` in [0, 1]: start + (1 - start) s / steps while s < steps, then 1, as
/// torch's LinearLR. With start = 0 it is the s / steps of Hugging Face and timm, whose first
/// update has a learning rate of zero.
Schedule Warmup(int64_t steps, double start);

/// A straight line from `first` at step 0 to `last` at `steps`, then `last`; any two values.
/// Ramp(300, 0.85, 0.95) is nanochat's momentum for Muon.
Schedule Ramp(int64_t steps, double first, double last);

/// A straight line from 1 to `last` over `steps`, then `last`.
Schedule Linear(int64_t steps, double last = 0);

/// Half a cosine from 1 to `last` over `steps` (Loshchilov & Hutter, arXiv:1608.03983, eq. 5), then
/// `last`: unlike torch's CosineAnnealingLR it does not rise again.
Schedule Cosine(int64_t steps, double last = 0);

/// The cosine that torch's CosineAnnealingLR follows: `last` at `steps` >= 1, 1 again at 2 `steps`,
/// and so on.
Schedule CosinePeriodic(int64_t steps, double last = 0);

/// Cosines with warm restarts (SGDR): cycle i = 0, 1, ... is `steps` mult^i long, steps and mult >=
/// 1, and goes from decay^i, decay in [0, 1], to `last`; from cycle number `cycles` on, unless that
/// is 0, `last`. torch's CosineAnnealingWarmRestarts, with timm's cycle_decay and cycle_limit.
Schedule Sgdr(int64_t steps, double mult = 1, double decay = 1, double last = 0,
              int64_t cycles = 0);

/// last + (1 - last) (1 - s / steps)^power, power >= 0, while s < steps, then `last`: torch's
/// PolynomialLR and Hugging Face's polynomial decay.
Schedule Polynomial(int64_t steps, double power = 1, double last = 0);

/// gamma^floor(s / steps), steps >= 1: torch's StepLR.
Schedule Step(int64_t steps, double gamma = 0.1);

/// gamma to the number of milestones <= s: torch's MultiStepLR, which drops *at* a milestone. They
/// ascend; one that is repeated counts each time.
Schedule MultiStep(const std::vector<int64_t>& milestones, double gamma = 0.1);

/// gamma^(s / steps), gamma >= 0, steps >= 1: torch's ExponentialLR with steps = 1. As the decay of
/// Then, gamma = 0.5 with a half-life of `steps` is MiniCPM's.
Schedule Exponential(double gamma, int64_t steps = 1);

/// exp(-rate s), rate >= 0: Exponential(exp(-rate)) by its rate.
Schedule ExpDecay(double rate);

/// 1 / (1 + rate s / steps), rate >= 0, steps >= 1.
Schedule InverseTime(double rate, int64_t steps = 1);

/// 1 / (1 + rate floor(s / steps)): Keras' InverseTimeDecay(staircase=True).
Schedule InverseTimeStaircase(double rate, int64_t steps);

/// sqrt(steps / max(s, steps)), steps >= 1: 1 until s = steps, then falling (T5). With steps = 1 it
/// is the textbook's 1 / sqrt(s), which has no value at s = 0; Warmup(W, 0) * InverseSqrt(W) is
/// Hugging Face's.
Schedule InverseSqrt(int64_t steps = 1);

/// width^-0.5 min(t^-0.5, t warmup^-1.5), t = s + 1 (Vaswani et al., arXiv:1706.03762): the peak is
/// (width warmup)^-0.5 at s = warmup - 1, so no number need be in front.
Schedule Noam(int64_t width, int64_t warmup);

/// 1 / sqrt(1 + (s + shift) / timescale), timescale >= 1: big_vision's rsqrt, which continues with
/// a shift where another run ended. It falls from step 0 on.
Schedule Rsqrt(int64_t timescale, int64_t shift = 0);

/// Warm-up over round(warmup steps), 1, then a line down to `last` over the final round(warmdown
/// steps), both parts of `steps` in [0, 1] and rounded half to even: nanochat's. At s = steps -
/// round(warmdown steps) it is still 1; where the two overlap, the warm-up wins.
Schedule Trapezoid(int64_t steps, double warmup = 0, double warmdown = 0.2, double last = 0);

/// Warm-up over `warmup` steps as Warmup(warmup), 1, then over the final `decay` of `steps` a fall
/// to `last` in the given shape (MiniCPM, arXiv:2404.06395; 1 - sqrt: arXiv:2405.18392). Throws
/// Error if warmup + decay > steps, and for an exponential decay to 0.
Schedule Wsd(int64_t steps, int64_t warmup, int64_t decay, double last = 0,
             Shape shape = Shape::kLinear);

/// torch's OneCycleLR relative to max_lr: from 1 / div at step 0 to 1 at pct steps - 1, then to 1 /
/// (div final_div) at steps - 1, where it stays; div and final_div >= 1, linear or cosine.
Schedule OneCycle(int64_t steps, double pct = 0.3, double div = 25, double final_div = 1e4,
                  Shape shape = Shape::kCosine);
/// The momentum (or beta1) that goes with it: from `top` to `base` to `top`.
Schedule OneCycleMomentum(int64_t steps, double pct = 0.3, double base = 0.85, double top = 0.95,
                          Shape shape = Shape::kCosine);

/// The same in torch's three phases: back at 1 / div at 2 pct steps - 2, then to 1 / (div
/// final_div).
Schedule OneCycle3(int64_t steps, double pct = 0.3, double div = 25, double final_div = 1e4,
                   Shape shape = Shape::kCosine);
/// Its momentum, which is `top` throughout the third phase.
Schedule OneCycle3Momentum(int64_t steps, double pct = 0.3, double base = 0.85, double top = 0.95,
                           Shape shape = Shape::kCosine);

/// fastai's fit_one_cycle: from 1 / div at step 0 by half a cosine to 1 at pct steps, by another to
/// 1 / div_final (not divided by div) at `steps`, where it stays.
Schedule OneCycleFastai(int64_t steps, double pct = 0.25, double div = 25, double div_final = 1e5);
/// Its momentum: from `top` to `base` to `top`.
Schedule OneCycleFastaiMomentum(int64_t steps, double pct = 0.25, double base = 0.85,
                                double top = 0.95);

/// From `base` at step 0 up to `peak` in `up` steps, back in `down`, and again: torch's CyclicLR
/// relative to max_lr. For its momentum exchange the two: Triangular(up, down, 0.9, 0.8). Throws
/// Error if up and down are both 0.
Schedule Triangular(int64_t up, int64_t down, double base = 0, double peak = 1);

/// The same with triangles of which each is half as high as that before.
Schedule Triangular2(int64_t up, int64_t down, double base = 0, double peak = 1);

/// The same with triangles whose height is multiplied with gamma^s, gamma in [0, 1].
Schedule ExpRange(double gamma, int64_t up, int64_t down, double base = 0, double peak = 1);

/// `first` before step `boundary`, then `second`, whose own step 0 is the boundary.
Schedule Then(const Schedule& first, int64_t boundary, const Schedule& second);

/// The product, value by value.
Schedule operator*(const Schedule& a, const Schedule& b);

/// Reads a product of numbers and calls, such as "2e-3 * warmup(100) * cosine(1500, 0.05)",
/// "0.1 * multistep([30, 60, 90])" or "then(1e-3, 500, 1e-4 * linear(100))". A call is named as the
/// function is, in lower case (cosine_periodic, inverse_sqrt, exp_range, onecycle3_momentum), and
/// may name arguments: "onecycle(1000, final_div = 1e3, shape = linear)". What counts steps may be
/// relative to the run: "warmup(10%)", "cosine(end)", "multistep([30ep, 60ep])"; see
/// Schedule::Resolve. Throws Error naming the column, counted from 1, and the nearest known name.
Schedule ParseSchedule(std::string_view text);

/// What every schedule function is and takes, for listings, each with an example that parses.
std::vector<Description> DescribeSchedules();

}  // namespace kudari

#endif  // KUDARI_SCHEDULE_H_
