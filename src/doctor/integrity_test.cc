// Logs made of formulas that are more, or less, than one sound run: what is seen, and what is
// judged.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "kudari/doctor.h"
#include "tests/support/log_columns.h"
#include "tests/support/random.h"
#include "tests/support/training_run.h"

namespace kudari {
namespace integrity_test {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::FindingsOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kSteps;
using testing::LossesOf;
using ::testing::Not;
using testing::Random;
using testing::Sound;
using testing::SubjectsOf;
using testing::VerdictsOf;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(IntegrityTest, OfSeveralRunsTheLongestIsJudged) {
  RunLog log = Sound(), other = Sound(2);
  other.steps.resize(300);
  for (StepLog& s : other.steps) s.loss = s.step < 100 ? s.loss : 400;
  log.steps.insert(log.steps.begin(), other.steps.begin(), other.steps.end());
  const std::vector<EvaluationLog> evaluations = log.evaluations;
  log.evaluations.insert(log.evaluations.begin(), evaluations.begin(), evaluations.begin() + 15);
  const Diagnosis diagnosis = Diagnose(log);
  EXPECT_THAT(diagnosis.findings, IsEmpty());
  ASSERT_THAT(SubjectsOf(diagnosis.seen), ElementsAre("several_runs"));
  EXPECT_THAT(diagnosis.seen[0].text, HasSubstr("holds 2 runs"));
  EXPECT_THAT(diagnosis.seen[0].text, HasSubstr("Run 2, of 400 entries"));
  EXPECT_EQ(LossesOf(diagnosis.run), LossesOf(Sound()));
  EXPECT_EQ(diagnosis.run.evaluations.size(), evaluations.size());
}

TEST(IntegrityTest, OfAResumedRunWhatWasDoneLastIsJudged) {
  RunLog log = Sound();
  const std::vector<StepLog> sound = log.steps;
  for (size_t i = 240; i < 300; ++i) log.steps[i].loss = 400;
  log.steps.resize(300);
  log.steps.insert(log.steps.end(), sound.begin() + 200, sound.end());
  const Diagnosis diagnosis = Diagnose(log);
  EXPECT_THAT(diagnosis.findings, IsEmpty());
  ASSERT_THAT(SubjectsOf(diagnosis.seen), ElementsAre("resumed"));
  EXPECT_THAT(diagnosis.seen[0].text, HasSubstr("after step 300 it went back to step 201"));
  EXPECT_EQ(LossesOf(diagnosis.run), LossesOf(Sound()));
  log.steps.push_back(log.steps.back());
  EXPECT_THAT(SubjectsOf(Diagnose(log).seen), ElementsAre("resumed", "repeated_steps"));
}

// Steps of any kind give findings and notes within the run that is judged.
TEST(IntegrityTest, SurvivesAnySteps) {
  Random random(7);
  const auto below = [&](int64_t most) {
    return static_cast<int64_t>(random.Bits() % static_cast<uint64_t>(most));
  };
  for (int trial = 0; trial < 300; ++trial) {
    RunLog log = Sound(static_cast<uint64_t>(trial));
    for (StepLog& s : log.steps) {
      if (below(300) < trial) s.step = 1 + below(500);
      if (below(300) < trial) s.loss = static_cast<double>(below(1000)) / 100 - 1;
    }
    for (EvaluationLog& e : log.evaluations) {
      if (below(300) < trial) e.step = 1 + below(2000);
    }
    const Diagnosis diagnosis = Diagnose(log);
    ASSERT_FALSE(diagnosis.run.steps.empty());
    for (size_t i = 1; i < diagnosis.run.steps.size(); ++i) {
      ASSERT_LT(diagnosis.run.steps[i - 1].step, diagnosis.run.steps[i].step);
    }
    for (size_t i = 1; i < diagnosis.run.evaluations.size(); ++i) {
      ASSERT_LT(diagnosis.run.evaluations[i - 1].step, diagnosis.run.evaluations[i].step);
    }
    for (const Finding& f : diagnosis.findings) {
      EXPECT_GE(f.first_step, 1) << f.evidence;
      EXPECT_LE(f.first_step, f.last_step) << f.evidence;
      EXPECT_LE(f.last_step, 2000) << f.evidence;
    }
    for (const Note& n : diagnosis.seen) EXPECT_FALSE(n.text.empty());
  }
}

TEST(IntegrityTest, Restart) {
  RunLog log = Sound();
  log.evaluations.clear();
  for (StepLog s : Sound(2).steps) {
    s.step += kSteps;
    log.steps.push_back(s);
  }
  log.planned_steps = 2 * kSteps;
  const auto found = FindingsOf(log);
  ASSERT_THAT(VerdictsOf(log), ElementsAre(Verdict::kRestart));
  EXPECT_NEAR(static_cast<double>(found[0].last_step), kSteps + 1, 3);
  // A loss that jumps and does not come down, or comes down in a jump, is something else.
  RunLog diverged = log, block = log;
  for (size_t i = kSteps; i < 2 * kSteps; ++i) diverged.steps[i].loss = 2.3;
  EXPECT_THAT(VerdictsOf(diverged), Contains(Verdict::kDiverged));
  for (size_t i = kSteps; i < 2 * kSteps; ++i) block.steps[i].loss = i < 500 ? 2.3 : 0.06;
  EXPECT_THAT(VerdictsOf(block), Not(Contains(Verdict::kRestart)));
}

TEST(IntegrityTest, AnInfiniteLossThatTrainingSurvivesIsANote) {
  RunLog log = Sound();
  log.steps[200].loss = kInfinity;
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
  ASSERT_THAT(SubjectsOf(Diagnose(log).seen), ElementsAre("nonfinite_losses"));
  EXPECT_THAT(Diagnose(log).seen[0].text, HasSubstr("in 1 of 400 entries, the first at step 201"));
  log.steps.back().loss = kInfinity;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDiverged)) << "the last one";
}

