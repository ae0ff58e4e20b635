// Tensors of float64. That their trajectories are those of the oracles is golden_test's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/fenced_backend.h"
#include "tests/support/model.h"
#include "tests/support/random.h"
#include "tests/support/rules.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace float64_test {

using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::Pair;
using testing::Random;
using Doubles = std::vector<double>;

/// With more digits than a float has, in (-1, 1).
Doubles Drawn(Random& random, size_t n) {
  Doubles x(n);
  for (double& v : x) v = std::ldexp(static_cast<double>(static_cast<int64_t>(random.Bits())), -63);
  return x;
}

/// Tensors of float64 of these sizes, called t0, t1 ...
struct DoubleModel {
  explicit DoubleModel(const std::vector<size_t>& sizes, uint64_t seed = 1) : random(seed) {
    for (const size_t n : sizes) {
      params.push_back(Drawn(random, n));
      grads.push_back(Drawn(random, n));
    }
  }
  std::vector<Tensor> Tensors() {
    std::vector<Tensor> tensors;
    for (size_t i = 0; i < params.size(); ++i) {
      tensors.push_back({.name = "t" + std::to_string(i),
                         .shape = {static_cast<int64_t>(params[i].size())},
                         .dtype = DType::kFloat64,
                         .param = params[i].data(),
                         .grad = grads[i].data(),
                         .tensor_class = TensorClass::kMatrix});
    }
    return tensors;
  }
  void NextGradient() {
    for (Doubles& g : grads) std::ranges::copy(Drawn(random, g.size()), g.begin());
  }

  Random random;
  std::vector<Doubles> params, grads;
};

bool Takes(const RuleEntry& rule) {
  return rule.whole == nullptr && rule.hessian == HessianEstimate::kNone;
}

class Float64Test : public ::testing::TestWithParam<RuleEntry> {
 protected:
  OptimizerSpec Spec() const {
    OptimizerSpec spec(GetParam().name);
    for (const RuleEntry::Option& o : GetParam().options) {
      if (o.name == "weight_decay") spec.options.emplace(o.name, 0.05);
    }
    return spec;
  }
};

std::vector<RuleEntry> RulesThatTake() {
  std::vector<RuleEntry> rules = testing::RulesForBuild();
  std::erase_if(rules, [](const RuleEntry& rule) { return !Takes(rule); });
  return rules;
}

INSTANTIATE_TEST_SUITE_P(Registry, Float64Test, ::testing::ValuesIn(RulesThatTake()),
                         [](const auto& info) { return info.param.name; });

TEST_P(Float64Test, NeitherThreadsNorTargetsMatter) {
  std::vector<Doubles> expected;
  std::vector<double> norms;
  for (const std::string_view target : KernelTargets()) {
    for (const int threads : {1, 2, 5}) {
      SCOPED_TRACE(std::string(target) + ", " + std::to_string(threads));
      setenv("KUDARI_TARGET", std::string(target).c_str(), 1);
      DoubleModel model({150001, 17, 30000, 1});
      OptimizerSpec spec = Spec();
      spec.clip_norm = 0.5;
      spec.clip_value = 0.002;
      Optimizer optimizer(model.Tensors(), spec);
      unsetenv("KUDARI_TARGET");
      optimizer.SetParallel({.threads = threads});
      std::vector<double> seen;
      for (int step = 0; step < 3; ++step) {
        seen.push_back(optimizer.Step().grad_norm);
        model.NextGradient();
      }
      if (expected.empty()) {
        expected = model.params;
        norms = seen;
      }
      EXPECT_EQ(model.params, expected);
      EXPECT_EQ(seen, norms);
    }
  }
}

TEST_P(Float64Test, ResumesWithTheSameBits) {
  DoubleModel model({300, 7}), other({300, 7});
  Optimizer straight(model.Tensors(), Spec()), resumed(other.Tensors(), Spec());
  for (int step = 0; step < 3; ++step) {
    straight.Step();
    model.NextGradient();
  }
  const StateTree state = straight.State();
  for (const std::string& slot : GetParam().slots) {
    EXPECT_EQ(state.At("tensors/t0/slots/" + slot).Kind(), "F64 [300]");
  }
  other.params = model.params;
  other.grads = model.grads;
  for (size_t i = 0; i < 2; ++i) {
    resumed.tensors()[i].param = other.params[i].data();
    resumed.tensors()[i].grad = other.grads[i].data();
  }
  resumed.LoadState(state);
  EXPECT_EQ(FirstDifference(resumed.State(), state), "");
  straight.Step();
  resumed.Step();
  EXPECT_EQ(other.params, model.params);
  EXPECT_EQ(FirstDifference(resumed.State(), straight.State()), "");
}

