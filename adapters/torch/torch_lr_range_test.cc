#include "kudari/torch_lr_range.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
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
namespace torch_lr_range_test {

using at::Tensor;
using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

// The bytes of everything, one after the other.
class Bytes {
 public:
  void Add(const void* data, size_t size) { all_.append(static_cast<const char*>(data), size); }
  void Add(const Tensor& t) {
    if (!t.defined()) return Add("undefined", 9);
    const Tensor c = t.detach().contiguous();
    Add(c.data_ptr(), c.nbytes());
  }
  void Add(const std::string& text) { Add(text.data(), text.size()); }
  void Add(double x) { Add(&x, sizeof(x)); }
  template <class T>
  void Add(const std::vector<T>& values) {
    Add(values.data(), values.size() * sizeof(T));
  }
  void Add(const StateTree& state) {
    for (const std::string& path : state.Paths()) {
      Add(path);
      const StateTree& value = state.At(path);
      if (const auto* const array = std::get_if<StateArray>(&value.value())) {
        Add(array->bytes.data(), array->bytes.size());
      } else if (const auto* const number = std::get_if<double>(&value.value())) {
        Add(*number);
      } else if (const auto* const count = std::get_if<int64_t>(&value.value())) {
        Add(static_cast<double>(*count));
      } else if (const auto* const text = std::get_if<std::string>(&value.value())) {
        Add(*text);
      } else {
        Add(value.Bool() ? 1.0 : 0.0);
      }
    }
  }
  const std::string& all() const { return all_; }

 private:
  std::string all_;
};

// A net with batch norm and dropout, an optimiser and perhaps a scaler, and everything they hold.
struct Training {
  explicit Training(const OptimizerSpec& spec, bool scaled = false,
                    at::ScalarType type = at::kFloat)
      : net(MakeNet(type)), optimizer(*net, spec) {
    if (scaled) scaler.emplace(GradScalerOptions{.init_scale = 0x1p125, .growth_interval = 3});
  }

  static nn::Sequential MakeNet(at::ScalarType type) {
    ::torch::manual_seed(3);
    nn::Sequential net(nn::Linear(6, 70), nn::BatchNorm1d(70), nn::ReLU(), nn::Dropout(0.4),
                       nn::Linear(70, 70), nn::ReLU(), nn::Linear(70, 4));
    net->to(type);
    return net;
  }

  Evaluation Loss(Pass /*pass*/) {
    const at::ScalarType type = net->parameters()[0].scalar_type();
    const Tensor x = ::torch::randn({20, 6}).to(type);  // from the generator that is put back
    const Tensor loss = (net->forward(x).to(at::kFloat) - 0.5).square().mean();
    (scaler ? scaler->Scale(loss) : loss).backward();
    return {loss.item<double>(), 20};
  }

  std::function<Evaluation(Pass)> Closure() {
    return [this](Pass pass) { return Loss(pass); };
  }

  void Steps(int count) {
    for (int i = 0; i < count; ++i) {
      if (scaler) {
        scaler->Step(optimizer, Closure());
        scaler->Update();
      } else {
        optimizer.Step(Closure());
      }
    }
  }

  LrRange Find(FindOptions options = {}) {
    options.range.steps = 12;
    if (scaler) options.scaler = &*scaler;
    return FindLearningRate(optimizer, Closure(), options);
  }

  std::string Everything() const {
    Bytes bytes;
    for (const Tensor& p : net->parameters()) {
      bytes.Add(p);
      bytes.Add(p.grad());
    }
    for (const Tensor& b : net->buffers()) bytes.Add(b);
    bytes.Add(at::detail::getDefaultCPUGenerator().get_state());
    if (scaler) {
      bytes.Add(scaler->State());
    }
    bytes.Add(optimizer.core().State());
    for (size_t i = 0; i < optimizer.core().tensors().size(); ++i) {
      bytes.Add(optimizer.core().ScheduleOf(i, "lr").Text());
    }
    return bytes.all();
  }

