#include "lab/landscape/playground.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "kudari/registry.h"
#include "lab/landscape/descent.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace playground_test {

using Json = nlohmann::json;
using testing::ErrorOf;
using ::testing::HasSubstr;

const Json kRun = {
    {"ask", "run"},       {"surface", "ravine"},
    {"start", {-10, 1}},  {"steps", 20},
    {"noise", 0.5},       {"seed", 3},
    {"rule", "momentum"}, {"options", {{"lr", "0.01 * cosine(end)"}, {"momentum", "0.8"}}},
    {"rho", "0"}};

Json Asked(const Json& question) { return Json::parse(PlaygroundAnswer(question.dump())); }

Json With(const std::string& key, const Json& value) {
  Json question = kRun;
  question[key] = value;
  return question;
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

TEST(PlaygroundTest, ARunIsWhatDescendHas) {
  const Json run = Asked(kRun);
  OptimizerSpec spec("momentum");
  spec.options = {{"lr", ParseSchedule("0.01 * cosine(end)")}, {"momentum", 0.8}};
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

TEST(PlaygroundTest, ARadiusMakesItSam) {
  OptimizerSpec spec("momentum");
  spec.options = {{"lr", ParseSchedule("0.01 * cosine(end)")}, {"momentum", 0.8}};
  spec.source = "sam";
  spec.sharpness = SharpnessSpec{.rho = 0.5};
  const Descent descent =
      Descend(FindSurface("ravine"), spec, {.steps = 20, .noise = 0.5, .seed = 3});
  EXPECT_EQ(Asked(With("rho", "0.5"))["loss"], Json(descent.losses));
  EXPECT_NE(Asked(With("rho", "0.5"))["loss"], Asked(kRun)["loss"]);
}

TEST(PlaygroundTest, ChoosesTheRateOfTheCommand) {
  Json question = With("ask", "rate");
  question["options"] = Json::object();
  EXPECT_EQ(Asked(question)["lr"],
            BestLearningRate(FindSurface("ravine"), OptimizerSpec("momentum"),
                             {.steps = 20, .noise = 0.5, .seed = 3}));
}

TEST(PlaygroundTest, DivergenceIsARunThatEnds) {
  const Json run = Asked(With("options", {{"lr", "1e30"}}));
  EXPECT_LT(run["x"].size(), 20U);
  EXPECT_THAT(run["end"].get<std::string>(), ::testing::StartsWith("diverged at step"));
}

TEST(PlaygroundTest, RefusesWithTheReason) {
  const auto refused = [](const Json& question) { return ErrorOf([&] { Asked(question); }); };
  EXPECT_THAT(refused(With("options", {{"lr", "0.1 * cosin(end)"}})), HasSubstr("\"cosine\""));
  EXPECT_EQ(refused(With("options", {{"momentum", "1.5"}})), "momentum = 1.5 is outside [0, 1)");
  EXPECT_THAT(refused(With("options", {{"moment", "1"}})), HasSubstr("momentum"));
  EXPECT_EQ(refused(With("rho", "-1")), "SAM's radius = -1 is outside [0, inf)");
  EXPECT_THAT(refused(With("steps", 0)), HasSubstr("steps = 0 is outside"));
  EXPECT_EQ(refused(With("steps", 1.5)), "steps must be a whole number");
  EXPECT_EQ(refused(With("seed", nullptr)), "seed must be a whole number");
  EXPECT_EQ(refused(With("noise", nullptr)), "noise must be a number");
  EXPECT_THAT(refused(With("start", {-100, 0})), HasSubstr("is outside of ravine"));
  EXPECT_THAT(refused(With("surface", "ravin")), HasSubstr("\"ravine\""));
  EXPECT_THAT(refused(With("ask", "tea")), HasSubstr("tea"));
  const Json option = {
      {"ask", "option"}, {"rule", "sgd"}, {"option", "lr"}, {"text", "1e-3 * warmup(10%)"}};
  EXPECT_EQ(Asked(option), Json::object());
}

}  // namespace playground_test
}  // namespace kudari::lab
