// What rules do with numbers at the edge: nothing here is likely, and each of it happens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/float_environment.h"
#include "kudari/kudari.h"
#include "tests/support/model.h"
#include "tests/support/reference.h"
#include "tests/support/rules.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace extremes_test {

using testing::Model;
using testing::Reference;

constexpr float kLeastNormal = std::numeric_limits<float>::min();

class Extremes : public ::testing::TestWithParam<RuleEntry> {
 protected:
  bool Has(std::string_view option) const {
    return std::ranges::any_of(GetParam().options,
                               [option](const auto& o) { return o.name == option; });
  }
};

INSTANTIATE_TEST_SUITE_P(Registry, Extremes, ::testing::ValuesIn(testing::RulesForBuild()),
                         [](const auto& info) { return info.param.name; });

/// The storage of state that the tests go through, by name.
std::vector<std::pair<std::string, Precision>> Storages() {
  return {{"float32", {}},
          {"bfloat16", {.state = StateFormat::kBFloat16}},
          {"linear8", {.state = StateFormat::kLinear8}},
          {"softsign8", {.state = StateFormat::kSoftsign8}},
          {"dynamic8", {.state = StateFormat::kDynamic8}}};
}

bool AnyNan(const std::vector<float>& x) {
  return std::ranges::any_of(x, [](float v) { return std::isnan(v); });
}

float Largest(const std::vector<float>& x) {
  float most = 0;
  for (const float v : x) most = std::isnan(v) ? v : std::max(most, std::abs(v));
  return most;
}

// One element of each block has a gradient that no square of float32 holds, then ordinary ones
// follow.
TEST_P(Extremes, FiniteGradientsNeverMakeANan) {
  for (const auto& [storage, precision] : Storages()) {
    for (const float spike : {2e19F, -7e20F, 1e30F, kMost<float>}) {
      SCOPED_TRACE(storage + ", " + std::to_string(spike));
      // Sums of two of them are beyond float32, and so is what rules that are sums of gradients
      // say.
      if (spike == kMost<float> && !GetParam().squares_gradient) continue;
      Model model({{"w", {64, 80}}});
      OptimizerSpec spec(GetParam().name);
      spec.precision = precision;
      Optimizer optimizer(model.tensors, spec);
      for (int step = 0; step < 6; ++step) {
        model.NextGradient();
        if (step == 1 || step == 2) {
          for (size_t i = 3; i < 5120; i += 256) model.grads[0][i] = spike;
        }
        optimizer.Step();
        if (GetParam().scalar.hessian != nullptr) optimizer.UpdateHessian();
        ASSERT_FALSE(AnyNan(model.params[0])) << step;
        for (const testing::Buffer& b : testing::Buffers(optimizer, 0)) {
          ASSERT_FALSE(AnyNan(b.values)) << step << ' ' << b.slot;
        }
      }
      // Rules that divide by a root of squares move no weight far, except radam's first steps and
      // a centred variance of almost nothing.
      const bool bounded = GetParam().squares_gradient && GetParam().name != "radam" &&
                           !GetParam().name.starts_with("rmsprop_centered") &&
                           GetParam().name != "nadam";
      EXPECT_TRUE(!bounded || Largest(model.params[0]) < 3);
    }
  }
}

// Whatever its other dimensions are, an empty tensor takes no memory, and a step leaves it alone.
TEST_P(Extremes, EmptyTensorsHaveNoState) {
  constexpr int64_t kLarge = int64_t{1} << 50;
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{
           {0}, {0, kLarge}, {kLarge, 0}, {8, kLarge, 0}, {0, kLarge, 8}, {kLarge, 0, 8}}) {
    if (shape.size() == 1 && GetParam().name.find("muon") != std::string::npos) continue;
    for (const auto& [storage, precision] : Storages()) {
      SCOPED_TRACE(storage + ", " + std::to_string(shape[0]) + " ...");
      float none = 0;
      OptimizerSpec spec(GetParam().name);
      spec.precision = precision;
      spec.agc = AdaptiveClip{};
      spec.centralize = true;
      Optimizer optimizer({{.name = "e", .shape = shape, .param = &none, .grad = &none}}, spec);
      EXPECT_EQ(optimizer.Memory().Total(), 0);
      EXPECT_EQ(optimizer.Memory().bytes_read, 0);
      optimizer.Step();
      if (GetParam().scalar.hessian != nullptr) optimizer.UpdateHessian();
      for (const std::string& slot : GetParam().slots) {
        EXPECT_EQ(optimizer.SlotValues(0, slot).size(), 0u) << slot;
      }
      if (Has("lr")) optimizer.SetSchedule(0, "lr", 0.5);
      const StateTree state = optimizer.State();
      optimizer.LoadState(state);
      optimizer.Step();
      EXPECT_EQ(optimizer.steps(), 2);
    }
  }
}