  nn::Sequential net;
  Optimizer optimizer;
  std::optional<GradScaler> scaler;
};

struct Case {
  std::string name;
  OptimizerSpec spec;
  bool scaled = false;
  at::ScalarType type = at::kFloat;
};

std::vector<Case> Cases() {
  const auto with = [](OptimizerSpec spec, const auto& change) {
    change(spec);
    return spec;
  };
  return {
      {"adamw with a schedule",
       with(AdamW{}, [](auto& s) { s.options.at("lr") = 1e-2 * Warmup(5); })},
      {"momentum, scaled", Momentum{.lr = 0.05}, true},
      {"looksam and ema", with(Momentum{.lr = 0.05},
                               [](auto& s) {
                                 s.source = "looksam";
                                 s.sharpness = SharpnessSpec{.rho = 0.1, .k = 3};
                                 s.ema = EmaSpec{};
                               })},
      {"lookahead, accumulation and skips", with(RAdam{},
                                                 [](auto& s) {
                                                   s.lookahead = LookaheadSpec{
                                                       .k = 2, .state = LookaheadState::kPullback};
                                                   s.accumulate = 2;
                                                   s.nonfinite = NonFinite::kSkip;
                                                 })},
      {"schedule-free", ScheduleFreeAdamW{}},
      {"muon with a fallback and swa", with(Muon{},
                                            [](auto& s) {
                                              s.fallback = Fallback{};
                                              s.swa = SwaSpec{};
                                            })},
      {"adafactor", Adafactor{}},
      {"nadam, errors", with(NAdam{}, [](auto& s) { s.nonfinite = NonFinite::kError; })},
      {"seven bytes, scaled",
       with(AdamW{},
            [](auto& s) {
              s.precision = {.master = Master::kSplit8, .state = StateFormat::kLinear8};
            }),
       true, at::kBFloat16},
      {"random rounding",
       with(AdamW{.lr = 0.1},
            [](auto& s) {
              s.precision = {.rounding = Rounding::kStochastic, .state = StateFormat::kBFloat16};
            }),
       false, at::kBFloat16},
  };
}

TEST(FindLearningRateTest, PutsBackEverything) {
  for (const Case& c : Cases()) {
    for (const int before : {0, 4}) {  // also state that is not there yet
      SCOPED_TRACE(c.name + " after " + std::to_string(before));
      Training plain(c.spec, c.scaled, c.type);
      plain.Steps(before);
      const std::string then = plain.Everything();
      plain.Steps(4);
      const std::string last = plain.Everything();

      Training tested(c.spec, c.scaled, c.type);
      tested.Steps(before);
      ASSERT_EQ(tested.Everything(), then);
      bool changed = false;
      const LrRange range = tested.Find({.after_step = [&](const Report&, const LrRange&) {
        changed = tested.Everything() != then;
        return true;
      }});
      EXPECT_TRUE(changed);
      EXPECT_GE(range.points.size(), 5U);
      EXPECT_EQ(tested.Everything(), then);
      tested.Steps(4);
      EXPECT_EQ(tested.Everything(), last);
    }
  }
}

TEST(FindLearningRateTest, PutsBackEverythingIfTheClosureThrows) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    Training t(c.spec, c.scaled, c.type);
    t.Steps(3);
    const std::string before = t.Everything();
    int calls = 0;
    const auto closure = [&](Pass pass) {
      if (++calls == 9) throw std::runtime_error("no more");
      return t.Loss(pass);
    };
    FindOptions options;
    if (t.scaler) options.scaler = &*t.scaler;
    EXPECT_THROW(FindLearningRate(t.optimizer, closure, options), std::runtime_error);
    EXPECT_EQ(calls, 9);
    EXPECT_EQ(t.Everything(), before);
  }
}

