// Memory that runs out: whatever allocation fails, nothing is changed, nothing leaks, and the call
// can be made again as if it had not been made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <new>
#include <optional>
#include <string>

#include "kudari/kudari.h"
#include "tests/support/allocations.h"
#include "tests/support/model.h"
#include "tests/support/rules.h"
#include "tests/support/task.h"

namespace kudari {
namespace failure_test {

using testing::FailingAllocation;
using testing::Model;
using testing::Task;

// A matrix large enough for 8-bit codes, smaller tensors, and one that gets its first gradient
// later.
const Model::Shapes kShapes = {
    {"a.weight", {70, 60}}, {"b.weight", {5, 6}}, {"b.bias", {7}}, {"late.weight", {4, 3}}};
constexpr size_t kLate = 3;

/// Every so many allocations fail: all of them, but under sanitizers, where that takes minutes.
constexpr int64_t kStride = testing::kSanitized ? 29 : 1;

/// All that an optimiser keeps, and bytes beside.
struct State {
  StateTree state;
  std::vector<std::byte> params, viewed;

  friend bool operator==(const State&, const State&) = default;
};

/// An optimiser at work.
struct Run {
  Run(const OptimizerSpec& spec, DType type, const Model::Shapes& shapes = kShapes)
      : task(shapes, type), optimizer(task.model().tensors, spec) {
    optimizer.SetParallel({.threads = 2});
    optimizer.tensors()[kLate].grad = nullptr;
  }

