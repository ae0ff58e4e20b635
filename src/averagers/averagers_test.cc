#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kudari/kudari.h"
#include "tests/support/allocations.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace averagers_test {

using nlohmann::json;
using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Model;
using Floats = std::vector<float>;
using Params = std::vector<Floats>;

json Golden() { return json::parse(std::ifstream(KUDARI_SOURCE_DIR "/tests/golden/stages.json")); }

OptimizerSpec Recipe(const std::string& lines) { return ParseRecipe("[optimizer]\n" + lines); }

/// The parameters as a view shows them.
Params Viewed(Optimizer& optimizer, const Model& model) {
  const auto view = optimizer.EvaluationWeights();
  return model.params;
}

void ExpectNear(const Floats& values, const json& expected, double tolerance) {
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_NEAR(values[i], expected[i].get<double>(), tolerance) << i;
  }
}

TEST(AveragersTest, AveragesAreTorchs) {
  const json golden = Golden();
  for (const json& c : golden["averages"]) {
    SCOPED_TRACE(c["recipe"]);
    Model model({{"w", {4}}});
    model.Assign({golden["start"]});
    Optimizer optimizer(model.tensors,
                        Recipe("rule = \"sgd\"\nlr = 0\n" + c["recipe"].get<std::string>() + "\n"));
    for (size_t step = 0; step < golden["weights"].size(); ++step) {
      SCOPED_TRACE(step);
      const Floats weights = golden["weights"][step];
      model.Assign({weights});
      optimizer.Step();
      EXPECT_EQ(model.params[0], weights);
      const Floats viewed = Viewed(optimizer, model)[0];
      if (c["values"][step].is_null()) {
        EXPECT_EQ(viewed, weights);
      } else {
        ExpectNear(viewed, c["values"][step], 2e-7);
      }
    }
  }
}

TEST(AveragersTest, LookaheadIsThePapers) {
  const json golden = Golden();
  for (const json& c : golden["lookahead"]) {
    SCOPED_TRACE(c["recipe"]);
    Model model({{"w", {4}}});
    model.Assign({golden["start"]});
    Optimizer optimizer(model.tensors, Recipe(c["recipe"]));
    for (size_t step = 0; step < golden["gradients"].size(); ++step) {
      SCOPED_TRACE(step);
      model.grads[0] = golden["gradients"][step].get<Floats>();
      optimizer.tensors()[0].grad = model.grads[0].data();
      optimizer.Step();
      ExpectNear(model.params[0], c["steps"][step]["weights"], 1e-6);
      ExpectNear(Viewed(optimizer, model)[0], c["steps"][step]["slow"], 1e-6);
    }
  }
}

TEST(AveragersTest, TheFirstSyncIsOne) {
  Model model({{"w", {1}}});
  model.Assign({{0}});
  model.grads[0] = {-1};
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.lookahead = LookaheadSpec{.k = 2, .alpha = 0.25};
  Optimizer optimizer(model.tensors, spec);
  Floats seen;
  for (int step = 0; step < 5; ++step) {
    optimizer.Step();
    seen.push_back(model.params[0][0]);
  }
  EXPECT_EQ(seen, (Floats{1, 0.5, 1.5, 1, 2}));
}

TEST(AveragersTest, PullbackKeepsACopyOfTheMomentum) {
  // With a gradient of 1 and a momentum of 1 the buffer counts steps: 1, 2 | 3, 4 without pullback.
  Model model({{"w", {1}}, {"v", {1}}});
  for (Floats& g : model.grads) g = {1};
  OptimizerSpec spec = Momentum{.lr = 0.1, .momentum = kBelow1};
  spec.lookahead = LookaheadSpec{.k = 2, .alpha = 0.5, .state = LookaheadState::kPullback};
  spec.groups = {{.match = "v", .rule = "sgd"}};  // it has no momentum to pull
  Optimizer optimizer(model.tensors, spec);
  Floats seen;
  for (int step = 0; step < 6; ++step) {
    optimizer.Step();
    seen.push_back(testing::Buffers(optimizer, 0)[0].values[0]);
  }
  EXPECT_EQ(seen, (Floats{1, 1, 2, 2, 3, 3}));  // 2 -> (0 + 2) / 2, 3 -> (1 + 3) / 2, ...
}

