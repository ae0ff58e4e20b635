#include "lab/demo/demo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "kudari/range.h"
#include "lab/console/usage_error.h"
#include "lab/files/text_file.h"
#include "tests/support/demo_result.h"
#include "tests/support/printed.h"
#include "tests/support/read_svg.h"
#include "tests/support/svg_boxes.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace demo_test {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Printed;
using testing::ResultOf;
using testing::TemporaryFolder;

std::string Shown(const DemoOptions& options) {
  return Printed([&](std::FILE* file) { ShowDemo(options, file); });
}

TEST(DemoTest, EachHasASummaryASourceAndParametersInTheirRanges) {
  std::set<std::string_view> names;
  EXPECT_EQ(Demos().size(), 19U);
  for (const Demo& demo : Demos()) {
    EXPECT_TRUE(names.insert(demo.name).second) << demo.name;
    EXPECT_TRUE(demo.summary.ends_with('.')) << demo.name;
    EXPECT_FALSE(demo.source.empty()) << demo.name;
    EXPECT_FALSE(demo.parameters.empty()) << demo.name;
    for (const DemoParameter& p : demo.parameters) {
      CheckRange(p.name, p.value, p.low, p.high);
      EXPECT_FALSE(p.doc.empty()) << demo.name << ' ' << p.name;
    }
  }
}

TEST(DemoTest, TheListNamesThemAll) {
  const std::string list = Printed([](std::FILE* file) { ListDemos(file); });
  for (const Demo& demo : Demos()) {
    EXPECT_THAT(list, HasSubstr(std::string(demo.name) + " (" + std::string(demo.source) + ")"));
  }
}

TEST(DemoTest, OneSeedGivesTheSameBytes) {
  for (const Demo& demo : Demos()) {
    const std::string name(demo.name);
    const DemoResult one = ResultOf(name), two = ResultOf(name);
    EXPECT_EQ(one.text, two.text) << name;
    EXPECT_EQ(one.svg, two.svg) << name;
    EXPECT_EQ(one.numbers, two.numbers) << name;
    EXPECT_FALSE(one.next.empty()) << name;
    EXPECT_TRUE(one.text.ends_with('\n')) << name;
  }
  EXPECT_NE(ResultOf("clipping", {}, 1).numbers, ResultOf("clipping", {}, 2).numbers);
}

TEST(DemoTest, PicturesAreSmallAndTheirTextsLegible) {
  for (const Demo& demo : Demos()) {
    const DemoResult result = ResultOf(std::string(demo.name));
    EXPECT_LT(result.svg.size(), 60'000U) << demo.name;
    EXPECT_THAT(testing::TextFaults(result.svg), IsEmpty()) << demo.name;
    for (const testing::PlacedText& text : testing::PlacedTextsOf(result.svg)) {
      EXPECT_GE(text.size, 9) << demo.name << ": " << text.text;
      EXPECT_FALSE(text.text.ends_with("…")) << demo.name << ": " << text.text;
    }
  }
}

TEST(DemoTest, EveryParameterCanTakeBothEndsOfItsRange) {
  for (const Demo& demo : Demos()) {
    for (const DemoParameter& p : demo.parameters) {
      for (const double end : {p.low, p.high}) {
        const std::string set = p.name + "=" + nlohmann::json(end).dump();
        try {
          ResultOf(std::string(demo.name), {set});
        } catch (const UsageError& e) {
          // Some depend on each other, and say so.
          EXPECT_THAT(e.what(), HasSubstr("--set ")) << demo.name << ' ' << set;
        } catch (const std::exception& e) {
          ADD_FAILURE() << demo.name << ' ' << set << ": " << e.what();
        }
      }
    }
  }
}

TEST(DemoTest, SaysWhatIsSeenWhatCanBeChangedAndWhatToTryNext) {
  const std::string shown = Shown({.name = "learning-rate", .sets = {"slow=0.02"}});
  EXPECT_THAT(shown, HasSubstr("(gradient descent, 5.4.2)"));
  EXPECT_THAT(shown, ::testing::ContainsRegex("slow +0.02 +\\[0, 1\\] +the first rate"));
  EXPECT_THAT(shown, HasSubstr("\ntry next\n  kudari demo learning-rate --set diverging=0.6\n"));
}

TEST(DemoTest, JsonHasParametersNumbersAndLines) {
  const TemporaryFolder folder;
  Shown({.name = "clipping", .sets = {"max_norm=2"}, .seed = 3, .json = folder / "demo.json"});
  const auto json = nlohmann::json::parse(ReadTextFile(folder / "demo.json"));
  EXPECT_EQ(json["demonstration"], "clipping");
  EXPECT_EQ(json["seed"], 3);
  EXPECT_EQ(json["parameters"]["max_norm"], 2.0);
  EXPECT_EQ(json["numbers"]["gradient"].size(), 100U);
  Shown({.name = "stopping", .json = folder / "demo.json"});
  const auto lines = nlohmann::json::parse(ReadTextFile(folder / "demo.json"));
  ASSERT_EQ(lines["charts"].size(), 3U);
  EXPECT_EQ(lines["charts"][0]["series"][0]["y"].size(), 600U);
}

TEST(DemoTest, PicturesAreWrittenBesideTheText) {
  const TemporaryFolder folder;
  Shown({.name = "gradient", .svg = folder / "gradient.svg"});
  EXPECT_EQ(ReadTextFile(folder / "gradient.svg"), ResultOf("gradient").svg);
}

TEST(DemoTest, BadRequestsAreUsageErrorsAndWriteNothing) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& name, const std::string& set, int64_t seed = 1,
                         const char* picture = "picture.svg") {
    std::string text;
    try {
      Shown({.name = name, .sets = {set}, .seed = seed, .svg = folder / picture});
    } catch (const UsageError& e) {
      text = e.what();
    }
    EXPECT_FALSE(std::filesystem::exists(folder / picture)) << text;
    return text;
  };
  EXPECT_EQ(error("cliping", "max_norm=1"),
            "unknown demonstration \"cliping\"; did you mean \"clipping\"?");
  EXPECT_EQ(error("clipping", "maxnorm=1"),
            "--set: unknown parameter \"maxnorm\"; did you mean \"max_norm\"?");
  EXPECT_EQ(error("clipping", "max_norm"), "--set \"max_norm\" must be NAME=VALUE");
  EXPECT_EQ(error("clipping", "max_norm=0"), "--set max_norm = 0 is outside [1e-06, 1e+06]");
  EXPECT_EQ(error("clipping", "max_norm=nan"), "--set max_norm = nan is outside [1e-06, 1e+06]");
  EXPECT_EQ(error("clipping", "max_norm=one"), "--set max_norm = \"one\": not a number");
  EXPECT_EQ(error("clipping", "max_norm="), "--set max_norm = \"\": not a number");
  EXPECT_EQ(error("clipping", "count=2.5"), "--set count = 2.5: not an integer");
  EXPECT_EQ(error("clipping", "max_norm=1", -1), "--seed = -1 is outside [0, ...]");
  EXPECT_THAT(error("clipping", "max_norm=1", 1, "picture.gif"),
              HasSubstr("a picture must be named .svg or .png"));
  EXPECT_EQ(error("descent-kinds", "batch=65"), "--set batch = 65 is larger than samples = 64");
  EXPECT_EQ(error("range-test", "start=1"), "--set start = 1 is not below end = 1");
}

}  // namespace demo_test
}  // namespace kudari::lab
