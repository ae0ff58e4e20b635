#ifndef KUDARI_CORE_OPTION_TABLE_H_
#define KUDARI_CORE_OPTION_TABLE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/toml_table.h"
#include "kudari/description.h"
#include "kudari/error.h"
#include "kudari/range.h"
#include "kudari/rule.h"
#include "kudari/schedule.h"
#include "kudari/tensor.h"

namespace kudari::internal {

// Each option of a configuration is described once, by an entry of a table. Reading it from a
// recipe, writing, checking, listing and scaling with the batch all follow from that entry.

using Integers = std::vector<int64_t>;
using Numbers = std::vector<double>;
using Strings = std::vector<std::string>;
using Classes = std::vector<TensorClass>;
/// One of a few words, or a number.
using WordOrNumber = std::variant<std::string, double>;

/// A member that is one of a few words: an enum, or a bool with a word for each value.
template <class C>
struct Word {
  size_t (*get)(const C& config);
  void (*set)(C& config, size_t value);
};

/// A member that is a table of options, or a list of tables.
template <class C>
struct Within {
  void (*read)(TableReader& reader, std::string_view key, C& config);
  /// The value as TOML; nothing if it is unset.
  std::optional<std::string> (*text)(const C& config);
};

/// One option of a configuration C. Which fields apply depends on the type of the member.
template <class C>
struct Option {
  std::string name;
  std::variant<double C::*, int64_t C::*, bool C::*, std::string C::*, Integers C::*, Numbers C::*,
               Strings C::*, Schedule C::*, std::optional<Schedule> C::*, Classes C::*,
               std::optional<Classes> C::*, std::optional<StepNumber> C::*, WordOrNumber C::*,
               Word<C>, Within<C>>
      member;
  double low = 0, high = 0;     ///< range of a number, of those of a list or of a schedule, or of a
                                ///< word that may be a number
  int64_t least = 0, most = 0;  ///< range of an integer, or of the elements of a list
  Strings choices = {};         ///< for a string or a Word; empty: any string
  std::string range = {};       ///< permitted values as text, unless the fields above give them
  std::string doc;              ///< meaning of the option
  Role role = Role::kValue;     ///< how it changes with the batch size
};

template <class C>
using OptionTable = std::vector<Option<C>>;

template <class T>
T ValueOrDefault(const std::optional<T>& value) {
  return value.value_or(T());
}
template <class T>
const T& ValueOrDefault(const T& value) {
  return value;
}
template <class T>
bool IsSet(const std::optional<T>& value) {
  return value.has_value();
}
template <class T>
bool IsSet(const T& /*value*/) {
  return true;
}

/// The Word of a member that is an enum or a bool.
template <auto Member>
constexpr auto WordOf() {
  return []<class C, class T>(T C::*) {
    return Word<C>{[](const C& config) { return static_cast<size_t>(config.*Member); },
                   [](C& config, size_t value) { config.*Member = static_cast<T>(value); }};
  }(Member);
}

/// Values as TOML; strings are on one line. Throws Error for a string that is not UTF-8.
std::string TomlText(std::string_view text);
inline std::string TomlText(const std::string& text) { return TomlText(std::string_view(text)); }
std::string TomlText(double x);
std::string TomlText(const Schedule& schedule);
std::string TomlText(const StepNumber& step);
std::string TomlText(const Strings& strings);
std::string TomlText(const Integers& integers);
std::string TomlText(const Numbers& numbers);
std::string TomlText(const Classes& classes);

/// Tensor classes; nothing if the key is absent.
std::optional<Classes> ReadClasses(TableReader& reader, std::string_view key);
/// A schedule whose first value is in [low, high], unless it is relative to a run and has none yet;
/// nothing if the key is absent.
std::optional<Schedule> ReadSchedule(TableReader& reader, std::string_view key, double low,
                                     double high);
/// Throws Error "where = value is outside [low, high]" if it is; high = INT64_MAX means no bound.
void CheckInteger(std::string_view where, int64_t value, int64_t low, int64_t high);
/// Throws Error "where: ..." unless the step is as ParseStepNumber would read it.
void CheckStep(std::string_view where, const StepNumber& step);
/// An integer range as text, such as "integer, at least 1".
std::string IntegerRange(int64_t least, int64_t most);
/// The choices as text: "\"a\", \"b\" or \"c\"".
std::string ChoiceList(const Strings& choices);

/// Reads the option if the key is present. Errors name the option and its range.
template <class C>
void ReadOption(TableReader& reader, const Option<C>& o, C& config) {
  const auto set = [&](auto member, auto value) {
    if (value) config.*member = *std::move(value);
  };
  struct Visitor {
    TableReader& reader;
    const Option<C>& o;
    C& config;
    decltype(set)& assign;
    void operator()(double C::*m) { assign(m, reader.Number(o.name, o.low, o.high)); }
    void operator()(int64_t C::*m) { assign(m, reader.Integer(o.name, o.least, o.most)); }
    void operator()(bool C::*m) { assign(m, reader.Bool(o.name)); }
    void operator()(std::string C::*m) {
      if (o.choices.empty()) return assign(m, reader.String(o.name));
      assign(m, reader.Choice(o.name, o.choices));
    }
    void operator()(WordOrNumber C::*m) {
      assign(m, reader.ChoiceOrNumber(o.name, o.choices, o.low, o.high));
    }
    void operator()(Integers C::*m) { assign(m, reader.Integers(o.name, o.least, o.most)); }
    void operator()(Numbers C::*m) { assign(m, reader.Numbers(o.name, o.low, o.high)); }
    void operator()(Strings C::*m) { assign(m, reader.Strings(o.name)); }
    void operator()(Schedule C::*m) { assign(m, ReadSchedule(reader, o.name, o.low, o.high)); }
    void operator()(std::optional<Schedule> C::*m) {
      assign(m, ReadSchedule(reader, o.name, o.low, o.high));
    }
    void operator()(Classes C::*m) { assign(m, ReadClasses(reader, o.name)); }
    void operator()(std::optional<Classes> C::*m) { assign(m, ReadClasses(reader, o.name)); }
    void operator()(std::optional<StepNumber> C::*m) { assign(m, reader.StepOf(o.name)); }
    void operator()(const Word<C>& word) {
      const auto name = reader.Choice(o.name, o.choices);
      for (size_t i = 0; name && i < o.choices.size(); ++i) {
        if (o.choices[i] == *name) word.set(config, i);
      }
    }
    void operator()(const Within<C>& within) { within.read(reader, o.name, config); }
  };
  std::visit(Visitor{reader, o, config, set}, o.member);
}

/// Reads all options of the table that are present.
template <class C>
void ReadOptions(TableReader& reader, const OptionTable<C>& options, C& config) {
  for (const Option<C>& o : options) ReadOption(reader, o, config);
}

/// The value as TOML; nothing if it is unset.
template <class C>
std::optional<std::string> OptionText(const Option<C>& o, const C& config) {
  using Text = std::optional<std::string>;
  struct Visitor {
    const Option<C>& o;
    const C& config;
    Text operator()(double C::*m) { return TomlText(config.*m); }
    Text operator()(int64_t C::*m) { return std::to_string(config.*m); }
    Text operator()(bool C::*m) { return config.*m ? "true" : "false"; }
    Text operator()(std::string C::*m) { return TomlText(config.*m); }
    Text operator()(WordOrNumber C::*m) {
      return std::visit([](const auto& value) { return TomlText(value); }, config.*m);
    }
    Text operator()(Integers C::*m) { return TomlText(config.*m); }
    Text operator()(Numbers C::*m) { return TomlText(config.*m); }
    Text operator()(Strings C::*m) { return TomlText(config.*m); }
    Text operator()(Schedule C::*m) { return TomlText(config.*m); }
    Text operator()(std::optional<Schedule> C::*m) {
      return config.*m ? TomlText(*(config.*m)) : Text();
    }
    Text operator()(Classes C::*m) { return TomlText(config.*m); }
    Text operator()(std::optional<Classes> C::*m) {
      return config.*m ? TomlText(*(config.*m)) : Text();
    }
    Text operator()(std::optional<StepNumber> C::*m) {
      return config.*m ? TomlText(*(config.*m)) : Text();
    }
    Text operator()(const Word<C>& word) { return TomlText(o.choices.at(word.get(config))); }
    Text operator()(const Within<C>& within) { return within.text(config); }
  };
  return std::visit(Visitor{o, config}, o.member);
}

/// The options as "name = value", one per line or as an inline table.
template <class C>
std::string OptionLines(const OptionTable<C>& options, const C& config) {
  std::string lines;
  for (const Option<C>& o : options) {
    if (const auto text = OptionText(o, config)) lines += o.name + " = " + *text + "\n";
  }
  return lines;
}
template <class C>
std::string InlineTable(const OptionTable<C>& options, const C& config) {
  std::string items;
  for (const Option<C>& o : options) {
    const auto text = OptionText(o, config);
    if (text) items += (items.empty() ? "" : ", ") + o.name + " = " + *text;
  }
  return "{" + items + "}";
}

/// The Within of a member that is a struct with its own options, or an optional one.
template <auto Member, auto Table>
constexpr auto TableOf() {
  return []<class C, class T>(T C::*) {
    return Within<C>{[](TableReader& reader, std::string_view key, C& config) {
                       auto table = reader.Table(key);
                       if (!table) return;
                       auto value = ValueOrDefault(config.*Member);  // a copy
                       ReadOptions(*table, Table(), value);
                       table->Finish();
                       config.*Member = std::move(value);
                     },
                     [](const C& config) -> std::optional<std::string> {
                       if (!IsSet(config.*Member)) return std::nullopt;
                       return InlineTable(Table(), ValueOrDefault(config.*Member));
                     }};
  }(Member);
}

/// Throws Error "PREFIXname = value is outside [low, high]" for the first option that is out of
/// range. Schedules that are relative to a run have no value yet, and pass.
template <class C>
void CheckOptions(const std::string& prefix, const OptionTable<C>& options, const C& config) {
  struct Visitor {
    const Option<C>& o;
    const C& config;
    std::string where;
    void operator()(double C::*m) { CheckRange(where, config.*m, o.low, o.high); }
    void operator()(int64_t C::*m) { CheckInteger(where, config.*m, o.least, o.most); }
    void Check(const Schedule& s) {
      if (s.IsResolved()) CheckRange(where, s(0), o.low, o.high);
    }
    void operator()(Schedule C::*m) { Check(config.*m); }
    void operator()(std::optional<Schedule> C::*m) {
      if (config.*m) Check(*(config.*m));
    }
    void operator()(std::optional<StepNumber> C::*m) {
      if (config.*m) CheckStep(where, *(config.*m));
    }
    void operator()(const Word<C>& word) {
      if (word.get(config) < o.choices.size()) return;
      throw Error(where + " must be " + ChoiceList(o.choices));
    }
    // Types without a range.
    void operator()(bool C::*) {}
    void operator()(std::string C::*) {}
    void operator()(WordOrNumber C::*) {}
    void operator()(Integers C::*) {}
    void operator()(Numbers C::*) {}
    void operator()(Strings C::*) {}
    void operator()(Classes C::*) {}
    void operator()(std::optional<Classes> C::*) {}
    void operator()(const Within<C>&) {}
  };
  for (const Option<C>& o : options) std::visit(Visitor{o, config, prefix + o.name}, o.member);
}

/// The permitted values of the option, as text.
template <class C>
std::string RangeOf(const Option<C>& o) {
  if (!o.range.empty()) return o.range;
  struct Visitor {
    const Option<C>& o;
    std::string operator()(double C::*) { return RangeText(o.low, o.high); }
    std::string operator()(int64_t C::*) { return IntegerRange(o.least, o.most); }
    std::string operator()(bool C::*) { return "true or false"; }
    std::string operator()(std::string C::*) {
      return o.choices.empty() ? "text" : ChoiceList(o.choices);
    }
    std::string operator()(WordOrNumber C::*) {
      return ChoiceList(o.choices) + ", or in " + RangeText(o.low, o.high);
    }
    std::string operator()(Integers C::*) { return "list of >= " + std::to_string(o.least); }
    std::string operator()(Numbers C::*) {
      return "list of numbers in " + RangeText(o.low, o.high);
    }
    std::string operator()(Strings C::*) { return "globs"; }
    std::string operator()(Schedule C::*) { return RangeText(o.low, o.high) + ", or a schedule"; }
    std::string operator()(std::optional<Schedule> C::*) {
      return RangeText(o.low, o.high) + ", or a schedule";
    }
    std::string operator()(Classes C::*) { return "classes"; }
    std::string operator()(std::optional<Classes> C::*) { return "classes"; }
    std::string operator()(std::optional<StepNumber> C::*) {
      return "a step, such as 100, \"10%\", \"3ep\" or \"end\"";
    }
    std::string operator()(const Word<C>&) { return ChoiceList(o.choices); }
    std::string operator()(const Within<C>&) { return "a table"; }
  };
  return std::visit(Visitor{o}, o.member);
}

/// The description of the option, with its value in `defaults` as the default.
template <class C>
OptionDescription DescribeOption(const std::string& prefix, const Option<C>& o, const C& defaults) {
  return {prefix + o.name, OptionText(o, defaults).value_or(""), RangeOf(o), o.doc};
}
template <class C>
std::vector<OptionDescription> DescribeOptions(const std::string& prefix,
                                               const OptionTable<C>& options, const C& defaults) {
  std::vector<OptionDescription> all;
  for (const Option<C>& o : options) all.push_back(DescribeOption(prefix, o, defaults));
  return all;
}

/// The option with that name, which must be in the table.
template <class C>
const Option<C>& FindOption(const OptionTable<C>& options, std::string_view name) {
  for (const Option<C>& o : options) {
    if (o.name == name) return o;
  }
  throw Error("there is no option \"" + std::string(name) + "\"");
}

}  // namespace kudari::internal

#endif  // KUDARI_CORE_OPTION_TABLE_H_