TEST(AveragersTest, ResetForgetsTheState) {
  Model model({{"w", {8}}});
  OptimizerSpec spec = Adam{};
  spec.lookahead = LookaheadSpec{.k = 3, .state = LookaheadState::kReset};
  Optimizer optimizer(model.tensors, spec);
  for (int64_t step = 1; step <= 7; ++step) {
    optimizer.Step();
    EXPECT_EQ(testing::Updates(optimizer, 0), step % 3);
    EXPECT_EQ(testing::Buffers(optimizer, 0)[0].values == Floats(8), step % 3 == 0);
  }
  EXPECT_EQ(optimizer.steps(), 7);
}

TEST(AveragersTest, AConstantIsItsOwnAverageBitForBit) {
  Model model({{"w", {64}}});
  OptimizerSpec spec = Sgd{.lr = 0};
  spec.ema = EmaSpec{.decay = 0.999};
  Optimizer ema(model.tensors, spec);
  spec.ema.reset();
  spec.swa = SwaSpec{};
  Optimizer swa(model.tensors, spec);
  for (int step = 0; step < 1000; ++step) {
    ema.Step();
    swa.Step();
  }
  EXPECT_EQ(Viewed(ema, model), model.params);
  EXPECT_EQ(Viewed(swa, model), model.params);
}

TEST(AveragersTest, AnEmaReachesWhatItFollows) {
  // With decay and 1 - decay rounded to float it would end 1e-5 away.
  Model model({{"w", {1}}});
  model.Assign({{0.75F}});
  OptimizerSpec spec = Sgd{.lr = 0};
  spec.ema = EmaSpec{.decay = 0.999};
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  model.Assign({{0.7500001F}});
  for (int step = 0; step < 30000; ++step) optimizer.Step();
  EXPECT_NEAR(Viewed(optimizer, model)[0][0], 0.7500001, 1.3e-7);
}

TEST(AveragersTest, ADecayOfZeroIsTheParameters) {
  for (const bool warmup : {false, true}) {
    Model model({{"w", {100}}});
    OptimizerSpec spec = AdamW{.lr = 0.1};
    spec.ema = EmaSpec{.decay = 0, .warmup = warmup};
    Optimizer optimizer(model.tensors, spec);
    for (int step = 0; step < 5; ++step) {
      optimizer.Step();
      EXPECT_EQ(Viewed(optimizer, model), model.params);
    }
  }
}

TEST(AveragersTest, AverageFollowsTheSyncedWeights) {
  Model model({{"w", {1}}});
  model.Assign({{0}});
  model.grads[0] = {-1};
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.lookahead = LookaheadSpec{.k = 1, .alpha = 0.5};
  spec.ema = EmaSpec{.decay = 0.5};
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  optimizer.Step();
  EXPECT_EQ(model.params[0][0], 1);
  EXPECT_EQ(Viewed(optimizer, model)[0][0], 0.75);
}

/// Matrices and a vector: rules for matrices get their fallback.
const Model::Shapes kShapes = {{"a.weight", {9, 5}}, {"b.weight", {4, 6}}, {"b.bias", {7}}};

class AveragersOfRuleTest : public ::testing::TestWithParam<RuleEntry> {
 protected:
  static OptimizerSpec Spec() {
    OptimizerSpec spec(GetParam().name);
    spec.options.emplace("lr", 1e-2 * Warmup(3));
    spec.fallback = Fallback{};
    return spec;
  }
};

INSTANTIATE_TEST_SUITE_P(Registry, AveragersOfRuleTest,
                         ::testing::ValuesIn(Registry::Builtin().rules()),
                         [](const auto& info) { return info.param.name; });

