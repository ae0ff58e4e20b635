#include "kudari/torch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/tensor_state.h"

namespace kudari::torch {
namespace torch_test {

using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

::torch::nn::Sequential Mlp() {
  ::torch::manual_seed(1);
  return ::torch::nn::Sequential(::torch::nn::Linear(5, 7), ::torch::nn::Tanh(),
                                 ::torch::nn::Linear(7, 3));
}

at::Tensor Loss(::torch::nn::Sequential& model, int64_t batch = 16) {
  const auto x = ::torch::linspace(-1, 1, batch * 5).reshape({batch, 5});
  return (model->forward(x) - 0.5).square().mean();
}

double Distance(const ::torch::nn::Sequential& a, const ::torch::nn::Sequential& b) {
  double most = 0;
  const auto pa = a->parameters(), pb = b->parameters();
  for (size_t i = 0; i < pa.size(); ++i) {
    most = std::max(most, (pa[i] - pb[i]).abs().max().item<double>());
  }
  return most;
}

TEST(TorchTest, AdamWIsLibTorchs) {
  auto ours = Mlp(), theirs = Mlp();
  ASSERT_EQ(Distance(ours, theirs), 0);
  Optimizer a(*ours, AdamW{.lr = 0.02, .weight_decay = 0.1});
  ::torch::optim::AdamW b(theirs->parameters(),
                          ::torch::optim::AdamWOptions(0.02).weight_decay(0.1));
  for (int i = 0; i < 50; ++i) {
    a.ZeroGrad();
    Loss(ours).backward();
    a.Step();
    b.zero_grad();
    Loss(theirs).backward();
    b.step();
  }
  EXPECT_LT(Distance(ours, theirs), 2e-6);
  EXPECT_GT(Distance(ours, Mlp()), 0.1);
}

TEST(TorchTest, WhatIsKeptOfWeightsThatWereReplacedStartsOver) {
  // With k = 1 and alpha = 0 every step ends at the slow weights.
  const at::Tensor w = ::torch::ones({3}, ::torch::requires_grad());
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.lookahead = LookaheadSpec{.k = 1, .alpha = 0};
  Optimizer optimizer({{"w", w}}, spec);
  w.mutable_grad() = at::ones({3});
  optimizer.Step();
  EXPECT_TRUE(w.equal(at::ones({3})));
  w.set_data(at::full({3}, 5.0F));  // as torch::load does
  optimizer.Step();
  EXPECT_TRUE(w.equal(at::full({3}, 5.0F)));
  {
    const at::NoGradGuard no_grad;
    w.fill_(7);
  }
  optimizer.Refresh();
  optimizer.Step();
  EXPECT_TRUE(w.equal(at::full({3}, 7.0F)));
}

TEST(TorchTest, WeightsAndStateOfAnotherRunComeInEitherOrder) {
  const auto make = [] { return ::torch::ones({3}, ::torch::requires_grad()); };
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.ema = EmaSpec{.decay = 0.5};
  const at::Tensor w = make();
  Optimizer trained({{"w", w}}, spec);
  w.mutable_grad() = at::ones({3});
  for (int step = 0; step < 3; ++step) trained.Step();
  const StateTree state = trained.core().State();
  const at::Tensor weights = w.detach().clone();
  trained.Step();
  const StateTree expected = trained.core().State();
  for (const bool steps_before : {false, true}) {
    for (const bool state_first : {false, true}) {
      const at::Tensor v = make();
      Optimizer optimizer({{"w", v}}, spec);
      v.mutable_grad() = at::ones({3});
      if (steps_before) optimizer.Step();
      if (state_first) optimizer.core().LoadState(state);
      v.set_data(weights.clone());
      if (!state_first) optimizer.core().LoadState(state);
      optimizer.Step();
      EXPECT_EQ(optimizer.core().State().At("averagers"), expected.At("averagers"))
          << steps_before << state_first;
    }
  }
}

TEST(TorchTest, NesterovWithClippingIsLibTorchs) {
  auto ours = Mlp(), theirs = Mlp();
  OptimizerSpec spec = Nesterov{.lr = 0.3, .weight_decay = 0.01};
  spec.clip_norm = 0.05;
  Optimizer a(*ours, spec);
  ::torch::optim::SGD b(
      theirs->parameters(),
      ::torch::optim::SGDOptions(0.3).momentum(0.9).nesterov(true).weight_decay(0.01));
  for (int i = 0; i < 50; ++i) {
    a.ZeroGrad();
    Loss(ours).backward();
    const Report report = a.Step();
    b.zero_grad();
    Loss(theirs).backward();
    EXPECT_NEAR(::torch::nn::utils::clip_grad_norm_(theirs->parameters(), 0.05), report.grad_norm,
                1e-6);
    b.step();
  }
  EXPECT_LT(Distance(ours, theirs), 2e-6);
}

TEST(TorchTest, ParametersAreNamedAndShared) {
  auto model = Mlp();
  Optimizer optimizer(*model, Sgd{});
  std::vector<std::string> names;
  for (const kudari::Tensor& t : optimizer.core().tensors()) names.push_back(t.name);
  EXPECT_EQ(names, (std::vector<std::string>{"0.weight", "0.bias", "2.weight", "2.bias"}));
  EXPECT_EQ(optimizer.core().tensors()[0].param, model->parameters()[0].data_ptr());
  EXPECT_EQ(optimizer.core().tensors()[0].shape, (std::vector<int64_t>{7, 5}));
}

TEST(TorchTest, ClosuresZeroTheGradientsFirst) {
  auto a = Mlp(), b = Mlp();
  Optimizer with(*a, Adam{}), without(*b, Adam{});
  for (int i = 0; i < 5; ++i) {
    const ::torch::NoGradGuard off;  // the closure still has gradients
    const Report report = with.Step([&]() -> at::Tensor {
      auto loss = Loss(a);
      loss.backward();
      return loss;
    });
    EXPECT_GT(report.loss, 0);
    {
      const ::torch::AutoGradMode on(true);
      without.ZeroGrad(i % 2 == 0);
      Loss(b).backward();
    }
    without.Step();
  }
  EXPECT_EQ(Distance(a, b), 0);
}

TEST(TorchTest, AccumulationIsTheBigBatch) {
  auto whole = Mlp(), parts = Mlp();
  OptimizerSpec spec = Sgd{.lr = 0.1};
  Optimizer a(*whole, spec);
  spec.accumulate = 3;
  Optimizer b(*parts, spec);
  const auto x = ::torch::randn({12, 5});
  const auto loss_of = [&](::torch::nn::Sequential& model, int64_t from, int64_t to) {
    auto loss = model->forward(x.slice(0, from, to)).square().mean();
    loss.backward();
    return loss.item<double>();
  };
  for (int step = 0; step < 10; ++step) {
    const Report one = a.Step([&]() -> Evaluation { return {loss_of(whole, 0, 12), 12}; });
    const int64_t cuts[] = {0, 2, 7, 12};
    int call = 0;
    const Report three = b.Step([&]() -> Evaluation {
      ++call;
      return {loss_of(parts, cuts[call - 1], cuts[call]),
              static_cast<double>(cuts[call] - cuts[call - 1])};
    });
    EXPECT_EQ(call, 3);
    EXPECT_NEAR(one.loss, three.loss, 1e-6);
  }
  EXPECT_LT(Distance(whole, parts), 1e-6);
}

TEST(TorchTest, AParameterWithoutGradientIsSkipped) {
  auto model = Mlp();
  model->parameters()[1].set_requires_grad(false);
  Optimizer optimizer(*model, AdamW{.weight_decay = 0.5});
  const auto before = model->parameters()[1].clone();
  Loss(model).backward();
  optimizer.Step();
  EXPECT_TRUE(at::equal(model->parameters()[1], before));
  EXPECT_EQ(testing::Updates(optimizer.core(), 1), 0);
  EXPECT_EQ(testing::Updates(optimizer.core(), 0), 1);
}

TEST(TorchTest, UnusualGradientsAreCopiedOrRefusedByName) {
  const auto w = ::torch::zeros({3, 4}, at::requires_grad());
  Optimizer optimizer(NamedParameters{{"w", w}}, Sgd{.lr = 1});
  const auto base = ::torch::arange(12.0F).reshape({4, 3});
  w.mutable_grad() = base.t();
  ASSERT_FALSE(w.grad().is_contiguous());
  optimizer.Step();
  EXPECT_TRUE(at::equal(w.detach(), -base.t()));
  w.mutable_grad() = ::torch::ones({3, 4}).to_sparse();
  EXPECT_THAT(
      ErrorOf([&] { optimizer.Step(); }),
      HasSubstr("the gradient of parameter \"w\" is sparse, and must then be of whole rows"));
  w.mutable_grad() = ::torch::ones({3, 4}).to_sparse_csr();
  EXPECT_THAT(ErrorOf([&] { optimizer.Step(); }),
              HasSubstr("the gradient of parameter \"w\" is of layout SparseCsr"));
  EXPECT_EQ(optimizer.core().steps(), 1);
}

TEST(TorchTest, SixteenBitParametersWithAMasterStepAsFloat32) {
  // Given the same gradients, the master is what a float32 model would be.
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    for (const at::ScalarType grad_type : {type, at::kFloat}) {
      ::torch::manual_seed(2);
      const at::Tensor half = ::torch::randn({70, 80}).to(type).requires_grad_();
      const at::Tensor full = half.detach().to(at::kFloat).requires_grad_();
      OptimizerSpec spec = AdamW{.lr = 1e-3, .weight_decay = 0.1};
      spec.clip_norm = 1.0;
      Optimizer b(NamedParameters{{"w", full}}, spec);
      spec.precision.master = Master::kFloat32;
      Optimizer a(NamedParameters{{"w", half}}, spec);
      for (int i = 0; i < 10; ++i) {
        half.mutable_grad() = ::torch::randn({70, 80}).to(type).to(grad_type);
        full.mutable_grad() = half.grad().to(at::kFloat);
        if (i == 5) half.mutable_grad() = half.grad().t().contiguous().t();
        EXPECT_EQ(a.Step().grad_norm, b.Step().grad_norm);
        EXPECT_TRUE(at::equal(half.detach(), full.detach().to(type)));
      }
      const std::vector<float> master = a.core().SlotValues(0, "master");
      ASSERT_FALSE(master.empty());
      EXPECT_TRUE(at::equal(at::tensor(master).reshape({70, 80}), full.detach()));
    }
  }
}

// A regression with layers of more than the 4,096 elements that 8-bit state begins at.
struct Wide {
  explicit Wide(at::ScalarType type) : type(type) {
    ::torch::manual_seed(4);
    net = ::torch::nn::Sequential(::torch::nn::Linear(48, 96), ::torch::nn::GELU(),
                                  ::torch::nn::Linear(96, 48));
    x = ::torch::randn({64, 48});
    y = ::torch::randn({64, 48}).tanh();
    net->to(type);
  }
  at::Tensor Loss() { return (net->forward(x.to(type)).to(at::kFloat) - y).square().mean(); }
  double Train(Optimizer& optimizer, int steps) {
    for (int i = 0; i < steps; ++i) {
      optimizer.Step([this]() -> at::Tensor {
        at::Tensor loss = Loss();
        loss.backward();
        return loss;
      });
    }
    return Loss().item<double>();
  }
  at::ScalarType type;
  ::torch::nn::Sequential net{nullptr};
  at::Tensor x, y;
};

OptimizerSpec SevenBytes() {
  OptimizerSpec spec = AdamW{.lr = 1e-3};
  spec.precision = {.master = Master::kSplit8, .state = StateFormat::kLinear8};
  return spec;
}

TEST(TorchTest, SevenBytesTrainAsFloat32) {
  Wide full(at::kFloat), seven(at::kBFloat16);
  const double untrained = full.Loss().item<double>();
  Optimizer a(*full.net, AdamW{.lr = 1e-3}), b(*seven.net, SevenBytes());
  const double loss = full.Train(a, 60);
  EXPECT_LT(loss, 0.4 * untrained);
  EXPECT_NEAR(seven.Train(b, 60), loss, 0.02 * untrained);
  for (const at::Tensor& p : seven.net->parameters()) {
    EXPECT_EQ(p.scalar_type(), at::kBFloat16);
    EXPECT_EQ(p.grad().scalar_type(), at::kBFloat16);
  }
  // The first tensor has all three arrays in codes, the second, a bias, its master alone.
  for (size_t i = 0; i < 2; ++i) {
    const StateTree slots = testing::TensorState(b.core(), i).At("slots");
    EXPECT_EQ(slots.At("master/rest").Array().type, ElementType::kUint8);
    EXPECT_EQ(slots.At("exp_avg").IsNode(), i == 0);
    EXPECT_EQ(slots.At("exp_avg_sq").IsNode(), i == 0);
    if (i > 0) continue;
    EXPECT_EQ(slots.At("exp_avg/format").Text(), "linear8");
    EXPECT_EQ(slots.At("exp_avg_sq/format").Text(), "root8");
  }
}

TEST(TorchTest, StateOfSixteenBitModelsResumes) {
  Wide one(at::kBFloat16), other(at::kBFloat16);
  Optimizer a(*one.net, SevenBytes()), b(*other.net, SevenBytes());
  one.Train(a, 5);
  {
    const ::torch::NoGradGuard off;
    for (size_t i = 0; i < one.net->parameters().size(); ++i) {
      other.net->parameters()[i].copy_(one.net->parameters()[i]);
    }
  }
  b.core().LoadState(a.core().State());
  EXPECT_EQ(one.Train(a, 3), other.Train(b, 3));
  for (size_t i = 0; i < one.net->parameters().size(); ++i) {
    EXPECT_TRUE(at::equal(one.net->parameters()[i], other.net->parameters()[i])) << i;
  }
}

TEST(TorchTest, SixteenBitGradientsItCannotTakeAreNamed) {
  at::Tensor w = ::torch::zeros({3}, at::kBFloat16).requires_grad_();
  Optimizer optimizer(NamedParameters{{"w", w}}, Sgd{});
  w.mutable_grad() = ::torch::ones({3}, at::kHalf);
  EXPECT_EQ(ErrorOf([&] { optimizer.Step(); }),
            "the gradient of parameter \"w\" is of type Half; it must be a dense "
            "bfloat16 or float32 tensor on the CPU");
  const at::Tensor full = ::torch::zeros({3}, at::requires_grad());
  Optimizer other(NamedParameters{{"w", full}}, Sgd{});
  full.mutable_grad() = ::torch::ones({3}, at::kBFloat16);
  EXPECT_THAT(ErrorOf([&] { other.Step(); }), HasSubstr("a dense float32 tensor"));
  w.mutable_grad().reset();
  w.set_data(w.detach().to(at::kFloat));
  EXPECT_EQ(ErrorOf([&] { optimizer.Step(); }),
            "parameter \"w\" is now Float; the optimizer was made for bfloat16");
}

TEST(TorchTest, ParametersItCannotStepAreNamed) {
  const auto make = [](const at::Tensor& t) {
    return ErrorOf([&] { Optimizer(NamedParameters{{"net.w", t}}, Sgd{}); });
  };
  EXPECT_EQ(make(::torch::zeros({3}).to(at::kFloat8_e5m2).requires_grad_()),
            "parameter \"net.w\" is of type Float8_e5m2; it must be a dense float32 or bfloat16 or "
            "float16 or float64 tensor on the CPU");
  EXPECT_THAT(make(::torch::zeros({3}, at::kMeta).requires_grad_()),
              HasSubstr("\"net.w\" is on device meta"));
  EXPECT_THAT(make(::torch::zeros({3}).to_sparse().requires_grad_()),
              HasSubstr("\"net.w\" is of layout Sparse"));
  EXPECT_THAT(make(at::Tensor()), HasSubstr("\"net.w\" is undefined"));
  EXPECT_THAT(make(::torch::zeros({3})), HasSubstr("no error"));
}

TEST(TorchTest, GroupsAndSchedulesWorkByName) {
  auto model = Mlp();
  OptimizerSpec spec = AdamW{};
  spec.options.at("lr") = 1e-2 * Warmup(2);
  spec.no_decay = {TensorClass::kBias};
  spec.groups = {{.match = "2.*", .options = {{"lr", 0.0}}}};
  Optimizer optimizer(*model, spec);
  const auto head = model->parameters()[2].clone();
  Loss(model).backward();
  optimizer.Step();
  EXPECT_TRUE(at::equal(model->parameters()[2], head));
  EXPECT_EQ(optimizer.core().Value(0, "lr"), 1e-2);
  EXPECT_EQ(optimizer.core().Value(1, "weight_decay"), 0);
}

TEST(TorchTest, EvaluationShowsTheAverageAndPutsTheWeightsBack) {
  auto model = Mlp();
  OptimizerSpec spec = Sgd{.lr = 0.5};
  spec.swa = SwaSpec{};
  Optimizer optimizer(*model, spec);
  at::Tensor sum = ::torch::zeros({7, 5});
  for (int i = 0; i < 3; ++i) {
    optimizer.Step([&]() -> at::Tensor {
      auto loss = Loss(model);
      loss.backward();
      return loss;
    });
    sum += model->parameters()[0].detach();
  }
  // Even if the weights have moved to other memory.
  auto weight = model->parameters()[0];
  const at::Tensor trained = weight.detach().clone();
  weight.set_data(weight.detach().clone());
  {
    const auto view = optimizer.EvaluationWeights();
    EXPECT_LT((weight.detach() - sum / 3).abs().max().item<double>(), 1e-6);
    EXPECT_FALSE(at::equal(weight.detach(), trained));
  }
  EXPECT_TRUE(at::equal(weight.detach(), trained));
}

// Logistic regression without a bias: logits x w.
struct Softmax {
  Softmax() {
    ::torch::manual_seed(3);
    x = ::torch::randn({6, 3});
    w = ::torch::randn({3, 4}).requires_grad_();
  }
  std::vector<at::Tensor> Estimate(const EstimateOptions& options = {}) const {
    return GaussNewtonBartlett(
        {w}, [this] { return x.mm(w); }, options);
  }
  at::Tensor x, w;
};

at::Generator Seeded(uint64_t seed) { return at::detail::createCPUGenerator(seed); }

// The means of n draws are within five standard errors of what they estimate.
void ExpectMean(const at::Tensor& draws, const at::Tensor& exact) {
  const double n = static_cast<double>(draws.size(0));
  const at::Tensor error = (draws.mean(0) - exact).abs();
  const at::Tensor bound = 5 * draws.std(0) / std::sqrt(n);
  EXPECT_TRUE((error <= bound).all().item<bool>()) << error << bound;
  EXPECT_LT((bound / exact.abs()).min().item<double>(), 0.2);  // enough draws to tell
}

TEST(HessianTest, GaussNewtonBartlettIsTheDiagonalInTheMean) {
  const Softmax model;
  const at::Generator generator = Seeded(1);
  std::vector<at::Tensor> draws;
  for (int i = 0; i < 1500; ++i) {
    draws.push_back(6 * model.Estimate({.generator = generator})[0].square().to(at::kDouble));
  }
  // Of the mean cross-entropy: the mean over samples of x_i^2 p_k (1 - p_k).
  const at::Tensor p = model.x.mm(model.w).detach().softmax(1);
  const at::Tensor exact = model.x.square().t().mm(p * (1 - p)).to(at::kDouble) / 6;
  ExpectMean(at::stack(draws), exact);
}

TEST(HessianTest, GaussNewtonBartlettTakesSequences) {
  const Softmax model;
  const auto flat = model.Estimate({.generator = Seeded(2)});
  const auto rows = GaussNewtonBartlett({model.w},
                                        [&] {
                                          return model.x.mm(model.w).reshape({2, 3, 4});
                                        },
                                        {.generator = Seeded(2)});
  EXPECT_TRUE(at::equal(flat[0], rows[0]));
}

// A loss with 1/2 p^T H p as its only part.
struct Quadratic {
  explicit Quadratic(at::Tensor hessian)
      : h(std::move(hessian)), p(::torch::ones({h.size(0)}, at::requires_grad())) {}
  at::Tensor Loss() const { return (p.dot(h.mv(p)) / 2).reshape({1}); }
  at::Tensor h, p;
};

TEST(HessianTest, HutchinsonIsExactForADiagonalHessian) {
  const Quadratic q(at::diag(::torch::tensor({2.0F, -3.0F, 0.0F, 0.5F})));
  const auto loss = [&] { return q.Loss(); };
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const auto h = Hutchinson({q.p}, loss, {.generator = Seeded(seed)});
    EXPECT_TRUE(at::equal(h[0], q.h.diag())) << h[0];
  }
}

