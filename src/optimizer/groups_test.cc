// Groups: which tensors they have, factors on the learning rate, layer-wise decay, freezing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "kudari/kudari.h"
#include "tests/support/allocations.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace groups_test {

using nlohmann::json;
using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Model;
using Floats = std::vector<float>;
using Params = std::vector<Floats>;

const Model::Shapes kShapes = {{"emb.weight", {6, 4}}, {"h.0.fc.weight", {5, 4}},
                               {"h.0.fc.bias", {5}},   {"h.1.fc.weight", {4, 5}},
                               {"norm.weight", {4}},   {"head.weight", {3, 4}}};

std::vector<int> GroupsOf(const std::vector<Tensor>& tensors, const OptimizerSpec& spec) {
  std::vector<int> groups;
  for (const TensorPlan& p : Optimizer(tensors, spec).Plan()) groups.push_back(p.group);
  return groups;
}

TEST(GroupTest, AllThatItSaysMustFit) {
  Model model(kShapes);
  std::vector<Tensor> tensors = model.tensors;
  tensors[0].modules = {"Embedding", "Linear"};
  for (const size_t i : {1U, 2U, 3U, 5U}) tensors[i].modules = {"Linear"};
  tensors[4].modules = {"LayerNorm"};
  tensors[5].aliases = {"tied.7.weight"};
  const auto of = [&](const Group& group) {
    OptimizerSpec spec = Sgd{};
    spec.groups = {group};
    return GroupsOf(tensors, spec);
  };
  EXPECT_THAT(of({.match_regex = "^h\\.[01]\\."}), ElementsAre(-1, 0, 0, 0, -1, -1));
  EXPECT_THAT(of({.match_regex = "weight"}), ElementsAre(0, 0, -1, 0, 0, 0));
  EXPECT_THAT(of({.match_regex = "\\.\\d\\.weight$"}), ElementsAre(-1, -1, -1, -1, -1, 0));
  EXPECT_THAT(of({.match = "h.*", .match_regex = "s$"}), ElementsAre(-1, -1, 0, -1, -1, -1));
  // One of the names must fit both.
  EXPECT_THAT(ErrorOf([&] { of({.match = "head.*", .match_regex = "^tied"}); }),
              HasSubstr("group 0 (match = \"head.*\", match_regex = \"^tied\") matches no tensor"));
  EXPECT_THAT(of({.modules = {"Linear"}}), ElementsAre(0, 0, 0, 0, -1, 0));
  EXPECT_THAT(of({.modules = {"*Norm", "Embedding"}}), ElementsAre(0, -1, -1, -1, 0, -1));
  EXPECT_THAT(of({.classes = {TensorClass::kBias}, .modules = {"Linear"}}),
              ElementsAre(-1, -1, 0, -1, -1, -1));
  EXPECT_EQ(ErrorOf([&] { of({.modules = {"LayrNorm"}}); }),
            "group 0 (modules = [\"LayrNorm\"]) matches no tensor; did you mean \"LayerNorm\"?");
  EXPECT_EQ(ErrorOf([&] { of({.match_regex = "(h"}); }),
            "group \"*\": match_regex: regular expression \"(h\", column 1: \"(\" without \")\"");
}

TEST(GroupTest, TheLastOneThatMatchesAppliesWholly) {
  Model model(kShapes);
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.groups = {{.match = "h.*", .options = {{"lr", 0.5}}, .lr_scale = 0.5, .frozen = true},
                 {.match = "h.1.*", .lr_scale = 0.25}};
  const std::vector<TensorPlan> plan = Optimizer(model.tensors, spec).Plan();
  EXPECT_EQ(plan[1].lr_scale, 0.5);
  EXPECT_EQ(plan[1].options[0].second, 0.25);
  EXPECT_GT(plan[1].frozen_until, 1e18);
  EXPECT_EQ(plan[3].lr_scale, 0.25);
  EXPECT_EQ(plan[3].options[0].second, 0.25);
  EXPECT_EQ(plan[3].frozen_until, 0);
  EXPECT_EQ(plan[5].lr_scale, 1);
}