TEST(FindLearningRateTest, PutsBackOtherGenerators) {
  at::Generator random = at::make_generator<at::CPUGeneratorImpl>(uint64_t{5});
  const Tensor before = random.get_state().clone();
  const Tensor w = ::torch::ones({4}, ::torch::requires_grad());
  Optimizer optimizer({{"w", w}}, Sgd{});
  const std::function<Tensor()> closure = [&] {
    Tensor loss = (w * at::rand({4}, random)).square().sum();
    loss.backward();
    return loss;
  };
  FindLearningRate(optimizer, closure, {.range = {.steps = 5}, .generators = {random}});
  EXPECT_TRUE(random.get_state().equal(before));
}

// Of loss w the gradient is 1: each loss is less than the one before by the learning rate.
TEST(FindLearningRateTest, EachStepHasTheLearningRateOfItsPoint) {
  const Tensor w = ::torch::full({1}, 100.0, ::torch::requires_grad());
  Optimizer optimizer({{"w", w}}, Sgd{.lr = 3});
  optimizer.core().SetSchedule(0, "lr", 3 * Cosine(10));
  const std::function<Tensor()> closure = [&] {
    Tensor loss = w.sum();
    loss.backward();
    return loss;
  };
  optimizer.Step(closure);  // so that the test does not begin at the schedule's beginning
  const double start = w.item<double>();
  EXPECT_EQ(start, 97);
  for (const LrRamp ramp : {LrRamp::kExponential, LrRamp::kLinear}) {
    const LrRange range = FindLearningRate(
        optimizer, closure, {.range = {.start = 0.5, .end = 8, .steps = 5, .ramp = ramp}});
    ASSERT_EQ(range.points.size(), 5U);
    EXPECT_EQ(range.end, LrEnd::kRamp);
    double lr = 0.5, expected = start;
    for (size_t i = 0; i < 5; ++i) {
      EXPECT_NEAR(range.points[i].lr, lr, 1e-12);
      EXPECT_NEAR(range.points[i].loss, expected, 1e-4);
      expected -= lr;
      lr = ramp == LrRamp::kExponential ? lr * 2 : lr + 1.875;
    }
  }
  EXPECT_EQ(w.item<double>(), start);
  EXPECT_EQ(optimizer.core().ScheduleOf(0, "lr"), 3 * Cosine(10));
}

struct TwoParameters {
  explicit TwoParameters(const OptimizerSpec& spec)
      : optimizer({{"head.w", w}, {"body.w", v}}, spec) {}
  std::function<Tensor()> Closure() {
    return [this] {
      Tensor loss = 100 + w.sum() + v.sum();
      loss.backward();
      return loss;
    };
  }
  // What the second step of a test with learning rates 1, 2, 4 does to each.
  std::pair<double, double> Moves(FindOptions options) {
    std::vector<std::pair<double, double>> at;
    options.range = {.start = 1, .end = 4, .steps = 3};
    options.after_step = [&](const Report&, const LrRange&) {
      at.emplace_back(w.item<double>(), v.item<double>());
      return true;
    };
    FindLearningRate(optimizer, Closure(), options);
    return {at[0].first - at[1].first, at[0].second - at[1].second};
  }

  Tensor w = ::torch::zeros({1}, ::torch::requires_grad());
  Tensor v = ::torch::zeros({1}, ::torch::requires_grad());
  Optimizer optimizer;
};

