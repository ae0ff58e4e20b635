// Parameters of float64, beside LibTorch's own optimisers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "kudari/kudari.h"
#include "kudari/torch.h"
#include "kudari/torch_amp.h"
#include "kudari/torch_archive.h"
#include "kudari/torch_lbfgs.h"
#include "kudari/torch_release.h"
#include "kudari/torch_state.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::torch {
namespace torch_float64_test {

namespace nn = ::torch::nn;
namespace optim = ::torch::optim;
using at::Tensor;
using kudari::testing::ErrorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

nn::Sequential DoubleNet() {
  ::torch::manual_seed(1);
  nn::Sequential net(nn::Linear(5, 7), nn::Tanh(), nn::Linear(7, 3));
  net->to(at::kDouble);
  return net;
}

void DrawGradients(const nn::Sequential& net, int step) {
  ::torch::manual_seed(1000 + static_cast<uint64_t>(step));
  for (Tensor& p : net->parameters()) p.mutable_grad() = ::torch::randn_like(p);
}

/// The largest difference of weights.
double Apart(const nn::Sequential& a, const nn::Sequential& b) {
  double most = 0;
  const auto pa = a->parameters(), pb = b->parameters();
  for (size_t i = 0; i < pa.size(); ++i) {
    most = std::max(most, (pa[i] - pb[i]).abs().max().item<double>());
  }
  return most;
}

struct Pair {
  OptimizerSpec spec;
  std::function<std::unique_ptr<optim::Optimizer>(std::vector<Tensor>)> make;
};

template <class O, class Options>
Pair Of(OptimizerSpec spec, const Options& options) {
  return {std::move(spec), [options](std::vector<Tensor> parameters) {
            return std::make_unique<O>(std::move(parameters), options);
          }};
}

std::vector<Pair> Pairs() {
  return {Of<optim::SGD>(Sgd{.lr = 0.01, .weight_decay = 0.1},
                         optim::SGDOptions(0.01).weight_decay(0.1)),
          Of<optim::SGD>(Nesterov{.lr = 0.01, .momentum = 0.9},
                         optim::SGDOptions(0.01).momentum(0.9).nesterov(true)),
          Of<optim::Adam>(AmsGrad{.lr = 0.01}, optim::AdamOptions(0.01).amsgrad(true)),
          Of<optim::AdamW>(AdamW{.lr = 0.01, .weight_decay = 0.1},
                           optim::AdamWOptions(0.01).weight_decay(0.1)),
          Of<optim::RMSprop>(RmspropMomentum{.lr = 0.01, .momentum = 0.5},
                             optim::RMSpropOptions(0.01).momentum(0.5)),
          Of<optim::Adagrad>(Adagrad{.lr = 0.1, .lr_decay = 0.01},
                             optim::AdagradOptions(0.1).lr_decay(0.01))};
}

TEST(TorchFloat64Test, TrajectoriesAreTorchs) {
  for (const Pair& pair : Pairs()) {
    SCOPED_TRACE(pair.spec.rule);
    const nn::Sequential theirs = DoubleNet(), ours = DoubleNet();
    const auto torch = pair.make(theirs->parameters());
    Optimizer optimizer(ours, pair.spec);
    for (int step = 0; step < 50; ++step) {
      DrawGradients(theirs, step);
      DrawGradients(ours, step);
      torch->step();
      optimizer.step();
    }
    EXPECT_LT(Apart(theirs, ours), 1e-14);
    EXPECT_GT(Apart(theirs, DoubleNet()), 1e-2);
    EXPECT_EQ(ours->parameters()[0].scalar_type(), at::kDouble);
  }
}

TEST(TorchFloat64Test, AnalyticAndNumericGradientsTrainAlike) {
  // What float32 could not do: central differences of a step of 1e-6.
  const nn::Sequential by_backward = DoubleNet(), by_differences = DoubleNet();
  Optimizer a(by_backward, Adam{.lr = 0.01}), b(by_differences, Adam{.lr = 0.01});
  const Tensor x = ::torch::randn({16, 5}, at::kDouble), y = x.sin().slice(1, 0, 3);
  const auto loss = [&](const nn::Sequential& net) {
    return ::torch::mse_loss(net.ptr()->forward(x), y);
  };
  for (int step = 0; step < 5; ++step) {
    a.zero_grad();
    loss(by_backward).backward();
    a.step();
    for (Tensor& p : by_differences->parameters()) {
      const at::NoGradGuard no_grad;
      Tensor g = at::empty_like(p);
      for (int64_t i = 0; i < p.numel(); ++i) {
        double* const at = p.data_ptr<double>() + i;
        const double before = *at;
        *at = before + 1e-6;
        const auto above = loss(by_differences).item<double>();
        *at = before - 1e-6;
        const auto below = loss(by_differences).item<double>();
        *at = before;
        g.data_ptr<double>()[i] = (above - below) / 2e-6;
      }
      p.mutable_grad() = g;
    }
    b.step();
  }
  EXPECT_LT(Apart(by_backward, by_differences), 1e-5);
  EXPECT_GT(Apart(by_backward, DoubleNet()), 1e-2);
}

TEST(TorchFloat64Test, OrderComplexNumbersAndReleaseMakeNoDifference) {
  ::torch::manual_seed(3);
  const Tensor start = at::randn({5, 3, 2}, at::kDouble);
  const Tensor real = start.clone().requires_grad_();
  const Tensor complex = at::view_as_complex(start.clone()).requires_grad_();
  const Tensor strided = start.clone().transpose(0, 1).contiguous().transpose(0, 1);
  strided.requires_grad_();
  const Tensor released = start.clone().requires_grad_();
  OptimizerSpec spec = AdamW{.lr = 0.01};
  spec.classes = {{"*", TensorClass::kMatrix}};
  Optimizer of_real(NamedParameters{{"w", real}}, spec);
  Optimizer of_complex(NamedParameters{{"w", complex}}, spec);
  Optimizer of_strided(NamedParameters{{"w", strided}}, spec);
  Optimizer of_released(NamedParameters{{"w", released}}, spec);
  GradientRelease release(of_released);
  for (int step = 0; step < 5; ++step) {
    const Tensor g = at::randn({5, 3, 2}, at::kDouble);
    real.mutable_grad() = g;
    complex.mutable_grad() = at::view_as_complex(g);
    strided.mutable_grad() = g;
    for (Optimizer* const o : {&of_real, &of_complex, &of_strided}) o->Step();
    release.Step([&] { return (released * g).sum(); });
  }
  EXPECT_TRUE(at::view_as_real(complex.detach()).equal(real.detach()));
  EXPECT_TRUE(strided.detach().equal(real.detach()));
  EXPECT_TRUE(released.detach().equal(real.detach()));
}

TEST(TorchFloat64Test, StatesGoThroughArchivesExactly) {
  const kudari::testing::TemporaryFolder folder;
  const nn::Sequential theirs = DoubleNet(), ours = DoubleNet(), back = DoubleNet();
  optim::AdamW torch(theirs->parameters(), optim::AdamWOptions(0.01));
  const auto step_both = [&](optim::Optimizer& a, const nn::Sequential& of_a, optim::Optimizer& b,
                             const nn::Sequential& of_b, int first) {
    for (int step = first; step < first + 10; ++step) {
      DrawGradients(of_a, step);
      DrawGradients(of_b, step);
      a.step();
      b.step();
    }
  };
  const auto copy = [](const nn::Sequential& from, const nn::Sequential& to) {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < from->parameters().size(); ++i) {
      to->parameters()[i].copy_(from->parameters()[i]);
    }
  };
  for (int step = 0; step < 10; ++step) {
    DrawGradients(theirs, step);
    torch.step();
  }
  const std::string archive = (folder / "torch.pt").string();
  ::torch::save(static_cast<optim::Optimizer&>(torch), archive);
  copy(theirs, ours);
  const StateTree old = ReadTorchArchive(archive, "AdamW", *ours);
  Optimizer optimizer(*ours, SpecFromTorch(old));
  optimizer.core().LoadState(StateFromTorch(old));
  EXPECT_EQ(optimizer.core().State().At("tensors/0.weight/slots/exp_avg").Array().type,
            ElementType::kFloat64);
  step_both(torch, theirs, optimizer, ours, 10);
  EXPECT_LT(Apart(theirs, ours), 1e-14);
  WriteTorchArchive(archive, optimizer);
  copy(ours, back);
  optim::AdamW again(back->parameters(), optim::AdamWOptions(0.01));
  ::torch::load(static_cast<optim::Optimizer&>(again), archive);
  step_both(again, back, optimizer, ours, 20);
  EXPECT_LT(Apart(back, ours), 1e-14);

