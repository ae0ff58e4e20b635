// Runs made of formulas, in which one thing is wrong and its size and place are known. Whether the
// limits suit real runs is the matter of lab/doctor_suite_test.cc.

#include "kudari/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <utility>

#include "doctor/view.h"
#include "kudari/error.h"
#include "tests/support/random.h"
#include "tests/support/training_run.h"

namespace kudari {
namespace doctor_test {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using testing::FindingsOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kEpoch;
using testing::kSteps;
using testing::Layers;
using ::testing::Not;
using testing::Random;
using ::testing::SizeIs;
using testing::Sound;
using testing::SubjectsOf;
using testing::VerdictsOf;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
TEST(DoctorTest, ComparesTensorsOfLargeModels) {
  constexpr size_t kTensors = 2'000;
  RunLog log = Sound();
  log.layers.clear();
  for (const int64_t step : {100, 110}) {
    LayersLog& layers = log.layers.emplace_back(Layers(step, std::vector<double>(kTensors, 0.1)));
    for (size_t i = 0; i < kTensors; ++i)
      layers.tensors[i].update *= 1 + 0.1 * static_cast<double>(i % 7);
    layers.tensors[777].update = 5 * 0.5;
  }
  const auto found = FindingsOf(log);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].verdict, Verdict::kUpdateRatio);
  EXPECT_THAT(found[0].tensors, ElementsAre("layer777.weight"));
  EXPECT_THAT(found[0].evidence, HasSubstr("up to 128 times as fast"));
}

TEST(DoctorTest, IsSilentOnASoundRun) {
  for (uint64_t seed = 1; seed <= 20; ++seed) EXPECT_THAT(VerdictsOf(Sound(seed)), IsEmpty());
}

TEST(DoctorTest, IsSilentOnNothingAndOnTheFirstSteps) {
  EXPECT_THAT(VerdictsOf({}), IsEmpty());
  for (size_t n = 1; n < 60; ++n) {
    RunLog log = Sound();
    log.steps.resize(n);
    log.evaluations.clear();
    log.layers.resize((n + 9) / 10);
    EXPECT_THAT(VerdictsOf(log), IsEmpty()) << n;
  }
}

TEST(DoctorTest, TheUnitOfTheLossDoesNotMatter) {
  RunLog log = Sound();
  for (size_t i = 200; i < 260; ++i) log.steps[i].loss += 2;
  const auto expected = VerdictsOf(log);
  EXPECT_THAT(expected, ElementsAre(Verdict::kLrTooHigh));
  for (const double unit : {1e-6, 1e6}) {
    RunLog scaled = log;
    for (StepLog& s : scaled.steps) {
      s.loss *= unit;
      s.grad_norm *= unit;
      s.micro_grad_norm *= unit;
    }
    for (EvaluationLog& e : scaled.evaluations) e.loss *= unit;
    for (LayersLog& l : scaled.layers) {
      for (LayerLog& t : l.tensors) t.grad *= unit;
    }
    EXPECT_EQ(VerdictsOf(scaled), expected) << unit;
  }
}

// Such a loss has no scale.
TEST(DoctorTest, OfNegativeLossesOnlyTheirEndIsSeen) {
  RunLog log = Sound();
  for (size_t i = 150; i < 300; ++i) {
    log.steps[i].loss = 0.7 + 0.5 * std::sin(static_cast<double>(i) / 12);
  }
  for (StepLog& s : log.steps) s.loss -= 1;
  log.evaluations.clear();
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
  log.steps[399].loss = kNotMeasured;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDiverged));
  EXPECT_EQ(FindingsOf(log)[0].first_step, 400);
}

