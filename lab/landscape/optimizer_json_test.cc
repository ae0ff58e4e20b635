#include "lab/landscape/optimizer_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "kudari/presets.h"
#include "kudari/recipe.h"
#include "kudari/registry.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace optimizer_json_test {

using Json = nlohmann::ordered_json;
using testing::ErrorOf;
using ::testing::HasSubstr;

OptimizerSpec FromToml(const std::string& table) {
  return ParseRecipe("optimizer = " + table, "test");
}

OptimizerSpec FromJson(const std::string& json) { return OptimizerOf(Json::parse(json)); }

TEST(OptimizerJsonTest, JsonSaysWhatTomlSays) {
  EXPECT_EQ(FromJson(R"({"rule": "sgd", "lr": 1})"), FromToml("{rule = \"sgd\", lr = 1}"));
  const Json adam = {{"rule", "adam"},
                     {"lr", "0.1 * cosine(end)"},
                     {"lookahead", {{"k", 7}}},
                     {"no_decay", {"bias"}},
                     {"centralize", true}};
  EXPECT_EQ(OptimizerOf(adam),
            FromToml("{rule = \"adam\", lr = \"0.1 * cosine(end)\", lookahead = {k = 7}, "
                     "no_decay = [\"bias\"], centralize = true}"));
  EXPECT_EQ(FromJson(R"({"rule": "sgd", "group": [{"match": "w", "lr": 0.5}]})"),
            FromToml("{rule = \"sgd\", group = [{match = \"w\", lr = 0.5}]}"));
}

TEST(OptimizerJsonTest, ErrorsAreThoseOfRecipes) {
  const auto error = [](const std::string& json) { return ErrorOf([&] { FromJson(json); }); };
  EXPECT_EQ(error(R"({"rule": "sgd", "lr": -1})"), "recipe: optimizer.lr: -1 is outside [0, inf)");
  EXPECT_EQ(error(R"({"rule": "sgd", "source": "sam", "sharpness": {"k": 1.5}})"),
            "recipe: optimizer.sharpness.k: must be an integer");
  EXPECT_THAT(error(R"({"rule": "sgd", "momentun": 1})"), HasSubstr("momentun: unknown key"));
  EXPECT_THAT(error(R"({"rule": "sgd", "lookahead": {"k": 18446744073709551615}})"),
              HasSubstr("lookahead.k: must be an integer"));
  EXPECT_THAT(error(R"({"rule": "sgd", "lr": null})"), HasSubstr("\"lr\" is null"));
  EXPECT_THAT(error("{}"), HasSubstr("rule"));
}

TEST(OptimizerJsonTest, HasNoDefaults) {
  const auto json = [](const std::string& table) { return OptimizerJson(FromToml(table)); };
  EXPECT_EQ(json("{rule = \"sgd\"}"), Json({{"rule", "sgd"}, {"lr", 0.001}}));
  EXPECT_EQ(json("{rule = \"adam\", lr = 0.5, beta1 = 0.8, beta2 = 0.999}"),
            Json({{"rule", "adam"}, {"lr", 0.5}, {"beta1", 0.8}}));
  EXPECT_EQ(
      json("{rule = \"sgd\", lr = 0.1, source = \"asam\", sharpness = {rho = 0.3}}"),
      Json({{"rule", "sgd"}, {"lr", 0.1}, {"source", "asam"}, {"sharpness", {{"rho", 0.3}}}}));
}

TEST(OptimizerJsonTest, ReadsWhatItWrites) {
  std::vector<OptimizerSpec> specs = {
      FromToml("{rule = \"sgd\", lr = \"0.1 * linear(50%)\", clip_norm = 1, source = \"looksam\", "
               "sharpness = {rho = \"0.5 * linear(end)\", k = 3, reuse = \"random\"}}"),
      FromToml("{rule = \"sgd\", ema = {warmup = true}, swa = {start = 3}, lookahead = {}}")};
  for (const RuleEntry& rule : Registry::Builtin().rules()) specs.emplace_back(rule.name);
  for (const std::string& preset : PresetNames()) specs.push_back(Preset(preset));
  for (const OptimizerSpec& spec : specs) {
    if (spec.rule.empty()) continue;
    EXPECT_EQ(Complete(OptimizerOf(OptimizerJson(spec))), Complete(spec)) << ToToml(spec);
  }
}

}  // namespace optimizer_json_test
}  // namespace kudari::lab
