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

/// A pure function of the step number s = 0, 1, ..., where s = 0 is the first update. A schedule is
/// immutable and has no state to save: Text() describes it completely, and ParseSchedule(s.Text())
/// equals s.
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

  /// The canonical text, as ParseSchedule reads it.
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
  /// The function of the first factor ("constant" for a number) and its arguments, one per
  /// parameter.
  std::string_view Function() const;
  std::vector<ScheduleArgument> Arguments() const;
  /// The product of the numeric factors, if there are any: 2e-3 for 2e-3 * warmup(100).
  std::optional<double> LeadingNumber() const;

  /// Whether the canonical texts are equal.
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

/// The kind of an argument of a schedule function.
enum class ArgumentKind {
  kSteps,     ///< a number of steps or a step number: an integer
  kStepList,  ///< ascending step numbers
  kCount,     ///< an integer that counts something else
  kWidth,     ///< an integer whose root divides the value: noam's width
  kNumber,    ///< a number unrelated to steps
  kFactor,    ///< a factor applied once per `per` steps, see ScheduleArgument::per
  kRate,      ///< an amount added per `per` steps to the argument of a function, see
              ///< ScheduleArgument::per
  kShape,     ///< a Shape, as the number of its enumerator
  kSchedule   ///< a schedule
};

/// The unit of a length that is relative to a run.
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

/// A step of a run: its number, counted from 0 and at most 2^53, or where it is relative to the
/// run, as RunSteps{.amount = 10, .unit = StepUnit::kPercent}.
using StepNumber = std::variant<int64_t, RunSteps>;

/// The canonical text, "100", "10%", "2ep" or "end", which ParseStepNumber reads. The latter throws
/// Error for another text, and for a number that is out of its range.
std::string StepText(const StepNumber& step);
StepNumber ParseStepNumber(std::string_view text);

/// The step in a run of that length, rounded to the nearest. Throws Error if it is in epochs and
/// steps_per_epoch is 0, or if `run` is out of its range.
int64_t ResolveStep(const StepNumber& step, const RunLength& run);

/// The value of an argument: a list for kStepList, a Schedule for kSchedule, a number otherwise. A
/// kSteps may be a RunSteps, and a list in which a length is relative has a StepCount for each.
using ArgumentValue =
    std::variant<double, std::vector<double>, Schedule, RunSteps, std::vector<StepCount>>;

/// An argument of a schedule function, see Schedule::Arguments.
struct ScheduleArgument {
  std::string_view name;
  ArgumentKind kind;
  /// The name of the argument that gives the number of steps a kFactor or kRate applies to; "": one
  /// step.
  std::string_view per;
  ArgumentValue value;
};

/// Makes a schedule from one function call; `arguments` has a value for each parameter of the
/// function, in order. Throws Error if there is no such function or an argument is out of range.
Schedule MakeSchedule(std::string_view function, std::span<const ScheduleArgument> arguments);

/// The length in steps of the first warm-up in a schedule, at any depth; nothing if there is none.
/// Throws Error if it is relative to a run.
std::optional<int64_t> WarmupSteps(const Schedule& schedule);

/// The misfits of a schedule with a run of that length, as sentences without capital and full stop:
/// a warm-up that does not end before the run or takes more than half of it, a curve over the run,
/// such as cosine, that ends before 90 % of the run or of which the run takes less than 90 %. None
/// for a schedule that fits or has no end. Throws Error as Schedule::Resolve, and if `run` is out
/// of its range.
std::vector<std::string> ScheduleMisfits(const Schedule& schedule, const RunLength& run);

/// The shape of a transition between two values over p in [0, 1].
enum class Shape {
  kLinear,       ///< "linear": a straight line
  kCosine,       ///< "cosine": half a cosine
  kSqrt,         ///< "sqrt": 1 - sqrt(p), fast at first
  kExponential,  ///< "exponential": last^p
};

// The schedule functions. Most start at 1 or rise to 1, so that multiplying by a number makes that
// number the start or the peak. Lengths are in steps, from 0 to 2^53; a phase of length 0 is a
// jump. Where a function has `last`, that is its value from step `steps` on, the first step after a
// training of `steps` updates. All throw Error if an argument is out of range.

/// The same value at every step: Schedule(value) as a named function.
Schedule Constant(double value);

