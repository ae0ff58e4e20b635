// Properties that every rule of the registry has; none can be left out.
#include "tests/support/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/random.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace rules_test {

using ::testing::HasSubstr;
using testing::Random;

/// Tensors with memory of their own.
struct RuleModel {
  explicit RuleModel(const std::vector<size_t>& sizes, uint64_t seed = 1) {
    Random random(seed);
    for (const size_t n : sizes) {
      params.push_back(random.Floats(n));
      grads.emplace_back(n);
    }
  }

  std::vector<Tensor> Tensors() {
    std::vector<Tensor> tensors;
    for (size_t i = 0; i < params.size(); ++i) {
      // Matrices as square as can be, which every rule can step.
      const auto n = static_cast<int64_t>(params[i].size());
      auto rows = static_cast<int64_t>(std::sqrt(static_cast<double>(n)));
      while (rows > 1 && n % rows != 0) --rows;
      tensors.push_back({.name = "t" + std::to_string(i),
                         .shape = {rows, n / rows},
                         .param = params[i].data(),
                         .grad = grads[i].data()});
    }
    return tensors;
  }

  void NextGradient(Random& random) {
    for (auto& g : grads) {
      for (float& x : g) x = 0.1F * random.Float();
    }
  }

  std::vector<std::vector<float>> params, grads;
};

std::vector<float> Joined(const std::vector<std::vector<float>>& parts) {
  std::vector<float> all;
  for (const auto& p : parts) all.insert(all.end(), p.begin(), p.end());
  return all;
}

Parallel StdThreads(int threads) {
  return {.threads = threads, .run = [](int n, const std::function<void(int)>& f) {
            std::vector<std::thread> workers;
            for (int i = 0; i < n; ++i) workers.emplace_back(f, i);
            for (std::thread& w : workers) w.join();
          }};
}

class RuleTest : public ::testing::TestWithParam<RuleEntry> {
 protected:
  static OptimizerSpec Spec() {
    OptimizerSpec spec(GetParam().name);
    spec.options.emplace("lr", 1e-2 * Warmup(3));
    spec.options.emplace("weight_decay", 0.1);
    return spec;
  }
};

INSTANTIATE_TEST_SUITE_P(Registry, RuleTest, ::testing::ValuesIn(testing::RulesForBuild()),
                         [](const auto& info) { return info.param.name; });

/// Whether the update of an element depends on nothing but the element.
bool ElementByElement(const RuleEntry& rule) { return rule.norms == 0 && rule.whole == nullptr; }

std::vector<RuleEntry> ElementByElementRules() {
  std::vector<RuleEntry> rules;
  std::ranges::copy_if(testing::RulesForBuild(), std::back_inserter(rules), ElementByElement);
  return rules;
}

class ElementByElementTest : public RuleTest {};

INSTANTIATE_TEST_SUITE_P(Registry, ElementByElementTest,
                         ::testing::ValuesIn(ElementByElementRules()),
                         [](const auto& info) { return info.param.name; });

TEST_P(RuleTest, IsDescribedCompletely) {
  const RuleEntry& rule = GetParam();
  EXPECT_FALSE(rule.summary.empty());
  EXPECT_FALSE(rule.formula.empty());
  EXPECT_FALSE(rule.paper.empty());
  for (const auto& o : rule.options) {
    EXPECT_FALSE(o.doc.empty()) << o.name;
    EXPECT_LE(o.low, o.default_value) << o.name;
    EXPECT_GE(o.high, o.default_value) << o.name;
  }
  EXPECT_EQ(rule.options.front().name, "lr");
}

