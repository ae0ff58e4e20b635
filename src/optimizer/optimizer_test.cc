#include "kudari/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>

#include "kudari/kudari.h"
#include "tests/support/allocations.h"
#include "tests/support/errors.h"
#include "tests/support/random.h"

namespace kudari {
namespace {

using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Random;

/// Named tensors of given shapes, all with gradients.
struct Model {
  explicit Model(const std::vector<std::pair<std::string, std::vector<int64_t>>>& named) {
    Random random(1);
    for (const auto& [name, shape] : named) {
      Tensor t{.name = name, .shape = shape};
      params.push_back(random.Floats(static_cast<size_t>(t.Size())));
      grads.push_back(random.Floats(params.back().size()));
      t.param = params.back().data();
      t.grad = grads.back().data();
      tensors.push_back(std::move(t));
    }
  }
  std::vector<std::vector<float>> params, grads;
  std::vector<Tensor> tensors;
};

Model Vit() {
  return Model({{"pos_embed", {1, 4, 8}},
                {"blocks.0.norm1.weight", {8}},
                {"blocks.0.norm1.bias", {8}},
                {"blocks.0.qkv.weight", {24, 8}},
                {"blocks.0.qkv.bias", {24}},
                {"patch.weight", {8, 1, 2, 2}},
                {"head.weight", {10, 8}}});
}

double Norm(const std::vector<std::vector<float>>& grads) {
  double sum = 0;
  for (const auto& g : grads) {
    for (const float x : g) sum += static_cast<double>(x) * x;
  }
  return std::sqrt(sum);
}

TEST(OptimizerTest, BadTensorsAreNamed) {
  float x = 0;
  const auto make = [](std::vector<Tensor> tensors) {
    return ErrorOf([&] { Optimizer(std::move(tensors), Sgd{}); });
  };
  EXPECT_THAT(make({{.name = "", .param = &x}}), HasSubstr("empty name"));
  EXPECT_THAT(make({{.name = "w", .param = &x}, {.name = "w", .param = &x}}),
              HasSubstr("\"w\" stands twice"));
  EXPECT_THAT(make({{.name = "w", .shape = {3}}}), HasSubstr("\"w\": param is null"));
  EXPECT_THAT(make({{.name = "w", .shape = {2, -1}, .param = &x}}),
              HasSubstr("\"w\": dimension -1 is outside [0"));
  EXPECT_THAT(make({{.name = "w", .shape = {int64_t{1} << 40, int64_t{1} << 40}, .param = &x}}),
              HasSubstr("more than 2^63 elements"));
}

TEST(OptimizerTest, BadSpecsAreNamed) {
  const auto make = [](const OptimizerSpec& spec) {
    return ErrorOf([&] { Optimizer(Vit().tensors, spec); });
  };
  EXPECT_THAT(make(OptimizerSpec("adamv")),
              HasSubstr("unknown rule \"adamv\"; did you mean \"adam"));
  EXPECT_THAT(make(OptimizerSpec("adam", {{"beta", 0.9}})),
              HasSubstr("adam has no option \"beta\"; did you mean \"beta1\"?"));
  EXPECT_THAT(make(OptimizerSpec("adam", {{"lr", -1}})), HasSubstr("adam: lr = -1 is outside [0"));
  EXPECT_THAT(make(OptimizerSpec()), HasSubstr("rule is missing"));
  OptimizerSpec spec = Sgd{};
  spec.groups = {{.match = "head*", .rule = "nesterof"}};
  EXPECT_THAT(make(spec), HasSubstr("did you mean \"nesterov\"?"));
  spec = Sgd{};
  spec.clip_norm = -1.0;
  EXPECT_THAT(make(spec), HasSubstr("clip_norm = -1 is outside [0"));
  spec = Sgd{};
  spec.clip_value = -2.0;
  EXPECT_THAT(make(spec), HasSubstr("clip_value = -2 is outside [0"));
  spec = Sgd{};
  spec.accumulate = 0;
  EXPECT_THAT(make(spec), HasSubstr("accumulate = 0 is outside [1"));
  spec = OptimizerSpec();
  spec.groups = {{.match = "head*", .rule = "sgd"}};
  EXPECT_THAT(make(spec), HasSubstr("has no rule: it is in no group"));
  spec = Sgd{};
  spec.groups = {{.match = "block.*", .rule = "sgd"}};
  EXPECT_THAT(make(spec), HasSubstr("group 0 (match = \"block.*\") matches no tensor"));
  spec = Sgd{};
  spec.agc = {.clip = -1};
  EXPECT_THAT(make(spec), HasSubstr("agc.clip = -1 is outside [0, inf)"));
  spec = Sgd{};
  spec.clip_norm_eps = -1;
  EXPECT_THAT(make(spec), HasSubstr("clip_norm_eps = -1 is outside [0, inf)"));
  spec = Sgd{};
  spec.fallback = {.rule = "adamv"};
  EXPECT_THAT(make(spec), HasSubstr("unknown rule \"adamv\""));
}

TEST(OptimizerTest, TheLastMatchingGroupDecides) {
  Model model = Vit();
  OptimizerSpec spec = AdamW{.lr = 1e-3, .weight_decay = 0.1};
  spec.no_decay = {TensorClass::kBias, TensorClass::kNorm};
  spec.groups = {{.match = "blocks.*", .options = {{"lr", 2e-3}}},
                 {.classes = {TensorClass::kEmbedding}, .rule = "momentum", .options = {{"lr", 5}}},
                 {.match = "*qkv*", .options = {{"beta2", 0.95}}}};
  const Optimizer optimizer(model.tensors, spec);
  const std::vector<TensorPlan> plan = optimizer.Plan();
  const auto of = [&](std::string_view name) -> const TensorPlan& {
    for (const TensorPlan& p : plan) {
      if (p.name == name) return p;
    }
    throw Error("no such tensor");
  };
  const auto option = [&](std::string_view name, std::string_view key) {
    for (const auto& [k, v] : of(name).options) {
      if (k == key) return v;
    }
    return -1.0;
  };
  EXPECT_EQ(of("head.weight").group, -1);
  EXPECT_EQ(option("head.weight", "lr"), 1e-3);
  EXPECT_EQ(option("head.weight", "weight_decay"), 0.1);
  EXPECT_EQ(of("blocks.0.norm1.weight").group, 0);
  EXPECT_EQ(option("blocks.0.norm1.weight", "lr"), 2e-3);
  EXPECT_EQ(option("blocks.0.norm1.weight", "weight_decay"), 0);
  EXPECT_EQ(of("pos_embed").rule, "momentum");
  EXPECT_EQ(option("pos_embed", "momentum"), 0.9);  // the rule's own default
  EXPECT_EQ(of("blocks.0.qkv.weight").group, 2);
  EXPECT_EQ(option("blocks.0.qkv.weight", "beta2"), 0.95);
  EXPECT_EQ(option("blocks.0.qkv.weight", "lr"), 1e-3);  // of the spec, not of the earlier group
  EXPECT_EQ(option("blocks.0.qkv.bias", "weight_decay"), 0);
  EXPECT_EQ(of("patch.weight").tensor_class, TensorClass::kConvolution);
  EXPECT_EQ(optimizer.Value(3, "beta2"), 0.95);
  EXPECT_THAT(ErrorOf([&] { optimizer.Value(0, "beta2"); }), HasSubstr("momentum has no option"));
  EXPECT_THAT(ErrorOf([&] { optimizer.Value(7, "lr"); }), HasSubstr("index 7 is outside [0, 7)"));
}

TEST(OptimizerTest, GroupsStepAsSeparateOptimisersWould) {
  Model together = Vit(), apart = Vit();
  OptimizerSpec spec = AdamW{.lr = 1e-2};
  spec.groups = {{.match = "head.*", .rule = "nesterov", .options = {{"lr", 0.5}}}};
  Optimizer both(together.tensors, spec);
  const Tensor head = apart.tensors.back();
  apart.tensors.pop_back();
  Optimizer body_only(apart.tensors, AdamW{.lr = 1e-2}), head_only({head}, Nesterov{.lr = 0.5});
  for (int i = 0; i < 5; ++i) {
    both.Step();
    body_only.Step();
    head_only.Step();
  }
  EXPECT_EQ(together.params, apart.params);
}

TEST(OptimizerTest, ClassesCanBeOverridden) {
  Model model = Vit();
  model.tensors[3].tensor_class = TensorClass::kEmbedding;
  OptimizerSpec spec = Sgd{};
  spec.classes = {{"head.*", TensorClass::kNorm}, {"head.weight", TensorClass::kBias}};
  const auto plan = Optimizer(model.tensors, spec).Plan();
  EXPECT_EQ(plan[3].tensor_class, TensorClass::kEmbedding);
  EXPECT_EQ(plan[6].tensor_class, TensorClass::kBias);
}

TEST(OptimizerTest, SchedulesRunFromZeroAndOnlySteps) {
  Model model({{"w", {1}}});
  model.params[0] = {0};
  model.grads[0] = {1};
  Optimizer optimizer(model.tensors, OptimizerSpec("sgd", {{"lr", ParseSchedule("linear(4)")}}));
  const double expected[] = {-1, -1.75, -2.25, -2.5, -2.5, -2.5};
  for (const double e : expected) {
    optimizer.Step();
    EXPECT_EQ(model.params[0][0], e);
  }
  EXPECT_EQ(optimizer.steps(), 6);
}

TEST(OptimizerTest, AScheduleThatLeavesItsRangeIsAnErrorThatChangesNothing) {
  Model model({{"w", {3}}});
  Optimizer optimizer(model.tensors,
                      OptimizerSpec("adam", {{"beta1", ParseSchedule("then(0.5, 2, 1.5)")}}));
  optimizer.Step();
  optimizer.Step();
  const auto params = model.params;
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(ErrorOf([&] { optimizer.Step(); }),
                HasSubstr("adam: beta1 = then(0.5, 2, 1.5) at step 2 = 1.5 is outside [0, 1)"));
    EXPECT_EQ(model.params, params);
    EXPECT_EQ(optimizer.steps(), 2);
    EXPECT_EQ(optimizer.State().tensors[0].step, 2);
  }
}

TEST(OptimizerTest, ClipNormMatchesTorch) {
  // torch.nn.utils.clip_grad_norm_ of (3, 4) with max_norm 5 and 1: eps counts at the border.
  for (const auto& [max_norm, factor] :
       {std::pair{5.0, 5 / (5 + 1e-6)}, {1.0, 1 / (5 + 1e-6)}, {10.0, 1.0}, {0.0, 0.0}}) {
    Model model({{"a", {1}}, {"b", {1}}});
    model.params = {{0}, {0}};
    model.grads = {{3}, {4}};
    for (size_t i = 0; i < 2; ++i) {
      model.tensors[i].param = model.params[i].data();
      model.tensors[i].grad = model.grads[i].data();
    }
    OptimizerSpec spec = Sgd{.lr = 1};
    spec.clip_norm = max_norm;
    Optimizer optimizer(model.tensors, spec);
    const Report report = optimizer.Step();
    EXPECT_EQ(report.grad_norm, 5);
    EXPECT_DOUBLE_EQ(report.factor, factor);
    EXPECT_FLOAT_EQ(model.params[0][0], static_cast<float>(-3 * factor));
    EXPECT_FLOAT_EQ(model.params[1][0], static_cast<float>(-4 * factor));
  }
}

TEST(OptimizerTest, ClipNormMayBeAScheduleAndFollowsOtherScales) {
  struct Half : Scale {
    double Factor(double /*norm*/, int64_t /*step*/) const override { return 0.5; }
  };
  Model model({{"w", {1}}});
  model.grads[0] = {8};
  OptimizerSpec spec = Sgd{.lr = 0};
  spec.clip_norm = ParseSchedule("4 * step(1, 0.5)");
  Optimizer optimizer(model.tensors, spec);
  optimizer.AddScale(std::make_unique<Half>());
  EXPECT_NEAR(optimizer.Step().factor, 0.25, 1e-6);
  EXPECT_NEAR(optimizer.Step().factor, 0.125, 1e-6);
}

TEST(OptimizerTest, ClipValueClampsAfterTheFactor) {
  Model model({{"w", {4}}});
  model.params[0] = {0, 0, 0, 0};
  model.grads[0] = {10, -10, 0.1F, NAN};
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.clip_value = 0.5;
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  EXPECT_EQ(model.params[0][0], -0.5F);
  EXPECT_EQ(model.params[0][1], 0.5F);
  EXPECT_EQ(model.params[0][2], -0.1F);
  EXPECT_TRUE(std::isnan(model.params[0][3]));
}

TEST(OptimizerTest, NormIsInDoubleOverManyBlocks) {
  Model model({{"a", {100003}}, {"b", {3}}, {"c", {70000}}});
  OptimizerSpec spec = Sgd{};
  spec.measure_norm = true;
  Optimizer optimizer(model.tensors, spec);
  EXPECT_NEAR(optimizer.Step().grad_norm, Norm(model.grads), 1e-11 * Norm(model.grads));
  OptimizerSpec unmeasured = Sgd{};
  EXPECT_TRUE(std::isnan(Optimizer(model.tensors, unmeasured).Step().grad_norm));
}

struct CountingAverager : Averager {
  explicit CountingAverager(std::vector<int64_t>* steps) : steps(steps) {}
  void Start(Engine& engine) override { EXPECT_EQ(engine.steps(), 0); }
  void After(Engine& engine) override {
    steps->push_back(engine.steps());
    EXPECT_FALSE(engine.tensors().empty());
  }
  const float* Evaluated(size_t /*index*/) const override { return nullptr; }
  std::map<std::string, std::vector<float>> State(const Engine& /*engine*/) const override {
    return {};
  }
  void LoadState(const Engine& /*engine*/,
                 const std::map<std::string, std::vector<float>>& /*state*/) override {}
  std::vector<int64_t>* steps;
};

TEST(OptimizerTest, NonFinitePolicies) {
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    for (const NonFinite policy : {NonFinite::kPropagate, NonFinite::kSkip, NonFinite::kError}) {
      for (const bool clip : {false, true}) {
        Model model({{"first", {20000}}, {"second", {40000}}, {"third", {3}}});
        OptimizerSpec spec = Adam{.lr = 0.1};
        spec.options.at("lr") = 0.1 * Warmup(2);
        spec.nonfinite = policy;
        if (clip) spec.clip_norm = 1.0;
        Optimizer optimizer(model.tensors, spec);
        std::vector<int64_t> averaged;
        optimizer.AddAverager(std::make_unique<CountingAverager>(&averaged));
        optimizer.Step();
        const auto params = model.params;
        model.grads[1][30000] = bad;
        model.grads[2][0] = bad;
        if (policy == NonFinite::kError) {
          EXPECT_THAT(ErrorOf([&] { optimizer.Step(); }),
                      HasSubstr("the gradient of \"second\" is not finite"));
        } else {
          const Report report = optimizer.Step();
          EXPECT_EQ(report.skipped, policy == NonFinite::kSkip);
          const bool looked = clip || policy != NonFinite::kPropagate;
          EXPECT_EQ(report.first_nonfinite, looked ? "second" : "");
        }
        if (policy == NonFinite::kPropagate) {
          EXPECT_TRUE(std::isnan(model.params[1][30000]) || !clip);
          EXPECT_EQ(optimizer.steps(), 2);
          EXPECT_EQ(averaged, (std::vector<int64_t>{1, 2}));
          continue;
        }
        // Nothing has advanced: parameters, moments, counts, schedules, averagers.
        EXPECT_EQ(model.params, params);
        EXPECT_EQ(optimizer.steps(), 1);
        EXPECT_EQ(optimizer.State().tensors[0].step, 1);
        EXPECT_EQ(optimizer.Value(0, "lr"), 0.1);
        EXPECT_EQ(averaged, (std::vector<int64_t>{1}));
        model.grads[1][30000] = model.grads[2][0] = 0;
        EXPECT_FALSE(optimizer.Step().skipped);
        EXPECT_EQ(optimizer.steps(), 2);
      }
    }
  }
}

