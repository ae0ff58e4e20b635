#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <ostream>
#include <stdexcept>

#include "kudari/kudari.h"
#include "tests/support/errors.h"
#include "tests/support/model.h"
#include "tests/support/sanitized.h"
#include "tests/support/tensor_state.h"

namespace kudari {
namespace sharpness_test {

using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::Model;
using testing::Random;
using Vector = std::vector<double>;

const Model::Shapes kShapes = {{"layer0.weight", {20, 30}}, {"layer0.bias", {20}},
                               {"norm.weight", {7}},        {"layer1.weight", {9, 20}},
                               {"layer1.bias", {9}},        {"head.weight", {3, 9}}};

double Dot(const Vector& x, const Vector& y) {
  return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
}

/// x + a y.
Vector Sum(Vector x, double a, const Vector& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += a * y[i];
  return x;
}

/// The loss sum(a w^2) / 2 + (u.w)^2 / 2 + sum(c w^4) / 4, whose u is another for each batch: its
/// gradient turns wherever one goes.
class Problem {
 public:
  explicit Problem(size_t size) {
    Random random(11);
    for (size_t i = 0; i < size; ++i) {
      curvature_.push_back(0.2 + 0.5 * std::abs(random.Float()));
      quartic_.push_back(0.3 * std::abs(random.Float()));
    }
    for (Vector& u : directions_) {
      for (size_t i = 0; i < size; ++i) u.push_back(0.1 * random.Float());
    }
  }

  static constexpr size_t kBatches = 7;

  Vector Gradient(const Vector& w, size_t batch) const {
    const Vector& u = directions_[batch % kBatches];
    const double along = Dot(u, w);
    Vector g(w.size());
    for (size_t i = 0; i < w.size(); ++i) {
      g[i] = curvature_[i] * w[i] + along * u[i] + quartic_[i] * w[i] * w[i] * w[i];
    }
    return g;
  }

 private:
  Vector curvature_, quartic_;
  Vector directions_[kBatches];
};

/// The problem over tensors of any type, and what its oracle was asked for.
class Task {
 public:
  explicit Task(DType type = DType::kFloat32, double loss_scale = 1)
      : model_(kShapes), loss_scale_(loss_scale), problem_(Size()) {
    if (type == DType::kFloat32) return;
    for (size_t i = 0; i < model_.tensors.size(); ++i) {
      Tensor& t = model_.tensors[i];
      auto& w = halves_.emplace_back();
      for (const float x : model_.params[i]) {
        w.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16U));
      }
      t.dtype = type;
      t.grad_dtype = DType::kFloat32;
    }
    for (size_t i = 0; i < halves_.size(); ++i) model_.tensors[i].param = halves_[i].data();
  }

  std::vector<Tensor>& tensors() { return model_.tensors; }
  Model& model() { return model_; }
  const std::vector<Pass>& passes() const { return passes_; }
  void set_loss_scale(double scale) { loss_scale_ = scale; }

  /// The weights as the model sees them.
  Vector Weights() const {
    Vector w;
    for (size_t i = 0; i < model_.tensors.size(); ++i) {
      for (size_t k = 0; k < model_.params[i].size(); ++k) {
        w.push_back(halves_.empty()
                        ? model_.params[i][k]
                        : std::bit_cast<float>(static_cast<uint32_t>(halves_[i][k]) << 16U));
      }
    }
    return w;
  }

  /// Makes the gradients of the batch that is next, or, perturbed, of the step's batches again.
  Evaluation Call(Pass pass) {
    if (pass == Pass::kPlain && (passes_.empty() || passes_.back() == Pass::kPerturbed)) Begin();
    if (pass == Pass::kPerturbed && passes_.back() == Pass::kPlain) again_ = first_;
    passes_.push_back(pass);
    size_t& batch = pass == Pass::kPlain ? next_ : again_;
    SetGradient(problem_.Gradient(Weights(), batch++));
    return 1.0;
  }

  void SetGradient(const Vector& g) {
    size_t at = 0;
    for (auto& grad : model_.grads) {
      for (float& x : grad) x = static_cast<float>(loss_scale_ * g[at++]);
    }
  }

  /// The next plain call is the first of a step.
  void Begin() { first_ = next_; }
  /// The step that failed is taken again, with the same batches.
  void Rewind() { next_ = first_; }

  /// Becomes what another task is, in its own memory.
  void Follow(const Task& other) {
    model_.Assign(other.model_.params);
    for (size_t i = 0; i < halves_.size(); ++i) {
      std::copy(other.halves_[i].begin(), other.halves_[i].end(), halves_[i].begin());
    }
    next_ = other.next_;
  }

  Report Step(Optimizer& optimizer) {
    Begin();
    const Oracle oracle = [this](Pass pass) { return Call(pass); };
    return loss_scale_ == 1 ? optimizer.Step(oracle) : optimizer.StepScaled(loss_scale_, oracle);
  }

  const Problem& problem() const { return problem_; }

 private:
  size_t Size() const {
    size_t size = 0;
    for (const auto& p : model_.params) size += p.size();
    return size;
  }

  Model model_;
  double loss_scale_;
  Problem problem_;
  std::vector<std::vector<uint16_t>> halves_;
  std::vector<Pass> passes_;
  size_t first_ = 0, next_ = 0, again_ = 0;
};

OptimizerSpec Spec(const std::string& source, SharpnessSpec sharpness = {},
                   OptimizerSpec base = Momentum{.lr = 0.05, .momentum = 0.8}) {
  base.source = source;
  base.sharpness = std::move(sharpness);
  return base;
}

