#include "kudari/registry.h"

#include "core/nearest.h"
#include "kudari/error.h"

namespace kudari {

size_t RuleEntry::OptionIndex(std::string_view option) const {
  std::vector<std::string> names;
  for (size_t i = 0; i < options.size(); ++i) {
    if (options[i].name == option) return i;
    names.push_back(options[i].name);
  }
  throw Error(name + " has no option \"" + std::string(option) + "\"" +
              internal::Suggest(option, names));
}

void Registry::Add(RuleEntry entry) {
  for (const RuleEntry& r : rules_) {
    if (r.name == entry.name) throw Error("rule \"" + entry.name + "\" is registered already");
  }
  rules_.push_back(std::move(entry));
}

const RuleEntry& Registry::Find(std::string_view name) const {
  std::vector<std::string> names;
  for (const RuleEntry& r : rules_) {
    if (r.name == name) return r;
    names.push_back(r.name);
  }
  throw Error("unknown rule \"" + std::string(name) + "\"" + internal::Suggest(name, names));
}

std::string RangeText(double low, double high) {
  std::string text = low == -kInfinity ? "(" : "[";
  text += internal::NumberText(low) + ", ";
  if (high == kInfinity) return text + "inf)";
  if (high == kBelow1) return text + "1)";
  return text + internal::NumberText(high) + "]";
}

void CheckRange(std::string_view where, double value, double low, double high) {
  if (low <= value && value <= high && (value < kInfinity || high < kInfinity)) return;
  throw Error(std::string(where) + " = " + internal::NumberText(value) + " is outside " +
              RangeText(low, high));
}

Description Describe(const RuleEntry& rule) {
  Description d{.kind = "rule",
                .name = rule.name,
                .summary = rule.summary,
                .formula = rule.formula,
                .paper = rule.paper,
                .state = rule.slots};
  for (const RuleEntry::Option& o : rule.options) {
    d.options.push_back(
        {o.name, internal::NumberText(o.default_value), RangeText(o.low, o.high), o.doc});
  }
  return d;
}

}  // namespace kudari
