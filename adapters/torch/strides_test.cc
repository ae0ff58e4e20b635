// Parameters whose elements do not lie in order, or are complex: they train with the bits of
// contiguous real ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kudari/kudari.h"
#include "kudari/torch.h"
#include "kudari/torch_release.h"
#include "tests/support/errors.h"

namespace kudari::torch {
namespace strides_test {

using at::Tensor;
using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

/// Parameters of several shapes.
struct Net : ::torch::nn::Module {
  explicit Net(at::ScalarType type = at::kFloat) {
    ::torch::manual_seed(1);
    for (const auto& [name, shape] : std::vector<std::pair<std::string, std::vector<int64_t>>>{
             {"conv", {8, 3, 3, 3}}, {"deep", {4, 6, 5, 5}}, {"linear", {7, 9}}, {"bias", {8}}}) {
      register_parameter(name, at::randn(shape).to(type));
    }
  }

  /// The parameters, with elements in another order.
  void Reorder() {
    for (Tensor& p : parameters()) {
      if (p.dim() == 4) p.set_data(p.detach().contiguous(at::MemoryFormat::ChannelsLast));
      if (p.dim() == 2) p.set_data(p.detach().t().contiguous().t());
    }
  }
  void Straighten() {
    for (Tensor& p : parameters()) p.set_data(p.detach().contiguous());
  }