  Task task;
  Optimizer optimizer;
  GradScaler scaler{{.init_scale = 1}};
  std::optional<StateTree> saved;
  std::vector<std::byte> viewed;
  Model added{{{"added.weight", {6, 5}}, {"added.bias", {6}}}, 5};
};

/// Something that is done to it: what comes before, and the call that may fail.
struct Action {
  std::string name;
  std::function<void(Run&)> before, call;
  int64_t stride = 1;  // above 1: it has so many allocations that only some of them fail
};

void Nothing(Run& /*run*/) {}
void Draw(Run& run) { run.task.Draw(); }
void AddTensors(Run& run) {
  run.optimizer.AddTensors(run.added.tensors, {{.match = "added.*", .lr_scale = 3}});
}

std::vector<Action> ActionsFor(const OptimizerSpec& spec, const RuleEntry& rule) {
  const auto step = [](Run& run) { run.optimizer.Step([&run](Pass) { return run.task.Call(); }); };
  const auto release = [](Run& run, size_t i) {
    std::optional<double> norm;
    const OptimizerSpec& spec = run.optimizer.spec();
    if (spec.clip_norm || spec.measure_norm) norm = 1.5;
    run.optimizer.StepTensor(i, norm);
  };
  std::vector<Action> actions = {
      {"first step", Draw, step},
      {"step", Draw, step},
      {"State", Nothing, [](Run& run) { run.saved = run.optimizer.State(); }, 5},
      {"a tensor's first step",
       [](Run& run) {
         run.optimizer.tensors()[kLate].grad = run.task.model().grads[kLate].data();
         run.task.Draw();
       },
       step},
      {"SetSchedule", Nothing,
       [](Run& run) { run.optimizer.SetSchedule(1, "lr", 0.02 * Cosine(50)); }},
      {"step after SetSchedule", Draw, step},
      {"SetLr", Nothing, [](Run& run) { run.optimizer.SetLr(0.015); }},
      {"Evaluation", Nothing,
       [](Run& run) {
         const EvaluationView view = run.optimizer.EvaluationWeights();
         run.viewed = run.task.Bytes();
       }},
      {"LoadState", Nothing, [](Run& run) { run.optimizer.LoadState(*run.saved); }, 5},
      {"step after LoadState", Draw, step},
      {"Refresh", [](Run& run) { run.task.SetWeights(9); },
       [](Run& run) { run.optimizer.Refresh(); }},
      {"step after Refresh", Draw, step},
      {"GradScaler::Step", Draw,
       [](Run& run) { run.scaler.Step(run.optimizer, [&run](Pass) { return run.task.Call(); }); }},
      {"GradScaler::Update", Nothing, [](Run& run) { run.scaler.Update(); }}};
  if (rule.scalar.hessian != nullptr) {
    actions.push_back({"UpdateHessian", Nothing, [](Run& run) { run.optimizer.UpdateHessian(); }});
  }
  if (spec.source == "plain" && spec.accumulate == 1) {
    for (size_t i = 0; i < 2; ++i) {
      actions.push_back({"StepTensor", i == 0 ? Draw : Nothing, [release, i](Run& run) {
                           run.task.Call();
                           release(run, i);
                         }});
    }
    actions.push_back({"FinishStep", Nothing, [](Run& run) { run.optimizer.FinishStep(); }});
    actions.push_back({"step without oracle",
                       [](Run& run) {
                         run.task.Draw();
                         run.task.Call();
                       },
                       [](Run& run) { run.optimizer.Step(); }});
  }
  return actions;
}

/// Does it all, the call of one action with a failing allocation first; returns what came of it,
/// and nothing if that call has fewer allocations.
std::optional<State> Outcome(const OptimizerSpec& spec, DType type, const Model::Shapes& shapes,
                             const std::vector<Action>& actions, size_t failing, int64_t n) {
  Run run(spec, type, shapes);
  for (size_t i = 0; i < actions.size(); ++i) {
    actions[i].before(run);
    if (i == failing) {
      const std::vector<std::byte> params = run.task.Bytes();
      const int64_t steps = run.optimizer.steps();
      bool threw = false, failed = false;
      try {
        const FailingAllocation allocation(n);
        try {
          actions[i].call(run);
        } catch (const std::bad_alloc&) {
          threw = true;
        }
        failed = allocation.failed();
      } catch (...) {
        ADD_FAILURE() << "another exception";
      }
      if (!failed) return std::nullopt;
      EXPECT_TRUE(threw) << actions[i].name << ", allocation " << n;
      EXPECT_EQ(run.optimizer.steps(), steps);
      EXPECT_TRUE(run.task.Bytes() == params) << actions[i].name << ", allocation " << n;
    }
    actions[i].call(run);
  }
  return State{run.optimizer.State(), run.task.Bytes(), run.viewed};
}

void ExpectStrongGuarantee(const OptimizerSpec& spec, DType type,
                           const Model::Shapes& shapes = kShapes) {
  const RuleEntry& rule = Registry::Builtin().Find(spec.rule);
  const std::vector<Action> actions = ActionsFor(spec, rule);
  const auto expected = Outcome(spec, type, shapes, actions, actions.size(), 0);
  ASSERT_TRUE(expected.has_value());
  // The constructor.
  const Task task(shapes, type);
  for (int64_t n = 1;; n += kStride) {
    const auto tensors = const_cast<Task&>(task).model().tensors;
    const int64_t live = testing::LiveAllocations();
    bool failed = false, threw = false;
    {
      const FailingAllocation allocation(n);
      try {
        const Optimizer optimizer(tensors, spec);
      } catch (const std::bad_alloc&) {
        threw = true;
      }
      failed = allocation.failed();
    }
    EXPECT_EQ(testing::LiveAllocations(), live) << "allocation " << n << " of the constructor";
    EXPECT_EQ(threw, failed);
    if (!failed) break;
  }
  int64_t failures = 0;
  for (size_t i = 0; i < actions.size(); ++i) {
    for (int64_t n = 1;; n += kStride * actions[i].stride) {
      const auto outcome = Outcome(spec, type, shapes, actions, i, n);
      if (!outcome) break;
      EXPECT_TRUE(outcome == expected) << actions[i].name << ", allocation " << n;
      ++failures;
    }
  }
  EXPECT_GT(failures, 0);
}

class FailureTest : public ::testing::TestWithParam<RuleEntry> {
 protected:
  static OptimizerSpec Spec() {
    OptimizerSpec spec(GetParam().name);
    spec.options.emplace("lr", 0.01 * Warmup(3));
    if (GetParam().whole != nullptr) spec.fallback = Fallback{};
    return spec;
  }
};

INSTANTIATE_TEST_SUITE_P(Registry, FailureTest, ::testing::ValuesIn(testing::RulesForBuild()),
                         [](const auto& info) { return info.param.name; });

TEST_P(FailureTest, OfTheRule) { ExpectStrongGuarantee(Spec(), DType::kFloat32); }

TEST_P(FailureTest, OfTheRuleWithEverythingAroundIt) {
  OptimizerSpec spec = Spec();
  spec.agc = AdaptiveClip{};
  spec.centralize = true;
  spec.clip_norm = 1.0;
  spec.l2 = 1e-3;
  spec.lookahead = LookaheadSpec{.k = 2, .state = LookaheadState::kPullback};
  spec.ema = EmaSpec{};
  spec.swa = SwaSpec{};
  spec.precision = {
      .rounding = Rounding::kStochastic, .state = StateFormat::kLinear8, .check = true};
  ExpectStrongGuarantee(spec, DType::kBFloat16);
}

TEST(FailureOfStagesTest, Sources) {
  std::vector<std::string> sources = Sharpness::Methods();
  sources.emplace_back("nesterov_lookahead");
  sources.emplace_back("plain");
  for (const std::string& source : sources) {
    for (const int64_t accumulate : {1, 2}) {
      SCOPED_TRACE(source + ", accumulate " + std::to_string(accumulate));
      OptimizerSpec spec = Momentum{.lr = 0.01};
      spec.source = source;
      if (source != "plain" && source != "nesterov_lookahead") {
        spec.sharpness = SharpnessSpec{.rho = 0.1, .k = 2};
      }
      spec.accumulate = accumulate;
      ExpectStrongGuarantee(spec, DType::kFloat32);
    }
  }
  OptimizerSpec spec = Momentum{.lr = 0.01};
  spec.source = "looksam";
  spec.sharpness = SharpnessSpec{
      .rho = 0.1, .k = 2, .random_direction = true, .direction = StateFormat::kBFloat16};
  ExpectStrongGuarantee(spec, DType::kFloat32);
}

TEST(FailureOfStagesTest, LayoutsAndAveragers) {
  for (const Master master :
       {Master::kNone, Master::kFloat32, Master::kSplit8, Master::kSplit16, Master::kKahan}) {
    for (const StateFormat state : {StateFormat::kFloat32, StateFormat::kBFloat16,
                                    StateFormat::kSoftsign8, StateFormat::kDynamic8}) {
      OptimizerSpec spec = AdamW{.lr = 0.01};
      spec.precision = {.master = master, .state = state};
      ExpectStrongGuarantee(spec, DType::kBFloat16);
    }
  }
  OptimizerSpec spec = AdamW{.lr = 0.01};
  spec.lookahead = LookaheadSpec{.k = 2, .state = LookaheadState::kReset};
  ExpectStrongGuarantee(spec, DType::kFloat32);
  spec.measure_norm = true;
  spec.ema = EmaSpec{.warmup = true};
  ExpectStrongGuarantee(spec, DType::kFloat32);
}

// Averagers and sources that are at work take the tensors in, or let them go again.
TEST(FailureOfStagesTest, TensorsAreAdded) {
  std::vector<OptimizerSpec> specs(3, Momentum{.lr = 0.01});
  specs[0].lookahead = LookaheadSpec{.k = 2, .state = LookaheadState::kPullback};
  specs[0].ema = EmaSpec{};
  specs[0].swa = SwaSpec{};
  specs[1].source = "looksam";
  specs[1].sharpness = SharpnessSpec{.k = 2, .decompose_layers = true};
  specs[2].rule = "lamb";
  specs[2].options = {};
  specs[2].layer_decay = 0.9;
  for (OptimizerSpec& spec : specs) {
    spec.groups = {{.match = "a.*", .lr_scale = 2}};
    std::vector<Action> actions = ActionsFor(spec, Registry::Builtin().Find(spec.rule));
    actions.resize(2);  // the first steps
    const Action step = actions[1];
    actions.push_back({"AddTensors", Nothing, AddTensors});
    for (int i = 0; i < 2; ++i) actions.push_back(step);
    const auto expected = Outcome(spec, DType::kFloat32, kShapes, actions, actions.size(), 0);
    ASSERT_TRUE(expected.has_value());
    for (int64_t n = 1;; n += kStride) {
      const auto outcome = Outcome(spec, DType::kFloat32, kShapes, actions, 2, n);
      if (!outcome) break;
      EXPECT_TRUE(outcome == expected) << spec.source << ", allocation " << n;
    }
  }
}

// Two threads, and rules with norms in two passes: what is allocated in a parallel region ends the
// program.
TEST(FailureOfStagesTest, LargeTensors) {
  const Model::Shapes shapes = {
      {"a.weight", {410, 410}}, {"b.weight", {5, 6}}, {"b.bias", {7}}, {"late.weight", {4, 3}}};
  for (const std::string rule : {"lamb", "adamw", "muon"}) {
    OptimizerSpec spec(rule);
    if (rule == "muon") spec.fallback = Fallback{};
    spec.clip_norm = 1.0;
    const std::vector<Action> all = ActionsFor(spec, Registry::Builtin().Find(rule));
    const std::vector<Action> actions(all.begin(), all.begin() + 2);
    const auto expected = Outcome(spec, DType::kFloat32, shapes, actions, actions.size(), 0);
    for (size_t i = 0; i < actions.size(); ++i) {
      for (int64_t n = 1;; n += kStride) {
        const auto outcome = Outcome(spec, DType::kFloat32, shapes, actions, i, n);
        if (!outcome) break;
        EXPECT_TRUE(outcome == expected) << rule << ", " << actions[i].name << ", " << n;
      }
    }
  }
}

}  // namespace failure_test
}  // namespace kudari