TEST(HessianTest, HutchinsonIsTheDiagonalInTheMean) {
  ::torch::manual_seed(5);
  const at::Tensor a = ::torch::randn({5, 5});
  const Quadratic q(a.mm(a.t()));
  const at::Generator generator = Seeded(1);
  std::vector<at::Tensor> draws;
  for (int i = 0; i < 1500; ++i) {
    draws.push_back(
        Hutchinson({q.p}, [&] { return q.Loss(); }, {.generator = generator})[0].to(at::kDouble));
  }
  ExpectMean(at::stack(draws), q.h.diag().to(at::kDouble));
}

TEST(HessianTest, HutchinsonOverSeveralParameters) {
  // a b + b^2 + 3 c: the diagonal of H is 0, 2, 0; d has no part in it, e needs no gradient.
  const auto make = [] { return ::torch::ones({1}, at::requires_grad()); };
  const at::Tensor a = make(), b = make(), c = make(), d = make(), e = ::torch::ones({1});
  const auto loss = [&] { return a * b + b.square() + 3 * c * e; };
  double sum_a = 0, sum_b = 0;
  const at::Generator generator = Seeded(4);
  for (int i = 0; i < 400; ++i) {
    const auto h = Hutchinson({a, b, c, d, e}, loss, {.generator = generator});
    sum_a += h[0].item<double>();
    sum_b += h[1].item<double>();
    EXPECT_EQ(h[2].item<double>(), 0);
    EXPECT_FALSE(h[3].defined());
    EXPECT_FALSE(h[4].defined());
  }
  EXPECT_NEAR(sum_a / 400, 0, 5 / std::sqrt(400));
  EXPECT_NEAR(sum_b / 400, 2, 5 / std::sqrt(400));
  const auto linear = Hutchinson({a, c}, [&] { return 2 * a + 3 * c; });
  EXPECT_EQ(linear[0].item<double>(), 0);
  EXPECT_EQ(linear[1].item<double>(), 0);
}

