// States of optimisers as a whole: at every step of combinations of stages they are saved and
// loaded to the bit, and what lenient loading leaves as it was.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <optional>
#include <set>
#include <vector>

#include "kudari/kudari.h"
#include "kudari/state_file.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"
#include "tests/support/rules.h"
#include "tests/support/task.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace state_resume_test {

using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Model;
using testing::Task;

// A matrix large enough for 8-bit codes, a small one, and one that gets its first gradient later.
const Model::Shapes kShapes = {{"a.weight", {64, 66}}, {"b/weight", {5, 6}}, {"late.weight", {7}}};
constexpr size_t kLate = 2;
constexpr int kSteps = 7;

/// An optimiser at work, perhaps under a loss scaler.
struct Training {
  Training(const OptimizerSpec& spec, DType type, bool scaled)
      : task(kShapes, type), optimizer(task.model().tensors, spec) {
    optimizer.SetParallel({.threads = 1});
    if (scaled) scaler.emplace(GradScalerOptions{.init_scale = 8, .growth_interval = 2});
  }

  void Visit(StateVisitor& visitor) {
    visitor.Node("optimizer", optimizer);
    if (scaler) visitor.Node("scaler", *scaler);
  }

  /// The weights of another run, and the gradients that are to come.
  void Follow(Training& other) {
    for (size_t i = 0; i < kShapes.size(); ++i) {
      const Tensor& t = task.model().tensors[i];
      std::memcpy(t.param, other.task.model().tensors[i].param,
                  static_cast<size_t>(t.Size() * Bytes(t.dtype)));
    }
    task.model().random = other.task.model().random;
  }

  void Step(int step) {
    for (size_t i = 0; i < kShapes.size(); ++i) {
      const bool missing = i == kLate && step < 3;
      optimizer.tensors()[i].grad = missing ? nullptr : task.model().grads[i].data();
    }
    task.Draw();
    const Oracle oracle = [&](Pass) {
      const Evaluation e = task.Call();
      if (!scaler) return e;
      for (auto& gradient : task.model().grads) {
        for (float& g : gradient) g *= static_cast<float>(scaler->scale());
        if (step == 4) gradient[0] = std::numeric_limits<float>::infinity();
      }
      return e;
    };
    if (scaler) {
      scaler->Step(optimizer, oracle);
      scaler->Update();
    } else {
      optimizer.Step(oracle);
    }
    if (step == 2) optimizer.SetSchedule(1, "lr", 0.02 * Cosine(50));
  }

  Task task;
  Optimizer optimizer;
  std::optional<GradScaler> scaler;
};

struct Named {
  std::string name;
  std::function<void(OptimizerSpec&)> set;
};

std::vector<Named> Precisions() {
  const auto with = [](const std::string& name, const Precision& p) {
    return Named{name, [p](OptimizerSpec& s) { s.precision = p; }};
  };
  return {with("float32", {}),
          with("split8 linear8", {.master = Master::kSplit8, .state = StateFormat::kLinear8}),
          with("split16 bfloat16", {.master = Master::kSplit16,
                                    .rounding = Rounding::kStochastic,
                                    .seed = 5,
                                    .state = StateFormat::kBFloat16}),
          with("kahan softsign8", {.master = Master::kKahan, .state = StateFormat::kSoftsign8}),
          with("float32 dynamic8", {.master = Master::kFloat32, .state = StateFormat::kDynamic8})};
}

std::vector<Named> Sources(const std::string& rule) {
  std::vector<Named> sources = {{"plain", [](OptimizerSpec&) {}},
                                {"accumulate", [](OptimizerSpec& s) { s.accumulate = 2; }}};
  if (rule == "momentum") {
    sources.push_back(
        {"nesterov_lookahead", [](OptimizerSpec& s) { s.source = "nesterov_lookahead"; }});
  }
  for (const std::string& method : Sharpness::Methods()) {
    sources.push_back({method, [method](OptimizerSpec& s) {
                         s.source = method;
                         s.sharpness = SharpnessSpec{.k = 3};
                         if (method == "look_layersam") {
                           s.sharpness->direction = StateFormat::kBFloat16;
                         }
                       }});
  }
  return sources;
}