TEST_P(RuleTest, EveryOptionIsCheckedAndTheMessageNamesIt) {
  for (const auto& o : GetParam().options) {
    std::vector<double> bad;
    if (o.low > -kInfinity) bad.push_back(std::nextafter(o.low, -kInfinity));
    if (o.high < kInfinity) bad.push_back(std::nextafter(o.high, kInfinity));
    ASSERT_FALSE(bad.empty()) << o.name << " has no range";
    for (const double value : bad) {
      RuleModel model({4});
      OptimizerSpec spec(GetParam().name, {{o.name, value}});
      try {
        Optimizer optimizer(model.Tensors(), spec);
        FAIL() << o.name << " = " << value << " was taken";
      } catch (const Error& e) {
        EXPECT_THAT(e.what(), HasSubstr(GetParam().name + ": " + o.name + " = "));
        EXPECT_THAT(e.what(), HasSubstr(" is outside " + RangeText(o.low, o.high)));
      }
    }
  }
}

TEST_P(ElementByElementTest, ASplitTensorGivesTheSameBits) {
  for (const size_t parts : {1U, 2U, 3U, 4U, 5U}) {
    RuleModel whole({50021}), split({});
    std::vector<size_t> cuts;
    for (size_t k = 0; k <= parts; ++k) cuts.push_back(50021 * k / parts);
    for (size_t k = 0; k < parts; ++k) {
      const auto begin = whole.params[0].begin();
      split.params.emplace_back(begin + static_cast<std::ptrdiff_t>(cuts[k]),
                                begin + static_cast<std::ptrdiff_t>(cuts[k + 1]));
      split.grads.emplace_back(cuts[k + 1] - cuts[k]);
    }
    Optimizer a(whole.Tensors(), Spec()), b(split.Tensors(), Spec());
    Random random(5);
    for (int step = 0; step < 4; ++step) {
      whole.NextGradient(random);
      for (size_t k = 0; k < parts; ++k) {
        std::copy_n(whole.grads[0].begin() + static_cast<std::ptrdiff_t>(cuts[k]),
                    split.grads[k].size(), split.grads[k].begin());
      }
      a.Step();
      b.Step();
    }
    EXPECT_EQ(whole.params[0], Joined(split.params)) << parts;
  }
}

TEST_P(RuleTest, OrderOfTensorsDoesNotMatter) {
  RuleModel a({7, 300, 40000}), b({});
  b.params = {a.params[2], a.params[0], a.params[1]};
  b.grads = {a.grads[2], a.grads[0], a.grads[1]};
  Optimizer x(a.Tensors(), Spec()), y(b.Tensors(), Spec());
  Random random(6);
  for (int step = 0; step < 4; ++step) {
    a.NextGradient(random);
    b.grads = {a.grads[2], a.grads[0], a.grads[1]};
    for (size_t i = 0; i < 3; ++i) y.tensors()[i].grad = b.grads[i].data();
    x.Step();
    y.Step();
  }
  EXPECT_EQ(b.params, (std::vector<std::vector<float>>{a.params[2], a.params[0], a.params[1]}));
}

TEST_P(RuleTest, ThreadsDoNotMatter) {
  const std::vector<size_t> sizes = {150000, 17, 30000, 1, 65536};
  OptimizerSpec spec = Spec();
  spec.clip_norm = 0.5;
  std::vector<std::vector<float>> expected;
  std::vector<double> norms;
  const auto run = [&](const Parallel& parallel) {
    RuleModel model(sizes);
    Optimizer optimizer(model.Tensors(), spec);
    optimizer.SetParallel(parallel);
    Random random(7);
    std::vector<double> seen;
    for (int step = 0; step < 3; ++step) {
      model.NextGradient(random);
      seen.push_back(optimizer.Step().grad_norm);
    }
    if (expected.empty()) {
      expected = model.params;
      norms = seen;
    }
    EXPECT_EQ(model.params, expected) << parallel.threads;
    EXPECT_EQ(seen, norms) << parallel.threads;
  };
  for (int threads = 1; threads <= 8; ++threads) run({.threads = threads});
  for (const int threads : {2, 7}) run(StdThreads(threads));
}