TEST(HessianTest, HutchinsonGoesThroughAttention) {
  ::torch::manual_seed(6);
  const at::Tensor w = ::torch::randn({4, 4}, at::requires_grad());
  const at::Tensor x = ::torch::randn({1, 1, 3, 4});
  const auto loss = [&] {
    const at::Tensor q = x.matmul(w);
    return at::scaled_dot_product_attention(q, x, x).square().sum();
  };
  const bool fused = at::globalContext().userEnabledFlashSDP();
  const auto h = Hutchinson({w}, loss);
  EXPECT_GT(h[0].abs().max().item<double>(), 0);
  EXPECT_EQ(at::globalContext().userEnabledFlashSDP(), fused);
}

TEST(HessianTest, EstimatesOfSixteenBitParametersAreFloat32) {
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    const at::Tensor w = ::torch::ones({4, 3}, type).requires_grad_();
    const at::Tensor x = ::torch::ones({2, 4}, type);
    Optimizer optimizer(NamedParameters{{"w", w}}, Sophia{});
    w.mutable_grad() = ::torch::ones({4, 3}, type);
    optimizer.Step();
    const auto logits = [&] { return x.mm(w).to(at::kFloat); };
    const auto gnb = GaussNewtonBartlett({w}, logits);
    EXPECT_EQ(gnb[0].scalar_type(), at::kFloat);
    const auto loss = [&] { return (logits() * logits()).sum(); };
    const auto h = Hutchinson({w}, loss, {.generator = Seeded(1)});
    EXPECT_EQ(h[0].scalar_type(), at::kFloat);
    EXPECT_GT(h[0].abs().max().item<double>(), 0);
    optimizer.UpdateHessian(gnb);
    EXPECT_THAT(ErrorOf([&] { optimizer.UpdateHessian({gnb[0].to(type)}); }),
                HasSubstr("a dense float32 tensor"));
  }
}