TEST_P(AveragersOfRuleTest, LookaheadWithAnAlphaOfOneIsTheRule) {
  for (const int64_t k : {1, 3}) {
    Model plain(kShapes), wrapped(kShapes);
    OptimizerSpec spec = Spec();
    Optimizer a(plain.tensors, spec);
    spec.lookahead = LookaheadSpec{.k = k, .alpha = 1};
    Optimizer b(wrapped.tensors, spec);
    for (int step = 0; step < 10; ++step) {
      plain.NextGradient();
      wrapped.NextGradient();
      a.Step();
      b.Step();
      EXPECT_EQ(plain.params, wrapped.params);
    }
  }
}

TEST_P(AveragersOfRuleTest, LookaheadWithAnAlphaOfZeroReturns) {
  Model plain(kShapes), wrapped(kShapes);
  const Params start = plain.params;
  OptimizerSpec spec = Spec();
  Optimizer a(plain.tensors, spec);
  spec.lookahead = LookaheadSpec{.k = 3, .alpha = 0};
  Optimizer b(wrapped.tensors, spec);
  for (int step = 1; step <= 9; ++step) {
    plain.NextGradient();
    wrapped.NextGradient();
    a.Step();
    b.Step();
    if (step < 3) {
      EXPECT_EQ(plain.params, wrapped.params);
    }
    EXPECT_EQ(wrapped.params == start, step % 3 == 0) << step;
    EXPECT_EQ(Viewed(b, wrapped), start);
  }
}

TEST_P(AveragersOfRuleTest, ResumesWithTheSameBitsAtEveryStep) {
  constexpr int kSteps = 9;
  for (const LookaheadState state :
       {LookaheadState::kKeep, LookaheadState::kReset, LookaheadState::kPullback}) {
    OptimizerSpec spec = Spec();
    spec.lookahead = LookaheadSpec{.k = 2, .alpha = 0.5, .state = state};
    spec.ema = EmaSpec{.decay = 0.9, .warmup = true};
    spec.swa = SwaSpec{.start = 3, .every = 2};
    Model straight(kShapes);
    Optimizer reference(straight.tensors, spec);
    std::vector<Params> params, grads;
    std::vector<StateTree> states;
    for (int step = 0; step < kSteps; ++step) {
      params.push_back(straight.params);
      states.push_back(reference.State());
      straight.NextGradient();
      grads.push_back(straight.grads);
      reference.tensors()[1].grad = step < 3 ? nullptr : straight.grads[1].data();  // comes late
      reference.Step();
    }
    for (size_t from = 0; from < kSteps; ++from) {
      Model model(kShapes);
      model.Assign(params[from]);
      Optimizer resumed(model.tensors, spec);
      resumed.LoadState(states[from]);
      for (size_t step = from; step < kSteps; ++step) {
        model.grads = grads[step];
        for (size_t i = 0; i < model.grads.size(); ++i) {
          resumed.tensors()[i].grad = model.grads[i].data();
        }
        if (step < 3) resumed.tensors()[1].grad = nullptr;
        resumed.Step();
      }
      EXPECT_EQ(model.params, straight.params) << from;
      EXPECT_EQ(testing::Part(resumed.State(), "averagers"),
                testing::Part(reference.State(), "averagers"))
          << from;
      EXPECT_EQ(Viewed(resumed, model), Viewed(reference, straight)) << from;
    }
  }
}

/// All averagers at once.
OptimizerSpec Everything() {
  OptimizerSpec spec = AdamW{.lr = 0.1};
  spec.lookahead = LookaheadSpec{.k = 2, .state = LookaheadState::kPullback};
  spec.ema = EmaSpec{.decay = 0.9};
  spec.swa = SwaSpec{.start = 1, .every = 3};
  return spec;
}

TEST(AveragersTest, ThreadsDoNotMatter) {
  const Model::Shapes shapes = {{"a", {100003}}, {"b", {17}}, {"c", {0}}, {"d", {65536}}};
  Params expected, expected_view;
  StateTree expected_state;
  for (int threads = 1; threads <= 8; ++threads) {
    Model model(shapes);
    Optimizer optimizer(model.tensors, Everything());
    optimizer.SetParallel({.threads = threads});
    for (int step = 0; step < 8; ++step) {
      model.NextGradient();
      optimizer.Step();
    }
    if (threads == 1) {
      expected = model.params;
      expected_view = Viewed(optimizer, model);
      expected_state = testing::Part(optimizer.State(), "averagers");
    }
    EXPECT_EQ(model.params, expected) << threads;
    EXPECT_EQ(Viewed(optimizer, model), expected_view) << threads;
    EXPECT_EQ(testing::Part(optimizer.State(), "averagers"), expected_state) << threads;
  }
}