TEST(IntegrityTest, ALossThatDropsToZeroIsNoNumber) {
  RunLog log = Sound();
  log.evaluations.clear();
  for (size_t i = 100; i < log.steps.size(); ++i) log.steps[i].loss = 0;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDiverged));
  EXPECT_EQ(FindingsOf(log)[0].first_step, 101);
  // One that is rounded comes down to 0.
  for (StepLog& s : log.steps) {
    s.loss = std::round(2e4 * std::exp(-static_cast<double>(s.step) / 20)) / 1e4;
  }
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
  EXPECT_THAT(SubjectsOf(Diagnose(log).seen), ElementsAre("zero_losses"));
}

TEST(IntegrityTest, CollapseToChanceIsDivergence) {
  for (const size_t every : {1U, 40U}) {
    RunLog log;
    for (size_t i = 0; i < kSteps; i += every) {
      const double t = static_cast<double>(i) / kSteps;
      log.steps.push_back({.step = static_cast<int64_t>(i + 1),
                           .loss = t < 0.6 ? 2.3 * std::exp(-2 * t) : 2.3 + 1e-4 * t});
    }
    EXPECT_THAT(VerdictsOf(log), Contains(Verdict::kDiverged)) << every;
    EXPECT_THAT(FindingsOf(log)[0].evidence, HasSubstr("is back at 2.3")) << every;
  }
}

TEST(IntegrityTest, WhereTheTrainingLossEndsTheValidationLossIsJudged) {
  RunLog log = Sound();
  log.steps.resize(20);
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
  EXPECT_THAT(SubjectsOf(Diagnose(log).not_judged), Contains("training_loss"));
  for (EvaluationLog& e : log.evaluations) e.loss = e.step < 200 ? e.loss : 50 + 1e-3 * e.loss;
  ASSERT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDiverged));
  EXPECT_THAT(FindingsOf(log)[0].evidence, HasSubstr("the validation loss left "));
  EXPECT_EQ(FindingsOf(log)[0].last_step, kSteps);
}

TEST(IntegrityTest, ValidationLossesThatAreNotFinite) {
  for (const double odd : {kInfinity, kNotMeasured}) {
    RunLog log = Sound();
    for (EvaluationLog& e : log.evaluations) e.loss = odd;
    EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kValNonfinite)) << odd;
    for (size_t i = 2; i < log.evaluations.size(); ++i) log.evaluations[i].loss = 0.2;
    EXPECT_THAT(VerdictsOf(log), IsEmpty()) << "the first two";
  }
  // An evaluation of the accuracy alone has no loss.
  RunLog log = Sound();
  for (EvaluationLog& e : log.evaluations) e = {.step = e.step, .accuracy = 0.9};
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
}

TEST(IntegrityTest, LossesThatTellNothingAreNotJudged) {
  Random random(3);
  RunLog log = Sound();
  log.evaluations.clear();
  log.layers.clear();
  for (StepLog& s : log.steps) s.loss = 400 * s.loss;
  for (size_t i = 200; i < 400; ++i) log.steps[i].loss = 1e6;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDiverged));
  log.unjudgeable = "the log is of reinforcement learning (rollout/ep_rew_mean)";
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
  ASSERT_THAT(SubjectsOf(Diagnose(log).not_judged), ElementsAre("loss"));
  EXPECT_THAT(Diagnose(log).not_judged[0].text, HasSubstr("rollout/ep_rew_mean"));
  // Without names it is told by how the loss rises and scatters.
  log.unjudgeable.clear();
  for (StepLog& s : log.steps) {
    s.loss =
        (1 + 0.05 * static_cast<double>(s.step)) * std::exp(static_cast<double>(random.Float()));
  }
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
  EXPECT_THAT(Diagnose(log).not_judged[0].text, HasSubstr("rises from the start"));
}