// An infinite gradient is no finite one: it reaches its weight, and that one alone.
TEST_P(Extremes, AnInfiniteGradientReachesItsWeight) {
  if (GetParam().whole != nullptr || GetParam().norms > 0) return;  // it reaches the whole tensor
  if (GetParam().name == "lion" || GetParam().name == "rprop") return;  // a sign
  Model model({{"w", {10, 10}}});
  model.grads[0][7] = std::numeric_limits<float>::infinity();
  Optimizer optimizer(model.tensors, OptimizerSpec(GetParam().name));
  optimizer.Step();
  if (GetParam().scalar.hessian != nullptr) optimizer.UpdateHessian();
  optimizer.Step();
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(std::isfinite(model.params[0][i]), i != 7) << i;
}

TEST_P(Extremes, NoGradientAtAllAndAnEpsOfZeroMakeNoNan) {
  Model model({{"w", {8, 8}}, {"v", {8}}});
  std::ranges::fill(model.grads[0], 0.0F);
  std::ranges::fill(model.grads[1], 0.0F);
  if (GetParam().name.find("muon") != std::string::npos) model.tensors.pop_back();
  OptimizerSpec spec(GetParam().name);
  if (Has("eps")) spec.options.emplace("eps", 0);
  if (Has("eps1")) spec.options.emplace("eps1", 0);
  Optimizer optimizer(model.tensors, spec);
  for (int step = 0; step < 3; ++step) optimizer.Step();
  // A gradient whose square is lost.
  std::ranges::fill(model.grads[0], 1e-25F);
  for (int step = 0; step < 3; ++step) optimizer.Step();
  EXPECT_LT(Largest(model.params[0]), 3);
  EXPECT_LT(Largest(model.params[1]), 3);
}

// Against the formula in double, with gradients that fall by eight decades and come back.
TEST_P(Extremes, SmallDecaysFollowTheFormula) {
  for (const double decay : {0.0, 1e-3, 0.3}) {
    OptimizerSpec spec(GetParam().name);
    bool any = false;
    for (const char* name : {"beta1", "beta2", "alpha", "momentum"}) {
      if (!Has(name)) continue;
      any = true;
      const auto& option = GetParam().options[GetParam().OptionIndex(name)];
      spec.options.emplace(name, std::max(decay, option.low));
    }
    if (!any) return;
    // Newton-Schulz makes of any matrix one of the same length, so that rounding is what is seen.
    if (GetParam().name.find("muon") != std::string::npos) return;
    // The variance of hardly more than one gradient is mostly rounding.
    if (GetParam().name.starts_with("rmsprop_centered") && decay < 0.1) continue;
    SCOPED_TRACE(decay);
    Model model({{"w", {6, 7}}});
    std::vector<double> values;
    for (const auto& o : GetParam().options) {
      const auto at = spec.options.find(o.name);
      values.push_back(at == spec.options.end() ? o.default_value : at->second(0));
    }
    Reference reference(GetParam(), {6, 7},
                        std::vector<double>(model.params[0].begin(), model.params[0].end()),
                        values);
    Optimizer optimizer(model.tensors, spec);
    for (const float size : {1.0F, 1e-4F, 1e-8F, 1e-3F, 1.0F, 1e-6F}) {
      model.NextGradient();
      for (float& g : model.grads[0]) g *= size;
      optimizer.Step();
      const auto former = reference.state;
      reference.Step(values, std::vector<double>(model.grads[0].begin(), model.grads[0].end()));
      for (size_t i = 0; i < 42; ++i) {
        const double moved = std::abs(reference.p[i]) + 1;
        ASSERT_NEAR(model.params[0][i], reference.p[i], 2e-5 * moved) << size << ' ' << i;
      }
      const std::vector<testing::Buffer> buffers = testing::Buffers(optimizer, 0);
      for (size_t k = 0; k < buffers.size(); ++k) {
        for (size_t i = 0; i < reference.state[k].size(); ++i) {
          // Float32 holds 1 - decay, so that of a former mean an ulp may be missing, which counts
          // for what is made of quotients by means that have fallen since.
          const std::string& slot = buffers[k].slot;
          const bool mean = slot.starts_with("exp_avg") || slot.ends_with("_avg");
          const double expected = reference.state[k][i];
          const double scale = mean ? 1e-6 * std::abs(expected) + 1e-7 * std::abs(former[k][i])
                                    : 1e-3 * std::abs(expected);
          ASSERT_NEAR(buffers[k].values[i], expected, scale + 1e-37)
              << slot << ' ' << size << ' ' << i;
        }
      }
    }
  }
}

