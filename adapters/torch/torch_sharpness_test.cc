#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "kudari/kudari.h"
#include "kudari/torch.h"
#include "kudari/torch_amp.h"
#include "tests/support/errors.h"

namespace kudari::torch {
namespace nn = ::torch::nn;  // TORCH_MODULE says torch::nn
namespace torch_sharpness_test {

using at::Tensor;
using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

constexpr double kRho = 0.3, kLr = 0.1;

nn::Sequential Net(std::optional<double> momentum = 0.1, double dropout = 0.4) {
  ::torch::manual_seed(3);
  return nn::Sequential(nn::Linear(6, 12),
                        nn::BatchNorm1d(nn::BatchNorm1dOptions(12).momentum(momentum)), nn::ReLU(),
                        nn::Dropout(dropout), nn::Linear(12, 4));
}

Tensor Batch(int64_t index) {
  return ::torch::linspace(-1, 1, 120).reshape({20, 6}).roll(index) +
         0.1 * static_cast<double>(index);
}

Tensor NetLoss(nn::Sequential& net, int64_t batch) {
  return (net->forward(Batch(batch)) - 0.5).square().mean();
}

std::vector<Tensor> Copies(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> copies;
  for (const Tensor& t : tensors) copies.push_back(t.detach().clone());
  return copies;
}

bool Same(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (!a[i].equal(b[i])) return false;
  }
  return a.size() == b.size();
}

double Distance(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, (a[i] - b[i]).abs().max().item<double>());
  }
  return most;
}

OptimizerSpec Spec(const std::string& source) {
  OptimizerSpec spec = Sgd{.lr = kLr};
  spec.source = source;
  spec.sharpness = SharpnessSpec{.rho = kRho};
  return spec;
}

// SAM by hand: Foret et al., with the statistics of the first pass and its dropout masks.
void SamByHand(nn::Sequential& net, int64_t batch) {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const auto parameters = net->parameters();
  const Tensor random = generator.get_state();
  net->zero_grad();
  NetLoss(net, batch).backward();
  const Tensor after = generator.get_state();
  const auto buffers = Copies(net->buffers());
  const auto weights = Copies(parameters);
  const ::torch::NoGradGuard no_grad;
  Tensor squares = ::torch::zeros({}, ::torch::kFloat64);
  for (const Tensor& p : parameters) squares += p.grad().to(at::kDouble).square().sum();
  for (const Tensor& p : parameters) {
    p.add_(p.grad(), kRho / std::sqrt(squares.item<double>()));
  }
  generator.set_state(random);
  {
    const at::AutoGradMode enabled(true);
    net->zero_grad();
    NetLoss(net, batch).backward();
  }
  generator.set_state(after);
  for (size_t i = 0; i < buffers.size(); ++i) net->buffers()[i].copy_(buffers[i]);
  for (size_t i = 0; i < parameters.size(); ++i) {
    parameters[i].copy_(weights[i]);
    parameters[i].sub_(kLr * parameters[i].grad());
  }
}

TEST(SharpnessTest, ClosuresMakeSam) {
  // With momentum = None statistics are plain averages, and the batch counter matters.
  for (const std::optional<double> momentum : {std::optional(0.1), std::optional<double>()}) {
    nn::Sequential ours = Net(momentum), theirs = Net(momentum);
    ASSERT_TRUE(Same(ours->parameters(), theirs->parameters()));
    Optimizer optimizer(*ours, Spec("sam"));
    ::torch::manual_seed(5);
    std::vector<Tensor> random;
    for (int64_t step = 0; step < 6; ++step) {
      optimizer.Step([&] {
        Tensor loss = NetLoss(ours, step);
        loss.backward();
        return loss;
      });
      random.push_back(at::detail::getDefaultCPUGenerator().get_state());
    }
    ::torch::manual_seed(5);
    for (int64_t step = 0; step < 6; ++step) {
      SamByHand(theirs, step);
      EXPECT_TRUE(random[static_cast<size_t>(step)].equal(
          at::detail::getDefaultCPUGenerator().get_state()));
    }
    EXPECT_LT(Distance(ours->parameters(), theirs->parameters()), 2e-6);
    EXPECT_LT(Distance(ours->buffers(), theirs->buffers()), 2e-6);
    EXPECT_EQ(ours->named_buffers()["1.num_batches_tracked"].item<int64_t>(), 6);
  }
}