TEST(OptimizerTest, ClippingAnInfiniteNormIsTorchs) {
  // torch: the factor is 0, so finite entries vanish and infinite ones become NaN.
  Model model({{"w", {2}}});
  model.params[0] = {1, 1};
  model.grads[0] = {5, INFINITY};
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.clip_norm = 1.0;
  Optimizer optimizer(model.tensors, spec);
  EXPECT_EQ(optimizer.Step().factor, 0);
  EXPECT_EQ(model.params[0][0], 1);
  EXPECT_TRUE(std::isnan(model.params[0][1]));
}

TEST(OptimizerTest, GradientsAreOnlyRead) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* const memory =
      mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* const g = static_cast<float*>(memory);
  for (int i = 0; i < 1000; ++i) g[i] = 1;
  ASSERT_EQ(mprotect(memory, page, PROT_READ), 0);  // a write is a crash
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    std::vector<float> w(1000);
    OptimizerSpec spec(rule.name);
    spec.clip_norm = 0.1;
    spec.clip_value = 0.01;
    Optimizer optimizer({{.name = "w", .shape = {1, 1000}, .param = w.data(), .grad = g}}, spec);
    optimizer.Step();
    EXPECT_LT(w[999], 0) << rule.name;
  }
  munmap(memory, page);
}