/// The papers' formulas in double, with plain momentum.
class Reference {
 public:
  Reference(std::string source, const SharpnessSpec& spec, const std::vector<Tensor>& tensors,
            const std::vector<TensorClass>& classes)
      : source_(std::move(source)), spec_(Sharpness::Complete(source_, spec)) {
    size_t at = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
      const std::string& name = tensors[i].name;
      Part part{.begin = at, .end = at + static_cast<size_t>(tensors[i].Size())};
      at = part.end;
      part.layer = spec_.layer == LayerUnit::kModule ? name.substr(0, name.rfind('.')) : name;
      part.rho = (*spec_.rho)(0);
      for (const auto& group : spec_.groups) {
        if (Glob(group.match, name)) part.rho = group.rho(0);
      }
      const auto& excluded = spec_.exclude;
      part.moves = std::find(excluded.begin(), excluded.end(), classes[i]) == excluded.end();
      part.adapts = source_ == "asam" && (spec_.adapt_biases || classes[i] != TensorClass::kBias);
      parts_.push_back(part);
    }
  }

  /// The norm of the parts of x that `in` says.
  template <class F>
  double Norm(const Vector& x, const F& in) const {
    double sum = 0;
    for (const Part& part : parts_) {
      if (!in(part)) continue;
      for (size_t i = part.begin; i < part.end; ++i) sum += x[i] * x[i];
    }
    return std::sqrt(sum);
  }

  Vector Perturbed(const Vector& w, const Vector& g) const {
    Vector x = w, t(w.size(), 1);
    for (const Part& part : parts_) {
      for (size_t i = part.begin; part.adapts && i < part.end; ++i) {
        t[i] = std::abs(w[i]) + spec_.eta;
      }
    }
    Vector tg = g;
    for (size_t i = 0; i < g.size(); ++i) tg[i] *= t[i];
    const double norm = Norm(tg, [](const Part& part) { return part.moves; });
    for (const Part& part : parts_) {
      if (!part.moves) continue;
      const auto here = [&](const Part& p) { return p.layer == part.layer; };
      const double g_norm = Norm(g, here), w_norm = Norm(w, here);
      double scale = part.rho / norm;
      if (source_ == "layersam" || source_ == "look_layersam") {
        switch (spec_.layer_scale) {
          case LayerScale::kWeightRatio:
            scale = part.rho * w_norm / g_norm;
            break;
          case LayerScale::kRatioGlobal:
            scale = part.rho * w_norm / g_norm / norm;
            break;
          case LayerScale::kUnitLayer:
            scale = part.rho / g_norm;
            break;
          case LayerScale::kDouble:
            scale = part.rho * w_norm / g_norm / g_norm;
            break;
        }
      }
      for (size_t i = part.begin; i < part.end; ++i) x[i] += scale * t[i] * t[i] * g[i];
    }
    return x;
  }

  /// The gradient of a step, by `gradient(weights)`.
  template <class F>
  Vector Gradient(const Vector& w, int64_t step, const F& gradient) {
    const Vector g = gradient(w);
    const bool look = source_ == "looksam" || source_ == "look_layersam";
    const bool cycles = look || source_ == "sam_k";
    if (cycles && step % spec_.k != 0) return look ? Reused(g) : g;
    Vector s = gradient(Perturbed(w, g));
    if (look) Decompose(g, s);
    if (source_ != "gsam") return s;
    const double alpha = (*spec_.alpha)(0);
    const Vector gap = Sum(g, -Dot(g, s) / Dot(s, s), s);
    return Sum(s, -alpha, gap);
  }

  const Vector& direction() const { return direction_; }

 private:
  struct Part {
    size_t begin, end;
    std::string layer = {};
    double rho = 0;
    bool moves = true, adapts = false;
  };

  // Calls f(a mask of the parts that are split together).
  template <class F>
  void ForSplits(const F& f) const {
    if (!spec_.decompose_layers) return f([](const Part&) { return true; });
    std::vector<std::string> seen;
    for (const Part& part : parts_) {
      if (std::find(seen.begin(), seen.end(), part.layer) != seen.end()) continue;
      seen.push_back(part.layer);
      f([&](const Part& p) { return p.layer == part.layer; });
    }
  }

  void Decompose(const Vector& g, const Vector& s) {
    direction_.assign(g.size(), 0);
    ForSplits([&](const auto& in) {
      double product = 0;
      for (const Part& part : parts_) {
        for (size_t i = part.begin; in(part) && i < part.end; ++i) product += g[i] * s[i];
      }
      const double norm = Norm(g, in), cosine = product / norm / Norm(s, in);
      for (const Part& part : parts_) {
        for (size_t i = part.begin; in(part) && i < part.end; ++i) {
          direction_[i] = s[i] - Norm(s, in) * cosine * g[i] / norm;
        }
      }
    });
  }

  Vector Reused(const Vector& g) const {
    Vector x = g;
    ForSplits([&](const auto& in) {
      const double scale = (*spec_.alpha)(0) * Norm(g, in) / Norm(direction_, in);
      for (const Part& part : parts_) {
        for (size_t i = part.begin; in(part) && i < part.end; ++i) x[i] += scale * direction_[i];
      }
    });
    return x;
  }

  std::string source_;
  SharpnessSpec spec_;
  std::vector<Part> parts_;
  Vector direction_;
};

std::vector<TensorClass> Classes(const Optimizer& optimizer) {
  std::vector<TensorClass> classes;
  for (const TensorPlan& plan : optimizer.Plan()) classes.push_back(plan.tensor_class);
  return classes;
}