TEST_P(RuleTest, TargetsDoNotMatter) {
  std::vector<std::vector<float>> expected;
  for (const std::string_view target : KernelTargets()) {
    setenv("KUDARI_TARGET", std::string(target).c_str(), 1);
    RuleModel model({1003, 64});
    OptimizerSpec spec = Spec();
    spec.clip_norm = 0.5;
    Optimizer optimizer(model.Tensors(), spec);
    unsetenv("KUDARI_TARGET");
    Random random(8);
    for (int step = 0; step < 20; ++step) {
      model.NextGradient(random);
      optimizer.Step();
    }
    if (expected.empty()) expected = model.params;
    EXPECT_EQ(model.params, expected) << target;
  }
}

/// A source that multiplies the gradient by a power of two, and asks for it to be divided out.
class Scaled : public Source {
 public:
  Scaled(std::vector<std::vector<float>>* grads, float scale) : grads_(grads), scale_(scale) {}
  Gradient Compute(Engine& /*engine*/, const Oracle& oracle) override {
    const Evaluation e = oracle(Pass::kPlain);
    for (auto& g : *grads_) {
      for (float& x : g) x *= scale_;
    }
    return {.loss = e.loss, .samples = e.samples, .factor = 1 / static_cast<double>(scale_)};
  }

 private:
  std::vector<std::vector<float>>* grads_;
  float scale_;
};

TEST_P(RuleTest, APowerOfTwoThatIsDividedOutChangesNoBit) {
  std::vector<std::vector<float>> expected;
  for (const float scale : {1.0F, 1024.0F, 0.125F}) {
    RuleModel model({1003});
    Optimizer optimizer(model.Tensors(), Spec());
    optimizer.SetSource(std::make_unique<Scaled>(&model.grads, scale));
    Random random(9);
    for (int step = 0; step < 5; ++step) {
      optimizer.Step([&](Pass) -> Evaluation {
        model.NextGradient(random);
        return 0.0;
      });
    }
    if (expected.empty()) expected = model.params;
    EXPECT_EQ(model.params, expected) << scale;
  }
}

TEST_P(RuleTest, ResumesWithTheSameBitsAtEveryStep) {
  constexpr int kSteps = 8;
  RuleModel reference({200, 31});
  Optimizer straight(reference.Tensors(), Spec());
  Random random(10);
  std::vector<std::vector<std::vector<float>>> grads, params;
  std::vector<StateTree> states;
  for (int step = 0; step < kSteps; ++step) {
    params.push_back(reference.params);
    states.push_back(straight.State());
    reference.NextGradient(random);
    grads.push_back(reference.grads);
    // The second tensor has its first gradient late.
    straight.tensors()[1].grad = step < 3 ? nullptr : reference.grads[1].data();
    straight.Step();
  }
  for (size_t from = 0; from < kSteps; ++from) {
    RuleModel model({200, 31});
    model.params = params[from];
    Optimizer resumed(model.Tensors(), Spec());
    resumed.LoadState(states[from]);
    for (size_t step = from; step < kSteps; ++step) {
      model.grads = grads[step];
      resumed.tensors()[0].grad = model.grads[0].data();
      resumed.tensors()[1].grad = step < 3 ? nullptr : model.grads[1].data();
      resumed.Step();
    }
    EXPECT_EQ(model.params, reference.params) << from;
    EXPECT_EQ(resumed.steps(), kSteps);
  }
}

TEST_P(RuleTest, AMissingGradientSkipsTheTensorAndAZeroGradientIsAStep) {
  RuleModel model({20, 20});
  Optimizer optimizer(model.Tensors(), Spec());
  Random random(11);
  model.NextGradient(random);
  optimizer.tensors()[1].grad = nullptr;
  const auto before = model.params;
  optimizer.Step();
  EXPECT_NE(model.params[0], before[0]);
  EXPECT_EQ(model.params[1], before[1]);
  EXPECT_EQ(testing::Updates(optimizer, 0), 1);
  EXPECT_EQ(testing::Updates(optimizer, 1), 0);
  EXPECT_TRUE(testing::Buffers(optimizer, 1).empty());

  std::fill(model.grads[1].begin(), model.grads[1].end(), 0.0F);
  optimizer.tensors()[1].grad = model.grads[1].data();
  optimizer.Step();
  EXPECT_NE(model.params[1], before[1]);  // weight decay moves it
  EXPECT_EQ(testing::Updates(optimizer, 1), 1);
}

