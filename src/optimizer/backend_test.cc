// The optimiser on a backend whose memory the host must not touch: the same bits as in host memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/fenced_backend.h"
#include "tests/support/model.h"
#include "tests/support/rules.h"

namespace kudari {
namespace backend_test {

using testing::ErrorOf;
using testing::FencedBackend;
using ::testing::HasSubstr;
using testing::Model;

/// A model in host memory and the same tensors on a fenced backend.
class Twins {
 public:
  Twins(const Model::Shapes& shapes, DType dtype) : host_(shapes) {
    for (size_t i = 0; i < host_.tensors.size(); ++i) {
      Tensor& host = host_.tensors[i];
      host.dtype = dtype;
      host.grad_dtype = DType::kFloat32;
      bytes_.emplace_back(static_cast<size_t>(host.Size() * Bytes(dtype)));
      // Weights of any bits that are numbers.
      if (dtype == DType::kFloat32) {
        std::ranges::copy(std::as_bytes(std::span(host_.params[i])), bytes_[i].begin());
      } else {
        for (size_t k = 0; k < bytes_[i].size(); k += 2) {
          std::memcpy(&bytes_[i][k],
                      reinterpret_cast<const std::byte*>(&host_.params[i][k / 2]) + 2, 2);
        }
      }
      host.param = bytes_[i].data();
      Tensor far = host;
      far.backend = &backend_;
      far.param = backend_.Allocate(bytes_[i].size());
      far.grad = backend_.Allocate(static_cast<size_t>(far.Size()) * sizeof(float));
      backend_.Write(bytes_[i], far.param);
      far_.push_back(far);
    }
    NextGradient();
  }

  std::vector<Tensor> host() const { return host_.tensors; }
  std::vector<Tensor> far() const { return far_; }
  FencedBackend& backend() { return backend_; }

  void NextGradient(uint64_t seed) {
    host_.random = testing::Random(seed);
    NextGradient();
  }
  void NextGradient() {
    host_.NextGradient();
    for (size_t i = 0; i < far_.size(); ++i) {
      backend_.Write(std::as_bytes(std::span(host_.grads[i])), const_cast<void*>(far_[i].grad));
    }
  }

  /// The name of the first tensor whose weights differ; empty if none do.
  std::string Different() {
    for (size_t i = 0; i < far_.size(); ++i) {
      std::vector<std::byte> now(bytes_[i].size());
      backend_.Read(far_[i].param, now, {});
      if (now != bytes_[i]) return far_[i].name;
    }
    return {};
  }

