// Tensors that are added to an optimiser at work: nothing changes for the others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"
#include "tests/support/rules.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace add_tensors_test {

using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Model;
using Params = std::vector<std::vector<float>>;

const Model::Shapes kShapes = {{"a.weight", {70, 60}}, {"a.bias", {7}}, {"b.weight", {5, 6}}};
const Model::Shapes kAdded = {{"new.weight", {9, 5}}, {"new.bias", {9}}};
constexpr int kBefore = 5, kSteps = 12;

Evaluation Quadratic(Model& model) {
  for (size_t i = 0; i < model.params.size(); ++i) {
    for (size_t k = 0; k < model.params[i].size(); ++k) {
      model.grads[i][k] = model.params[i][k] * (1 + static_cast<float>(k % 3));
    }
  }
  return 1.0;
}

/// The parts of a state that are of the first tensors.
StateTree OfFirst(const StateTree& state) {
  StateTree first;
  for (const std::string& path : state.Paths()) {
    if (path.find("/new.") == std::string::npos) first.Set(path, StateTree(state.At(path)));
  }
  return first;
}

/// A run to which tensors are added after kBefore steps, without gradients if `idle`, beside one
/// without them.
struct Pair {
  explicit Pair(const OptimizerSpec& spec)
      : alone(kShapes),
        model(kShapes),
        added(kAdded, 3),
        reference(alone.tensors, spec),
        optimizer(model.tensors, spec) {}

  void Step() {
    reference.Step([this](Pass) { return Quadratic(alone); });
    optimizer.Step([this](Pass) {
      Quadratic(added);
      return Quadratic(model);
    });
  }

  Model alone, model, added;
  Optimizer reference, optimizer;
};

std::vector<OptimizerSpec> Specs() {
  std::vector<OptimizerSpec> specs(1, AdamW{.lr = 0.01});
  specs[0].options.at("lr") = 0.01 * Warmup(3) * Cosine(20);
  specs.push_back(specs[0]);
  specs.back().lookahead = LookaheadSpec{.k = 3, .state = LookaheadState::kPullback};
  specs.back().ema = EmaSpec{.decay = 0.9, .warmup = true};
  specs.back().swa = SwaSpec{.start = 2, .every = 2};
  specs.push_back(specs[0]);
  specs.back().precision.state = StateFormat::kLinear8;
  specs.back().accumulate = 2;
  for (const std::string& method : Sharpness::Methods()) {
    specs.push_back(specs[0]);
    specs.back().source = method;
    specs.back().sharpness = SharpnessSpec{.k = 4};
    specs.push_back(specs.back());
    specs.back().sharpness->decompose_layers = true;
    specs.back().sharpness->layer = LayerUnit::kModule;
  }
  return specs;
}

// Those that are added have no gradient, so that norms over all tensors stay what they are.
TEST(AddTensorsTest, TheOthersKeepTheirBits) {
  for (const OptimizerSpec& spec : Specs()) {
    SCOPED_TRACE(ToToml(spec));
    Pair pair(spec);
    std::vector<Tensor> tensors = pair.added.tensors;
    for (Tensor& t : tensors) t.grad = nullptr;
    for (int step = 0; step < kSteps; ++step) {
      if (step == kBefore) {
        pair.optimizer.AddTensors(tensors);
        EXPECT_EQ(FirstDifference(OfFirst(pair.optimizer.State()), pair.reference.State()), "");
      }
      pair.Step();
      ASSERT_EQ(pair.model.params, pair.alone.params) << step;
      ASSERT_EQ(FirstDifference(OfFirst(pair.optimizer.State()), pair.reference.State()), "")
          << step;
    }
    EXPECT_EQ(pair.added.params, Model(kAdded, 3).params);
    const auto view = pair.optimizer.EvaluationWeights();
    const auto other = pair.reference.EvaluationWeights();
    EXPECT_EQ(pair.model.params, pair.alone.params);
  }
}

class AddTensorsToRuleTest : public ::testing::TestWithParam<RuleEntry> {};

INSTANTIATE_TEST_SUITE_P(Registry, AddTensorsToRuleTest,
                         ::testing::ValuesIn(testing::RulesForBuild()),
                         [](const auto& info) { return info.param.name; });