TEST_P(RuleTest, ANonFiniteGradientIsData) {
  RuleModel model({10});
  OptimizerSpec spec = Spec();
  spec.options.at("weight_decay") = 0.0;
  Optimizer optimizer(model.Tensors(), spec);
  std::fill(model.grads[0].begin(), model.grads[0].end(), 0.5F);
  model.grads[0][3] = NAN;
  optimizer.Step();
  EXPECT_TRUE(std::isnan(model.params[0][3]));
  if (!ElementByElement(GetParam())) return;  // the whole tensor may become one
  for (size_t i = 0; i < 10; ++i) EXPECT_EQ(std::isnan(model.params[0][i]), i == 3) << i;
}

TEST_P(RuleTest, ZeroLearningRateChangesNoParameter) {
  RuleModel model({100});
  OptimizerSpec spec = Spec();
  spec.options.at("lr") = 0.0;
  Optimizer optimizer(model.Tensors(), spec);
  const auto before = model.params;
  Random random(12);
  for (int step = 0; step < 3; ++step) {
    model.NextGradient(random);
    optimizer.Step();
  }
  EXPECT_EQ(model.params, before);
}

/// Parameters after 20 steps from the same start with the same gradients.
std::vector<float> After20(const OptimizerSpec& spec) {
  RuleModel model({513});
  Optimizer optimizer(model.Tensors(), spec);
  Random random(13);
  for (int step = 0; step < 20; ++step) {
    model.NextGradient(random);
    optimizer.Step();
  }
  return model.params[0];
}

TEST(RulesTest, MomentumOfZeroIsSgd) {
  const auto sgd = After20(Sgd{.lr = 0.1, .weight_decay = 0.01});
  EXPECT_EQ(After20(Momentum{.lr = 0.1, .momentum = 0, .weight_decay = 0.01}), sgd);
  EXPECT_EQ(After20(Nesterov{.lr = 0.1, .momentum = 0, .weight_decay = 0.01}), sgd);
}

TEST(RulesTest, AdamAndAdamWAgreeWithoutWeightDecay) {
  EXPECT_EQ(After20(Adam{.lr = 0.1}), After20(AdamW{.lr = 0.1, .weight_decay = 0}));
}

TEST(RulesTest, DampeningSparesTheFirstStep) {
  RuleModel model({1});
  model.params[0] = {0};
  Optimizer optimizer(model.Tensors(), Momentum{.lr = 1, .momentum = 0.5, .dampening = 0.75});
  model.grads[0] = {1};
  optimizer.Step();
  EXPECT_EQ(model.params[0][0], -1);  // b = 1
  optimizer.Step();
  EXPECT_EQ(model.params[0][0], -1.75);  // b = 0.5 + 0.25
}

TEST(RulesTest, AdamsFirstStepHasTheSizeOfTheLearningRate) {
  RuleModel model({4});
  model.params[0] = {0, 0, 0, 0};
  Optimizer optimizer(model.Tensors(), Adam{.lr = 0.5});
  model.grads[0] = {1, -2, 1e-3F, 0};
  optimizer.Step();
  EXPECT_NEAR(model.params[0][0], -0.5, 1e-6);
  EXPECT_NEAR(model.params[0][1], 0.5, 1e-6);
  EXPECT_NEAR(model.params[0][2], -0.5, 1e-5);
  EXPECT_EQ(model.params[0][3], 0);
}

TEST(RulesTest, SgdOnAQuadraticIsAGeometricSeries) {
  RuleModel model({1});
  model.params[0] = {1};
  Optimizer optimizer(model.Tensors(), Sgd{.lr = 0.25});
  for (int step = 0; step < 10; ++step) {
    model.grads[0] = model.params[0];  // of p^2 / 2
    optimizer.Step();
  }
  EXPECT_EQ(model.params[0][0], static_cast<float>(std::pow(0.75, 10)));
}