  // And through its own, to the bit.
  std::stringstream stream;
  ::torch::save(optimizer, stream);
  const nn::Sequential resumed = DoubleNet();
  copy(ours, resumed);
  Optimizer other(*resumed, SpecFromTorch(old));
  ::torch::load(other, stream);
  step_both(optimizer, ours, other, resumed, 30);
  EXPECT_EQ(Apart(ours, resumed), 0);
}

TEST(TorchFloat64Test, ScaledLossesAndMixedModelsWork) {
  const Tensor wide = at::ones({3}, at::kDouble).requires_grad_(), narrow = at::ones({3});
  narrow.requires_grad_();
  Optimizer optimizer({{"wide", wide}, {"narrow", narrow}}, Sgd{.lr = 0.1});
  GradScaler scaler;
  scaler.Scale((wide * wide).sum() + narrow.sum()).backward();
  EXPECT_FALSE(scaler.Step(optimizer).skipped);
  scaler.Update();
  EXPECT_TRUE(wide.detach().equal(at::full({3}, 1 - 0.1 * 2, at::kDouble)));
  EXPECT_TRUE(narrow.detach().equal(at::full({3}, 1 - 0.1F)));
}

TEST(TorchFloat64Test, GradientsOfOtherTypesAreNamed) {
  const Tensor w = at::ones({3}, at::kDouble).requires_grad_();
  Optimizer optimizer(NamedParameters{{"w", w}}, Sgd{});
  Tensor g = at::ones({3});
  // As a hook may leave it, past LibTorch's own check.
  w.mutable_grad() = g;
  EXPECT_EQ(
      ErrorOf([&] { optimizer.Step(); }),
      "the gradient of parameter \"w\" is of type Float; it must be a dense float64 tensor on "
      "the CPU");
  EXPECT_TRUE(w.detach().equal(at::ones({3}, at::kDouble)));
}