std::vector<Named> Averagers() {
  std::vector<Named> averagers = {{"none", [](OptimizerSpec&) {}}};
  for (const LookaheadState state :
       {LookaheadState::kKeep, LookaheadState::kReset, LookaheadState::kPullback}) {
    averagers.push_back(
        {"all " + std::to_string(static_cast<int>(state)), [state](OptimizerSpec& s) {
           s.lookahead = LookaheadSpec{.k = 2, .alpha = 0.5, .state = state};
           s.ema = EmaSpec{.decay = 0.9, .warmup = true};
           s.swa = SwaSpec{.start = 1, .every = 2};
         }});
  }
  return averagers;
}

/// Whether the state of every step, loaded into a fresh run, is the same and goes on with the same
/// bits.
void ExpectResumes(const OptimizerSpec& spec, DType type, bool scaled) {
  Training run(spec, type, scaled);
  for (int step = 0; step < kSteps; ++step) {
    SCOPED_TRACE(step);
    const StateTree state = StateOf(run);
    Training fresh(spec, type, scaled);
    fresh.Follow(run);
    ASSERT_EQ(LoadInto(fresh, state), LoadReport());
    ASSERT_EQ(FirstDifference(StateOf(fresh), state), "");
    run.Step(step);
    fresh.Step(step);
    ASSERT_EQ(FirstDifference(StateOf(fresh), StateOf(run)), "");
    ASSERT_TRUE(fresh.task.Bytes() == run.task.Bytes());
  }
}

class StateResumeTest : public ::testing::TestWithParam<RuleEntry> {};

INSTANTIATE_TEST_SUITE_P(Registry, StateResumeTest, ::testing::ValuesIn(testing::RulesForBuild()),
                         [](const auto& info) { return info.param.name; });

// Of all rules but one a quarter of the combinations, in which each two choices meet.
TEST_P(StateResumeTest, AtEveryStepOfTheCombinations) {
  const std::vector<Named> precisions = Precisions(), sources = Sources(GetParam().name),
                           averagers = Averagers();
  for (size_t i = 0; i < precisions.size() * sources.size() * averagers.size() * 2; ++i) {
    const size_t scaled = i % 2, a = i / 2 % averagers.size();
    const size_t s = i / 2 / averagers.size() % sources.size();
    const size_t p = i / 2 / averagers.size() / sources.size();
    if (GetParam().name != "adamw" && (p + s + a + scaled) % 4 != 0) continue;
    SCOPED_TRACE(precisions[p].name + ", " + sources[s].name + ", " + averagers[a].name +
                 (scaled == 1 ? ", scaled" : ""));
    OptimizerSpec spec(GetParam().name);
    spec.options.emplace("lr", 0.01 * Warmup(3));
    if (GetParam().whole != nullptr) spec.fallback = Fallback{};
    precisions[p].set(spec);
    sources[s].set(spec);
    averagers[a].set(spec);
    const DType type = p == 0 ? DType::kFloat32 : DType::kBFloat16;
    ASSERT_NO_FATAL_FAILURE(ExpectResumes(spec, type, scaled == 1));
  }
}

TEST(StateFilesTest, AFileHasTheWholeState) {
  OptimizerSpec spec("adamw");
  Precisions()[1].set(spec);
  spec.source = "looksam";
  spec.ema = EmaSpec{};
  Training run(spec, DType::kBFloat16, true);
  for (int step = 0; step < kSteps; ++step) run.Step(step);
  const testing::TemporaryFolder folder;
  const std::filesystem::path path = folder / "state.safetensors";
  WriteState(path, StateOf(run));
  EXPECT_EQ(FirstDifference(ReadState(path), StateOf(run)), "");
}

// ---- Schedules ----

