#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"
#include "tests/support/reference.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace evaluation_test {

using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Model;
using testing::Reference;
using Params = std::vector<std::vector<float>>;

const Model::Shapes kShapes = {{"a", {40000}}, {"b", {5}}, {"c", {0}}};

/// The mean of all points, weighted by learning rates, beside the points themselves; a stand-in for
/// rules whose parameters are not what is to be evaluated.
struct Mean {
  double lr = 0.5;
  static constexpr std::string_view kName = "mean";
  static constexpr std::string_view kSummary = "test";
  static constexpr std::string_view kFormula = "test";
  static constexpr std::string_view kPaper = "test";
  static constexpr std::array kFields = {Field<Mean>{"lr", &Mean::lr, 0, 1, "step size"}};
  static constexpr std::array kState = {Slot{"mean"}};
  static constexpr std::array kMemory = {Memory{"sum", 0}};
  static constexpr bool kEvaluation = true;
  template <class T>
  struct Coeffs {
    T lr, weight, updates;
  };
  Coeffs<double> At(int64_t t, std::span<double> memory) const {
    memory[0] += lr;
    return {lr, lr / memory[0], static_cast<double>(t)};
  }
};

template <class V, class T>
void Update(const Mean::Coeffs<T>& c, V g, V& p, V& mean) {
  p = p - V(c.lr) * g;
  mean = Fma(V(c.weight), p - mean, mean);
}

/// With the coefficients of the update to come, so that its t and memory can be seen.
template <class V, class T>
void Evaluated(const Mean::Coeffs<T>& c, V& p, V mean) {
  p = mean + V(c.updates) + V(c.weight);
}

Registry WithMean() {
  Registry registry = Registry::Builtin();
  registry.Add(MakeEntry<Mean>());
  return registry;
}

bool SameBits(const Params& a, const Params& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size()) return false;
    if (a[i].empty()) continue;
    if (std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0) return false;
  }
  return a.size() == b.size();
}

TEST(EvaluationTest, WithNothingToShowItShowsTheParameters) {
  Model model(kShapes);
  Optimizer optimizer(model.tensors, AdamW{});
  optimizer.Step();
  const Params before = model.params;
  {
    const auto view = optimizer.EvaluationWeights();
    EXPECT_TRUE(SameBits(model.params, before));
  }
  EXPECT_TRUE(SameBits(model.params, before));
}

TEST(EvaluationTest, ShowsAveragesAndRestoresEveryBit) {
  Model model(kShapes);
  OptimizerSpec spec = AdamW{.lr = 0.1};
  spec.ema = EmaSpec{.decay = 0.9};
  Optimizer optimizer(model.tensors, spec);
  const Params start = model.params;
  {
    const auto view = optimizer.EvaluationWeights();  // before the first step there is no average
    EXPECT_TRUE(SameBits(model.params, start));
  }
  for (int step = 0; step < 3; ++step) optimizer.Step();
  model.params[0][3] = -0.0F;
  model.params[0][4] = INFINITY;
  model.params[1][0] = std::nanf("0x1234");
  const Params trained = model.params;
  const auto average = [state = optimizer.State()](const std::string& name) {
    const auto values = state.At("averagers/ema/tensors/" + name + "/average").Floats();
    return std::vector<float>(values.begin(), values.end());
  };
  for (int repeat = 0; repeat < 2; ++repeat) {
    {
      const auto view = optimizer.EvaluationWeights();
      EXPECT_TRUE(SameBits(model.params, {average("a"), average("b"), {}}));
      EXPECT_FALSE(SameBits(model.params, trained));
    }
    EXPECT_TRUE(SameBits(model.params, trained));
  }
}

TEST(EvaluationTest, RestoresWhenAnExceptionPasses) {
  Model model(kShapes);
  OptimizerSpec spec = Sgd{.lr = 0.1};
  spec.swa = SwaSpec{};
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  optimizer.Step();
  const Params trained = model.params;
  EXPECT_THROW(
      {
        const auto view = optimizer.EvaluationWeights();
        EXPECT_FALSE(SameBits(model.params, trained));
        throw std::runtime_error("no");
      },
      std::runtime_error);
  EXPECT_TRUE(SameBits(model.params, trained));
  EXPECT_FALSE(optimizer.Step().skipped);
}

