// Parameters that are given other values: what was kept of the former ones starts over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "kudari/kudari.h"
#include "tests/support/model.h"
#include "tests/support/rules.h"
#include "tests/support/task.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace refresh_test {

using testing::Model;
using testing::Task;
using Floats = std::vector<float>;

const Model::Shapes kShapes = {{"a.weight", {70, 60}}, {"b.weight", {30, 5}}, {"b.bias", {7}}};

/// The state that an optimiser is to have after Refresh: made by hand.
StateTree Fresh(StateTree state, Task& task) {
  for (size_t i = 0; i < kShapes.size(); ++i) {
    const auto& [name, shape] = kShapes[i];
    const StateArray weights = StateArray::Of<float>(task.model().params[i], shape);
    const std::string slots = "tensors/" + name + "/slots/";
    if (state.Find(slots + "master") != nullptr) state.Set(slots + "master", weights);
    if (state.Find(slots + "z_minus_y") != nullptr) {
      state.Set(slots + "z_minus_y",
                StateArray::Of<float>(Floats(weights.As<float>().size()), shape));
    }
    if (state.Find(slots + "ax") != nullptr) state.Set(slots + "ax", weights);
    for (const std::string average : {"lookahead", "ema", "swa"}) {
      const std::string averager = "averagers/" + average;
      if (state.Find(averager) == nullptr) continue;
      const std::string tensor = averager + "/tensors/" + name + "/";
      for (const std::string kind : {"slow", "average"}) {
        if (state.Find(tensor + kind) != nullptr) state.Set(tensor + kind, weights);
      }
      if (state.Find(tensor + "momentum") != nullptr) {
        state.Set(tensor + "momentum", state.At(slots + "momentum_buffer"));
      }
      if (state.Find(averager + "/count") != nullptr) state.Set(averager + "/count", int64_t{0});
    }
  }
  if (state.Find("source") != nullptr) {
    state.Erase("source/tensors");
    state.Set("source/has_direction", false);
  }
  return state;
}

/// Trains, gives the parameters other values, and compares an optimiser that was told so with one
/// whose state was made by hand; and says whether the Refresh made a difference.
bool ExpectFresh(const OptimizerSpec& spec, DType type) {
  Task task(kShapes, type);
  Optimizer optimizer(task.model().tensors, spec);
  for (int step = 0; step < 4; ++step) task.Step(optimizer);
  const StateTree former = optimizer.State();
  task.SetWeights(9);
  Task by_hand(kShapes, type), untold(kShapes, type);
  const auto resume = [&](Task& other, const StateTree& state) {
    other.SetWeights(9);
    other.model().random = task.model().random;
    Optimizer resumed(other.model().tensors, spec);
    resumed.LoadState(state);
    // What masters hold may go into the parameters; these are the caller's.
    other.SetWeights(9);
    return resumed;
  };
  Optimizer expected = resume(by_hand, Fresh(former, task));
  Optimizer stale = resume(untold, former);
  optimizer.Refresh();
  EXPECT_TRUE(task.Bytes() == by_hand.Bytes());
  bool differed = false;
  for (int step = 0; step < 7; ++step) {
    task.Step(optimizer);
    by_hand.Step(expected);
    untold.Step(stale);
    EXPECT_TRUE(task.Bytes() == by_hand.Bytes()) << step;
    const EvaluationView a = optimizer.EvaluationWeights(), b = expected.EvaluationWeights(),
                         c = stale.EvaluationWeights();
    EXPECT_TRUE(task.Bytes() == by_hand.Bytes()) << step;
    differed = differed || task.Bytes() != untold.Bytes();
  }
  return differed;
}

class RefreshTest : public ::testing::TestWithParam<RuleEntry> {};

INSTANTIATE_TEST_SUITE_P(Registry, RefreshTest, ::testing::ValuesIn(testing::RulesForBuild()),
                         [](const auto& info) { return info.param.name; });