TEST(HessianTest, GeneratorsDecideAboutTheDraws) {
  const Softmax model;
  const auto draw = [&](uint64_t seed) { return model.Estimate({.generator = Seeded(seed)})[0]; };
  EXPECT_TRUE(at::equal(draw(7), draw(7)));
  EXPECT_FALSE(at::equal(draw(7), draw(8)));
  // Without one, the draws are those of torch's own, which moves on.
  ::torch::manual_seed(9);
  const auto first = model.Estimate()[0], second = model.Estimate()[0];
  EXPECT_FALSE(at::equal(first, second));
  ::torch::manual_seed(9);
  EXPECT_TRUE(at::equal(model.Estimate()[0], first));
}

TEST(HessianTest, EstimatesLeaveTheRestAsItWas) {
  ::torch::manual_seed(1);
  ::torch::nn::Sequential model(::torch::nn::Linear(3, 4), ::torch::nn::BatchNorm1d(4),
                                ::torch::nn::Dropout(0.5), ::torch::nn::Linear(4, 2));
  const auto x = ::torch::randn({8, 3});
  model->forward(x).square().mean().backward();
  const auto copy = [](const std::vector<at::Tensor>& list) {
    std::vector<at::Tensor> copies;
    for (const at::Tensor& t : list) copies.push_back(t.detach().clone());
    return copies;
  };
  const auto everything = [&] {
    auto all = copy(model->parameters());
    for (const at::Tensor& p : model->parameters()) all.push_back(p.grad().clone());
    for (const at::Tensor& b : copy(model->buffers())) all.push_back(b);
    all.push_back(at::detail::getDefaultCPUGenerator().get_state());
    return all;
  };
  const auto expect_same = [](const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << i;
  };
  const auto before = everything();
  const auto logits = [&] { return model->forward(x); };
  const auto loss = [&] { return model->forward(x).square().mean(); };
  const EstimateOptions keep{.keep_random = true, .keep_buffers = model.get()};
  {
    const at::NoGradGuard off;  // estimates have gradients all the same
    GaussNewtonBartlett(model->parameters(), logits, keep);
    Hutchinson(model->parameters(), loss, keep);
  }
  expect_same(everything(), before);
  const auto fail = [&]() -> at::Tensor {
    logits();
    throw Error("no data");
  };
  EXPECT_EQ(ErrorOf([&] { GaussNewtonBartlett(model->parameters(), fail, keep); }), "no data");
  expect_same(everything(), before);
  // Without being asked, statistics and random numbers move on, and nothing else.
  GaussNewtonBartlett(model->parameters(), logits);
  const auto after = everything();
  EXPECT_FALSE(at::equal(after.back(), before.back()));
  EXPECT_FALSE(at::equal(model->buffers()[0], before[before.size() - 4]));
  expect_same(copy(model->parameters()), {before.begin(), before.begin() + 6});
}

