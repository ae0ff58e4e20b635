// Schedules from text.
#include <algorithm>
#include <charconv>

#include "core/schedule_curves.h"
#include "kudari/error.h"
#include "kudari/messages.h"

namespace kudari {
namespace {

using internal::Curve;
using internal::Parameter;
using internal::Value;

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNameChar(char c) { return IsLetter(c) || (c >= '0' && c <= '9'); }

/// Recursive descent over
///
///     product  = factor {"*" factor}
///     factor   = number | name "(" [argument {"," argument}] ")"
///     argument = [name "="] (product | "[" [steps {"," steps}] "]" | word | steps)
///     steps    = number | number "%" | number "ep" | "end"
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

  struct Word {
    std::string text;
  };
  struct Argument {
    size_t column;
    std::string name;  // empty: by position
    std::variant<Schedule, std::vector<StepCount>, Word, RunSteps> value;
  };

  [[noreturn]] void Fail(size_t at, const std::string& message) const {
    throw Error("schedule \"" + std::string(text_.substr(0, 200)) + "\", column " +
                std::to_string(at + 1) + ": " + message);
  }

  void SkipSpace() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }

  bool Next(char c) {
    SkipSpace();
    return at_ < text_.size() && text_[at_] == c;
  }

  bool Accept(char c) {
    const bool next = Next(c);
    if (next) ++at_;
    return next;
  }

  // A name, or "" if none begins here.
  std::string Name() {
    SkipSpace();
    const size_t start = at_;
    if (at_ < text_.size() && IsLetter(text_[at_])) {
      while (at_ < text_.size() && IsNameChar(text_[at_])) ++at_;
    }
    return std::string(text_.substr(start, at_ - start));
  }