TEST(TorchFloat64Test, WhatIsForFloat32AloneSaysSo) {
  const nn::Sequential net = DoubleNet();
  EXPECT_THAT(ErrorOf([&] { Optimizer(net, Muon{}); }),
              HasSubstr("tensor \"0.weight\" is float64, and the rule muon for whole tensors"));
  OptimizerSpec spec = AdamW{};
  spec.source = "sam";
  EXPECT_THAT(ErrorOf([&] { Optimizer(net, spec); }), HasSubstr("source = \"sam\""));
  EXPECT_THAT(ErrorOf([&] { Lbfgs lbfgs(*net, {}); }), HasSubstr("float64, but must be float32"));
}

std::vector<std::string> NamesOf(const Optimizer& optimizer) {
  std::vector<std::string> names;
  for (const kudari::Tensor& t : optimizer.core().tensors()) names.push_back(t.name);
  return names;
}

TEST(TorchFloat64Test, FrozenOnesAreHeldBesideTrainedOnes) {
  const Tensor trained = at::ones({2}, at::kDouble).requires_grad_();
  const Tensor frozen = at::ones({2}, at::kDouble);
  EXPECT_THAT(NamesOf(Optimizer({{"trained", trained}, {"frozen", frozen}}, AdamW{})),
              ElementsAre("trained", "frozen"));
  const Tensor narrow = at::ones({2, 2}).requires_grad_();
  EXPECT_THAT(NamesOf(Optimizer({{"frozen", frozen}, {"narrow", narrow}}, Muon{})),
              ElementsAre("narrow"));
}

}  // namespace torch_float64_test
}  // namespace kudari::torch