  /// A backward pass, element by element, so that the layout changes no bit.
  Tensor Backward(int step) {
    for (Tensor& p : parameters()) {
      const Tensor noise = ((at::arange(p.numel()) * (step + 3)).remainder(17) - 8).view(p.sizes());
      const Tensor g = p.detach().to(at::kFloat) * 0.5 + noise;
      p.mutable_grad() = step % 2 == 0 ? g : at::empty_like(p, at::kFloat).copy_(g);
    }
    return at::zeros({});
  }
};

void ExpectEqual(const Net& a, const Net& b, int step) {
  for (const auto& item : a.named_parameters()) {
    EXPECT_TRUE(item.value().equal(b.named_parameters()[item.key()])) << item.key() << ", " << step;
  }
}

std::vector<OptimizerSpec> Specs() {
  std::vector<OptimizerSpec> specs(5, AdamW{.lr = 0.01, .weight_decay = 0.1});
  specs[1].agc = AdaptiveClip{};
  specs[1].centralize = true;
  specs[1].clip_norm = 1.0;
  specs[2].source = "looksam";
  specs[2].sharpness = SharpnessSpec{.rho = 0.1, .k = 3};
  specs[3].lookahead = LookaheadSpec{.k = 2, .state = LookaheadState::kPullback};
  specs[3].ema = EmaSpec{.decay = 0.9};
  specs[4] = Muon{.lr = 0.01};
  specs[4].fallback = Fallback{};
  specs.emplace_back(AdafactorTorch{});
  specs.emplace_back(Momentum{.lr = 0.01});
  specs.back().source = "nesterov_lookahead";
  return specs;
}

void Step(Optimizer& optimizer, Net& net, int step) {
  optimizer.Step([&] { return net.Backward(step); });
}

TEST(StridesTest, TheBitsAreThoseOfContiguousParameters) {
  for (const OptimizerSpec& spec : Specs()) {
    SCOPED_TRACE(ToToml(spec));
    Net straight, strided;
    strided.Reorder();
    ASSERT_FALSE(strided.parameters()[0].is_contiguous());
    Optimizer a(straight, spec), b(strided, spec);
    for (int step = 0; step < 10; ++step) {
      // The order may change at any time.
      if (step == 4) strided.Straighten();
      if (step == 6) strided.Reorder();
      Step(a, straight, step);
      Step(b, strided, step);
      ExpectEqual(straight, strided, step);
      ASSERT_EQ(FirstDifference(a.core().State(), b.core().State()), "") << step;
    }
    ASSERT_FALSE(strided.parameters()[1].is_contiguous());
    {
      const EvaluationView of_a = a.EvaluationWeights(), of_b = b.EvaluationWeights();
      ExpectEqual(straight, strided, -1);
    }
    ExpectEqual(straight, strided, -2);
  }
}

TEST(StridesTest, MastersStay) {
  for (const Master master : {Master::kFloat32, Master::kSplit8, Master::kKahan}) {
    Net straight(at::kBFloat16), strided(at::kBFloat16);
    strided.Reorder();
    OptimizerSpec spec = AdamW{.lr = 1e-3};
    spec.precision = {.master = master, .state = StateFormat::kBFloat16};
    Optimizer a(straight, spec), b(strided, spec);
    for (int step = 0; step < 8; ++step) {
      if (step == 3) strided.Straighten();
      if (step == 5) strided.Reorder();
      Step(a, straight, step);
      Step(b, strided, step);
      ExpectEqual(straight, strided, step);
    }
    EXPECT_EQ(FirstDifference(a.core().State(), b.core().State()), "");
  }
}

TEST(StridesTest, GradientsAreReleased) {
  Net straight, strided;
  strided.Reorder();
  Optimizer a(straight, AdamW{}), b(strided, AdamW{});
  GradientRelease of_a(a), of_b(b);
  const auto loss = [](Net& net) {
    return [&net] {
      Tensor sum = at::zeros({});
      for (const Tensor& p : net.parameters()) sum = sum + (p * p).sum();
      return sum;
    };
  };
  for (int step = 0; step < 3; ++step) {
    of_a.Step(loss(straight));
    of_b.Step(loss(strided));
    ExpectEqual(straight, strided, step);
  }
}

TEST(StridesTest, LibTorchIsToldOfWhatWasWritten) {
  Net net;
  net.Reorder();
  Optimizer optimizer(net, AdamW{});
  const Tensor w = net.parameters()[0];
  const Tensor result = (w * w).sum();
  Step(optimizer, net, 0);
  EXPECT_THROW(result.backward(), c10::Error);
  // What is written between steps is stepped.
  {
    const at::NoGradGuard no_grad;
    w.zero_();
  }
  optimizer.SetLr(0);
  Step(optimizer, net, 1);
  EXPECT_EQ(w.abs().max().item<double>(), 0);
}

TEST(StridesTest, ElementsThatShareMemoryAreRefused) {
  const Tensor shared = at::zeros({4, 1}).expand({4, 3}).requires_grad_();
  EXPECT_THAT(
      ErrorOf([&] {
        Optimizer(NamedParameters{{"w", shared}}, Sgd{});
      }),
      HasSubstr("parameter \"w\" is of elements that may share memory, with strides [1, 0]"));
}

/// The same numbers as complex ones and as pairs.
TEST(ComplexTest, APairIsSteppedAsTwoRealNumbers) {
  for (const OptimizerSpec& spec :
       {OptimizerSpec(AdamW{.lr = 0.01, .weight_decay = 0.1}), OptimizerSpec(Lamb{.lr = 0.01})}) {
    ::torch::manual_seed(1);
    const Tensor pairs = at::randn({5, 3, 2});
    const Tensor real = pairs.clone().requires_grad_();
    const Tensor complex = at::view_as_complex(pairs.clone()).requires_grad_();
    const Tensor strided = at::view_as_complex(pairs.clone()).t().contiguous().t().requires_grad_();
    OptimizerSpec clipped = spec;
    clipped.clip_norm = 1.0;
    clipped.ema = EmaSpec{.decay = 0.5};
    clipped.classes = {{"*", TensorClass::kMatrix}};
    Optimizer of_real(NamedParameters{{"w", real}}, clipped);
    Optimizer of_complex(NamedParameters{{"w", complex}}, clipped);
    Optimizer of_strided(NamedParameters{{"w", strided}}, clipped);
    const auto expect_equal = [&] {
      EXPECT_TRUE(at::view_as_real(complex.detach()).equal(real.detach()));
      EXPECT_TRUE(at::view_as_real(strided.detach()).equal(real.detach()));
    };
    for (int step = 0; step < 5; ++step) {
      const Tensor g = at::randn({5, 3, 2});
      real.mutable_grad() = g;
      complex.mutable_grad() = at::view_as_complex(g);
      strided.mutable_grad() = at::view_as_complex(g).conj().resolve_conj().conj();  // lazily
      for (Optimizer* const o : {&of_real, &of_complex, &of_strided}) o->Step();
      expect_equal();
    }
    EXPECT_EQ(FirstDifference(of_complex.core().State(), of_real.core().State()), "");
    const EvaluationView a = of_real.EvaluationWeights(), b = of_complex.EvaluationWeights();
    const EvaluationView c = of_strided.EvaluationWeights();
    expect_equal();
  }
}

TEST(ComplexTest, TrajectoriesAreTorchs) {
  ::torch::manual_seed(2);
  const Tensor ours = at::randn({6, 4}, at::kComplexFloat).requires_grad_();
  const Tensor theirs = ours.detach().clone();
  Optimizer a(std::vector<Tensor>{ours}, AdamW{.lr = 0.02});
  const Tensor pairs = at::view_as_real(theirs).requires_grad_();
  ::torch::optim::AdamW b(std::vector<Tensor>{pairs}, ::torch::optim::AdamWOptions(0.02));
  for (int step = 0; step < 30; ++step) {
    const Tensor g = at::randn({6, 4}, at::kComplexFloat);
    ours.mutable_grad() = g;
    pairs.mutable_grad() = at::view_as_real(g);
    a.step();
    b.step();
  }
  EXPECT_LT((at::view_as_real(ours.detach()) - pairs).abs().max().item<double>(), 2e-6);
}

TEST(ComplexTest, WhatIsForRealNumbersIsNamed) {
  const Tensor w = at::ones({4, 4}, at::kComplexFloat).requires_grad_();
  const auto error = [&w](const OptimizerSpec& spec) {
    return ErrorOf([&] { Optimizer(NamedParameters{{"w", w}}, spec); });
  };
  EXPECT_EQ(error(Muon{}), "parameter \"w\" is complex, and muon is for real matrices");
  OptimizerSpec spec = AdamW{};
  spec.centralize = true;
  EXPECT_EQ(error(spec),
            "parameter \"w\" is complex, and agc and centralize are for real parameters");
  Optimizer optimizer(NamedParameters{{"w", w}}, AdamW{});
  w.mutable_grad() = at::ones({4, 4});
  EXPECT_THAT(ErrorOf([&] { optimizer.Step(); }), HasSubstr("the gradient of parameter \"w\""));
  const Tensor conjugate = at::ones({2}, at::kComplexFloat).conj().requires_grad_();
  EXPECT_THAT(ErrorOf([&] {
                Optimizer(NamedParameters{{"w", conjugate}}, AdamW{});
              }),
              HasSubstr("\"w\" is a negated view"));
  EXPECT_THAT(ErrorOf([&] { optimizer.add_param_group({{at::ones({2}, at::kComplexFloat)}}); }),
              HasSubstr("is complex; give it to the constructor"));
}

}  // namespace strides_test
}  // namespace kudari::torch