TEST(OptimizerTest, ClippingAddsOneReadOfTheGradientToTheReport) {
  Model model({{"a", {1000}}, {"b", {24}}});
  OptimizerSpec spec = AdamW{};
  const Report plain = Optimizer(model.tensors, spec).Step();
  EXPECT_EQ(plain.bytes_read, 1024 * 16);
  EXPECT_EQ(plain.bytes_written, 1024 * 12);
  spec.clip_norm = 1.0;
  const Report clipped = Optimizer(model.tensors, spec).Step();
  EXPECT_EQ(clipped.bytes_read, 1024 * 20);
  EXPECT_EQ(clipped.bytes_written, 1024 * 12);
}

TEST(OptimizerTest, StepsAllocateNothingAfterTheFirst) {
  for (const RuleEntry& rule : Registry::Builtin().rules()) {
    // By blocks, side by side and by all threads; rules with norms in one go and in two passes.
    Model model({{"a", {250, 400}}, {"b", {15, 20}}, {"c.bias", {1, 7}}, {"d", {600, 500}}});
    OptimizerSpec spec(rule.name);
    spec.agc = AdaptiveClip{};
    spec.centralize = true;
    spec.options.emplace("lr", 1e-3 * Warmup(10) * Cosine(100));
    spec.no_decay = {TensorClass::kBias};
    spec.clip_norm = 1.0 * Warmup(5);
    spec.clip_value = 1.0;
    spec.nonfinite = NonFinite::kSkip;
    Optimizer optimizer(model.tensors, spec);
    optimizer.SetParallel({.threads = 2});
    optimizer.Step();
    const int64_t before = testing::Allocations();
    for (int i = 0; i < 2; ++i) optimizer.Step();
    EXPECT_EQ(testing::Allocations() - before, 0) << rule.name;
  }
}