TEST(StrictTest, EveryTensorMustBeInAGroup) {
  Model model(kShapes);
  OptimizerSpec spec = Sgd{};
  spec.fallback = Fallback{};
  spec.groups = {{.match = "h.*"}, {.match = "*.weight", .classes = {TensorClass::kHead}}};
  EXPECT_NO_THROW(Optimizer(model.tensors, spec));
  spec.strict = true;
  EXPECT_EQ(ErrorOf([&] { Optimizer(model.tensors, spec); }),
            "strict = true: no group matches \"emb.weight\", \"norm.weight\"; the groups are 0: "
            "match = \"h.*\"; 1: match = \"*.weight\", class = [\"head\"]");
  spec.groups.push_back({.match_regex = "^(emb|norm)\\."});
  EXPECT_NO_THROW(Optimizer(model.tensors, spec));
  spec.groups.clear();
  EXPECT_EQ(ErrorOf([&] { Optimizer({model.tensors[0]}, spec); }),
            "strict = true: no group matches \"emb.weight\"; there are no groups");
}

TEST(LrScaleTest, MultipliesWhateverSetsTheRate) {
  Model scaled(kShapes), plain(kShapes);
  OptimizerSpec spec = AdamW{.lr = 0.5};
  spec.options.at("lr") = 0.5 * Linear(8);
  spec.groups = {{.match = "h.*", .lr_scale = 0.25},
                 {.match = "head.*", .rule = "momentum", .options = {{"lr", 0.5}}, .lr_scale = 2}};
  Optimizer a(scaled.tensors, spec);
  spec.groups = {{.match = "h.*", .options = {{"lr", 0.125 * Linear(8)}}},
                 {.match = "head.*", .rule = "momentum", .options = {{"lr", 1}}}};
  Optimizer b(plain.tensors, spec);
  for (int step = 0; step < 6; ++step) {
    if (step == 3) {
      a.SetSchedule(1, "lr", 0.5 * Cosine(9));  // as a plateau or a range test does
      b.SetSchedule(1, "lr", 0.125 * Cosine(9));
    }
    for (size_t i = 0; i < kShapes.size(); ++i) EXPECT_EQ(a.Value(i, "lr"), b.Value(i, "lr"));
    scaled.NextGradient();
    plain.NextGradient();
    a.Step();
    b.Step();
    EXPECT_EQ(scaled.params, plain.params);
  }
  EXPECT_EQ(a.ScheduleOf(1, "lr"), 0.5 * Cosine(9));
  EXPECT_EQ(a.ScheduleOf(2, "lr"), 0.5 * Linear(8));
}

TEST(LrScaleTest, AnIndependentDecayDoesNotFollowIt) {
  const auto decayed = [](Decay decay, double lr_scale) {
    Model model({{"w", {4}}});
    model.Assign({{1, 2, 3, 4}});
    std::fill(model.grads[0].begin(), model.grads[0].end(), 0.0F);
    OptimizerSpec spec = AdamW{.lr = 0.5, .weight_decay = 0.25};
    spec.decay = decay;
    spec.groups = {{.match = "w", .lr_scale = lr_scale}};
    Optimizer(model.tensors, spec).Step();
    return model.params[0];
  };
  EXPECT_EQ(decayed(Decay::kRule, 0.5), (Floats{0.9375, 1.875, 2.8125, 3.75}));
  EXPECT_EQ(decayed(Decay::kIndependent, 1), (Floats{0.75, 1.5, 2.25, 3}));
  EXPECT_EQ(decayed(Decay::kIndependent, 0.5), (Floats{0.75, 1.5, 2.25, 3}));
  EXPECT_THAT(ErrorOf([&] { decayed(Decay::kIndependent, 0); }),
              HasSubstr("adamw has lr = 0.5, times 0"));
}

/// A rule without a learning rate.
struct Rateless {
  double size = 1;
  static constexpr std::string_view kName = "rateless";
  static constexpr std::string_view kSummary = "test";
  static constexpr std::string_view kFormula = "test";
  static constexpr std::string_view kPaper = "test";
  static constexpr std::array kFields = {
      Field<Rateless>{"size", &Rateless::size, 0, kInfinity, "step size"}};
  static constexpr std::array<Slot, 0> kState = {};
  template <class T>
  struct Coeffs {
    T size;
  };
  Coeffs<double> At(int64_t /*t*/) const { return {size}; }
};

