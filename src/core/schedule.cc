#include "kudari/schedule.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "core/schedule_curves.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/registry.h"

namespace kudari {

struct Schedule::Factor {
  std::string text;
  const internal::Curve* curve;
  internal::Arguments arguments;
  double (*value)(const internal::Arguments&, int64_t step);  // the curve's, or one that throws
};

namespace {

using internal::Curve;
using internal::Parameter;
using internal::Value;

Schedule Call(std::string_view name, std::initializer_list<Value> values) {
  return internal::MakeCall(internal::FindCurve(name, values.size()), std::vector<Value>(values));
}

// What may stand for a parameter, in words.
std::string RangeOf(const Parameter& p) {
  if (p.kind == ArgumentKind::kSchedule) return "a schedule";
  if (p.kind == ArgumentKind::kStepList) {
    return "[m, ...], ascending steps, at least " + NumberText(p.low);
  }
  if (p.kind == ArgumentKind::kShape) {
    std::string words;
    for (size_t i = 0; static_cast<double>(i) <= p.high; ++i) {
      words += (i > 0 ? ", " : "") + std::string(internal::Shapes()[i]);
    }
    return words;
  }
  if (p.kind == ArgumentKind::kSteps) return "steps, at least " + NumberText(p.low);
  return p.IsInteger() ? "integer, at least " + NumberText(p.low) : RangeText(p.low, p.high);
}

// In place of the values of a schedule that has none.
double NoValue(const internal::Arguments& arguments, int64_t /*step*/) {
  throw Error("schedule \"" + arguments.text +
              "\": its lengths are relative to a run, so it has no values before Resolve");
}

bool IsRelative(const Value& value) {
  const auto* const part = std::get_if<Schedule>(&value);
  return std::holds_alternative<RunSteps>(value) ||
         std::holds_alternative<std::vector<StepCount>>(value) ||
         (part != nullptr && !part->IsResolved());
}

// A list without relative lengths as one of numbers.
Value Plain(const Value& value) {
  const auto* const counts = std::get_if<std::vector<StepCount>>(&value);
  if (counts == nullptr) return value;
  std::vector<double> numbers;
  for (const StepCount& count : *counts) {
    if (const auto* x = std::get_if<double>(&count)) numbers.push_back(*x);
  }
  return numbers.size() == counts->size() ? Value(std::move(numbers)) : value;
}

double Steps(int64_t n) { return static_cast<double>(n); }
double Word(Shape shape) { return static_cast<double>(shape); }

// Values that are not relative, by kind.
internal::Arguments Grouped(std::vector<Value> values) {
  internal::Arguments arguments;
  for (Value& value : values) {
    if (auto* part = std::get_if<Schedule>(&value)) {
      arguments.parts.push_back(std::move(*part));
    } else if (auto* list = std::get_if<std::vector<double>>(&value)) {
      arguments.milestones = std::move(*list);
    } else {
      arguments.x.push_back(std::get<double>(value));
    }
  }
  return arguments;
}

}  // namespace

/// Makes schedules of factors.
class ScheduleBuilder {
 public:
  static Schedule One(std::string text, const Curve& curve, internal::Arguments arguments) {
    auto* const value = arguments.relative.empty() ? curve.value : &NoValue;
    return Schedule({std::make_shared<const Schedule::Factor>(
        Schedule::Factor{std::move(text), &curve, std::move(arguments), value})});
  }