TEST_P(RefreshTest, RulesAndMastersBeginWithWhatMemoryHolds) {
  OptimizerSpec spec(GetParam().name);
  spec.options.emplace("lr", 0.01 * Warmup(3));
  spec.fallback = Fallback{};
  const auto& kinds = GetParam().slot_kinds;
  const bool offset = std::ranges::find(kinds, SlotKind::kOffset) != kinds.end();
  EXPECT_EQ(ExpectFresh(spec, DType::kFloat32), offset);
  for (const Master master :
       {Master::kFloat32, Master::kSplit8, Master::kSplit16, Master::kKahan}) {
    spec.precision.master = master;
    ExpectFresh(spec, DType::kBFloat16);
  }
}

TEST(RefreshRulesTest, AMeanOfWeightsBeginsWithWhatMemoryHolds) {
  const OptimizerSpec spec = Asgd{.lr = 0.01, .t0 = 0};
  EXPECT_TRUE(ExpectFresh(spec, DType::kFloat32));
  EXPECT_TRUE(ExpectFresh(spec, DType::kBFloat16));
  // Also before the next step.
  Task task(kShapes, DType::kFloat32);
  Optimizer optimizer(task.model().tensors, spec);
  for (int step = 0; step < 4; ++step) task.Step(optimizer);
  task.SetWeights(9);
  optimizer.Refresh();
  const auto given = task.Bytes();
  const EvaluationView view = optimizer.EvaluationWeights();
  EXPECT_TRUE(task.Bytes() == given);
}

TEST(RefreshStagesTest, AveragersBeginWithWhatMemoryHolds) {
  OptimizerSpec plain = Momentum{.lr = 0.01};
  std::vector<OptimizerSpec> specs(6, plain);
  specs[0].lookahead = LookaheadSpec{.k = 3, .state = LookaheadState::kKeep};
  specs[1].lookahead = LookaheadSpec{.k = 3, .state = LookaheadState::kPullback};
  specs[2].ema = EmaSpec{.decay = 0.9};
  specs[3].ema = EmaSpec{.decay = 0.9, .warmup = true};
  specs[4].swa = SwaSpec{.start = 1, .every = 2};
  specs[5].lookahead = LookaheadSpec{.k = 2};
  specs[5].ema = EmaSpec{.decay = 0.5};
  specs[5].swa = SwaSpec{};
  for (size_t i = 0; i < specs.size(); ++i) {
    SCOPED_TRACE(i);
    EXPECT_TRUE(ExpectFresh(specs[i], DType::kFloat32));
    specs[i].precision.master = Master::kSplit16;
    EXPECT_TRUE(ExpectFresh(specs[i], DType::kBFloat16));
  }
}

TEST(RefreshStagesTest, SourcesForgetTheirDirection) {
  for (const std::string& source : Sharpness::Methods()) {
    SCOPED_TRACE(source);
    OptimizerSpec spec = Momentum{.lr = 0.01};
    spec.source = source;
    spec.sharpness = SharpnessSpec{.rho = 0.5, .k = 7};
    const bool reuses = source == "looksam" || source == "look_layersam";
    ExpectFresh(spec, DType::kFloat32);
    // A step that is no multiple of k reuses nothing, so it is a plain one.
    Task task(kShapes, DType::kFloat32);
    Optimizer optimizer(task.model().tensors, spec);
    task.Step(optimizer);
    task.Step(optimizer);
    const auto has_direction = [&] {
      const StateTree source = testing::Part(optimizer.State(), "source");
      return source.Member("has_direction") != nullptr && source.At("has_direction").Bool();
    };
    EXPECT_EQ(has_direction(), reuses);
    optimizer.Refresh();
    EXPECT_FALSE(has_direction());
  }
}

TEST(RefreshStagesTest, BeforeTheFirstStepThereIsNothingToForget) {
  OptimizerSpec spec = Momentum{.lr = 0.01};
  spec.lookahead = LookaheadSpec{.k = 1};
  spec.precision.master = Master::kFloat32;
  Task task(kShapes, DType::kBFloat16), other(kShapes, DType::kBFloat16);
  Optimizer optimizer(task.model().tensors, spec), expected(other.model().tensors, spec);
  optimizer.Refresh();
  for (int step = 0; step < 3; ++step) {
    task.Step(optimizer);
    other.Step(expected);
    EXPECT_TRUE(task.Bytes() == other.Bytes());
  }
}

}  // namespace refresh_test
}  // namespace kudari