TEST(OptimizerTest, TheOracleIsCalledOnceWithThePlainPass) {
  Model model({{"w", {4}}});
  Optimizer optimizer(model.tensors, Sgd{});
  int calls = 0;
  const Report report = optimizer.Step([&](Pass pass) -> Evaluation {
    ++calls;
    EXPECT_EQ(pass, Pass::kPlain);
    return {2.5, 64};
  });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(report.loss, 2.5);
  EXPECT_EQ(report.factor, 1);
}

TEST(OptimizerTest, WhatTheOracleThrowsChangesNothing) {
  Model model({{"w", {4}}});
  Optimizer optimizer(model.tensors, AdamW{});
  optimizer.Step();
  const auto params = model.params;
  EXPECT_THROW(optimizer.Step([](Pass) -> Evaluation { throw std::runtime_error("no"); }),
               std::runtime_error);
  EXPECT_EQ(model.params, params);
  EXPECT_EQ(optimizer.steps(), 1);
}

TEST(OptimizerTest, EmptyModelsAndTensorsStep) {
  Optimizer none({}, AdamW{});
  EXPECT_FALSE(none.Step().skipped);
  Model model({{"empty", {0}}, {"w", {2}}});
  OptimizerSpec spec = AdamW{};
  spec.clip_norm = 1.0;
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  EXPECT_EQ(optimizer.State().tensors[1].step, 1);
}