TEST_P(Float64Test, TensorByTensorIsTheSame) {
  DoubleModel whole({70000, 33}), single({70000, 33});
  Optimizer a(whole.Tensors(), Spec()), b(single.Tensors(), Spec());
  for (int step = 0; step < 2; ++step) {
    a.Step();
    for (size_t i = 0; i < 2; ++i) b.StepTensor(i);
    b.FinishStep();
    whole.NextGradient();
    single.NextGradient();
  }
  EXPECT_EQ(single.params, whole.params);
}

TEST_P(Float64Test, LivesOnItsBackendAlone) {
  testing::FencedBackend backend;
  DoubleModel host({40000, 3});
  std::vector<Tensor> far = host.Tensors();
  const auto write = [&backend](const Doubles& from, const void* to) {
    backend.Write(std::as_bytes(std::span(from)), const_cast<void*>(to));
  };
  for (size_t i = 0; i < far.size(); ++i) {
    far[i].backend = &backend;
    far[i].param = backend.Allocate(host.params[i].size() * sizeof(double));
    far[i].grad = backend.Allocate(host.params[i].size() * sizeof(double));
    write(host.params[i], far[i].param);
  }
  OptimizerSpec spec = Spec();
  spec.measure_norm = true;
  spec.l1 = 1e-3;
  spec.l2 = 1e-2;
  Optimizer a(host.Tensors(), spec), b(far, spec);
  const auto expect_same = [&] {
    for (size_t i = 0; i < far.size(); ++i) {
      Doubles values(host.params[i].size());
      backend.Read(far[i].param, std::as_writable_bytes(std::span(values)), {});
      EXPECT_EQ(values, host.params[i]);
    }
  };
  for (int step = 0; step < 3; ++step) {
    for (size_t i = 0; i < far.size(); ++i) write(host.grads[i], far[i].grad);
    EXPECT_EQ(a.Step().grad_norm, b.Step().grad_norm);
    expect_same();
    {
      const EvaluationView view_a = a.EvaluationWeights(), view_b = b.EvaluationWeights();
      expect_same();
    }
    expect_same();
    EXPECT_EQ(FirstDifference(a.State(), b.State()), "");
    host.NextGradient();
  }
  a.Refresh();
  b.Refresh();
  EXPECT_EQ(FirstDifference(a.State(), b.State()), "");
}

TEST_P(Float64Test, APenaltyIsAddedToTheGradient) {
  DoubleModel with({1003}), by_hand({1003});
  const OptimizerSpec spec = Spec();
  OptimizerSpec penalized = spec;
  penalized.l1 = 1e-3;
  penalized.l2 = 1e-2;
  Optimizer a(with.Tensors(), penalized), b(by_hand.Tensors(), spec);
  for (int step = 0; step < 3; ++step) {
    for (size_t i = 0; i < 1003; ++i) {
      const double p = by_hand.params[0][i];
      double& g = by_hand.grads[0][i];
      g = std::fma(1e-3, p == 0 ? 0 : std::copysign(1.0, p), std::fma(1e-2, p, g));
    }
    a.Step();
    b.Step();
    EXPECT_EQ(with.params, by_hand.params) << step;
    with.NextGradient();
    by_hand.NextGradient();
  }
}

TEST(Float64, ClippingByNormIsAFactorInDouble) {
  DoubleModel model({5});
  const Doubles before = model.params[0], g = model.grads[0];
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.clip_norm = 0.25;
  spec.clip_norm_eps = 0;
  Optimizer optimizer(model.Tensors(), spec);
  double squares = 0;
  for (const double x : g) squares += x * x;
  const Report report = optimizer.Step();
  EXPECT_DOUBLE_EQ(report.grad_norm, std::sqrt(squares));
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(model.params[0][i], before[i] - 0.25 / std::sqrt(squares) * g[i], 1e-16);
  }
}

