// Parameters, gradients and state that are not float32.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>

#include "core/elements.h"
#include "kernels/codecs.h"
#include "kernels/kernels.h"
#include "kudari/kudari.h"
#include "tests/support/allocations.h"
#include "tests/support/errors.h"
#include "tests/support/random.h"
#include "tests/support/rules.h"
#include "tests/support/sanitized.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace precision_test {

using internal::Codecs;
using internal::Coded;
using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Random;

const Codecs& Reference() { return internal::CodecsFor("scalar"); }

/// Tensors in memory of a type of their own, beside what they hold in float32.
class StoredModel {
 public:
  StoredModel(const std::vector<int64_t>& sizes, DType param, DType grad, uint64_t seed = 1)
      : param_(param), grad_(grad) {
    Random random(seed);
    for (size_t i = 0; i < sizes.size(); ++i) {
      const auto n = static_cast<size_t>(sizes[i]);
      params_.emplace_back(n * 4);
      grads_.emplace_back(n * 4);
      Tensor t{.name = "t" + std::to_string(i), .shape = ShapeOf(sizes[i]), .dtype = param};
      t.param = params_.back().data();
      t.grad = grads_.back().data();
      t.grad_dtype = grad;
      tensors.push_back(t);
      Put(i, params_.back().data(), param, Rounded(random.Floats(n)));
    }
  }

  void NextGradient(Random& random) {
    for (size_t i = 0; i < tensors.size(); ++i) {
      const auto n = static_cast<size_t>(tensors[i].Size());
      Put(i, grads_[i].data(), grad_, Rounded(random.Floats(n, 0.1F)));
    }
  }

  void SetGradient(size_t i, const std::vector<float>& values) {
    Put(i, grads_[i].data(), grad_, values);
  }
  void SetParam(size_t i, const std::vector<float>& values) {
    Put(i, params_[i].data(), param_, values);
  }

  /// What the model sees.
  std::vector<float> Param(size_t i) const {
    std::vector<float> values(static_cast<size_t>(tensors[i].Size()));
    const Coded from = internal::Visible(tensors[i]);
    Reference().load(from, 0, values.size(), values.data());
    return values;
  }
  std::vector<std::vector<float>> Params() const {
    std::vector<std::vector<float>> all;
    for (size_t i = 0; i < tensors.size(); ++i) all.push_back(Param(i));
    return all;
  }
  std::vector<std::vector<char>>& bytes() { return params_; }

  std::vector<Tensor> tensors;

 private:
  // A matrix as square as can be, which every rule can step.
  static std::vector<int64_t> ShapeOf(int64_t n) {
    auto rows = static_cast<int64_t>(std::sqrt(static_cast<double>(n)));
    while (rows > 1 && n % rows != 0) --rows;
    return {rows, n / rows};
  }
  // What bfloat16 and float16 both hold: eight significant bits.
  static std::vector<float> Rounded(std::vector<float> values) {
    for (float& v : values) v = std::round(v * 64) / 64;
    return values;
  }
  static void Put(size_t /*i*/, char* to, DType type, const std::vector<float>& values) {
    Reference().store(values.data(), 0, values.size(), {internal::FormatOf(type), to});
  }

  DType param_, grad_;
  std::vector<std::vector<char>> params_, grads_;
};

/// The weights as the rule sees them.
std::vector<std::vector<float>> Weights(const Optimizer& optimizer, const StoredModel& model) {
  std::vector<std::vector<float>> weights = model.Params();
  for (size_t i = 0; i < weights.size(); ++i) {
    std::vector<float> master = optimizer.SlotValues(i, "master");
    if (!master.empty()) weights[i] = std::move(master);
  }
  return weights;
}

OptimizerSpec SpecOf(const std::string& rule, const Precision& precision = {}) {
  OptimizerSpec spec(rule);
  spec.options.emplace("lr", 1e-2 * Warmup(3));
  spec.options.emplace("weight_decay", 0.1);
  spec.precision = precision;
  return spec;
}

class RulePrecisionTest : public ::testing::TestWithParam<RuleEntry> {};

INSTANTIATE_TEST_SUITE_P(Registry, RulePrecisionTest, ::testing::ValuesIn(testing::RulesForBuild()),
                         [](const auto& info) { return info.param.name; });

