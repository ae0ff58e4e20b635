// The values that parameters of curves take: as text, and whether they are in range.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/schedule_curves.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/registry.h"

namespace kudari::internal {
namespace {

using Kind = ArgumentKind;

std::string RunStepsText(const RunSteps& steps) {
  if (steps.unit == StepUnit::kEnd) return "end";
  return NumberText(steps.amount) + (steps.unit == StepUnit::kPercent ? "%" : "ep");
}

std::string CountText(const StepCount& count) {
  const auto* const steps = std::get_if<RunSteps>(&count);
  return steps != nullptr ? RunStepsText(*steps) : NumberText(std::get<double>(count));
}

template <class T, class F>
std::string ValuesText(const std::vector<T>& list, const F& text_of) {
  std::string text;
  for (const T& x : list) text += (text.empty() ? "[" : ", ") + text_of(x);
  return text + "]";
}

void CheckRunSteps(const std::string& where, const RunSteps& steps) {
  const bool percent = steps.unit == StepUnit::kPercent;
  if (steps.unit == StepUnit::kEnd) return;
  if (steps.amount >= 0 && steps.amount < kInfinity && (!percent || steps.amount <= 100)) return;
  throw Error(where + " = " + RunStepsText(steps) + " is outside " +
              (percent ? "[0%, 100%]" : "[0ep, inf)"));
}

// Whether two lengths are known to be in the wrong order whatever the run is.
bool Descends(const StepCount& a, const StepCount& b) {
  if (a.index() != b.index()) return false;
  const auto* const x = std::get_if<RunSteps>(&a);
  if (x == nullptr) return std::get<double>(a) > std::get<double>(b);
  const auto& y = std::get<RunSteps>(b);
  return x->unit == y.unit && x->amount > y.amount;
}

}  // namespace

bool Parameter::IsNumber() const {
  return kind != Kind::kStepList && kind != Kind::kShape && kind != Kind::kSchedule;
}

bool Parameter::IsInteger() const {
  return kind == Kind::kSteps || kind == Kind::kCount || kind == Kind::kWidth;
}

std::string Parameter::Wanted() const {
  if (kind == Kind::kSteps) return "a number of steps, such as 100, 10%, 3ep or end";
  if (kind == Kind::kStepList) return "a list such as [30, 60]";
  if (kind == Kind::kSchedule) return "a schedule";
  if (kind != Kind::kShape) return "a number";
  std::string words;
  for (size_t i = 0; static_cast<double>(i) <= high; ++i) {
    words += (i > 0 ? ", " : "one of ") + std::string(Shapes()[i]);
  }
  return words;
}

std::string ValueText(const Parameter& p, const Value& value) {
  if (const auto* schedule = std::get_if<Schedule>(&value)) return schedule->Text();
  if (const auto* steps = std::get_if<RunSteps>(&value)) return RunStepsText(*steps);
  if (const auto* list = std::get_if<std::vector<double>>(&value)) {
    return ValuesText(*list, NumberText);
  }
  if (const auto* list = std::get_if<std::vector<StepCount>>(&value)) {
    return ValuesText(*list, CountText);
  }
  const double x = std::get<double>(value);
  return p.kind == Kind::kShape ? std::string(Shapes()[static_cast<size_t>(x)]) : NumberText(x);
}

std::string Curve::Form() const {
  std::string form = std::string(name) + "(";
  for (const Parameter& p : parameters) {
    if (&p != &parameters.front()) form += ", ";
    form += p.name;
    if (p.default_value) form += " = " + ValueText(p, *p.default_value);
  }
  return form + ")";
}

void CheckValue(const Curve& curve, const Parameter& p, const Value& value) {
  const std::string where = std::string(curve.name) + ": " + std::string(p.name);
  const auto* const relative = std::get_if<RunSteps>(&value);
  const bool list = std::holds_alternative<std::vector<double>>(value) ||
                    std::holds_alternative<std::vector<StepCount>>(value);
  const bool fits = p.kind == Kind::kSchedule   ? std::holds_alternative<Schedule>(value)
                    : p.kind == Kind::kStepList ? list
                    : relative != nullptr       ? p.kind == Kind::kSteps
                                                : std::holds_alternative<double>(value);
  if (!fits) throw Error(where + " must be " + p.Wanted());
  if (p.kind == Kind::kSchedule) return;
  const auto check_number = [&](double x) {
    CheckRange(where, x, p.low, p.high);
    const bool integer = p.IsInteger() || p.kind == Kind::kStepList || p.kind == Kind::kShape;
    if (integer && x != std::floor(x)) {
      throw Error(where + " = " + NumberText(x) + " is not an integer");
    }
  };
  if (relative != nullptr) return CheckRunSteps(where, *relative);
  if (p.kind != Kind::kStepList) return check_number(std::get<double>(value));
  std::vector<StepCount> milestones;
  if (const auto* counts = std::get_if<std::vector<StepCount>>(&value)) {
    milestones = *counts;
  } else {
    const auto& numbers = std::get<std::vector<double>>(value);
    milestones.assign(numbers.begin(), numbers.end());
  }
  if (milestones.empty()) throw Error(where + " is empty");
  for (const StepCount& m : milestones) {
    const auto* const steps = std::get_if<RunSteps>(&m);
    steps != nullptr ? CheckRunSteps(where, *steps) : check_number(std::get<double>(m));
  }
  const auto fall = std::adjacent_find(milestones.begin(), milestones.end(), Descends);
  if (fall != milestones.end()) {
    throw Error(where + ": " + CountText(*(fall + 1)) + " comes after " + CountText(*fall));
  }
}

}  // namespace kudari::internal

namespace kudari {

std::string StepText(const StepNumber& step) {
  const auto* const relative = std::get_if<RunSteps>(&step);
  return relative != nullptr ? internal::RunStepsText(*relative)
                             : std::to_string(std::get<int64_t>(step));
}

StepNumber ParseStepNumber(std::string_view text) {
  const std::string where = "step " + Quoted(text);
  if (text == "end") return RunSteps{};
  double x = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), x);
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  if (error == std::errc() && (unit == "%" || unit == "ep")) {
    const RunSteps steps{x, unit == "%" ? StepUnit::kPercent : StepUnit::kEpochs};
    internal::CheckRunSteps(where, steps);
    return steps;
  }
  if (error != std::errc() || !unit.empty() || x != std::floor(x)) {
    throw Error(where + " must be a number of steps, such as 100, 10%, 3ep or end");
  }
  CheckRange(where, x, 0, internal::kMostSteps);
  return static_cast<int64_t>(x);
}

}  // namespace kudari
