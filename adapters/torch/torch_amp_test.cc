#include "kudari/torch_amp.h"

#include <ATen/autocast_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "kudari/kudari.h"
#include "tests/support/errors.h"

namespace kudari::torch {
namespace torch_amp_test {

using kudari::testing::ErrorOf;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr double kInf = std::numeric_limits<double>::infinity();

// What autocast is set to, for comparison.
auto AutocastState() {
  return std::tuple(at::autocast::is_autocast_enabled(at::kCPU),
                    at::autocast::get_autocast_dtype(at::kCPU),
                    at::autocast::is_autocast_cache_enabled());
}

at::ScalarType TypeOfProduct() {
  const at::Tensor a = at::ones({2, 2});
  return a.matmul(a).scalar_type();
}

TEST(AutocastTest, CastsAndPutsBackWhatWasThere) {
  const auto before = AutocastState();
  ASSERT_EQ(TypeOfProduct(), at::kFloat);
  {
    const Autocast outer(at::kBFloat16);
    EXPECT_EQ(TypeOfProduct(), at::kBFloat16);
    const auto of_outer = AutocastState();
    {
      const Autocast inner(at::kHalf);
      EXPECT_EQ(TypeOfProduct(), at::kHalf);
    }
    EXPECT_EQ(AutocastState(), of_outer);
    EXPECT_THROW(
        {
          const Autocast inner(at::kHalf);
          throw std::runtime_error("no");
        },
        std::runtime_error);
    EXPECT_EQ(AutocastState(), of_outer);
    EXPECT_EQ(TypeOfProduct(), at::kBFloat16);
  }
  EXPECT_EQ(AutocastState(), before);
  EXPECT_EQ(TypeOfProduct(), at::kFloat);
}

TEST(AutocastTest, ForgetsCastWeightsAtItsEnd) {
  const at::Tensor w = at::ones({1, 1}).requires_grad_();
  const auto product = [&] {
    const Autocast half(at::kHalf);
    return at::ones({1, 1}).matmul(w).item<float>();
  };
  EXPECT_EQ(product(), 1);
  {
    const at::NoGradGuard no_grad;
    w.fill_(2);
  }
  EXPECT_EQ(product(), 2);
}

TEST(AutocastTest, RefusesOtherTypes) {
  const auto before = AutocastState();
  EXPECT_THAT(ErrorOf([] { const Autocast a(at::kDouble); }),
              HasSubstr("dtype = Double is neither BFloat16 nor Half"));
  EXPECT_EQ(AutocastState(), before);
}

/// One parameter, whose gradient the tests set.
struct One {
  explicit One(double value = 0)
      : w(at::full({2}, value, at::kFloat).requires_grad_()),
        optimizer(NamedParameters{{"w", w}}, Sgd{.lr = 0.5}) {}
  void SetGradient(double first, double second) {
    w.mutable_grad() = at::tensor({first, second}, at::kFloat);
  }
  at::Tensor w;
  Optimizer optimizer;
};

TEST(TorchGradScalerTest, ScalesAndSkipsAreTorchs) {
  const json golden =
      json::parse(std::ifstream(KUDARI_SOURCE_DIR "/tests/golden/data/grad_scaler.json"))["cases"];
  ASSERT_FALSE(golden.empty());
  for (const json& c : golden) {
    const json& o = c["options"];
    GradScaler scaler({.init_scale = o["init_scale"],
                       .growth_factor = o["growth_factor"],
                       .backoff_factor = o["backoff_factor"],
                       .growth_interval = o["growth_interval"]});
    const std::vector<std::string> scripts = c["scripts"];
    std::vector<std::unique_ptr<One>> models;
    for (size_t k = 0; k < scripts.size(); ++k) models.push_back(std::make_unique<One>());
    size_t step = 0;
    for (const json& run : c["runs"]) {  // [first tracker, count, skipped, scale]
      for (int64_t i = 0; i < run[1]; ++i, ++step) {
        for (size_t k = 0; k < scripts.size(); ++k) {
          const char kind = scripts[k][step];
          const double x = kind == '.' ? 1 : kind == 'i' ? kInf : std::nan("");
          at::Tensor& w = models[k]->w;
          models[k]->optimizer.ZeroGrad();
          scaler.Scale((w * at::tensor({1.0, x}, at::kFloat)).sum()).backward();
          const at::Tensor before = w.detach().clone();
          const Report report = scaler.Step(models[k]->optimizer);
          EXPECT_EQ(report.skipped, run[2][k].get<bool>());
          EXPECT_EQ(w.equal(before), report.skipped);
        }
        scaler.Update();
        EXPECT_EQ(scaler.scale(), run[3].get<double>()) << c["scripts"] << " step " << step;
        EXPECT_EQ(scaler.growth_tracker(), run[0].get<int64_t>() + i);
      }
    }
  }
}

TEST(TorchGradScalerTest, ScaledLossesDoNotOverflow) {
  const GradScaler scaler;
  for (const auto type : {at::kHalf, at::kBFloat16, at::kFloat}) {
    const at::Tensor scaled = scaler.Scale(at::scalar_tensor(2, type));
    EXPECT_EQ(scaled.scalar_type(), at::kFloat);
    EXPECT_EQ(scaled.item<double>(), 131072);
  }
  EXPECT_EQ(scaler.Scale(at::scalar_tensor(2, at::kDouble)).scalar_type(), at::kDouble);
}

TEST(TorchGradScalerTest, UnscaleLeavesTheGradientsForAll) {
  One one;
  GradScaler scaler({.init_scale = 8});
  one.SetGradient(8, 16);
  scaler.Unscale(one.optimizer);
  EXPECT_TRUE(one.w.grad().equal(at::tensor({1.0, 2.0}, at::kFloat)));
  EXPECT_THAT(ErrorOf([&] { scaler.Unscale(one.optimizer); }), HasSubstr("already unscaled"));
  EXPECT_TRUE(one.w.grad().equal(at::tensor({1.0, 2.0}, at::kFloat)));
  one.w.mutable_grad().add_(1);
  const Report report = scaler.Step(one.optimizer);
  EXPECT_FALSE(report.skipped);
  EXPECT_EQ(report.loss_scale, 8);
  EXPECT_TRUE(one.w.equal(at::tensor({-1.0, -1.5}, at::kFloat)));
  EXPECT_THAT(ErrorOf([&] { scaler.Unscale(one.optimizer); }), HasSubstr("already been stepped"));
  scaler.Update();

  // As torch: what was not finite is skipped, even if it has been put right.
  one.SetGradient(1, kInf);
  scaler.Unscale(one.optimizer);
  one.SetGradient(1, 1);
  const Report skipped = scaler.Step(one.optimizer);
  EXPECT_TRUE(skipped.skipped);
  EXPECT_EQ(skipped.first_nonfinite, "w");
  EXPECT_TRUE(one.w.equal(at::tensor({-1.0, -1.5}, at::kFloat)));
  scaler.Update();
  EXPECT_EQ(scaler.scale(), 4);
}

TEST(TorchGradScalerTest, UnscaleWithClippingIsFoldedClipping) {
  OptimizerSpec clipping = Sgd{.lr = 0.5};
  clipping.clip_norm = 1.0;
  const at::Tensor folded = at::zeros({2}).requires_grad_(), by_hand = folded.clone().detach();
  by_hand.requires_grad_();
  Optimizer a(NamedParameters{{"w", folded}}, clipping);
  Optimizer b(NamedParameters{{"w", by_hand}}, Sgd{.lr = 0.5});
  GradScaler scaler;
  for (const at::Tensor& w : {folded, by_hand}) {
    w.mutable_grad() = at::tensor({3.0 * 65536, 4.0 * 65536}, at::kFloat);
  }
  EXPECT_EQ(scaler.Step(a).grad_norm, 5);
  scaler.Unscale(b);
  ::torch::nn::utils::clip_grad_norm_(by_hand, 1.0);
  scaler.Step(b);
  scaler.Update();
  EXPECT_TRUE(at::allclose(folded, by_hand, 1e-6));
  EXPECT_TRUE(at::allclose(folded, at::tensor({-0.3, -0.4}, at::kFloat), 1e-5));
}

TEST(TorchGradScalerTest, UnscaleTakesBFloat16AndRefusesFloat16) {
  GradScaler scaler({.init_scale = 8});
  const auto make = [](at::ScalarType type) {
    at::Tensor w = at::zeros({2}, type).requires_grad_();
    w.mutable_grad() = at::tensor({8.0, 16.0}, at::kFloat).to(type);
    return w;
  };
  const at::Tensor brain = make(at::kBFloat16), half = make(at::kHalf);
  Optimizer a(NamedParameters{{"brain", brain}}, Sgd{.lr = 0.5});
  Optimizer b(NamedParameters{{"half", half}}, Sgd{.lr = 0.5});
  scaler.Unscale(a);
  EXPECT_TRUE(brain.grad().equal(at::tensor({1.0, 2.0}, at::kFloat).to(at::kBFloat16)));
  EXPECT_THAT(ErrorOf([&] { scaler.Unscale(b); }),
              HasSubstr("the gradient of parameter \"half\" is float16"));
  EXPECT_TRUE(half.grad().equal(at::tensor({8.0, 16.0}, at::kFloat).to(at::kHalf)));
  scaler.Step(a);
  scaler.Step(b);
  scaler.Update();
  EXPECT_TRUE(brain.equal(at::tensor({-0.5, -1.0}, at::kFloat).to(at::kBFloat16)));
  EXPECT_TRUE(half.equal(at::tensor({-0.5, -1.0}, at::kFloat).to(at::kHalf)));
}

TEST(TorchGradScalerTest, MissingBackwardIsNamed) {
  One one;
  GradScaler scaler;
  EXPECT_THAT(ErrorOf([&] { scaler.Step(one.optimizer); }), HasSubstr("no tensor has a gradient"));
  EXPECT_THAT(ErrorOf([&] { scaler.Update(); }), HasSubstr("call Step first"));
}

TEST(TorchGradScalerTest, StatesResume) {
  One one;
  GradScaler scaler({.growth_interval = 3}), resumed({.growth_interval = 3});
  const auto step = [&](GradScaler& s) {
    one.SetGradient(1, 1);
    s.Step(one.optimizer);
    s.Update();
  };
  for (int i = 0; i < 5; ++i) step(scaler);
  resumed.LoadState(scaler.State());
  step(scaler);
  step(resumed);
  EXPECT_EQ(resumed.scale(), 262144);
  EXPECT_EQ(resumed.growth_tracker(), 0);
  EXPECT_EQ(resumed.State(), scaler.State());
  StateTree bad = scaler.State();
  bad.Set("growth_tracker", int64_t{3});
  EXPECT_THAT(ErrorOf([&] { resumed.LoadState(bad); }), HasSubstr("\"growth_tracker\" = 3"));
}

/// A classifier under autocast: two rings.
struct Rings {
  explicit Rings(double output_scale = 1) : output_scale(output_scale) {
    ::torch::manual_seed(3);
    net = ::torch::nn::Sequential(::torch::nn::Linear(2, 32), ::torch::nn::GELU(),
                                  ::torch::nn::Linear(32, 2));
    const at::Tensor angle = at::rand({256}) * 6.283185;
    y = at::arange(256).remainder(2);
    x = at::stack({angle.cos(), angle.sin()}, 1) * (1 + y.unsqueeze(1));
  }
  /// The mean over samples [begin, end).
  at::Tensor Loss(std::optional<at::ScalarType> dtype, int64_t begin = 0, int64_t end = 256) {
    std::optional<Autocast> autocast;
    if (dtype) autocast.emplace(*dtype);
    const at::Tensor logits = net->forward(x.slice(0, begin, end));
    EXPECT_EQ(logits.scalar_type(), dtype.value_or(at::kFloat));
    return output_scale * at::cross_entropy_loss(logits.to(at::kFloat), y.slice(0, begin, end));
  }
  double output_scale;
  ::torch::nn::Sequential net;
  at::Tensor x, y;
};

TEST(TorchGradScalerTest, TrainsUnderAutocast) {
  const auto train = [](std::optional<at::ScalarType> dtype) {
    Rings rings;
    Optimizer optimizer(*rings.net, AdamW{.lr = 0.02});
    GradScaler scaler({.growth_interval = 50});
    for (int i = 0; i < 60; ++i) {
      optimizer.ZeroGrad();
      scaler.Scale(rings.Loss(dtype)).backward();
      EXPECT_FALSE(scaler.Step(optimizer).skipped && dtype != at::kHalf);
      scaler.Update();
    }
    return rings.Loss(std::nullopt).item<double>();
  };
  const double untrained = Rings().Loss(std::nullopt).item<double>(), full = train(std::nullopt);
  EXPECT_GT(untrained, 0.6);
  EXPECT_LT(full, 0.1);
  for (const auto dtype : {at::kBFloat16, at::kHalf}) {
    const double loss = train(dtype);
    EXPECT_NEAR(loss, full, 0.02);
    EXPECT_NE(loss, full);
    EXPECT_EQ(train(dtype), loss);  // again the same
  }
}

TEST(TorchGradScalerTest, TrainsFloat16WeightsWithAMaster) {
  const auto train = [](at::ScalarType type) {
    Rings rings;
    rings.net->to(type);
    rings.x = rings.x.to(type);
    OptimizerSpec spec = AdamW{.lr = 0.02};
    spec.precision.master = Master::kFloat32;
    Optimizer optimizer(*rings.net, spec);
    GradScaler scaler;
    const auto loss = [&rings] {
      return at::cross_entropy_loss(rings.net->forward(rings.x).to(at::kFloat), rings.y);
    };
    int skipped = 0;
    for (int i = 0; i < 60; ++i) {
      optimizer.ZeroGrad();
      scaler.Scale(loss()).backward();
      EXPECT_EQ(rings.net->parameters()[0].grad().scalar_type(), type);
      skipped += scaler.Step(optimizer).skipped ? 1 : 0;
      scaler.Update();
    }
    EXPECT_LT(skipped, 5);
    return loss().item<double>();
  };
  const double full = train(at::kFloat), half = train(at::kHalf);
  EXPECT_LT(full, 0.1);
  EXPECT_NEAR(half, full, 0.02);
  EXPECT_NE(half, full);
}

TEST(TorchGradScalerTest, FindsAScaleThatFloat16Holds) {
  // Logits' gradients of up to 1 / 256 times 2^30 are beyond float16.
  Rings rings;
  Optimizer optimizer(*rings.net, AdamW{.lr = 0.02});
  const auto params = [&] {
    std::vector<at::Tensor> copies;
    for (const auto& p : rings.net->parameters()) copies.push_back(p.detach().clone());
    return copies;
  };
  GradScaler scaler({.init_scale = 0x1p30});
  int skipped = 0;
  for (int i = 0; i < 20; ++i) {
    optimizer.ZeroGrad();
    scaler.Scale(rings.Loss(at::kHalf)).backward();
    const auto before = params();
    const Report report = scaler.Step(optimizer);
    scaler.Update();
    const auto after = params();
    for (size_t k = 0; k < after.size(); ++k) {
      EXPECT_EQ(after[k].equal(before[k]), report.skipped);
    }
    skipped += report.skipped ? 1 : 0;
    EXPECT_EQ(optimizer.core().steps(), i + 1 - skipped);
  }
  EXPECT_GE(skipped, 2);
  EXPECT_LT(skipped, 15);
  EXPECT_EQ(scaler.scale(), std::exp2(30 - skipped));
}

TEST(TorchGradScalerTest, SmallGradientsSurviveInFloat16) {
  // The loss is small: unscaled, its gradients vanish where they pass through float16.
  const auto sum_of_gradients = [](double scale) {
    Rings rings(0x1p-20);
    GradScaler scaler({.init_scale = scale});
    scaler.Scale(rings.Loss(at::kHalf)).backward();
    double sum = 0;
    for (const auto& p : rings.net->parameters()) sum += p.grad().abs().sum().item<double>();
    return sum / scale;
  };
  EXPECT_EQ(sum_of_gradients(1), 0);
  EXPECT_GT(sum_of_gradients(0x1p20), 0);
}

TEST(TorchGradScalerTest, ClosuresAccumulateUnderOneScale) {
  const auto train = [](bool closure, int overflow_in) {
    Rings rings;
    OptimizerSpec spec = Sgd{.lr = 0.5};
    spec.accumulate = closure ? 4 : 1;
    Optimizer optimizer(*rings.net, spec);
    GradScaler scaler({.init_scale = 1024});
    int64_t call = 0;
    Report report;
    if (closure) {
      report = scaler.Step(optimizer, [&]() -> at::Tensor {
        at::Tensor loss = rings.Loss(std::nullopt, 64 * call, 64 * (call + 1));
        (scaler.Scale(loss) * (call == overflow_in ? kInf : 1.0)).backward();
        ++call;
        return loss;
      });
    } else {
      scaler.Scale(rings.Loss(std::nullopt)).backward();
      report = scaler.Step(optimizer);
    }
    scaler.Update();
    return std::pair(rings.net->parameters(), report);
  };
  const auto [whole, whole_report] = train(false, -1);
  const auto [parts, report] = train(true, -1);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_TRUE(at::allclose(whole[i], parts[i], 1e-5));
  EXPECT_FALSE(report.skipped);
  EXPECT_NEAR(report.loss, Rings().Loss(std::nullopt).item<double>(), 1e-6);
  const auto [untouched, skipped] = train(true, 2);
  EXPECT_TRUE(skipped.skipped);
  EXPECT_EQ(skipped.first_nonfinite, "0.weight");
  EXPECT_TRUE(untouched[0].equal(Rings().net->parameters()[0]));
}

}  // namespace torch_amp_test
}  // namespace kudari::torch
