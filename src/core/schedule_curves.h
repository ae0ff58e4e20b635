#ifndef KUDARI_CORE_SCHEDULE_CURVES_H_
#define KUDARI_CORE_SCHEDULE_CURVES_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/schedule.h"

namespace kudari::internal {

/// The longest length in steps, 2^53: every integer up to it is a double.
inline constexpr double kMostSteps = 9007199254740992;

/// What a number of steps is to the run, for ScheduleMisfits.
enum class Span {
  kNone,        ///< it says nothing about the run's length
  kWarmup,      ///< a warm-up, which ends well before the run
  kTransition,  ///< from one value to another, which ends within the run
  kRun          ///< the run itself
};

/// A parameter of a curve. Values are in [low, high]. A shape is one of the first words of
/// Shapes(), up to the high-th; a list has at least one element.
struct Parameter {
  ArgumentKind kind;
  std::string_view name;
  double low, high;
  std::optional<double> default_value;  ///< not for lists and schedules
  std::string_view doc;
  std::string_view per = "";  ///< see ScheduleArgument
  Span span = Span::kNone;    ///< of kSteps

  /// Whether it is written as a number, and as an integer.
  bool IsNumber() const;
  bool IsInteger() const;
  /// The kind of value that is expected, as text: "a number".
  std::string Wanted() const;
};

using Value = ArgumentValue;

/// Checked arguments, grouped by kind and in the order of the parameters.
struct Arguments {
  std::vector<double> x = {};  ///< numbers of all kinds, and shapes
  std::vector<double> milestones = {};
  std::vector<Schedule> parts = {};
  /// All values, beside the parameters, and the call's text, if one is relative to a run; then
  /// there are none of the others.
  std::vector<Value> relative = {};
  std::string text = {};
};

/// A named curve, with all that is needed to parse, print, check and describe a call.
struct Curve {
  std::string_view name, summary, formula, paper = "", torch = "", example;
  double (*value)(const Arguments&, int64_t step);
  std::vector<Parameter> parameters;
  /// The error in arguments that are each in range but do not fit together, or "".
  std::string (*conflict)(const Arguments&) = nullptr;
  bool goes_on = false;  ///< whether it has no end though a parameter has a Span

  /// The call with its parameters: "wsd(steps, warmup, decay, last = 0, shape = linear)"
  std::string Form() const;
};

/// All curves. A name may occur more than once, with different numbers of parameters and no
/// defaults, as warmup does.
const std::vector<Curve>& Curves();

/// The names of shapes, in the order of enum class Shape.
std::span<const std::string_view> Shapes();

/// The curve of that name and number of parameters. Throws Error with the nearest name.
const Curve& FindCurve(std::string_view name, size_t parameters);

/// The value of a parameter as text that the parser can read.
std::string ValueText(const Parameter& p, const Value& value);

/// Throws Error unless the value has the parameter's kind and is in its range.
void CheckValue(const Curve& curve, const Parameter& p, const Value& value);

/// What does not fit together in values that are each in range, none of them relative, or "".
std::string Conflict(const Curve& curve, std::span<const Value> values);

/// Makes the schedule of one call; there is a value for every parameter. Throws Error if one is out
/// of range or they do not fit together.
Schedule MakeCall(const Curve& curve, std::span<const Value> values);

/// The product of one schedule or more, in time linear in its length.
Schedule MakeProduct(std::span<const Schedule> schedules);

}  // namespace kudari::internal

#endif  // KUDARI_CORE_SCHEDULE_CURVES_H_