template <class V, class T>
void Update(const Rateless::Coeffs<T>& c, V g, V& p) {
  p = p - V(c.size) * g;
}

TEST(LrScaleTest, BadOnesAreNamed) {
  Model model(kShapes);
  OptimizerSpec spec = Sgd{.lr = 1e300};
  spec.groups = {{.match = "h.*", .lr_scale = -1}};
  const auto error = [&] { return ErrorOf([&] { Optimizer(model.tensors, spec); }); };
  EXPECT_EQ(error(), "group \"h.*\": lr_scale = -1 is outside [0, inf)");
  spec.groups[0].lr_scale = NAN;
  EXPECT_THAT(error(), HasSubstr("lr_scale = nan is outside [0, inf)"));
  spec.groups[0].lr_scale = INFINITY;
  EXPECT_THAT(error(), HasSubstr("lr_scale = inf is outside [0, inf)"));
  spec.groups[0].lr_scale = 1e100;
  EXPECT_THAT(error(), HasSubstr("group 0: lr_scale = 1e+100 times lr = 1e+300 = inf is outside"));
  spec.groups[0].lr_scale = 1;
  spec.layer_decay = 1.5;
  EXPECT_THAT(error(), HasSubstr("layer_decay = 1.5 is outside [0, 1]"));
  spec.layer_decay = 0.5;
  spec.layer_decay_min_scale = -0.5;
  EXPECT_THAT(error(), HasSubstr("layer_decay_min_scale = -0.5 is outside [0, 1]"));

  // Beyond the range only later.
  spec = Sgd{};
  spec.options.at("lr") = Exponential(1e200);
  spec.groups = {{.match = "h.*", .lr_scale = 1e200}};
  Optimizer later(model.tensors, spec);
  later.Step();
  const Params before = model.params;
  EXPECT_THAT(ErrorOf([&] { later.Step(); }), HasSubstr("times its lr_scale at step 1"));
  EXPECT_EQ(model.params, before);
  EXPECT_THAT(ErrorOf([&] { later.SetSchedule(1, "lr", 1e300); }),
              HasSubstr("SetSchedule: lr_scale = 1e+200 times lr = 1e+300"));

  Registry registry = Registry::Builtin();
  registry.Add(MakeEntry<Rateless>());
  OptimizerSpec rateless("rateless");
  rateless.groups = {{.match = "h.*", .lr_scale = 2}};
  EXPECT_EQ(ErrorOf([&] { Optimizer(model.tensors, rateless, registry); }),
            "group 0: lr_scale = 2: the rule rateless has no lr");
  rateless.groups.clear();
  EXPECT_NO_THROW(Optimizer(model.tensors, rateless, registry));
}

TEST(LayerDecayTest, IsTimms) {
  const json golden =
      json::parse(std::ifstream(KUDARI_SOURCE_DIR "/tests/golden/layer_decay.json"));
  int frozen = 0;
  for (const json& c : golden) {
    const json& options = c["options"];
    Model::Shapes shapes;
    for (const json& p : c["parameters"]) shapes.emplace_back(p[0], std::vector<int64_t>{});
    Model model(shapes);
    for (size_t i = 0; i < shapes.size(); ++i) {
      // One element of each will do; the class is that of the shape.
      model.tensors[i].tensor_class = Classify(shapes[i].first, c["parameters"][i][1]);
    }
    OptimizerSpec spec = Sgd{.lr = 0.5};
    spec.layer_decay = options["layer_decay"];
    spec.layer_decay_min_scale = options.value("min_scale", 0.0);
    spec.layer_decay_no_opt_scale = options.value("no_opt_scale", 0.0);
    Optimizer optimizer(model.tensors, spec);
    const std::vector<TensorPlan> plan = optimizer.Plan();
    for (size_t i = 0; i < plan.size(); ++i) {
      const json& scale = c["parameters"][i][2];
      EXPECT_EQ(optimizer.Frozen(i), scale.is_null()) << plan[i].name;
      frozen += scale.is_null() ? 1 : 0;
      if (scale.is_null()) continue;
      EXPECT_NEAR(plan[i].lr_scale, scale.get<double>(), 1e-14) << plan[i].name;
      EXPECT_EQ(optimizer.Value(i, "lr"), 0.5 * plan[i].lr_scale);
    }
  }
  EXPECT_GT(frozen, 0);
}