/// The weights after a few steps with clipping of every kind.
std::vector<std::vector<float>> Stepped(const std::string& rule, DType param, DType grad,
                                        const Precision& precision, bool units) {
  StoredModel model({20000, 300, 1}, param, grad);
  OptimizerSpec spec = SpecOf(rule, precision);
  spec.clip_norm = 0.5;
  if (units) {
    spec.agc = AdaptiveClip{.clip = 0.1};
    spec.centralize = true;
  }
  Optimizer optimizer(model.tensors, spec);
  Random random(3);
  for (int step = 0; step < 6; ++step) {
    model.NextGradient(random);
    optimizer.Step();
  }
  return Weights(optimizer, model);
}

TEST_P(RulePrecisionTest, A16BitModelWithAFullMasterIsTheFloat32ModelBitForBit) {
  const std::string& rule = GetParam().name;
  for (const bool units : {false, true}) {
    const auto expected = Stepped(rule, DType::kFloat32, DType::kFloat32, {}, units);
    const std::vector<std::pair<DType, Master>> full = {{DType::kBFloat16, Master::kFloat32},
                                                        {DType::kBFloat16, Master::kSplit16},
                                                        {DType::kFloat16, Master::kFloat32}};
    for (const auto& [type, master] : full) {
      EXPECT_EQ(Stepped(rule, type, type, {.master = master}, units), expected)
          << Name(type) << ", " << Name(master) << ", " << units;
    }
    // 16-bit gradients of a float32 model.
    EXPECT_EQ(Stepped(rule, DType::kFloat32, DType::kBFloat16, {}, units), expected);
    EXPECT_EQ(Stepped(rule, DType::kFloat32, DType::kFloat16, {}, units), expected);
  }
}

/// Ways of storing that lose something, each with a name.
std::map<std::string, Precision> Lossy() {
  return {{"split8 and linear8", {.master = Master::kSplit8, .state = StateFormat::kLinear8}},
          {"kahan and softsign8", {.master = Master::kKahan, .state = StateFormat::kSoftsign8}},
          {"float32 and dynamic8", {.master = Master::kFloat32, .state = StateFormat::kDynamic8}},
          {"stochastic bfloat16",
           {.rounding = Rounding::kStochastic, .seed = 3, .state = StateFormat::kBFloat16}}};
}

TEST_P(RulePrecisionTest, NeitherThreadsNorInstructionSetsMatter) {
  for (const auto& lossy : Lossy()) {
    SCOPED_TRACE(lossy.first);
    const Precision& precision = lossy.second;
    std::vector<std::vector<float>> expected;
    std::vector<double> norms;
    const auto run = [&](int threads) {
      // With norms, a tensor so large that its passes are apart.
      const int64_t large = GetParam().norms > 0 ? 140000 : 17000;
      StoredModel model({large, 17, 5000}, DType::kBFloat16, DType::kBFloat16);
      OptimizerSpec spec = SpecOf(GetParam().name, precision);
      spec.clip_norm = 0.5;
      Optimizer optimizer(model.tensors, spec);
      optimizer.SetParallel({.threads = threads});
      Random random(7);
      std::vector<double> seen;
      for (int step = 0; step < 3; ++step) {
        model.NextGradient(random);
        seen.push_back(optimizer.Step().grad_norm);
      }
      const auto weights = Weights(optimizer, model);
      if (expected.empty()) {
        expected = weights;
        norms = seen;
      }
      EXPECT_EQ(weights, expected) << threads;
      EXPECT_EQ(seen, norms) << threads;
    };
    // Sanitizers look at what threads do, not at what comes out; three numbers of them do.
    for (int threads = 1; threads <= 8; threads += testing::kSanitized ? 3 : 1) run(threads);
    for (const std::string_view target : KernelTargets()) {
      setenv("KUDARI_TARGET", std::string(target).c_str(), 1);
      run(2);
      unsetenv("KUDARI_TARGET");
    }
  }
}

