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

/// What a number of steps is to the run, for ScheduleMisfits.
enum class Span {
  kNone,        ///< it says nothing about the run's length
  kWarmup,      ///< a warm-up, which ends well before the run
  kTransition,  ///< from one value to another, which ends within the run
  kRun          ///< the run itself
};

/// What a curve takes. Values are in [low, high]; shapes are the first words of Shapes(), up to the
/// high-th; a list has at least one element.
struct Parameter {
  ArgumentKind kind;
  std::string_view name;
  double low, high;
  std::optional<double> default_value;  ///< not of lists and schedules
  std::string_view doc;
  std::string_view per = "";  ///< see ScheduleArgument
  Span span = Span::kNone;    ///< of kSteps

  /// Whether it is written as a number, and as an integer.
  bool IsNumber() const;
  bool IsInteger() const;
  /// What a value must be, in words: "a number".
  std::string Wanted() const;
};

using Value = ArgumentValue;

/// Checked arguments, each kind in the order of its parameters.
struct Arguments {
  std::vector<double> x = {};  ///< numbers of all kinds, and shapes
  std::vector<double> milestones = {};
  std::vector<Schedule> parts = {};
  /// All values, beside the parameters, and the call's text, if one is relative to a run; then
  /// there are none of the others.
  std::vector<Value> relative = {};
  std::string text = {};
};

/// A named curve: all that parsing, printing, checking and describing a call needs.
struct Curve {
  std::string_view name, summary, formula, paper = "", torch = "", example;
  double (*value)(const Arguments&, int64_t step);
  std::vector<Parameter> parameters;
  /// What is wrong with arguments that are each in range, or "".
  std::string (*conflict)(const Arguments&) = nullptr;
  bool goes_on = false;  ///< whether it has no end though a parameter has a Span

  /// "wsd(steps, warmup, decay, last = 0, shape = linear)"
  std::string Form() const;
};

/// All curves. A name may occur more than once, with different numbers of parameters and no
/// defaults: warmup does.
const std::vector<Curve>& Curves();

/// The words for shapes, in the order of enum class Shape.
std::span<const std::string_view> Shapes();

/// The curve of that name with so many parameters. Throws Error with the nearest name.
const Curve& FindCurve(std::string_view name, size_t parameters);

/// The value of a parameter as text, in the form that the parser reads.
std::string ValueText(const Parameter& p, const Value& value);

/// Throws Error unless the value is of the parameter's kind and in its range.
void CheckValue(const Curve& curve, const Parameter& p, const Value& value);

/// A schedule of one call; there is a value for every parameter. Throws Error if one is out of its
/// range or they do not go together.
Schedule MakeCall(const Curve& curve, std::span<const Value> values);

/// The product of one schedule or more, in time linear in its length.
Schedule MakeProduct(std::span<const Schedule> schedules);

}  // namespace kudari::internal

#endif  // KUDARI_CORE_SCHEDULE_CURVES_H_