TEST(HessianTest, EstimatesNameWhatIsWrong) {
  const at::Tensor p = ::torch::ones({2, 3}, at::requires_grad());
  const auto gnb = [&](const at::Tensor& logits) {
    return ErrorOf([&] { GaussNewtonBartlett({p}, [&] { return logits; }); });
  };
  EXPECT_EQ(gnb(::torch::ones({2, 3})),
            "GaussNewtonBartlett: the logits do not depend on any parameter that needs a gradient");
  EXPECT_THAT(gnb(p.sum(1)), HasSubstr("the logits have the shape [2]; it must be"));
  EXPECT_THAT(gnb(p.slice(1, 0, 0)), HasSubstr("the logits have the shape [2, 0]; it must be"));
  EXPECT_EQ(gnb(p / 0), "GaussNewtonBartlett: the softmax of the logits is not finite");
  const auto hutchinson = [&](const at::Tensor& loss) {
    return ErrorOf([&] { Hutchinson({p}, [&] { return loss; }); });
  };
  EXPECT_EQ(hutchinson(::torch::ones({})),
            "Hutchinson: the loss does not depend on any parameter that needs a gradient");
  EXPECT_EQ(hutchinson(p.sum(1)),
            "Hutchinson: the loss has the shape [2]; it must be a single value");
}