TEST_P(RulePrecisionTest, FusedUpdatesAreThoseThroughBuffersBitForBit) {
  // The check counts in buffers, so with it nothing is fused.
  struct Case {
    DType type;
    Master master;
    StateFormat state;
  };
  for (const Case c : {Case{DType::kBFloat16, Master::kSplit8, StateFormat::kLinear8},
                       Case{DType::kBFloat16, Master::kFloat32, StateFormat::kFloat32},
                       Case{DType::kBFloat16, Master::kNone, StateFormat::kBFloat16},
                       Case{DType::kFloat32, Master::kNone, StateFormat::kLinear8}}) {
    for (const std::string_view target : KernelTargets()) {
      SCOPED_TRACE(std::string(target) + ", " + std::string(Name(c.master)));
      const auto run = [&](bool check) {
        setenv("KUDARI_TARGET", std::string(target).c_str(), 1);
        StoredModel model({5000, 17, 4096}, c.type, c.type);
        OptimizerSpec spec =
            SpecOf(GetParam().name, {.master = c.master, .state = c.state, .check = check});
        spec.clip_norm = 2.0;
        spec.clip_value = 0.05;
        Optimizer optimizer(model.tensors, spec);
        unsetenv("KUDARI_TARGET");
        Random random(8);
        for (int step = 0; step < 4; ++step) {
          model.NextGradient(random);
          EXPECT_EQ(optimizer.Step().numerics.empty(), !check);
        }
        if (GetParam().norms == 0 && GetParam().whole == nullptr) {
          // What is not finite takes another way; here it does not spread.
          std::vector<float> g(4096, 0.25F);
          g[7] = INFINITY;
          g[300] = -INFINITY;
          g[700] = NAN;
          model.SetGradient(2, g);
          OptimizerSpec loose = spec;
          loose.clip_norm.reset();
          loose.clip_value.reset();
          Optimizer next(model.tensors, loose);
          next.LoadState(optimizer.State());
          next.Step();
          next.Step();
          optimizer.LoadState(next.State());
        }
        std::vector<std::vector<uint32_t>> bits;
        const auto note = [&bits](const std::vector<float>& values) {
          bits.emplace_back();
          for (const float v : values) {
            bits.back().push_back(std::isnan(v) ? 1 : std::bit_cast<uint32_t>(v));
          }
        };
        for (const auto& values : Weights(optimizer, model)) note(values);
        for (size_t i = 0; i < model.tensors.size(); ++i) {
          for (const testing::Buffer& b : testing::Buffers(optimizer, i)) note(b.values);
        }
        return bits;
      };
      EXPECT_EQ(run(false), run(true));
    }
  }
}

TEST_P(RulePrecisionTest, ResumesWithTheSameBits) {
  for (const auto& [name, precision] : Lossy()) {
    SCOPED_TRACE(name);
    constexpr int kSteps = 6;
    const auto take = [](StoredModel& model, Optimizer& optimizer, int from, int to) {
      for (int step = from; step < to; ++step) {
        Random random(static_cast<uint64_t>(step));
        model.NextGradient(random);
        optimizer.Step();
      }
    };
    StoredModel straight({9000, 31}, DType::kBFloat16, DType::kBFloat16);
    Optimizer reference(straight.tensors, SpecOf(GetParam().name, precision));
    take(straight, reference, 0, kSteps);
    for (int at = 0; at < kSteps; ++at) {
      StoredModel first({9000, 31}, DType::kBFloat16, DType::kBFloat16);
      Optimizer before(first.tensors, SpecOf(GetParam().name, precision));
      take(first, before, 0, at);
      StoredModel second({9000, 31}, DType::kBFloat16, DType::kBFloat16, 99);
      for (size_t i = 0; i < 2; ++i) {
        std::copy(first.bytes()[i].begin(), first.bytes()[i].end(), second.bytes()[i].begin());
      }
      Optimizer after(second.tensors, SpecOf(GetParam().name, precision));
      after.LoadState(before.State());
      take(second, after, at, kSteps);
      EXPECT_EQ(Weights(after, second), Weights(reference, straight)) << at;
      EXPECT_EQ(second.Params(), straight.Params()) << at;
    }
  }
}