TEST(StateSchedulesTest, ReplacedOnesAreStateAndOthersAreTheSpecs) {
  Model model({{"a", {3}}, {"b", {2}}});
  const OptimizerSpec spec = AdamW{.lr = 0.1};
  Optimizer one(model.tensors, spec), other(model.tensors, spec);
  const StateTree original = one.State();
  one.SetSchedule(1, "lr", 0.5 * Cosine(9));
  other.SetSchedule(0, "weight_decay", 0.25);
  const StateTree state = one.State();
  EXPECT_EQ(state.At("tensors/b/schedules/lr").Text(), "0.5 * cosine(9, 0)");
  EXPECT_EQ(state.Find("tensors/a/schedules"), nullptr);
  other.LoadState(state);
  EXPECT_EQ(other.ScheduleOf(1, "lr").Text(), "0.5 * cosine(9, 0)");
  EXPECT_EQ(other.Value(0, "weight_decay"), one.Value(0, "weight_decay"));
  EXPECT_EQ(FirstDifference(other.State(), state), "");
  one.LoadState(original);
  EXPECT_EQ(one.Value(1, "lr"), 0.1);
  EXPECT_EQ(FirstDifference(one.State(), original), "");

  const auto error = [&](const char* option, const StateTree& value) {
    StateTree bad = state;
    bad.Set("step", int64_t{4});
    bad.Set(std::string("tensors/b/schedules/") + option, value);
    std::string text = ErrorOf([&] { other.LoadState(bad); });
    EXPECT_EQ(FirstDifference(other.State(), state), "");
    return text;
  };
  EXPECT_THAT(error("lr", std::string("cosin(9)")),
              ::testing::StartsWith("state: \"tensors/b/schedules/lr\" is not a schedule: "));
  EXPECT_THAT(error("lr", true),
              ::testing::StartsWith("state: \"tensors/b/schedules/lr\" is not a schedule: "));
  EXPECT_EQ(error("lr", std::string("-1")),
            "state: \"tensors/b/schedules\" cannot be used: adamw: lr = -1 is outside [0, inf)");
  EXPECT_EQ(error("lt", std::string("1")), "state: \"tensors/b/schedules/lt\" (string) is unknown");
}

// ---- Lenient loading ----

/// Steps that a fresh optimiser of these tensors has taken.
void Take(Optimizer& optimizer, Model& model, int steps) {
  for (int step = 0; step < steps; ++step) {
    model.NextGradient();
    optimizer.Step();
  }
}

TEST(LenientStateTest, AnAddedAveragerBeginsWhenItIsStepped) {
  const Model::Shapes shapes = {{"w", {3}}};
  Model model(shapes), more(shapes);
  Optimizer without(model.tensors, AdamW{});
  Take(without, model, 3);
  OptimizerSpec spec = AdamW{};
  spec.lookahead = LookaheadSpec{};
  spec.ema = EmaSpec{};
  Optimizer with(more.tensors, spec);
  EXPECT_EQ(ErrorOf([&] { with.LoadState(without.State()); }), "state: \"averagers\" is missing");
  const LoadReport report = with.LoadState(without.State(), LoadMode::kLenient);
  EXPECT_THAT(report.missing, ElementsAre("averagers"));
  EXPECT_THAT(report.unknown, IsEmpty());
  EXPECT_EQ(with.steps(), 3);
  EXPECT_FALSE(with.State().At("averagers/ema/started").Bool());
  EXPECT_EQ(testing::Buffers(with, 0), testing::Buffers(without, 0));
  Take(with, more, 1);
  EXPECT_EQ(with.State().At("averagers/ema/count").Int(), 1);

  // And the other way round.
  const LoadReport back = without.LoadState(with.State(), LoadMode::kLenient);
  EXPECT_THAT(back.unknown, ElementsAre("averagers/ema", "averagers/lookahead"));
  EXPECT_EQ(without.steps(), 4);
}

TEST(LenientStateTest, ATensorThatTheStateLacksKeepsWhatItHas) {
  OptimizerSpec spec("adamw");
  spec.ema = EmaSpec{.decay = 0.5};
  spec.precision.state = StateFormat::kLinear8;
  Model old({{"a", {80, 80}}, {"gone", {2}}}, 3), now({{"new", {70, 70}}, {"a", {80, 80}}}, 4);
  Optimizer before(old.tensors, spec), after(now.tensors, spec);
  Take(before, old, 5);
  Take(after, now, 2);
  const StateTree kept = after.State(), loaded = before.State();
  const LoadReport report = after.LoadState(loaded, LoadMode::kLenient);
  EXPECT_THAT(report.missing, ElementsAre("tensors/new", "averagers/ema/tensors/new"));
  EXPECT_THAT(report.unknown, ElementsAre("tensors/gone", "averagers/ema/tensors/gone"));
  const StateTree state = after.State();
  for (const std::string path : {"tensors/new", "averagers/ema/tensors/new"}) {
    EXPECT_EQ(FirstDifference(state.At(path), kept.At(path)), "") << path;
  }
  for (const std::string path :
       {"step", "tensors/a", "averagers/ema/tensors/a", "averagers/ema/count"}) {
    EXPECT_EQ(FirstDifference(state.At(path), loaded.At(path)), "") << path;
  }
  Take(after, now, 1);
  EXPECT_EQ(testing::Updates(after, 0), 3);
  EXPECT_EQ(testing::Updates(after, 1), 6);
}