TEST(DoctorTest, DivergedToNan) {
  RunLog log = Sound();
  log.steps.resize(150);
  for (size_t i = 140; i < 149; ++i) log.steps[i].loss = std::pow(10.0, i - 139);
  log.steps[149].loss = kNotMeasured;
  log.first_nonfinite = "layer3.weight";
  const auto found = FindingsOf(log);
  ASSERT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDiverged));
  EXPECT_EQ(found[0].first_step, 141);
  EXPECT_EQ(found[0].confidence, 1);
  EXPECT_THAT(found[0].evidence, HasSubstr("was not finite at step 150, first in the gradient of "
                                           "layer3.weight"));
  EXPECT_THAT(found[0].tensors, ElementsAre("layer3.weight"));
  log.steps[149].loss = kInfinity;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDiverged));
}

TEST(DoctorTest, DivergedAndStayedThere) {
  RunLog log = Sound();
  for (size_t i = 100; i < 400; ++i) log.steps[i].loss = i < 120 ? 400 : 2.31;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDiverged));
  EXPECT_EQ(FindingsOf(log)[0].first_step, 101);
}

TEST(DoctorTest, DivergedAfterAFirstStepThatWasSkipped) {
  RunLog log = Sound();
  log.steps[0].loss = kNotMeasured;
  log.steps[0].skipped = true;
  for (size_t i = 340; i < 400; ++i) log.steps[i].loss = 400;
  ASSERT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDiverged));
  EXPECT_THAT(FindingsOf(log)[0].evidence, HasSubstr("rose to 400"));
}

TEST(DoctorTest, LrTooHigh) {
  RunLog log = Sound();
  for (size_t i = 150; i < 300; ++i)
    log.steps[i].loss = 0.7 + 0.5 * std::sin(static_cast<double>(i) / 12);
  const auto found = FindingsOf(log);
  ASSERT_THAT(VerdictsOf(log), ElementsAre(Verdict::kLrTooHigh));
  EXPECT_GT(found[0].confidence, 0.9);
  EXPECT_THAT(found[0].evidence, HasSubstr("the smoothed loss rose from "));
}

// What small batches scatter is no oscillation.
TEST(DoctorTest, NoiseIsNoVerdict) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    RunLog log = Sound(seed);
    Random random(seed);
    for (StepLog& s : log.steps) s.loss *= std::exp(static_cast<double>(random.Float()));
    EXPECT_THAT(VerdictsOf(log), Each(Verdict::kWarmupTooShort)) << seed;
    for (StepLog& s : log.steps) s.loss = 1 + 0.4 * static_cast<double>(random.Float());
    for (const size_t length : {400U, 100U, 50U, 30U}) {
      log.steps.resize(length);
      for (const Finding& f : FindingsOf(log))
        EXPECT_THAT(f.evidence, Not(HasSubstr("up and down"))) << length;
    }
  }
}

// Whatever happens in the first tenth is a matter of warm-up, if training recovers.
TEST(DoctorTest, ARiseAtTheStartIsNoOscillation) {
  RunLog log = Sound();
  for (size_t i = 10; i < 35; ++i) log.steps[i].loss = 3.5;
  for (StepLog& s : log.steps) s.lr = 1e-3;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kWarmupTooShort));
}

TEST(DoctorTest, OneBadStepIsNoVerdict) {
  RunLog log = Sound();
  log.steps[200].loss = 5;
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
}

TEST(DoctorTest, LrTooLow) {
  RunLog log = Sound();
  double sum = 0;
  for (StepLog& s : log.steps) {
    sum += s.lr;
    s.loss = 2.3 - 0.5 * sum + 0.01 * (s.loss - std::floor(s.loss));
  }
  for (EvaluationLog& e : log.evaluations) e.loss = 2.3 - 2e-4 * static_cast<double>(e.step);
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kLrTooLow));
  // A run that is not over may be in its warm-up.
  log.planned_steps = 4 * kSteps;
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
  log.planned_steps = kSteps;
  // Weights that move as they should are held back by something else.
  for (EvaluationLog& e : log.evaluations) e.accuracy = 0.3;
  for (LayersLog& l : log.layers) l = Layers(l.step, {0.1, 0.2, 0.1, 0.2, 0.3, 0.3}, 0.02);
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kUnderfitting));
  // Where the validation loss is far above, more of the model is no cure.
  for (EvaluationLog& e : log.evaluations) e.loss = 4 + 1 / static_cast<double>(e.step);
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
}

