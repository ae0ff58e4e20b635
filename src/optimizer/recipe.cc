#include "kudari/recipe.h"

#include "core/option_table.h"
#include "core/regex.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/presets.h"
#include "kudari/stages.h"
#include "optimizer/spec_options.h"

namespace kudari {
namespace {

using internal::TableReader;
using internal::TomlText;

std::vector<std::string> RuleNames(const Registry& registry) {
  std::vector<std::string> names;
  for (const RuleEntry& r : registry.rules()) names.push_back(r.name);
  return names;
}

/// `options` with those that the table has replaced.
Options ReadOptions(TableReader& reader, const RuleEntry& rule, Options options = {}) {
  for (const RuleEntry::Option& o : rule.options) {
    const auto value = internal::ReadSchedule(reader, o.name, o.low, o.high);
    if (value) options.insert_or_assign(o.name, *value);
  }
  return options;
}

/// Reads a rule and its options; options of another rule mean nothing to it.
void ReadRule(TableReader& reader, const Registry& registry, std::string& rule, Options& options) {
  const auto name = reader.Choice("rule", RuleNames(registry));
  if (name && *name != rule) {
    rule = *name;
    options.clear();
  }
  if (!rule.empty()) options = ReadOptions(reader, registry.Find(rule), std::move(options));
}

/// `fallback` with what the table replaces.
Fallback ReadFallback(TableReader& reader, const Registry& registry, Fallback fallback) {
  ReadRule(reader, registry, fallback.rule, fallback.options);
  reader.Finish();
  return fallback;
}

Group ReadGroup(TableReader reader, const std::string& base_rule, const Registry& registry) {
  Group group;
  group.match = reader.String("match").value_or("*");
  if (const auto expression = reader.String("match_regex")) {
    if (expression->empty()) reader.Fail("match_regex", "is empty");
    try {
      const internal::Regex checked(*expression);
    } catch (const Error& e) {
      reader.Fail("match_regex", e.what());
    }
    group.match_regex = *expression;
  }
  group.classes = internal::ReadClasses(reader, "class").value_or(group.classes);
  group.modules = reader.Strings("modules").value_or(group.modules);
  group.rule = reader.Choice("rule", RuleNames(registry)).value_or("");
  const std::string& rule = group.rule.empty() ? base_rule : group.rule;
  if (rule.empty()) reader.Fail("rule", "is missing, here and in [optimizer]");
  group.options = ReadOptions(reader, registry.Find(rule));
  internal::ReadOptions(reader, internal::GroupOptions(), group);
  reader.Finish();
  return group;
}

/// Throws Error unless the expression for names, if the group has one, can be read.
void CheckRegex(const Group& group) {
  if (group.match_regex.empty()) return;
  try {
    const internal::Regex checked(group.match_regex);
  } catch (const Error& e) {
    throw Error("group \"" + group.match + "\": match_regex: " + e.what());
  }
}

Options Filled(const RuleEntry& rule, const Options& options, const Options* inherited) {
  Options filled;
  for (const RuleEntry::Option& o : rule.options) filled.emplace(o.name, o.default_value);
  if (inherited != nullptr) {
    for (const auto& [name, value] : *inherited) filled.at(name) = value;
  }
  for (const auto& [name, value] : options) {
    const RuleEntry::Option& o = rule.options[rule.OptionIndex(name)];
    if (value.IsResolved()) CheckRange(rule.name + ": " + name, value(0), o.low, o.high);
    filled.at(name) = value;
  }
  return filled;
}

std::string FallbackText(const Fallback& fallback) {
  std::string text = "{rule = " + TomlText(fallback.rule);
  for (const auto& [name, value] : fallback.options) text += ", " + name + " = " + TomlText(value);
  return text + "}";
}

std::string RuleLines(const std::string& rule, const Options& options) {
  std::string text = rule.empty() ? "" : "rule = " + TomlText(rule) + "\n";
  for (const auto& [name, value] : options) text += name + " = " + TomlText(value) + "\n";
  return text;
}

}  // namespace

OptimizerSpec ReadSpec(internal::TableReader& root, const Registry& registry) {
  auto table = root.Table("optimizer");
  if (!table) root.Fail("optimizer", "the table [optimizer] is missing");
  TableReader& reader = *table;

  OptimizerSpec spec;
  if (const auto preset = reader.Choice("preset", PresetNames())) {
    spec = Preset(*preset, registry);
    // Either could be what was meant: a preset may have been set on a recipe that has a rule.
    const auto rule = reader.Choice("rule", RuleNames(registry));
    if (rule && !spec.rule.empty() && *rule != spec.rule) {
      reader.Fail("rule", Quoted(*rule) + " contradicts preset = " + Quoted(*preset) +
                              ", whose rule is " + Quoted(spec.rule) + "; remove one of the two");
    }
  }
  ReadRule(reader, registry, spec.rule, spec.options);
  ReadOptions(reader, internal::TreatmentOptions(), spec);
  if (auto fallback = reader.Table("fallback")) {
    spec.fallback = ReadFallback(*fallback, registry, spec.fallback.value_or(Fallback()));
  }
  ReadOptions(reader, internal::StageOptions(), spec);
  if (reader.Has("sharpness") && !internal::FindSource(spec.source).sharpness) {
    reader.Fail("sharpness", "is for sharpness-aware sources; source is \"" + spec.source + "\"");
  }
  for (TableReader& item : reader.Tables("classify")) {
    const auto match = item.String("match");
    if (!match) item.Fail("match", "is missing");
    const auto classes = ReadClasses(item, "class");
    if (!classes || classes->size() != 1) item.Fail("class", "must be one class");
    spec.classes.emplace_back(*match, classes->front());
    item.Finish();
  }
  for (const TableReader& item : reader.Tables("group")) {
    spec.groups.push_back(ReadGroup(item, spec.rule, registry));
  }
  if (spec.rule.empty() && spec.groups.empty()) reader.Fail("rule", "is missing");
  reader.Finish();
  return spec;
}

OptimizerSpec ParseRecipe(std::string_view text, std::string_view source,
                          const Registry& registry) {
  const toml::table document = internal::ParseToml(text, source);
  TableReader root(document, "", source);
  return ReadSpec(root, registry);
}

OptimizerSpec Complete(const OptimizerSpec& spec, const Registry& registry) {
  OptimizerSpec full = spec;
  // By the registry's own names from here on, in whatever case they were given.
  const auto name = [&registry](std::string& rule) {
    if (!rule.empty()) rule = registry.Find(rule).name;
  };
  name(full.rule);
  if (!full.rule.empty()) {
    full.options = Filled(registry.Find(full.rule), spec.options, nullptr);
  } else if (!spec.options.empty()) {
    throw Error("options without a rule: \"" + spec.options.begin()->first + "\"");
  } else if (spec.groups.empty()) {
    throw Error("rule is missing");
  }
  if (full.fallback) {
    Fallback& fallback = *full.fallback;
    name(fallback.rule);
    fallback.options = Filled(registry.Find(fallback.rule), fallback.options, nullptr);
  }
  for (Group& group : full.groups) {
    if (group.rule.empty()) group.rule = full.rule;
    if (group.rule.empty()) throw Error("group \"" + group.match + "\": rule is missing");
    name(group.rule);
    const Options* inherited = group.rule == full.rule ? &full.options : nullptr;
    group.options = Filled(registry.Find(group.rule), group.options, inherited);
    internal::CheckOptions("group \"" + group.match + "\": ", internal::GroupOptions(), group);
    CheckRegex(group);
  }
  const internal::SourceEntry& source = internal::FindSource(spec.source);
  if (source.sharpness) {
    full.sharpness = Sharpness::Complete(spec.source, spec.sharpness.value_or(SharpnessSpec()));
  } else if (spec.sharpness) {
    throw Error("sharpness is for sharpness-aware sources; source is \"" + spec.source + "\"");
  }
  internal::ForTables(full, [](const std::string& prefix, const auto& config, const auto& options) {
    internal::CheckOptions(prefix, options, config);
  });
  if (spec.precision.master != Master::kNone && spec.precision.rounding == Rounding::kStochastic &&
      spec.precision.state != StateFormat::kBFloat16) {
    throw Error("precision.rounding = \"stochastic\" has nothing to round: precision.master = \"" +
                std::string(Name(spec.precision.master)) +
                "\" keeps the digits that parameters lack");
  }
  return full;
}

OptimizerSpec Resolve(const OptimizerSpec& spec, const RunLength& run) {
  OptimizerSpec resolved = spec;
  internal::ForSchedules(resolved, [&run](const std::string& name, Schedule& schedule) {
    try {
      schedule = schedule.Resolve(run);
    } catch (const Error& e) {
      throw Error(name + ": " + e.what());
    }
  });
  internal::ForSteps(resolved, [&run](const std::string& name, StepNumber& step) {
    try {
      step = ResolveStep(step, run);
    } catch (const Error& e) {
      throw Error(name + ": " + e.what());
    }
  });
  return resolved;
}

std::vector<std::string> ScheduleMisfits(const OptimizerSpec& spec, const RunLength& run) {
  std::vector<std::string> misfits;
  const OptimizerSpec resolved = Resolve(spec, run);
  internal::ForSchedules(resolved, [&](const std::string& name, const Schedule& schedule) {
    for (const std::string& misfit : ScheduleMisfits(schedule, run)) {
      misfits.push_back(std::string(name).append(": ").append(misfit));
    }
  });
  internal::ForSteps(resolved, [&](const std::string& name, const StepNumber& step) {
    const int64_t at = std::get<int64_t>(step);
    if (at <= run.steps) return;
    misfits.push_back(name + ": step " + std::to_string(at) + " is behind the end of the run, " +
                      std::to_string(run.steps) + " steps");
  });
  return misfits;
}

std::string ToToml(const OptimizerSpec& spec) {
  std::string text = "[optimizer]\n" + RuleLines(spec.rule, spec.options);
  text += internal::OptionLines(internal::TreatmentOptions(), spec);
  if (spec.fallback) text += "fallback = " + FallbackText(*spec.fallback) + "\n";
  text += internal::OptionLines(internal::StageOptions(), spec);
  for (const auto& [match, tensor_class] : spec.classes) {
    text += "\n[[optimizer.classify]]\nmatch = " + TomlText(match) +
            "\nclass = " + TomlText(Name(tensor_class)) + "\n";
  }
  for (const Group& group : spec.groups) {
    text += "\n[[optimizer.group]]\nmatch = " + TomlText(group.match) + "\n";
    if (!group.match_regex.empty()) text += "match_regex = " + TomlText(group.match_regex) + "\n";
    if (!group.classes.empty()) text += "class = " + TomlText(group.classes) + "\n";
    if (!group.modules.empty()) text += "modules = " + TomlText(group.modules) + "\n";
    text += RuleLines(group.rule, group.options);
    text += internal::OptionLines(internal::GroupOptions(), group);
  }
  return text;
}

}  // namespace kudari