TEST(SharpnessTest, PerturbedCallsRepeatThePlainOnes) {
  nn::Sequential net = Net();
  OptimizerSpec spec = Spec("looksam");
  spec.accumulate = 2;
  Optimizer optimizer(*net, spec);
  for (int step = 0; step < 3; ++step) {
    std::vector<Tensor> draws;
    std::vector<Pass> passes;
    optimizer.Step([&](Pass pass) -> kudari::Evaluation {
      passes.push_back(pass);
      draws.push_back(::torch::rand({5}));
      Tensor loss = NetLoss(net, static_cast<int64_t>(passes.size()) % 2);
      loss.backward();
      return loss.item<double>();
    });
    if (step > 0) {
      EXPECT_EQ(passes, (std::vector<Pass>{Pass::kPlain, Pass::kPlain}));
      continue;
    }
    ASSERT_EQ(passes,
              (std::vector<Pass>{Pass::kPlain, Pass::kPlain, Pass::kPerturbed, Pass::kPerturbed}));
    EXPECT_TRUE(draws[0].equal(draws[2]));
    EXPECT_TRUE(draws[1].equal(draws[3]));
    EXPECT_FALSE(draws[0].equal(draws[1]));
  }
  EXPECT_THAT(ErrorOf([&] { optimizer.Step([&]() -> kudari::Evaluation { return 1.0; }); }),
              HasSubstr("source = \"looksam\" with accumulate = 2 needs a closure that takes a "
                        "kudari::Pass"));
  EXPECT_THAT(ErrorOf([&] { optimizer.Step(); }), HasSubstr("needs Step with an oracle"));
}

TEST(SharpnessTest, AClosureThatThrowsChangesNothing) {
  for (const int bad : {0, 1}) {
    nn::Sequential net = Net();
    Optimizer optimizer(*net, Spec("sam"));
    const auto weights = Copies(net->parameters());
    std::vector<Tensor> buffers = Copies(net->buffers());
    Tensor random = at::detail::getDefaultCPUGenerator().get_state();
    int call = 0;
    EXPECT_THROW(optimizer.Step([&]() -> Tensor {
      if (call++ == bad) throw std::runtime_error("no");
      Tensor loss = NetLoss(net, 0);
      loss.backward();
      buffers = Copies(net->buffers());
      random = at::detail::getDefaultCPUGenerator().get_state();
      return loss;
    }),
                 std::runtime_error);
    EXPECT_TRUE(Same(net->parameters(), weights));
    EXPECT_TRUE(Same(net->buffers(), buffers));
    EXPECT_TRUE(random.equal(at::detail::getDefaultCPUGenerator().get_state()));
  }
}

TEST(SharpnessTest, BuffersOfParametersAloneAreKeptIfAskedFor) {
  for (const bool asked : {false, true}) {
    nn::Sequential net = Net();
    NamedParameters parameters;
    for (const auto& item : net->named_parameters()) {
      parameters.emplace_back(item.key(), item.value());
    }
    Optimizer optimizer(parameters, Spec("sam"));
    if (asked) optimizer.KeepBuffers(*net);
    optimizer.Step([&] {
      Tensor loss = NetLoss(net, 0);
      loss.backward();
      return loss;
    });
    EXPECT_EQ(net->named_buffers()["1.num_batches_tracked"].item<int64_t>(), asked ? 1 : 2);
  }
}

TEST(SharpnessTest, LossScalingChangesNoBitAndOverflowSkips) {
  nn::Sequential plain = Net(0.1, 0), scaled = Net(0.1, 0);
  Optimizer a(*plain, Spec("looksam")), b(*scaled, Spec("looksam"));
  GradScaler scaler({.init_scale = 1024});
  for (int64_t step = 0; step < 8; ++step) {
    a.Step([&] {
      Tensor loss = NetLoss(plain, step);
      loss.backward();
      return loss;
    });
    // The perturbed pass of the refresh at step 5 overflows once, and the step is taken again.
    for (int attempt = step == 5 ? 0 : 1; attempt < 2; ++attempt) {
      int call = 0;
      const auto buffers = Copies(scaled->buffers());
      const Report report = scaler.Step(b, [&] {
        Tensor loss = NetLoss(scaled, step);
        scaler.Scale(loss).backward();
        if (attempt == 0 && call++ == 1) {
          scaled->parameters()[0].mutable_grad().fill_(std::numeric_limits<float>::infinity());
        }
        return loss;
      });
      EXPECT_EQ(report.skipped, attempt == 0);
      scaler.Update();
      if (attempt > 0) continue;
      const ::torch::NoGradGuard no_grad;  // the batch is seen a second time
      for (size_t i = 0; i < buffers.size(); ++i) scaled->buffers()[i].copy_(buffers[i]);
    }
    EXPECT_TRUE(Same(plain->parameters(), scaled->parameters())) << step;
  }
  EXPECT_EQ(scaler.scale(), 512);
}

TEST(SharpnessTest, AutocastSeesThePerturbedWeights) {
  nn::Sequential net = Net(0.1, 0);
  OptimizerSpec spec = Spec("sam");
  spec.sharpness->rho = 2.0;
  Optimizer optimizer(*net, spec);
  std::vector<double> losses;
  const Autocast half(at::kBFloat16);  // outside, where weights are cast once
  optimizer.Step([&] {
    Tensor loss = NetLoss(net, 0).to(at::kFloat);
    loss.backward();
    losses.push_back(loss.item<double>());
    return loss;
  });
  ASSERT_EQ(losses.size(), 2U);
  EXPECT_GT(losses[1], 1.1 * losses[0]);
}

}  // namespace torch_sharpness_test
}  // namespace kudari::torch