  static Schedule Product(std::span<const Schedule> schedules) {
    std::vector<std::shared_ptr<const Schedule::Factor>> factors;
    for (const Schedule& s : schedules) {
      factors.insert(factors.end(), s.factors_.begin(), s.factors_.end());
    }
    return Schedule(std::move(factors));
  }
};

const internal::Curve& internal::FindCurve(std::string_view name, size_t parameters) {
  for (const Curve& c : Curves()) {
    if (c.name == name && c.parameters.size() == parameters) return c;
  }
  std::vector<std::string> names;
  for (const Curve& c : Curves()) names.emplace_back(c.name);
  throw Error("schedule: no function " + std::string(name) + " of " + std::to_string(parameters) +
              " arguments" + Suggest(name, names));
}

std::string internal::Conflict(const Curve& curve, std::span<const Value> values) {
  if (curve.conflict == nullptr) return "";
  std::vector<Value> plain;
  for (const Value& value : values) plain.push_back(Plain(value));
  return curve.conflict(Grouped(std::move(plain)));
}

Schedule internal::MakeCall(const Curve& curve, std::span<const Value> values) {
  std::string text = std::string(curve.name) + "(";
  bool relative = false;
  std::vector<Value> plain;
  for (size_t i = 0; i < values.size(); ++i) {
    const Parameter& p = curve.parameters[i];
    const Value& value = plain.emplace_back(Plain(values[i]));
    CheckValue(curve, p, value);
    text += (i > 0 ? ", " : "") + ValueText(p, value);
    relative = relative || IsRelative(value);
  }
  text += ')';
  if (relative) {
    Arguments arguments;
    arguments.relative = std::move(plain);
    arguments.text = text;
    return ScheduleBuilder::One(std::move(text), curve, std::move(arguments));
  }
  const std::string conflict = Conflict(curve, plain);
  if (!conflict.empty()) throw Error(std::string(curve.name) + ": " + conflict);
  return ScheduleBuilder::One(std::move(text), curve, Grouped(std::move(plain)));
}

Schedule internal::MakeProduct(std::span<const Schedule> schedules) {
  return ScheduleBuilder::Product(schedules);
}

Schedule::Schedule(double constant) {
  if (!std::isfinite(constant)) {
    throw Error("schedule: " + NumberText(constant) + " is not a finite number");
  }
  *this = ScheduleBuilder::One(NumberText(constant), internal::FindCurve("constant", 1),
                               {.x = {constant}});
}

Schedule::Schedule(std::vector<std::shared_ptr<const Factor>> factors)
    : factors_(std::move(factors)) {
  for (const auto& f : factors_) {
    if (!text_.empty()) text_ += " * ";
    text_ += f->text;
  }
}

double Schedule::operator()(int64_t step) const {
  const auto value = [step](const Factor& f) { return f.value(f.arguments, step); };
  double product = value(*factors_[0]);
  for (size_t i = 1; i < factors_.size(); ++i) product *= value(*factors_[i]);
  return product;
}

bool Schedule::IsConstant() const {
  return std::all_of(factors_.begin(), factors_.end(),
                     [](const auto& f) { return f->curve->name == "constant"; });
}

bool Schedule::IsResolved() const {
  return std::all_of(factors_.begin(), factors_.end(),
                     [](const auto& f) { return f->arguments.relative.empty(); });
}

std::vector<Schedule> Schedule::Factors() const {
  std::vector<Schedule> factors;
  for (const auto& f : factors_) factors.push_back(Schedule({f}));
  return factors;
}

std::string_view Schedule::Function() const { return factors_[0]->curve->name; }

std::vector<ScheduleArgument> Schedule::Arguments() const {
  const Factor& f = *factors_[0];
  std::vector<ScheduleArgument> arguments;
  size_t number = 0, part = 0;
  for (const Parameter& p : f.curve->parameters) {
    const auto value = [&]() -> ArgumentValue {
      if (!f.arguments.relative.empty()) return f.arguments.relative[arguments.size()];
      if (p.kind == ArgumentKind::kSchedule) return f.arguments.parts[part++];
      if (p.kind == ArgumentKind::kStepList) return f.arguments.milestones;
      return f.arguments.x[number++];
    };
    arguments.push_back({p.name, p.kind, p.per, value()});
  }
  return arguments;
}

std::optional<double> Schedule::LeadingNumber() const {
  std::optional<double> product;
  for (const Schedule& f : Factors()) {
    if (f.IsConstant()) product = product.value_or(1) * f(0);
  }
  return product;
}

Schedule MakeSchedule(std::string_view function, std::span<const ScheduleArgument> arguments) {
  std::vector<Value> values;
  for (const ScheduleArgument& a : arguments) values.push_back(a.value);
  return internal::MakeCall(internal::FindCurve(function, values.size()), values);
}

std::optional<int64_t> WarmupSteps(const Schedule& schedule) {
  for (const Schedule& factor : schedule.Factors()) {
    for (const ScheduleArgument& a : factor.Arguments()) {
      if (factor.Function() == "warmup" && a.kind == ArgumentKind::kSteps) {
        if (const auto* steps = std::get_if<double>(&a.value)) return static_cast<int64_t>(*steps);
        throw Error("schedule \"" + factor.Text() +
                    "\": its lengths are relative to a run, so it has no steps before Resolve");
      }
      if (const auto* part = std::get_if<Schedule>(&a.value)) {
        if (const auto steps = WarmupSteps(*part)) return steps;
      }
    }
  }
  return std::nullopt;
}

Schedule operator*(const Schedule& a, const Schedule& b) {
  auto factors = a.factors_;
  factors.insert(factors.end(), b.factors_.begin(), b.factors_.end());
  return Schedule(std::move(factors));
}

Schedule Constant(double value) { return value; }
Schedule Warmup(int64_t steps) { return Call("warmup", {Steps(steps)}); }
Schedule Warmup(int64_t steps, double start) { return Call("warmup", {Steps(steps), start}); }
Schedule Ramp(int64_t steps, double first, double last) {
  return Call("ramp", {Steps(steps), first, last});
}
Schedule Linear(int64_t steps, double last) { return Call("linear", {Steps(steps), last}); }
Schedule Cosine(int64_t steps, double last) { return Call("cosine", {Steps(steps), last}); }
Schedule CosinePeriodic(int64_t steps, double last) {
  return Call("cosine_periodic", {Steps(steps), last});
}
Schedule Sgdr(int64_t steps, double mult, double decay, double last, int64_t cycles) {
  return Call("sgdr", {Steps(steps), mult, decay, last, Steps(cycles)});
}
Schedule Polynomial(int64_t steps, double power, double last) {
  return Call("polynomial", {Steps(steps), power, last});
}
Schedule Step(int64_t steps, double gamma) { return Call("step", {Steps(steps), gamma}); }
Schedule MultiStep(const std::vector<int64_t>& milestones, double gamma) {
  std::vector<double> list;
  for (const int64_t m : milestones) list.push_back(Steps(m));
  return Call("multistep", {list, gamma});
}
Schedule Exponential(double gamma, int64_t steps) {
  return Call("exponential", {gamma, Steps(steps)});
}
Schedule ExpDecay(double rate) { return Call("exp_decay", {rate}); }
Schedule InverseTime(double rate, int64_t steps) {
  return Call("inverse_time", {rate, Steps(steps)});
}
Schedule InverseTimeStaircase(double rate, int64_t steps) {
  return Call("inverse_time_staircase", {rate, Steps(steps)});
}
Schedule InverseSqrt(int64_t steps) { return Call("inverse_sqrt", {Steps(steps)}); }
Schedule Noam(int64_t width, int64_t warmup) { return Call("noam", {Steps(width), Steps(warmup)}); }
Schedule Rsqrt(int64_t timescale, int64_t shift) {
  return Call("rsqrt", {Steps(timescale), Steps(shift)});
}
Schedule Trapezoid(int64_t steps, double warmup, double warmdown, double last) {
  return Call("trapezoid", {Steps(steps), warmup, warmdown, last});
}
Schedule Wsd(int64_t steps, int64_t warmup, int64_t decay, double last, Shape shape) {
  return Call("wsd", {Steps(steps), Steps(warmup), Steps(decay), last, Word(shape)});
}
Schedule OneCycle(int64_t steps, double pct, double div, double final_div, Shape shape) {
  return Call("onecycle", {Steps(steps), pct, div, final_div, Word(shape)});
}
Schedule OneCycleMomentum(int64_t steps, double pct, double base, double top, Shape shape) {
  return Call("onecycle_momentum", {Steps(steps), pct, base, top, Word(shape)});
}
Schedule OneCycle3(int64_t steps, double pct, double div, double final_div, Shape shape) {
  return Call("onecycle3", {Steps(steps), pct, div, final_div, Word(shape)});
}
Schedule OneCycle3Momentum(int64_t steps, double pct, double base, double top, Shape shape) {
  return Call("onecycle3_momentum", {Steps(steps), pct, base, top, Word(shape)});
}
Schedule OneCycleFastai(int64_t steps, double pct, double div, double div_final) {
  return Call("onecycle_fastai", {Steps(steps), pct, div, div_final});
}
Schedule OneCycleFastaiMomentum(int64_t steps, double pct, double base, double top) {
  return Call("onecycle_fastai_momentum", {Steps(steps), pct, base, top});
}
Schedule Triangular(int64_t up, int64_t down, double base, double peak) {
  return Call("triangular", {Steps(up), Steps(down), base, peak});
}
Schedule Triangular2(int64_t up, int64_t down, double base, double peak) {
  return Call("triangular2", {Steps(up), Steps(down), base, peak});
}
Schedule ExpRange(double gamma, int64_t up, int64_t down, double base, double peak) {
  return Call("exp_range", {gamma, Steps(up), Steps(down), base, peak});
}
Schedule Then(const Schedule& first, int64_t boundary, const Schedule& second) {
  return Call("then", {first, Steps(boundary), second});
}

std::vector<Description> DescribeSchedules() {
  std::vector<Description> all;
  for (const Curve& c : internal::Curves()) {
    Description d{.kind = "schedule",
                  .name = std::string(c.name),
                  .summary = std::string(c.summary),
                  .formula = std::string(c.formula),
                  .paper = std::string(c.paper),
                  .torch = std::string(c.torch),
                  .example = std::string(c.example)};
    for (const Parameter& p : c.parameters) {
      d.options.push_back({std::string(p.name),
                           p.default_value ? ValueText(p, *p.default_value) : "", RangeOf(p),
                           std::string(p.doc)});
    }
    all.push_back(std::move(d));
  }
  return all;
}

}  // namespace kudari