// A first batch that happens to be easy makes the next ones look like a jump.
TEST(DoctorTest, WeightsThatHardlyMoveDoNotJump) {
  RunLog log = Sound();
  for (StepLog& s : log.steps) {
    s.loss = 2.3 + 0.1 * std::sin(static_cast<double>(3 * s.step));
    s.lr = 1e-6;
  }
  log.steps[0].loss = 2.05;
  EXPECT_THAT(VerdictsOf(log), Not(Contains(Verdict::kWarmupTooShort))) << "no more than later";
  for (LayersLog& l : log.layers) l = Layers(l.step, {0.1, 0.2, 0.1, 0.2, 0.3, 0.3}, 1e-4);
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kLrTooLow));
}

TEST(DoctorTest, WarmupTooShort) {
  RunLog log = Sound();
  log.steps[6].loss = 4;
  EXPECT_THAT(VerdictsOf(log), IsEmpty()) << "the rate still is low there";
  log.steps[6].lr = kNotMeasured;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kWarmupTooShort)) << "not known to be low";
  for (StepLog& s : log.steps) s.lr = 1e-3 * (1 - static_cast<double>(s.step) / 500);
  const auto found = FindingsOf(log);
  ASSERT_THAT(VerdictsOf(log), ElementsAre(Verdict::kWarmupTooShort));
  EXPECT_EQ(found[0].last_step, 7);
  EXPECT_THAT(found[0].evidence, HasSubstr("the loss jumped to 4, "));
}

TEST(DoctorTest, PlateauAtAHighRateOnly) {
  RunLog log = Sound();
  for (StepLog& s : log.steps) s.lr = 1e-3;
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
  Random random(1);
  for (StepLog& s : log.steps) {
    s.loss = (1.5 + 0.8 * std::exp(-static_cast<double>(s.step) / 30)) *
             (1 + 0.02 * static_cast<double>(random.Float()));
  }
  for (EvaluationLog& e : log.evaluations) {
    e = {.step = e.step, .loss = 1.6 + 0.8 / static_cast<double>(e.step), .accuracy = 0.4};
  }
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kPlateau));
  log.planned_steps = 4 * kSteps;
  EXPECT_THAT(VerdictsOf(log), IsEmpty()) << "there is time for a decay";
  log.planned_steps = kSteps;
  for (StepLog& s : log.steps) s.lr = 1e-3 * (1 - static_cast<double>(s.step - 1) / kSteps);
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kUnderfitting));
  // A loss need not come down to 0: how accurate the model is tells whether this is too high.
  for (EvaluationLog& e : log.evaluations) e.accuracy = 0.9;
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
}

TEST(DoctorTest, ScheduleEndedEarly) {
  RunLog log = Sound();
  for (StepLog& s : log.steps) {
    s.loss += 0.5;
    if (s.step > 150) s.lr = 1e-6;
    if (s.step > 170) s.loss = 0.8 + 0.001 * static_cast<double>(s.step % 7);
  }
  const auto found = FindingsOf(log);
  ASSERT_THAT(VerdictsOf(log), ElementsAre(Verdict::kScheduleEndedEarly));
  EXPECT_EQ(found[0].first_step, 150);
  // One that has learned all there is may rest.
  RunLog learned = log;
  for (StepLog& s : learned.steps) s.loss = s.step > 170 ? s.loss / 10 : s.loss;
  EXPECT_THAT(VerdictsOf(learned), IsEmpty());
  // So may one that goes on learning.
  for (StepLog& s : log.steps) {
    if (s.step > 170) s.loss -= 0.001 * static_cast<double>(s.step - 170);
  }
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
}