 private:
  FencedBackend backend_;
  Model host_;
  std::vector<std::vector<std::byte>> bytes_;  // of the host's weights
  std::vector<Tensor> far_;
};

/// What is done around the rules.
struct Case {
  std::string name;
  OptimizerSpec spec = {};
  DType dtype = DType::kFloat32;
};

std::vector<Case> Cases() {
  std::vector<Case> cases = {{.name = "plain"}};
  const auto add = [&cases](std::string name, DType dtype = DType::kFloat32) -> OptimizerSpec& {
    cases.push_back({.name = std::move(name), .dtype = dtype});
    return cases.back().spec;
  };
  OptimizerSpec& clipped = add("clipped");
  clipped.clip_norm = 1;
  clipped.clip_value = 0.2;
  clipped.agc = AdaptiveClip{};
  clipped.centralize = true;
  OptimizerSpec& penalized = add("penalized");
  penalized.l1 = 1e-3;
  penalized.l2 = 1e-2;
  penalized.measure_norm = true;
  add("bfloat16 state").precision.state = StateFormat::kBFloat16;
  add("linear8").precision.state = StateFormat::kLinear8;
  add("dynamic8").precision.state = StateFormat::kDynamic8;
  OptimizerSpec& random = add("stochastic", DType::kBFloat16);
  random.precision = {.rounding = Rounding::kStochastic, .state = StateFormat::kSoftsign8};
  OptimizerSpec& split = add("split8", DType::kBFloat16);
  split.precision = {.master = Master::kSplit8, .state = StateFormat::kLinear8, .check = true};
  add("master float16", DType::kFloat16).precision.master = Master::kFloat32;
  return cases;
}

class BackendTest : public ::testing::TestWithParam<RuleEntry> {};

INSTANTIATE_TEST_SUITE_P(Registry, BackendTest, ::testing::ValuesIn(testing::RulesForBuild()),
                         [](const auto& info) { return info.param.name; });

// Tensors of several blocks, of part of one, of none, and in one case one so large that rules with
// norms pass over it in pieces.
TEST_P(BackendTest, GivesTheSameBits) {
  const bool matrices = GetParam().name.find("muon") != std::string::npos;
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    Model::Shapes shapes = {{"a.weight", {96, 180}}};
    if (!matrices) shapes.insert(shapes.end(), {{"a.bias", {97}}, {"none", {0}}});
    if (!matrices && c.name == "split8") shapes.push_back({"b.weight", {400, 400}});
    Twins twins(shapes, c.dtype);
    OptimizerSpec spec = c.spec;
    spec.rule = GetParam().name;
    Optimizer host(twins.host(), spec), far(twins.far(), spec);
    for (int step = 0; step < 3; ++step) {
      const Report a = host.Step(), b = far.Step();
      EXPECT_EQ(a.factor, b.factor);
      if (GetParam().scalar.hessian != nullptr) {
        host.UpdateHessian();
        far.UpdateHessian();
      }
      if (step == 1) {
        const EvaluationView host_view = host.EvaluationWeights(),
                             far_view = far.EvaluationWeights();
        ASSERT_EQ(twins.Different(), "");
      }
      ASSERT_EQ(twins.Different(), "") << step;
      ASSERT_EQ(FirstDifference(host.State(), far.State()), "") << step;
      twins.NextGradient();
    }
    Optimizer resumed(twins.far(), spec);
    resumed.LoadState(host.State());
    ASSERT_EQ(FirstDifference(resumed.State(), far.State()), "");
    host.Step();
    resumed.Step();
    EXPECT_EQ(twins.Different(), "");
    if (c.spec.clip_norm || c.spec.measure_norm) continue;
    // Tensor by tensor.
    for (size_t i = 0; i < shapes.size(); ++i) {
      EXPECT_EQ(host.GradientSquares(i), resumed.GradientSquares(i));
      host.StepTensor(i);
      resumed.StepTensor(i);
    }
    host.FinishStep();
    resumed.FinishStep();
    EXPECT_EQ(twins.Different(), "");
  }
}

/// Specs of sources and averagers, by name.
std::vector<std::pair<std::string, OptimizerSpec>> Stages() {
  std::vector<std::pair<std::string, OptimizerSpec>> stages;
  const auto add = [&stages](std::string name) -> OptimizerSpec& {
    OptimizerSpec& spec = stages.emplace_back(std::move(name), OptimizerSpec("momentum")).second;
    spec.ema = EmaSpec{};
    spec.swa = SwaSpec{};
    spec.lookahead = LookaheadSpec{.k = 2, .state = LookaheadState::kPullback};
    return spec;
  };
  add("accumulate").accumulate = 2;
  add("nesterov_lookahead").source = "nesterov_lookahead";
  for (const std::string& method : Sharpness::Methods()) {
    for (const bool random : {false, true}) {
      OptimizerSpec& spec = add(method + (random ? " with a random direction" : ""));
      spec.source = method;
      spec.accumulate = random ? 2 : 1;
      spec.lookahead->state = LookaheadState::kReset;
      spec.sharpness = SharpnessSpec{};
      spec.sharpness->k = 2;
      spec.sharpness->random_direction = random;
      spec.sharpness->direction = random ? StateFormat::kBFloat16 : StateFormat::kFloat32;
    }
  }
  return stages;
}

// Sources and averagers, with weights in 32 and in 16 bits.
TEST(Backend, StagesGiveTheSameBits) {
  for (const auto& [name, spec] : Stages()) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      SCOPED_TRACE(name + ", " + std::string(Name(dtype)));
      Twins twins({{"a.weight", {130, 128}}, {"a.bias", {130}}, {"none", {0}}}, dtype);
      OptimizerSpec with_master = spec;
      if (dtype != DType::kFloat32) with_master.precision.master = Master::kSplit16;
      Optimizer host(twins.host(), with_master), far(twins.far(), with_master);
      const auto step = [&](Optimizer& optimizer, uint64_t seed) {
        int64_t calls = 0;
        return optimizer.Step([&](Pass pass) {
          twins.NextGradient(seed + static_cast<uint64_t>(calls++) +
                             (pass == Pass::kPerturbed ? 100U : 0U));
          return Evaluation(1, 4);
        });
      };
      for (uint64_t k = 0; k < 5; ++k) {
        EXPECT_EQ(step(host, 10 * k).factor, step(far, 10 * k).factor);
        ASSERT_EQ(twins.Different(), "") << k;
        ASSERT_EQ(FirstDifference(host.State(), far.State()), "") << k;
      }
      {
        const EvaluationView host_view = host.EvaluationWeights(),
                             far_view = far.EvaluationWeights();
        EXPECT_EQ(host_view.Changed(), far_view.Changed());
        EXPECT_EQ(twins.Different(), "");
      }
      EXPECT_EQ(twins.Different(), "");
      Optimizer resumed(twins.far(), with_master);
      resumed.LoadState(host.State());
      step(host, 90);
      step(resumed, 90);
      EXPECT_EQ(twins.Different(), "");
      EXPECT_EQ(FirstDifference(host.State(), resumed.State()), "");
      host.Refresh();
      resumed.Refresh();
      EXPECT_EQ(FirstDifference(host.State(), resumed.State()), "");
    }
  }
}

