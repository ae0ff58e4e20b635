#include "kudari/schedule.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>
#include <span>

#include "core/nearest.h"
#include "kudari/error.h"
#include "kudari/registry.h"

namespace kudari {

struct Schedule::Factor {
  std::string text;
  double (*value)(const Factor&, int64_t step);
  std::array<double, 2> x = {};
  std::vector<Schedule> parts = {};
};

namespace {

using Factor = Schedule::Factor;
using internal::NumberText;

constexpr double kMostSteps = 9007199254740992;  // 2^53: every integer up to it is a double

double ConstantAt(const Factor& f, int64_t /*step*/) { return f.x[0]; }

double WarmupAt(const Factor& f, int64_t step) {
  const auto s = static_cast<double>(step);
  return s < f.x[0] ? (s + 1) / f.x[0] : 1;
}

double WarmupFromAt(const Factor& f, int64_t step) {
  const auto s = static_cast<double>(step);
  return s < f.x[0] ? f.x[1] + (1 - f.x[1]) * s / f.x[0] : 1;
}

double CosineAt(const Factor& f, int64_t step) {
  const auto s = static_cast<double>(step);
  if (s >= f.x[0]) return f.x[1];
  return f.x[1] + (1 - f.x[1]) * 0.5 * (1 + std::cos(std::numbers::pi * s / f.x[0]));
}

double LinearAt(const Factor& f, int64_t step) {
  const auto s = static_cast<double>(step);
  return s < f.x[0] ? 1 + (f.x[1] - 1) * s / f.x[0] : f.x[1];
}

double StepAt(const Factor& f, int64_t step) {
  return std::pow(f.x[1], std::floor(static_cast<double>(step) / f.x[0]));
}

double ThenAt(const Factor& f, int64_t step) {
  const auto boundary = static_cast<int64_t>(f.x[0]);
  return step < boundary ? f.parts[0](step) : f.parts[1](step - boundary);
}

struct Argument {
  enum Kind { kSteps, kNumber, kSchedule } kind;
  std::string_view name;
  double low, high;
  std::optional<double> default_value;  // steps and numbers only
  std::string_view doc;
};

struct Function {
  std::string_view name, summary, formula;
  double (*value)(const Factor&, int64_t);
  std::vector<Argument> arguments;
};

// Warm-up has two forms, told apart by their number of arguments; otherwise names are unique.
const std::vector<Function>& Functions() {
  static const std::vector<Function> functions = {
      {"constant",
       "The same value at every step; a bare number is the same",
       "value",
       &ConstantAt,
       {{Argument::kNumber, "value", -kInfinity, kInfinity, {}, "the value"}}},
      {"warmup",
       "Linear warm-up to 1 whose first update is not wasted",
       "(s + 1) / steps while s < steps, then 1",
       &WarmupAt,
       {{Argument::kSteps, "steps", 0, kMostSteps, {}, "length"}}},
      {"warmup",
       "Linear warm-up to 1 from a given value; start 0 is Hugging Face's, others torch's LinearLR",
       "start + (1 - start) s / steps while s < steps, then 1",
       &WarmupFromAt,
       {{Argument::kSteps, "steps", 0, kMostSteps, {}, "length"},
        {Argument::kNumber, "start", 0, 1, {}, "value at s = 0"}}},
      {"cosine",
       "Half a cosine from 1 to last, then last",
       "last + (1 - last) (1 + cos(pi s / steps)) / 2 while s < steps, then last",
       &CosineAt,
       {{Argument::kSteps, "steps", 0, kMostSteps, {}, "length"},
        {Argument::kNumber, "last", 0, kInfinity, 0, "value from s = steps on"}}},
      {"linear",
       "A straight line from 1 to last, then last",
       "1 + (last - 1) s / steps while s < steps, then last",
       &LinearAt,
       {{Argument::kSteps, "steps", 0, kMostSteps, {}, "length"},
        {Argument::kNumber, "last", 0, kInfinity, 0, "value from s = steps on"}}},
      {"step",
       "A drop by the factor gamma every so many steps",
       "gamma^floor(s / steps)",
       &StepAt,
       {{Argument::kSteps, "steps", 1, kMostSteps, {}, "length of one level"},
        {Argument::kNumber, "gamma", 0, kInfinity, 0.1, "factor"}}},
      {"then",
       "One schedule, then another, which starts at its own step 0",
       "first(s) while s < boundary, then second(s - boundary)",
       &ThenAt,
       {{Argument::kSchedule, "first", 0, 0, {}, "before the boundary"},
        {Argument::kSteps, "boundary", 0, kMostSteps, {}, "first step of the second"},
        {Argument::kSchedule, "second", 0, 0, {}, "from the boundary on"}}},
  };
  return functions;
}

void CheckArgument(const Argument& a, std::string_view function, double x) {
  const std::string where = std::string(function) + ": " + std::string(a.name);
  CheckRange(where, x, a.low, a.high);
  if (a.kind == Argument::kSteps && x != std::floor(x)) {
    throw Error(where + " = " + NumberText(x) + " is not an integer");
  }
}

}  // namespace

/// Makes checked schedules of one factor.
class ScheduleBuilder {
 public:
  static Schedule Call(const Function& function, std::span<const double> numbers,
                       std::vector<Schedule> parts = {}) {
    Factor factor{std::string(function.name) + "(", function.value, {}, std::move(parts)};
    size_t number = 0, part = 0;
    for (const Argument& a : function.arguments) {
      if (&a != &function.arguments.front()) factor.text += ", ";
      if (a.kind == Argument::kSchedule) {
        factor.text += factor.parts[part++].Text();
      } else {
        CheckArgument(a, function.name, numbers[number]);
        factor.x[number] = numbers[number];
        factor.text += NumberText(numbers[number]);
        ++number;
      }
    }
    factor.text += ")";
    return Schedule({std::make_shared<const Factor>(std::move(factor))});
  }

