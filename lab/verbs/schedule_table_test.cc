#include "lab/verbs/schedule_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kudari/schedule.h"
#include "lab/files/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/printed.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace schedule_table_test {

using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Printed;

std::string Shown(const ScheduleOptions& options) {
  return Printed([&](std::FILE* file) { ShowSchedule(options, file); });
}

std::vector<double> Values(const Schedule& s, int64_t steps) {
  std::vector<double> values;
  for (int64_t i = 0; i < steps; ++i) values.push_back(s(i));
  return values;
}

TEST(ScheduleCommandTest, TheTableHasRoundStepsJointsAndTheLast) {
  const std::string shown =
      Shown({.text = "0.1*warmup(75)*then(1,500,linear(500,.1))", .steps = 1000});
  EXPECT_THAT(
      shown,
      HasSubstr("0.1 * warmup(75) * then(1, 500, linear(500, 0.1))\n1000 steps: first 0.00133333, "
                "last 0.01018; lowest 0.00133333 at step 0, highest 0.1 at step 74\n"));
  const std::string table = shown.substr(shown.find("step  value"));
  std::vector<int64_t> steps;
  std::istringstream lines(table.substr(table.find('\n') + 1));
  int64_t step = 0;
  for (double value = 0; lines >> step >> value;) {
    steps.push_back(step);
    EXPECT_NEAR(value, (0.1 * Warmup(75) * Then(1, 500, Linear(500, 0.1)))(step), 1e-7);
  }
  EXPECT_THAT(steps, ElementsAre(0, 74, 100, 200, 300, 400, 500, 600, 700, 800, 900, 999));
}

TEST(ScheduleCommandTest, EveryCsvAndJson) {
  EXPECT_EQ(Shown({.text = "linear(4)", .steps = 4, .csv = true}),
            "step,value\n0,1\n1,0.75\n2,0.5\n3,0.25\n");
  EXPECT_EQ(Shown({.text = "linear(4)", .steps = 4, .every = 2, .csv = true}),
            "step,value\n0,1\n2,0.5\n3,0.25\n");
  const kudari::testing::TemporaryFolder folder;
  const auto file = folder / "table.json";
  EXPECT_EQ(Shown({.text = "2*linear(4)", .steps = 4, .every = 3, .json = file}), "");
  const auto json = nlohmann::json::parse(ReadTextFile(file));
  EXPECT_EQ(json["schedule"], "2 * linear(4, 0)");
  EXPECT_EQ(json["steps"], (nlohmann::json{0, 3}));
  EXPECT_EQ(json["values"], (nlohmann::json{2.0, 0.5}));
  EXPECT_THAT(Shown({.text = "linear(4)", .steps = 100, .every = 60}),
              HasSubstr("\n0     1\n60    0\n99    0\n"));
}

TEST(ScheduleCommandTest, ResolvesForItsSteps) {
  EXPECT_THAT(
      Shown({.text = "0.1 * warmup(10%) * cosine(end)", .steps = 50}),
      ::testing::StartsWith("0.1 * warmup(5) * cosine(50, 0)\n50 steps: first 0.02, last "));
  EXPECT_EQ(Shown({.text = "linear(2ep)", .steps = 3, .steps_per_epoch = 2, .csv = true}),
            "step,value\n0,1\n1,0.75\n2,0.5\n");
  EXPECT_EQ(ErrorOf([] { Shown({.text = "linear(2ep)", .steps = 3}); }),
            "schedule \"linear(2ep, 0)\" in a run of 3 steps: how many steps an epoch has is not "
            "known");
  EXPECT_EQ(ErrorOf([] { Shown({.text = "1", .steps = 3, .steps_per_epoch = -2}); }),
            "--steps-per-epoch = -2 is negative");
}

