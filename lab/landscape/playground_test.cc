#include "lab/landscape/playground.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "kudari/registry.h"
#include "kudari/stages.h"
#include "lab/landscape/descent.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace playground_test {

using Json = nlohmann::json;
using testing::ErrorOf;
using ::testing::HasSubstr;

const Json kRun = {
    {"ask", "run"},
    {"surface", "ravine"},
    {"start", {-10, 1}},
    {"steps", 20},
    {"noise", 0.5},
    {"seed", 3},
    {"optimizer", {{"rule", "momentum"}, {"lr", "0.01 * cosine(end)"}, {"momentum", 0.8}}}};

Json Asked(const Json& question) { return Json::parse(PlaygroundAnswer(question.dump())); }

Json With(const std::string& key, const Json& value) {
  Json question = kRun;
  question[key] = value;
  return question;
}

// The run with another option of its optimiser.
Json WithOption(const std::string& name, const Json& value) {
  Json question = kRun;
  question["optimizer"][name] = value;
  return question;
}

OptimizerSpec SpecOfRun() {
  OptimizerSpec spec("momentum");
  spec.options = {{"lr", ParseSchedule("0.01 * cosine(end)")}, {"momentum", 0.8}};
  return spec;
}

// The part of that name, and its fields by their names.
std::map<std::string, Json> FieldsOf(const Json& parts, const std::string& name) {
  std::map<std::string, Json> fields;
  for (const Json& part : parts) {
    if (part["name"] != name) continue;
    for (const Json& field : part["options"]) fields.emplace(field["name"], field);
  }
  return fields;
}

TEST(PlaygroundTest, ListsAllSurfacesAndRules) {
  const Json list = Asked({{"ask", "list"}});
  EXPECT_EQ(list["surfaces"].size(), Surfaces().size());
  EXPECT_EQ(list["rules"].size(), Registry::Builtin().rules().size());
  EXPECT_GE(list["styles"].size(), 6U);
  for (const Json& rule : list["rules"]) {
    const RuleEntry& entry = Registry::Builtin().Find(rule["name"].get<std::string>());
    EXPECT_EQ(rule["formula"], entry.formula);
    ASSERT_EQ(rule["options"].size(), entry.options.size());
    EXPECT_EQ(rule["options"][0]["name"], "lr");
    EXPECT_TRUE(rule["options"][0]["high"].is_null());
  }
}

TEST(PlaygroundTest, SourcesAndAveragersHaveAFieldForEachNumberAndChoice) {
  const Json list = Asked({{"ask", "list"}});
  std::set<std::string> names;
  for (const Json& source : list["sources"]) names.insert(source["name"].get<std::string>());
  for (const std::string& method : Sharpness::Methods()) EXPECT_TRUE(names.contains(method));
  EXPECT_TRUE(names.contains("plain") && names.contains("nesterov_lookahead"));

  const auto looksam = FieldsOf(list["sources"], "looksam");
  EXPECT_EQ(looksam.at("sharpness.rho")["default"], 0.05);
  EXPECT_EQ(looksam.at("sharpness.rho")["low"], 0);
  EXPECT_TRUE(looksam.at("sharpness.rho")["high"].is_null());
  EXPECT_EQ(looksam.at("sharpness.k")["low"], 1);
  EXPECT_EQ(looksam.at("sharpness.k")["whole"], true);
  EXPECT_EQ(looksam.at("sharpness.decompose")["choices"], Json({"global", "layer"}));
  EXPECT_EQ(looksam.at("accumulate")["default"], 1);
  EXPECT_FALSE(looksam.contains("sharpness.exclude"));  // a list
  EXPECT_EQ(FieldsOf(list["sources"], "asam").at("sharpness.rho")["default"], 0.5);
  EXPECT_EQ(FieldsOf(list["sources"], "plain").size(), 1U);

  EXPECT_EQ(FieldsOf(list["averagers"], "lookahead").at("lookahead.alpha")["high"], 1);
  EXPECT_EQ(FieldsOf(list["averagers"], "ema").at("ema.warmup")["choices"], Json({false, true}));
  EXPECT_EQ(FieldsOf(list["averagers"], "swa").at("swa.start")["low"], 0);
}

TEST(PlaygroundTest, ARunIsWhatDescendHas) {
  const Json run = Asked(kRun);
  const OptimizerSpec spec = SpecOfRun();
  const Surface& ravine = FindSurface("ravine");
  const Descent descent = Descend(ravine, spec, {.steps = 20, .noise = 0.5, .seed = 3});
  ASSERT_EQ(run["x"].size(), 21U);
  for (size_t step = 0; step <= 20; ++step) {
    EXPECT_EQ(run["x"][step], descent.places[step].x);
    EXPECT_EQ(run["y"][step], descent.places[step].y);
  }
  EXPECT_EQ(run["loss"], Json(descent.losses));
  EXPECT_EQ(run["end"], EndText(ravine, descent, 20));
  EXPECT_EQ(run["lr"][0], 0.01);
  EXPECT_LT(run["lr"][19], 0.001);
  ASSERT_EQ(run["state"].size(), 1U);
  EXPECT_EQ(run["state"][0]["slot"], "momentum_buffer");
  EXPECT_EQ(run["state"][0]["values"][0], Json::array());  // before the first step
  EXPECT_EQ(run["state"][0]["values"][20].size(), 2U);
}

