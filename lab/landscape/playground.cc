#include "lab/landscape/playground.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "kudari/error.h"
#include "kudari/range.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "lab/console/json_text.h"
#include "lab/landscape/descent.h"
#include "lab/landscape/landscape.h"
#include "lab/landscape/optimizer_json.h"
#include "lab/landscape/page_data.h"
#include "optimizer/spec_options.h"

namespace kudari::lab {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no infinity: an end that is missing is open.
Json End(double value) { return std::abs(value) == kInfinity ? Json() : Json(value); }

// What a field of the page has to know of an option: the ends of a number, or the values to choose
// from; null for an option that is a text, a list or a table.
template <class C>
struct EndsOfMember {
  const internal::Option<C>& o;

  Json Number() const { return {{"low", End(o.low)}, {"high", End(o.high)}}; }
  Json operator()(double C::* /*m*/) const { return Number(); }
  Json operator()(Schedule C::* /*m*/) const { return Number(); }
  Json operator()(std::optional<Schedule> C::* /*m*/) const { return Number(); }
  Json operator()(int64_t C::* /*m*/) const {
    const Json high = o.most == INT64_MAX ? Json() : Json(o.most);
    return {{"low", o.least}, {"high", high}, {"whole", true}};
  }
  Json operator()(bool C::* /*m*/) const { return {{"choices", {false, true}}}; }
  Json operator()(const internal::Word<C>& /*word*/) const { return {{"choices", o.choices}}; }
  template <class Other>
  Json operator()(const Other& /*other*/) const {
    return {};
  }
};

// By the name of the option in a recipe: "lr", "sharpness.rho".
using Ends = std::map<std::string, Json>;

Ends EndsOf(const RuleEntry& rule) {
  Ends ends;
  for (const RuleEntry::Option& o : rule.options) {
    ends.insert_or_assign(o.name, Json{{"low", End(o.low)}, {"high", End(o.high)}});
  }
  return ends;
}

Ends EndsOfStages() {
  OptimizerSpec spec;
  spec.sharpness.emplace();
  spec.lookahead.emplace();
  spec.ema.emplace();
  spec.swa.emplace();
  Ends ends;
  internal::ForTables(
      spec, [&ends](const std::string& prefix, const auto& config, const auto& options) {
        for (const auto& o : options) {
          using C = std::remove_cvref_t<decltype(config)>;
          ends.insert_or_assign(prefix + o.name, std::visit(EndsOfMember<C>{o}, o.member));
        }
      });
  return ends;
}

// A rule, a source or an averager with a field for each option that can have one.
Json PartJson(const Description& part, const Ends& ends) {
  Json json = {{"name", part.name},       {"summary", part.summary}, {"formula", part.formula},
               {"paper", part.paper},     {"use", part.use},         {"slots", part.state},
               {"options", Json::array()}};
  for (const OptionDescription& o : part.options) {
    const Json& field = ends.at(o.name);
    if (field.is_null()) continue;
    json["options"].push_back({{"name", o.name},
                               {"default", Json::parse(o.default_value)},
                               {"range", o.range},
                               {"doc", o.doc}});
    json["options"].back().update(field);
  }
  return json;
}

Json List() {
  Json json = {{"surfaces", Json::array()},
               {"rules", Json::array()},
               {"sources", Json::array()},
               {"averagers", Json::array()},
               {"styles", Json::array()}};
  for (const Surface& surface : Surfaces()) json["surfaces"].push_back(SurfaceJson(surface));
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    json["rules"].push_back(PartJson(Describe(rule), EndsOf(rule)));
  }
  const Ends ends = EndsOfStages();
  const auto& accumulate =
      internal::FindOption(internal::StageOptions(), internal::Accumulation().text.name);
  for (const internal::SourceEntry& source : internal::Sources()) {
    if (!source.by_name) continue;
    Description text = source.text;
    text.options.push_back(internal::DescribeOption("", accumulate, OptimizerSpec()));
    json["sources"].push_back(PartJson(text, ends));
  }
  for (const internal::AveragerEntry& averager : internal::Averagers()) {
    json["averagers"].push_back(PartJson(averager.text, ends));
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

OptimizerSpec SpecOf(const Json& question) {
  return Complete(OptimizerOf(question.at("optimizer")));
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
  EvaluatedWay evaluated(surface);
  const Descent descent = Descend(surface, spec, options, [&](Optimizer& optimizer) {
    rates.push_back(optimizer.Value(0, "lr"));
    for (size_t k = 0; k < rule.slots.size(); ++k) {
      state[k]["values"].push_back(optimizer.SlotValues(0, rule.slots[k]));
    }
    evaluated.Watch(optimizer);
  });
  Json run = WayJson(descent);
  run["lr"] = rates;
  run["state"] = std::move(state);
  run["end"] = EndText(surface, descent, options.steps);
  run["misfits"] = ScheduleMisfits(spec, {.steps = options.steps});
  if (const std::optional<Descent> way = evaluated.Way()) run["evaluated"] = WayJson(*way);
  return run;
}

Json Answer(const Json& question) {
  const std::string ask = Text(question, "ask");
  if (ask == "list") return List();
  if (ask == "grid") return GridJson(FindSurface(Text(question, "surface")));
  if (ask == "check") {
    SpecOf(question);
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