TEST(Backend, AllMemoryIsGivenBack) {
  FencedBackend backend;
  std::byte* const memory = backend.Allocate(64);
  {
    Optimizer optimizer(
        {{.name = "w", .shape = {4}, .param = memory, .grad = memory + 32, .backend = &backend}},
        OptimizerSpec("adamw"));
    optimizer.Step();
    EXPECT_EQ(backend.arrays(), 2);
  }
  EXPECT_EQ(backend.arrays(), 1);
  backend.Free(memory);
}

TEST(Backend, TensorsOfOneOptimizerLiveOnOne) {
  FencedBackend backend;
  std::vector<float> w(4);
  EXPECT_THAT(
      ErrorOf([&] {
        Optimizer({{.name = "a", .shape = {4}, .param = w.data()},
                   {.name = "b", .shape = {4}, .param = backend.Allocate(16), .backend = &backend}},
                  OptimizerSpec("sgd"));
      }),
      HasSubstr("\"a\" and \"b\" are on different backends"));
}

TEST(Backend, ATensorStaysWhereItIs) {
  FencedBackend backend;
  Model model({{"a", {4}}, {"b", {3}}});
  Optimizer optimizer(model.tensors, OptimizerSpec("adamw"));
  optimizer.tensors()[1].backend = &backend;
  const std::string why = "tensor \"b\": is on another backend than when the optimiser was made";
  EXPECT_EQ(ErrorOf([&] { optimizer.Step(); }), why);
  EXPECT_EQ(ErrorOf([&] { optimizer.StepTensor(1); }), why);
  EXPECT_EQ(optimizer.steps(), 0);
  optimizer.tensors()[1].backend = nullptr;
  optimizer.Step();
}

// Without this the others would prove nothing.
TEST(BackendDeathTest, TheHostCannotTouchFencedMemory) {
  FencedBackend backend;
  volatile std::byte* const memory = backend.Allocate(64);
  EXPECT_DEATH(memory[0] = std::byte{1}, "");
}

}  // namespace backend_test
}  // namespace kudari
