#include "kudari/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kudari/error.h"
#include "tests/support/errors.h"

namespace kudari {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(std::string_view text) {
  return testing::ErrorOf([&] { ParseSchedule(text); });
}

std::vector<double> Values(const Schedule& s, int64_t count) {
  std::vector<double> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(s(i));
  return values;
}

void ExpectValues(const Schedule& s, const std::vector<double>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_DOUBLE_EQ(s(static_cast<int64_t>(i)), expected[i]) << s.Text() << " at " << i;
  }
}

TEST(ScheduleTest, Constant) {
  EXPECT_EQ(Schedule(0.1)(0), 0.1);
  EXPECT_EQ(Schedule(0.1)(1000000), 0.1);
  EXPECT_TRUE(Schedule(0.1).IsConstant());
  EXPECT_TRUE((Constant(2) * 3).IsConstant());
  EXPECT_FALSE((2 * Warmup(3)).IsConstant());
  EXPECT_THROW(Schedule(NAN), Error);
  EXPECT_THROW(Constant(INFINITY), Error);
}

TEST(ScheduleTest, WarmupConventions) {
  ExpectValues(Warmup(4), {0.25, 0.5, 0.75, 1, 1, 1});
  ExpectValues(Warmup(4, 0), {0, 0.25, 0.5, 0.75, 1, 1});
  // torch.optim.lr_scheduler.LinearLR(start_factor=0.25, total_iters=4)
  ExpectValues(Warmup(4, 0.25), {0.25, 0.4375, 0.625, 0.8125, 1, 1});
  ExpectValues(Warmup(0), {1, 1});
  ExpectValues(Warmup(0, 0), {1, 1});
}

TEST(ScheduleTest, CosineFallsAndStays) {
  // torch's CosineAnnealingLR(T_max=4) up to T_max, then it stays.
  const double half = std::sqrt(0.5);
  ExpectValues(Cosine(4), {1, 0.5 * (1 + half), 0.5, 0.5 * (1 - half), 0, 0, 0, 0, 0});
  EXPECT_DOUBLE_EQ(Cosine(4, 0.1)(2), 0.55);
  EXPECT_EQ(Cosine(4, 0.1)(4), 0.1);
  EXPECT_EQ(Cosine(0, 0.1)(0), 0.1);
}

TEST(ScheduleTest, LinearAndStep) {
  ExpectValues(Linear(4), {1, 0.75, 0.5, 0.25, 0, 0});
  ExpectValues(Linear(2, 0.5), {1, 0.75, 0.5, 0.5});
  EXPECT_EQ(Linear(0, 0.5)(0), 0.5);
  // torch's StepLR(step_size=2, gamma=0.5)
  ExpectValues(Step(2, 0.5), {1, 1, 0.5, 0.5, 0.25});
}

TEST(ScheduleTest, ThenCountsFromTheBoundary) {
  ExpectValues(Then(3, 2, 5 * Linear(2)), {3, 3, 5, 2.5, 0});
  ExpectValues(Then(3, 0, 4), {4, 4});
}

TEST(ScheduleTest, ProductMultipliesFromTheLeft) {
  const Schedule s = 2e-3 * Warmup(100) * Cosine(1500, 0.05);
  for (const int64_t i : {0, 50, 99, 100, 700, 1499, 1500, 9999}) {
    EXPECT_EQ(s(i), 2e-3 * Warmup(100)(i) * Cosine(1500, 0.05)(i));
  }
}

TEST(ScheduleTest, TextIsCanonicalAndReadsBack) {
  const Schedule schedules[] = {
      1e-3,
      -0.5,
      1e300,
      0.1 * Warmup(100) * Cosine(1500, 0.05),
      Warmup(10, 1.0 / 3),
      Linear(7),
      Step(30, 0.1) * 3,
      Then(1e-3, 500, 1e-4 * Linear(100) * Then(1, 3, Warmup(4))),
      (2 * Warmup(3)) * (Cosine(4) * 0.1),
      Constant(0.25),
  };
  for (const Schedule& s : schedules) {
    const Schedule read = ParseSchedule(s.Text());
    EXPECT_EQ(read, s);
    EXPECT_EQ(read.Text(), s.Text());
    EXPECT_EQ(Values(read, 600), Values(s, 600)) << s.Text();
  }
  EXPECT_EQ((2e-3 * Warmup(100) * Cosine(1500, 0.05)).Text(),
            "0.002 * warmup(100) * cosine(1500, 0.05)");
}