TEST(PlaygroundTest, EverySourceIsWhatDescendHas) {
  std::set<std::string> losses = {Asked(kRun)["loss"].dump()};
  for (const std::string& method : Sharpness::Methods()) {
    OptimizerSpec spec = SpecOfRun();
    spec.source = method;
    spec.sharpness = SharpnessSpec{.rho = 0.5};
    const Descent descent =
        Descend(FindSurface("ravine"), spec, {.steps = 20, .noise = 0.5, .seed = 3});
    Json question = WithOption("source", method);
    question["optimizer"]["sharpness"] = {{"rho", 0.5}};
    const Json run = Asked(question);
    EXPECT_EQ(run["loss"], Json(descent.losses)) << method;
    EXPECT_FALSE(run.contains("evaluated"));
    EXPECT_TRUE(losses.insert(run["loss"].dump()).second) << method;
  }
}

TEST(PlaygroundTest, ShowsTheWeightsToEvaluate) {
  // The mean of all places, and Lookahead's slow weights, which are the others after each sync.
  const Json swa = Asked(WithOption("swa", Json::object()));
  double sum = 0;
  for (size_t step = 1; step <= 20; ++step) {
    sum += swa["x"][step].get<double>();
    const double mean = swa["evaluated"]["x"][step];
    EXPECT_NEAR(mean, sum / static_cast<double>(step), 1e-5) << step;
  }
  EXPECT_EQ(swa["x"], Asked(kRun)["x"]);
  const double x = swa["evaluated"]["x"][20], y = swa["evaluated"]["y"][20];
  EXPECT_EQ(swa["evaluated"]["loss"][20], FindSurface("ravine").loss({x, y}));
  const Json lookahead = Asked(WithOption("lookahead", {{"k", 4}, {"alpha", 0.25}}));
  for (size_t step = 0; step <= 20; ++step) {
    const bool same = lookahead["evaluated"]["x"][step] == lookahead["x"][step];
    EXPECT_EQ(same, step % 4 == 0) << step;
  }
}

TEST(PlaygroundTest, SaysWhatDoesNotFitTheRun) {
  const Json run = Asked(WithOption("momentum", "0.9 * warmup(30)"));
  ASSERT_EQ(run["misfits"].size(), 1U);
  EXPECT_THAT(run["misfits"][0].get<std::string>(), ::testing::StartsWith("momentum: "));
}

TEST(PlaygroundTest, ChoosesTheRateOfTheCommand) {
  Json question = With("ask", "rate");
  question["optimizer"] = {{"rule", "momentum"}};
  EXPECT_EQ(Asked(question)["lr"],
            BestLearningRate(FindSurface("ravine"), OptimizerSpec("momentum"),
                             {.steps = 20, .noise = 0.5, .seed = 3}));
}

TEST(PlaygroundTest, DivergenceIsARunThatEnds) {
  const Json run = Asked(WithOption("lr", 1e30));
  EXPECT_LT(run["x"].size(), 20U);
  EXPECT_THAT(run["end"].get<std::string>(), ::testing::StartsWith("diverged at step"));
}

TEST(PlaygroundTest, RefusesWithTheReason) {
  const auto refused = [](const Json& question) { return ErrorOf([&] { Asked(question); }); };
  EXPECT_THAT(refused(WithOption("lr", "0.1 * cosin(end)")), HasSubstr("\"cosine\""));
  EXPECT_EQ(refused(WithOption("momentum", 1.5)),
            "recipe: optimizer.momentum: 1.5 is outside [0, 1)");
  EXPECT_THAT(refused(WithOption("moment", 1)), HasSubstr("momentum"));
  EXPECT_THAT(refused(WithOption("sharpness", {{"rho", 1}})),
              HasSubstr("is for sharpness-aware sources"));
  EXPECT_THAT(refused(With("steps", 0)), HasSubstr("steps = 0 is outside"));
  EXPECT_EQ(refused(With("steps", 1.5)), "steps must be a whole number");
  EXPECT_EQ(refused(With("seed", nullptr)), "seed must be a whole number");
  EXPECT_EQ(refused(With("noise", nullptr)), "noise must be a number");
  EXPECT_THAT(refused(With("start", {-100, 0})), HasSubstr("is outside of ravine"));
  EXPECT_THAT(refused(With("surface", "ravin")), HasSubstr("\"ravine\""));
  EXPECT_THAT(refused(With("ask", "tea")), HasSubstr("tea"));
  const Json check = {{"ask", "check"},
                      {"optimizer", {{"rule", "sgd"}, {"lr", "1e-3 * warmup(10%)"}}}};
  EXPECT_EQ(Asked(check), Json::object());
}

}  // namespace playground_test
}  // namespace kudari::lab