/// Mean squared distance to the target after some steps down a noisy quadratic of 8,192 elements.
double Distance(const std::string& rule, const Precision& precision, DType type) {
  constexpr size_t kSize = 8192;
  StoredModel model({kSize}, type, type);
  OptimizerSpec spec(rule);
  const RuleEntry& entry = Registry::Builtin().Find(rule);
  // Where rules move by the sign or by the norm, a small step is needed for a small distance.
  const bool plain = rule == "sgd" || rule == "momentum" || rule == "nesterov";
  spec.options.emplace("lr", (plain ? 0.05 : 0.02) * Linear(400, 0.01));
  if (entry.norms > 0) spec.options.at("lr") = 0.01 * Linear(400, 0.01);
  spec.precision = precision;
  Optimizer optimizer(model.tensors, spec);
  Random random(5);
  std::vector<float> target = random.Floats(kSize), scale = random.Floats(kSize);
  std::vector<float> g(kSize);
  for (float& s : scale) s = std::exp2(3 * s);
  double sum = 0;
  for (int step = 0; step < 400; ++step) {
    const std::vector<float> p = model.Param(0);
    for (size_t i = 0; i < kSize; ++i) g[i] = scale[i] * (p[i] - target[i]) + 0.1F * random.Float();
    model.SetGradient(0, g);
    optimizer.Step();
    if (entry.scalar.hessian != nullptr && step % 10 == 0) {
      const std::array<const float*, 1> hessian = {scale.data()};
      optimizer.UpdateHessian(hessian);
    }
  }
  const std::vector<std::vector<float>> weights = Weights(optimizer, model);
  for (size_t i = 0; i < kSize; ++i) {
    const double d = static_cast<double>(weights[0][i]) - target[i];
    sum += d * d;
  }
  return sum / kSize;
}

TEST_P(RulePrecisionTest, StateOf8BitsGetsAsFarAsFloat32) {
  if (testing::kSanitized) GTEST_SKIP() << "how far it gets is no matter of memory or of threads";
  const std::string& rule = GetParam().name;
  const double full = Distance(rule, {}, DType::kFloat32);
  for (const StateFormat state :
       {StateFormat::kLinear8, StateFormat::kSoftsign8, StateFormat::kDynamic8}) {
    const double coded = Distance(rule, {.state = state}, DType::kFloat32);
    EXPECT_TRUE(std::isfinite(coded)) << static_cast<int>(state);
    EXPECT_LT(coded, 1.5 * full + 4e-3) << static_cast<int>(state);
  }
}

TEST(PrecisionTest, SevenBytesAParameter) {
  constexpr int64_t kSize = 1 << 20;
  StoredModel model({kSize}, DType::kBFloat16, DType::kBFloat16);
  Optimizer optimizer(model.tensors,
                      SpecOf("adamw", {.master = Master::kSplit8, .state = StateFormat::kLinear8}));
  const Report report = optimizer.Step();
  // bf16 weight and gradient, correction, two codes, and a float for each 256 of these.
  const double bytes = 7 + 2 * 4 / 256.0;
  EXPECT_DOUBLE_EQ(static_cast<double>(report.bytes_read) / kSize, bytes);
  EXPECT_DOUBLE_EQ(static_cast<double>(report.bytes_written) / kSize, bytes - 2);
  int64_t state = 0;
  const StateTree slots = testing::TensorState(optimizer, 0).At("slots");
  for (const std::string& path : slots.Paths()) {
    const auto* const array = std::get_if<StateArray>(&slots.At(path).value());
    if (array == nullptr || path == "master/weights") continue;  // the parameter
    state += static_cast<int64_t>(array->bytes.size());
  }
  EXPECT_DOUBLE_EQ(static_cast<double>(state) / kSize, bytes - 4);
}

TEST(PrecisionTest, WhatBFloat16LosesTheMastersKeep) {
  // 1000 steps of 1e-3 from 1: ALGORITHMS of mixed precision say that bfloat16 alone stays at 1.
  const auto after = [](const Precision& precision) {
    StoredModel model({8}, DType::kBFloat16, DType::kFloat32);
    model.SetParam(0, std::vector<float>(8, 1));
    model.SetGradient(0, std::vector<float>(8, 1));
    OptimizerSpec spec = Sgd{.lr = 1e-3};
    spec.precision = precision;
    Optimizer optimizer(model.tensors, spec);
    for (int step = 0; step < 1000; ++step) optimizer.Step();
    return Weights(optimizer, model)[0];
  };
  EXPECT_EQ(after({}), std::vector<float>(8, 1));
  EXPECT_NEAR(after({.master = Master::kFloat32})[0], 0, 1e-5);
  EXPECT_NEAR(after({.master = Master::kSplit16})[0], 0, 1e-5);
  EXPECT_NEAR(after({.master = Master::kSplit8})[0], 0, 1000 * std::exp2(-17));
  EXPECT_NEAR(after({.master = Master::kKahan})[0], 0, 2e-3);
  // Without a master, rounding at random is right in the mean.
  double sum = 0;
  for (int seed = 0; seed < 40; ++seed) {
    for (const float p : after({.rounding = Rounding::kStochastic, .seed = seed})) sum += p;
  }
  // One step rounds with a deviation of at most 2^-9; of 1000 steps, averaged over 320 weights.
  EXPECT_NEAR(sum / 320, 0, 5 * std::exp2(-9) * std::sqrt(1000.0 / 320));
}

