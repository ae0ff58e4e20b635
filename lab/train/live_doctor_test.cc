#include "lab/train/live_doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kudari/state.h"

namespace kudari::lab {
namespace live_doctor_test {

using ::testing::HasSubstr;

TEST(LiveDoctorTest, GivesEachVerdictOnceAndAllAtTheEnd) {
  LiveDoctor doctor(400, 10);
  int given = 0;
  for (int s = 1; s <= 300; ++s) {
    doctor.Add({.step = s, .loss = 2 * std::exp(-s / 40.0) + 0.01, .lr = 1e-3});
    if (s % 10 != 0) continue;
    doctor.Add(EvaluationLog{.step = s, .loss = s > 100 ? 0.2 + 0.005 * (s - 100) : 2.0 / s});
    for (const Finding& f : doctor.New()) {
      ++given;
      EXPECT_EQ(f.verdict, Verdict::kOverfitting);
      EXPECT_THAT(FindingLine(f), HasSubstr("overfitting ("));
      EXPECT_GT(s, 100);
      EXPECT_LT(s, 250);
    }
  }
  EXPECT_EQ(given, 1);
  ASSERT_EQ(doctor.AtTheEnd().size(), 1u);
  EXPECT_EQ(doctor.AtTheEnd()[0].verdict, Verdict::kOverfitting);
}

// A run that was stopped in its warm-up has learned little, but not because its rate is too low.
TEST(LiveDoctorTest, StoppedIsNotOver) {
  for (const int64_t planned : {100, 1000}) {
    LiveDoctor doctor(planned, 10);
    for (int s = 1; s <= 100; ++s) doctor.Add({.step = s, .loss = 2.3 - 1e-4 * s, .lr = 1e-6});
    const auto found = doctor.AtTheEnd();
    ASSERT_EQ(found.size(), planned == 100 ? 1u : 0u) << planned;
    for (const Finding& f : found) EXPECT_EQ(f.verdict, Verdict::kLrTooLow);
  }
}

// However many layers are measured, some of the whole run are kept.
TEST(LiveDoctorTest, KeepsSomeOfManyLayers) {
  LiveDoctor doctor(0, 10);
  for (int s = 1; s <= 5000; ++s) {
    doctor.Add({.step = s,
                .loss = 2 * std::exp(-s / 400.0) + 0.01,
                .layers = {{.name = "a", .grad = 1, .weight = 1, .update = 0.001},
                           {.name = "b", .grad = 0, .weight = 1, .update = 0.001}}});
  }
  const auto found = doctor.AtTheEnd();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].verdict, Verdict::kDeadTensors);
  EXPECT_EQ(found[0].first_step, 1);
  EXPECT_GT(found[0].last_step, 4900);
  EXPECT_THAT(found[0].evidence, ::testing::ContainsRegex("in all [23][0-9][0-9] steps"));
}

// Up to the limit everything is kept; beyond it an even part, the first step and the last.
TEST(LiveDoctorTest, HistoryIsBounded) {
  constexpr int64_t kMost = History<StepLog>::kMost;
  LiveDoctor doctor(0, 100);
  for (int64_t s = 1; s <= 4 * kMost + 7; ++s) {
    doctor.Add({.step = s, .loss = 2 * std::exp(-static_cast<double>(s) / 1e5) + 0.01, .lr = 1});
    doctor.Add(EvaluationLog{.step = s, .loss = 1});
    const std::vector<StepLog>& steps = doctor.log().steps;
    ASSERT_LE(std::ssize(steps), kMost);
    ASSERT_EQ(steps.back().step, s);
    ASSERT_TRUE(s >= kMost || std::ssize(steps) == s);
    if (s != kMost + 1 && s != 2 * kMost && s != 4 * kMost + 7) continue;
    ASSERT_EQ(steps.front().step, 1);
    const int64_t every = steps[1].step - steps[0].step;
    ASSERT_EQ(every, s < 2 * kMost - 1 ? 2 : s < 4 * kMost - 3 ? 4 : 8);
    for (size_t i = 1; i + 1 < steps.size(); ++i) {
      ASSERT_EQ(steps[i].step - steps[i - 1].step, every) << s;
    }
    ASSERT_LE(steps.back().step - steps[steps.size() - 2].step, every);
  }
  EXPECT_LE(std::ssize(doctor.log().evaluations), kMost);
  EXPECT_EQ(doctor.log().evaluations.back().step, 4 * kMost + 7);
}