TEST(DoctorTest, Overfitting) {
  RunLog log = Sound();
  for (EvaluationLog& e : log.evaluations) {
    if (e.step > 120) e.loss = 0.6 + 0.002 * static_cast<double>(e.step - 120);
  }
  const auto found = FindingsOf(log);
  ASSERT_THAT(VerdictsOf(log), ElementsAre(Verdict::kOverfitting));
  EXPECT_EQ(found[0].first_step, 120);
  // Where the training loss does not fall any more, something else is the matter.
  RunLog stuck = log;
  for (size_t i = 119; i < stuck.steps.size(); ++i) stuck.steps[i].loss = log.steps[119].loss;
  EXPECT_THAT(VerdictsOf(stuck), Not(Contains(Verdict::kOverfitting)));
  // A gap that does not grow is how networks are.
  for (EvaluationLog& e : log.evaluations) e.loss = std::max(e.loss, 0.6);
  for (EvaluationLog& e : log.evaluations) e.loss = std::min(e.loss, 0.62);
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
}

TEST(DoctorTest, DataProblem) {
  RunLog log = Sound();
  for (StepLog& s : log.steps) {
    if (s.step % kEpoch == 7) s.loss *= 6;
  }
  const auto found = FindingsOf(log);
  ASSERT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDataProblem));
  EXPECT_THAT(found[0].evidence, HasSubstr("the loss of batch 7 of 20 is up to "));
  // Where many positions differ, the order of the data is what it is.
  log = Sound();
  for (StepLog& s : log.steps) {
    if (s.step > 100 && s.step % kEpoch < 8) s.loss *= 6;
  }
  EXPECT_THAT(VerdictsOf(log), Not(Contains(Verdict::kDataProblem)));
  // Spikes anywhere are not the data's.
  log = Sound();
  for (StepLog& s : log.steps) {
    if (s.step > 100 && s.step % 19 == 0) s.loss *= 3;
  }
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
}

TEST(DoctorTest, GradientsVanishAndExplode) {
  RunLog log = Sound();
  for (LayersLog& l : log.layers) l = Layers(l.step, {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1});
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kVanishingGradients));
  for (LayersLog& l : log.layers) l = Layers(l.step, {900, 90, 9, 1, 0.1, 0.01});
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kExplodingGradients));
  for (LayersLog& l : log.layers) l = Layers(l.step, {90, 90, 90, 90, 90, 90});
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kExplodingGradients));
  EXPECT_THAT(FindingsOf(log)[0].evidence, HasSubstr("a change of a layer by 1 %"));
  log = Sound();
  for (LayerLog& t : log.layers[0].tensors) t.grad *= 1000;
  EXPECT_THAT(VerdictsOf(log), IsEmpty()) << "of one step";
  // A tensor without a gradient now and then does not hide its layer.
  for (LayersLog& l : log.layers) {
    l = Layers(l.step, {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1});
    l.tensors.insert(l.tensors.begin(), {.name = "layer0.bias", .weight = 1, .update = 0});
    if (l.step == 1) l.tensors[0].grad = 1e-7;
  }
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kVanishingGradients));
}

TEST(DoctorTest, DeadTensors) {
  for (const double grad : {0.0, kNotMeasured}) {
    RunLog log = Sound();
    for (LayersLog& l : log.layers) l.tensors[2].grad = l.tensors[3].grad = grad;
    const auto found = FindingsOf(log);
    ASSERT_THAT(VerdictsOf(log), ElementsAre(Verdict::kDeadTensors));
    EXPECT_THAT(found[0].tensors, ElementsAre("layer2.weight", "layer3.weight"));
    log.layers[5].tensors[2].grad = log.layers[9].tensors[3].grad = 0.1;
    EXPECT_THAT(VerdictsOf(log), IsEmpty()) << "alive once";
  }
}