/// Linear warm-up to 1 over `steps` steps: (s + 1) / steps while s < steps, then 1. The first
/// update gets 1 / steps, so it is never wasted (nanochat, schedule-free).
Schedule Warmup(int64_t steps);

/// Linear warm-up from `start` in [0, 1]: start + (1 - start) s / steps while s < steps, then 1, as
/// torch's LinearLR. With start = 0 it is the s / steps of Hugging Face and timm, where the first
/// update has a learning rate of zero.
Schedule Warmup(int64_t steps, double start);

/// A straight line from `first` at step 0 to `last` at `steps`, then `last`, for any two values.
/// Ramp(300, 0.85, 0.95) is nanochat's momentum for Muon.
Schedule Ramp(int64_t steps, double first, double last);

/// A straight line from 1 to `last` over `steps`, then `last`.
Schedule Linear(int64_t steps, double last = 0);

/// Half a cosine from 1 to `last` over `steps` (Loshchilov & Hutter, arXiv:1608.03983, eq. 5), then
/// `last`. Unlike torch's CosineAnnealingLR it does not rise again.
Schedule Cosine(int64_t steps, double last = 0);

/// The periodic cosine of torch's CosineAnnealingLR: `last` at `steps` >= 1, 1 again at 2 `steps`,
/// and so on.
Schedule CosinePeriodic(int64_t steps, double last = 0);

/// Cosine annealing with warm restarts (SGDR). Cycle i = 0, 1, ... has `steps` mult^i steps, with
/// steps and mult >= 1, and falls from decay^i, with decay in [0, 1], to `last`. From cycle number
/// `cycles` on, unless that is 0, the value is `last`. This is torch's CosineAnnealingWarmRestarts
/// with timm's cycle_decay and cycle_limit.
Schedule Sgdr(int64_t steps, double mult = 1, double decay = 1, double last = 0,
              int64_t cycles = 0);

/// last + (1 - last) (1 - s / steps)^power, power >= 0, while s < steps, then `last`: torch's
/// PolynomialLR and Hugging Face's polynomial decay.
Schedule Polynomial(int64_t steps, double power = 1, double last = 0);

/// gamma^floor(s / steps), steps >= 1: torch's StepLR.
Schedule Step(int64_t steps, double gamma = 0.1);

/// gamma to the power of the number of milestones <= s: torch's MultiStepLR, which drops *at* a
/// milestone. Milestones ascend; a repeated one counts each time.
Schedule MultiStep(const std::vector<int64_t>& milestones, double gamma = 0.1);

/// gamma^(s / steps), gamma >= 0, steps >= 1: torch's ExponentialLR with steps = 1. Used as the
/// second part of Then with gamma = 0.5, it is MiniCPM's decay with a half-life of `steps`.
Schedule Exponential(double gamma, int64_t steps = 1);

/// exp(-rate s), rate >= 0: Exponential(exp(-rate)), given by its rate.
Schedule ExpDecay(double rate);

/// 1 / (1 + rate s / steps), rate >= 0, steps >= 1.
Schedule InverseTime(double rate, int64_t steps = 1);

/// 1 / (1 + rate floor(s / steps)): Keras' InverseTimeDecay(staircase=True).
Schedule InverseTimeStaircase(double rate, int64_t steps);

/// sqrt(steps / max(s, steps)), steps >= 1: 1 until s = steps, then falling (T5). With steps = 1 it
/// is the textbook's 1 / sqrt(s), except at s = 0 where that is undefined. Warmup(W, 0) *
/// InverseSqrt(W) is Hugging Face's schedule.
Schedule InverseSqrt(int64_t steps = 1);

/// width^-0.5 min(t^-0.5, t warmup^-1.5), t = s + 1 (Vaswani et al., arXiv:1706.03762). The peak is
/// (width warmup)^-0.5 at s = warmup - 1, so no leading number is needed.
Schedule Noam(int64_t width, int64_t warmup);

/// 1 / sqrt(1 + (s + shift) / timescale), timescale >= 1: big_vision's rsqrt. It falls from step 0
/// on; a shift continues where another run ended.
Schedule Rsqrt(int64_t timescale, int64_t shift = 0);

