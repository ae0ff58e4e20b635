// Schedules and the length of a run: what relative lengths are in it, and what does not fit it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "core/schedule_curves.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/range.h"

namespace kudari {
namespace {

using internal::Curve;
using internal::kMostSteps;
using internal::Parameter;
using internal::Span;
using internal::Value;

using Rounding = double (*)(double);

// A run, seen from the step `start` on.
struct Rest {
  const RunLength& run;
  double start;

  double Count(const RunSteps& length, double least, Rounding rounding) const {
    const auto steps = static_cast<double>(run.steps);
    double count = 0;
    switch (length.unit) {
      case StepUnit::kPercent:
        count = length.amount * steps / 100;
        break;
      case StepUnit::kEpochs:
        if (run.steps_per_epoch == 0) throw Error("how many steps an epoch has is not known");
        count = length.amount * run.steps_per_epoch;
        break;
      case StepUnit::kEnd:
        count = steps - start;
        break;
    }
    return std::max(least, rounding(count));
  }

  double Count(const StepCount& count, double least, Rounding rounding) const {
    const auto* const length = std::get_if<RunSteps>(&count);
    return length != nullptr ? Count(*length, least, rounding) : std::get<double>(count);
  }
};

Schedule Resolved(const Schedule& schedule, const Rest& rest);

// The values of a call. A schedule that comes behind a number of steps begins there: the second of
// `then`.
std::vector<Value> ResolvedValues(const Schedule& call, const Rest& rest, Rounding rounding) {
  const std::vector<ScheduleArgument> arguments = call.Arguments();
  const Curve& curve = internal::FindCurve(call.Function(), arguments.size());
  std::vector<Value> values;
  Rest after = rest;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Parameter& p = curve.parameters[i];
    Value value = arguments[i].value;
    if (const auto* length = std::get_if<RunSteps>(&value)) {
      value = rest.Count(*length, p.low, rounding);
    } else if (const auto* counts = std::get_if<std::vector<StepCount>>(&value)) {
      std::vector<double> list;
      for (const StepCount& c : *counts) list.push_back(rest.Count(c, p.low, rounding));
      value = std::move(list);
    } else if (const auto* part = std::get_if<Schedule>(&value)) {
      value = Resolved(*part, after);
    }
    if (p.kind == ArgumentKind::kSteps) after.start = rest.start + std::get<double>(value);
    values.push_back(std::move(value));
  }
  return values;
}

// Lengths that fill the run together may be too long by a step when each is rounded to nearest.
Schedule ResolvedCall(const Schedule& call, const Rest& rest) {
  const Curve& curve = internal::FindCurve(call.Function(), call.Arguments().size());
  std::vector<Value> values = ResolvedValues(call, rest, [](double x) { return std::round(x); });
  if (!internal::Conflict(curve, values).empty()) {
    values = ResolvedValues(call, rest, [](double x) { return std::floor(x); });
  }
  return internal::MakeCall(curve, values);
}

Schedule Resolved(const Schedule& schedule, const Rest& rest) {
  std::vector<Schedule> factors = schedule.Factors();
  for (Schedule& f : factors) {
    if (!f.IsResolved()) f = ResolvedCall(f, rest);
  }
  return internal::MakeProduct(factors);
}

std::string StepsText(double steps) {
  return NumberText(steps) + (steps == 1 ? " step" : " steps");
}

// Where a schedule's curves end, counted from the run's first step.
struct Ends {
  double last = 0;       // of those that have an end
  bool goes_on = false;  // there are others
  bool of_run = false;   // one of them is made for a whole run
};

void LookAtWarmup(double start, double length, double run, std::vector<std::string>& misfits) {
  if (start + length > run) {
    misfits.push_back("the warm-up of " + StepsText(length) + " does not end within the run of " +
                      StepsText(run));
  } else if (length > 1 && 2 * length > run) {
    misfits.push_back("the warm-up takes " + NumberText(length) + " of the run's " +
                      StepsText(run));
  }
}

// Looks at the curves of a schedule that begins at `start`. `ends` is null if another follows
// within the run: then theirs are no ends of the whole.
void Look(const Schedule& schedule, double start, double run, Ends* ends,
          std::vector<std::string>& misfits) {
  for (const Schedule& factor : schedule.Factors()) {
    if (factor.IsConstant()) continue;
    const std::vector<ScheduleArgument> arguments = factor.Arguments();
    if (const auto* const first = std::get_if<Schedule>(&arguments[0].value)) {
      const double boundary = start + std::get<double>(arguments[1].value);
      const bool reached = boundary < run;
      Look(*first, start, run, reached ? nullptr : ends, misfits);
      if (reached) Look(std::get<Schedule>(arguments[2].value), boundary, run, ends, misfits);
      continue;
    }
    const Curve& curve = internal::FindCurve(factor.Function(), arguments.size());
    bool goes_on = true;
    for (size_t i = 0; i < arguments.size(); ++i) {
      const Span span = curve.parameters[i].span;
      if (span == Span::kNone) continue;
      goes_on = curve.goes_on;
      const double length = std::get<double>(arguments[i].value);
      if (span == Span::kWarmup) {
        LookAtWarmup(start, length, run, misfits);
      } else if (ends != nullptr) {
        ends->last = std::max(ends->last, start + length);
        ends->of_run = ends->of_run || span == Span::kRun;
      }
    }
    if (ends != nullptr) ends->goes_on = ends->goes_on || goes_on;
  }
}

void CheckLength(const RunLength& run) {
  CheckRange("the run's steps", static_cast<double>(run.steps), 1, kMostSteps);
  CheckRange("the run's steps_per_epoch", run.steps_per_epoch, 0, kMostSteps);
}

// "0.62 of the peak": the magnitude at a step over the largest of the run.
std::string PartOfPeak(const Schedule& schedule, const RunLength& run, int64_t step) {
  constexpr int64_t kPoints = 1000;
  double peak = std::abs(schedule(run.steps - 1));
  for (int64_t s = 0; s < run.steps; s += run.steps / kPoints + 1) {
    peak = std::max(peak, std::abs(schedule(s)));
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.2g", peak > 0 ? std::abs(schedule(step)) / peak : 0);
  return std::string(text) + " of the peak";
}

}  // namespace

Schedule Schedule::Resolve(const RunLength& run) const {
  if (IsResolved()) return *this;
  try {
    CheckLength(run);
    return Resolved(*this, {run, 0});
  } catch (const Error& e) {
    throw Error("schedule \"" + text_ + "\" in a run of " +
                StepsText(static_cast<double>(run.steps)) + ": " + e.what());
  }
}

int64_t ResolveStep(const StepNumber& step, const RunLength& run) {
  const auto* const relative = std::get_if<RunSteps>(&step);
  if (relative == nullptr) return std::get<int64_t>(step);
  try {
    CheckLength(run);
    const Rest whole{run, 0};
    return static_cast<int64_t>(whole.Count(*relative, 0, [](double x) { return std::round(x); }));
  } catch (const Error& e) {
    throw Error("step \"" + StepText(step) + "\" in a run of " +
                StepsText(static_cast<double>(run.steps)) + ": " + e.what());
  }
}

std::vector<std::string> ScheduleMisfits(const Schedule& schedule, const RunLength& run) {
  constexpr double kMost = 0.9;  // what ends earlier, or is cut off earlier, is a misfit
  CheckLength(run);
  const Schedule resolved = schedule.Resolve(run);
  const auto steps = static_cast<double>(run.steps);
  std::vector<std::string> misfits;
  Ends ends;
  Look(resolved, 0, steps, &ends, misfits);
  if (ends.of_run && !ends.goes_on && ends.last < kMost * steps) {
    misfits.push_back("the schedule ends at step " + NumberText(ends.last) + " of " +
                      NumberText(steps) + "; from there on the value is " +
                      PartOfPeak(resolved, run, static_cast<int64_t>(ends.last)));
  } else if (steps < kMost * ends.last) {
    misfits.push_back("the run ends at step " + NumberText(steps) + " of the schedule's " +
                      NumberText(ends.last) + ", at " + PartOfPeak(resolved, run, run.steps - 1));
  }
  return misfits;
}

}  // namespace kudari
