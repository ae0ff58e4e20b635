// What LibTorch's graph, its autocast and its kinds of gradients have to do with steps.
#include <ATen/autocast_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kudari/kudari.h"
#include "kudari/torch.h"
#include "kudari/torch_amp.h"
#include "kudari/torch_lr_range.h"
#include "kudari/torch_release.h"
#include "tests/support/errors.h"

namespace kudari::torch {
namespace nn = ::torch::nn;  // TORCH_MODULE says torch::nn
namespace autograd_test {

using at::Tensor;
using kudari::testing::ErrorOf;

// What backward throws where a graph needs values that are gone.
std::string BackwardError(const Tensor& loss) {
  try {
    loss.backward({}, /*retain_graph=*/true);
  } catch (const c10::Error& e) {
    return e.what_without_backtrace();
  }
  return "no error";
}

MATCHER(IsModified, "") { return arg.find("modified by an inplace operation") != arg.npos; }

struct Square {
  explicit Square(const OptimizerSpec& spec = Sgd{.lr = 0.5})
      : optimizer(NamedParameters{{"w", w}, {"v", v}}, spec) {}
  Tensor LossOf(const Tensor& t) const { return t.square().sum(); }
  std::function<Tensor()> Closure() {
    return [this] {
      Tensor loss = LossOf(w);
      loss.backward();
      return loss;
    };
  }
  Tensor w = at::ones({3}).requires_grad_(), v = at::ones({3}).requires_grad_();
  Optimizer optimizer;
};

TEST(GraphTest, BackwardThroughFormerWeightsThrows) {
  const std::vector<std::pair<std::string, std::function<void(Square&)>>> ways = {
      {"step",
       [](Square& s) {
         s.optimizer.ZeroGrad();
         s.LossOf(s.w).backward();
         s.optimizer.Step();
       }},
      {"closure", [](Square& s) { s.optimizer.Step(s.Closure()); }},
      {"scaler",
       [](Square& s) {
         GradScaler scaler;
         s.optimizer.ZeroGrad();
         scaler.Scale(s.LossOf(s.w)).backward();
         scaler.Step(s.optimizer);
       }},
      {"release", [](Square& s) {
         s.optimizer.ZeroGrad();
         GradientRelease(s.optimizer).Step([&] { return s.LossOf(s.w); });
       }}};
  for (const auto& [name, way] : ways) {
    Square s;
    const Tensor before = s.LossOf(s.w), other = s.LossOf(s.v);
    EXPECT_EQ(BackwardError(before), "no error");
    way(s);
    EXPECT_THAT(BackwardError(before), IsModified()) << name;
    EXPECT_EQ(BackwardError(other), "no error") << name;  // which was not stepped
    EXPECT_EQ(BackwardError(s.LossOf(s.w)), "no error") << name;
  }
}

TEST(GraphTest, ASkippedStepLeavesTheGraph) {
  OptimizerSpec spec = Sgd{};
  spec.nonfinite = NonFinite::kSkip;
  Square s(spec);
  const Tensor before = s.LossOf(s.w);
  s.w.mutable_grad() = at::full({3}, INFINITY);
  EXPECT_TRUE(s.optimizer.Step().skipped);
  EXPECT_EQ(BackwardError(before), "no error");
}

TEST(GraphTest, SourcesThatMoveWeightsSaySo) {
  for (const std::string source : {"sam", "gsam", "asam", "nesterov_lookahead"}) {
    OptimizerSpec spec = Momentum{.lr = 0.1};
    spec.source = source;
    Square s(spec);
    s.optimizer.Step(s.Closure());
    const Tensor before = s.LossOf(s.w);
    std::vector<std::string> errors;
    Tensor moved;
    s.optimizer.Step([&](Pass) -> kudari::Evaluation {
      errors.push_back(BackwardError(before));
      s.optimizer.ZeroGrad();
      moved = s.LossOf(s.w);
      EXPECT_EQ(BackwardError(moved), "no error");  // its own
      return moved.item<double>();
    });
    EXPECT_THAT(errors.back(), IsModified()) << source;
    EXPECT_EQ(errors.size() == 2, source != "nesterov_lookahead");
    if (errors.size() == 2) {
      EXPECT_EQ(errors[0], "no error");
    }
    EXPECT_THAT(BackwardError(moved), IsModified()) << source;
    // Also if it throws, after which the weights are those of before.
    int calls = 0;
    EXPECT_EQ(ErrorOf([&] {
                s.optimizer.Step([&](Pass) -> kudari::Evaluation {
                  moved = s.LossOf(s.w);
                  if (++calls == 2 || source == "nesterov_lookahead") throw Error("no data");
                  s.optimizer.ZeroGrad();
                  moved.backward();
                  return moved.item<double>();
                });
              }),
              "no data");
    EXPECT_THAT(BackwardError(moved), IsModified()) << source;
  }
}

TEST(GraphTest, LookaheadMovesWhatHasNoGradientToo) {
  for (const bool released : {false, true}) {
    OptimizerSpec spec = Sgd{.lr = 0.5};
    spec.lookahead = LookaheadSpec{.k = 2};
    Square s(spec);
    s.LossOf(s.v).backward();
    s.LossOf(s.w).backward();
    s.optimizer.Step();
    s.optimizer.ZeroGrad();
    const Tensor before = s.LossOf(s.v);
    if (released) {
      GradientRelease(s.optimizer).Step([&] { return s.LossOf(s.w); });
    } else {
      s.optimizer.Step(s.Closure());
    }
    EXPECT_TRUE(s.v.equal(at::full({3}, 0.5)));  // 1 and 0 have met
    EXPECT_THAT(BackwardError(before), IsModified());
  }
}

TEST(GraphTest, ViewsSayWhatTheyShow) {
  OptimizerSpec spec = Sgd{.lr = 0.5};
  spec.ema = EmaSpec{.decay = 0.5};
  Square s(spec);
  for (int i = 0; i < 2; ++i) s.optimizer.Step(s.Closure());
  const Tensor before = s.LossOf(s.w);
  Tensor within;
  {
    const auto view = s.optimizer.EvaluationWeights();
    EXPECT_THAT(BackwardError(before), IsModified());
    within = s.LossOf(s.w);
    EXPECT_EQ(BackwardError(within), "no error");
  }
  EXPECT_THAT(BackwardError(within), IsModified());

  // Where there is nothing else to show, nothing is said.
  Square plain;
  const Tensor loss = plain.LossOf(plain.w);
  { const auto view = plain.optimizer.EvaluationWeights(); }
  EXPECT_EQ(BackwardError(loss), "no error");
}

TEST(GraphTest, TensorsMadeInInferenceModeHaveNoVersion) {
  Tensor frozen;
  {
    const c10::InferenceMode mode;
    frozen = at::ones({3});
  }
  const Tensor w = at::ones({3}).requires_grad_();
  OptimizerSpec spec = Sgd{.lr = 0.5};
  spec.swa = SwaSpec{};
  spec.lookahead = LookaheadSpec{.k = 1};
  Optimizer optimizer(NamedParameters{{"frozen", frozen}, {"w", w}}, spec);
  w.mutable_grad() = at::ones({3});
  optimizer.Step();
  { const auto view = optimizer.EvaluationWeights(); }
  EXPECT_TRUE(frozen.equal(at::ones({3})));
}

// The discriminator is stepped between the forward and the backward of the generator's loss.
TEST(GraphTest, TheOrderThatBreaksAdversarialTrainingThrows) {
  ::torch::manual_seed(1);
  nn::Sequential generator(nn::Linear(4, 8), nn::ReLU(), nn::Linear(8, 2));
  nn::Sequential discriminator(nn::Linear(2, 8), nn::ReLU(), nn::Linear(8, 1));
  Optimizer g(*generator, AdamW{}), d(*discriminator, AdamW{});
  const Tensor fake = generator->forward(at::randn({5, 4}));
  const Tensor g_loss = discriminator->forward(fake).mean();
  (discriminator->forward(at::randn({5, 2})) - discriminator->forward(fake.detach()))
      .mean()
      .backward();
  d.Step();
  EXPECT_THAT(BackwardError(g_loss), IsModified());
  // In the right order it works.
  g.ZeroGrad();
  discriminator->forward(fake).mean().backward();
  g.Step();
}

// Casts of weights that are kept while an Autocast lives.
struct Cast {
  explicit Cast(const OptimizerSpec& spec) : optimizer(NamedParameters{{"w", w}}, spec) {}
  Tensor Forward() const { return x.mm(w); }
  double Value() const {
    const at::NoGradGuard off;
    return Forward()[0][0].item<double>();
  }
  Tensor x = at::ones({1, 4}), w = at::ones({4, 2}).requires_grad_();
  Optimizer optimizer;
  Autocast autocast{at::kBFloat16};
};

TEST(AutocastTest, SeesEveryWeightThatIsWritten) {
  OptimizerSpec spec = Sgd{.lr = 0.25};
  spec.swa = SwaSpec{};
  Cast cast(spec);
  const auto backward = [&] {
    cast.optimizer.ZeroGrad();
    cast.Forward().sum().backward();
  };
  backward();  // casts w
  cast.optimizer.Step();
  EXPECT_EQ(cast.Value(), 3);  // 4 times 0.75
  backward();
  cast.optimizer.Step();
  EXPECT_EQ(cast.Value(), 2);
  (void)cast.Forward();
  {
    const auto view = cast.optimizer.EvaluationWeights();
    EXPECT_EQ(cast.Forward()[0][0].item<double>(), 2.5);
  }
  EXPECT_EQ(cast.Forward()[0][0].item<double>(), 2);
  const std::function<Tensor()> closure = [&] {
    Tensor loss = cast.Forward().sum();
    loss.backward();
    return loss;
  };
  FindLearningRate(cast.optimizer, closure, {.range = {.start = 0.1, .end = 0.5, .steps = 3}});
  EXPECT_EQ(cast.Forward()[0][0].item<double>(), 2);
  cast.optimizer.ZeroGrad();
  GradientRelease(cast.optimizer).Step([&] { return cast.Forward().sum(); });
  EXPECT_EQ(cast.Forward()[0][0].item<double>(), 1);
}

Tensor Negated(const std::vector<double>& values) {
  const Tensor t = at::tensor(values, at::kFloat);
  Tensor view = at::imag(at::complex(t, t).conj());
  EXPECT_TRUE(view.is_neg());
  return view;
}

TEST(GradientKindTest, NegatedViewsHaveTheirSign) {
  const Tensor w = at::zeros({2}).requires_grad_();
  Optimizer optimizer(NamedParameters{{"w", w}}, Sgd{.lr = 1});
  w.mutable_grad() = Negated({1, -2});
  optimizer.Step();
  EXPECT_TRUE(w.equal(at::tensor({1.0, -2.0}, at::kFloat)));
  // Contiguous ones are read as they lie in memory.
  w.mutable_grad() = Negated({1, 1, -2}).as_strided({2}, {1});
  ASSERT_TRUE(w.grad().is_contiguous() && w.grad().is_neg());
  const Tensor expected = w.detach() - w.grad();
  optimizer.Step();
  EXPECT_TRUE(w.equal(expected));
  GradScaler scaler({.init_scale = 2});
  w.mutable_grad() = Negated({2, 4});
  scaler.Unscale(optimizer);
  EXPECT_TRUE(w.grad().equal(at::tensor({-1.0, -2.0}, at::kFloat)));
}

TEST(GradientKindTest, EstimatesHaveTheirSign) {
  const Tensor w = at::zeros({2}).requires_grad_(), v = at::zeros({2}).requires_grad_();
  Optimizer optimizer(NamedParameters{{"w", w}, {"v", v}}, SophiaH{});
  w.mutable_grad() = at::ones({2});
  v.mutable_grad() = at::ones({2});
  optimizer.Step();
  const Tensor negated = Negated({-3, -4, -5}).as_strided({2}, {1});
  ASSERT_TRUE(negated.is_contiguous() && negated.is_neg());
  optimizer.UpdateHessian({negated, negated.clone().contiguous().resolve_neg()});
  const StateTree state = optimizer.core().State();
  EXPECT_EQ(FirstDifference(state.At("tensors/w"), state.At("tensors/v")), "");
}

TEST(GradientKindTest, ZerosWithoutMemoryAreAStep) {
  const Tensor w = at::ones({2}).requires_grad_();
  Optimizer optimizer(NamedParameters{{"w", w}}, AdamW{.lr = 0.5, .weight_decay = 1});
  w.mutable_grad() = at::_efficientzerotensor({2}, at::kFloat);
  ASSERT_TRUE(w.grad()._is_zerotensor());
  optimizer.Step();
  EXPECT_TRUE(w.equal(at::full({2}, 0.5)));
}

TEST(GradientKindTest, ExpandedGradientsAreUnscaledOnceAndSteppedRight) {
  const Tensor w = at::zeros({2}).requires_grad_(), v = at::zeros({2}).requires_grad_();
  Optimizer optimizer(NamedParameters{{"v", v}, {"w", w}}, Sgd{.lr = 1});
  const Tensor shared = at::full({2}, 65536.0);
  v.mutable_grad() = shared;
  w.mutable_grad() = at::full({}, 65536.0).expand({2});
  GradScaler scaler;
  scaler.Unscale(optimizer);
  EXPECT_TRUE(w.grad().equal(at::ones({2})));
  EXPECT_TRUE(v.grad().equal(at::ones({2})));
  EXPECT_TRUE(v.grad().is_same(shared));  // in place where it can be
  scaler.Step(optimizer);
  scaler.Update();
  EXPECT_TRUE(w.equal(at::full({2}, -1.0)));

  // Two parameters with one gradient.
  const Tensor one = at::full({2}, 65536.0);
  v.mutable_grad() = one;
  w.mutable_grad() = one;
  scaler.Unscale(optimizer);
  scaler.Step(optimizer);
  EXPECT_TRUE(w.equal(at::full({2}, -2.0)));
  EXPECT_TRUE(v.equal(at::full({2}, -2.0)));
}

TEST(GradientKindTest, ZeroGradTakesEveryKind) {
  const Tensor w = at::zeros({2, 3}).requires_grad_();
  Optimizer optimizer(NamedParameters{{"w", w}}, Sgd{});
  const Tensor base = at::ones({4, 3});
  Tensor inference;
  {
    const c10::InferenceMode mode;
    inference = at::ones({2, 3});
  }
  for (const Tensor& g : {at::ones({}).expand({2, 3}), base.narrow(0, 1, 2), inference,
                          at::_efficientzerotensor({2, 3}, at::kFloat), at::ones({2, 3})}) {
    w.mutable_grad() = g;
    optimizer.ZeroGrad(false);
    ASSERT_TRUE(w.grad().defined());
    EXPECT_TRUE(w.grad().equal(at::zeros({2, 3})));
    EXPECT_TRUE(w.grad().is_contiguous());
  }
}

}  // namespace autograd_test
}  // namespace kudari::torch
