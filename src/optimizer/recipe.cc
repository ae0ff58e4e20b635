#include "kudari/recipe.h"

#include <cmath>

#include "core/nearest.h"
#include "core/toml_table.h"
#include "kudari/error.h"

namespace kudari {
namespace {

using internal::TableReader;

const std::vector<std::string> kPolicies = {"propagate", "skip", "error"};

std::vector<std::string> RuleNames(const Registry& registry) {
  std::vector<std::string> names;
  for (const RuleEntry& r : registry.rules()) names.push_back(r.name);
  return names;
}

Options ReadOptions(TableReader& reader, const RuleEntry& rule) {
  Options options;
  for (const RuleEntry::Option& o : rule.options) {
    const auto value = reader.ScheduleOf(o.name);
    if (!value) continue;
    const double first = (*value)(0);
    if (!(o.low <= first && first <= o.high)) {
      reader.Fail(o.name, value->Text() + " is outside " + RangeText(o.low, o.high));
    }
    options.emplace(o.name, *value);
  }
  return options;
}

std::vector<TensorClass> ReadClasses(TableReader& reader, std::string_view key) {
  std::vector<TensorClass> classes;
  for (const std::string& name : reader.Strings(key).value_or(std::vector<std::string>())) {
    try {
      classes.push_back(ParseTensorClass(name));
    } catch (const Error& e) {
      reader.Fail(key, e.what());
    }
  }
  return classes;
}

std::optional<Schedule> ReadLimit(TableReader& reader, std::string_view key) {
  auto value = reader.ScheduleOf(key);
  if (value && !((*value)(0) >= 0)) reader.Fail(key, value->Text() + " is outside [0, inf)");
  return value;
}

Fallback ReadFallback(TableReader& reader, const Registry& registry) {
  Fallback fallback;
  fallback.rule = reader.Choice("rule", RuleNames(registry)).value_or(fallback.rule);
  fallback.options = ReadOptions(reader, registry.Find(fallback.rule));
  reader.Finish();
  return fallback;
}

AdaptiveClip ReadAgc(TableReader& reader) {
  AdaptiveClip agc;
  if (const auto clip = ReadLimit(reader, "clip")) agc.clip = *clip;
  agc.eps = reader.Number("eps", 0, kInfinity).value_or(agc.eps);
  agc.exclude = reader.Strings("exclude").value_or(agc.exclude);
  reader.Finish();
  return agc;
}

Group ReadGroup(TableReader reader, const std::string& base_rule, const Registry& registry) {
  Group group;
  group.match = reader.String("match").value_or("*");
  group.classes = ReadClasses(reader, "class");
  group.rule = reader.Choice("rule", RuleNames(registry)).value_or("");
  const std::string& rule = group.rule.empty() ? base_rule : group.rule;
  if (rule.empty()) reader.Fail("rule", "is missing, here and in [optimizer]");
  group.options = ReadOptions(reader, registry.Find(rule));
  reader.Finish();
  return group;
}

Options Filled(const RuleEntry& rule, const Options& options, const Options* inherited) {
  Options filled;
  for (const RuleEntry::Option& o : rule.options) filled.emplace(o.name, o.default_value);
  if (inherited != nullptr) {
    for (const auto& [name, value] : *inherited) filled.at(name) = value;
  }
  for (const auto& [name, value] : options) {
    const RuleEntry::Option& o = rule.options[rule.OptionIndex(name)];
    CheckRange(rule.name + ": " + name, value(0), o.low, o.high);
    filled.at(name) = value;
  }
  return filled;
}

// A TOML string on one line. toml++'s own formatter loses a newline at the start of a text.
std::string Quoted(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
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

std::string ValueText(const Schedule& s) {
  // A number that is not a schedule in quotes is written as a float: as an integer it would lose
  // the sign of -0 and could not reach 2^63.
  const double first = s(0);
  if (!std::isfinite(first) || !(s == Schedule(first))) return Quoted(s.Text());
  const bool integer = s.Text().find_first_of(".e") == std::string::npos;
  return s.Text() + (integer ? ".0" : "");
}

std::string ClassList(const std::vector<TensorClass>& classes) {
  std::string text = "[";
  for (size_t i = 0; i < classes.size(); ++i) {
    text += (i == 0 ? "\"" : ", \"") + std::string(Name(classes[i])) + "\"";
  }
  return text + "]";
}

std::string StringList(const std::vector<std::string>& strings) {
  std::string text = "[";
  for (size_t i = 0; i < strings.size(); ++i) text += (i == 0 ? "" : ", ") + Quoted(strings[i]);
  return text + "]";
}

std::string FallbackText(const Fallback& fallback) {
  std::string text = "{rule = " + Quoted(fallback.rule);
  for (const auto& [name, value] : fallback.options) text += ", " + name + " = " + ValueText(value);
  return text + "}";
}

std::string OptionLines(const Options& options) {
  std::string text;
  for (const auto& [name, value] : options) text += name + " = " + ValueText(value) + "\n";
  return text;
}

}  // namespace

OptimizerSpec ParseRecipe(std::string_view text, std::string_view source,
                          const Registry& registry) {
  const toml::table document = internal::ParseToml(text, source);
  TableReader root(document, "", source);
  auto table = root.Table("optimizer");
  if (!table) root.Fail("optimizer", "the table [optimizer] is missing");
  TableReader& reader = *table;

  OptimizerSpec spec;
  spec.rule = reader.Choice("rule", RuleNames(registry)).value_or("");
  if (!spec.rule.empty()) spec.options = ReadOptions(reader, registry.Find(spec.rule));
  spec.no_decay = ReadClasses(reader, "no_decay");
  if (reader.Has("no_adapt")) spec.no_adapt = ReadClasses(reader, "no_adapt");
  if (auto fallback = reader.Table("fallback")) {
    spec.fallback = ReadFallback(*fallback, registry);
  }
  spec.clip_norm = ReadLimit(reader, "clip_norm");
  spec.clip_norm_eps = reader.Number("clip_norm_eps", 0, kInfinity).value_or(spec.clip_norm_eps);
  if (auto agc = reader.Table("agc")) spec.agc = ReadAgc(*agc);
  spec.centralize = reader.Bool("centralize").value_or(false);
  spec.clip_value = ReadLimit(reader, "clip_value");
  if (const auto policy = reader.Choice("nonfinite", kPolicies)) {
    spec.nonfinite = *policy == "skip"    ? NonFinite::kSkip
                     : *policy == "error" ? NonFinite::kError
                                          : NonFinite::kPropagate;
  }
  spec.measure_norm = reader.Bool("measure_norm").value_or(false);
  spec.accumulate = reader.Integer("accumulate", 1, INT64_MAX).value_or(1);
  for (TableReader& item : reader.Tables("classify")) {
    const auto match = item.String("match");
    if (!match) item.Fail("match", "is missing");
    const auto classes = ReadClasses(item, "class");
    if (classes.size() != 1) item.Fail("class", "must be one class");
    spec.classes.emplace_back(*match, classes.front());
    item.Finish();
  }
  for (const TableReader& item : reader.Tables("group")) {
    spec.groups.push_back(ReadGroup(item, spec.rule, registry));
  }
  if (spec.rule.empty() && spec.groups.empty()) reader.Fail("rule", "is missing");
  reader.Finish();
  return spec;
}

OptimizerSpec Complete(const OptimizerSpec& spec, const Registry& registry) {
  OptimizerSpec full = spec;
  if (!spec.rule.empty()) {
    full.options = Filled(registry.Find(spec.rule), spec.options, nullptr);
  } else if (!spec.options.empty()) {
    throw Error("options without a rule: \"" + spec.options.begin()->first + "\"");
  } else if (spec.groups.empty()) {
    throw Error("rule is missing");
  }
  if (full.fallback) {
    Fallback& fallback = *full.fallback;
    fallback.options = Filled(registry.Find(fallback.rule), fallback.options, nullptr);
  }
  for (Group& group : full.groups) {
    if (group.rule.empty()) group.rule = spec.rule;
    if (group.rule.empty()) throw Error("group \"" + group.match + "\": rule is missing");
    const Options* inherited = group.rule == spec.rule ? &full.options : nullptr;
    group.options = Filled(registry.Find(group.rule), group.options, inherited);
  }
  if (spec.clip_norm) CheckRange("clip_norm", (*spec.clip_norm)(0), 0, kInfinity);
  CheckRange("clip_norm_eps", spec.clip_norm_eps, 0, kInfinity);
  if (spec.agc) {
    CheckRange("agc.clip", spec.agc->clip(0), 0, kInfinity);
    CheckRange("agc.eps", spec.agc->eps, 0, kInfinity);
  }
  if (spec.clip_value) CheckRange("clip_value", (*spec.clip_value)(0), 0, kInfinity);
  if (spec.accumulate < 1) {
    throw Error("accumulate = " + std::to_string(spec.accumulate) + " is outside [1, ...]");
  }
  return full;
}

std::string ToToml(const OptimizerSpec& spec) {
  std::string text = "[optimizer]\n";
  if (!spec.rule.empty()) text += "rule = " + Quoted(spec.rule) + "\n";
  text += OptionLines(spec.options);
  text += "no_decay = " + ClassList(spec.no_decay) + "\n";
  if (spec.no_adapt) text += "no_adapt = " + ClassList(*spec.no_adapt) + "\n";
  if (spec.fallback) text += "fallback = " + FallbackText(*spec.fallback) + "\n";
  if (spec.clip_norm) text += "clip_norm = " + ValueText(*spec.clip_norm) + "\n";
  text += "clip_norm_eps = " + ValueText(spec.clip_norm_eps) + "\n";
  if (spec.agc) {
    text += "agc = {clip = " + ValueText(spec.agc->clip) + ", eps = " + ValueText(spec.agc->eps) +
            ", exclude = " + StringList(spec.agc->exclude) + "}\n";
  }
  text += std::string("centralize = ") + (spec.centralize ? "true" : "false") + "\n";
  if (spec.clip_value) text += "clip_value = " + ValueText(*spec.clip_value) + "\n";
  text += "nonfinite = " + Quoted(kPolicies.at(static_cast<size_t>(spec.nonfinite))) + "\n";
  text += std::string("measure_norm = ") + (spec.measure_norm ? "true" : "false") + "\n";
  text += "accumulate = " + std::to_string(spec.accumulate) + "\n";
  for (const auto& [match, tensor_class] : spec.classes) {
    text += "\n[[optimizer.classify]]\nmatch = " + Quoted(match) + "\nclass = \"" +
            std::string(Name(tensor_class)) + "\"\n";
  }
  for (const Group& group : spec.groups) {
    text += "\n[[optimizer.group]]\nmatch = " + Quoted(group.match) + "\n";
    if (!group.classes.empty()) text += "class = " + ClassList(group.classes) + "\n";
    if (!group.rule.empty()) text += "rule = " + Quoted(group.rule) + "\n";
    text += OptionLines(group.options);
  }
  return text;
}

}  // namespace kudari