TEST(OptimizerTest, BadStatesAreNamedAndChangeNothing) {
  Model model({{"a", {3}}, {"b", {2}}});
  Optimizer optimizer(model.tensors, Adam{});
  optimizer.Step();
  const OptimizerState good = optimizer.State();
  EXPECT_EQ(good.tensors[0].buffers[0].slot, "exp_avg");
  EXPECT_EQ(good.tensors[0].buffers[1].slot, "exp_avg_sq");
  const auto load = [&](const auto& change) {
    OptimizerState state = good;
    change(state);
    std::string error = ErrorOf([&] { optimizer.LoadState(state); });
    EXPECT_EQ(optimizer.State().tensors[0].buffers[0].values, good.tensors[0].buffers[0].values);
    EXPECT_EQ(optimizer.steps(), 1);
    return error;
  };
  EXPECT_THAT(load([](auto& s) { s.tensors[1].name = "c"; }),
              HasSubstr("no tensor is named \"c\""));
  EXPECT_THAT(load([](auto& s) { s.tensors.pop_back(); }), HasSubstr("tensor \"b\" is missing"));
  EXPECT_THAT(load([](auto& s) { s.tensors[1].name = "a"; }), HasSubstr("\"a\" stands twice"));
  EXPECT_THAT(load([](auto& s) { s.tensors[0].buffers[0].slot = "exp_avgs"; }),
              HasSubstr("did you mean \"exp_avg\"?"));
  EXPECT_THAT(load([](auto& s) { s.tensors[0].buffers[1].slot = "exp_avg"; }),
              HasSubstr("\"exp_avg\" stands twice"));
  EXPECT_THAT(load([](auto& s) { s.tensors[0].buffers[1].values.pop_back(); }),
              HasSubstr("buffer \"exp_avg_sq\" has 2 values, not 3"));
  EXPECT_THAT(load([](auto& s) { s.tensors[0].buffers.pop_back(); }), HasSubstr("1 buffers"));
  EXPECT_THAT(load([](auto& s) { s.step = -1; }),
              HasSubstr("state: step = -1 is outside [0, 2^53]"));
  constexpr int64_t kTooMany = (int64_t{1} << 53) + 1;
  for (const int64_t steps : {kTooMany, INT64_MAX - 1, INT64_MIN}) {
    EXPECT_EQ(load([&](auto& s) { s.step = steps; }),
              "state: step = " + std::to_string(steps) + " is outside [0, 2^53]");
    EXPECT_EQ(load([&](auto& s) { s.tensors[1].step = steps; }),
              "state: tensor \"b\": step = " + std::to_string(steps) + " is outside [0, 2^53]");
  }
  EXPECT_EQ(load([](auto& s) { s.tensors[1].name = "\x1b[2J" + std::string(1 << 20, 'c'); }),
            "state: no tensor is named \"\\x1b[2J" + std::string(96, 'c') + "...\"");
  EXPECT_EQ(load([](auto& s) { std::swap(s.tensors[0], s.tensors[1]); }), "no error");  // by name
}

