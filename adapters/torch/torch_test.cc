#include "kudari/torch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kudari/kudari.h"

namespace kudari::torch {
namespace {

using ::testing::HasSubstr;

template <class F>
std::string ErrorOf(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

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
  for (const Tensor& t : optimizer.engine().tensors()) names.push_back(t.name);
  EXPECT_EQ(names, (std::vector<std::string>{"0.weight", "0.bias", "2.weight", "2.bias"}));
  EXPECT_EQ(optimizer.engine().tensors()[0].param, model->parameters()[0].data_ptr());
  EXPECT_EQ(optimizer.engine().tensors()[0].shape, (std::vector<int64_t>{7, 5}));
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
  EXPECT_EQ(optimizer.engine().State().tensors[1].step, 0);
  EXPECT_EQ(optimizer.engine().State().tensors[0].step, 1);
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
  EXPECT_THAT(ErrorOf([&] { optimizer.Step(); }),
              HasSubstr("the gradient of parameter \"w\" is of layout Sparse"));
  EXPECT_EQ(optimizer.engine().steps(), 1);
}

TEST(TorchTest, ParametersItCannotStepAreNamed) {
  const auto make = [](const at::Tensor& t) {
    return ErrorOf([&] { Optimizer(NamedParameters{{"net.w", t}}, Sgd{}); });
  };
  EXPECT_THAT(make(::torch::zeros({4, 3}).t()),
              HasSubstr("parameter \"net.w\" is not contiguous, with strides [1, 3]"));
  EXPECT_THAT(make(::torch::zeros({3}, at::kDouble)), HasSubstr("\"net.w\" is of type Double"));
  EXPECT_THAT(make(::torch::zeros({3}, at::kLong)), HasSubstr("\"net.w\" is of type Long"));
  EXPECT_THAT(make(::torch::zeros({3}, at::kMeta)), HasSubstr("\"net.w\" is on device meta"));
  EXPECT_THAT(make(::torch::zeros({3}).to_sparse()), HasSubstr("\"net.w\" is of layout Sparse"));
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
  EXPECT_EQ(optimizer.engine().Value(0, "lr"), 1e-2);
  EXPECT_EQ(optimizer.engine().Value(1, "weight_decay"), 0);
}

}  // namespace
}  // namespace kudari::torch