TEST(FindLearningRateTest, OneGroupAlone) {
  using Pair = std::pair<double, double>;
  TwoParameters t(Sgd{.lr = 0.25});
  EXPECT_EQ(t.Moves({}), Pair(2, 2));
  EXPECT_EQ(t.Moves({.match = "head.*"}), Pair(2, 0.25));
  EXPECT_EQ(t.Moves({.match = "head.*", .freeze_others = true}), Pair(2, 0));
  EXPECT_EQ(t.Moves({.match = "*"}), Pair(2, 2));

  // Groups with a learning rate of their own keep it; those without follow the spec's.
  OptimizerSpec spec = Sgd{.lr = 0.25};
  spec.groups = {{.match = "head.*", .options = {{"lr", 0.5}}}};
  EXPECT_EQ(TwoParameters(spec).Moves({}), Pair(0.5, 2));
  EXPECT_EQ(TwoParameters(spec).Moves({.freeze_others = true}), Pair(0, 2));
  spec.groups = {{.match = "head.*", .options = {{"weight_decay", 0.0}}}};
  EXPECT_EQ(TwoParameters(spec).Moves({}), Pair(2, 2));
  spec.groups = {{.match = "head.*", .rule = "momentum", .options = {{"lr", 0.25}}}};
  EXPECT_EQ(TwoParameters(spec).Moves({}).second, 2);
  EXPECT_LT(TwoParameters(spec).Moves({}).first, 1);
}

TEST(FindLearningRateTest, OverflowRepeatsTheStep) {
  Training t(Momentum{}, true);  // the first scales overflow
  int64_t skipped = 0;
  const LrRange range = t.Find({.after_step = [&](const Report& report, const LrRange&) {
    skipped += report.skipped ? 1 : 0;
    return true;
  }});
  EXPECT_GT(skipped, 0);
  const Schedule ramp = LrRampSchedule(range.options);
  for (size_t i = 0; i < range.points.size(); ++i) {
    EXPECT_EQ(range.points[i].lr, ramp(static_cast<int64_t>(i)));
  }
}

TEST(FindLearningRateTest, EndsOfTheTest) {
  const Tensor w = ::torch::ones({2}, ::torch::requires_grad());
  int calls = 0;
  const auto end = [&](const OptimizerSpec& spec, const std::function<Evaluation(Pass)>& closure,
                       bool (*go_on)(const Report&, const LrRange&) = nullptr) {
    calls = 0;
    Optimizer optimizer({{"w", w}}, spec);
    return FindLearningRate(optimizer, closure, {.range = {.steps = 30}, .after_step = go_on});
  };
  const auto closure = [&](double gradient, double loss) {
    return [&, gradient, loss](Pass) -> Evaluation {
      const bool bad = ++calls > 3;
      w.mutable_grad() = at::full({2}, bad ? gradient : 1.0);
      return {bad ? loss : 1.0, 1};
    };
  };
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  for (const NonFinite policy : {NonFinite::kPropagate, NonFinite::kSkip, NonFinite::kError}) {
    OptimizerSpec spec = Sgd{};
    spec.nonfinite = policy;
    for (const double bad : {nan, inf}) {
      const LrRange range = end(spec, closure(bad, bad));
      EXPECT_EQ(range.end, LrEnd::kNonFinite);
      EXPECT_EQ(range.points.size(), 3U);
    }
    if (policy == NonFinite::kPropagate) continue;
    // The loss is finite, but no step can be taken any more.
    const LrRange range = end(spec, closure(inf, 1));
    EXPECT_EQ(range.end, LrEnd::kNonFinite);
    EXPECT_EQ(range.points.size(), 3U);
    EXPECT_EQ(calls, 3 + kMostSkipped);
  }
  EXPECT_EQ(end(Sgd{}, closure(1, 1000)).end, LrEnd::kDiverged);
  EXPECT_EQ(end(Sgd{}, closure(1, 1)).end, LrEnd::kRamp);
  const LrRange stopped = end(Sgd{}, closure(1, 1),
                              [](const Report&, const LrRange& r) { return r.points.size() < 2; });
  EXPECT_EQ(stopped.end, LrEnd::kStopped);
  EXPECT_EQ(stopped.points.size(), 2U);
  const LrRange no_data = end(Sgd{}, [&](Pass) -> Evaluation {
    if (++calls > 4) return Evaluation::End();
    w.mutable_grad() = at::ones({2});
    return 1.0;
  });
  EXPECT_EQ(no_data.end, LrEnd::kStopped);
  EXPECT_EQ(no_data.points.size(), 4U);
  EXPECT_EQ(calls, 5);
  // Empty batches take no step and end nothing, unless no others come.
  const LrRange some = end(Sgd{}, [&](Pass) -> Evaluation {
    w.mutable_grad() = at::ones({2});
    const bool empty = ++calls % 2 == 0;
    return {empty ? nan : 1.0, empty ? 0.0 : 1.0};
  });
  EXPECT_EQ(some.end, LrEnd::kRamp);
  const LrRange none = end(Sgd{}, [&](Pass) -> Evaluation {
    w.mutable_grad() = at::ones({2});
    return {1, ++calls > 4 ? 0.0 : 1.0};
  });
  EXPECT_EQ(none.end, LrEnd::kStopped);
  EXPECT_EQ(none.points.size(), 4U);
  EXPECT_EQ(calls, 4 + kMostSkipped);
  EXPECT_TRUE(w.equal(at::ones({2})));
}