TEST(LayerDecayTest, MultipliesTheScaleOfTheGroup) {
  Model model(kShapes);
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.layer_decay = 0.5;
  spec.groups = {{.match = "*.bias", .lr_scale = 3}};
  spec.fallback = Fallback{.rule = "sgd", .options = {{"lr", 8}}};
  const Optimizer optimizer(model.tensors, spec);
  const std::vector<TensorPlan> plan = optimizer.Plan();
  std::vector<int64_t> layers;
  for (const TensorPlan& p : plan) layers.push_back(p.layer.value_or(-1));
  EXPECT_THAT(layers, ElementsAre(0, 1, 1, 2, 2, 3));
  const double expected[] = {8 / 8.0, 1 / 4.0, 3 / 4.0, 1 / 2.0, 8 / 2.0, 8};
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(optimizer.Value(i, "lr"), expected[i]) << i;
  spec.layer_match = {"h.#.fc.weight"};
  EXPECT_EQ(Optimizer(model.tensors, spec).Plan()[2].layer, 3);
  EXPECT_EQ(Optimizer(model.tensors, Sgd{}).Plan()[0].layer, std::nullopt);
  EXPECT_NO_THROW(Optimizer({}, [&] {
    OptimizerSpec empty = Sgd{};
    empty.layer_decay = 0.5;
    return empty;
  }()));
}

class FrozenRuleTest : public ::testing::TestWithParam<RuleEntry> {
 protected:
  /// Matrices have the rule, and its fallback the others.
  static OptimizerSpec Spec() {
    OptimizerSpec spec(GetParam().name);
    spec.options.emplace("lr", 1e-2 * Warmup(3));
    spec.fallback = Fallback{};
    spec.clip_norm = 0.5;
    return spec;
  }
};

INSTANTIATE_TEST_SUITE_P(Registry, FrozenRuleTest, ::testing::ValuesIn(Registry::Builtin().rules()),
                         [](const auto& info) { return info.param.name; });

/// Tensors 1 and 2 are frozen before step 2 and from step 5 on, 5 always.
std::vector<Group> Freezing() {
  return {{.match = "h.0.fc.weight", .frozen_until = 2, .frozen_from = 5},
          {.match = "h.0.fc.bias", .rule = "adamw", .frozen_until = 2, .frozen_from = 5},
          {.match = "head.*", .frozen = true}};
}

bool Frozen(size_t tensor, int64_t step) {
  return tensor == 5 || ((tensor == 1 || tensor == 2) && (step < 2 || step >= 5));
}

TEST_P(FrozenRuleTest, IsLikeATensorWithoutAGradient) {
  Model frozen(kShapes), without(kShapes);
  OptimizerSpec spec = Spec();
  spec.groups = Freezing();
  Optimizer a(frozen.tensors, spec);
  for (Group& g : spec.groups) {
    g.frozen = false;
    g.frozen_until.reset();
    g.frozen_from.reset();
  }
  Optimizer b(without.tensors, spec);
  const Params start = frozen.params;
  for (int64_t step = 0; step < 8; ++step) {
    frozen.NextGradient();
    without.NextGradient();
    const Params before = frozen.params;
    for (size_t i = 0; i < kShapes.size(); ++i) {
      EXPECT_EQ(a.Frozen(i), Frozen(i, step));
      b.tensors()[i].grad = Frozen(i, step) ? nullptr : without.grads[i].data();
    }
    const Report mine = a.Step(), other = b.Step();
    EXPECT_EQ(mine.grad_norm, other.grad_norm);
    EXPECT_EQ(mine.bytes_read, other.bytes_read);
    EXPECT_EQ(frozen.params, without.params);
    EXPECT_EQ(FirstDifference(a.State(), b.State()), "");
    for (size_t i = 0; i < kShapes.size(); ++i) {
      EXPECT_EQ(frozen.params[i] == before[i], Frozen(i, step)) << i << " at " << step;
    }
  }
  EXPECT_EQ(frozen.params[5], start[5]);
}

