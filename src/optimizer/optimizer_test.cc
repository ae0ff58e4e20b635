#include "kudari/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <functional>

#include "kudari/kudari.h"
#include "tests/support/allocations.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace optimizer_test {

using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Model;

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
              HasSubstr("duplicate tensor name \"w\""));
  EXPECT_THAT(make({{.name = "w", .shape = {3}}}), HasSubstr("\"w\": param is null"));
  EXPECT_THAT(make({{.name = "w", .shape = {2, -1}, .param = &x}}),
              HasSubstr("\"w\": dimension -1 is outside [0"));
  // A product in which a zero comes in time would be 0, and one in which it comes late overflows.
  constexpr int64_t kLarge = int64_t{1} << 62;
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{
           {kLarge, 4}, {kLarge, 4, 0}, {0, kLarge, 4}, {kLarge, 0, 4}, {kLarge}, {0, kLarge}}) {
    EXPECT_THAT(
        make({{.name = "w", .shape = shape, .param = &x}}),
        AllOf(HasSubstr("tensor \"w\": the dimensions of its shape [" + std::to_string(shape[0])),
              HasSubstr("that are not zero make more than 2^56 elements")));
  }
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
    EXPECT_EQ(testing::Updates(optimizer, 0), 2);
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

TEST(OptimizerTest, SchedulesRelativeToARunAreRefused) {
  Model model({{"w", {2}}});
  OptimizerSpec spec("sgd");
  const auto error = [&](const OptimizerSpec& s) {
    return ErrorOf([&] { Optimizer(model.tensors, s); });
  };
  spec.groups.push_back({.options = {{"lr", ParseSchedule("0.5 * linear(end)")}}});
  EXPECT_EQ(error(spec),
            "group.0.lr = \"0.5 * linear(end, 0)\" is relative to the length of a run; give the "
            "optimiser Resolve(spec, {.steps = ...}), see kudari/recipe.h");
  spec.groups.clear();
  spec.clip_norm = ParseSchedule("1 * warmup(10%)");
  EXPECT_THAT(error(spec), ::testing::StartsWith("clip_norm = \"1 * warmup(10%)\" is relative"));
  spec.clip_norm.reset();
  Optimizer optimizer(model.tensors, spec);
  EXPECT_EQ(ErrorOf([&] { optimizer.SetSchedule(0, "lr", ParseSchedule("0.5 * step(2ep)")); }),
            "SetSchedule: lr = \"0.5 * step(2ep, 0.1)\" is relative to the length of a run; call "
            "Resolve({.steps = ...}) on it");
  optimizer.SetSchedule(0, "lr", 0.5 * Step(2));
  StateTree state = optimizer.State();
  state.Set("tensors/w/schedules/lr", std::string("0.5 * step(2ep)"));
  EXPECT_THAT(ErrorOf([&] { optimizer.LoadState(state); }),
              HasSubstr("cannot be used: schedule \"step(2ep, 0.1)\""));
  EXPECT_NO_THROW(Optimizer(
      model.tensors,
      Resolve(OptimizerSpec("sgd", {{"lr", ParseSchedule("linear(end)")}}), {.steps = 3})));
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
  void Visit(const Engine& /*engine*/, StateVisitor& /*visitor*/) override {}
  std::vector<int64_t>* steps;
};

TEST(OptimizerTest, StagesSeeTheLossScaleOfTheStepBeingTaken) {
  struct Seeing : CountingAverager {
    Seeing(std::vector<int64_t>* steps, std::vector<double>* scales)
        : CountingAverager(steps), scales(scales) {}
    void After(Engine& engine) override { scales->push_back(engine.loss_scale()); }
    std::vector<double>* scales;
  };
  Model model({{"w", {3}}});
  Optimizer optimizer(model.tensors, Sgd{});
  std::vector<int64_t> steps;
  std::vector<double> scales;
  optimizer.AddAverager(std::make_unique<Seeing>(&steps, &scales));
  const Oracle oracle = [](Pass) -> Evaluation { return 1.0; };
  optimizer.StepScaled(8, oracle);
  optimizer.Step();
  optimizer.StepScaled(4);
  optimizer.Step(oracle);
  EXPECT_EQ(scales, (std::vector<double>{8, 1, 4, 1}));
}

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
        EXPECT_EQ(testing::Updates(optimizer, 0), 1);
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