TEST(DoctorTest, UpdateRatios) {
  RunLog log = Sound();
  for (LayersLog& l : log.layers) l.tensors[1].update = 2;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kUpdateRatio));
  EXPECT_THAT(FindingsOf(log)[0].tensors, ElementsAre("layer1.weight"));
  log = Sound();
  for (LayersLog& l : log.layers) l.tensors[4].update = 1e-7;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kUpdateRatio));
  EXPECT_THAT(FindingsOf(log)[0].tensors, ElementsAre("layer4.weight"));
  // Of two tensors each is held against the other.
  log = Sound();
  for (LayersLog& l : log.layers) {
    l.tensors.resize(2);
    l.tensors[1].update = 4;
  }
  EXPECT_THAT(FindingsOf(log)[0].tensors, ElementsAre("layer1.weight"));
  // Ten times the others is much, but not much of the tensor.
  for (LayersLog& l : log.layers) l.tensors[1].update = 10 * l.tensors[0].update;
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
  // Nor is slow beside very fast ones slow.
  for (LayersLog& l : log.layers) {
    l.tensors[0].update = 2e-4;
    l.tensors[1].update = 2;
  }
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kUpdateRatio));
  EXPECT_THAT(FindingsOf(log)[0].tensors, ElementsAre("layer1.weight")) << "only the fast one";
  EXPECT_EQ(FindingsOf(log).size(), 1u);
}

TEST(DoctorTest, TrustRatioPinned) {
  RunLog log = Sound();
  for (LayersLog& l : log.layers) {
    for (LayerLog& t : l.tensors) {
      t.trust = 1;
      t.pinned = true;
    }
  }
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kTrustRatioPinned));
  for (LayersLog& l : log.layers) l.tensors[0].pinned = l.tensors[1].pinned = false;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kTrustRatioPinned));
  EXPECT_EQ(FindingsOf(log)[0].tensors.size(), 4u);
  for (LayersLog& l : log.layers) l.tensors[2].pinned = l.tensors[3].pinned = l.step % 20 == 1;
  EXPECT_THAT(VerdictsOf(log), IsEmpty()) << "two of six, and two every other time";
}

TEST(DoctorTest, AccumulationSum) {
  RunLog log = Sound();
  for (StepLog& s : log.steps) s.micro_grad_norm = s.grad_norm / 2.4;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kAccumulationSum));
  EXPECT_THAT(FindingsOf(log)[0].evidence, HasSubstr("is 2.4 times as long"));
  for (StepLog& s : log.steps) {
    s.skipped = s.step % 3 > 0;
    if (!s.skipped) s.micro_grad_norm = 1.2 * s.grad_norm;
  }
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kLossScaleThrash)) << "those were not taken";
}

TEST(DoctorTest, TheSurestIsFirst) {
  RunLog log = Sound();
  for (StepLog& s : log.steps) s.micro_grad_norm = s.grad_norm / 1.4;
  for (EvaluationLog& e : log.evaluations) {
    if (e.step > 120) e.loss = 0.6 + 0.004 * static_cast<double>(e.step - 120);
  }
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kOverfitting, Verdict::kAccumulationSum));
  for (StepLog& s : log.steps) s.micro_grad_norm = s.grad_norm / 3;
  for (EvaluationLog& e : log.evaluations) e.loss = std::min(e.loss, 0.75);
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kAccumulationSum, Verdict::kOverfitting));
}

TEST(DoctorTest, LossScaleThrash) {
  RunLog log = Sound();
  for (size_t i = 0; i < 22; ++i) log.steps[i].skipped = true;
  EXPECT_THAT(VerdictsOf(log), IsEmpty()) << "how a dynamic scale begins";
  for (StepLog& s : log.steps) s.skipped = s.skipped || s.step % 8 == 0;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kLossScaleThrash));
}

TEST(DoctorTest, UpdatesLost) {
  RunLog log = Sound();
  for (StepLog& s : log.steps) s.lost = s.step > 190 ? 0.95 : 0.1;
  EXPECT_THAT(VerdictsOf(log), IsEmpty()) << "only where the rate is low anyway";
  for (StepLog& s : log.steps) s.lost = 0.8;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kUpdatesLost));
}

// Whatever a log lacks, what needs it is not judged, and nothing else changes.
TEST(DoctorTest, JudgesOnlyWhatIsThere) {
  RunLog log = Sound();
  for (StepLog& s : log.steps) s = {.step = s.step, .loss = s.loss};
  log.evaluations.clear();
  log.layers.clear();
  log.steps_per_epoch = log.planned_steps = 0;
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
  for (size_t i = 150; i < 300; ++i)
    log.steps[i].loss = 0.7 + 0.5 * std::sin(static_cast<double>(i) / 12);
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kLrTooHigh));
}