TEST(AveragersTest, StepsAllocateNothingAfterTheFirst) {
  for (const LookaheadState state : {LookaheadState::kReset, LookaheadState::kPullback}) {
    Model model({{"a", {100000}}, {"b", {300}}});
    OptimizerSpec spec = Everything();
    spec.lookahead->state = state;
    Optimizer optimizer(model.tensors, spec);
    optimizer.SetParallel({.threads = 2});
    optimizer.Step();
    const int64_t before = testing::Allocations();
    for (int step = 0; step < 10; ++step) optimizer.Step();
    EXPECT_EQ(testing::Allocations() - before, 0);
  }
}

TEST(AveragersTest, SkippedStepsAdvanceNothing) {
  Model model({{"a", {10}}, {"b", {3}}}), whole({{"a", {10}}, {"b", {3}}});
  OptimizerSpec spec = Everything();
  spec.nonfinite = NonFinite::kSkip;
  Optimizer interrupted(model.tensors, spec), straight(whole.tensors, spec);
  for (int step = 0; step < 9; ++step) {
    interrupted.Step();
    straight.Step();
    const auto state = testing::Part(interrupted.State(), "averagers");
    const float g = model.grads[1][1];
    model.grads[1][1] = NAN;
    EXPECT_TRUE(interrupted.Step().skipped);
    model.grads[1][1] = g;
    EXPECT_EQ(testing::Part(interrupted.State(), "averagers"), state);
  }
  EXPECT_EQ(model.params, whole.params);
  EXPECT_EQ(testing::Part(interrupted.State(), "averagers"),
            testing::Part(straight.State(), "averagers"));
}

TEST(AveragersTest, OneThatIsAddedLaterStartsThere) {
  Model model({{"w", {1}}});
  model.Assign({{0}});
  model.grads[0] = {-1};
  Optimizer optimizer(model.tensors, Sgd{.lr = 1});
  optimizer.Step();
  optimizer.AddAverager(std::make_unique<Lookahead>(LookaheadSpec{.k = 3, .alpha = 0.5}));
  EXPECT_THAT(optimizer.State().At("averagers/lookahead").Paths(), ElementsAre("started"));
  EXPECT_FALSE(optimizer.State().At("averagers/lookahead/started").Bool());
  EXPECT_EQ(Viewed(optimizer, model)[0][0], 1);
  optimizer.Step();
  EXPECT_EQ(Viewed(optimizer, model)[0][0], 1);  // slow weights: those when it came
  optimizer.Step();
  EXPECT_EQ(model.params[0][0], 2);  // 1 + (3 - 1) / 2
}

TEST(AveragersTest, CountsBeyondWhatAFloatHolds) {
  Model model({{"w", {1}}});
  OptimizerSpec spec = Sgd{.lr = 0};
  spec.swa = SwaSpec{};
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  StateTree state = optimizer.State();
  EXPECT_EQ(state.At("averagers/swa/count").Int(), 1);
  state.Set("averagers/swa/count", (int64_t{1} << 40) + 1);
  optimizer.LoadState(state);
  optimizer.Step();
  EXPECT_EQ(optimizer.State().At("averagers/swa/count").Int(), (int64_t{1} << 40) + 2);
}

