#include "core/option_table.h"

#include <cmath>

#include "kudari/messages.h"

namespace kudari::internal {
namespace {

template <class T, class F>
std::string ListText(const std::vector<T>& values, const F& text) {
  std::string list = "[";
  for (const T& value : values) list += (list.size() == 1 ? "" : ", ") + text(value);
  return list + "]";
}

}  // namespace

// toml++'s own formatter loses a newline at the start of a text.
std::string TomlText(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  if (!IsUtf8(text)) throw Error(Quoted(text) + " is not UTF-8, which recipes must be");
  std::string quoted = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') quoted += '\\';
    if (code < 0x20 || code == 0x7f) {
      quoted.append("\\u00").append({kHex[code / 16], kHex[code % 16]});
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

namespace {

// An integer would lose the sign of -0 and could not reach 2^63.
std::string FloatText(double x) {
  std::string text = NumberText(x);
  const bool integer = std::isfinite(x) && text.find_first_of(".e") == std::string::npos;
  return integer ? text + ".0" : text;
}

}  // namespace

std::string TomlText(double x) {
  constexpr double kExact = 9007199254740992;  // 2^53
  return std::signbit(x) || std::abs(x) >= kExact ? FloatText(x) : NumberText(x);
}

std::string TomlText(const Schedule& schedule) {
  if (!schedule.IsResolved()) return TomlText(schedule.Text());
  const double first = schedule(0);
  const bool number = std::isfinite(first) && schedule == Schedule(first);
  return number ? FloatText(first) : TomlText(schedule.Text());
}

std::string TomlText(const StepNumber& step) {
  const std::string text = StepText(step);
  return std::holds_alternative<int64_t>(step) ? text : TomlText(std::string_view(text));
}

std::string TomlText(const Strings& strings) {
  return ListText(strings, [](const std::string& s) { return TomlText(std::string_view(s)); });
}

std::string TomlText(const Integers& integers) {
  return ListText(integers, [](int64_t i) { return std::to_string(i); });
}

std::string TomlText(const Numbers& numbers) {
  return ListText(numbers, [](double x) { return TomlText(x); });
}

std::string TomlText(const Classes& classes) {
  return ListText(classes, [](TensorClass c) { return TomlText(Name(c)); });
}

std::optional<Classes> ReadClasses(TableReader& reader, std::string_view key) {
  const auto names = reader.Strings(key);
  if (!names) return std::nullopt;
  Classes classes;
  for (const std::string& name : *names) {
    try {
      classes.push_back(ParseTensorClass(name));
    } catch (const Error& e) {
      reader.Fail(key, e.what());
    }
  }
  return classes;
}

std::optional<Schedule> ReadSchedule(TableReader& reader, std::string_view key, double low,
                                     double high) {
  auto value = reader.ScheduleOf(key);
  if (!value || !value->IsResolved()) return value;
  const double first = (*value)(0);
  if (!(low <= first && first <= high)) {
    reader.Fail(key, value->Text() + " is outside " + RangeText(low, high));
  }
  return value;
}

void CheckInteger(std::string_view where, int64_t value, int64_t low, int64_t high) {
  if (low <= value && value <= high) return;
  throw Error(std::string(where) + " = " + std::to_string(value) + " is outside [" +
              std::to_string(low) + ", " + (high == INT64_MAX ? "..." : std::to_string(high)) +
              "]");
}

void CheckStep(std::string_view where, const StepNumber& step) {
  try {
    ParseStepNumber(StepText(step));
  } catch (const Error& e) {
    throw Error(std::string(where) + ": " + e.what());
  }
}

std::string IntegerRange(int64_t least, int64_t most) {
  if (most != INT64_MAX) return "[" + std::to_string(least) + ", " + std::to_string(most) + "]";
  return least == INT64_MIN ? "integer" : "integer, at least " + std::to_string(least);
}

std::string ChoiceList(const Strings& choices) {
  std::string list;
  for (size_t i = 0; i < choices.size(); ++i) {
    list += i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ";
    list += '"' + choices[i] + '"';
  }
  return list;
}

}  // namespace kudari::internal
