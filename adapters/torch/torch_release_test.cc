#include "kudari/torch_release.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kudari/kudari.h"
#include "tests/support/errors.h"

namespace kudari::torch {
namespace torch_release_test {

using testing::ErrorOf;
using ::testing::HasSubstr;
using Mode = GradientRelease::Mode;

::torch::nn::Sequential MakeModel() {
  ::torch::manual_seed(3);
  return ::torch::nn::Sequential(::torch::nn::Linear(20, 64), ::torch::nn::GELU(),
                                 ::torch::nn::Linear(64, 64), ::torch::nn::GELU(),
                                 ::torch::nn::Linear(64, 5));
}

at::Tensor LossOf(::torch::nn::Sequential& model, int step) {
  const at::Tensor x = ::torch::sin(::torch::arange(32 * 20).view({32, 20}) * (0.1 + step));
  return model->forward(x).square().mean() + model->forward(x.flip(0)).abs().mean();
}

std::vector<at::Tensor> Weights(const ::torch::nn::Sequential& model) {
  std::vector<at::Tensor> weights;
  for (const at::Tensor& p : model->parameters()) weights.push_back(p.detach().clone());
  return weights;
}

void ExpectSame(const ::torch::nn::Sequential& a, const ::torch::nn::Sequential& b) {
  const auto x = Weights(a), y = Weights(b);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_TRUE(at::equal(x[i], y[i])) << i;
}

/// Counts gradients that are there when a parameter is asked for by backward.
int64_t GradientsInMemory(const ::torch::nn::Sequential& model) {
  const auto parameters = model->parameters();
  return std::count_if(parameters.begin(), parameters.end(),
                       [](const at::Tensor& p) { return p.grad().defined(); });
}

TEST(GradientReleaseTest, IsTheStepWithAllGradients) {
  for (const Mode mode : {Mode::kOnePass, Mode::kTwoPasses}) {
    OptimizerSpec spec = AdamW{.lr = 1e-2};
    if (mode == Mode::kTwoPasses) spec.clip_norm = 0.05;
    auto plain = MakeModel(), released = MakeModel();
    Optimizer a(*plain, spec), b(*released, spec);
    GradientRelease release(b, mode);
    for (int step = 0; step < 5; ++step) {
      a.ZeroGrad();
      LossOf(plain, step).backward();
      const Report expected = a.Step();
      int calls = 0;
      const Report report = release.Step([&] {
        ++calls;
        return LossOf(released, step);
      });
      EXPECT_EQ(calls, mode == Mode::kTwoPasses ? 2 : 1);
      EXPECT_DOUBLE_EQ(report.factor, expected.factor);
      // One pass does not know it, and nothing asks for it.
      EXPECT_EQ(std::isnan(report.grad_norm), mode == Mode::kOnePass);
      EXPECT_EQ(std::isnan(expected.grad_norm), mode == Mode::kOnePass);
      EXPECT_EQ(GradientsInMemory(released), 0);
      EXPECT_EQ(b.core().steps(), step + 1);
    }
    ExpectSame(plain, released);
  }
}

TEST(GradientReleaseTest, NoTwoGradientsAreThereTogether) {
  auto model = MakeModel();
  Optimizer optimizer(*model, AdamW{.lr = 1e-2});
  GradientRelease release(optimizer);
  std::vector<int64_t> seen;
  for (at::Tensor& p : model->parameters()) {
    // Before the gradient of p is added to what is there.
    p.register_hook([&](const at::Tensor& /*grad*/) { seen.push_back(GradientsInMemory(model)); });
  }
  release.Step([&] { return LossOf(model, 0); });
  EXPECT_EQ(seen.size(), model->parameters().size());
  for (const int64_t n : seen) EXPECT_EQ(n, 0);
}

TEST(GradientReleaseTest, RefusesWhatNeedsAllGradients) {
  auto model = MakeModel();
  OptimizerSpec spec = AdamW{};
  spec.clip_norm = 1.0;
  Optimizer optimizer(*model, spec);
  const auto before = Weights(model);
  {
    GradientRelease release(optimizer);
    EXPECT_THAT(ErrorOf([&] { release.Step([&] { return LossOf(model, 0); }); }),
                HasSubstr("clipping by norm needs the norm of all gradients"));
    EXPECT_THAT(ErrorOf([&] { const GradientRelease twice(optimizer); }),
                HasSubstr("already has a hook"));
  }
  const auto after = Weights(model);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(at::equal(before[i], after[i]));
  // Its hooks are gone: an ordinary step works.
  LossOf(model, 0).backward();
  EXPECT_EQ(GradientsInMemory(model), static_cast<int64_t>(before.size()));
  GradientRelease release(optimizer, Mode::kTwoPasses);
  EXPECT_THAT(ErrorOf([&] { release.Step([&] { return LossOf(model, 0); }); }),
              HasSubstr("call ZeroGrad"));
}

TEST(GradientReleaseTest, ANonFiniteGradientSkipsTheWholeStep) {
  auto model = MakeModel();
  OptimizerSpec spec = AdamW{};
  spec.nonfinite = NonFinite::kSkip;
  Optimizer optimizer(*model, spec);
  GradientRelease release(optimizer, Mode::kTwoPasses);
  const auto before = Weights(model);
  const Report report = release.Step([&] { return LossOf(model, 0) * INFINITY; });
  EXPECT_TRUE(report.skipped);
  EXPECT_EQ(report.first_nonfinite, "0.weight");
  EXPECT_EQ(optimizer.core().steps(), 0);
  const auto after = Weights(model);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(at::equal(before[i], after[i]));
  EXPECT_FALSE(release.Step([&] { return LossOf(model, 0); }).skipped);
}

TEST(GradientReleaseTest, AThrowInBackwardLeavesItUsable) {
  auto model = MakeModel();
  Optimizer optimizer(*model, AdamW{});
  GradientRelease release(optimizer);
  EXPECT_THROW(release.Step([]() -> at::Tensor { throw std::runtime_error("no data"); }),
               std::runtime_error);
  EXPECT_EQ(optimizer.core().steps(), 0);
  release.Step([&] { return LossOf(model, 0); });
  EXPECT_EQ(optimizer.core().steps(), 1);
}

}  // namespace torch_release_test
}  // namespace kudari::torch