TEST(AveragersTest, BadValuesAreNamed) {
  EXPECT_EQ(ErrorOf([] { Lookahead(LookaheadSpec{.k = 0}); }),
            "lookahead.k = 0 is outside [1, ...]");
  EXPECT_EQ(ErrorOf([] { Lookahead(LookaheadSpec{.alpha = -0.5}); }),
            "lookahead.alpha = -0.5 is outside [0, 1]");
  EXPECT_EQ(ErrorOf([] { Lookahead(LookaheadSpec{.alpha = 1.5}); }),
            "lookahead.alpha = 1.5 is outside [0, 1]");
  EXPECT_EQ(ErrorOf([] { Ema(EmaSpec{.decay = 1}); }), "ema.decay = 1 is outside [0, 1)");
  EXPECT_THAT(ErrorOf([] { Ema(EmaSpec{.decay = NAN}); }), HasSubstr("is outside [0, 1)"));
  EXPECT_EQ(ErrorOf([] { Swa(SwaSpec{.start = -1}); }), "swa.start = -1 is outside [0, ...]");
  EXPECT_EQ(ErrorOf([] { Swa(SwaSpec{.every = 0}); }), "swa.every = 0 is outside [1, ...]");
  OptimizerSpec spec = Sgd{};
  spec.lookahead = LookaheadSpec{.k = 0};
  EXPECT_THAT(ErrorOf([&] { Complete(spec); }), HasSubstr("lookahead.k = 0"));
  EXPECT_THAT(ErrorOf([&] { Optimizer({}, spec); }), HasSubstr("lookahead.k = 0"));
}

TEST(AveragersTest, BadStatesAreNamedAndChangeNothing) {
  Model model({{"a", {3}}, {"b", {2}}});
  Optimizer optimizer(model.tensors, Everything());
  optimizer.Step();
  optimizer.Step();
  const StateTree good = optimizer.State();
  const auto load = [&](const auto& change) {
    StateTree state = good;
    // Good parts that must not be taken.
    state.At("averagers/lookahead/tensors/a/slow").Floats()[0] = 5;
    state.At("averagers/ema/tensors/a/average").Floats()[0] = 5;
    change(state);
    std::string error = ErrorOf([&] { optimizer.LoadState(state); });
    EXPECT_EQ(FirstDifference(optimizer.State(), good), "");
    return error;
  };
  const std::string swa = "averagers/swa/", ema = "averagers/ema/";
  EXPECT_EQ(load([&](auto& s) { s.Erase(swa + "tensors/b"); }),
            "state: \"averagers/swa/tensors/b\" is missing");
  EXPECT_EQ(
      load([&](auto& s) { s.Set(swa + "tensors/a/average", StateArray::Of<float>(Floats(4))); }),
      "state: \"averagers/swa/tensors/a/average\" is F32 [4], but must be F32 [3]");
  EXPECT_EQ(load([&](auto& s) { s.Set(swa + "tensors/a/avarage", true); }),
            "state: \"averagers/swa/tensors/a/avarage\" (bool) is unknown");
  EXPECT_EQ(load([](auto& s) { s.Erase("averagers/lookahead/tensors/b/momentum"); }),
            "state: \"averagers/lookahead/tensors/b/momentum\" is missing; it must be F32 [2]");
  EXPECT_EQ(load([&](auto& s) { s.Set(ema + "count", 1.0); }),
            "state: \"averagers/ema/count\" is double, but must be int64");
  EXPECT_EQ(load([&](auto& s) { s.Set(ema + "count", int64_t{-1}); }),
            "state: \"averagers/ema/count\" = -1 is outside [0, 9223372036854775807]");
  EXPECT_EQ(load([](auto& s) { s.Erase("averagers/swa"); }), "state: \"averagers/swa\" is missing");
  EXPECT_EQ(load([](auto& s) { s.Set("averagers/swo", s.At("averagers/swa")); }),
            "state: \"averagers/swo\" (a node) is unknown");

  // One that has not begun stays so if its state is bad.
  Optimizer fresh(model.tensors, Everything());
  const StateTree before = fresh.State();
  StateTree bad = good;
  bad.Erase("averagers/swa/count");
  EXPECT_EQ(ErrorOf([&] { fresh.LoadState(bad); }),
            "state: \"averagers/swa/count\" is missing; it must be int64");
  EXPECT_EQ(FirstDifference(fresh.State(), before), "");
}

}  // namespace averagers_test
}  // namespace kudari