TEST(PrecisionTest, RandomRoundingDependsOnSeedStepAndNameOnly) {
  const auto after = [](int64_t seed, const std::string& name, bool reversed) {
    StoredModel model({5000, 300}, DType::kBFloat16, DType::kBFloat16);
    model.tensors[0].name = name;
    std::vector<Tensor> tensors = model.tensors;
    if (reversed) std::swap(tensors[0], tensors[1]);
    OptimizerSpec spec = SpecOf("adamw", {.rounding = Rounding::kStochastic, .seed = seed});
    Optimizer optimizer(tensors, spec);
    Random random(3);
    for (int step = 0; step < 3; ++step) {
      model.NextGradient(random);
      optimizer.Step();
    }
    return model.Params();
  };
  const auto a = after(1, "a", false);
  EXPECT_EQ(after(1, "a", false), a);
  EXPECT_EQ(after(1, "a", true), a);
  EXPECT_NE(after(2, "a", false), a);
  EXPECT_NE(after(1, "b", false), a);
}

TEST(PrecisionTest, StateIsRoundedAtRandomFromTheFirstStepOn) {
  const auto after = [](int64_t seed) {
    StoredModel model({5000}, DType::kFloat32, DType::kFloat32);
    OptimizerSpec spec =
        SpecOf("adamw",
               {.rounding = Rounding::kStochastic, .seed = seed, .state = StateFormat::kBFloat16});
    Optimizer optimizer(model.tensors, spec);
    Random random(3);
    model.NextGradient(random);
    optimizer.Step();
    return testing::TensorState(optimizer, 0).At("slots/exp_avg");
  };
  EXPECT_EQ(after(1), after(1));
  EXPECT_NE(after(1), after(2));
}

TEST(PrecisionTest, WhichStateIsCoded) {
  StoredModel model({4096, 4095, 8192}, DType::kFloat32, DType::kFloat32);
  model.tensors[2].tensor_class = TensorClass::kEmbedding;
  OptimizerSpec spec = SpecOf("adamw", {.state = StateFormat::kDynamic8,
                                        .slots = {{"exp_avg", StateFormat::kBFloat16}},
                                        .exclude = {TensorClass::kEmbedding}});
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  const StateTree state = optimizer.State();
  EXPECT_EQ(state.At("tensors/t0/slots/exp_avg").Kind(), "BF16 [64, 64]");
  EXPECT_EQ(state.At("tensors/t0/slots/exp_avg_sq/format").Text(), "dynamic_unsigned8");
  EXPECT_EQ(state.At("tensors/t0/slots/exp_avg_sq/codes").Kind(), "U8 [64, 64]");
  EXPECT_EQ(state.At("tensors/t0/slots/exp_avg_sq/scales").Kind(), "F32 [16]");
  EXPECT_EQ(state.At("tensors/t1/slots/exp_avg").Kind(), "BF16 [63, 65]");
  EXPECT_EQ(state.At("tensors/t1/slots/exp_avg_sq").Kind(), "F32 [63, 65]");  // too small
  EXPECT_EQ(state.At("tensors/t2/slots/exp_avg").Kind(), "F32 [64, 128]");
  EXPECT_EQ(state.At("tensors/t2/slots/exp_avg_sq").Kind(), "F32 [64, 128]");
}

TEST(PrecisionTest, BadInput) {
  StoredModel half({8}, DType::kFloat16, DType::kFloat16);
  EXPECT_EQ(ErrorOf([&] { Optimizer(half.tensors, SpecOf("adamw", {.master = Master::kSplit8})); }),
            "precision.master = \"split8\" is for bfloat16; tensor \"t0\" is float16, which can "
            "have \"float32\"");
  EXPECT_THAT(
      ErrorOf([&] {
        Optimizer(half.tensors, SpecOf("adamw", {.slots = {{"exp_avgs", StateFormat::kBFloat16}}}));
      }),
      HasSubstr("precision.slots: no rule in use has a state named \"exp_avgs\"; did you "
                "mean \"exp_avg\""));
  EXPECT_THAT(ErrorOf([&] {
                Optimizer(half.tensors, SpecOf("adamw", {.master = Master::kFloat32,
                                                         .rounding = Rounding::kStochastic}));
              }),
              HasSubstr("precision.rounding = \"stochastic\" has nothing to round"));
}