// With gradients, beside an optimiser of their own that begins at that time.
TEST_P(AddTensorsToRuleTest, TheyAreSteppedAsByAnOptimiserOfTheirOwn) {
  OptimizerSpec spec(GetParam().name);
  spec.options.emplace("lr", 0.01);
  if (GetParam().whole != nullptr) spec.fallback = Fallback{};
  Pair pair(spec);
  Model own(kAdded, 3);
  Optimizer beside(own.tensors, spec);
  for (int step = 0; step < kSteps; ++step) {
    if (step == kBefore) pair.optimizer.AddTensors(pair.added.tensors);
    pair.Step();
    ASSERT_EQ(pair.model.params, pair.alone.params) << step;
    if (step >= kBefore) {
      beside.Step([&own](Pass) { return Quadratic(own); });
    }
    ASSERT_EQ(pair.added.params, own.params) << step;
  }
  EXPECT_EQ(testing::Buffers(pair.optimizer, 3), testing::Buffers(beside, 0));
  EXPECT_EQ(testing::Updates(pair.optimizer, 3), kSteps - kBefore);
}

// An optimiser of all tensors and the spec that there is then goes on with the same bits.
TEST(AddTensorsTest, RunsResumeWithAllTensors) {
  for (const OptimizerSpec& spec : Specs()) {
    SCOPED_TRACE(ToToml(spec));
    Pair pair(spec);
    for (int step = 0; step < kBefore; ++step) pair.Step();
    pair.optimizer.AddTensors(pair.added.tensors, {{.match = "new.*", .lr_scale = 0.5}});
    for (int step = 0; step < 3; ++step) pair.Step();

    Model all(kShapes);
    all.Assign(pair.model.params);
    Model more(kAdded);
    more.Assign(pair.added.params);
    std::vector<Tensor> tensors = all.tensors;
    tensors.insert(tensors.end(), more.tensors.begin(), more.tensors.end());
    Optimizer resumed(tensors, pair.optimizer.spec());
    resumed.LoadState(pair.optimizer.State());
    for (int step = 0; step < 5; ++step) {
      pair.Step();
      resumed.Step([&](Pass) {
        Quadratic(more);
        return Quadratic(all);
      });
      ASSERT_EQ(all.params, pair.model.params);
      ASSERT_EQ(more.params, pair.added.params);
    }
    EXPECT_EQ(FirstDifference(resumed.State(), pair.optimizer.State()), "");
  }
}

TEST(AddTensorsTest, AveragesBeginWithThePresentWeights) {
  OptimizerSpec spec = Sgd{.lr = 0};
  spec.ema = EmaSpec{.decay = 0.5};
  Pair pair(spec);
  for (int step = 0; step < kBefore; ++step) pair.Step();
  pair.optimizer.AddTensors(pair.added.tensors);
  const Params before = pair.added.params;
  pair.added.Assign(Model(kAdded, 4).params);
  pair.Step();
  const Params after = pair.added.params;
  const auto view = pair.optimizer.EvaluationWeights();
  for (size_t k = 0; k < before[0].size(); ++k) {
    EXPECT_FLOAT_EQ(pair.added.params[0][k], (before[0][k] + after[0][k]) / 2);
  }
}

TEST(AddTensorsTest, GroupsAndSchedulesAreOfTheirOwn) {
  OptimizerSpec spec = AdamW{.lr = 0.1};
  spec.groups = {{.classes = {TensorClass::kBias}, .options = {{"weight_decay", 0}}}};
  Pair pair(spec);
  Optimizer& optimizer = pair.optimizer;
  pair.Step();
  optimizer.SetLr(0.5);
  optimizer.AddTensors(pair.added.tensors, {{.match = "new.weight", .rule = "SGD"}});
  std::vector<int> groups;
  std::vector<double> rates;
  for (const TensorPlan& p : optimizer.Plan()) groups.push_back(p.group);
  for (size_t i = 0; i < 5; ++i) rates.push_back(optimizer.Value(i, "lr"));
  EXPECT_THAT(groups, ElementsAre(-1, 0, -1, 1, 0));
  // Theirs are the spec's, as those of a group are the rule's.
  EXPECT_THAT(rates, ElementsAre(0.5, 0.5, 0.5, Sgd().lr, 0.1));
  EXPECT_EQ(optimizer.Plan()[3].rule, "sgd");
  EXPECT_EQ(optimizer.spec().groups.size(), 2U);
}

TEST(AddTensorsTest, ToNone) {
  Model model(kAdded);
  Optimizer optimizer({}, AdamW{});
  optimizer.AddTensors(model.tensors);
  Model other(kAdded);
  Optimizer whole(other.tensors, AdamW{});
  optimizer.Step();
  whole.Step();
  EXPECT_EQ(model.params, other.params);
}