TEST(ScheduleTest, ParsesLooseSpacingAndDefaults) {
  EXPECT_EQ(ParseSchedule(" 2e-3*warmup( 100 )*cosine(1500) "), 2e-3 * Warmup(100) * Cosine(1500));
  EXPECT_EQ(ParseSchedule("step(30)"), Step(30, 0.1));
  EXPECT_EQ(ParseSchedule("warmup(100, 0)"), Warmup(100, 0));
  EXPECT_EQ(ParseSchedule("constant(0.1)")(5), 0.1);
}

TEST(ScheduleTest, ErrorsNameTheColumnAndTheNearestName) {
  EXPECT_THAT(ErrorOf("1e-3 * warmap(10)"), HasSubstr("column 8: unknown schedule \"warmap\""));
  EXPECT_THAT(ErrorOf("1e-3 * warmap(10)"), HasSubstr("did you mean \"warmup\"?"));
  EXPECT_THAT(ErrorOf("xyzzyplugh(1)"), HasSubstr("known: constant, warmup, cosine"));
  EXPECT_THAT(ErrorOf("cosine(10, 2, 3)"), HasSubstr("wrong number of arguments, 3; use cosine("));
  EXPECT_THAT(ErrorOf("1 * cosine(-1)"), HasSubstr("column 12: cosine: steps = -1 is outside [0"));
  EXPECT_THAT(ErrorOf("cosine(1.5)"), HasSubstr("cosine: steps = 1.5 is not an integer"));
  EXPECT_THAT(ErrorOf("step(0, 0.1)"), HasSubstr("step: steps = 0 is outside [1"));
  EXPECT_THAT(ErrorOf("warmup(3, 1.5)"), HasSubstr("warmup: start = 1.5 is outside [0, 1]"));
  EXPECT_THAT(ErrorOf("cosine(warmup(3))"), HasSubstr("cosine: steps must be a number"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("column 1: expected a number or a function"));
  EXPECT_THAT(ErrorOf("1 2"), HasSubstr("column 3: expected * or the end"));
  EXPECT_THAT(ErrorOf("1 *"), HasSubstr("column 4: expected a number"));
  EXPECT_THAT(ErrorOf("warmup 3"), HasSubstr("column 8: expected ("));
  EXPECT_THAT(ErrorOf("warmup(3"), HasSubstr("column 9: expected , or )"));
  EXPECT_THAT(ErrorOf("1e999"), HasSubstr("number out of range"));
  EXPECT_THAT(ErrorOf("nan"), HasSubstr("unknown schedule \"nan\""));
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "then(";
  EXPECT_THAT(ErrorOf(deep), HasSubstr("nested too deeply"));
}

TEST(ScheduleTest, ConstructorsCheckTheirArguments) {
  EXPECT_THROW(Warmup(-1), Error);
  EXPECT_THROW(Warmup(1, -0.5), Error);
  EXPECT_THROW(Cosine(-1), Error);
  EXPECT_THROW(Cosine(5, NAN), Error);
  EXPECT_THROW(Linear(5, INFINITY), Error);
  EXPECT_THROW(Step(0), Error);
  EXPECT_THROW(Then(1, -1, 2), Error);
}

TEST(ScheduleTest, EveryFunctionIsDescribedAndItsDefaultsHold) {
  std::vector<std::string> names;
  for (const Description& d : DescribeSchedules()) {
    names.push_back(d.name);
    EXPECT_FALSE(d.summary.empty());
    EXPECT_FALSE(d.formula.empty());
    EXPECT_FALSE(d.options.empty());
    // A call that gives only what must be given is the call with the defaults spelled out.
    std::string given, full;
    for (const OptionDescription& o : d.options) {
      EXPECT_FALSE(o.range.empty()) << d.name;
      const std::string value = o.default_value.empty() ? "1" : o.default_value;
      full += (full.empty() ? "" : ", ") + value;
      if (o.default_value.empty()) given += (given.empty() ? "" : ", ") + value;
    }
    EXPECT_EQ(ParseSchedule(d.name + "(" + given + ")"), ParseSchedule(d.name + "(" + full + ")"));
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("constant", "warmup", "warmup", "cosine",
                                                     "linear", "step", "then"));
}

}  // namespace
}  // namespace kudari