TEST_P(FrozenRuleTest, ResumesWithTheSameBitsAtEveryStep) {
  OptimizerSpec spec = Spec();
  spec.groups = Freezing();
  spec.layer_decay = 0.5;
  spec.lookahead = LookaheadSpec{.k = 2, .alpha = 0.5, .state = LookaheadState::kPullback};
  spec.ema = EmaSpec{.decay = 0.9};
  Model straight(kShapes);
  Optimizer reference(straight.tensors, spec);
  std::vector<Params> params, grads;
  std::vector<StateTree> states;
  for (int step = 0; step < 8; ++step) {
    params.push_back(straight.params);
    states.push_back(reference.State());
    straight.NextGradient();
    grads.push_back(straight.grads);
    reference.Step();
  }
  for (size_t from = 0; from < 8; ++from) {
    Model model(kShapes);
    model.Assign(params[from]);
    Optimizer resumed(model.tensors, spec);
    resumed.LoadState(states[from]);
    for (size_t step = from; step < 8; ++step) {
      for (size_t i = 0; i < kShapes.size(); ++i) {
        std::copy(grads[step][i].begin(), grads[step][i].end(), model.grads[i].begin());
      }
      resumed.Step();
    }
    EXPECT_EQ(model.params, straight.params) << from;
    EXPECT_EQ(FirstDifference(resumed.State(), reference.State()), "") << from;
  }
}

TEST(FrozenTest, TensorByTensorIsTheSame) {
  Model whole(kShapes), single(kShapes);
  OptimizerSpec spec = AdamW{.lr = 0.1};
  spec.clip_norm = 0.25;
  spec.groups = Freezing();
  Optimizer a(whole.tensors, spec), b(single.tensors, spec);
  for (int64_t step = 0; step < 7; ++step) {
    whole.NextGradient();
    single.NextGradient();
    const Report report = a.Step();
    double squares = 0;
    for (size_t i = 0; i < kShapes.size(); ++i) {
      EXPECT_EQ(b.GradientSquares(i) == 0, Frozen(i, step));
      squares += b.GradientSquares(i);
    }
    EXPECT_NEAR(std::sqrt(squares), report.grad_norm, 1e-12);
    for (size_t i = 0; i < kShapes.size(); ++i) b.StepTensor(i, report.grad_norm);
    b.FinishStep();
    EXPECT_EQ(whole.params, single.params) << step;
  }
}

TEST(FrozenTest, AStepWithNothingElseCounts) {
  Model model({{"w", {3}}, {"v", {3}}});
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.groups = {{.frozen_until = 2}};
  spec.clip_norm = 1;
  Optimizer optimizer(model.tensors, spec);
  const Params start = model.params;
  EXPECT_EQ(optimizer.Step().grad_norm, 0);
  optimizer.StepTensor(0, 0.0);
  optimizer.FinishStep();
  EXPECT_EQ(model.params, start);
  EXPECT_EQ(optimizer.steps(), 2);
  optimizer.Step();
  EXPECT_NE(model.params[0], start[0]);

  Optimizer again(model.tensors, spec);
  for (Tensor& t : again.tensors()) t.grad = nullptr;
  EXPECT_THAT(ErrorOf([&] { again.Step(); }), HasSubstr("no tensor has a gradient"));
}

TEST(FrozenTest, NonFiniteGradientsAreNotSeen) {
  Model model({{"w", {3}}, {"v", {3}}});
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.groups = {{.match = "w", .frozen = true}};
  spec.nonfinite = NonFinite::kError;
  model.grads[0][1] = NAN;
  Optimizer optimizer(model.tensors, spec);
  EXPECT_NO_THROW(optimizer.Step());
}

TEST(FrozenTest, StepsAllocateNothing) {
  Model model(kShapes);
  OptimizerSpec spec = AdamW{.lr = 0.1};
  spec.options.at("lr") = 0.1 * Cosine(100);
  spec.layer_decay = 0.5;
  spec.groups = {{.match = "head.*", .frozen = true}, {.match = "h.*", .lr_scale = 0.5}};
  Optimizer optimizer(model.tensors, spec);
  optimizer.SetParallel({.threads = 1});
  optimizer.Step();
  const int64_t before = testing::Allocations();
  for (int step = 0; step < 10; ++step) optimizer.Step();
  EXPECT_EQ(testing::Allocations() - before, 0);
}