TEST(ExtremesTest, ADecayOfZeroForgets) {
  const auto after = [](const OptimizerSpec& spec) {
    Model model({{"w", {1}}});
    model.params[0][0] = 1;
    Optimizer optimizer(model.tensors, spec);
    for (const float g : {1.0F, 1e-4F}) {
      model.grads[0][0] = g;
      optimizer.Step();
    }
    return model.params[0][0];
  };
  EXPECT_NEAR(after(AdamW{.lr = 0.1, .beta1 = 0, .beta2 = 0, .weight_decay = 0}), 0.8, 1e-4);
  EXPECT_NEAR(after(Rmsprop{.lr = 0.1, .alpha = 0}), 0.8, 1e-4);
  EXPECT_NEAR(after(Lion{.lr = 0.1, .beta1 = 0, .beta2 = 0}), 0.8, 1e-6);
}

// A weight that is not finite takes no part in what is not multiplied with it.
TEST_P(Extremes, WithoutDecayABadWeightIsLeftAlone) {
  if (GetParam().whole != nullptr || GetParam().norms > 0) return;  // norms are of all weights
  if (GetParam().name == "asgd") return;                            // its state is of weights
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    Model model({{"w", {40}}}), sound({{"w", {40}}});
    model.params[0][5] = bad;
    OptimizerSpec spec(GetParam().name);
    if (Has("weight_decay")) spec.options.emplace("weight_decay", 0);
    Optimizer optimizer(model.tensors, spec), other(sound.tensors, spec);
    for (int step = 0; step < 3; ++step) {
      optimizer.Step();
      other.Step();
    }
    EXPECT_EQ(std::isnan(model.params[0][5]), std::isnan(bad));
    EXPECT_FALSE(std::isfinite(model.params[0][5]));
    EXPECT_EQ(FirstDifference(optimizer.State(), other.State()), "");
  }
}

TEST(ExtremesTest, APenaltyOfZeroLeavesABadWeightAlone) {
  Model model({{"w", {2}}});
  model.params[0] = {std::numeric_limits<float>::infinity(), 1};
  OptimizerSpec spec = Momentum{.lr = 0.1};
  spec.l1 = 0.5;
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  EXPECT_TRUE(std::isfinite(testing::Buffers(optimizer, 0)[0].values[0]));
}

// As torch, which keeps no buffer then.
TEST(ExtremesTest, WithoutMomentumThereIsNoDampening) {
  Model model({{"w", {3}}}), plain({{"w", {3}}});
  Optimizer a(model.tensors, Momentum{.lr = 0.1, .momentum = 0, .dampening = 0.9});
  Optimizer b(plain.tensors, Sgd{.lr = 0.1});
  for (int step = 0; step < 3; ++step) {
    a.Step();
    b.Step();
    EXPECT_EQ(model.params, plain.params) << step;
  }
}