struct Case {
  std::string name, source;
  SharpnessSpec spec = {};
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> Cases() {
  using Radius = SharpnessSpec::Radius;
  const std::vector<Radius> radii = {{.match = "layer*", .rho = 0.1},
                                     {.match = "head.*", .rho = 0.8}};
  const std::vector<TensorClass> vectors = {TensorClass::kBias, TensorClass::kNorm};
  std::vector<Case> cases = {
      {"Sam", "sam", {.rho = 0.5}},
      {"SamRadii", "sam", {.rho = 0.5, .groups = radii}},
      {"SamExclude", "sam", {.rho = 0.5, .exclude = vectors}},
      {"Sam3", "sam_k", {.rho = 0.5, .k = 3}},
      {"LookSam", "looksam", {.rho = 0.7}},
      {"LookSam2", "looksam", {.rho = 0.7, .k = 2, .alpha = 0.3, .exclude = vectors}},
      {"LookSamByTensor", "looksam", {.rho = 0.7, .k = 3, .decompose_layers = true}},
      {"LookSamByModule",
       "looksam",
       {.rho = 0.7, .k = 3, .layer = LayerUnit::kModule, .decompose_layers = true}},
      {"LayerSam", "layersam", {.rho = 0.05}},
      {"LayerSamModules", "layersam", {.rho = 0.05, .layer = LayerUnit::kModule}},
      {"LayerSamRadii", "layersam", {.rho = 0.05, .groups = radii, .exclude = vectors}},
      {"LayerSamRatioGlobal", "layersam", {.rho = 0.3, .layer_scale = LayerScale::kRatioGlobal}},
      {"LayerSamUnitLayer", "layersam", {.rho = 0.3, .layer_scale = LayerScale::kUnitLayer}},
      {"LayerSamDouble", "layersam", {.rho = 0.05, .layer_scale = LayerScale::kDouble}},
      {"LookLayerSam", "look_layersam", {.rho = 0.05, .k = 3, .alpha = 0.3}},
      {"LookLayerSamByTensor",
       "look_layersam",
       {.rho = 0.05, .k = 3, .alpha = 0.3, .decompose_layers = true}},
      {"Asam", "asam", {.rho = 0.5}},
      {"AsamAll", "asam", {.rho = 0.5, .eta = 0, .adapt_biases = true}},
      {"Gsam", "gsam", {.rho = 0.5}},
      {"GsamExclude", "gsam", {.rho = 0.5, .alpha = 0.1, .exclude = vectors}},
  };
  // Under sanitizers, where all take minutes, one of each way through memory.
  if (testing::kSanitized) {
    std::erase_if(cases, [](const Case& c) {
      return c.name != "SamRadii" && c.name != "LookSamByModule" && c.name != "LayerSamRadii" &&
             c.name != "AsamAll" && c.name != "Gsam";
    });
  }
  return cases;
}

class SharpnessTest : public ::testing::TestWithParam<Case> {};

INSTANTIATE_TEST_SUITE_P(Sources, SharpnessTest, ::testing::ValuesIn(Cases()),
                         [](const auto& test) { return test.param.name; });

TEST_P(SharpnessTest, IsThePapersFormula) {
  Task task;
  Optimizer optimizer(task.tensors(), Spec(GetParam().source, GetParam().spec));
  Reference reference(GetParam().source, GetParam().spec, task.tensors(), Classes(optimizer));
  Vector w = task.Weights(), momentum(w.size(), 0), plain = w, plain_momentum = momentum;
  for (int64_t step = 0; step < 14; ++step) {
    task.Step(optimizer);
    const auto gradient = [&](const Vector& at) {
      return task.problem().Gradient(at, static_cast<size_t>(step));
    };
    momentum = Sum(reference.Gradient(w, step, gradient), 0.8, momentum);
    w = Sum(w, -0.05, momentum);
    plain_momentum = Sum(gradient(plain), 0.8, plain_momentum);
    plain = Sum(plain, -0.05, plain_momentum);
    const Vector difference = Sum(task.Weights(), -1, w);
    ASSERT_LT(std::sqrt(Dot(difference, difference) / Dot(w, w)), 3e-6) << step;
  }
  // The perturbation matters: without it the weights would be elsewhere.
  const Vector moved = Sum(plain, -1, w);
  EXPECT_GT(std::sqrt(Dot(moved, moved) / Dot(w, w)), 1e-3);
}

TEST_P(SharpnessTest, WithoutRadiusItIsTheBaseBitForBit) {
  SharpnessSpec none = GetParam().spec;
  none.rho = 0;
  for (auto& group : none.groups) group.rho = 0;
  Task a, b;
  Optimizer source(a.tensors(), Spec(GetParam().source, none)),
      base(b.tensors(), [] { return OptimizerSpec(Momentum{.lr = 0.05, .momentum = 0.8}); }());
  for (int step = 0; step < 8; ++step) {
    a.Step(source);
    b.Step(base);
    // gsam divides the gradient by its own norm and multiplies it again.
    if (GetParam().source == "gsam") {
      const Vector difference = Sum(a.Weights(), -1, b.Weights());
      ASSERT_LT(std::sqrt(Dot(difference, difference)), 1e-5);
    } else {
      ASSERT_EQ(a.Weights(), b.Weights()) << step;
    }
  }
}

TEST_P(SharpnessTest, ThreadsAndInstructionSetsGiveTheSameBits) {
  const auto run = [&](int threads) {
    // Large enough for more than one block and thread.
    Model model({{"a.weight", {300, 301}}, {"a.bias", {300}}, {"b.weight", {70, 700}}});
    Optimizer optimizer(model.tensors, Spec(GetParam().source, [&] {
                          SharpnessSpec spec = GetParam().spec;
                          spec.groups.clear();
                          return spec;
                        }()));
    optimizer.SetParallel({.threads = threads});
    for (int step = 0; step < 4; ++step) {
      optimizer.Step([&](Pass) -> Evaluation {
        for (size_t i = 0; i < model.params.size(); ++i) {
          for (size_t k = 0; k < model.params[i].size(); ++k) {
            const float w = model.params[i][k];
            model.grads[i][k] =
                w * (1 + w * static_cast<float>(k % 17 + static_cast<size_t>(step)));
          }
        }
        return 1.0;
      });
    }
    return model.params;
  };
  const auto expected = run(1);
  for (int threads = 2; threads <= 8; ++threads) EXPECT_EQ(run(threads), expected) << threads;
  for (const std::string_view target : KernelTargets()) {
    setenv("KUDARI_TARGET", std::string(target).c_str(), 1);
    EXPECT_EQ(run(2), expected) << target;
  }
  unsetenv("KUDARI_TARGET");
}

TEST_P(SharpnessTest, ResumesAtEveryStepBitForBit) {
  for (const StateFormat direction : {StateFormat::kFloat32, StateFormat::kBFloat16}) {
    SharpnessSpec spec = GetParam().spec;
    spec.direction = direction;
    for (int stop = 0; stop < 8; ++stop) {
      Task first, second;
      Optimizer a(first.tensors(), Spec(GetParam().source, spec));
      Optimizer b(second.tensors(), Spec(GetParam().source, spec));
      for (int step = 0; step < stop; ++step) first.Step(a);
      second.Follow(first);
      b.LoadState(a.State());
      for (int step = stop; step < 9; ++step) {
        first.Step(a);
        second.Step(b);
      }
      ASSERT_EQ(first.Weights(), second.Weights()) << stop;
    }
  }
}

TEST_P(SharpnessTest, WeightsComeBackBitForBit) {
  for (const DType type : {DType::kFloat32, DType::kBFloat16}) {
    for (const Master master : {Master::kNone, Master::kFloat32, Master::kSplit8}) {
      Task task(type);
      OptimizerSpec base = Sgd{.lr = 0};
      base.precision.master = master;
      Optimizer optimizer(task.tensors(), Spec(GetParam().source, GetParam().spec, base));
      const Vector before = task.Weights();
      bool moved = false;
      for (int step = 0; step < 6; ++step) {
        task.Begin();
        optimizer.Step([&](Pass pass) {
          if (pass == Pass::kPlain) {
            EXPECT_EQ(task.Weights(), before);
          } else {
            moved = moved || task.Weights() != before;
          }
          return task.Call(pass);
        });
        EXPECT_EQ(task.Weights(), before);
      }
      EXPECT_TRUE(moved);
    }
  }
}

TEST_P(SharpnessTest, AnOracleThatThrowsChangesNothing) {
  for (const Pass thrower : {Pass::kPlain, Pass::kPerturbed}) {
    Task task, calm;
    Optimizer optimizer(task.tensors(), Spec(GetParam().source, GetParam().spec));
    Optimizer other(calm.tensors(), Spec(GetParam().source, GetParam().spec));
    const Vector before = task.Weights();
    EXPECT_THROW(optimizer.Step([&](Pass pass) -> Evaluation {
      if (pass == thrower) throw std::runtime_error("no");
      return task.Call(pass);
    }),
                 std::runtime_error);
    EXPECT_EQ(task.Weights(), before);
    EXPECT_EQ(optimizer.steps(), 0);
    // And what comes after is what would have come anyway.
    Task rest;
    Optimizer after(rest.tensors(), Spec(GetParam().source, GetParam().spec));
    after.LoadState(optimizer.State());
    for (int step = 0; step < 4; ++step) {
      rest.Step(after);
      calm.Step(other);
    }
    EXPECT_EQ(rest.Weights(), calm.Weights());
  }
}

/// Oracle calls that a source makes in T steps.
int64_t Calls(const Case& c, int64_t steps) {
  const bool cycles = c.source == "sam_k" || c.source.substr(0, 4) == "look";
  return cycles ? steps + (steps + c.spec.k - 1) / c.spec.k : 2 * steps;
}

TEST_P(SharpnessTest, CallsTheOracleAsOftenAsItSays) {
  for (const std::string rule : {"sgd", "adamw", "lamb", "muon"}) {
    for (const int64_t accumulate : {1, 3}) {
      for (const double loss_scale : {1.0, 1024.0}) {
        Task task(DType::kFloat32, loss_scale);
        OptimizerSpec base(rule);
        if (rule == "muon") base.fallback = Fallback();
        base.accumulate = accumulate;
        base.clip_norm = 0.5;
        base.ema = EmaSpec();
        base.lookahead = LookaheadSpec();
        Optimizer optimizer(task.tensors(), Spec(GetParam().source, GetParam().spec, base));
        const int64_t steps = 7;
        for (int64_t step = 0; step < steps; ++step) task.Step(optimizer);
        EXPECT_EQ(static_cast<int64_t>(task.passes().size()), accumulate * Calls(GetParam(), steps))
            << rule;
        const auto perturbed =
            std::count(task.passes().begin(), task.passes().end(), Pass::kPerturbed);
        EXPECT_EQ(perturbed, accumulate * (Calls(GetParam(), steps) - steps));
        // Plain calls first, then as many perturbed ones.
        EXPECT_TRUE(std::all_of(task.passes().begin(), task.passes().begin() + accumulate,
                                [](Pass pass) { return pass == Pass::kPlain; }));
        EXPECT_TRUE(std::all_of(task.passes().begin() + accumulate,
                                task.passes().begin() + 2 * accumulate,
                                [](Pass pass) { return pass == Pass::kPerturbed; }));
      }
    }
  }
}

TEST_P(SharpnessTest, ALossScaleThatIsAPowerOfTwoChangesNoBit) {
  Task plain, scaled(DType::kFloat32, 4096);
  Optimizer a(plain.tensors(), Spec(GetParam().source, GetParam().spec));
  Optimizer b(scaled.tensors(), Spec(GetParam().source, GetParam().spec));
  for (int step = 0; step < 8; ++step) {
    if (step == 4) scaled.set_loss_scale(1.0 / 64);  // a direction may be older than the scale
    plain.Step(a);
    scaled.Step(b);
    ASSERT_EQ(plain.Weights(), scaled.Weights()) << step;
  }
}

TEST_P(SharpnessTest, OverflowInEitherPassSkipsTheStepAndNothingElse) {
  for (const Pass where : {Pass::kPlain, Pass::kPerturbed}) {
    for (int64_t when = 0; when < 7; ++when) {
      Task calm(DType::kFloat32, 2), task(DType::kFloat32, 2);
      OptimizerSpec spec = Spec(GetParam().source, GetParam().spec);
      spec.ema = EmaSpec();
      Optimizer a(calm.tensors(), spec), b(task.tensors(), spec);
      bool overflowed = false;
      for (int64_t step = 0; step < 7; ++step) calm.Step(a);
      while (b.steps() < 7) {
        const int64_t step = b.steps();
        const Vector former = task.Weights();
        task.Begin();
        bool now = false;
        const Report report = b.StepScaled(2, [&](Pass pass) {
          const Evaluation e = task.Call(pass);
          if (step == when && !overflowed && pass == where) {
            now = true;
            task.model().grads[2][3] = std::numeric_limits<float>::infinity();
          }
          return e;
        });
        EXPECT_EQ(report.skipped, now);
        if (now) {
          EXPECT_EQ(former, task.Weights());
          overflowed = true;
          task.Rewind();
        }
      }
      EXPECT_EQ(calm.Weights(), task.Weights()) << when;
      EXPECT_EQ(testing::Part(a.State(), "averagers"), testing::Part(b.State(), "averagers"));
    }
  }
}

TEST_P(SharpnessTest, AccumulatesTheSameBatchesInBothPasses) {
  // Three micro-batches whose mean is what one call gives.
  Task small, big;
  OptimizerSpec spec = Spec(GetParam().source, GetParam().spec);
  Optimizer b(big.tensors(), spec);
  spec.accumulate = 3;
  Optimizer a(small.tensors(), spec);
  for (size_t step = 0; step < 7; ++step) {
    const Report report = small.Step(a);
    EXPECT_EQ(report.loss, 1);
    b.Step([&](Pass) -> Evaluation {
      Vector mean(big.Weights().size(), 0);
      for (size_t k = 0; k < 3; ++k) {
        mean = Sum(mean, 1 / 3.0, big.problem().Gradient(big.Weights(), 3 * step + k));
      }
      big.SetGradient(mean);
      return 1.0;
    });
    const Vector difference = Sum(small.Weights(), -1, big.Weights());
    ASSERT_LT(std::sqrt(Dot(difference, difference) / Dot(big.Weights(), big.Weights())), 1e-6);
  }
}

TEST_P(SharpnessTest, AGradientThatIsNotFiniteIsData) {
  Task task;
  Optimizer optimizer(task.tensors(), Spec(GetParam().source, GetParam().spec));
  int calls = 0;
  optimizer.Step([&](Pass pass) {
    ++calls;
    const Evaluation e = task.Call(pass);
    task.model().grads[0][1] = std::numeric_limits<float>::quiet_NaN();
    return e;
  });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(optimizer.steps(), 1);
  EXPECT_TRUE(std::isnan(task.model().params[0][1]));
  EXPECT_TRUE(std::isfinite(task.model().params[0][0]));
}

TEST_P(SharpnessTest, ZeroGradientsAndTensorsWithoutOneStay) {
  Task task;
  task.tensors()[1].grad = nullptr;
  Optimizer optimizer(task.tensors(), Spec(GetParam().source, GetParam().spec));
  const std::vector<std::vector<float>> before = task.model().params;
  for (int step = 0; step < 4; ++step) {
    optimizer.Step([&](Pass) -> Evaluation {
      task.SetGradient(Vector(task.Weights().size(), 0));
      return 0.0;
    });
  }
  EXPECT_EQ(task.model().params, before);
  for (int step = 0; step < 6; ++step) task.Step(optimizer);
  EXPECT_EQ(task.model().params[1], before[1]);
  EXPECT_NE(task.model().params[0], before[0]);
  for (const double w : task.Weights()) EXPECT_TRUE(std::isfinite(w));
}

// Whether two specs give the same bits, for a rule of each kind.
void ExpectSame(const OptimizerSpec& a, const OptimizerSpec& b) {
  for (const char* const rule : {"sgd", "adamw", "lamb", "lion"}) {
    Task first, second;
    OptimizerSpec x(rule), y(rule);
    x.source = a.source, x.sharpness = a.sharpness;
    y.source = b.source, y.sharpness = b.sharpness;
    Optimizer one(first.tensors(), x), other(second.tensors(), y);
    for (int step = 0; step < 12; ++step) {
      first.Step(one);
      second.Step(other);
      ASSERT_EQ(first.Weights(), second.Weights()) << rule;
    }
  }
}

TEST(SharpnessIdentities, LookSamOfOneStepIsSam) {
  ExpectSame(Spec("looksam", {.rho = 0.5, .k = 1}), Spec("sam", {.rho = 0.5}));
  ExpectSame(Spec("sam_k", {.rho = 0.5, .k = 1}), Spec("sam", {.rho = 0.5}));
  ExpectSame(Spec("look_layersam", {.rho = 0.1, .k = 1}), Spec("layersam", {.rho = 0.1}));
}

TEST(SharpnessIdentities, LookSamWithoutReuseIsSamK) {
  ExpectSame(Spec("looksam", {.rho = 0.5, .k = 4, .alpha = 0}),
             Spec("sam_k", {.rho = 0.5, .k = 4}));
}

TEST(SharpnessIdentities, OneLayerIsTheWholeGradient) {
  // Tensors of one module, decomposed by module.
  Model a({{"m.weight", {30, 30}}, {"m.bias", {30}}}),
      b = Model({{"m.weight", {30, 30}}, {"m.bias", {30}}});
  SharpnessSpec spec = {.rho = 0.5, .k = 2, .layer = LayerUnit::kModule};
  Optimizer whole(a.tensors, Spec("looksam", spec));
  spec.decompose_layers = true;
  Optimizer layers(b.tensors, Spec("looksam", spec));
  for (int step = 0; step < 5; ++step) {
    for (auto [model, optimizer] : {std::pair(&a, &whole), std::pair(&b, &layers)}) {
      optimizer->Step([m = model](Pass) -> Evaluation {
        for (size_t i = 0; i < m->params.size(); ++i) {
          for (size_t k = 0; k < m->params[i].size(); ++k) {
            m->grads[i][k] = static_cast<float>(k % 5 + 1) * m->params[i][k];
          }
        }
        return 0.0;
      });
    }
    ASSERT_EQ(a.params, b.params);
  }
}

TEST(SharpnessIdentities, AsamDoesNotSeeScales) {
  // Two layers with a ReLU between: (c v, w / c) is the same function, and so it is at the
  // perturbed weights of asam without eta, but not at those of sam.
  const auto perturbed_loss = [](const std::string& source, float c) {
    Model model({{"v.weight", {6, 4}}, {"w.weight", {1, 6}}}, 5);
    for (float& x : model.params[0]) x *= c;
    for (float& x : model.params[1]) x /= c;
    SharpnessSpec spec = {.rho = 0.4};
    spec.eta = 0;
    Optimizer optimizer(model.tensors, Spec(source, spec));
    const double x[] = {0.3, -0.7, 1.1, 0.4};
    double loss = 0;
    optimizer.Step([&](Pass) -> Evaluation {
      double h[6], output = 0;
      for (size_t j = 0; j < 6; ++j) {
        double sum = 0;
        for (size_t i = 0; i < 4; ++i) sum += model.params[0][4 * j + i] * x[i];
        h[j] = std::max(sum, 0.0);
        output += model.params[1][j] * h[j];
      }
      loss = (output - 2) * (output - 2) / 2;
      for (size_t j = 0; j < 6; ++j) {
        model.grads[1][j] = static_cast<float>((output - 2) * h[j]);
        for (size_t i = 0; i < 4; ++i) {
          const double back = h[j] > 0 ? model.params[1][j] : 0;
          model.grads[0][4 * j + i] = static_cast<float>((output - 2) * back * x[i]);
        }
      }
      return loss;
    });
    return loss;
  };
  EXPECT_NEAR(perturbed_loss("asam", 8), perturbed_loss("asam", 1),
              1e-5 * perturbed_loss("asam", 1));
  EXPECT_GT(std::abs(perturbed_loss("sam", 8) - perturbed_loss("sam", 1)),
            1e-2 * perturbed_loss("sam", 1));
}

/// The direction that looksam keeps of a tensor.
Vector Direction(const Optimizer& optimizer, const std::string& tensor) {
  const StateTree state = optimizer.State();
  const StateArray& array = state.At("source/tensors/" + tensor + "/direction").Array();
  if (array.type == ElementType::kFloat32) {
    return {array.As<float>().begin(), array.As<float>().end()};
  }
  EXPECT_EQ(array.type, ElementType::kBFloat16);
  Vector values;
  for (size_t i = 0; i < array.bytes.size(); i += sizeof(uint16_t)) {
    uint16_t upper = 0;
    std::memcpy(&upper, &array.bytes[i], sizeof(upper));
    values.push_back(std::bit_cast<float>(uint32_t{upper} << 16U));
  }
  return values;
}

Vector AllDirections(const Optimizer& optimizer) {
  Vector all;
  for (const Tensor& t : optimizer.tensors()) {
    const Vector values = Direction(optimizer, t.name);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

TEST(LookSamTest, TheDirectionIsOrthogonalToTheGradient) {
  Task task;
  const SharpnessSpec spec = {.rho = 0.7, .k = 5};
  Optimizer optimizer(task.tensors(), Spec("looksam", spec));
  Reference reference("looksam", spec, task.tensors(), Classes(optimizer));
  const Vector w = task.Weights();
  const auto gradient = [&](const Vector& at) { return task.problem().Gradient(at, 0); };
  const Vector g = gradient(w);
  reference.Gradient(w, 0, gradient);
  const Vector& exact = reference.direction();
  EXPECT_LT(std::abs(Dot(exact, g)), 1e-12 * std::sqrt(Dot(g, g) * Dot(exact, exact)));
  task.Step(optimizer);
  const Vector direction = AllDirections(optimizer);
  EXPECT_LT(std::abs(Dot(direction, g)), 1e-6 * std::sqrt(Dot(g, g) * Dot(direction, direction)));
  const Vector difference = Sum(direction, -1, exact);
  EXPECT_LT(std::sqrt(Dot(difference, difference)), 1e-5 * std::sqrt(Dot(exact, exact)));
}

TEST(LookSamTest, ADirectionThatIsRoundingIsNotReused) {
  // In one dimension, or in a round bowl, g_s is parallel to g: what the subtraction leaves is
  // noise, which must not be blown up to alpha norm(g).
  for (const StateFormat direction : {StateFormat::kFloat32, StateFormat::kBFloat16}) {
    Model look({{"w", {40, 50}}}), base({{"w", {40, 50}}});
    Optimizer a(look.tensors,
                Spec("looksam", {.rho = 0.5, .k = 5, .alpha = 0.7, .direction = direction}));
    Optimizer b(base.tensors, Spec("sam_k", {.rho = 0.5, .k = 5}));
    for (int step = 0; step < 10; ++step) {
      for (auto [model, optimizer] : {std::pair(&look, &a), std::pair(&base, &b)}) {
        optimizer->Step([m = model](Pass) -> Evaluation {
          for (size_t k = 0; k < m->params[0].size(); ++k) m->grads[0][k] = 0.3F * m->params[0][k];
          return 0.0;
        });
      }
      ASSERT_EQ(look.params, base.params) << step;
      EXPECT_FALSE(a.State().At("source/has_direction").Bool());
    }
  }
}

TEST(LookSamTest, ABFloat16DirectionHasTheErrorOfTwoRoundings) {
  const auto direction_of = [](StateFormat format, int64_t* bytes) {
    Task task;
    Optimizer optimizer(task.tensors(), Spec("looksam", {.rho = 0.7, .direction = format}));
    task.Step(optimizer);
    *bytes = optimizer.Memory().source;
    return AllDirections(optimizer);
  };
  int64_t exact_bytes = 0, half_bytes = 0;
  const auto exact = direction_of(StateFormat::kFloat32, &exact_bytes);
  const auto half = direction_of(StateFormat::kBFloat16, &half_bytes);
  double error = 0;
  for (size_t i = 0; i < exact.size(); ++i) error += std::pow(exact[i] - half[i], 2);
  Task task;
  const Vector g = task.problem().Gradient(task.Weights(), 0);
  EXPECT_GT(error, 0);
  // Half a unit of 8 significant bits, of the gradient and of the direction, which is shorter.
  EXPECT_LT(std::sqrt(error), std::sqrt(Dot(g, g)) / 256);
  EXPECT_EQ(exact_bytes - half_bytes, 2 * static_cast<int64_t>(g.size()));
}

TEST(LookSamTest, ARandomDirectionIsOrthogonalToo) {
  Task task, same, look;
  const SharpnessSpec spec = {.rho = 0.7, .k = 3, .random_direction = true};
  Optimizer a(task.tensors(), Spec("looksam", spec)), b(same.tensors(), Spec("looksam", spec));
  Optimizer c(look.tensors(), Spec("looksam", {.rho = 0.7, .k = 3}));
  const Vector g = task.problem().Gradient(task.Weights(), 0);
  std::vector<Vector> random;
  for (int step = 0; step < 7; ++step) {
    task.Step(a);
    same.Step(b);
    look.Step(c);
    ASSERT_EQ(task.Weights(), same.Weights());
    if (step % 3 == 0) random.push_back(AllDirections(a));
    if (step == 0) {
      EXPECT_EQ(task.Weights(), look.Weights());  // both step with g_s
      const Vector& r = random[0];
      const Vector v = AllDirections(c);
      EXPECT_LT(std::abs(Dot(r, g)), 1e-6 * std::sqrt(Dot(g, g) * Dot(r, r)));
      EXPECT_LT(std::abs(Dot(r, v)), 0.2 * std::sqrt(Dot(v, v) * Dot(r, r)));
    }
  }
  EXPECT_NE(task.Weights(), look.Weights());
  EXPECT_NE(random[0], random[1]);
}

TEST(LookSamTest, ALoadedDirectionHasItsOwnLength) {
  // Into an optimiser that has measured another direction already.
  Task task, other;
  const SharpnessSpec spec = {.rho = 0.7, .k = 4};
  Optimizer a(task.tensors(), Spec("looksam", spec)), b(other.tensors(), Spec("looksam", spec));
  for (int step = 0; step < 2; ++step) task.Step(a);
  for (int step = 0; step < 9; ++step) other.Step(b);
  other.Follow(task);
  b.LoadState(a.State());
  for (int step = 2; step < 6; ++step) {
    task.Step(a);
    other.Step(b);
    ASSERT_EQ(task.Weights(), other.Weights()) << step;
  }
}

TEST(LookSamTest, WithoutADirectionAStepIsPlain) {
  // Resumed between two refreshes from a state that has none.
  Task look, base;
  Optimizer a(look.tensors(), Spec("looksam", {.rho = 0.5, .k = 5}));
  Optimizer b(base.tensors(), Momentum{.lr = 0.05, .momentum = 0.8});
  StateTree state = b.State();
  state.Set("step", int64_t{2});
  EXPECT_EQ(a.LoadState(state, LoadMode::kLenient).missing, std::vector<std::string>{"source"});
  b.LoadState(state);
  for (int step = 2; step < 5; ++step) {
    look.Step(a);
    base.Step(b);
    EXPECT_EQ(look.Weights(), base.Weights());
  }
}

TEST(SharpnessErrors, NameWhatIsWrong) {
  Task task;
  const auto error = [&](const std::string& source, const SharpnessSpec& spec) {
    return ErrorOf([&] {
      Optimizer optimizer(task.tensors(), Spec(source, spec));
      task.Step(optimizer);
      task.Step(optimizer);
    });
  };
  EXPECT_THAT(error("looksma", {}), HasSubstr("source: unknown name \"looksma\""));
  EXPECT_THAT(error("looksma", {}), HasSubstr("looksam"));
  EXPECT_EQ(error("sam", {.rho = -0.1}), "sam: rho = -0.1 is outside [0, inf)");
  EXPECT_EQ(error("sam", {.rho = 1e308 * Linear(1, 10)}),
            "sam: rho = inf at step 1 is outside [0, inf)");
  EXPECT_EQ(error("gsam", {.alpha = -1}), "gsam: alpha = -1 is outside [0, inf)");
  EXPECT_EQ(error("looksam", {.k = 0}), "looksam: k = 0 is outside [1, ...]");
  EXPECT_EQ(error("asam", {.eta = -1}), "asam: eta = -1 is outside [0, inf)");
  EXPECT_EQ(error("looksam", {.direction = StateFormat::kLinear8}),
            "looksam: direction must be \"float32\" or \"bfloat16\"");
  EXPECT_THAT(error("sam", {.groups = {{.match = "haed.*", .rho = 0.1}}}),
              HasSubstr("sam: group 0 (match = \"haed.*\") matches no tensor"));
  EXPECT_THAT(error("plain", SharpnessSpec()),
              HasSubstr("sharpness is for sharpness-aware sources; source is \"plain\""));
  EXPECT_THAT(ErrorOf([&] {
                Optimizer optimizer(task.tensors(), Spec("sam"));
                optimizer.Step();
              }),
              HasSubstr("source = \"sam\" needs Step with an oracle"));
  EXPECT_THAT(ErrorOf([&] {
                Optimizer optimizer(task.tensors(), Spec("sam"));
                optimizer.Step([&](Pass pass) -> Evaluation {
                  return {task.Call(pass).loss, pass == Pass::kPlain ? 4.0 : 3.0};
                });
              }),
              HasSubstr("sam: call 1 of the perturbed pass was over 3 samples, that of the plain "
                        "pass over 4"));
}

TEST(SharpnessErrors, BadNumbersOfSamplesPutTheWeightsBack) {
  for (const double bad : {std::nan(""), -1.0, kInfinity}) {
    Task task;
    Optimizer optimizer(task.tensors(), Spec("sam", {.rho = 0.5}));
    const Vector before = task.Weights();
    EXPECT_THAT(ErrorOf([&] {
                  optimizer.Step([&](Pass pass) -> Evaluation {
                    return {task.Call(pass).loss, pass == Pass::kPlain ? 1.0 : bad};
                  });
                }),
                HasSubstr("oracle: call 2 of the step gave samples = "));
    EXPECT_EQ(task.Weights(), before);
  }
  // An end where the plain pass had a batch.
  Task task;
  Optimizer optimizer(task.tensors(), Spec("sam", {.rho = 0.5}));
  const Vector before = task.Weights();
  EXPECT_THAT(ErrorOf([&] {
                optimizer.Step([&](Pass pass) {
                  const Evaluation e = task.Call(pass);
                  return pass == Pass::kPlain ? e : Evaluation::End();
                });
              }),
              HasSubstr("sam: call 1 of the perturbed pass was after the end of the data, that of "
                        "the plain pass over 1;"));
  EXPECT_EQ(task.Weights(), before);
}

TEST(SharpnessTest, BothPassesSeeEmptyBatchesToo) {
  // Three of four calls have data, the second is empty; the third group ends early.
  for (const std::string method : {"sam", "looksam", "gsam"}) {
    Task with, without;
    OptimizerSpec spec = Spec(method, {.rho = 0.5});
    spec.accumulate = 4;
    Optimizer a(with.tensors(), spec), b(without.tensors(), spec);
    for (int step = 0; step < 3; ++step) {
      std::vector<std::pair<Pass, int>> calls;
      int call = 0;
      Pass last = Pass::kPlain;
      a.Step([&](Pass pass) -> Evaluation {
        if (pass != last) call = 0;
        last = pass;
        calls.emplace_back(pass, call);
        if (call++ == 1) {
          with.SetGradient(Vector(with.Weights().size(), NAN));
          return {NAN, 0};
        }
        if (step == 2 && call == 4) return Evaluation::End();
        return with.Call(pass);
      });
      const bool second = method != "looksam" || step == 0;
      // After the end the second pass asks no more.
      EXPECT_EQ(calls.size(), second ? (step == 2 ? 7U : 8U) : 4U);
      int data = 0;
      last = Pass::kPlain;
      b.Step([&](Pass pass) -> Evaluation {
        if (pass != last) data = 0;
        last = pass;
        if (data == (step == 2 ? 2 : 3)) return Evaluation::End();
        ++data;
        return without.Call(pass);
      });
      EXPECT_EQ(with.Weights(), without.Weights()) << method << step;
    }
  }
}

TEST(SharpnessErrors, ABadStateChangesNothing) {
  Task task;
  Optimizer optimizer(task.tensors(), Spec("looksam", {.rho = 0.5}));
  for (int step = 0; step < 2; ++step) task.Step(optimizer);
  const StateTree good = optimizer.State();
  StateTree bad = good;
  bad.Set("source/tensors/haed/direction", true);
  EXPECT_EQ(ErrorOf([&] { optimizer.LoadState(bad); }),
            "state: \"source/tensors/haed\" (a node) is unknown");
  bad = good;
  bad.Set("source/tensors/head.weight/direction", StateArray::Of<float>(std::vector<float>(1)));
  EXPECT_EQ(ErrorOf([&] { optimizer.LoadState(bad); }),
            "state: \"source/tensors/head.weight/direction\" is F32 [1], but must be F32 [3, 9]");
  bad = good;
  bad.Set("source/has_direction", 1.0);
  EXPECT_EQ(ErrorOf([&] { optimizer.LoadState(bad); }),
            "state: \"source/has_direction\" is double, but must be bool");
  EXPECT_EQ(FirstDifference(optimizer.State(), good), "");
  Optimizer plain(task.tensors(), Momentum());
  EXPECT_EQ(ErrorOf([&] { plain.LoadState(good); }),
            "state: \"source/has_direction\" (bool) is unknown");
}

}  // namespace sharpness_test
}  // namespace kudari