// What a long run is found to have is what it has, and when.
TEST(LiveDoctorTest, LongRunsAreStillLookedAt) {
  constexpr int64_t kLong = 3 * static_cast<int64_t>(History<StepLog>::kMost);
  LiveDoctor doctor(2 * kLong, 1000);
  int64_t given = 0;
  for (int64_t s = 1; s <= kLong; ++s) {
    doctor.Add({.step = s, .loss = 2 * std::exp(-static_cast<double>(s) / 4e4) + 0.01, .lr = 1e-3});
    if (s % 1000 != 0) continue;
    const auto late = static_cast<double>(s - 200'000) / 1000;
    doctor.Add(
        EvaluationLog{.step = s, .loss = late > 0 ? 0.2 + 0.005 * late : 0.2 - 0.005 * late});
    if (s < 200'000 || s % 25'000 != 0) continue;
    for (const Finding& f : doctor.New()) {
      EXPECT_EQ(f.verdict, Verdict::kOverfitting);
      if (given == 0) given = s;
    }
  }
  EXPECT_GT(given, 200'000);
  // It ends in a step that no grid would have.
  doctor.Add({.step = kLong + 1, .loss = kNotMeasured, .lr = 1e-3, .first_nonfinite = "a"});
  const std::vector<Finding> found = doctor.AtTheEnd();
  EXPECT_TRUE(
      std::ranges::any_of(found, [](const Finding& f) { return f.verdict == Verdict::kDiverged; }));
}

// One that is saved and loaded anywhere says what one that was not says, and nothing twice.
TEST(LiveDoctorTest, GoesOnFromItsState) {
  constexpr int64_t kSteps = 110'000;
  const auto run = [&](const std::vector<int64_t>& ends) {
    auto doctor = std::make_unique<LiveDoctor>(2 * kSteps, 1000);
    std::string said;
    for (int64_t s = 1; s <= kSteps; ++s) {
      StepRecord record{.step = s,
                        .loss = 2 * std::exp(-static_cast<double>(s) / 1e4) + 0.01,
                        .lr = 1e-3,
                        .grad_norm = s % 7 == 0 ? kNotMeasured : 1,
                        .skipped = s % 9000 == 0};
      if (s % 100 == 1) {
        record.layers = {
            {.name = "b", .grad = 1, .weight = 1, .update = 0.001, .trust = 2, .pinned = true},
            {.name = "a", .grad = 0, .weight = 1, .update = 0.001}};
      }
      doctor->Add(record);
      if (s % 1000 == 0) {
        const auto late = static_cast<double>(s - 40'000) / 1000;
        doctor->Add(EvaluationLog{.step = s, .loss = 0.2 + (late > 0 ? 0.005 : -0.005) * late});
        if (s % 10'000 == 0) {
          for (const Finding& f : doctor->New()) said += FindingLine(f) + "\n";
        }
      }
      if (std::ranges::find(ends, s) == ends.end()) continue;
      const StateTree state = StateOf(*doctor);
      doctor = std::make_unique<LiveDoctor>(2 * kSteps, 1000);
      LoadInto(*doctor, state);
      EXPECT_EQ(FirstDifference(StateOf(*doctor), state), "");
    }
    for (const Finding& f : doctor->AtTheEnd()) said += FindingLine(f) + "\n";
    return std::pair(said, StateOf(*doctor));
  };
  const auto [said, state] = run({});
  const auto [said_again, state_again] = run({1, 70, 60'001, 100'000, 101'777});
  EXPECT_EQ(said_again, said);
  EXPECT_EQ(FirstDifference(state_again, state), "");
  EXPECT_THAT(said, HasSubstr("overfitting"));
  EXPECT_THAT(said, HasSubstr("dead_tensors"));
}

TEST(LiveDoctorTest, NamesTheFirstTensorThatWasNotFinite) {
  LiveDoctor doctor(0, 10);
  doctor.Add({.step = 1, .loss = 2, .lr = 1});
  doctor.Add({.step = 2, .loss = kNotMeasured, .first_nonfinite = "a"});
  doctor.Add({.step = 3, .loss = kNotMeasured, .first_nonfinite = "b"});
  const auto found = doctor.AtTheEnd();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(found[0].tensors, ::testing::ElementsAre("a"));
}

}  // namespace live_doctor_test
}  // namespace kudari::lab