/// numpy's RandomState: np.random.seed(seed) and np.random.randn().
class NumpyRandom {
 public:
  explicit NumpyRandom(uint32_t seed) : engine_(seed) {}

  double Uniform() {
    const auto high = static_cast<double>(engine_() >> 5U),
               low = static_cast<double>(engine_() >> 6U);
    return (high * 0x1p26 + low) * 0x1p-53;
  }

  double Normal() {
    if (kept_) return std::exchange(kept_, std::nullopt).value();
    double x = 0, y = 0, square = 0;
    while (square >= 1 || square == 0) {
      x = 2 * Uniform() - 1;
      y = 2 * Uniform() - 1;
      square = x * x + y * y;
    }
    const double factor = std::sqrt(-2 * std::log(square) / square);
    kept_ = factor * x;
    return factor * y;
  }

 private:
  std::mt19937 engine_;
  std::optional<double> kept_;
};

/// The loss curves of Optimizer Selection Guide and Best Practices (notebook 116), section 4, by
/// its formulas and in its order; with seed 42 they are those of its figure. Only losses are known.
struct GuideCurves {
  explicit GuideCurves(uint32_t seed) {
    NumpyRandom random(seed);
    const auto curve = [&](double noise, const auto& loss) {
      std::vector<double> values;
      for (int epoch = 0; epoch < 100; ++epoch) {
        values.push_back(loss(epoch) + noise * random.Normal());
      }
      return values;
    };
    const auto run = [](const std::vector<double>& train, const std::vector<double>& validation) {
      RunLog log;
      for (size_t i = 0; i < train.size(); ++i) {
        const auto step = static_cast<int64_t>(i + 1);
        log.steps.push_back({.step = step, .loss = train[i]});
        if (!validation.empty()) log.evaluations.push_back({.step = step, .loss = validation[i]});
      }
      return log;
    };
    const auto slow_train = curve(0.05, [](double e) { return 2.5 - 0.005 * e; });
    const auto slow_validation = curve(0.08, [](double e) { return 2.5 - 0.004 * e; });
    slow = run(slow_train, slow_validation);
    swinging = run(curve(0.3, [](double e) { return 2 + 0.5 * std::sin(0.5 * e); }), {});
    const auto over_train = curve(0.02, [](double e) { return 2 * std::exp(-0.05 * e) + 0.1; });
    const auto over_validation =
        curve(0.05, [](double e) { return 2 * std::exp(-0.03 * e) + 0.3 + 0.01 * e; });
    overfitted = run(over_train, over_validation);
    const auto good_train = curve(0.02, [](double e) { return 2 * std::exp(-0.04 * e) + 0.1; });
    const auto good_validation =
        curve(0.03, [](double e) { return 2 * std::exp(-0.035 * e) + 0.15; });
    good = run(good_train, good_validation);
  }

  RunLog slow, swinging, overfitted, good;
};

TEST(DoctorTest, CurvesOfTheGuide) {
  EXPECT_NEAR(GuideCurves(42).slow.steps[0].loss, 2.5 + 0.05 * 0.49671415, 1e-9) << "as numpy's";
  for (uint32_t seed = 42; seed < 62; ++seed) {
    const GuideCurves curves(seed);
    EXPECT_THAT(VerdictsOf(curves.slow), ElementsAre(Verdict::kLrTooLow)) << seed;
    EXPECT_THAT(VerdictsOf(curves.swinging), ElementsAre(Verdict::kLrTooHigh)) << seed;
    EXPECT_THAT(VerdictsOf(curves.overfitted), ElementsAre(Verdict::kOverfitting)) << seed;
    EXPECT_THAT(VerdictsOf(curves.good), IsEmpty()) << seed;
  }
  const auto found = FindingsOf(GuideCurves(42).swinging);
  EXPECT_THAT(found[0].evidence, HasSubstr("the loss went up and down 8 times, each time by "));
}