TEST(FrozenTest, LookaheadLeavesThem) {
  // The first tensor is frozen after a step, in the middle of Lookahead's three.
  for (const LookaheadState state :
       {LookaheadState::kKeep, LookaheadState::kReset, LookaheadState::kPullback}) {
    Model model({{"w", {1}}, {"v", {1}}});
    model.Assign({{0}, {0}});
    for (Floats& g : model.grads) g = {-1};
    for (size_t i = 0; i < 2; ++i) model.tensors[i].grad = model.grads[i].data();
    OptimizerSpec spec = Momentum{.lr = 1, .momentum = 0.5};
    spec.lookahead = LookaheadSpec{.k = 3, .alpha = 0.5, .state = state};
    spec.groups = {{.match = "w", .frozen_from = 1}};
    Optimizer optimizer(model.tensors, spec);
    for (int step = 0; step < 6; ++step) {
      optimizer.Step();
      EXPECT_EQ(model.params[0][0], 1) << step;
      EXPECT_EQ(testing::Updates(optimizer, 0), 1);
      EXPECT_EQ(optimizer.SlotValues(0, "momentum_buffer"), Floats{-1});
      const auto view = optimizer.EvaluationWeights();
      EXPECT_EQ(model.params[0][0], step < 2 ? 0 : 1) << step;  // as of the last sync
    }
    EXPECT_GT(model.params[1][0], 1);
  }
}

TEST(FrozenTest, AveragesOfFrozenWeightsAreThose) {
  Model model(kShapes);
  OptimizerSpec spec = AdamW{.lr = 0.1};
  spec.ema = EmaSpec{.decay = 0.99};
  spec.groups = {{.match = "h.*", .frozen = true}};
  Optimizer optimizer(model.tensors, spec);
  for (int step = 0; step < 20; ++step) optimizer.Step();
  const Params trained = model.params;
  const auto view = optimizer.EvaluationWeights();
  for (size_t i = 0; i < kShapes.size(); ++i) {
    EXPECT_EQ(model.params[i] == trained[i], kShapes[i].first.starts_with("h.")) << i;
  }
}

/// Steps with a source; what the oracle sees of tensor 1, and the parameters in the end.
struct Seen {
  std::vector<Floats> weights;
  Params params;
};

Seen Observed(OptimizerSpec spec, bool freezes) {
  Model model(kShapes);
  if (freezes) spec.groups = {{.match = "h.0.fc.weight", .frozen_from = 3}};
  Optimizer optimizer(model.tensors, spec);
  Seen seen;
  for (int step = 0; step < 9; ++step) {
    optimizer.Step([&](Pass) -> Evaluation {
      seen.weights.push_back(model.params[1]);
      model.NextGradient();
      optimizer.tensors()[1].grad = !freezes && step >= 3 ? nullptr : model.grads[1].data();
      return 1.0;
    });
  }
  seen.params = model.params;
  return seen;
}

TEST(FrozenTest, SourcesLeaveThem) {
  for (const std::string& source : Sharpness::Methods()) {
    OptimizerSpec spec = Momentum{.lr = 0.1};
    spec.source = source;
    spec.sharpness = SharpnessSpec{.k = 3};
    const Seen frozen = Observed(spec, true), without = Observed(spec, false);
    EXPECT_EQ(frozen.params, without.params) << source;
    EXPECT_EQ(frozen.weights, without.weights) << source;
  }
  OptimizerSpec spec = Momentum{.lr = 0.1};
  spec.accumulate = 2;
  EXPECT_EQ(Observed(spec, true).params, Observed(spec, false).params);
  spec.accumulate = 1;
  spec.source = "nesterov_lookahead";
  const Seen seen = Observed(spec, true);
  EXPECT_NE(seen.weights[2], seen.weights[3]);
  for (size_t step = 3; step < 9; ++step) EXPECT_EQ(seen.weights[step], seen.params[1]) << step;
}

