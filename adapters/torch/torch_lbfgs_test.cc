// L-BFGS over modules, beside LibTorch's own.
#include "kudari/torch_lbfgs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/support/errors.h"

namespace kudari::torch {
namespace torch_lbfgs_test {

using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

/// A network of two layers with samples of a smooth function.
struct Regression {
  Regression() {
    ::torch::manual_seed(3);
    model = ::torch::nn::Sequential(::torch::nn::Linear(2, 8), ::torch::nn::Tanh(),
                                    ::torch::nn::Linear(8, 1));
    x = at::rand({64, 2}) * 4 - 2;
    y = at::sin(x.select(1, 0)) * x.select(1, 1);
  }
  at::Tensor Loss() {
    at::Tensor loss = (model->forward(x).squeeze(1) - y).square().mean();
    loss.backward();
    return loss;
  }
  ::torch::nn::Sequential model = nullptr;
  at::Tensor x, y;
};

TEST(TorchLbfgsTest, ItMakesLibTorchsMoves) {
  Regression ours, theirs;
  LbfgsOptions options{.max_iter = 6, .line_search_fn = LineSearch::kStrongWolfe};
  Lbfgs lbfgs(*ours.model, options);
  ::torch::optim::LBFGS peer(
      theirs.model->parameters(),
      ::torch::optim::LBFGSOptions(1).max_iter(6).line_search_fn("strong_wolfe"));
  for (int step = 0; step < 3; ++step) {
    int64_t calls = 0;
    const at::Tensor before = peer.step([&] {
      peer.zero_grad();
      ++calls;
      return theirs.Loss();
    });
    const LbfgsReport report = lbfgs.Step([&] { return ours.Loss(); });
    EXPECT_NEAR(report.loss, before.item<double>(), 1e-3 * before.item<double>());
    if (step == 0) {
      EXPECT_EQ(report.evaluations, calls);
      const auto a = ours.model->parameters(), b = theirs.model->parameters();
      for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::allclose(a[i], b[i], 1e-3, 1e-4)) << i;
    }
  }
  EXPECT_LT(ours.Loss().item<double>(), 0.1);
}

TEST(TorchLbfgsTest, FrozenParametersStayAndLibTorchIsTold) {
  Regression task;
  at::Tensor frozen = task.model->parameters()[0], moved = task.model->parameters()[2];
  frozen.set_requires_grad(false);
  const at::Tensor before = frozen.clone();
  Lbfgs lbfgs(*task.model, {.max_iter = 2, .line_search_fn = LineSearch::kStrongWolfe});
  const at::Tensor stale = (moved * moved).sum();
  lbfgs.Step([&] { return task.Loss(); });
  EXPECT_TRUE(at::equal(frozen, before));
  EXPECT_THROW(stale.backward(), c10::Error);
  EXPECT_EQ(lbfgs.core().tensors()[1].grad, nullptr);
}

TEST(TorchLbfgsTest, WhatDoesNotFitIsNamed) {
  Regression task;
  Lbfgs lbfgs(*task.model);
  EXPECT_THAT(ErrorOf([&] {
                lbfgs.Step([&] {
                  at::Tensor loss = task.Loss();
                  task.model->parameters()[1].set_data(at::zeros({8}));
                  return loss;
                });
              }),
              HasSubstr("parameter \"0.bias\" was given new memory in a closure"));
  task.model->parameters()[1].set_data(at::zeros({9}));
  EXPECT_THAT(ErrorOf([&] { lbfgs.Step([&] { return task.Loss(); }); }),
              HasSubstr("parameter \"0.bias\" now has the shape [9]"));
  Regression other;
  other.model->to(at::kDouble);
  EXPECT_THAT(ErrorOf([&] { Lbfgs(*other.model); }), HasSubstr("0.weight"));
  EXPECT_THAT(ErrorOf([&] {
                Lbfgs({{"w", at::zeros({2, 3}).t().set_requires_grad(true)}});
              }),
              HasSubstr("parameter \"w\" is not contiguous, with strides [1, 3]"));
  EXPECT_THAT(ErrorOf([&] {
                Lbfgs({{"w", at::zeros({2}, at::kComplexFloat).set_requires_grad(true)}});
              }),
              HasSubstr("parameter \"w\" is of type ComplexFloat"));
}

}  // namespace torch_lbfgs_test
}  // namespace kudari::torch
