#include "lab/verbs/list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kudari/error.h"
#include "kudari/registry.h"
#include "kudari/stages.h"
#include "lab/files/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/printed.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace list_test {

using ::testing::HasSubstr;
using testing::Printed;

std::string Card(std::string_view name) {
  return Printed([name](std::FILE* file) { DescribeByName(name, file); });
}

TEST(ListTest, EveryRuleHasACard) {
  const std::string list = Printed([](std::FILE* file) { List(file); });
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    EXPECT_THAT(list, HasSubstr("\n  " + rule.name + " "));
    const std::string card = Card(rule.name);
    EXPECT_THAT(card, HasSubstr(rule.name + " (rule): " + rule.summary + "\n"));
    EXPECT_THAT(card, ::testing::ContainsRegex("\n  state    .* bytes per parameter"));
    EXPECT_THAT(card, ::testing::ContainsRegex("\n  traffic  .* bytes read and .* written"));
    EXPECT_THAT(card, HasSubstr("\n  paper    "));
    for (const RuleEntry::Option& o : rule.options) EXPECT_THAT(card, HasSubstr("\n  " + o.name));
  }
}

TEST(ListTest, CardsCountBytes) {
  const std::string adamw = Card("adamw");
  EXPECT_THAT(adamw, HasSubstr("  state    exp_avg, exp_avg_sq: 8 bytes per parameter\n"));
  EXPECT_THAT(adamw, HasSubstr("  traffic  16 bytes read and 12 written per parameter and step\n"));
  EXPECT_THAT(Card("sgd"), HasSubstr("  state    none: 0 bytes per parameter\n"));
}

TEST(ListTest, CardsFitTheScreen) {
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    std::istringstream card(Card(rule.name).substr(Card(rule.name).find("\n  state")));
    for (std::string line; std::getline(card, line);) EXPECT_LE(line.size(), 100U) << line;
  }
}

TEST(ListTest, JsonHasEveryField) {
  const kudari::testing::TemporaryFolder folder;
  const auto file = folder / "list.json";
  ListJson(file);
  const auto list = nlohmann::json::parse(ReadTextFile(file));
  DescribeJson("adamw", false, file);
  EXPECT_EQ(nlohmann::json::parse(ReadTextFile(file))[0]["name"], "adamw");
  DescribeJson("", true, file);
  EXPECT_EQ(nlohmann::json::parse(ReadTextFile(file)).size(), DescribeSchedules().size());
  EXPECT_THAT(testing::ErrorOf([&] { DescribeJson("adamww", false, file); }),
              HasSubstr("nothing is named \"adamww\"; did you mean \"adamw\"?"));
  for (const auto& d : list) {
    if (d["name"] != "adamw") continue;
    EXPECT_EQ(d["kind"], "rule");
    EXPECT_EQ(d["fields"].size(), 5U);
    EXPECT_EQ(d["fields"][1]["default"], 0.9);
    EXPECT_EQ(d["state_bytes_per_param"], 8);
    EXPECT_EQ(d["bytes_read_per_param"], 16);
    EXPECT_EQ(d["bytes_written_per_param"], 12);
    return;
  }
  FAIL() << "no adamw";
}

TEST(ListTest, UnknownNamesGetTheNearest) {
  try {
    Card("adamv");
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("nothing is named \"adamv\"; did you mean \"adam\""));
  }
}

// The pages that are checked in are what the rules say today; `make docs` writes them.
TEST(ListTest, ThePagesAreUpToDate) {
  const auto page = [](const std::string& name) {
    return ReadTextFile(std::string(KUDARI_SOURCE_DIR) + "/docs/" + name);
  };
  EXPECT_TRUE(page("rules.md") == RulesPage()) << "docs/rules.md is stale: run `make docs`";
  EXPECT_TRUE(page("schedules.md") == SchedulesPage())
      << "docs/schedules.md is stale: run `make docs`";
}

}  // namespace list_test
}  // namespace kudari::lab