TEST(ExtremesTest, ARatioBeyondFloat32IsItsLargest) {
  for (const char* rule : {"lars", "lars_outside", "lars_joint", "larc"}) {
    Model model({{"w", {4, 4}}});
    std::ranges::fill(model.grads[0], 1e-44F);
    OptimizerSpec spec(rule, {{"weight_decay", 0}});
    Optimizer optimizer(model.tensors, spec);
    for (int step = 0; step < 3; ++step) optimizer.Step();
    EXPECT_LT(Largest(model.params[0]), 2) << rule;
  }
}

TEST(ExtremesTest, UnitsOfOneElementAreNotCentralised) {
  Model model({{"a", {5, 1}}, {"b", {4, 1, 1, 1}}, {"c", {2, 3}}});
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.centralize = true;
  const auto before = model.params;
  Optimizer(model.tensors, spec).Step();
  for (const size_t k : {0U, 1U}) {
    for (size_t i = 0; i < before[k].size(); ++i) {
      EXPECT_EQ(model.params[k][i], before[k][i] - model.grads[k][i]);
    }
  }
  const float sum = model.params[2][0] + model.params[2][1] + model.params[2][2];
  EXPECT_NEAR(sum, before[2][0] + before[2][1] + before[2][2], 1e-6);
}

// Moments of elements that have no gradients any more become zero, not denormal numbers.
TEST_P(Extremes, MomentsEndAsZero) {
  for (const StateFormat format : {StateFormat::kFloat32, StateFormat::kBFloat16}) {
    Model model({{"w", {16, 20}}});
    for (float& g : model.grads[0]) g *= 1e-15F;
    OptimizerSpec spec(GetParam().name);
    spec.options.emplace("lr", 1e-3);
    for (const char* name : {"beta1", "beta2", "alpha", "momentum"}) {
      if (Has(name)) spec.options.emplace(name, 0.5);
    }
    spec.precision.state = format;
    Optimizer optimizer(model.tensors, spec);
    optimizer.Step();
    std::ranges::fill(model.grads[0], 0.0F);
    for (int step = 1; step < 384; ++step) {
      optimizer.Step();
      if ((step + 1) % 64 != 0) continue;
      for (const testing::Buffer& b : testing::Buffers(optimizer, 0)) {
        for (const float v : b.values) {
          ASSERT_TRUE(v == 0 || std::abs(v) >= kLeastNormal) << b.slot << ' ' << v << ' ' << step;
        }
      }
    }
  }
}

#if defined(__x86_64__)

/// A host program's floating-point mode, while it lives.
class HostMode {
 public:
  explicit HostMode(unsigned mode) : former_(_mm_getcsr()) { _mm_setcsr(mode); }
  ~HostMode() { _mm_setcsr(former_); }
  HostMode(const HostMode&) = delete;
  HostMode& operator=(const HostMode&) = delete;

 private:
  unsigned former_;
};

// Flush to zero and denormals are zero; rounding towards zero; division by zero traps.
TEST_P(Extremes, TheHostsFloatingPointModeChangesNoBit) {
  const auto run = [](unsigned mode, int threads) {
    Model model({{"a", {160, 250}}, {"b", {30, 7}}});
    for (size_t i = 0; i < model.grads[0].size(); i += 2) model.grads[0][i] *= 1e-38F;
    OptimizerSpec spec(GetParam().name);
    spec.clip_norm = 1.0;
    spec.ema = EmaSpec{};
    Optimizer optimizer(model.tensors, spec);
    optimizer.SetParallel({.threads = threads, .run = {}});
    for (int step = 0; step < 4; ++step) {
      const HostMode host(mode);
      optimizer.Step();
      EXPECT_EQ(_mm_getcsr() & ~0x3FU, mode & ~0x3FU);
    }
    return std::pair(model.params, testing::Buffers(optimizer, 0));
  };
  const auto [params, buffers] = run(0x1F80, 1);
  for (const unsigned mode : {0x9FC0U, 0x7F80U, 0x1D80U}) {
    for (const int threads : {1, 2}) {
      const auto [now, state] = run(mode, threads);
      EXPECT_EQ(now, params) << mode << ' ' << threads;
      for (size_t k = 0; k < buffers.size(); ++k) {
        EXPECT_EQ(state[k].values, buffers[k].values) << mode << ' ' << threads;
      }
    }
  }
}

#endif

}  // namespace extremes_test
}  // namespace kudari
