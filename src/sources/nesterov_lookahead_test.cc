#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <stdexcept>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace nesterov_lookahead_test {

using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Model;

constexpr std::array kCurvature = {0.1, 0.5, 1.0, 2.0};

/// The gradient of sum(a p^2) / 2 at what the parameters are now.
void Quadratic(Model& model) {
  for (size_t i = 0; i < kCurvature.size(); ++i) {
    model.grads[0][i] = static_cast<float>(kCurvature[i] * model.params[0][i]);
  }
}

OptimizerSpec Spec(const Schedule& lr, double momentum) {
  OptimizerSpec spec("momentum", {{"lr", lr}, {"momentum", momentum}});
  spec.source = "nesterov_lookahead";
  return spec;
}

TEST(NesterovLookaheadTest, IsTheFormWithTheShiftedPoint) {
  // v <- beta v + grad(p - lr beta v);  p <- p - lr v, in double; the shift has the step's own lr.
  const Schedule lr = 0.3 * Warmup(3) * Linear(30, 0.1);
  constexpr double kMomentum = 0.8;
  Model model({{"w", {4}}});
  Optimizer optimizer(model.tensors, Spec(lr, kMomentum));
  std::array<double, 4> p, v = {};
  std::copy(model.params[0].begin(), model.params[0].end(), p.begin());
  for (int step = 0; step < 25; ++step) {
    optimizer.Step([&](Pass pass) -> Evaluation {
      EXPECT_EQ(pass, Pass::kPlain);
      Quadratic(model);
      return 0.0;
    });
    for (size_t i = 0; i < 4; ++i) {
      v[i] = kMomentum * v[i] + kCurvature[i] * (p[i] - lr(step) * kMomentum * v[i]);
      p[i] -= lr(step) * v[i];
      EXPECT_NEAR(model.params[0][i], p[i], 5e-7) << step;
    }
  }
}

TEST(NesterovLookaheadTest, TorchsParameterIsTheNextShiftedPoint) {
  constexpr double kLr = 0.2, kMomentum = 0.9;
  Model shifted({{"w", {4}}}), torchs({{"w", {4}}});
  Optimizer a(shifted.tensors, Spec(kLr, kMomentum));
  Optimizer b(torchs.tensors, Nesterov{.lr = kLr, .momentum = kMomentum});
  double apart = 0;
  for (int step = 0; step < 40; ++step) {
    a.Step([&](Pass) -> Evaluation {
      Quadratic(shifted);
      return 0.0;
    });
    Quadratic(torchs);
    b.Step();
    const std::vector<float> v = testing::Buffers(a, 0)[0].values;
    for (size_t i = 0; i < 4; ++i) {
      const double p = shifted.params[0][i];
      EXPECT_NEAR(p - kLr * kMomentum * v[i], torchs.params[0][i], 1e-6) << step;
      apart = std::max(apart, std::abs(p - torchs.params[0][i]));
    }
  }
  EXPECT_GT(apart, 1e-2);  // the parameters themselves are not the same
}

TEST(NesterovLookaheadTest, ParametersAreRestoredBitForBit) {
  Model model({{"w", {50000}}, {"v", {3}}});
  Optimizer optimizer(model.tensors, Spec(0.7, 0.9));
  const auto step = [&](bool fail) {
    optimizer.Step([&](Pass) -> Evaluation {
      if (fail) throw std::runtime_error("no");
      return {1.5, 4};
    });
  };
  step(false);
  model.params[0][7] = -0.0F;
  const auto before = model.params;
  std::vector<float> seen;
  EXPECT_THROW(optimizer.Step([&](Pass) -> Evaluation {
    seen = model.params[0];
    throw std::runtime_error("no");
  }),
               std::runtime_error);
  EXPECT_NE(seen, before[0]);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(std::memcmp(model.params[i].data(), before[i].data(), 4 * before[i].size()), 0);
  }
  EXPECT_EQ(optimizer.steps(), 1);
  // No data is no step, and restores too.
  EXPECT_TRUE(optimizer.Step([](Pass) -> Evaluation { return Evaluation::End(); }).skipped);
  EXPECT_EQ(model.params, before);
}

TEST(NesterovLookaheadTest, WithAccumulationEveryCallSeesTheShiftedPoint) {
  Model one({{"w", {4}}}), two({{"w", {4}}});
  OptimizerSpec spec = Spec(0.25, 0.5);
  Optimizer a(one.tensors, spec);
  spec.accumulate = 2;
  Optimizer b(two.tensors, spec);
  for (int step = 0; step < 10; ++step) {
    std::vector<float> seen;
    a.Step([&](Pass) -> Evaluation {
      seen = one.params[0];
      Quadratic(one);
      return 0.0;
    });
    int calls = 0;
    b.Step([&](Pass) -> Evaluation {
      ++calls;
      EXPECT_EQ(two.params[0], seen);
      Quadratic(two);
      return 0.0;
    });
    EXPECT_EQ(calls, 2);
    EXPECT_EQ(one.params, two.params);
  }
}

TEST(NesterovLookaheadTest, ThreadsDoNotMatter) {
  std::vector<std::vector<float>> expected;
  for (int threads = 1; threads <= 8; ++threads) {
    Model model({{"w", {70001}}, {"v", {5}}, {"u", {40000}}});
    Optimizer optimizer(model.tensors, Spec(0.1, 0.9));
    optimizer.SetParallel({.threads = threads});
    for (int step = 0; step < 3; ++step) {
      optimizer.Step([&](Pass) -> Evaluation {
        for (size_t i = 0; i < 3; ++i) model.grads[i] = model.params[i];
        return 0.0;
      });
    }
    if (threads == 1) expected = model.params;
    EXPECT_EQ(model.params, expected) << threads;
  }
}

TEST(NesterovLookaheadTest, BadInputIsNamed) {
  Model model({{"w", {4}}, {"head.weight", {2, 2}}});
  OptimizerSpec spec = Spec(0.1, 0.9);
  EXPECT_THAT(ErrorOf([&] { Optimizer(model.tensors, spec).Step(); }),
              HasSubstr("source = \"nesterov_lookahead\" needs Step with an oracle"));
  spec.groups = {{.match = "head.*", .rule = "nesterov"}};
  const std::string wrong =
      "nesterov_lookahead: tensor \"head.weight\" has the rule \"nesterov\"; it must be "
      "\"momentum\"";
  EXPECT_EQ(ErrorOf([&] { Optimizer(model.tensors, spec); }), wrong);
  spec.source = "plain";
  Optimizer optimizer(model.tensors, spec);
  optimizer.SetSource(std::make_unique<NesterovLookahead>());
  const auto before = model.params;
  EXPECT_EQ(ErrorOf([&] { optimizer.Step([](Pass) -> Evaluation { return 0.0; }); }), wrong);
  EXPECT_EQ(model.params, before);
  spec.source = "nesterov_lookahed";
  EXPECT_EQ(ErrorOf([&] { Complete(spec); }),
            "source: unknown name \"nesterov_lookahed\"; did you mean \"nesterov_lookahead\"?");
}

}  // namespace nesterov_lookahead_test
}  // namespace kudari