TEST(PrecisionTest, LoadStateRefusesWhatDoesNotFit) {
  const auto spec = SpecOf("adamw", {.master = Master::kSplit8, .state = StateFormat::kLinear8});
  StoredModel model({5000}, DType::kBFloat16, DType::kBFloat16);
  Optimizer optimizer(model.tensors, spec);
  Random random(1);
  model.NextGradient(random);
  optimizer.Step();
  const StateTree good = optimizer.State();
  const auto error = [&](const auto& change) {
    StateTree bad = good;
    change(bad);
    std::string message = ErrorOf([&] { optimizer.LoadState(bad); });
    EXPECT_EQ(FirstDifference(optimizer.State(), good), "");
    return message;
  };
  const std::string slots = "tensors/t0/slots/";
  const auto with = [&](const std::string& slot, const StateTree& value) {
    return error([&](StateTree& s) { s.Set(slots + slot, value); });
  };
  const StateArray codes{ElementType::kUint8, {4999}, std::vector<std::byte>(4999)};
  EXPECT_EQ(error([&](StateTree& s) { s.Erase(slots + "master"); }),
            "state: \"tensors/t0/slots/master\" is missing; it must be a node with weights of "
            "BF16 and a rest of U8 [50, 100]");
  EXPECT_EQ(with("exp_avg/codes", codes),
            "state: \"tensors/t0/slots/exp_avg\" has as \"codes\" U8 [4999], but must have "
            "U8 [50, 100]");
  EXPECT_EQ(error([&](StateTree& s) { s.Erase(slots + "exp_avg/scales"); }),
            "state: \"tensors/t0/slots/exp_avg\" has as \"scales\" nothing, but must have "
            "F32 [20]");
  EXPECT_EQ(with("exp_avg/format", std::string("linear9")),
            "state: \"tensors/t0/slots/exp_avg\" has no known \"format\"");
  EXPECT_EQ(with("exp_avg/more", true), "state: \"tensors/t0/slots/exp_avg\" has unknown members");
  EXPECT_EQ(with("exp_avg", codes),
            "state: \"tensors/t0/slots/exp_avg\" is U8 [4999], but must be a node with codes "
            "of linear8 [50, 100]");
  EXPECT_EQ(with("master", codes),
            "state: \"tensors/t0/slots/master\" is U8 [4999], but must be a node with weights of "
            "BF16 and a rest of U8 [50, 100]");
  EXPECT_EQ(with("master/rest", codes),
            "state: \"tensors/t0/slots/master\" has no \"rest\" of U8, U16 or BF16 [50, 100]");
  EXPECT_EQ(with("master/weights", codes),
            "state: \"tensors/t0/slots/master\" has as \"weights\" U8 [4999], but must have BF16 "
            "[50, 100]");
}

TEST(PrecisionTest, StateOfAnotherFormatIsConverted) {
  // From a float32 optimiser's checkpoint to 8 bits and back: rounded once, within half a code.
  StoredModel full({8192}, DType::kBFloat16, DType::kBFloat16), coded = full;
  for (StoredModel* m : {&full, &coded}) {
    for (size_t i = 0; i < 1; ++i) m->tensors[i].param = m->bytes()[i].data();
  }
  Optimizer a(full.tensors, SpecOf("adamw", {.master = Master::kFloat32}));
  Random random(1);
  for (int step = 0; step < 5; ++step) {
    full.NextGradient(random);
    a.Step();
  }
  Optimizer b(coded.tensors,
              SpecOf("adamw", {.master = Master::kSplit8, .state = StateFormat::kLinear8}));
  b.LoadState(a.State());
  const std::vector<testing::Buffer> from = testing::Buffers(a, 0), to = testing::Buffers(b, 0);
  for (size_t k = 0; k < 3; ++k) {
    const auto& x = from[k].values;
    const auto& y = to[k].values;
    float top = 0, apart = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      top = std::max(top, std::abs(x[i]));
      apart = std::max(apart, std::abs(x[i] - y[i]));
    }
    EXPECT_GT(apart, 0) << k;
    EXPECT_LT(apart, top / (k == 2 ? 65536 : 127)) << k;
  }
  // The parameter that the model sees came with the master.
  EXPECT_EQ(testing::Updates(b, 0), 5);
  for (size_t i = 0; i < 8192; ++i) {
    ASSERT_NEAR(coded.Param(0)[i], from[2].values[i], 1.0 / 256);
    if (i > 50) break;
  }
}

