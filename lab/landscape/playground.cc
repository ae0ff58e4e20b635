#include "lab/landscape/playground.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/range.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "lab/console/json_text.h"
#include "lab/landscape/descent.h"
#include "lab/landscape/landscape.h"
#include "lab/landscape/page_data.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no infinity: an end that is missing is open.
Json End(double value) { return std::abs(value) == kInfinity ? Json() : Json(value); }

Json RuleJson(const RuleEntry& rule) {
  Json json = {{"name", rule.name},       {"summary", rule.summary}, {"formula", rule.formula},
               {"paper", rule.paper},     {"use", rule.use},         {"slots", rule.slots},
               {"options", Json::array()}};
  for (const RuleEntry::Option& o : rule.options) {
    json["options"].push_back({{"name", o.name},
                               {"default", o.default_value},
                               {"low", End(o.low)},
                               {"high", End(o.high)},
                               {"range", RangeText(o.low, o.high)},
                               {"doc", o.doc}});
  }
  return json;
}

Json List() {
  Json json = {{"surfaces", Json::array()}, {"rules", Json::array()}, {"styles", Json::array()}};
  for (const Surface& surface : Surfaces()) json["surfaces"].push_back(SurfaceJson(surface));
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    json["rules"].push_back(RuleJson(rule));
  }
  for (size_t k = 0; k < kMostRunners; ++k) json["styles"].push_back(StyleJson(k));
  return json;
}

std::string Text(const Json& question, const char* key) {
  return question.at(key).get<std::string>();
}

int64_t Whole(const Json& question, const char* key) {
  const Json& value = question.at(key);
  if (!value.is_number_integer()) throw Error(fmt::format("{} must be a whole number", key));
  return value.get<int64_t>();
}

double Number(const Json& value, const char* what) {
  if (!value.is_number()) throw Error(fmt::format("{} must be a number", what));
  return value.get<double>();
}

// A number or a schedule whose first value is in the range; the engine checks the others.
Schedule Value(std::string_view text, std::string_view what, double low, double high) {
  Schedule value = ParseSchedule(text);
  if (value.IsResolved()) CheckRange(what, value(0), low, high);
  return value;
}

Schedule Rho(const Json& question) {
  return Value(Text(question, "rho"), "SAM's radius", 0, kInfinity);
}

Schedule OptionValue(const RuleEntry& rule, std::string_view name, std::string_view text) {
  const RuleEntry::Option& option = rule.options[rule.OptionIndex(name)];
  return Value(text, name, option.low, option.high);
}

OptimizerSpec SpecOf(const Json& question) {
  const RuleEntry& rule = Registry::Builtin().Find(Text(question, "rule"));
  OptimizerSpec spec(rule.name);
  for (const auto& [name, text] : question.at("options").items()) {
    spec.options.insert_or_assign(name, OptionValue(rule, name, text.get<std::string>()));
  }
  const Schedule rho = Rho(question);
  if (rho != Schedule(0)) {
    spec.source = "sam";
    spec.sharpness = SharpnessSpec{.rho = rho};
  }
  return Complete(spec);
}

DescentOptions DescentOf(const Json& question) {
  const Json& start = question.at("start");
  return {.start = Position{Number(start.at(0), "x"), Number(start.at(1), "y")},
          .steps = Whole(question, "steps"),
          .noise = Number(question.at("noise"), "noise"),
          .seed = Whole(question, "seed")};
}

Json Run(const Json& question) {
  const Surface& surface = FindSurface(Text(question, "surface"));
  const OptimizerSpec spec = SpecOf(question);
  const DescentOptions options = DescentOf(question);
  const RuleEntry& rule = Registry::Builtin().Find(spec.rule);
  std::vector<double> rates;
  Json state = Json::array();
  for (const std::string& slot : rule.slots) {
    state.push_back({{"slot", slot}, {"values", Json::array()}});
  }
  const Descent descent = Descend(surface, spec, options, [&](const Optimizer& optimizer) {
    rates.push_back(optimizer.Value(0, "lr"));
    for (size_t k = 0; k < rule.slots.size(); ++k) {
      state[k]["values"].push_back(optimizer.SlotValues(0, rule.slots[k]));
    }
  });
  Json x = Json::array(), y = Json::array();
  for (const Position& place : descent.places) {
    x.push_back(place.x);
    y.push_back(place.y);
  }
  return {{"x", std::move(x)},
          {"y", std::move(y)},
          {"loss", descent.losses},
          {"lr", rates},
          {"state", std::move(state)},
          {"end", EndText(surface, descent, options.steps)},
          {"misfits", ScheduleMisfits(spec.options.at("lr"), {.steps = options.steps})}};
}

Json Answer(const Json& question) {
  const std::string ask = Text(question, "ask");
  if (ask == "list") return List();
  if (ask == "grid") return GridJson(FindSurface(Text(question, "surface")));
  if (ask == "option") {
    OptionValue(Registry::Builtin().Find(Text(question, "rule")), Text(question, "option"),
                Text(question, "text"));
    return Json::object();
  }
  if (ask == "rho") {
    Rho(question);
    return Json::object();
  }
  if (ask == "rate") {
    return {{"lr", BestLearningRate(FindSurface(Text(question, "surface")), SpecOf(question),
                                    DescentOf(question))}};
  }
  if (ask == "run") return Run(question);
  throw Error("the playground does not answer " + ask);
}

}  // namespace

std::string PlaygroundAnswer(std::string_view question) {
  return JsonText(Answer(Json::parse(question)));
}

}  // namespace kudari::lab