TEST(IntegrityTest, SaysWhatItDoesNotJudge) {
  RunLog log = Sound();
  EXPECT_THAT(Diagnose(log).not_judged, IsEmpty());
  for (StepLog& s : log.steps) s.lr = kNotMeasured;
  EXPECT_THAT(SubjectsOf(Diagnose(log).not_judged), ElementsAre("lr"));
  log.steps.resize(12);
  log.evaluations.clear();
  EXPECT_THAT(SubjectsOf(Diagnose(log).not_judged), ElementsAre("rates", "lr", "overfitting"));
  EXPECT_THAT(Diagnose(log).not_judged[0].text, HasSubstr("12 entries"));
  log = Sound();
  for (StepLog& s : log.steps) s.step += 140'000;
  for (EvaluationLog& e : log.evaluations) e.step += 140'000;
  log.planned_steps = 0;
  EXPECT_THAT(SubjectsOf(Diagnose(log).not_judged), ElementsAre("start"));
}

// ---- What is wrong ----

TEST(IntegrityTest, ALossThatIsAlwaysTheSameIsAPlateau) {
  RunLog log;
  for (int64_t s = 1; s <= 100; ++s) {
    log.steps.push_back({.step = s, .loss = s < 40 ? 0.25 + 1.0 / static_cast<double>(s) : 0.25});
  }
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kPlateau));
  EXPECT_THAT(FindingsOf(log)[0].evidence, HasSubstr("from step 40 on the loss is always 0.25"));
  // Converged, with the noise of batches.
  Random random(1);
  for (StepLog& s : log.steps) s.loss *= 1 + 1e-3 * static_cast<double>(random.Float());
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
}

TEST(IntegrityTest, WithoutAGradientNothingIsTrained) {
  RunLog log;
  for (int64_t s = 1; s <= 40; ++s) {
    log.steps.push_back({.step = s, .loss = 0.693, .lr = 1e-3, .grad_norm = 0});
  }
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDeadTensors));
  EXPECT_THAT(SubjectsOf(Diagnose(log).seen), ElementsAre("zero_gradients"));
}

// A loss of 0 beside it is what Hugging Face's Trainer logs for a NaN.
TEST(IntegrityTest, WithoutAFiniteGradientTrainingHasDiverged) {
  RunLog log;
  for (int64_t s = 1; s <= 12; ++s) {
    log.steps.push_back({.step = s, .loss = 0, .lr = 1e-4, .grad_norm = kInfinity});
  }
  ASSERT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDiverged));
  EXPECT_THAT(FindingsOf(log)[0].evidence, HasSubstr("not finite in all of the last 12 entries"));
  EXPECT_THAT(SubjectsOf(Diagnose(log).seen), Contains("nonfinite_gradients"));
  for (StepLog& s : log.steps) s.grad_norm = kNotMeasured;
  EXPECT_THAT(VerdictsOf(log), IsEmpty()) << "not measured";
  log = Sound();
  for (size_t i = 350; i < 400; ++i) {
    log.steps[i].loss = 1.1 + 0.01 * static_cast<double>(i % 3);
    log.steps[i].grad_norm = kInfinity;
  }
  EXPECT_THAT(VerdictsOf(log), Contains(Verdict::kDiverged));
  for (StepLog& s : log.steps) s.skipped = std::isinf(s.grad_norm);
  EXPECT_THAT(VerdictsOf(log), Not(Contains(Verdict::kDiverged)));
  // Where the loss falls the norm is wrong, not the gradient.
  log = Sound();
  for (StepLog& s : log.steps) s.grad_norm = kInfinity;
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
}

TEST(IntegrityTest, ASmallRiseThatGoesOnIsARateThatIsTooHigh) {
  Random random(2);
  RunLog log;
  for (int64_t s = 1; s <= 1000; ++s) {
    log.steps.push_back(
        {.step = s,
         .loss = 3.6 + 1e-4 * static_cast<double>(s) + 0.1 * static_cast<double>(random.Float())});
  }
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kLrTooHigh));
  EXPECT_THAT(FindingsOf(log)[0].evidence, HasSubstr("rises over the whole log"));
  for (StepLog& s : log.steps) s.loss -= 1e-4 * static_cast<double>(s.step);
  EXPECT_THAT(VerdictsOf(log), Not(Contains(Verdict::kLrTooHigh)));
}

TEST(IntegrityTest, ScaleThatFallsAndFallsWithoutRecordsOfSkips) {
  RunLog log = Sound();
  for (StepLog& s : log.steps)
    s.loss_scale = 65536 * std::pow(0.5, static_cast<double>(s.step) / 4);
  EXPECT_THAT(VerdictsOf(log), Contains(Verdict::kLossScaleThrash));
  for (StepLog& s : log.steps) s.loss_scale = std::max(s.loss_scale, 256.0);
  EXPECT_THAT(VerdictsOf(log), IsEmpty()) << "it has found a scale";
}

}  // namespace integrity_test
}  // namespace kudari