TEST(OptimizerTest, TensorsHaveNoAllocationsOfTheirOwn) {
  const auto live_after = [](int tensors, const OptimizerSpec& spec) {
    std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
    for (int i = 0; i < tensors; ++i) shapes.push_back({"w" + std::to_string(i), {1 + i % 20}});
    Model model(shapes);
    const int64_t before = testing::LiveAllocations();
    Optimizer optimizer(std::move(model.tensors), spec);
    optimizer.Step();
    return testing::LiveAllocations() - before;
  };
  OptimizerSpec spec = AdamW{};
  live_after(1, spec);  // what the first step of all allocates, once
  EXPECT_EQ(live_after(1000, spec), live_after(100, spec));
  spec.clip_norm = 1.0;
  spec.nonfinite = NonFinite::kSkip;
  EXPECT_EQ(live_after(1000, spec), live_after(100, spec));
}

TEST(OptimizerTest, SchedulesThatAreReplacedLeaveNothing) {
  // A learning rate in a closed loop: another one for some tensor before each step.
  Model model({{"a", {3}}, {"b", {2}}, {"c", {4}}}), alone({{"a", {3}}, {"b", {2}}, {"c", {4}}});
  Optimizer optimizer(model.tensors, AdamW{});
  std::vector<Optimizer> each;
  for (const Tensor& t : alone.tensors) each.emplace_back(std::vector<Tensor>{t}, AdamW{});
  const auto run = [&](int from, int to) {
    for (int step = from; step < to; ++step) {
      const Schedule lr = 1e-3 + 1e-6 * step;
      const auto i = static_cast<size_t>(step % 3);
      optimizer.SetSchedule(i, "lr", lr);
      each[i].SetSchedule(0, "lr", lr);
      optimizer.Step();
      for (Optimizer& one : each) one.Step();
      EXPECT_EQ(model.params, alone.params);
    }
  };
  run(0, 10);
  const int64_t live = testing::LiveAllocations();
  run(10, 1010);
  EXPECT_LT(testing::LiveAllocations(), live + 20);  // fewer than one cohort has
}

TEST(OptimizerTest, TensorsOfManyAgesStepAsIfAlone) {
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
  for (int i = 0; i < 40; ++i) shapes.push_back({"w" + std::to_string(i), {3}});
  for (const std::string rule : {"adamw", "nadam", "lamb"}) {
    Model together(shapes), alone(shapes);
    Optimizer all(together.tensors, OptimizerSpec(rule));
    std::vector<Optimizer> each;
    for (const Tensor& t : alone.tensors) {
      each.emplace_back(std::vector<Tensor>{t}, OptimizerSpec(rule));
    }
    for (size_t step = 0; step < 6; ++step) {
      for (size_t i = 0; i < each.size(); ++i) {
        // Orders of ages that neither rise nor fall along the tensors.
        const bool steps = (i * 7 + step * 3) % (i % 5 + 1) == 0;
        all.tensors()[i].grad = steps ? together.grads[i].data() : nullptr;
        if (steps) each[i].Step();
      }
      all.Step();
      EXPECT_EQ(together.params, alone.params) << rule << step;
    }
  }
}