  static std::shared_ptr<const Factor> Number(double x) {
    if (!std::isfinite(x)) throw Error("schedule: " + NumberText(x) + " is not a finite number");
    return std::make_shared<const Factor>(Factor{NumberText(x), &ConstantAt, {x}});
  }
};

namespace {

const Function& FindFunction(std::string_view name, size_t arguments) {
  for (const Function& f : Functions()) {
    if (f.name == name && f.arguments.size() == arguments) return f;
  }
  throw Error("schedule: no function " + std::string(name));
}

Schedule Call(std::string_view name, std::initializer_list<double> numbers) {
  return ScheduleBuilder::Call(FindFunction(name, numbers.size()), std::vector<double>(numbers));
}

double Steps(int64_t n) { return static_cast<double>(n); }

}  // namespace

Schedule::Schedule(double constant) : Schedule({ScheduleBuilder::Number(constant)}) {}

Schedule::Schedule(std::vector<std::shared_ptr<const Factor>> factors)
    : factors_(std::move(factors)) {
  for (const auto& f : factors_) {
    if (!text_.empty()) text_ += " * ";
    text_ += f->text;
  }
}

double Schedule::operator()(int64_t step) const {
  double product = factors_[0]->value(*factors_[0], step);
  for (size_t i = 1; i < factors_.size(); ++i) product *= factors_[i]->value(*factors_[i], step);
  return product;
}

bool Schedule::IsConstant() const {
  return std::all_of(factors_.begin(), factors_.end(),
                     [](const auto& f) { return f->value == &ConstantAt; });
}

Schedule Constant(double value) { return value; }
Schedule Warmup(int64_t steps) { return Call("warmup", {Steps(steps)}); }
Schedule Warmup(int64_t steps, double start) { return Call("warmup", {Steps(steps), start}); }
Schedule Cosine(int64_t steps, double last) { return Call("cosine", {Steps(steps), last}); }
Schedule Linear(int64_t steps, double last) { return Call("linear", {Steps(steps), last}); }
Schedule Step(int64_t steps, double gamma) { return Call("step", {Steps(steps), gamma}); }

Schedule Then(const Schedule& first, int64_t boundary, const Schedule& second) {
  const double numbers[] = {Steps(boundary)};
  return ScheduleBuilder::Call(FindFunction("then", 3), numbers, {first, second});
}

Schedule operator*(const Schedule& a, const Schedule& b) {
  auto factors = a.factors_;
  factors.insert(factors.end(), b.factors_.begin(), b.factors_.end());
  return Schedule(std::move(factors));
}

namespace {

/// Recursive descent over: product = factor {"*" factor}; factor = number | name "(" [product {","
/// product}] ")".
class ScheduleParser {
 public:
  explicit ScheduleParser(std::string_view text) : text_(text) {}

  Schedule Parse() {
    Schedule s = Product(0);
    SkipSpace();
    if (at_ < text_.size()) Fail(at_, "expected * or the end");
    return s;
  }

 private:
  static constexpr int kDeepest = 64;