TEST(Float64, GradientsKeepTheRangeOfDoubles) {
  // Their squares are beyond float32 in both directions.
  DoubleModel model({2});
  model.grads[0] = {1e100, -1e-100};
  Optimizer optimizer(model.Tensors(), Adam{.beta1 = 0.5, .beta2 = 0.5});
  optimizer.Step();
  const StateTree state = optimizer.State();
  EXPECT_THAT(state.At("tensors/t0/slots/exp_avg").Array().As<double>(),
              ElementsAre(0.5e100, -0.5e-100));
  EXPECT_THAT(state.At("tensors/t0/slots/exp_avg_sq").Array().As<double>(),
              ElementsAre(::testing::DoubleEq(0.5e200), ::testing::DoubleEq(0.5e-200)));
}

TEST(Float64, InfiniteGradientsBecomeNaNs) {
  DoubleModel model({3});
  model.grads[0] = {1, std::numeric_limits<double>::infinity(), 1e200};
  Optimizer optimizer(model.Tensors(), AdamW{});
  optimizer.Step();
  EXPECT_TRUE(std::isfinite(model.params[0][0]));
  EXPECT_TRUE(std::isnan(model.params[0][1]));
  EXPECT_TRUE(std::isfinite(model.params[0][2]));
}

TEST(Float64, MomentsThatVanishAreFlushed) {
  DoubleModel model({20});
  Optimizer optimizer(model.Tensors(), Adam{.beta1 = 0.5, .beta2 = 0.5});
  optimizer.Step();
  std::ranges::fill(model.grads[0], 0);
  for (int step = 1; step < 1024; ++step) optimizer.Step();  // to 2^-1024 times the gradient
  EXPECT_THAT(optimizer.State().At("tensors/t0/slots/exp_avg").Array().As<double>(),
              ::testing::Each(0.0));
}

TEST(Float64, TensorsOfOtherTypesKeepTheirBits) {
  testing::Model alone({{"a", {1000}}, {"b", {3}}}), beside = alone;
  for (size_t i = 0; i < 2; ++i) {
    beside.tensors[i].param = beside.params[i].data();
    beside.tensors[i].grad = beside.grads[i].data();
  }
  DoubleModel doubles({500});
  std::vector<Tensor> both = beside.tensors;
  both.push_back(doubles.Tensors()[0]);
  Optimizer a(alone.tensors, Lamb{}), b(both, Lamb{});
  for (int step = 0; step < 3; ++step) {
    a.Step();
    b.Step();
  }
  EXPECT_EQ(beside.params, alone.params);
  b.SetSchedule(2, "lr", 0.0);
  const Doubles before = doubles.params[0];
  b.Step();
  EXPECT_EQ(doubles.params[0], before);
  // It comes back into the group of its own kind, not into that of the floats.
  b.SetSchedule(2, "lr", 1e-3);
  b.Step();
  EXPECT_NE(doubles.params[0], before);
}

TEST(Float64, StatesOfOtherFormatsAreConverted) {
  testing::Model floats({{"t0", {3}}});
  Optimizer narrow(floats.tensors, Momentum{});
  narrow.Step();
  DoubleModel model({3});
  Optimizer wide(model.Tensors(), Momentum{});
  wide.LoadState(narrow.State());
  EXPECT_EQ(wide.SlotValues(0, "momentum_buffer"), narrow.SlotValues(0, "momentum_buffer"));
  wide.Step();
  narrow.LoadState(wide.State());
  EXPECT_EQ(wide.SlotValues(0, "momentum_buffer"), narrow.SlotValues(0, "momentum_buffer"));
}

TEST(Float64, MemoryIsOfEightBytes) {
  DoubleModel model({100});
  const Optimizer optimizer(model.Tensors(), AdamW{});
  const MemoryPlan plan = optimizer.Memory();
  EXPECT_EQ(plan.tensors[0].weights, 800);
  EXPECT_EQ(plan.tensors[0].gradient, 800);
  EXPECT_THAT(plan.tensors[0].state, ElementsAre(Pair("exp_avg", 800), Pair("exp_avg_sq", 800)));
  EXPECT_EQ(plan.bytes_read, 4 * 800);
  EXPECT_EQ(plan.bytes_written, 3 * 800);
}