TEST(OptimizerTest, AClipThatLeavesItsRangeIsNamed) {
  Model model({{"w", {3}}});
  OptimizerSpec spec = Sgd{};
  spec.agc = AdaptiveClip{.clip = ParseSchedule("then(0.5, 1, -1)")};
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  const auto before = model.params;
  EXPECT_THAT(ErrorOf([&] { optimizer.Step(); }), HasSubstr("agc.clip at step 1 = -1 is outside"));
  EXPECT_EQ(model.params, before);
  EXPECT_EQ(testing::Updates(optimizer, 0), 1);
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

TEST(OptimizerTest, AStepWithoutAnyGradientIsAnErrorThatChangesNothing) {
  Model model({{"a", {3}}, {"b", {2}}});
  OptimizerSpec spec("sgd", {{"lr", ParseSchedule("linear(4)")}});
  spec.ema = EmaSpec{};
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  const StateTree before = optimizer.State();
  for (Tensor& t : optimizer.tensors()) t.grad = nullptr;
  const std::string why = "Step: no tensor has a gradient; call backward first";
  EXPECT_EQ(ErrorOf([&] { optimizer.Step(); }), why);
  EXPECT_EQ(ErrorOf([&] { optimizer.StepScaled(8); }), why);
  EXPECT_EQ(ErrorOf([&] { optimizer.Step([](Pass) -> Evaluation { return 1.0; }); }), why);
  EXPECT_EQ(ErrorOf([&] { optimizer.StepScaled(8, [](Pass) -> Evaluation { return 1.0; }); }), why);
  EXPECT_EQ(optimizer.steps(), 1);
  EXPECT_EQ(testing::Part(optimizer.State(), "averagers"), before.At("averagers"));
  EXPECT_EQ(optimizer.Value(0, "lr"), 0.75);
  optimizer.tensors()[1].grad = model.grads[1].data();
  optimizer.Step();
  EXPECT_EQ(testing::Updates(optimizer, 0), 1);
  EXPECT_EQ(testing::Updates(optimizer, 1), 2);
}

TEST(OptimizerTest, NothingThatChangesItCanBeCalledFromWithinAStep) {
  struct Meddling : Averager {
    explicit Meddling(std::function<void()> f) : f(std::move(f)) {}
    void Start(Engine& /*engine*/) override {}
    void After(Engine& /*engine*/) override { f(); }
    const float* Evaluated(size_t /*index*/) const override { return nullptr; }
    void Visit(const Engine& /*engine*/, StateVisitor& /*visitor*/) override {}
    std::function<void()> f;
  };
  Model model({{"a", {3}}, {"b", {2}}}), alone = model;
  for (size_t i = 0; i < 2; ++i) {
    alone.tensors[i].param = alone.params[i].data();
    alone.tensors[i].grad = alone.grads[i].data();
  }
  Optimizer optimizer(model.tensors, Sophia{}), expected(alone.tensors, Sophia{});
  optimizer.Step();
  expected.Step();
  const StateTree state = optimizer.State();
  const Oracle plain = [](Pass) -> Evaluation { return 1.0; };
  const std::vector<std::pair<std::string, std::function<void()>>> calls = {
      {"Step", [&] { optimizer.Step(); }},
      {"Step", [&] { optimizer.Step(plain); }},
      {"Step", [&] { optimizer.StepScaled(2); }},
      {"StepTensor", [&] { optimizer.StepTensor(0); }},
      {"FinishStep", [&] { optimizer.FinishStep(); }},
      {"UpdateHessian", [&] { optimizer.UpdateHessian(); }},
      {"Evaluation", [&] { static_cast<void>(optimizer.EvaluationWeights()); }},
      {"State", [&] { static_cast<void>(optimizer.State()); }},
      {"LoadState", [&] { optimizer.LoadState(state); }},
      {"Refresh", [&] { optimizer.Refresh(); }},
      {"SetSchedule", [&] { optimizer.SetSchedule(0, "lr", 0.5); }},
      {"SetSource", [&] { optimizer.SetSource(std::make_unique<PlainSource>()); }},
      {"AddScale", [&] { optimizer.AddScale(std::make_unique<ClipNorm>(1.0)); }},
      {"AddAverager", [&] { optimizer.AddAverager(std::make_unique<Ema>()); }},
      {"SetParallel", [&] { optimizer.SetParallel({.threads = 1}); }},
  };
  int meddled = 0;
  const auto meddle = [&] {
    for (const auto& [name, call] : calls) {
      EXPECT_EQ(ErrorOf(call),
                name + ": called from within a step, by its oracle, a stage or a pool of threads");
    }
    ++meddled;
  };
  optimizer.AddAverager(std::make_unique<Meddling>(meddle));
  optimizer.Step([&](Pass) -> Evaluation {
    meddle();
    EXPECT_EQ(optimizer.steps(), 1);  // looking is allowed
    EXPECT_EQ(optimizer.Plan().size(), 2U);
    return 1.0;
  });
  expected.Step();
  EXPECT_EQ(meddled, 2);
  EXPECT_EQ(model.params, alone.params);
  // Also a step that an oracle ended.
  EXPECT_THROW(optimizer.Step([](Pass) -> Evaluation { throw std::runtime_error("no"); }),
               std::runtime_error);
  optimizer.Step();
  expected.Step();
  EXPECT_EQ(model.params, alone.params);
}

TEST(OptimizerTest, ParametersThatOverlapAreNamed) {
  std::vector<float> w(10), g(10, 1);
  std::vector<uint16_t> halves(8);
  const auto tensor = [&](const std::string& name, float* param, int64_t size) {
    return Tensor{.name = name, .shape = {size}, .param = param, .grad = g.data()};
  };
  const auto error = [&](const std::vector<Tensor>& tensors) {
    return ErrorOf([&] { Optimizer(tensors, Sgd{}); });
  };
  float* const p = w.data();
  const std::string tied = "; give a parameter that has two names only once";
  EXPECT_EQ(error({tensor("embed", p, 4), tensor("head", p, 4)}),
            "tensors \"embed\" and \"head\" overlap in memory" + tied);
  EXPECT_THAT(error({tensor("c", p + 5, 5), tensor("a", p, 3), tensor("b", p + 2, 3)}),
              HasSubstr("tensors \"a\" and \"b\" overlap"));
  EXPECT_EQ(error({tensor("b", p + 3, 7), tensor("a", p, 3)}), "no error");
  Tensor half{.name = "half", .shape = {8}, .dtype = DType::kBFloat16, .param = halves.data()};
  Tensor next = half;
  next.name = "next";
  next.shape = {2};
  next.param = halves.data() + 7;
  EXPECT_THAT(error({half, next}), HasSubstr("tensors \"half\" and \"next\" overlap"));
  half.shape = {7};
  next.shape = {1};
  EXPECT_EQ(error({half, next}), "no error");
  // Nothing is in an empty tensor.
  EXPECT_EQ(error({tensor("a", p, 10), tensor("none", p + 3, 0), tensor("null", nullptr, 0)}),
            "no error");
}

TEST(OptimizerTest, ParametersThatComeToOverlapAreNamedAndNothingIsChanged) {
  std::vector<float> a(4), b(4), g(4, 1);
  Optimizer optimizer({{.name = "a", .shape = {4}, .param = a.data(), .grad = g.data()},
                       {.name = "b", .shape = {4}, .param = b.data(), .grad = g.data()}},
                      Sgd{.lr = 1});
  optimizer.Step();
  const std::vector<float> before = a;
  optimizer.tensors()[1].param = a.data();
  const auto steps = {
      std::function<void()>([&] { optimizer.Step(); }),
      std::function<void()>([&] { optimizer.Step([](Pass) -> Evaluation { return 1.0; }); }),
      std::function<void()>([&] { optimizer.StepTensor(1); }),
      std::function<void()>([&] { static_cast<void>(optimizer.EvaluationWeights()); })};
  for (int twice = 0; twice < 2; ++twice) {
    for (const auto& step : steps) {
      EXPECT_THAT(ErrorOf(step), HasSubstr("tensors \"a\" and \"b\" overlap in memory"));
      EXPECT_EQ(a, before);
    }
  }
  optimizer.tensors()[1].param = nullptr;
  EXPECT_THAT(ErrorOf([&] { optimizer.Step(); }), HasSubstr("\"b\": param is null"));
  std::vector<float> c(4, 8);
  optimizer.tensors()[1].param = c.data();
  optimizer.Step();
  EXPECT_EQ(optimizer.steps(), 2);
  EXPECT_EQ(a, std::vector<float>(4, -2));
  EXPECT_EQ(c, std::vector<float>(4, 7));
}

TEST(OptimizerTest, EmptyModelsAndTensorsStep) {
  Optimizer none({}, AdamW{});
  EXPECT_FALSE(none.Step().skipped);
  Model model({{"empty", {0}}, {"w", {2}}});
  OptimizerSpec spec = AdamW{};
  spec.clip_norm = 1.0;
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  EXPECT_EQ(testing::Updates(optimizer, 1), 1);
}

TEST(OptimizerTest, BadStatesAreNamedAndChangeNothing) {
  Model model({{"a", {3}}, {"b", {2}}});
  Optimizer optimizer(model.tensors, Adam{});
  optimizer.Step();
  const StateTree good = optimizer.State();
  EXPECT_THAT(
      good.Paths(),
      ElementsAre("step", "tensors/a/slots/exp_avg", "tensors/a/slots/exp_avg_sq", "tensors/a/step",
                  "tensors/b/slots/exp_avg", "tensors/b/slots/exp_avg_sq", "tensors/b/step"));
  const auto load = [&](const auto& change) {
    StateTree state = good;
    state.At("tensors/a/slots/exp_avg").Floats()[0] += 1;  // a good part that must not be taken
    change(state);
    std::string error = ErrorOf([&] { optimizer.LoadState(state); });
    EXPECT_EQ(FirstDifference(optimizer.State(), good), "");
    return error;
  };
  const auto rename = [](StateTree& s, const std::string& from, const std::string& to) {
    s.Set(to, s.At(from));
    s.Erase(from);
  };
  EXPECT_EQ(load([&](auto& s) { rename(s, "tensors/b", "tensors/c"); }),
            "state: \"tensors/b\" is missing");
  EXPECT_EQ(load([](auto& s) { s.Erase("tensors/b"); }), "state: \"tensors/b\" is missing");
  EXPECT_EQ(load([](auto& s) { s.Set("tensors/c", s.At("tensors/b")); }),
            "state: \"tensors/c\" (a node) is unknown");
  EXPECT_EQ(
      load([&](auto& s) { rename(s, "tensors/a/slots/exp_avg", "tensors/a/slots/exp_avgs"); }),
      "state: \"tensors/a/slots/exp_avg\" is missing; it must be F32 [3]");
  EXPECT_EQ(
      load([](auto& s) { s.Set("tensors/a/slots/exp_avgs", s.At("tensors/a/slots/exp_avg")); }),
      "state: \"tensors/a/slots/exp_avgs\" (F32 [3]) is unknown");
  EXPECT_EQ(load([](auto& s) {
              s.Set("tensors/a/slots/exp_avg_sq", StateArray::Of<float>(std::vector<float>(2)));
            }),
            "state: \"tensors/a/slots/exp_avg_sq\" is F32 [2], but must be F32 [3]");
  EXPECT_EQ(load([](auto& s) { s.Set("tensors/a/slots/exp_avg_sq", 1.0); }),
            "state: \"tensors/a/slots/exp_avg_sq\" is double, but must be F32 [3]");
  EXPECT_EQ(load([](auto& s) { s.Erase("tensors/a/slots"); }),
            "state: \"tensors/a/slots\" is missing; the tensor has had 1 updates");
  EXPECT_EQ(load([](auto& s) { s.Erase("step"); }), "state: \"step\" is missing; it must be int64");
  constexpr int64_t kTooMany = (int64_t{1} << 53) + 1;
  for (const int64_t steps : {int64_t{-1}, kTooMany, INT64_MAX - 1, INT64_MIN}) {
    EXPECT_EQ(load([&](auto& s) { s.Set("step", steps); }),
              "state: \"step\" = " + std::to_string(steps) + " is outside [0, 9007199254740992]");
    EXPECT_EQ(load([&](auto& s) { s.Set("tensors/b/step", steps); }),
              "state: \"tensors/b/step\" = " + std::to_string(steps) +
                  " is outside [0, 9007199254740992]");
  }
  EXPECT_EQ(load([](auto& s) { s.Set("tensors/\x1b[2J" + std::string(1 << 20, 'c'), true); }),
            "state: \"tensors/\\x1b[2J" + std::string(88, 'c') + "...\" (bool) is unknown");
}

TEST(OptimizerTest, TheLargestStepOfAState) {
  Model model({{"w", {3}}});
  OptimizerSpec spec = AdamW{};
  spec.options.at("lr") = 1e-3 * Cosine(100) * Noam(16, 20);
  Optimizer optimizer(model.tensors, spec);
  optimizer.Step();
  StateTree state = optimizer.State();
  state.Set("step", int64_t{1} << 53);
  state.Set("tensors/w/step", int64_t{1} << 53);
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

}  // namespace optimizer_test
}  // namespace kudari
