#include "kudari/registry.h"

#include "kudari/error.h"
#include "kudari/messages.h"

namespace kudari {

size_t RuleEntry::OptionIndex(std::string_view option) const {
  for (size_t i = 0; i < options.size(); ++i) {
    if (options[i].name == option) return i;
  }
  std::vector<std::string> names;
  for (const Option& o : options) names.push_back(o.name);
  throw Error(name + " has no option " + Quoted(option) + Suggest(option, names));
}

MemoryTraffic RuleEntry::Traffic(std::span<const int64_t> shape) const {
  if (whole != nullptr) return whole->Traffic(shape);
  int64_t bytes = sizeof(float);
  for (const int64_t d : shape) bytes *= d;
  const auto state = static_cast<int64_t>(slots.size());
  // The curvature is only read.
  const int64_t stored = scalar.hessian != nullptr ? state - 1 : state;
  if (norms == 0) return {bytes * (2 + state), bytes * (1 + stored)};
  // The first pass, then the second.
  if (state_pass == StatePass::kMeasure) {
    return {bytes * ((2 + state) + (1 + state)), bytes * (state + 1)};
  }
  return {bytes * (2 + (2 + state)), bytes * (1 + state)};
}

void Registry::Add(RuleEntry entry) {
  for (const RuleEntry& r : rules_) {
    if (!SameName(r.name, entry.name)) continue;
    throw Error("rule " + Quoted(entry.name) + " is already registered" +
                (r.name == entry.name ? "" : ", as " + Quoted(r.name)));
  }
  rules_.push_back(std::move(entry));
}

const RuleEntry& Registry::Find(std::string_view name) const {
  std::vector<std::string> names;
  for (const RuleEntry& r : rules_) {
    if (SameName(r.name, name)) return r;
    names.push_back(r.name);
  }
  throw Error("unknown rule " + Quoted(name) + Suggest(name, names));
}

Description Describe(const RuleEntry& rule) {
  Description d{.kind = "rule",
                .name = rule.name,
                .summary = rule.summary,
                .formula = rule.formula,
                .paper = rule.paper,
                .use = rule.use,
                .torch = rule.torch,
                .state = rule.slots};
  if (rule.whole == nullptr) {
    const MemoryTraffic traffic = rule.Traffic({});
    d.state_bytes = static_cast<int64_t>(rule.slots.size() * sizeof(float));
    d.bytes_read = traffic.read;
    d.bytes_written = traffic.written;
  } else {
    d.state_bytes = d.bytes_read = d.bytes_written = -1;
  }
  for (const RuleEntry::Option& o : rule.options) {
    d.options.push_back({o.name, NumberText(o.default_value), RangeText(o.low, o.high), o.doc});
  }
  return d;
}

}  // namespace kudari
