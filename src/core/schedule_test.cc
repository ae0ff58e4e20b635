#include "kudari/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kudari/error.h"
#include "tests/support/errors.h"

namespace kudari {
namespace schedule_test {

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
  EXPECT_THAT(ErrorOf("xyzzyplugh(1)"), HasSubstr("known: constant, warmup, ramp, linear"));
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

// What torch 1.13 and the formulas give, to six digits.
TEST(ScheduleTest, KnownValues) {
  const auto near = [](const Schedule& s, const std::vector<double>& expected) {
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(s(static_cast<int64_t>(i)), expected[i], 5e-7) << s.Text() << " at " << i;
    }
  };
  near(CosinePeriodic(4), {1, .853553, .5, .146447, 0, .146447, .5, .853553, 1});
  near(Sgdr(2, 2), {1, .5, 1, .853553, .5, .146447, 1, .961940});
  near(Warmup(4, 0.25), {.25, .4375, .625, .8125, 1});
  // The step after the last, at which torch rises to 0.0495, and all that follow stay.
  near(OneCycle(10),
       {.04, .52, 1, .950485, .811746, .611262, .388742, .188258, .049519, 4e-6, 4e-6, 4e-6});
  near(OneCycle3(10), {.04, .52, 1, .52, .04, .036181, .026182, .013822, .003823, 4e-6, 4e-6});
  near(OneCycleMomentum(10), {.95, .90, .85});
  EXPECT_NEAR(OneCycleMomentum(10)(9), 0.95, 1e-12);
  EXPECT_NEAR(OneCycleFastai(10)(10), 1e-5, 1e-17);
  // Milestones: the drop is at the step itself, and a repeated one counts twice.
  near(MultiStep({2, 4, 4}, 0.5), {1, 1, .5, .5, .125});
  // nanochat's last used value is 1/D of the way short of the final fraction.
  const Schedule trapezoid = Trapezoid(10, 0, 0.4, 0.1);
  near(trapezoid, {1, 1, 1, 1, 1, 1, 1, .775, .55, .325, .1, .1});
  EXPECT_DOUBLE_EQ(trapezoid(9), 0.25 + 0.75 * 0.1);
  // Python rounds 2.5 to 2 and 3.5 to 4.
  near(Trapezoid(10, 0.25, 0), {.5, 1, 1});
  near(Trapezoid(10, 0.35, 0), {.25, .5, .75, 1});
}

TEST(ScheduleTest, PhasesWithoutLengthAreJumps) {
  // torch divides by zero where pct steps is one.
  for (const int64_t n : {1, 2, 3, 10, 1000}) {
    const double pct = 1 / static_cast<double>(n);
    for (const Schedule& s : {OneCycle(n, pct), OneCycle3(n, pct), OneCycleFastai(n, pct)}) {
      for (int64_t i = 0; i <= n; ++i) {
        EXPECT_TRUE(s(i) >= 0 && s(i) <= 1) << s.Text() << " at " << i;
      }
    }
    EXPECT_EQ(OneCycle(n, pct)(0), 1) << n;
  }
  for (const double pct : {0.0, 0.5, 1.0}) {
    for (const Schedule& s : {OneCycle(1, pct), OneCycle(4, pct), OneCycle3(1, pct),
                              OneCycle3(4, pct), OneCycleFastai(1, pct), OneCycleMomentum(1, pct),
                              OneCycle3Momentum(4, pct), OneCycleFastaiMomentum(1, pct)}) {
      for (const int64_t i : {0, 1, 2, 3, 4, 5}) EXPECT_TRUE(std::isfinite(s(i))) << s.Text();
    }
  }
  ExpectValues(Triangular(0, 2), {1, 0.5, 1, 0.5});
  ExpectValues(Triangular(2, 0), {0, 0.5, 0, 0.5});
  ExpectValues(Wsd(4, 0, 0, 0.5), {1, 1, 1, 1, 0.5});
  ExpectValues(Wsd(0, 0, 0, 0.5), {0.5});
  ExpectValues(Wsd(4, 4, 0, 0.5), {0.25, 0.5, 0.75, 1, 0.5});
  ExpectValues(Wsd(4, 0, 4), {1, 0.75, 0.5, 0.25, 0});
  ExpectValues(Trapezoid(3, 0, 0, 0.5), {1, 1, 1, 0.5});
  ExpectValues(Trapezoid(0), {0});
  ExpectValues(Ramp(0, 0.1, 0.2), {0.2});
  ExpectValues(Polynomial(0, 2, 0.3), {0.3});
  ExpectValues(Noam(1, 0), {1, 1 / std::sqrt(2)});
  ExpectValues(InverseSqrt(), {1, 1, 1 / std::sqrt(2)});
}

TEST(ScheduleTest, CyclesRestartWhereTheyShould) {
  // 3^i and 10^i: logarithms round some of these to either side.
  for (const double mult : {1.0, 2.0, 3.0, 7.0, 10.0}) {
    for (const int64_t first : {1, 3, 10, 1000}) {
      int64_t start = 0, length = first;
      for (int cycle = 0; cycle < 12; ++cycle) {
        const Schedule s = Sgdr(first, mult, 0.5);
        EXPECT_EQ(s(start), std::pow(0.5, cycle)) << s.Text() << " at " << start;
        if (start > 0) {
          EXPECT_LT(s(start - 1), std::pow(0.5, cycle - 1) * 1.0001) << s.Text();
        }
        start += length;
        length *= static_cast<int64_t>(mult);
      }
    }
  }
  for (const int64_t i : {int64_t{0}, int64_t{1}, int64_t{2}, INT64_MAX}) {
    for (const double mult : {1.0, 1 + 1e-15, 1.5, 1e300}) {
      const double value = Sgdr(1, mult)(i);
      EXPECT_TRUE(value >= 0 && value <= 1) << mult << " at " << i << ": " << value;
    }
  }
  ExpectValues(Sgdr(2, 1, 1, 0.25, 2), {1, 0.625, 1, 0.625, 0.25, 0.25});
  // The step before the restart at 2^52 - 1, whose logarithm rounds to 52.
  EXPECT_NEAR(Sgdr(1, 2)((int64_t{1} << 52) - 2), 0, 1e-9);
}

TEST(ScheduleTest, JoinsAreContinuous) {
  // With many steps, neighbours differ by little: nothing jumps where phases meet.
  constexpr int64_t kMany = 100000;
  for (const Schedule& s :
       {OneCycle(kMany), OneCycle3(kMany), OneCycleFastai(kMany), OneCycleMomentum(kMany),
        OneCycle3Momentum(kMany), OneCycleFastaiMomentum(kMany), Trapezoid(kMany, 0.1, 0.3, 0.2),
        Wsd(kMany, 10000, 50000, 0.1), Wsd(kMany, 10000, 50000, 0.1, Shape::kCosine),
        Wsd(kMany, 10000, 50000, 0.1, Shape::kExponential), Triangular(20000, 30000),
        CosinePeriodic(25000), Noam(1, 10000), Ramp(50000, 0.85, 0.95),
        Warmup(10000, 0) * InverseSqrt(10000), Then(Warmup(10000), 10000, Rsqrt(10000)),
        Polynomial(50000, 2, 0.1)}) {
    for (int64_t i = 0; i < kMany + 10; ++i) {
      ASSERT_NEAR(s(i), s(i + 1), 3e-4) << s.Text() << " at " << i;
    }
  }
}

TEST(ScheduleTest, DecaysNeverRise) {
  for (const Schedule& s :
       {Linear(50, 0.1), Cosine(50, 0.1), Polynomial(50, 3, 0.1), Polynomial(50, 0.5), Step(7, 0.9),
        MultiStep({5, 5, 40}), Exponential(0.9, 3), ExpDecay(0.1), InverseTime(0.1, 3),
        InverseTimeStaircase(0.1, 3), InverseSqrt(10), Rsqrt(10, 3), Wsd(60, 0, 40, 0.1),
        Wsd(60, 0, 40, 0.1, Shape::kSqrt), Wsd(60, 0, 40, 0.1, Shape::kCosine),
        Wsd(60, 0, 40, 0.1, Shape::kExponential), Trapezoid(60, 0, 0.5, 0.1),
        Sgdr(50, 1, 1, 0.1, 1)}) {
    EXPECT_EQ(s(0), Rsqrt(10, 3) == s ? 1 / std::sqrt(1.3) : 1) << s.Text();
    for (int64_t i = 0; i < 100; ++i) EXPECT_LE(s(i + 1), s(i)) << s.Text() << " at " << i;
    EXPECT_LT(s(100), s(0));
  }
}

TEST(ScheduleTest, ArgumentsMayBeNamed) {
  EXPECT_EQ(ParseSchedule("onecycle(1000, final_div = 1e3, shape=linear)"),
            OneCycle(1000, 0.3, 25, 1e3, Shape::kLinear));
  EXPECT_EQ(ParseSchedule("ramp(last = 0.95, steps = 300, first = 0.85)"), Ramp(300, 0.85, 0.95));
  EXPECT_EQ(ParseSchedule("warmup(steps = 5, start = 0)"), Warmup(5, 0));
  EXPECT_EQ(ParseSchedule("warmup(steps = 5)"), Warmup(5));
  EXPECT_EQ(ParseSchedule("multistep([ 30,60 ], gamma = 0.2)"), MultiStep({30, 60}, 0.2));
  EXPECT_EQ(ParseSchedule("then(boundary = 3, first = 1, second = cosine(5))"),
            Then(1, 3, Cosine(5)));
  EXPECT_EQ(OneCycle(1000).Text(), "onecycle(1000, 0.3, 25, 10000, cosine)");
  EXPECT_EQ(MultiStep({30, 60, 90}).Text(), "multistep([30, 60, 90], 0.1)");

  EXPECT_THAT(
      ErrorOf("onecycle(9, fnal_div = 2)"),
      HasSubstr("column 24: onecycle: no parameter \"fnal_div\"; did you mean \"final_div\"?"));
  EXPECT_THAT(ErrorOf("cosine(5, steps = 3)"), HasSubstr("column 19: cosine: steps twice"));
  EXPECT_THAT(ErrorOf("cosine(last = 0, 5)"),
              HasSubstr("column 18: cosine: an argument without a name after one with"));
  EXPECT_THAT(ErrorOf("cosine(last = 0)"),
              HasSubstr("column 1: cosine: steps is missing; use cosine(steps, last = 0)"));
}

TEST(ScheduleTest, ErrorsOfKindsAndDomains) {
  EXPECT_THAT(ErrorOf("multistep(30)"),
              HasSubstr("column 11: multistep: milestones must be a list such as [30, 60]"));
  EXPECT_THAT(ErrorOf("multistep([])"), HasSubstr("multistep: milestones is empty"));
  EXPECT_THAT(ErrorOf("multistep([60, 30])"), HasSubstr("milestones: 30 comes after 60"));
  EXPECT_THAT(ErrorOf("multistep([1.5])"), HasSubstr("milestones = 1.5 is not an integer"));
  EXPECT_THAT(ErrorOf("multistep([-1])"), HasSubstr("milestones = -1 is outside [0"));
  EXPECT_THAT(ErrorOf("multistep([1"), HasSubstr("column 13: expected , or ]"));
  EXPECT_THAT(ErrorOf("multistep([1,])"), HasSubstr("column 14: expected a number"));
  EXPECT_THAT(ErrorOf("cosine([5])"), HasSubstr("column 8: cosine: steps must be a number"));
  EXPECT_THAT(ErrorOf("cosine(linear)"), HasSubstr("column 8: cosine: steps must be a number"));
  EXPECT_THAT(ErrorOf("then(linear, 1, 2)"), HasSubstr("then: first must be a schedule"));
  EXPECT_THAT(ErrorOf("onecycle(10, shape = sqrt)"),
              HasSubstr("column 22: onecycle: shape must be one of linear, cosine"));
  EXPECT_THAT(ErrorOf("onecycle(10, shape = 1)"), HasSubstr("shape must be one of"));
  EXPECT_THAT(ErrorOf("wsd(100, 60, 60)"),
              HasSubstr("column 1: wsd: warmup + decay = 120 is more than steps = 100"));
  EXPECT_THAT(ErrorOf("wsd(100, 0, 60, shape = exponential)"),
              HasSubstr("wsd: an exponential decay needs last above 0"));
  EXPECT_THAT(ErrorOf("triangular(0, 0)"), HasSubstr("triangular: up and down are both 0"));
  EXPECT_THAT(ErrorOf("exp_range(1, 0, 0)"), HasSubstr("exp_range: up and down are both 0"));
  EXPECT_THAT(ErrorOf("sgdr(0)"), HasSubstr("sgdr: steps = 0 is outside [1"));
  EXPECT_THAT(ErrorOf("sgdr(5, 0.5)"), HasSubstr("sgdr: mult = 0.5 is outside [1"));
  EXPECT_THAT(ErrorOf("onecycle(0)"), HasSubstr("onecycle: steps = 0 is outside [1"));
  EXPECT_THAT(ErrorOf("onecycle(5, 1.5)"), HasSubstr("onecycle: pct = 1.5 is outside [0, 1]"));
  EXPECT_THAT(ErrorOf("trapezoid(5, 2)"), HasSubstr("trapezoid: warmup = 2 is outside [0, 1]"));
  EXPECT_THAT(ErrorOf("exp_decay(-1)"), HasSubstr("exp_decay: rate = -1 is outside [0, inf)"));
  EXPECT_THROW(Wsd(10, 6, 6), Error);
  EXPECT_THROW(MultiStep({}), Error);
  EXPECT_THROW(OneCycle(10, 0.3, 25, 1e4, Shape::kSqrt), Error);
}

TEST(ScheduleTest, CompositionsAreThoseOfTheText) {
  // What the longer names mean, in shorter ones.
  const std::pair<Schedule, Schedule> pairs[] = {
      {Trapezoid(100, 0.1, 0.4, 0.1), Warmup(10) * Then(1, 60, Linear(40, 0.1))},
      {Wsd(100, 10, 40, 0.1), Warmup(10) * Then(1, 60, Linear(40, 0.1))},
      {Wsd(100, 10, 40, 0.1, Shape::kCosine), Warmup(10) * Then(1, 60, Cosine(40, 0.1))},
      {Wsd(100, 0, 40, 0.1, Shape::kExponential), Then(1, 60, Then(Exponential(0.1, 40), 40, 0.1))},
      {Sgdr(10, 1, 1, 0.1, 1), Cosine(10, 0.1)},
      {Polynomial(30, 1, 0.2), Linear(30, 0.2)},
      {ExpDecay(0.1), Exponential(std::exp(-0.1))},
      {Ramp(300, 0.85, 0.95), 0.85 * Linear(300, 0.95 / 0.85)},
      {Triangular2(10, 10), Triangular(10, 10) * Step(20, 0.5)},
      {ExpRange(0.9, 10, 10), Triangular(10, 10) * Exponential(0.9)},
  };
  for (const auto& [a, b] : pairs) {
    for (int64_t i = 0; i < 350; ++i) ASSERT_NEAR(a(i), b(i), 1e-15) << a.Text() << " at " << i;
  }
}

TEST(ScheduleTest, EveryFunctionIsDescribedAndItsDefaultsHold) {
  std::vector<std::string> names;
  for (const Description& d : DescribeSchedules()) {
    SCOPED_TRACE(d.example);
    names.push_back(d.name);
    EXPECT_FALSE(d.summary.empty());
    EXPECT_FALSE(d.formula.empty());
    EXPECT_FALSE(d.options.empty());
    const Schedule example = ParseSchedule(d.example);
    EXPECT_EQ(example.Text().substr(0, d.name.size() + 1), d.name + "(");
    EXPECT_EQ(ParseSchedule(example.Text()), example);
    EXPECT_EQ(Values(ParseSchedule(example.Text()), 300), Values(example, 300));
    // A call that gives only what must be given is the call with the defaults spelled out, by
    // position or by name.
    std::string given, full, named;
    for (const OptionDescription& o : d.options) {
      EXPECT_FALSE(o.range.empty());
      EXPECT_FALSE(o.doc.empty());
      const bool list = o.range.starts_with("[m");
      const std::string value = !o.default_value.empty() ? o.default_value : list ? "[1]" : "1";
      full += (full.empty() ? "" : ", ") + value;
      named = o.name + " = " + value + (named.empty() ? "" : ", ") + named;
      if (o.default_value.empty()) given += (given.empty() ? "" : ", ") + value;
    }
    if (d.name == "wsd") continue;  // its steps must hold the others
    const Schedule all = ParseSchedule(d.name + "(" + full + ")");
    EXPECT_EQ(ParseSchedule(d.name + "(" + given + ")"), all);
    EXPECT_EQ(ParseSchedule(d.name + "(" + named + ")"), all);
  }
  EXPECT_THAT(
      names,
      ::testing::ElementsAre(
          "constant", "warmup", "warmup", "ramp", "linear", "cosine", "cosine_periodic", "sgdr",
          "polynomial", "step", "multistep", "exponential", "exp_decay", "inverse_time",
          "inverse_time_staircase", "inverse_sqrt", "noam", "rsqrt", "trapezoid", "wsd", "onecycle",
          "onecycle_momentum", "onecycle3", "onecycle3_momentum", "onecycle_fastai",
          "onecycle_fastai_momentum", "triangular", "triangular2", "exp_range", "then"));
}

// Each constructor's text is its own name with its own arguments in their order, and reads back.
TEST(ScheduleTest, EveryConstructorHasItsText) {
  const std::pair<Schedule, std::string> texts[] = {
      {Ramp(5, 0.1, 0.2), "ramp(5, 0.1, 0.2)"},
      {CosinePeriodic(5, 0.1), "cosine_periodic(5, 0.1)"},
      {Sgdr(5, 2, 0.5, 0.1, 3), "sgdr(5, 2, 0.5, 0.1, 3)"},
      {Polynomial(5, 2, 0.1), "polynomial(5, 2, 0.1)"},
      {MultiStep({3, 4}, 0.5), "multistep([3, 4], 0.5)"},
      {Exponential(0.9, 7), "exponential(0.9, 7)"},
      {ExpDecay(0.3), "exp_decay(0.3)"},
      {InverseTime(0.3, 7), "inverse_time(0.3, 7)"},
      {InverseTimeStaircase(0.3, 7), "inverse_time_staircase(0.3, 7)"},
      {InverseSqrt(7), "inverse_sqrt(7)"},
      {Noam(512, 7), "noam(512, 7)"},
      {Rsqrt(7, 3), "rsqrt(7, 3)"},
      {Trapezoid(50, 0.1, 0.2, 0.3), "trapezoid(50, 0.1, 0.2, 0.3)"},
      {Wsd(50, 3, 7, 0.1, Shape::kSqrt), "wsd(50, 3, 7, 0.1, sqrt)"},
      {Wsd(50, 3, 7, 0.1, Shape::kExponential), "wsd(50, 3, 7, 0.1, exponential)"},
      {OneCycle(9, 0.2, 3, 4, Shape::kLinear), "onecycle(9, 0.2, 3, 4, linear)"},
      {OneCycleMomentum(9, 0.2, 0.8, 0.9), "onecycle_momentum(9, 0.2, 0.8, 0.9, cosine)"},
      {OneCycle3(9, 0.2, 3, 4, Shape::kLinear), "onecycle3(9, 0.2, 3, 4, linear)"},
      {OneCycle3Momentum(9, 0.2, 0.8, 0.9), "onecycle3_momentum(9, 0.2, 0.8, 0.9, cosine)"},
      {OneCycleFastai(9, 0.2, 3, 4), "onecycle_fastai(9, 0.2, 3, 4)"},
      {OneCycleFastaiMomentum(9, 0.2, 0.8, 0.9), "onecycle_fastai_momentum(9, 0.2, 0.8, 0.9)"},
      {Triangular(3, 4, 0.1, 0.9), "triangular(3, 4, 0.1, 0.9)"},
      {Triangular2(3, 4, 0.1, 0.9), "triangular2(3, 4, 0.1, 0.9)"},
      {ExpRange(0.99, 3, 4, 0.1, 0.9), "exp_range(0.99, 3, 4, 0.1, 0.9)"},
  };
  for (const auto& [schedule, text] : texts) {
    EXPECT_EQ(schedule.Text(), text);
    EXPECT_EQ(ParseSchedule(text), schedule);
  }
}

// What a schedule is made of can be read and put together again.
TEST(ScheduleTest, ComesApartIntoTypedArguments) {
  for (const Description& d : DescribeSchedules()) {
    const Schedule s = ParseSchedule(d.example);
    SCOPED_TRACE(d.example);
    EXPECT_EQ(s.Function(), d.name);
    const std::vector<ScheduleArgument> arguments = s.Arguments();
    ASSERT_EQ(arguments.size(), d.options.size());
    for (size_t i = 0; i < arguments.size(); ++i) EXPECT_EQ(arguments[i].name, d.options[i].name);
    EXPECT_EQ(MakeSchedule(s.Function(), arguments), s);
    const std::vector<Schedule> factors = (0.5 * s * Warmup(3)).Factors();
    ASSERT_EQ(factors.size(), 3U);
    EXPECT_EQ(factors[1], s);
  }
  std::vector<ScheduleArgument> wsd = Wsd(100, 10, 40, 0.1, Shape::kSqrt).Arguments();
  EXPECT_EQ(wsd[2].kind, ArgumentKind::kSteps);
  EXPECT_EQ(std::get<double>(wsd[2].value), 40);
  EXPECT_EQ(wsd[3].kind, ArgumentKind::kNumber);
  EXPECT_EQ(std::get<double>(wsd[4].value), static_cast<double>(Shape::kSqrt));
  wsd[2].value = 91.0;
  EXPECT_EQ(testing::ErrorOf([&] { MakeSchedule("wsd", wsd); }),
            "wsd: warmup + decay = 101 is more than steps = 100");
  wsd[2].value = Schedule(1);
  EXPECT_EQ(testing::ErrorOf([&] { MakeSchedule("wsd", wsd); }),
            "wsd: decay must be a number of steps, such as 100, 10%, 3ep or end");
  EXPECT_EQ(testing::ErrorOf([&] { MakeSchedule("wds", wsd); }),
            "schedule: no function wds of 5 arguments; did you mean \"wsd\"?");
  const auto step = Step(30, 0.5).Arguments();
  EXPECT_EQ(step[1].kind, ArgumentKind::kFactor);
  EXPECT_EQ(step[1].per, "steps");
  EXPECT_EQ(Sgdr(30).Arguments()[4].kind, ArgumentKind::kCount);

  EXPECT_EQ((2.0 * Cosine(5) * 0.25).LeadingNumber(), 0.5);
  EXPECT_EQ(ParseSchedule("constant(3)").LeadingNumber(), 3);
  EXPECT_EQ(Then(3, 4, 5).LeadingNumber(), std::nullopt);
  EXPECT_EQ(WarmupSteps(2.0 * Then(Cosine(3), 7, 0.5 * Warmup(11, 0.5)) * Warmup(9)), 11);
  EXPECT_EQ(WarmupSteps(Wsd(100, 10, 40)), std::nullopt);
}

TEST(ScheduleTest, LengthsMayBeRelativeToTheRun) {
  const std::pair<std::string, std::string> texts[] = {
      {"2e-3*warmup( 10 % )*cosine(end,.05)", "0.002 * warmup(10%) * cosine(end, 0.05)"},
      {"warmup(steps = 2.5%, start = 0)", "warmup(2.5%, 0)"},
      {"multistep([30ep, 60 ep,90ep])", "multistep([30ep, 60ep, 90ep], 0.1)"},
      {"multistep([5, 10%, 1e1ep, end], 0.5)", "multistep([5, 10%, 10ep, end], 0.5)"},
      {"then(1, 1.5ep, linear(end))", "then(1, 1.5ep, linear(end, 0))"},
      {"wsd(end, 5%, 20%, shape = sqrt)", "wsd(end, 5%, 20%, 0, sqrt)"},
      {"then(warmup(5ep), 100, 2)", "then(warmup(5ep), 100, 2)"},
  };
  for (const auto& [text, canonical] : texts) {
    const Schedule s = ParseSchedule(text);
    EXPECT_EQ(s.Text(), canonical);
    EXPECT_EQ(ParseSchedule(canonical), s);
    EXPECT_FALSE(s.IsResolved());
    EXPECT_FALSE(s.IsConstant());
    EXPECT_THROW(s(0), Error);
    EXPECT_FALSE((2 * s).IsResolved());
    EXPECT_FALSE((s * Warmup(3)).IsResolved());
    EXPECT_FALSE(Then(s, 3, 1).IsResolved());
    const Schedule first = s.Factors().back();
    EXPECT_EQ(MakeSchedule(first.Function(), first.Arguments()), first);
  }
  const Schedule warmup = ParseSchedule("0.5 * warmup(10%)");
  EXPECT_EQ(testing::ErrorOf([&] { warmup(7); }),
            "schedule \"warmup(10%)\": its lengths are relative to a run, so it has no values "
            "before Resolve");
  EXPECT_EQ(warmup.LeadingNumber(), 0.5);
  EXPECT_EQ(std::get<RunSteps>(warmup.Factors()[1].Arguments()[0].value),
            (RunSteps{10, StepUnit::kPercent}));
  EXPECT_EQ(
      testing::ErrorOf([&] { WarmupSteps(warmup); }),
      "schedule \"warmup(10%)\": its lengths are relative to a run, so it has no steps before "
      "Resolve");
  EXPECT_EQ(WarmupSteps(ParseSchedule("warmup(7) * cosine(end)")), 7);
  // A list that only looks as if it were relative.
  std::vector<ScheduleArgument> milestones = MultiStep({3, 4}).Arguments();
  milestones[0].value = std::vector<StepCount>{3.0, 4.0};
  EXPECT_EQ(MakeSchedule("multistep", milestones)(3), 0.1);
  for (const Schedule& s : {Schedule(0.5), Warmup(3), Then(1, 2, Cosine(3))}) {
    EXPECT_TRUE(s.IsResolved());
    EXPECT_EQ(s.Resolve({.steps = 10}), s);
    EXPECT_EQ(s.Resolve({}), s);
  }
}

TEST(ScheduleTest, ResolvesForARun) {
  const auto text = [](std::string_view schedule, int64_t steps, double epoch = 0) {
    return ParseSchedule(schedule).Resolve({.steps = steps, .steps_per_epoch = epoch}).Text();
  };
  EXPECT_EQ(text("0.002 * warmup(10%) * cosine(end, 0.05)", 1500),
            "0.002 * warmup(150) * cosine(1500, 0.05)");
  EXPECT_EQ(text("multistep([30ep, 60ep, 90ep])", 2000, 20), "multistep([600, 1200, 1800], 0.1)");
  EXPECT_EQ(text("multistep([5, 50%, 9ep, end])", 100, 10), "multistep([5, 50, 90, 100], 0.1)");
  EXPECT_EQ(text("warmup(0.5ep) * step(1.5ep)", 100, 7), "warmup(4) * step(11, 0.1)");
  EXPECT_EQ(text("warmup(19.6%)", 510), "warmup(100)");
  // To nearest, and no less than the function takes.
  EXPECT_EQ(text("warmup(1%)", 20), "warmup(0)");
  EXPECT_EQ(text("step(1%)", 20), "step(1, 0.1)");
  EXPECT_EQ(text("step(0%) * onecycle_fastai(0ep)", 20, 5),
            "step(1, 0.1) * onecycle_fastai(1, 0.25, 25, 1e+05)");
  EXPECT_EQ(text("warmup(2.5%) * linear(100%)", 60), "warmup(2) * linear(60, 0)");
  // The end, from where a part begins; percentages and epochs are of the whole run.
  EXPECT_EQ(text("then(1, 40%, linear(end))", 100), "then(1, 40, linear(60, 0))");
  EXPECT_EQ(text("then(cosine(end), 40, linear(end) * warmup(10%))", 100),
            "then(cosine(100, 0), 40, linear(60, 0) * warmup(10))");
  EXPECT_EQ(text("then(1, 4ep, then(1, 30%, cosine(end)))", 100, 10),
            "then(1, 40, then(1, 30, cosine(30, 0)))");
  EXPECT_EQ(text("then(1, end, linear(end)) * cosine(end)", 100),
            "then(1, 100, linear(0, 0)) * cosine(100, 0)");
  EXPECT_EQ(text("then(1, 150, step(end))", 100), "then(1, 150, step(1, 0.1))");
  // Parts that fill the run fill it at every length.
  EXPECT_EQ(text("wsd(end, 10%, 90%)", 15), "wsd(15, 1, 13, 0, linear)");
  for (int64_t steps = 1; steps < 200; ++steps) {
    for (const char* const full :
         {"wsd(end, 10%, 90%)", "wsd(end, 2.5%, 97.5%)", "wsd(100%, 33.3%, 66.7%)"}) {
      EXPECT_NO_THROW(text(full, steps)) << full << " " << steps;
    }
  }
  const Schedule resolved = ParseSchedule("2 * warmup(10%) * cosine(end)").Resolve({.steps = 50});
  EXPECT_TRUE(resolved.IsResolved());
  EXPECT_EQ(Values(resolved, 60), Values(2 * Warmup(5) * Cosine(50), 60));
}

TEST(ScheduleTest, ErrorsOfRelativeLengths) {
  EXPECT_THAT(ErrorOf("1 * cosine(150%)"),
              HasSubstr("column 12: cosine: steps = 150% is outside [0%, 100%]"));
  EXPECT_THAT(ErrorOf("warmup(-1ep)"),
              HasSubstr("column 8: warmup: steps = -1ep is outside [0ep, inf)"));
  EXPECT_THAT(ErrorOf("warmup(inf%)"), HasSubstr("column 11: expected , or )"));
  EXPECT_THAT(ErrorOf("multistep([3, 101%])"),
              HasSubstr("column 11: multistep: milestones = 101% is outside [0%, 100%]"));
  EXPECT_EQ(ErrorOf("multistep([3ep, 4, 2ep])"), "no error");  // the run decides
  EXPECT_THAT(ErrorOf("multistep([3ep, 2ep])"),
              HasSubstr("multistep: milestones: 2ep comes after 3ep"));
  EXPECT_THAT(ErrorOf("cosine(100, 5%)"), HasSubstr("column 13: cosine: last must be a number"));
  EXPECT_THAT(ErrorOf("cosine(100, end)"), HasSubstr("column 13: cosine: last must be a number"));
  EXPECT_THAT(ErrorOf("sgdr(100, cycles = 3ep)"), HasSubstr("cycles must be a number"));
  EXPECT_THAT(ErrorOf("noam(end, 100)"), HasSubstr("noam: width must be a number"));
  EXPECT_THAT(ErrorOf("cosine(ende)"),
              HasSubstr("column 8: cosine: steps must be a number of steps, such as 100, 10%, 3ep "
                        "or end"));
  EXPECT_THAT(ErrorOf("0.5 * 10% * warmup(3)"),
              HasSubstr("column 7: 10% is a number of steps, and only an argument that counts "
                        "steps can be one"));
  EXPECT_THAT(ErrorOf("3ep"), HasSubstr("column 1: 3ep is a number of steps"));
  EXPECT_THAT(ErrorOf("end"), HasSubstr("column 1: unknown schedule \"end\""));
  EXPECT_THAT(ErrorOf("cosine(10% * 2)"), HasSubstr("column 12: expected , or )"));
  EXPECT_THAT(ErrorOf("cosine(10 epochs)"), HasSubstr("column 11: expected , or )"));
  const auto error = [](std::string_view text, const RunLength& run) {
    return testing::ErrorOf([&] { ParseSchedule(text).Resolve(run); });
  };
  EXPECT_EQ(error("0.1 * wsd(end, 20%, 90%)", {.steps = 100}),
            "schedule \"0.1 * wsd(end, 20%, 90%, 0, linear)\" in a run of 100 steps: wsd: warmup + "
            "decay = 110 is more than steps = 100");
  EXPECT_EQ(
      error("warmup(2ep)", {.steps = 1}),
      "schedule \"warmup(2ep)\" in a run of 1 step: how many steps an epoch has is not known");
  EXPECT_EQ(
      error("multistep([3ep, 20])", {.steps = 100, .steps_per_epoch = 10}),
      "schedule \"multistep([3ep, 20], 0.1)\" in a run of 100 steps: multistep: milestones: 20 "
      "comes after 30");
  EXPECT_THAT(error("warmup(1e10ep)", {.steps = 100, .steps_per_epoch = 1e9}),
              HasSubstr("warmup: steps = 1e+19 is outside [0, "));
  EXPECT_THAT(error("warmup(1%)", {}), HasSubstr("the run's steps = 0 is outside [1, "));
  EXPECT_THAT(error("warmup(1%)", {.steps = 9, .steps_per_epoch = -1}),
              HasSubstr("the run's steps_per_epoch = -1 is outside [0, "));
}

TEST(ScheduleTest, MisfitsAreNamed) {
  const auto misfits = [](const Schedule& s, int64_t steps) {
    return ScheduleMisfits(s, {.steps = steps, .steps_per_epoch = 10});
  };
  using ::testing::ElementsAre;
  using ::testing::IsEmpty;
  EXPECT_THAT(misfits(0.002 * Warmup(100) * Cosine(510, 0.05), 85),
              ElementsAre("the warm-up of 100 steps does not end within the run of 85 steps",
                          "the run ends at step 85 of the schedule's 510, at 1 of the peak"));
  EXPECT_THAT(misfits(Warmup(100) * Cosine(1125, 0.05), 22600),
              ElementsAre("the schedule ends at step 1125 of 22600; from there on the value is "
                          "0.051 of the peak"));
  EXPECT_THAT(misfits(3 * Linear(1000), 500),
              ElementsAre("the run ends at step 500 of the schedule's 1000, at 0.5 of the peak"));
  EXPECT_THAT(misfits(Warmup(60), 100), ElementsAre("the warm-up takes 60 of the run's 100 steps"));
  // Within a tenth, either way, all is well, and so is half a run of warm-up.
  for (const int64_t steps : {90, 91, 100, 110, 111}) {
    EXPECT_THAT(misfits(Cosine(100), steps), IsEmpty()) << steps;
  }
  EXPECT_THAT(misfits(Cosine(100), 89), ::testing::SizeIs(1));
  EXPECT_THAT(misfits(Cosine(100), 112), ::testing::SizeIs(1));
  EXPECT_THAT(misfits(Warmup(50), 100), IsEmpty());
  EXPECT_THAT(misfits(Warmup(1), 1), IsEmpty());
  // Every curve that is made for a run, and none that is not.
  for (const Schedule& s :
       {Linear(100, 0.1), Cosine(100), Polynomial(100, 2), Trapezoid(100), Wsd(100, 10, 20),
        OneCycle(100), OneCycleMomentum(100), OneCycle3(100), OneCycle3Momentum(100),
        OneCycleFastai(100), OneCycleFastaiMomentum(100), Then(Warmup(10), 10, Cosine(90)),
        Then(1, 50, Linear(50)), 0.5 * Ramp(30, 0.8, 0.9) * Linear(100, 0.5) * Cosine(20, 0.5)}) {
    EXPECT_THAT(misfits(s, 100), IsEmpty()) << s.Text();
    EXPECT_THAT(misfits(s, 300),
                ElementsAre(::testing::StartsWith("the schedule ends at step 100 of 300; ")))
        << s.Text();
    EXPECT_THAT(
        misfits(s, 80),
        ElementsAre(::testing::StartsWith("the run ends at step 80 of the schedule's 100, at ")))
        << s.Text();
  }
  for (const Schedule& s :
       {Schedule(0.1), CosinePeriodic(10), Sgdr(10), Step(10), MultiStep({10}), Exponential(0.9),
        InverseSqrt(10), Noam(16, 10), Rsqrt(10), Triangular(5, 5), Warmup(10), Ramp(10, 0.8, 0.9),
        Warmup(10) * InverseSqrt(10), Cosine(10) * Step(3), Then(Cosine(20), 10, Step(30)),
        Then(Warmup(10), 10, 0.5), Then(0.1, 5, 0.2)}) {
    EXPECT_THAT(misfits(s, 100), IsEmpty()) << s.Text();
  }
  EXPECT_THAT(misfits(Noam(16, 400), 100),
              ElementsAre(::testing::StartsWith("the warm-up of 400")));
  EXPECT_THAT(misfits(Wsd(100, 60, 20), 100),
              ElementsAre(::testing::StartsWith("the warm-up takes")));
  EXPECT_THAT(misfits(Ramp(300, 0.8, 0.9), 100),
              ElementsAre("the run ends at step 100 of the schedule's 300, at 1 of the peak"));
  EXPECT_THAT(misfits(Then(Warmup(200), 200, Cosine(90)), 100),
              ElementsAre("the warm-up of 200 steps does not end within the run of 100 steps"));
  EXPECT_THAT(misfits(Then(Cosine(200), 200, 1), 100),
              ElementsAre(::testing::StartsWith("the run ends at step 100 of the schedule's 200")));
  EXPECT_THAT(misfits(Then(1, 50, 0 * Cosine(10)), 100), ::testing::SizeIs(1));
  EXPECT_THAT(misfits(0 * Cosine(10), 100),
              ElementsAre(::testing::EndsWith("from there on the value is 0 of the peak")));
  EXPECT_THAT(testing::ErrorOf([&] { misfits(Cosine(10), 0); }),
              HasSubstr("the run's steps = 0 is outside [1, "));
  // What follows the run fits it.
  for (const int64_t steps : {20, 85, 510, 22600}) {
    EXPECT_THAT(misfits(ParseSchedule("2e-3 * warmup(10%) * cosine(end, 0.05)"), steps), IsEmpty());
    EXPECT_THAT(misfits(ParseSchedule("then(warmup(10%), 10%, linear(end))"), steps), IsEmpty());
  }
  EXPECT_THAT(misfits(ParseSchedule("warmup(5ep)"), 100), IsEmpty());
  EXPECT_THAT(misfits(ParseSchedule("warmup(5ep)"), 40), ::testing::SizeIs(1));
}

// A value depends on the step alone: asked for in any order, from any copy, after any text.
TEST(ScheduleTest, ResumesAtAnyStep) {
  for (const Description& d : DescribeSchedules()) {
    const Schedule s = ParseSchedule("0.1 * " + d.example + " * warmup(5)");
    const std::vector<double> values = Values(s, 120);
    const Schedule resumed = ParseSchedule(s.Text());
    for (int64_t i = 119; i >= 0; --i) {
      EXPECT_EQ(resumed(i), values[static_cast<size_t>(i)]) << s.Text() << " at " << i;
    }
  }
}

}  // namespace schedule_test
}  // namespace kudari