TEST(EvaluationTest, TheLastAverageThatThereIsCounts) {
  Model model({{"w", {1}}});
  model.Assign({{0}});
  model.grads[0] = {-1};
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.lookahead = LookaheadSpec{.k = 2, .alpha = 1};
  spec.swa = SwaSpec{.start = 3, .every = 1};
  Optimizer optimizer(model.tensors, spec);
  std::vector<float> seen;
  for (int step = 0; step < 6; ++step) {
    optimizer.Step();
    const auto view = optimizer.EvaluationWeights();
    seen.push_back(model.params[0][0]);
  }
  EXPECT_EQ(seen, (std::vector<float>{0, 2, 2, 4, 4.5, 5}));
}

TEST(EvaluationTest, NothingAdvancesWhileAViewIsOpen) {
  Model model({{"w", {4}}});
  OptimizerSpec spec = Sgd{};
  spec.ema = EmaSpec{};
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  const StateTree state = optimizer.State();
  {
    const auto view = optimizer.EvaluationWeights();
    const std::string why =
        ": an evaluation view is open, so the parameters are not the trained ones";
    EXPECT_EQ(ErrorOf([&] { optimizer.Step(); }), "Step" + why);
    EXPECT_EQ(ErrorOf([&] { optimizer.Step([](Pass) -> Evaluation { return 0.0; }); }),
              "Step" + why);
    EXPECT_EQ(ErrorOf([&] { optimizer.StepTensor(0); }), "StepTensor" + why);
    EXPECT_EQ(ErrorOf([&] { static_cast<void>(optimizer.State()); }), "State" + why);
    EXPECT_EQ(ErrorOf([&] { optimizer.LoadState(state); }), "LoadState" + why);
    EXPECT_EQ(ErrorOf([&] { optimizer.Refresh(); }), "Refresh" + why);
    EXPECT_EQ(ErrorOf([&] { optimizer.SetSchedule(0, "lr", 0.5); }), "SetSchedule" + why);
    EXPECT_EQ(ErrorOf([&] { optimizer.UpdateHessian(); }), "UpdateHessian" + why);
    EXPECT_EQ(ErrorOf([&] { static_cast<void>(optimizer.EvaluationWeights()); }),
              "Evaluation" + why);
    EXPECT_EQ(optimizer.steps(), 1);
  }
  optimizer.Step();
  EXPECT_EQ(optimizer.steps(), 2);
}

TEST(EvaluationTest, AViewMayMoveAndOutliveTheOptimiser) {
  Model model(kShapes);
  OptimizerSpec spec = Sgd{.lr = 0.1};
  spec.swa = SwaSpec{};
  std::optional<Optimizer> optimizer(std::in_place, model.tensors, spec);
  optimizer->Step();
  optimizer->Step();
  const Params trained = model.params;
  std::optional<EvaluationView> view(optimizer->EvaluationWeights());
  const Params shown = model.params;
  EXPECT_FALSE(SameBits(shown, trained));
  optimizer.reset();
  EXPECT_TRUE(SameBits(model.params, shown));
  view.reset();
  EXPECT_TRUE(SameBits(model.params, trained));
}

TEST(EvaluationTest, ARuleMayHaveAPointOfItsOwn) {
  const Registry registry = WithMean();
  const RuleEntry& rule = registry.Find("mean");
  for (const int threads : {1, 3}) {
    Model model(kShapes);
    OptimizerSpec spec("mean", {{"lr", 0.5 * Linear(10)}});
    spec.groups = {{.match = "b", .rule = "sgd"}};
    Optimizer optimizer(model.tensors, spec, registry);
    optimizer.SetParallel({.threads = threads});
    Reference reference(rule, {40000}, {model.params[0].begin(), model.params[0].end()}, {0.5});
    Params trained = model.params;
    {
      const auto view = optimizer.EvaluationWeights();  // the tensors have had no update
      EXPECT_TRUE(SameBits(model.params, trained));
    }
    for (int64_t step = 0; step < 4; ++step) {
      model.NextGradient();
      const double lr = 0.5 * (1 - static_cast<double>(step) / 10);
      reference.Step({lr}, {model.grads[0].begin(), model.grads[0].end()});
      optimizer.Step();
      trained = model.params;
      const StateTree memory = testing::TensorState(optimizer, 0).At("memory");
      {
        const auto view = optimizer.EvaluationWeights();
        const auto expected = reference.Evaluated({0.5 * (1 - static_cast<double>(step + 1) / 10)});
        for (size_t i = 0; i < 40000; i += 97) {
          EXPECT_NEAR(model.params[0][i], expected[i], 2e-6) << step;
        }
        EXPECT_EQ(model.params[1], trained[1]);  // sgd's
      }
      EXPECT_TRUE(SameBits(model.params, trained));
      EXPECT_EQ(testing::TensorState(optimizer, 0).At("memory"), memory);  // not moved
      EXPECT_NEAR(memory.members().begin()->second.Double(), reference.memory[0], 1e-15);
    }
  }
}