TEST(RulesTest, DecoupledDecayIsGeometricAndStaysOutOfTheMoments) {
  RuleModel model({1});
  model.params[0] = {1};
  Optimizer optimizer(model.Tensors(), AdamW{.lr = 0.5, .weight_decay = 0.5});
  for (int step = 0; step < 8; ++step) optimizer.Step();  // zero gradients
  EXPECT_EQ(model.params[0][0], static_cast<float>(std::pow(0.75, 8)));
  for (const testing::Buffer& b : testing::Buffers(optimizer, 0)) {
    EXPECT_EQ(b.values[0], 0) << b.slot;
  }
}

/// A rule that is not the library's: sign descent with a buffer that counts steps.
struct Counting {
  double lr = 0.5;
  static constexpr std::string_view kName = "counting";
  static constexpr std::string_view kSummary = "test";
  static constexpr std::string_view kFormula = "test";
  static constexpr std::string_view kPaper = "test";
  static constexpr std::array kFields = {Field<Counting>{"lr", &Counting::lr, 0, 1, "step size"}};
  static constexpr std::array kState = {Slot{"count"}};
  template <class T>
  struct Coeffs {
    T lr;
  };
  Coeffs<double> At(int64_t /*t*/) const { return {lr}; }
};

template <class V, class T>
void Update(const Counting::Coeffs<T>& c, V g, V& p, V& count) {
  count = count + V(1);
  p = Fma(V(-c.lr), g / Sqrt(g * g), p);
}

TEST(RulesTest, ARuleOfOnesOwnRunsBesideTheLibrarys) {
  Registry registry = Registry::Builtin();
  registry.Add(MakeEntry<Counting>());
  EXPECT_THROW(registry.Add(MakeEntry<Counting>()), Error);
  RuleEntry same = MakeEntry<Counting>();
  same.name = "Counting";
  EXPECT_EQ(testing::ErrorOf([&] { registry.Add(same); }),
            "rule \"Counting\" is already registered, as \"counting\"");
  RuleModel model({40000, 3});
  OptimizerSpec spec = Sgd{};
  spec.groups = {{.match = "t0", .rule = "counting"}};
  EXPECT_THROW(Optimizer(model.Tensors(), spec), Error);  // not in the builtin registry
  Optimizer optimizer(model.Tensors(), spec, registry);
  model.params[0].assign(40000, 2);
  model.grads[0].assign(40000, -3);
  optimizer.Step();
  optimizer.Step();
  EXPECT_EQ(model.params[0], std::vector<float>(40000, 3));
  EXPECT_EQ(optimizer.SlotValues(0, "count"), std::vector<float>(40000, 2));
}

TEST(RulesTest, CenteredRmspropStaysFiniteUnderConstantGradients) {
  // Where v and a^2 round apart: torch's parameters become NaN for one in forty of such gradients.
  RuleModel model({20000});
  Random random(17);
  for (float& g : model.grads[0]) g = 5 + 5 * random.Float();
  for (const char* rule : {"rmsprop_centered", "rmsprop_centered_momentum"}) {
    Optimizer optimizer(model.Tensors(), OptimizerSpec(rule));
    for (int step = 0; step < 3000; ++step) optimizer.Step();
    EXPECT_TRUE(std::all_of(model.params[0].begin(), model.params[0].end(), [](float p) {
      return std::isfinite(p);
    })) << rule;
  }
}

TEST(RulesTest, SignsAreThoseOfZerosAndNaNsToo) {
  // Lion with an empty momentum and lr = 1: p <- p - sign(g).
  RuleModel model({6});
  model.params[0] = {0, 0, 0, 0, 0, 0};
  model.grads[0] = {2, -3e-40F, 0, -0.0F, INFINITY, NAN};
  Optimizer optimizer(model.Tensors(), Lion{.lr = 1, .beta1 = 0});
  optimizer.Step();
  EXPECT_EQ(std::vector<float>(model.params[0].begin(), model.params[0].begin() + 5),
            (std::vector<float>{-1, 1, 0, 0, -1}));
  EXPECT_TRUE(std::isnan(model.params[0][5]));
}

}  // namespace rules_test
}  // namespace kudari