TEST(OptimizerTest, TheLargestStepOfAState) {
  Model model({{"w", {3}}});
  OptimizerSpec spec = AdamW{};
  spec.options.at("lr") = 1e-3 * Cosine(100) * Noam(16, 20);
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  OptimizerState state = optimizer.State();
  state.step = state.tensors[0].step = int64_t{1} << 53;
  optimizer.LoadState(state);
  optimizer.Step();
  EXPECT_EQ(optimizer.steps(), (int64_t{1} << 53) + 1);
}

TEST(OptimizerTest, BadArgumentsAreNamed) {
  Model model({{"w", {1}}});
  Optimizer optimizer(model.tensors, Sgd{});
  EXPECT_THAT(ErrorOf([&] { optimizer.SetParallel({.threads = -1}); }),
              HasSubstr("threads = -1 is outside [0"));
  EXPECT_THAT(ErrorOf([&] { optimizer.SetSource(nullptr); }), HasSubstr("source is null"));
  EXPECT_THAT(ErrorOf([&] { optimizer.AddScale(nullptr); }), HasSubstr("scale is null"));
  EXPECT_THAT(ErrorOf([&] { optimizer.AddAverager(nullptr); }), HasSubstr("averager is null"));
  EXPECT_THAT(ErrorOf([] { ClipNorm(-1.0); }), HasSubstr("clip_norm = -1 is outside"));
  EXPECT_THAT(ErrorOf([] { ClipNorm(1.0, -1); }), HasSubstr("clip_norm: eps = -1 is outside"));
}

}  // namespace
}  // namespace kudari