TEST(HessianTest, OptimizersCheckEstimates) {
  const at::Tensor w = ::torch::ones({2, 3}, at::requires_grad());
  Optimizer optimizer(NamedParameters{{"w", w}}, AdamW{});
  EXPECT_EQ(ErrorOf([&] { optimizer.UpdateHessian({}); }),
            "UpdateHessian: 0 estimates for 1 parameters");
  EXPECT_EQ(ErrorOf([&] {
              optimizer.UpdateHessian({::torch::ones({3, 2})});
            }),
            "the estimate of parameter \"w\" has the shape [3, 2], the parameter's is [2, 3]");
  EXPECT_THAT(ErrorOf([&] {
                optimizer.UpdateHessian({::torch::ones({2, 3}, at::kDouble)});
              }),
              HasSubstr("the estimate of parameter \"w\" is of type Double"));
  EXPECT_THAT(ErrorOf([&] { optimizer.UpdateHessian({at::Tensor()}); }),
              HasSubstr("no tensor's rule uses the Hessian"));
  EXPECT_TRUE(optimizer.Parameters()[0].is_same(w));
}

TEST(BatchNormTest, StatisticsAreTheAveragesOverTheBatches) {
  ::torch::nn::Sequential model(
      ::torch::nn::BatchNorm1d(::torch::nn::BatchNorm1dOptions(2).momentum(0.3)),
      ::torch::nn::Dropout(0.5), ::torch::nn::BatchNorm1d(2));
  model->eval();
  model[2]->train();  // a mode of its own, which stays
  auto* const norm = model[0]->as<::torch::nn::BatchNorm1d>();
  norm->running_mean.fill_(7);
  const auto a = ::torch::tensor({{1.0F, 2.0F}, {3.0F, 6.0F}});
  const auto b = ::torch::tensor({{0.0F, 1.0F}, {0.0F, 3.0F}, {6.0F, 5.0F}});
  const auto forward = [&] {
    EXPECT_TRUE(model[1]->is_training());
    EXPECT_FALSE(at::GradMode::is_enabled());
    model->forward(a);
    model->forward(b);
  };
  EXPECT_TRUE(UpdateBatchNorm(*model, forward));
  // Means (2, 4) and (2, 3); unbiased variances (2, 8) and (12, 4).
  EXPECT_TRUE(at::allclose(norm->running_mean, ::torch::tensor({2.0F, 3.5F})));
  EXPECT_TRUE(at::allclose(norm->running_var, ::torch::tensor({7.0F, 6.0F})));
  EXPECT_EQ(norm->num_batches_tracked.item<int64_t>(), 2);
  EXPECT_EQ(norm->options.momentum(), 0.3);
  EXPECT_FALSE(model->is_training());
  EXPECT_FALSE(model[0]->is_training());
  EXPECT_TRUE(model[2]->is_training());
  EXPECT_TRUE(at::GradMode::is_enabled());
}

TEST(BatchNormTest, WhateverHappensMomentaAndModesComeBack) {
  ::torch::nn::BatchNorm2dImpl alone(::torch::nn::BatchNorm2dOptions(3).momentum(0.2));
  alone.eval();
  EXPECT_EQ(ErrorOf([&] { UpdateBatchNorm(alone, [] { throw Error("no data"); }); }), "no data");
  EXPECT_EQ(alone.options.momentum(), 0.2);
  EXPECT_FALSE(alone.is_training());
  ::torch::nn::Sequential without(
      ::torch::nn::Linear(2, 2),
      ::torch::nn::BatchNorm1d(::torch::nn::BatchNorm1dOptions(2).track_running_stats(false)));
  EXPECT_FALSE(UpdateBatchNorm(*without, [] { FAIL() << "called for nothing"; }));
}

}  // namespace torch_test
}  // namespace kudari::torch