TEST(PrecisionTest, TheCheckCountsWhatIsLost) {
  // Weights at 1 with steps of 2^-10 are lost, weights at 1/8 are not.
  StoredModel model({8192, 512}, DType::kBFloat16, DType::kFloat32);
  std::vector<float> p(8192, 1);
  std::fill(p.begin() + 6000, p.end(), 0.125F);
  model.SetParam(0, p);
  model.SetGradient(0, std::vector<float>(8192, 1));
  model.tensors[1].grad = nullptr;
  OptimizerSpec spec = Sgd{.lr = std::exp2(-10)};
  spec.precision.check = true;
  {
    Optimizer optimizer(model.tensors, spec);
    const Report report = optimizer.Step();
    ASSERT_EQ(report.numerics.size(), 1U);  // of the tensor with a gradient
    EXPECT_EQ(report.numerics[0].tensor, "t0");
    EXPECT_EQ(report.numerics[0].elements, 8192);
    EXPECT_EQ(report.numerics[0].lost, 6000);
    EXPECT_EQ(optimizer.Step().numerics[0].lost, 6000);  // again in each step
  }
  spec.precision.master = Master::kFloat32;
  Optimizer optimizer(model.tensors, spec);
  EXPECT_EQ(optimizer.Step().numerics[0].lost, 0);
}

TEST(PrecisionTest, TheCheckFindsBlocksThatOneElementSaturates) {
  for (const StateFormat state :
       {StateFormat::kLinear8, StateFormat::kSoftsign8, StateFormat::kDynamic8}) {
    StoredModel model({8192}, DType::kFloat32, DType::kFloat32);
    OptimizerSpec spec = Momentum{.lr = 0.1};
    spec.precision = {.state = state, .check = true};
    Optimizer optimizer(model.tensors, spec);
    std::vector<float> g(8192, 1);
    g[300] = 1e9F;  // in the second of 32 blocks
    model.SetGradient(0, g);
    const Report report = optimizer.Step();
    EXPECT_EQ(report.numerics[0].blocks, 32);
    EXPECT_EQ(report.numerics[0].saturated, 1);
    EXPECT_EQ(report.numerics[0].lost, 0);
  }
}

TEST(PrecisionTest, AnInfinityInA8BitBlockIsOneElementsMatter) {
  StoredModel model({4096}, DType::kFloat32, DType::kFloat32);
  OptimizerSpec spec = SpecOf("adamw", {.state = StateFormat::kLinear8});
  Optimizer optimizer(model.tensors, spec);
  std::vector<float> g(4096, 0.5F);
  g[10] = INFINITY;
  model.SetGradient(0, g);
  optimizer.Step();
  optimizer.Step();
  for (size_t i = 0; i < 4096; ++i) EXPECT_EQ(std::isfinite(model.Param(0)[i]), i != 10) << i;
}

TEST(PrecisionTest, AveragersFollowTheMaster) {
  // A bfloat16 model with a full master: averages and Lookahead are those of the float32 model.
  for (const int which : {0, 1, 2, 3}) {
    const auto run = [which](DType type, Master master) {
      StoredModel model({5000, 33}, type, type);
      OptimizerSpec spec = SpecOf("adamw", {.master = master});
      if (which == 0) spec.ema = EmaSpec{.decay = 0.5};
      if (which == 1) spec.swa = SwaSpec{};
      if (which >= 2) spec.lookahead = LookaheadSpec{.k = 2, .alpha = 0.5};
      if (which == 3) spec.lookahead->state = LookaheadState::kPullback;
      Optimizer optimizer(model.tensors, spec);
      Random random(4);
      for (int step = 0; step < 5; ++step) {
        model.NextGradient(random);
        optimizer.Step();
      }
      const auto trained = model.Params();
      std::vector<std::vector<float>> shown;
      {
        const auto view = optimizer.EvaluationWeights();
        shown = model.Params();
      }
      EXPECT_EQ(model.Params(), trained);
      EXPECT_NE(shown, trained);
      return std::pair(Weights(optimizer, model), testing::Part(optimizer.State(), "averagers"));
    };
    const auto expected = run(DType::kFloat32, Master::kNone);
    EXPECT_EQ(run(DType::kBFloat16, Master::kFloat32), expected) << which;
    EXPECT_EQ(run(DType::kBFloat16, Master::kSplit16), expected) << which;
  }
}