TEST(EvaluationTest, ScheduleFreeShowsTheMeanOfItsSteps) {
  constexpr double kLr = 0.05, kMomentum = 0.9;
  Model model({{"w", {5}}});
  Optimizer optimizer(model.tensors, ScheduleFreeSgd{.lr = kLr, .momentum = kMomentum});
  std::vector<double> z(model.params[0].begin(), model.params[0].end()), sum(5);
  for (int step = 1; step <= 30; ++step) {
    model.NextGradient();
    optimizer.Step();
    const Params trained = model.params;
    const auto view = optimizer.EvaluationWeights();
    for (size_t i = 0; i < 5; ++i) {
      z[i] -= kLr * model.grads[0][i];
      sum[i] += z[i];
      const double x = sum[i] / step;
      EXPECT_NEAR(model.params[0][i], x, 5e-7) << step;
      EXPECT_NEAR(trained[0][i], kMomentum * x + (1 - kMomentum) * z[i], 5e-7) << step;
    }
  }
}

TEST(EvaluationTest, AnAverageComesBeforeTheRulesPoint) {
  Model model({{"w", {3}}});
  OptimizerSpec spec("mean");
  spec.ema = EmaSpec{.decay = 0};
  Optimizer optimizer(model.tensors, spec, WithMean());
  optimizer.Step();
  const Params trained = model.params;
  const auto view = optimizer.EvaluationWeights();
  EXPECT_TRUE(SameBits(model.params, trained));
}

// The pool may be gone by then: what a view puts back needs no threads.
TEST(EvaluationTest, PutsBackWithoutThePoolThatWasLent) {
  Model model(kShapes);
  OptimizerSpec spec("mean");
  spec.ema = EmaSpec{};
  Optimizer optimizer(model.tensors, spec, WithMean());
  auto alive = std::make_shared<bool>(true);
  optimizer.SetParallel({.threads = 2, .run = [alive](int n, const std::function<void(int)>& f) {
                           if (!*alive) throw std::runtime_error("the pool is gone");
                           for (int k = 0; k < n; ++k) f(k);
                         }});
  optimizer.Step();
  optimizer.Step();
  const Params trained = model.params;
  {
    const auto view = optimizer.EvaluationWeights();
    EXPECT_FALSE(SameBits(model.params, trained));
    *alive = false;
  }
  EXPECT_TRUE(SameBits(model.params, trained));
}

// The weights after updates t0 + 2, t0 + 3 ..., whatever the format of the parameters' state.
TEST(EvaluationTest, AsgdShowsTheMeanOfItsWeights) {
  for (const StateFormat format : {StateFormat::kFloat32, StateFormat::kBFloat16}) {
    Model model({{"w", {50, 100}}});
    OptimizerSpec spec = Asgd{.lr = 0.1, .t0 = 3};
    spec.precision.state = format;
    Optimizer optimizer(model.tensors, spec);
    std::vector<double> sum(5000);
    for (int step = 1; step <= 12; ++step) {
      model.NextGradient();
      optimizer.Step();
      for (size_t i = 0; step >= 5 && i < sum.size(); ++i) sum[i] += model.params[0][i];
    }
    const auto view = optimizer.EvaluationWeights();
    for (size_t i = 0; i < sum.size(); ++i) {
      EXPECT_NEAR(model.params[0][i], sum[i] / 8, 1e-6);
    }
  }
}

TEST(EvaluationTest, AScheduleOutOfRangeLeavesNoView) {
  Model model({{"w", {3}}});
  Optimizer optimizer(
      model.tensors, OptimizerSpec("mean", {{"lr", ParseSchedule("then(0.5, 1, 2)")}}), WithMean());
  optimizer.Step();
  const Params trained = model.params;
  for (int repeat = 0; repeat < 2; ++repeat) {
    EXPECT_THAT(ErrorOf([&] { static_cast<void>(optimizer.EvaluationWeights()); }),
                HasSubstr("mean: lr = then(0.5, 1, 2) at step 1 = 2 is outside [0, 1]"));
    EXPECT_TRUE(SameBits(model.params, trained));
  }
}

}  // namespace evaluation_test
}  // namespace kudari