TEST(FindLearningRateTest, BadInputIsNamed) {
  TwoParameters t(Sgd{.lr = 0.25});
  const auto error = [&](const FindOptions& options) {
    return ErrorOf([&] { FindLearningRate(t.optimizer, t.Closure(), options); });
  };
  EXPECT_THAT(error({.match = "haed.*"}),
              HasSubstr("\"haed.*\" matches no parameter; the first one is \"head.w\""));
  EXPECT_THAT(error({.range = {.start = -1}}), HasSubstr("start = -1 is outside (0, inf)"));
  {
    const EvaluationView view = t.optimizer.EvaluationWeights();
    EXPECT_THAT(error({}), HasSubstr("an evaluation view is open"));
  }
  EXPECT_EQ(t.Moves({}), std::pair(2.0, 2.0));

  OptimizerSpec spec;
  spec.groups = {{.match = "*", .rule = "sgd", .options = {}}};
  TwoParameters groups(spec);
  EXPECT_THAT(ErrorOf([&] { FindLearningRate(groups.optimizer, groups.Closure()); }),
              HasSubstr("no parameter has the optimiser's own lr"));
  EXPECT_EQ(groups.Moves({.match = "body.*", .freeze_others = true}), std::pair(0.0, 2.0));
}

TEST(SetScheduleTest, OneTensorAlone) {
  TwoParameters t(AdamW{.lr = 0.25});
  Optimizer& optimizer = t.optimizer;
  kudari::Optimizer& core = optimizer.core();
  core.SetSchedule(1, "lr", 1e300 * Step(1, 1e5));  // leaves its range in two steps
  EXPECT_EQ(core.Value(1, "lr"), 1e300);
  EXPECT_EQ(core.Value(0, "lr"), 0.25);
  EXPECT_EQ(core.ScheduleOf(0, "lr"), Schedule(0.25));
  core.SetSchedule(1, "lr", 0.5);
  for (int i = 0; i < 4; ++i) optimizer.Step(t.Closure());  // what is gone has no effect
  EXPECT_NEAR(t.w.item<double>(), -1, 0.05);
  EXPECT_NEAR(t.v.item<double>(), -2, 0.05);
  EXPECT_THAT(ErrorOf([&] { core.SetSchedule(1, "lr", -1); }), HasSubstr("lr = -1 is outside"));
  EXPECT_THAT(ErrorOf([&] { core.SetSchedule(1, "lrr", 1); }), HasSubstr("lr"));
  EXPECT_THAT(ErrorOf([&] { core.SetSchedule(2, "lr", 1); }), HasSubstr("2 is outside [0, 2)"));
  EXPECT_EQ(core.Value(1, "lr"), 0.5);
}

}  // namespace torch_lr_range_test
}  // namespace kudari::torch