TEST(PrecisionTest, ScheduleFreeWeightsAreShownRoundedAndComeBack) {
  const auto run = [](DType type, Master master) {
    StoredModel model({5000}, type, type);
    Optimizer optimizer(model.tensors, SpecOf("schedule_free_adamw", {.master = master}));
    Random random(4);
    for (int step = 0; step < 5; ++step) {
      model.NextGradient(random);
      optimizer.Step();
    }
    const auto trained = Weights(optimizer, model);
    std::vector<std::vector<float>> shown;
    {
      const auto view = optimizer.EvaluationWeights();
      shown = model.Params();
    }
    EXPECT_NE(shown, trained);
    EXPECT_EQ(Weights(optimizer, model), trained);
    return shown[0];
  };
  std::vector<float> expected = run(DType::kFloat32, Master::kNone);
  StoredModel rounded({5000}, DType::kBFloat16, DType::kBFloat16);
  rounded.SetParam(0, expected);
  EXPECT_EQ(run(DType::kBFloat16, Master::kFloat32), rounded.Param(0));
}

TEST(PrecisionTest, TheShiftedPointIsWhatTheModelSees) {
  const auto run = [](DType type, Master master) {
    StoredModel model({600}, type, DType::kFloat32);
    OptimizerSpec spec = SpecOf("momentum", {.master = master});
    spec.source = "nesterov_lookahead";
    Optimizer optimizer(model.tensors, spec);
    std::vector<float> seen;
    for (int step = 0; step < 3; ++step) {
      const auto before = model.Params();
      optimizer.Step([&](Pass) -> Evaluation {
        seen = model.Param(0);
        model.SetGradient(0, std::vector<float>(600, 0.25F));
        EXPECT_EQ(model.Params() == before, step == 0);  // no momentum yet
        return 0.0;
      });
    }
    return std::pair(seen, Weights(optimizer, model));
  };
  const auto expected = run(DType::kFloat32, Master::kNone);
  const auto actual = run(DType::kBFloat16, Master::kFloat32);
  EXPECT_EQ(actual.second, expected.second);
  StoredModel rounded({600}, DType::kBFloat16, DType::kFloat32);
  rounded.SetParam(0, expected.first);
  EXPECT_EQ(actual.first, rounded.Param(0));
}

TEST(PrecisionTest, SixteenBitGradientsAccumulateInFloat32) {
  // 256 times 1 and then 256 times 2^-8: in bfloat16 the small ones would be lost.
  StoredModel model({700}, DType::kBFloat16, DType::kBFloat16);
  model.SetParam(0, std::vector<float>(700, 0));
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.accumulate = 512;
  spec.precision.master = Master::kFloat32;
  Optimizer optimizer(model.tensors, spec);
  optimizer.SetParallel({.threads = 1});  // 512 regions of threads take longer on a busy machine
  int call = 0;
  optimizer.Step([&](Pass) -> Evaluation {
    model.SetGradient(0, std::vector<float>(700, call++ < 256 ? 1.0F : 1.0F / 256));
    return 0.0;
  });
  EXPECT_EQ(Weights(optimizer, model)[0], std::vector<float>(700, -(256.0F + 1) / 512));
}

TEST(PrecisionTest, MixedTypesInOneOptimiserAndNoAllocation) {
  StoredModel brain({9000}, DType::kBFloat16, DType::kBFloat16),
      plain({9000}, DType::kFloat32, DType::kFloat32);
  plain.tensors[0].name = "plain";
  OptimizerSpec spec = SpecOf("lamb", {.master = Master::kSplit8, .state = StateFormat::kLinear8});
  spec.clip_norm = 1.0;
  Optimizer both({brain.tensors[0], plain.tensors[0]}, spec);
  both.SetParallel({.threads = 1});
  Random random(2);
  for (int step = 0; step < 4; ++step) {
    brain.NextGradient(random);
    plain.NextGradient(random);
    const int64_t before = testing::Allocations();
    both.Step();
    if (step > 0) {
      EXPECT_EQ(testing::Allocations(), before);
    }
  }
  EXPECT_NE(brain.Param(0), plain.Param(0));
}

}  // namespace precision_test
}  // namespace kudari