TEST(FrozenTest, EstimatesOfTheHessianAreOnlyForWhatIsTrained) {
  Model model(kShapes);
  OptimizerSpec spec("sophia");
  spec.groups = {{.match = "h.0.*", .frozen_until = 2}, {.match = "head.*", .frozen_from = 1}};
  Optimizer optimizer(model.tensors, spec);
  for (int step = 0; step < 4; ++step) {
    optimizer.Step();
    const Floats head = optimizer.SlotValues(5, "hessian");
    optimizer.UpdateHessian();
    EXPECT_EQ(optimizer.SlotValues(5, "hessian") == head, step >= 1) << step;
    EXPECT_EQ(optimizer.SlotValues(1, "hessian").empty(), step < 2) << step;
  }
}

TEST(FrozenTest, PlansHaveNoMemoryForWhatNeverIsTrained) {
  Model model(kShapes);
  OptimizerSpec spec = AdamW{};
  spec.accumulate = 2;
  spec.groups = {{.match = "emb.*", .frozen = true}, {.match = "h.1.*", .frozen_until = 9}};
  const MemoryPlan plan = Optimizer(model.tensors, spec).Memory();
  spec.groups.clear();
  const MemoryPlan whole = Optimizer(model.tensors, spec).Memory();
  EXPECT_TRUE(plan.tensors[0].state.empty());
  EXPECT_EQ(plan.tensors[3].state, whole.tensors[3].state);
  EXPECT_EQ(whole.Total() - plan.Total(), int64_t{24} * (2 + 1) * 4);
  EXPECT_LT(plan.bytes_written, whole.bytes_written);
}

TEST(FrozenTest, StepsMayBeRelativeToTheRun) {
  OptimizerSpec spec = Sgd{};
  spec.groups = {{.match = "h.*",
                  .frozen_until = RunSteps{10, StepUnit::kPercent},
                  .frozen_from = RunSteps{1.5, StepUnit::kEpochs}},
                 {.match = "head.*", .frozen_from = RunSteps{}}};
  const OptimizerSpec resolved = Resolve(spec, {.steps = 200, .steps_per_epoch = 21});
  EXPECT_EQ(resolved.groups[0].frozen_until, StepNumber(20));
  EXPECT_EQ(resolved.groups[0].frozen_from, StepNumber(32));
  EXPECT_EQ(resolved.groups[1].frozen_from, StepNumber(200));
  Model model(kShapes);
  EXPECT_EQ(Optimizer(model.tensors, resolved).Plan()[1].frozen_until, 20);
  EXPECT_THAT(ErrorOf([&] { Optimizer(model.tensors, spec); }),
              HasSubstr("group.0.frozen_until = \"10%\" is relative to the length of a run"));
  EXPECT_EQ(ErrorOf([&] { Resolve(spec, {.steps = 200}); }),
            "group.0.frozen_from: step \"1.5ep\" in a run of 200 steps: how many steps an epoch "
            "has is not known");
  spec.groups[0].frozen_until = 201;
  EXPECT_THAT(
      ScheduleMisfits(spec, {.steps = 200, .steps_per_epoch = 21}),
      ElementsAre("group.0.frozen_until: step 201 is behind the end of the run, 200 steps"));
  spec.groups[0].frozen_until = -1;
  EXPECT_THAT(ErrorOf([&] { Complete(spec); }),
              HasSubstr("frozen_until: step \"-1\" = -1 is outside [0, "));
}

TEST(FrozenTest, StepsFollowTheBatch) {
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.groups = {{.match = "h.*",
                  .lr_scale = 0.5,
                  .frozen_until = 10,
                  .frozen_from = RunSteps{50, StepUnit::kPercent}}};
  spec.layer_decay = 0.75;
  const OptimizerSpec scaled = ScaleBatch(spec, 4, BatchRule::kLinear);
  EXPECT_EQ(scaled.groups[0].frozen_until, StepNumber(3));
  EXPECT_EQ(scaled.groups[0].frozen_from, spec.groups[0].frozen_from);
  EXPECT_EQ(scaled.groups[0].lr_scale, 0.5);
  EXPECT_EQ(scaled.layer_decay, 0.75);
  EXPECT_EQ(scaled.groups[0].options.at("lr"), Schedule(4));
  const auto values = StageValues(spec);
  const auto at =
      std::ranges::find(values, "group.0.frozen_until", &std::pair<std::string, Schedule>::first);
  ASSERT_NE(at, values.end());
  EXPECT_EQ(at->second, Schedule(10));
}

}  // namespace groups_test
}  // namespace kudari