// Stochastic gradient descent by single samples, as in section 5.5.2 of the chapter on gradient
// descent ("theta = theta - learning_rate * grad"): two classes of points that overlap, and the
// loss of each sample before its step. A sound run, of which the noise is the only thing to see.
RunLog OneSampleAtATime(uint32_t seed, double lr, double distance) {
  NumpyRandom random(seed);
  RunLog log;
  std::array<double, 3> theta = {0.01 * random.Normal(), 0.01 * random.Normal(), 0};
  for (int64_t step = 1; step <= 2000; ++step) {
    const double label = random.Uniform() < 0.5 ? -1 : 1;
    const std::array x = {distance / 2 * label + random.Normal(), random.Normal(), 1.0};
    const double margin = label * std::inner_product(x.begin(), x.end(), theta.begin(), 0.0);
    log.steps.push_back({.step = step, .loss = std::log1p(std::exp(-margin))});
    for (size_t k = 0; k < x.size(); ++k) theta[k] += lr * label * x[k] / (1 + std::exp(margin));
  }
  return log;
}

TEST(DoctorTest, NoiseOfSingleSamplesIsNoJump) {
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    for (const double lr : {0.03, 0.1, 0.3}) {
      EXPECT_THAT(VerdictsOf(OneSampleAtATime(seed, lr, 3)), IsEmpty()) << seed << " " << lr;
      // Classes that overlap more soon leave nothing to learn, which may be said.
      EXPECT_THAT(VerdictsOf(OneSampleAtATime(seed, lr, 2)), Each(Verdict::kPlateau))
          << seed << " " << lr;
    }
  }
}

// Of many losses the highest is far from the first without a jump.
TEST(DoctorTest, NoiseOfALongRunIsNoJump) {
  Random random(1);
  RunLog log;
  for (int64_t s = 1; s <= 60'000; ++s) {
    const double level = 2 * std::exp(-static_cast<double>(s) / 12'000) + 0.1;
    log.steps.push_back(
        {.step = s, .loss = level * (1 + 0.15 * static_cast<double>(random.Float()))});
  }
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
  for (size_t i = 500; i < 600; ++i) log.steps[i].loss *= 1.5;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kWarmupTooShort));
}

// Epochs and schedules repeat themselves.
TEST(DoctorTest, WavesOfDataAndScheduleAreNoVerdict) {
  RunLog log = Sound();
  for (StepLog& s : log.steps) {
    s.loss = 2 + 0.3 * std::sin(2 * M_PI * static_cast<double>(s.step) / kEpoch);
    s.lr = 1e-3;
  }
  for (EvaluationLog& e : log.evaluations) e.loss = 2;
  EXPECT_THAT(VerdictsOf(log), Not(Contains(Verdict::kLrTooHigh)));
  log.steps_per_epoch = 0;
  EXPECT_THAT(VerdictsOf(log), ElementsAre(Verdict::kLrTooHigh));
  for (StepLog& s : log.steps)
    s.lr *= 2 + std::sin(2 * M_PI * static_cast<double>(s.step) / kEpoch);
  EXPECT_THAT(VerdictsOf(log), Not(Contains(Verdict::kLrTooHigh)));
}

// The loss follows the rate where a schedule begins again.
TEST(DoctorTest, RestartsOfTheScheduleAreNoVerdict) {
  RunLog log = Sound();
  for (StepLog& s : log.steps) {
    const double cycle = std::fmod(static_cast<double>(s.step - 1), 100) / 100;
    s.lr = 1e-3 * (1 + std::cos(M_PI * cycle)) / 2;
    s.loss += 500 * s.lr;
  }
  for (EvaluationLog& e : log.evaluations) e.loss += 0.5;
  EXPECT_THAT(VerdictsOf(log), IsEmpty());
  for (StepLog& s : log.steps) s.lr = kNotMeasured;
  EXPECT_THAT(VerdictsOf(log), Contains(Verdict::kLrTooHigh)) << "as far as can be known";
}

