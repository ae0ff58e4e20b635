#include "lab/list.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/nearest.h"
#include "kudari/error.h"
#include "kudari/stages.h"
#include "lab/recipe.h"

namespace kudari::lab {
namespace {

constexpr size_t kBytesPerSlot = sizeof(float);

nlohmann::ordered_json ToJson(const Description& d) {
  nlohmann::ordered_json fields = nlohmann::ordered_json::array();
  for (const OptionDescription& o : d.options) {
    // Numbers as numbers; an option that must be given has no default.
    auto value = nlohmann::ordered_json::parse(o.default_value, nullptr, false);
    if (value.is_discarded()) value = nullptr;
    fields.push_back({{"name", o.name}, {"default", value}, {"range", o.range}, {"doc", o.doc}});
  }
  return {{"kind", d.kind},       {"name", d.name},
          {"summary", d.summary}, {"formula", d.formula},
          {"paper", d.paper},     {"fields", fields},
          {"state", d.state},     {"state_bytes_per_param", d.state.size() * kBytesPerSlot}};
}

/// Everything, the tables of a recipe that are the lab's last.
std::vector<Description> DescribeLab() {
  std::vector<Description> all = DescribeAll();
  for (Description& d : DescribeRecipe()) all.push_back(std::move(d));
  return all;
}

std::string Signature(const Description& d) {
  std::string text = d.name + "(";
  for (const OptionDescription& o : d.options) {
    if (&o != &d.options.front()) text += ", ";
    text += o.name;
    if (!o.default_value.empty()) text += " = " + o.default_value;
  }
  return text + ")";
}

void Print(const Description& d, std::FILE* console) {
  fmt::print(console, "{} ({}): {}\n", d.kind == "schedule" ? Signature(d) : d.name, d.kind,
             d.summary);
  if (!d.formula.empty()) {
    std::string indented = "\n  ";
    for (const char c : d.formula) indented += c == '\n' ? std::string("\n  ") : std::string(1, c);
    fmt::print(console, "{}\n", indented);
  }
  if (!d.options.empty()) {
    fmt::print(console, "\n  {:<14} {:<8} {:<28} {}\n", "field", "default", "range", "meaning");
    for (const OptionDescription& o : d.options) {
      fmt::print(console, "  {:<14} {:<8} {:<28} {}\n", o.name, o.default_value, o.range, o.doc);
    }
  }
  if (d.kind == "rule") {
    fmt::print(console, "\n  state: {} ({} bytes per parameter)\n",
               d.state.empty() ? "none" : fmt::format("{}", fmt::join(d.state, ", ")),
               d.state.size() * kBytesPerSlot);
  }
  if (!d.paper.empty()) fmt::print(console, "  paper: {}\n", d.paper);
}

}  // namespace

void List(bool json, std::FILE* console) {
  if (json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Description& d : DescribeAll()) list.push_back(ToJson(d));
    fmt::print(console, "{}\n", list.dump(2));
    return;
  }
  std::string kind;
  for (const Description& d : DescribeLab()) {
    if (d.kind != kind) {
      fmt::print(console, "{}{}s\n", kind.empty() ? "" : "\n", d.kind);
      kind = d.kind;
    }
    if (d.kind == "rule") {
      fmt::print(console, "  {:<34} {} ({} bytes of state per parameter)\n", d.name, d.summary,
                 d.state.size() * kBytesPerSlot);
    } else {
      fmt::print(console, "  {:<34} {}\n", d.kind == "schedule" ? Signature(d) : d.name, d.summary);
    }
  }
  fmt::print(console, "\nkudari describe NAME tells more.\n");
}

void DescribeByName(std::string_view name, std::FILE* console) {
  std::vector<std::string> names;
  bool found = false;
  for (const Description& d : DescribeLab()) {
    names.push_back(d.name);
    if (d.name != name) continue;
    if (found) fmt::print(console, "\n");
    Print(d, console);
    found = true;
  }
  if (!found) {
    throw Error(fmt::format("nothing is named \"{}\"{}", name, internal::Suggest(name, names)));
  }
}

}  // namespace kudari::lab