TEST(Float64, GradientsAreOfTheSameType) {
  DoubleModel model({3, 2});
  std::vector<float> g(3);
  Optimizer optimizer(model.Tensors(), Sgd{});
  optimizer.tensors()[0].grad = g.data();
  optimizer.tensors()[0].grad_dtype = DType::kFloat32;
  const auto before = model.params;
  EXPECT_EQ(ErrorOf([&] { optimizer.Step(); }),
            "tensor \"t0\" is float64, and its gradient is not; both must be float64 or neither");
  EXPECT_EQ(model.params, before);
  optimizer.tensors()[0].grad = nullptr;
  optimizer.Step();
  EXPECT_EQ(model.params[0], before[0]);
  EXPECT_NE(model.params[1], before[1]);

  testing::Model floats({{"w", {3}}});
  floats.tensors[0].grad = model.grads[0].data();
  floats.tensors[0].grad_dtype = DType::kFloat64;
  Optimizer other(floats.tensors, Sgd{});
  EXPECT_THAT(ErrorOf([&] { other.Step(); }), HasSubstr("is float32, and its gradient is float64"));
}

std::string Refusal(const OptimizerSpec& spec) {
  DoubleModel model({5000});
  return ErrorOf([&] { Optimizer(model.Tensors(), spec); });
}

TEST(Float64, RulesForFloat32AloneRefuseIt) {
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    if (Takes(rule)) continue;
    EXPECT_THAT(Refusal(OptimizerSpec(rule.name)),
                HasSubstr("tensor \"t0\" is float64, and the rule " + rule.name));
  }
  EXPECT_EQ(Refusal(Muon{}),
            "tensor \"t0\" is float64, and the rule muon for whole tensors works in float32; rules "
            "that work element by element or with norms take it, such as adamw, momentum and lamb");
}

TEST(Float64, StagesForFloat32AloneRefuseIt) {
  const auto refused = [](const auto& change) {
    OptimizerSpec spec = Momentum{};
    change(spec);
    return Refusal(spec);
  };
  const auto starts = [](const std::string& what) {
    return ::testing::StartsWith("tensor \"t0\" is float64, and " + what + " works in float32; ");
  };
  EXPECT_THAT(refused([](auto& s) { s.source = "sam"; }), starts("source = \"sam\""));
  EXPECT_THAT(refused([](auto& s) { s.source = "nesterov_lookahead"; }),
              starts("source = \"nesterov_lookahead\""));
  EXPECT_THAT(refused([](auto& s) { s.accumulate = 2; }), starts("accumulate = 2"));
  EXPECT_THAT(refused([](auto& s) { s.agc = AdaptiveClip{}; }), starts("agc"));
  EXPECT_THAT(refused([](auto& s) { s.centralize = true; }), starts("centralize"));
  EXPECT_THAT(refused([](auto& s) { s.lookahead = LookaheadSpec{}; }), starts("lookahead"));
  EXPECT_THAT(refused([](auto& s) { s.ema = EmaSpec{}; }), starts("ema"));
  EXPECT_THAT(refused([](auto& s) { s.swa = SwaSpec{}; }), starts("swa"));
  const std::string of_state =
      "a format of fewer bits for its state \"momentum_buffer\" (precision)";
  EXPECT_THAT(refused([](auto& s) { s.precision.state = StateFormat::kBFloat16; }),
              starts(of_state));
  EXPECT_THAT(refused([](auto& s) {
                s.precision.slots = {{"momentum_buffer", StateFormat::kLinear8}};
              }),
              starts(of_state));
  EXPECT_EQ(refused([](auto& s) {
              s.precision.state = StateFormat::kLinear8;
              s.precision.exclude = {TensorClass::kMatrix};
            }),
            "no error");
}

TEST(Float64, AddingOneThatIsRefusedChangesNothing) {
  testing::Model floats({{"a", {100}}});
  OptimizerSpec spec = Momentum{};
  spec.ema = EmaSpec{};
  Optimizer optimizer(floats.tensors, spec);
  optimizer.Step();
  const StateTree state = optimizer.State();
  DoubleModel model({3});
  EXPECT_THAT(ErrorOf([&] { optimizer.AddTensors(model.Tensors()); }),
              HasSubstr("tensor \"t0\" is float64, and ema works in float32"));
  EXPECT_EQ(FirstDifference(optimizer.State(), state), "");
  optimizer.Step();
}

}  // namespace float64_test
}  // namespace kudari