  [[noreturn]] void Fail(size_t at, const std::string& message) const {
    throw Error("schedule \"" + std::string(text_.substr(0, 200)) + "\", column " +
                std::to_string(at + 1) + ": " + message);
  }

  void SkipSpace() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }

  bool Accept(char c) {
    SkipSpace();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  Schedule Product(int depth) {
    if (depth > kDeepest) Fail(at_, "nested too deeply");
    Schedule s = One(depth);
    while (Accept('*')) s = s * One(depth);
    return s;
  }

  static bool IsNameChar(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  }

  Schedule One(int depth) {
    SkipSpace();
    const size_t start = at_;
    while (at_ < text_.size() && IsNameChar(text_[at_])) ++at_;
    if (at_ > start) return CallAt(start, depth);
    return Number();
  }

  Schedule Number() {
    const size_t start = at_;
    double x = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), x);
    if (error == std::errc::result_out_of_range) Fail(start, "number out of range");
    if (error != std::errc()) Fail(start, "expected a number or a function");
    at_ = static_cast<size_t>(end - text_.data());
    return x;
  }

  Schedule CallAt(size_t start, int depth) {
    const std::string name(text_.substr(start, at_ - start));
    std::vector<const Function*> overloads;
    std::vector<std::string> names;
    for (const Function& f : Functions()) {
      if (f.name == name) overloads.push_back(&f);
      if (names.empty() || names.back() != f.name) names.emplace_back(f.name);
    }
    if (overloads.empty()) {
      Fail(start, "unknown schedule \"" + name + "\"" + internal::Suggest(name, names));
    }
    if (!Accept('(')) Fail(at_, "expected ( after " + name);
    std::vector<Schedule> arguments;
    std::vector<size_t> columns;
    if (!Accept(')')) {
      do {
        SkipSpace();
        columns.push_back(at_);
        arguments.push_back(Product(depth + 1));
      } while (Accept(','));
      if (!Accept(')')) Fail(at_, "expected , or )");
    }
    return Make(name, overloads, arguments, columns, start);
  }

  Schedule Make(const std::string& name, const std::vector<const Function*>& overloads,
                const std::vector<Schedule>& arguments, const std::vector<size_t>& columns,
                size_t start) const {
    for (const Function* f : overloads) {
      const size_t most = f->arguments.size();
      size_t least = most;
      while (least > 0 && f->arguments[least - 1].default_value) --least;
      if (arguments.size() < least || arguments.size() > most) continue;
      std::vector<double> numbers;
      std::vector<Schedule> parts;
      for (size_t i = 0; i < most; ++i) {
        const Argument& a = f->arguments[i];
        if (i >= arguments.size()) {
          numbers.push_back(*a.default_value);
        } else if (a.kind == Argument::kSchedule) {
          parts.push_back(arguments[i]);
        } else if (!arguments[i].IsConstant()) {
          Fail(columns[i], name + ": " + std::string(a.name) + " must be a number");
        } else {
          numbers.push_back(arguments[i](0));
          try {
            CheckArgument(a, name, numbers.back());
          } catch (const Error& e) {
            Fail(columns[i], e.what());
          }
        }
      }
      return ScheduleBuilder::Call(*f, numbers, std::move(parts));
    }
    std::string forms;
    for (const Function* f : overloads) {
      forms += (forms.empty() ? "" : " or ") + name + "(";
      for (const Argument& a : f->arguments) {
        if (&a != &f->arguments.front()) forms += ", ";
        forms += a.name;
        if (a.default_value) forms += " = " + NumberText(*a.default_value);
      }
      forms += ")";
    }
    Fail(start,
         "wrong number of arguments, " + std::to_string(arguments.size()) + "; use " + forms);
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Schedule ParseSchedule(std::string_view text) { return ScheduleParser(text).Parse(); }

std::vector<Description> DescribeSchedules() {
  std::vector<Description> all;
  for (const Function& f : Functions()) {
    Description d{.kind = "schedule",
                  .name = std::string(f.name),
                  .summary = std::string(f.summary),
                  .formula = std::string(f.formula)};
    for (const Argument& a : f.arguments) {
      std::string range = "a schedule";
      if (a.kind == Argument::kNumber) range = RangeText(a.low, a.high);
      if (a.kind == Argument::kSteps) range = "integer, at least " + NumberText(a.low);
      d.options.push_back({std::string(a.name), a.default_value ? NumberText(*a.default_value) : "",
                           range, std::string(a.doc)});
    }
    all.push_back(std::move(d));
  }
  return all;
}

}  // namespace kudari