/// One of the user's, which knows nothing of added tensors.
class Counter : public Averager {
 public:
  void Start(Engine& /*engine*/) override {}
  void After(Engine& /*engine*/) override {}
  const float* Evaluated(size_t /*index*/) const override { return nullptr; }
  std::string_view Name() const override { return "counter"; }
  void Visit(const Engine& /*engine*/, StateVisitor& /*visitor*/) override {}
};

TEST(AddTensorsTest, WhatDoesNotSuitIsNamedAndChangesNothing) {
  OptimizerSpec spec = Momentum{.lr = 0.01};
  spec.ema = EmaSpec{};
  spec.layer_decay = 0.5;
  Pair pair(spec);
  Optimizer& optimizer = pair.optimizer;
  pair.Step();
  const StateTree before = optimizer.State();
  const auto error = [&](std::vector<Tensor> tensors, const std::vector<Group>& groups = {}) {
    std::string text = ErrorOf([&] { optimizer.AddTensors(std::move(tensors), groups); });
    EXPECT_EQ(FirstDifference(optimizer.State(), before), "");
    EXPECT_EQ(optimizer.tensors().size(), 3U);
    EXPECT_EQ(optimizer.spec().groups.size(), 0U);
    return text;
  };
  EXPECT_EQ(error({pair.model.tensors[0]}), "duplicate tensor name \"a.weight\"");
  Tensor same = pair.model.tensors[0];
  same.name = "other";
  EXPECT_EQ(error({same}),
            "tensors \"a.weight\" and \"other\" overlap in memory; give a parameter "
            "that has two names only once");
  same.param = nullptr;
  EXPECT_EQ(error({same}), "tensor \"other\": param is null");
  EXPECT_EQ(error(pair.added.tensors, {{.match = "*.weight", .lr_scale = 2}}),
            "AddTensors: group 0 (match = \"*.weight\") matches tensor \"a.weight\", which the "
            "optimiser has already; added groups are for added tensors");
  EXPECT_EQ(error(pair.added.tensors, {{.match = "new.weigth"}}),
            "group 0 (match = \"new.weigth\") matches no tensor; did you mean \"new.weight\"?");
  EXPECT_EQ(error(pair.added.tensors, {{.match = "new.*", .options = {{"momentun", 0.5}}}}),
            "momentum has no option \"momentun\"; did you mean \"momentum\"?");
  Tensor deep = pair.added.tensors[0];
  deep.name = "blocks.0.fc.weight";
  EXPECT_THAT(error({deep}), HasSubstr("AddTensors: layer_decay = 0.5 would count the layers"));
  {
    const auto view = optimizer.EvaluationWeights();
    EXPECT_THAT(ErrorOf([&] { optimizer.AddTensors(pair.added.tensors); }),
                HasSubstr("AddTensors: an evaluation view is open"));
  }
  optimizer.AddAverager(std::make_unique<Counter>());
  optimizer.AddTensors({});  // it has not begun
  pair.Step();
  EXPECT_EQ(ErrorOf([&] { optimizer.AddTensors(pair.added.tensors); }),
            "AddTensors: the averager \"counter\" cannot take in tensors");
  pair.Step();
  EXPECT_EQ(pair.model.params, pair.alone.params);
}

TEST(AddTensorsTest, ASourceMustSuitThem) {
  OptimizerSpec spec = Momentum{.lr = 0.01};
  spec.source = "nesterov_lookahead";
  Pair pair(spec);
  pair.Step();
  EXPECT_THAT(ErrorOf([&] {
                pair.optimizer.AddTensors(pair.added.tensors, {{.match = "new.*", .rule = "sgd"}});
              }),
              HasSubstr("tensor \"new.weight\" has the rule \"sgd\""));
  pair.optimizer.AddTensors(pair.added.tensors);
  for (int step = 0; step < 3; ++step) pair.Step();
  EXPECT_EQ(pair.model.params, pair.alone.params);
}

TEST(AddTensorsTest, NotWhenTheWorkIsShared) {
  Model model(kShapes), added(kAdded);
  Optimizer optimizer(model.tensors, AdamW{});
  optimizer.SetOwnership({true, false, true}, [](std::span<double>) {});
  EXPECT_THAT(ErrorOf([&] { optimizer.AddTensors(added.tensors); }),
              HasSubstr("AddTensors: the work is shared between processes"));
}

}  // namespace add_tensors_test
}  // namespace kudari