// What a finding says of rates, it has from the log.
TEST(DoctorTest, OfRatesThatAreNotThereNothingIsSaid) {
  RunLog jump = Sound(), flat = Sound();
  for (StepLog& s : jump.steps) s.lr = 1e-3;
  for (StepLog& s : flat.steps)
    s = {.step = s.step, .loss = 1 + std::exp(-0.02 * static_cast<double>(s.step)), .lr = 1e-3};
  jump.steps[6].loss = 4;
  flat.evaluations.clear();
  for (RunLog* log : {&jump, &flat}) {
    ASSERT_THAT(FindingsOf(*log), SizeIs(1));
    const Verdict verdict = FindingsOf(*log)[0].verdict;
    EXPECT_THAT(FindingsOf(*log)[0].evidence, HasSubstr("learning rate"));
    for (StepLog& s : log->steps) s.lr = kNotMeasured;
    EXPECT_THAT(SubjectsOf(Diagnose(*log).not_judged), Contains("lr"));
    if (verdict == Verdict::kPlateau) {
      EXPECT_THAT(VerdictsOf(*log), IsEmpty()) << "it may be the end of training";
      continue;
    }
    ASSERT_THAT(VerdictsOf(*log), ElementsAre(verdict));
    EXPECT_THAT(FindingsOf(*log)[0].evidence, Not(HasSubstr("rate")));
  }
}

// Numbers of any kind, in any place, give findings with sound numbers or none.
TEST(DoctorTest, SurvivesAnything) {
  Random random(5);
  const std::vector<double> odd = {kNotMeasured, kInfinity, -kInfinity, 0, -1, 1e300, 1e-300, 1};
  const auto pick = [&] {
    return odd[static_cast<size_t>(std::abs(random.Float()) * 1e6F) % odd.size()];
  };
  for (int trial = 0; trial < 300; ++trial) {
    RunLog log = Sound(static_cast<uint64_t>(trial));
    const auto chance = [&] {
      return std::abs(random.Float()) < 0.01F * static_cast<float>(trial);
    };
    for (StepLog& s : log.steps) {
      for (double* x : {&s.loss, &s.lr, &s.grad_norm, &s.micro_grad_norm, &s.loss_scale, &s.lost}) {
        if (chance()) *x = pick();
      }
      s.skipped = chance();
    }
    for (EvaluationLog& e : log.evaluations) {
      if (chance()) e.loss = pick();
    }
    for (LayersLog& l : log.layers) {
      for (LayerLog& t : l.tensors) {
        for (double* x : {&t.grad, &t.weight, &t.update, &t.trust}) {
          if (chance()) *x = pick();
        }
      }
    }
    for (const Finding& f : FindingsOf(log)) {
      EXPECT_GT(f.confidence, 0) << f.evidence;
      EXPECT_LE(f.confidence, 1) << f.evidence;
      EXPECT_LE(f.first_step, f.last_step) << f.evidence;
      EXPECT_GE(f.first_step, 1) << f.evidence;
      EXPECT_LE(f.last_step, kSteps) << f.evidence;
      EXPECT_FALSE(f.evidence.empty());
    }
  }
}

TEST(DoctorTest, EveryVerdictIsDescribedOnce) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < Verdicts().size(); ++i) {
    const VerdictInfo& v = Verdicts()[i];
    EXPECT_EQ(static_cast<size_t>(v.verdict), i);
    EXPECT_TRUE(names.insert(v.name).second);
    EXPECT_EQ(&FindVerdict(v.name), &v);
    for (const auto text : {v.meaning, v.action, v.source, v.needs}) EXPECT_FALSE(text.empty());
  }
  EXPECT_THROW(FindVerdict("lr_too_hihg"), Error);
  try {
    FindVerdict("lr_too_hihg");
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "unknown verdict \"lr_too_hihg\"; did you mean \"lr_too_high\"?");
  }
}

}  // namespace doctor_test
}  // namespace kudari