/// Warm-up over round(warmup steps), then 1, then a line down to `last` over the final
/// round(warmdown steps): nanochat's schedule. `warmup` and `warmdown` are fractions of `steps` in
/// [0, 1] and are rounded half to even. At s = steps - round(warmdown steps) the value is still 1.
/// Where the two overlap, the warm-up wins.
Schedule Trapezoid(int64_t steps, double warmup = 0, double warmdown = 0.2, double last = 0);

/// Warmup(warmup), then 1, then a fall to `last` in the given shape over the final `decay` of
/// `steps` steps (MiniCPM, arXiv:2404.06395; 1 - sqrt: arXiv:2405.18392). Throws Error if warmup +
/// decay > steps, and for an exponential decay to 0.
Schedule Wsd(int64_t steps, int64_t warmup, int64_t decay, double last = 0,
             Shape shape = Shape::kLinear);

/// torch's OneCycleLR relative to max_lr: from 1 / div at step 0 to 1 at pct steps - 1, then to 1 /
/// (div final_div) at steps - 1, where it stays. div and final_div >= 1; the shape is linear or
/// cosine.
Schedule OneCycle(int64_t steps, double pct = 0.3, double div = 25, double final_div = 1e4,
                  Shape shape = Shape::kCosine);
/// The momentum (or beta1) that goes with OneCycle: from `top` to `base` and back to `top`.
Schedule OneCycleMomentum(int64_t steps, double pct = 0.3, double base = 0.85, double top = 0.95,
                          Shape shape = Shape::kCosine);

/// The three-phase form of torch's OneCycleLR: back at 1 / div at 2 pct steps - 2, then to 1 / (div
/// final_div).
Schedule OneCycle3(int64_t steps, double pct = 0.3, double div = 25, double final_div = 1e4,
                   Shape shape = Shape::kCosine);
/// The momentum that goes with OneCycle3; it is `top` throughout the third phase.
Schedule OneCycle3Momentum(int64_t steps, double pct = 0.3, double base = 0.85, double top = 0.95,
                           Shape shape = Shape::kCosine);

/// fastai's fit_one_cycle: half a cosine from 1 / div at step 0 to 1 at pct steps, then another to
/// 1 / div_final (not divided by div) at `steps`, where it stays.
Schedule OneCycleFastai(int64_t steps, double pct = 0.25, double div = 25, double div_final = 1e5);
/// The momentum that goes with OneCycleFastai: from `top` to `base` and back to `top`.
Schedule OneCycleFastaiMomentum(int64_t steps, double pct = 0.25, double base = 0.85,
                                double top = 0.95);

/// Rises from `base` at step 0 to `peak` in `up` steps, falls back in `down` steps, and repeats:
/// torch's CyclicLR relative to max_lr. For its momentum, swap base and peak: Triangular(up, down,
/// 0.9, 0.8). Throws Error if up and down are both 0.
Schedule Triangular(int64_t up, int64_t down, double base = 0, double peak = 1);

/// As Triangular, but each triangle is half as high as the one before.
Schedule Triangular2(int64_t up, int64_t down, double base = 0, double peak = 1);

/// As Triangular, but the height of the triangles is multiplied by gamma^s, gamma in [0, 1].
Schedule ExpRange(double gamma, int64_t up, int64_t down, double base = 0, double peak = 1);

/// `first` before step `boundary`, then `second`, whose step 0 is the boundary.
Schedule Then(const Schedule& first, int64_t boundary, const Schedule& second);

/// The product of two schedules at each step.
Schedule operator*(const Schedule& a, const Schedule& b);

/// Parses a product of numbers and calls, such as "2e-3 * warmup(100) * cosine(1500, 0.05)", "0.1 *
/// multistep([30, 60, 90])" or "then(1e-3, 500, 1e-4 * linear(100))". A function is called by its
/// C++ name in lower case (cosine_periodic, inverse_sqrt, exp_range, onecycle3_momentum), and
/// arguments may be named: "onecycle(1000, final_div = 1e3, shape = linear)". An argument that
/// counts steps may be relative to the run: "warmup(10%)", "cosine(end)", "multistep([30ep,
/// 60ep])"; see Schedule::Resolve. Throws Error naming the column, counted from 1, and the nearest
/// known name.
Schedule ParseSchedule(std::string_view text);

/// Descriptions of all schedule functions for listings, each with an example that parses.
std::vector<Description> DescribeSchedules();

}  // namespace kudari

#endif  // KUDARI_SCHEDULE_H_
