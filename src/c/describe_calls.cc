// What kudari/c.h tells about things as text: the registry, recipes, how an optimiser treats its
// tensors.
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "c/handles.h"
#include "kudari/description.h"
#include "kudari/messages.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "kudari/stages.h"
#include "kudari/tensor.h"

namespace kudari::c {
namespace {

using Json = nlohmann::ordered_json;

// A default as a recipe has it: numbers, booleans and texts as such, null for one that must be
// given, anything else as it is written.
Json DefaultOf(const OptionDescription& option) {
  if (option.default_value.empty()) return nullptr;
  Json value = Json::parse(option.default_value, nullptr, false);
  return value.is_discarded() ? Json(option.default_value) : value;
}

Json BoundOf(double bound) { return std::isfinite(bound) ? Json(bound) : Json(); }

Json JsonOf(const Description& d) {
  const bool is_rule = d.kind == "rule";
  Json options = Json::array();
  for (const OptionDescription& o : d.options) {
    Json option = {{"name", o.name}, {"default", DefaultOf(o)}, {"range", o.range}, {"doc", o.doc}};
    if (is_rule) {
      const RuleEntry& rule = Registry::Builtin().Find(d.name);
      const RuleEntry::Option& entry = rule.options[rule.OptionIndex(o.name)];
      option["type"] = "number";
      option["low"] = BoundOf(entry.low);
      option["high"] = BoundOf(entry.high);
    }
    options.push_back(option);
  }
  return {{"kind", d.kind},   {"name", d.name},    {"summary", d.summary}, {"formula", d.formula},
          {"paper", d.paper}, {"use", d.use},      {"torch", d.torch},     {"example", d.example},
          {"state", d.state}, {"options", options}};
}

Json JsonOf(const TensorPlan& plan) {
  Json options = Json::object();
  for (const auto& [name, value] : plan.options) options[name] = value;
  return {{"name", plan.name},   {"class", std::string(Name(plan.tensor_class))},
          {"group", plan.group}, {"rule", plan.rule},
          {"options", options},  {"lr_scale", plan.lr_scale}};
}

}  // namespace
}  // namespace kudari::c

using kudari::c::Deref;
using kudari::c::Guarded;

extern "C" {

int kudari_describe(const char* kind, char** json) {
  return Guarded([=] {
    char*& out = Deref(json, "json");
    const std::string_view wanted = kind == nullptr ? "" : kudari::c::Utf8(kind, "kind");
    kudari::c::Json list = kudari::c::Json::array();
    std::vector<std::string> kinds;
    for (const kudari::Description& d : kudari::DescribeAll()) {
      kinds.push_back(d.kind);
      if (kind == nullptr || d.kind == wanted) list.push_back(kudari::c::JsonOf(d));
    }
    if (list.empty()) {
      kinds.erase(std::unique(kinds.begin(), kinds.end()), kinds.end());
      throw kudari::Error("nothing is of the kind " + kudari::Quoted(wanted) +
                          kudari::Suggest(wanted, kinds));
    }
    out = kudari::c::Copy(list.dump());
  });
}

int kudari_complete_recipe(const char* recipe, char** completed) {
  return Guarded([=] {
    char*& out = Deref(completed, "completed");
    const kudari::OptimizerSpec spec = kudari::ParseRecipe(kudari::c::Utf8(recipe, "recipe"));
    out = kudari::c::Copy(kudari::ToToml(kudari::Complete(spec)));
  });
}

int kudari_optimizer_recipe(const kudari_optimizer* optimizer, char** recipe) {
  return Guarded([=] {
    char*& out = Deref(recipe, "recipe");
    out = kudari::c::Copy(kudari::ToToml(Deref(optimizer, "optimizer").core.spec()));
  });
}

int kudari_optimizer_plan(const kudari_optimizer* optimizer, char** json) {
  return Guarded([=] {
    char*& out = Deref(json, "json");
    const kudari::Optimizer& core = Deref(optimizer, "optimizer").core;
    kudari::c::Json list = kudari::c::Json::array();
    for (const kudari::TensorPlan& plan : core.Plan()) {
      kudari::c::Json item = kudari::c::JsonOf(plan);
      item["frozen"] = core.Frozen(list.size());
      list.push_back(item);
    }
    out = kudari::c::Copy(list.dump());
  });
}

}  // extern "C"