TEST(ScheduleCommandTest, OneStepAndNoNumberAreToldPlainly) {
  EXPECT_THAT(Shown({.text = "linear(4)", .steps = 1}),
              HasSubstr("\n1 step: first 1, last 1; lowest 1 at step 0, highest 1 at step 0\n"));
  // Infinity times zero is a NaN with a sign on some processors.
  const std::string nan = "1e300 * 1e300 * linear(1)";
  const std::string shown = Shown({.text = nan, .steps = 3});
  EXPECT_THAT(shown, HasSubstr("\n3 steps: first inf, last nan"));
  EXPECT_THAT(shown, ::testing::Not(HasSubstr("-nan")));
  EXPECT_EQ(Shown({.text = nan, .steps = 3, .csv = true}), "step,value\n0,inf\n1,nan\n2,nan\n");
}

TEST(ScheduleCommandTest, JointsAreBendsAndJumps) {
  EXPECT_THAT(Joints(Values(Trapezoid(1000, 0.1, 0.3, 0.1), 1000)), ElementsAre(99, 700));
  EXPECT_THAT(Joints(Values(MultiStep({300, 600}), 1000)), ElementsAre(299, 300, 599, 600));
  EXPECT_THAT(Joints(Values(Warmup(10) * Cosine(200), 200)), ElementsAre(9));
  EXPECT_THAT(Joints(Values(Cosine(100), 100)), ElementsAre());
  EXPECT_THAT(Joints(Values(0.1, 100)), ElementsAre());
  EXPECT_THAT(Joints(Values(Step(10, 0.7), 100)), ElementsAre());  // too many to be of use
  EXPECT_THAT(Joints(std::vector<double>{1}), ElementsAre());
}

TEST(ScheduleCommandTest, TheCurveIsDrawnInBlocks) {
  EXPECT_EQ(BlockChart(Values(Linear(8), 8), 8, 2),
            "1 |█▆▄▂\n"
            "0 |█████▆▄▂\n"  // 16, 14, ... 2 eighths in two rows
            "   0      7\n");
  // A constant fills the chart; a narrow band far from zero fills it, too.
  EXPECT_EQ(BlockChart(std::vector<double>{2, 2}, 4, 1), "2 |████\n   0  1\n");
  EXPECT_THAT(BlockChart(Values(Ramp(50, 0.85, 0.95), 100), 10, 4), HasSubstr("0.85 |"));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(BlockChart(std::vector<double>{nan, 1}, 2, 1), "1 | █\n   01\n");
  EXPECT_EQ(BlockChart(std::vector<double>{nan}, 2, 1), "no finite values\n");
}

TEST(ScheduleCommandTest, ErrorsNameTheColumnOrTheOption) {
  EXPECT_THAT(ErrorOf([] { Shown({.text = "1e-3 * warmap(10)", .steps = 10}); }),
              HasSubstr("column 8: unknown schedule \"warmap\"; did you mean \"warmup\"?"));
  EXPECT_THAT(ErrorOf([] { Shown({.text = "1", .steps = 0}); }),
              HasSubstr("--steps = 0 is outside [1, 10000000]"));
  EXPECT_THAT(ErrorOf([] { Shown({.text = "1", .steps = 5, .every = -1}); }),
              HasSubstr("--every = -1 is negative"));
  EXPECT_THAT(ErrorOf([] { Shown({.text = "1", .steps = 5, .file = "a.pdf"}); }),
              HasSubstr("a.pdf: a picture must be named .svg or .png"));
}

TEST(ScheduleCommandTest, DrawsPictures) {
  const kudari::testing::TemporaryFolder folder;
  Shown({.text = "0.1 * wsd(5000, 100, 1000, 0.1, sqrt)", .steps = 5000, .file = folder / "a.svg"});
  EXPECT_THAT(ReadTextFile(folder / "a.svg"), HasSubstr("wsd(5000, 100, 1000, 0.1, sqrt)"));
  DrawEverySchedule(folder / "all.svg");
  const std::string all = ReadTextFile(folder / "all.svg");
  for (const Description& d : DescribeSchedules()) EXPECT_THAT(all, HasSubstr(d.example));
}

}  // namespace schedule_table_test
}  // namespace kudari::lab