TEST(LenientStateTest, ATensorOfAnotherShapeKeepsWhatItHas) {
  OptimizerSpec spec("adamw");
  spec.ema = EmaSpec{.decay = 0.5};
  for (const StateFormat format : {StateFormat::kFloat32, StateFormat::kLinear8}) {
    spec.precision.state = format;
    Model old({{"a", {80, 80}}, {"head", {10, 80}}}, 3),
        now({{"a", {80, 80}}, {"head", {5, 80}}}, 4);
    Optimizer before(old.tensors, spec), after(now.tensors, spec);
    Take(before, old, 5);
    Take(after, now, 2);
    const StateTree kept = after.State(), loaded = before.State();
    EXPECT_THAT(ErrorOf([&] { after.LoadState(loaded); }), HasSubstr("tensors/head/slots/exp_avg"));
    EXPECT_EQ(FirstDifference(after.State(), kept), "");
    const LoadReport report = after.LoadState(loaded, LoadMode::kLenient);
    EXPECT_THAT(report.misshapen,
                ElementsAre("tensors/head/slots/exp_avg", HasSubstr("averagers/ema/tensors/head")));
    EXPECT_THAT(report.missing, IsEmpty());
    EXPECT_THAT(report.unknown, IsEmpty());
    const StateTree state = after.State();
    for (const std::string path : {"tensors/head", "averagers/ema/tensors/head"}) {
      EXPECT_EQ(FirstDifference(state.At(path), kept.At(path)), "") << path;
    }
    for (const std::string path : {"tensors/a", "averagers/ema/tensors/a"}) {
      EXPECT_EQ(FirstDifference(state.At(path), loaded.At(path)), "") << path;
    }
    Take(after, now, 1);
    EXPECT_EQ(testing::Updates(after, 0), 6);
    EXPECT_EQ(testing::Updates(after, 1), 3);
  }
}

TEST(LenientStateTest, HalfATensorIsAnError) {
  Model model({{"a", {3}}});
  Optimizer optimizer(model.tensors, AdamW{});
  Take(optimizer, model, 1);
  const StateTree good = optimizer.State();
  StateTree bad = good;
  bad.Set("step", int64_t{9});
  bad.Erase("tensors/a/slots/exp_avg");
  EXPECT_EQ(ErrorOf([&] { optimizer.LoadState(bad, LoadMode::kLenient); }),
            "state: \"tensors/a/slots/exp_avg\" is missing; it must be F32 [3]");
  EXPECT_EQ(FirstDifference(optimizer.State(), good), "");
}

// Whoever has threads of their own sees no others, and as many of them as there are give the same.
TEST(StateCopyTest, LargeArraysAreCopiedByTheThreadsOfTheOptimizer) {
  const std::vector<int64_t> shape = {1024, 1025};  // of more than 4 MiB
  Model model(Model::Shapes{{"w", shape}});
  OptimizerSpec spec = AdamW{};
  spec.ema = EmaSpec{};
  Optimizer optimizer(model.tensors, spec);
  optimizer.SetParallel({.threads = 1});
  optimizer.Step();
  const StateTree expected = optimizer.State();
  std::set<int> parts;
  int calls = 0;
  optimizer.SetParallel({.threads = 3, .run = [&](int n, const std::function<void(int)>& f) {
                           ++calls;
                           for (int i = n; i-- > 0;) f(i);
                           parts.insert(n);
                         }});
  EXPECT_EQ(FirstDifference(optimizer.State(), expected), "");
  EXPECT_EQ(calls, 3);  // two moments and the average
  EXPECT_EQ(parts, std::set<int>{3});
}

}  // namespace state_resume_test
}  // namespace kudari