  double Number(const char* expected) {
    SkipSpace();
    double x = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), x);
    if (error == std::errc::result_out_of_range) Fail(at_, "number out of range");
    if (error != std::errc()) Fail(at_, expected);
    at_ = static_cast<size_t>(end - text_.data());
    return x;
  }

  // "10%" or "30ep", if that is what comes now.
  std::optional<RunSteps> PartOfRun() {
    SkipSpace();
    const size_t start = at_;
    double x = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), x);
    if (error != std::errc()) return std::nullopt;
    at_ = static_cast<size_t>(end - text_.data());
    if (Accept('%')) return RunSteps{x, StepUnit::kPercent};
    if (Name() == "ep") return RunSteps{x, StepUnit::kEpochs};
    at_ = start;
    return std::nullopt;
  }

  // All at once: a product of two would copy the factors before.
  Schedule Product(int depth) {
    if (depth > kDeepest) Fail(at_, "nested too deeply");
    std::vector<Schedule> factors = {One(depth)};
    while (Accept('*')) factors.push_back(One(depth));
    return internal::MakeProduct(factors);
  }

  Schedule One(int depth) {
    SkipSpace();
    const size_t start = at_;
    const std::string name = Name();
    if (!name.empty()) return CallAt(start, name, depth);
    if (PartOfRun()) {
      Fail(start, std::string(text_.substr(start, at_ - start)) +
                      " is a number of steps, and only an argument that counts steps can be one");
    }
    return Number("expected a number or a function");
  }

  Argument OneArgument(int depth) {
    SkipSpace();
    Argument argument{at_, "", Word()};
    std::string word = Name();
    if (!word.empty() && Accept('=')) {
      argument.name = std::move(word);
      SkipSpace();
      argument.column = at_;
      word = Name();
    }
    if (!word.empty() && !Next('(')) {
      argument.value = Word{std::move(word)};
    } else if (Accept('[')) {
      argument.value = StepList();
    } else {
      at_ = argument.column;
      if (const auto steps = PartOfRun()) {
        argument.value = *steps;
      } else {
        argument.value = Product(depth + 1);
      }
    }
    return argument;
  }

  std::vector<StepCount> StepList() {
    std::vector<StepCount> list;
    if (Accept(']')) return list;
    do {
      const size_t start = at_;
      if (Name() == "end") {
        list.emplace_back(RunSteps{});
        continue;
      }
      at_ = start;
      if (const auto steps = PartOfRun()) {
        list.emplace_back(*steps);
      } else {
        list.emplace_back(Number("expected a number"));
      }
    } while (Accept(','));
    if (!Accept(']')) Fail(at_, "expected , or ]");
    return list;
  }

  Schedule CallAt(size_t start, const std::string& name, int depth) {
    std::vector<const Curve*> overloads;
    std::vector<std::string> names;
    for (const Curve& c : internal::Curves()) {
      if (c.name == name) overloads.push_back(&c);
      if (names.empty() || names.back() != c.name) names.emplace_back(c.name);
    }
    if (overloads.empty()) {
      Fail(start, "unknown schedule " + Quoted(name) + Suggest(name, names));
    }
    if (!Accept('(')) Fail(at_, "expected ( after " + name);
    std::vector<Argument> arguments;
    if (!Accept(')')) {
      do {
        arguments.push_back(OneArgument(depth));
      } while (Accept(','));
      if (!Accept(')')) Fail(at_, "expected , or )");
    }
    return Make(start, Chosen(start, overloads, arguments.size()), arguments);
  }

  const Curve& Chosen(size_t start, const std::vector<const Curve*>& overloads,
                      size_t arguments) const {
    std::string forms;
    for (const Curve* c : overloads) {
      const auto needed = std::count_if(c->parameters.begin(), c->parameters.end(),
                                        [](const Parameter& p) { return !p.default_value; });
      if (static_cast<size_t>(needed) <= arguments && arguments <= c->parameters.size()) return *c;
      forms += (forms.empty() ? "" : " or ") + c->Form();
    }
    Fail(start, "wrong number of arguments, " + std::to_string(arguments) + "; use " + forms);
  }

  // Which parameter an argument is for; those by position come first.
  size_t ParameterOf(const Curve& curve, const std::vector<Argument>& arguments, size_t i) const {
    const Argument& a = arguments[i];
    const std::string name(curve.name);
    if (a.name.empty()) {
      if (i > 0 && !arguments[i - 1].name.empty()) {
        Fail(a.column, name + ": an argument without a name after one with");
      }
      return i;
    }
    std::vector<std::string> names;
    for (const Parameter& p : curve.parameters) {
      if (p.name == a.name) return names.size();
      names.emplace_back(p.name);
    }
    Fail(a.column, name + ": no parameter " + Quoted(a.name) + Suggest(a.name, names));
  }

  Schedule Make(size_t start, const Curve& curve, const std::vector<Argument>& arguments) const {
    std::vector<std::optional<Value>> given(curve.parameters.size());
    for (size_t i = 0; i < arguments.size(); ++i) {
      const size_t k = ParameterOf(curve, arguments, i);
      const Parameter& p = curve.parameters[k];
      if (given[k]) {
        Fail(arguments[i].column, std::string(curve.name) + ": " + std::string(p.name) + " twice");
      }
      given[k] = ValueOf(curve, p, arguments[i]);
    }
    std::vector<Value> values;
    for (size_t k = 0; k < given.size(); ++k) {
      const Parameter& p = curve.parameters[k];
      if (!given[k] && !p.default_value) {
        Fail(start, std::string(curve.name) + ": " + std::string(p.name) + " is missing; use " +
                        curve.Form());
      }
      values.push_back(given[k] ? *given[k] : Value(*p.default_value));
    }
    try {
      return internal::MakeCall(curve, values);
    } catch (const Error& e) {
      Fail(start, e.what());
    }
  }

  Value ValueOf(const Curve& curve, const Parameter& p, const Argument& a) const {
    const std::optional<Value> value = Converted(p, a);
    const std::string where = std::string(curve.name) + ": " + std::string(p.name);
    if (!value) {
      Fail(a.column, where + " must be " + p.Wanted());
    }
    try {
      CheckValue(curve, p, *value);
    } catch (const Error& e) {
      Fail(a.column, e.what());
    }
    return *value;
  }

  // The argument as what the parameter is, if it can be.
  static std::optional<Value> Converted(const Parameter& p, const Argument& a) {
    if (const auto* list = std::get_if<std::vector<StepCount>>(&a.value)) {
      return p.kind == ArgumentKind::kStepList ? std::optional<Value>(*list) : std::nullopt;
    }
    if (const auto* steps = std::get_if<RunSteps>(&a.value)) {
      return p.kind == ArgumentKind::kSteps ? std::optional<Value>(*steps) : std::nullopt;
    }
    if (const auto* word = std::get_if<Word>(&a.value)) {
      if (p.kind == ArgumentKind::kSteps && word->text == "end") return RunSteps{};
      if (p.kind != ArgumentKind::kShape) return std::nullopt;
      const auto shapes = internal::Shapes().first(static_cast<size_t>(p.high) + 1);
      const auto found = std::find(shapes.begin(), shapes.end(), word->text);
      if (found == shapes.end()) return std::nullopt;
      return static_cast<double>(found - shapes.begin());
    }
    const auto& schedule = std::get<Schedule>(a.value);
    if (p.kind == ArgumentKind::kSchedule) return schedule;
    return p.IsNumber() && schedule.IsConstant() ? std::optional<Value>(schedule(0)) : std::nullopt;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Schedule ParseSchedule(std::string_view text) { return ScheduleParser(text).Parse(); }

}  // namespace kudari
