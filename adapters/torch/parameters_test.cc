// What the adapter takes as parameters: memory that is replaced, tied weights, frozen ones, and the
// classes that modules give them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kudari/kudari.h"
#include "kudari/torch.h"
#include "kudari/torch_amp.h"
#include "kudari/torch_lr_range.h"
#include "kudari/torch_release.h"
#include "tests/support/errors.h"

namespace kudari::torch {
namespace nn = ::torch::nn;  // TORCH_MODULE says torch::nn
namespace parameters_test {

using at::Tensor;
using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

Tensor Ones(at::IntArrayRef shape) { return at::ones(shape).requires_grad_(); }

// Two parameters with gradients of ones, between neighbours that nobody may write.
struct Pair {
  explicit Pair(const OptimizerSpec& spec = Sgd{.lr = 0.5})
      : optimizer(NamedParameters{{"v", v}, {"w", w}}, spec) {
    SetGradients();
  }
  void SetGradients() const {
    v.mutable_grad() = at::ones({3});
    w.mutable_grad() = at::ones({2, 4});
  }
  // Makes w a part of other memory, [16, 16 + size) of 64 elements.
  void Replace(at::IntArrayRef shape) {
    w.set_data(memory.narrow(0, 16, c10::multiply_integers(shape)).view(shape));
  }
  // Whether nothing has been stepped, and all of `memory` is as it was.
  bool Untouched() const {
    return v.equal(at::ones({3})) && memory.equal(at::ones({64})) && core.steps() == 0;
  }

  Tensor v = Ones({3}), w = Ones({2, 4}), memory = at::ones({64});
  Optimizer optimizer;
  const kudari::Optimizer& core = optimizer.core();
};

constexpr const char* kFewer =
    "parameter \"w\" now has the shape [2, 2]; the optimizer was made for [2, 4]";

TEST(ReplacedMemoryTest, OtherSizesAreNamedBeforeAnythingChanges) {
  const std::vector<std::pair<std::vector<int64_t>, std::string>> shapes = {
      {{2, 2}, "[2, 2]"}, {{4, 8}, "[4, 8]"}, {{4, 2}, "[4, 2]"}, {{8}, "[8]"}};
  for (const auto& [shape, text] : shapes) {
    Pair pair;
    pair.Replace(shape);
    EXPECT_EQ(ErrorOf([&] { pair.optimizer.Step(); }),
              "parameter \"w\" now has the shape " + text + "; the optimizer was made for [2, 4]");
    EXPECT_TRUE(pair.Untouched());
    // With memory of the right shape all goes on.
    pair.Replace({2, 4});
    pair.optimizer.Step();
    EXPECT_TRUE(pair.v.equal(at::full({3}, 0.5)));
    EXPECT_EQ(pair.memory.sum().item<double>(), 64 - 4);
  }
}

TEST(ReplacedMemoryTest, EveryCallRefusesOtherSizes) {
  const auto error = [](const OptimizerSpec& spec, const std::function<void(Pair&)>& call) {
    Pair pair(spec);
    pair.Replace({2, 2});
    std::string text = ErrorOf([&] { call(pair); });
    EXPECT_TRUE(pair.Untouched()) << text;
    return text;
  };
  const std::function<Tensor()> closure = [] { return at::zeros({}); };
  OptimizerSpec swa = Sgd{};
  swa.swa = SwaSpec{};
  EXPECT_EQ(error(Sgd{}, [&](Pair& p) { p.optimizer.Step(closure); }), kFewer);
  EXPECT_EQ(error(swa, [](Pair& p) { (void)p.optimizer.EvaluationWeights(); }), kFewer);
  EXPECT_EQ(error(Sgd{}, [](Pair& p) { p.optimizer.core(); }), kFewer);
  EXPECT_EQ(error(Sgd{}, [](Pair& p) { std::as_const(p.optimizer).core(); }), kFewer);
  EXPECT_EQ(error(Sophia{},
                  [](Pair& p) {
                    p.optimizer.UpdateHessian({Tensor(), Tensor()});
                  }),
            kFewer);
  EXPECT_EQ(error(Sgd{}, [](Pair& p) { GradScaler().Step(p.optimizer); }), kFewer);
  EXPECT_EQ(error(Sgd{},
                  [](Pair& p) {
                    GradScaler scaler;
                    EXPECT_EQ(ErrorOf([&] { scaler.Unscale(p.optimizer); }), kFewer);
                    EXPECT_TRUE(p.v.grad().equal(at::ones({3})));
                    p.Replace({2, 4});
                    scaler.Unscale(p.optimizer);  // has not been noted as done
                    EXPECT_EQ(p.v.grad()[0].item<double>(), 1 / 65536.0);
                    p.Replace({2, 2});
                    scaler.Step(p.optimizer);
                  }),
            kFewer);
  EXPECT_EQ(error(Sgd{},
                  [&](Pair& p) {
                    p.optimizer.ZeroGrad();
                    GradientRelease(p.optimizer).Step(closure);
                  }),
            kFewer);
  EXPECT_EQ(error(Sgd{}, [&](Pair& p) { FindLearningRate(p.optimizer, closure); }), kFewer);
}

TEST(ReplacedMemoryTest, GradientsOfOtherShapesAreNamedBeforeAnythingChanges) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{4, 2}, {2, 2}, {2, 8}, {8}, {1, 2, 4}}) {
    Pair pair;
    pair.w.mutable_grad() = at::ones(shape);
    const std::string expected = c10::str("the gradient of parameter \"w\" has the shape ",
                                          at::IntArrayRef(shape), ", the parameter's is [2, 4]");
    EXPECT_EQ(ErrorOf([&] { pair.optimizer.Step(); }), expected);
    EXPECT_EQ(ErrorOf([&] { GradScaler().Step(pair.optimizer); }), expected);
    EXPECT_EQ(ErrorOf([&] { GradScaler().Unscale(pair.optimizer); }), expected);
    EXPECT_EQ(ErrorOf([&] {
                pair.optimizer.Step([&] {
                  pair.SetGradients();
                  pair.w.mutable_grad() = at::ones(shape);
                  return at::zeros({});
                });
              }),
              expected);
    EXPECT_TRUE(pair.Untouched());
  }
}

TEST(ReplacedMemoryTest, SourcesPutWeightsBackBeforeTheError) {
  for (const std::string source : {"sam", "looksam", "gsam", "nesterov_lookahead"}) {
    for (const Pass bad : {Pass::kPlain, Pass::kPerturbed}) {
      for (const bool fits : {false, true}) {
        OptimizerSpec spec = Momentum{.lr = 0.5};
        spec.source = source;
        Pair pair(spec);
        const Tensor former = pair.w.detach();
        const auto closure = [&](Pass pass) -> kudari::Evaluation {
          pair.SetGradients();
          if (pass == bad && fits) pair.Replace({2, 4});
          if (pass == bad && !fits) pair.Replace({2, 2});
          return 1.0;
        };
        if (source == "nesterov_lookahead" && bad == Pass::kPerturbed) continue;  // has none
        EXPECT_EQ(ErrorOf([&] { pair.optimizer.Step(closure); }),
                  fits ? "parameter \"w\" was given new memory in a closure of source \"" + source +
                             "\", which puts weights back; replace it between steps"
                       : kFewer);
        EXPECT_TRUE(pair.Untouched());
        EXPECT_TRUE(former.equal(at::ones({2, 4})));
        // What it has now is stepped from now on.
        pair.Replace({2, 4});
        pair.optimizer.Step([&](Pass) -> kudari::Evaluation {
          pair.SetGradients();
          return 1.0;
        });
        EXPECT_EQ(pair.memory.sum().item<double>(), 64 - 4);
        EXPECT_TRUE(former.equal(at::ones({2, 4})));
      }
    }
  }
}

TEST(ReplacedMemoryTest, AClosureOfThePlainSourceMayReplaceMemory) {
  Pair pair;
  pair.optimizer.Step([&] {
    pair.Replace({2, 4});
    pair.SetGradients();
    return at::zeros({});
  });
  EXPECT_EQ(pair.memory.sum().item<double>(), 64 - 4);
}

TEST(ReplacedMemoryTest, BuffersComeBackAfterPerturbedCalls) {
  struct CountingImpl : nn::Module {
    CountingImpl()
        : w(register_parameter("w", at::ones({2}))),
          seen(register_buffer("seen", at::zeros({2}))) {}
    Tensor w, seen;
  };
  CountingImpl module;
  OptimizerSpec spec = Sgd{};
  spec.source = "sam";
  Optimizer optimizer(module, spec);
  const void* const memory = module.seen.data_ptr();
  optimizer.Step([&](Pass pass) -> kudari::Evaluation {
    if (pass == Pass::kPlain) module.seen += 1;
    if (pass == Pass::kPerturbed) module.seen.set_data(at::full({3}, 7.0));
    module.w.mutable_grad() = at::ones({2});
    return 1.0;
  });
  EXPECT_TRUE(module.seen.equal(at::ones({2})));
  EXPECT_EQ(module.seen.data_ptr(), memory);
}

OptimizerSpec Averaging() {
  OptimizerSpec spec = Sgd{.lr = 0.5};
  spec.swa = SwaSpec{};
  return spec;
}

TEST(ReplacedMemoryTest, AViewPutsTrainedWeightsWhereTheParameterIs) {
  Pair pair(Averaging());
  pair.optimizer.Step();
  pair.optimizer.Step();  // 0.5 and 0, of which the mean is 0.25
  {
    const auto view = pair.optimizer.EvaluationWeights();
    EXPECT_TRUE(pair.w.equal(at::full({2, 4}, 0.25)));
    pair.Replace({2, 4});
    EXPECT_TRUE(pair.w.equal(at::ones({2, 4})));
  }
  EXPECT_TRUE(pair.w.equal(at::zeros({2, 4})));
  EXPECT_TRUE(pair.v.equal(at::zeros({3})));
  EXPECT_EQ(pair.memory.sum().item<double>(), 64 - 8);
  pair.optimizer.Step();
  EXPECT_TRUE(pair.w.equal(at::full({2, 4}, -0.5)));
  {
    const auto view = pair.optimizer.EvaluationWeights();
    pair.Replace({2, 2});  // which has no place for them
  }
  EXPECT_TRUE(pair.v.equal(at::full({3}, -0.5)));
  EXPECT_EQ(pair.memory.narrow(0, 16, 8).sum().item<double>(), -4);
  EXPECT_EQ(ErrorOf([&] { pair.optimizer.Step(); }), kFewer);
}

TEST(ReplacedMemoryTest, AViewMayOutliveTheOptimizer) {
  const Tensor w = Ones({2});
  std::optional<EvaluationView> view;
  {
    Optimizer optimizer(NamedParameters{{"w", w}}, Averaging());
    w.mutable_grad() = at::ones({2});
    optimizer.Step();
    optimizer.Step();
    view.emplace(optimizer.EvaluationWeights());
  }
  EXPECT_TRUE(w.equal(at::full({2}, 0.25)));
  view.reset();
  EXPECT_TRUE(w.equal(at::zeros({2})));
}

TEST(ReplacedMemoryTest, FindLearningRatePutsBackMemoryToo) {
  for (const bool fits : {true, false}) {
    Pair pair;
    const void* const before = pair.w.data_ptr();
    int calls = 0;
    const std::function<Tensor()> closure = [&] {
      pair.SetGradients();
      if (++calls == 3) pair.Replace(std::vector<int64_t>{2, fits ? 4 : 2});
      return at::ones({});
    };
    const std::string error = ErrorOf([&] {
      FindLearningRate(pair.optimizer, closure, {.range = {.start = 1, .end = 2, .steps = 5}});
    });
    EXPECT_EQ(error, fits ? "no error" : kFewer);
    EXPECT_EQ(pair.w.data_ptr(), before);
    EXPECT_TRUE(pair.w.equal(at::ones({2, 4})));
    EXPECT_TRUE(pair.v.equal(at::ones({3})));
    EXPECT_EQ(pair.optimizer.core().steps(), 0);
  }
}

std::vector<const void*> GradientsOf(const kudari::Optimizer& core) {
  std::vector<const void*> gradients;
  for (const kudari::Tensor& t : core.tensors()) {
    if (t.grad != nullptr) gradients.push_back(t.grad);
  }
  return gradients;
}

TEST(EngineTest, HasGradientsDuringCallsAlone) {
  OptimizerSpec spec = Sophia{};
  spec.nonfinite = NonFinite::kError;
  Pair pair(spec);
  kudari::Optimizer& core = pair.optimizer.core();
  pair.optimizer.Step();
  EXPECT_TRUE(GradientsOf(core).empty());
  pair.w.mutable_grad()[0][0] = INFINITY;
  EXPECT_THAT(ErrorOf([&] { pair.optimizer.Step(); }), HasSubstr("not finite"));
  EXPECT_TRUE(GradientsOf(core).empty());
  EXPECT_THAT(ErrorOf([&] {
                pair.optimizer.Step([&]() -> Tensor {
                  pair.SetGradients();
                  throw Error("no data");
                });
              }),
              "no data");
  EXPECT_TRUE(GradientsOf(core).empty());
  pair.SetGradients();
  GradScaler scaler;
  scaler.Unscale(pair.optimizer);
  EXPECT_TRUE(GradientsOf(core).empty());
  pair.optimizer.ZeroGrad();
  EXPECT_EQ(core.GradientSquares(0), 0);
}

TEST(EngineTest, HasNoGradientAfterAReleaseThatThrows) {
  Pair pair;
  pair.optimizer.ZeroGrad();
  GradientRelease release(pair.optimizer);
  // Two backward passes complete the gradient twice, of which the second is refused.
  EXPECT_THAT(ErrorOf([&] {
                release.Step([&] {
                  Tensor x = pair.w.sum();
                  x.register_hook([&](const Tensor&) {
                    const at::AutoGradMode enabled(true);
                    pair.w.sum().backward();
                  });
                  return x;
                });
              }),
              HasSubstr("has already been stepped"));
  EXPECT_TRUE(GradientsOf(pair.optimizer.core()).empty());
}

TEST(EngineTest, LooksWhereParametersAreNow) {
  const Tensor w = at::full({4}, 3, at::kBFloat16).requires_grad_();
  OptimizerSpec spec = Sgd{.lr = 1};
  spec.precision.master = Master::kSplit8;
  Optimizer optimizer(NamedParameters{{"w", w}}, spec);
  w.mutable_grad() = at::ones({4}, at::kBFloat16);
  optimizer.Step();
  w.set_data(at::full({4}, 5, at::kBFloat16));
  EXPECT_EQ(optimizer.core().tensors()[0].param, w.data_ptr());
  w.set_data(at::full({4}, 7, at::kBFloat16));
  EXPECT_EQ(std::as_const(optimizer).core().SlotValues(0, "master"), std::vector<float>(4, 7));
}

// Weights that two modules share.
struct HeadImpl : nn::Module {
  explicit HeadImpl(const Tensor& table) { weight = register_parameter("weight", table); }
  Tensor forward(const Tensor& x) const { return x.mm(weight.t()); }
  Tensor weight;
};
TORCH_MODULE(Head);

struct TiedImpl : nn::Module {
  explicit TiedImpl(int64_t width = 3) {
    wte = register_module("wte", nn::Embedding(5, width));
    mlp = register_module("mlp", nn::Linear(width, width));
    lm_head = register_module("lm_head", Head(wte->weight));
    const ::torch::NoGradGuard off;
    wte->weight.fill_(1);
  }
  Tensor forward(const Tensor& tokens) {
    return lm_head(mlp(wte(tokens)).tanh()).log_softmax(1).mean();
  }
  nn::Embedding wte{nullptr};
  nn::Linear mlp{nullptr};
  Head lm_head{nullptr};
};
TORCH_MODULE(Tied);

void SetGradients(const nn::Module& module) {
  for (const Tensor& p : module.parameters()) p.mutable_grad() = at::ones_like(p);
}

TEST(TiedWeightsTest, AreSteppedOnce) {
  Tied model;
  Optimizer optimizer(*model, Sgd{.lr = 0.1});
  const auto tensors = optimizer.core().tensors();
  ASSERT_EQ(tensors.size(), 3U);
  EXPECT_EQ(tensors[0].name, "wte.weight");
  EXPECT_EQ(tensors[0].aliases, std::vector<std::string>{"lm_head.weight"});
  EXPECT_EQ(optimizer.Parameters().size(), 3U);
  SetGradients(*model);
  optimizer.Step();
  EXPECT_TRUE(model->wte->weight.equal(at::full({5, 3}, 1 - 0.1F)));
}

TEST(TiedWeightsTest, AreTiedHoweverTheyAreGiven) {
  struct TwiceImpl : nn::Module {
    TwiceImpl() {
      layer = register_module("a", nn::Linear(2, 2));
      register_module("b", layer.ptr());
    }
    nn::Linear layer{nullptr};
  };
  const auto module = std::make_shared<TwiceImpl>();
  Optimizer twice(*module, Sgd{.lr = 0.1});
  const Tensor before = module->layer->weight.detach().clone();
  SetGradients(*module);
  twice.Step();
  EXPECT_TRUE(at::allclose(module->layer->weight, before - 0.1));
  EXPECT_EQ(twice.core().tensors()[1].aliases, std::vector<std::string>{"b.bias"});

  const Tensor w = Ones({2});
  Optimizer by_hand(NamedParameters{{"x", w}, {"y", w}, {"z", w}}, Sgd{.lr = 0.1});
  w.mutable_grad() = at::ones({2});
  by_hand.Step();
  EXPECT_TRUE(w.equal(at::full({2}, 1 - 0.1F)));
  EXPECT_EQ(by_hand.core().tensors()[0].aliases, (std::vector<std::string>{"y", "z"}));
  EXPECT_EQ(ErrorOf([&] {
              Optimizer(NamedParameters{{"x", w}, {"x", w}}, Sgd{});
            }),
            "duplicate tensor name \"x\"");
}

TEST(TiedWeightsTest, ArePerturbedAndReleasedOnce) {
  const Tensor tokens = at::tensor({0, 1, 2, 3, 4}, at::kLong);
  for (const std::string source : {"sam", "looksam", "gsam"}) {
    Tied model;
    OptimizerSpec spec = Sgd{.lr = 0};
    spec.source = source;
    Optimizer optimizer(*model, spec);
    std::vector<Tensor> before;
    for (const Tensor& p : model->parameters()) before.push_back(p.detach().clone());
    optimizer.Step([&] {
      Tensor loss = model(tokens);
      loss.backward();
      return loss;
    });
    for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(model->parameters()[i].equal(before[i]));
  }
  ::torch::manual_seed(1);
  Tied plain;
  ::torch::manual_seed(1);
  Tied released;
  Optimizer a(*plain, AdamW{.lr = 0.1}), b(*released, AdamW{.lr = 0.1});
  GradientRelease release(b);
  for (int step = 0; step < 3; ++step) {
    a.Step([&] {
      Tensor loss = plain(tokens);
      loss.backward();
      return loss;
    });
    release.Step([&] { return released(tokens); });
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_TRUE(plain->parameters()[i].equal(released->parameters()[i]));
    }
  }
}

TEST(TiedWeightsTest, ThreadsDoNotMatter) {
  const auto train = [](int threads) {
    ::torch::manual_seed(1);
    const Tensor w = at::randn({5, 40000}).requires_grad_();  // more than one block
    Optimizer optimizer(NamedParameters{{"a", w}, {"b", w}}, Momentum{.lr = 0.1});
    optimizer.core().SetParallel({.threads = threads});
    for (int i = 0; i < 3; ++i) {
      w.mutable_grad() = at::randn({5, 40000});
      optimizer.Step();
    }
    return w.detach();
  };
  EXPECT_TRUE(train(1).equal(train(2)));
}

TEST(TiedWeightsTest, AnyNameMatches) {
  Tied model;
  OptimizerSpec spec = Sgd{.lr = 0.1};
  spec.groups = {{.match = "lm_head.*", .options = {{"lr", 0.5}}}};
  Optimizer optimizer(*model, spec);
  EXPECT_EQ(optimizer.core().Value(0, "lr"), 0.5);
  EXPECT_EQ(optimizer.core().Plan()[0].tensor_class, TensorClass::kEmbedding);
  EXPECT_EQ(RampedParameters(optimizer.core(), "lm_head.*"), std::vector<size_t>{0});
  spec.classes = {{"lm_head.*", TensorClass::kMatrix}};
  EXPECT_EQ(Optimizer(*model, spec).core().Plan()[0].tensor_class, TensorClass::kMatrix);
}

TensorClass ClassOf(const kudari::Optimizer& core, const std::string& name) {
  for (const TensorPlan& plan : core.Plan()) {
    if (plan.name == name) return plan.tensor_class;
  }
  throw Error("no tensor is named " + name);
}

TEST(TiedWeightsTest, AreAnEmbeddingIfOneUseIs) {
  // The head comes first, and is a Linear by its type.
  struct BackwardsImpl : nn::Module {
    BackwardsImpl() {
      const nn::Embedding table(5, 3);
      register_module("head", Head(table->weight));
      register_module("vocabulary", table);
    }
  };
  EXPECT_EQ(ClassOf(Optimizer(BackwardsImpl(), Sgd{}).core(), "head.weight"),
            TensorClass::kEmbedding);
  const Tensor w = Ones({5, 3});
  EXPECT_EQ(
      ClassOf(Optimizer(NamedParameters{{"lm_head.weight", w}, {"wte.weight", w}}, Sgd{}).core(),
              "lm_head.weight"),
      TensorClass::kEmbedding);
  EXPECT_EQ(ClassOf(Optimizer(NamedParameters{{"lm_head.weight", w}, {"x", w}}, Sgd{}).core(),
                    "lm_head.weight"),
            TensorClass::kHead);
}

// Names say one thing and types another.
struct MisnamedImpl : nn::Module {
  MisnamedImpl() {
    register_module("norm_in", nn::Linear(3, 4));
    register_module("token_mix", nn::Bilinear(3, 4, 5));
    register_module("classifier", nn::Linear(4, 2));
    register_module("head", nn::BatchNorm1d(4));
    register_module("matrix", nn::LayerNorm(nn::LayerNormOptions({4, 4})));
    register_module("groups", nn::GroupNorm(2, 4));
    register_module("instances", nn::InstanceNorm2d(nn::InstanceNorm2dOptions(4).affine(true)));
    register_module("patch_embed", nn::Conv2d(nn::Conv2dOptions(3, 4, 2)));
    register_module("norm_up", nn::ConvTranspose1d(nn::ConvTranspose1dOptions(3, 4, 2)));
    register_module("vocabulary", nn::Embedding(7, 4));
    register_module("bags", nn::EmbeddingBag(7, 4));
    register_module("token_lstm", nn::LSTM(3, 4));
    register_module("cell", nn::GRUCell(3, 4));
    register_module("embedded",
                    nn::MultiheadAttention(nn::MultiheadAttentionOptions(4, 2).add_bias_kv(true)));
    register_parameter("pos_embed", at::zeros({1, 3, 4}));
    register_parameter("table", at::zeros({3, 4}));
  }
};

TEST(ModuleClassTest, IsWhatTheTypeSays) {
  const Optimizer optimizer(MisnamedImpl(), Sgd{});
  const std::vector<std::pair<std::string, TensorClass>> expected = {
      {"norm_in.weight", TensorClass::kMatrix},
      {"norm_in.bias", TensorClass::kBias},
      {"token_mix.weight", TensorClass::kMatrix},
      {"classifier.weight", TensorClass::kHead},
      {"head.weight", TensorClass::kNorm},
      {"head.bias", TensorClass::kBias},
      {"matrix.weight", TensorClass::kNorm},
      {"matrix.bias", TensorClass::kBias},
      {"groups.weight", TensorClass::kNorm},
      {"instances.weight", TensorClass::kNorm},
      {"patch_embed.weight", TensorClass::kConvolution},
      {"norm_up.weight", TensorClass::kConvolution},
      {"norm_up.bias", TensorClass::kBias},
      {"vocabulary.weight", TensorClass::kEmbedding},
      {"bags.weight", TensorClass::kEmbedding},
      {"token_lstm.weight_ih_l0", TensorClass::kMatrix},
      {"token_lstm.weight_hh_l0", TensorClass::kMatrix},
      {"token_lstm.bias_ih_l0", TensorClass::kBias},
      {"cell.weight_hh", TensorClass::kMatrix},
      {"cell.bias_hh", TensorClass::kBias},
      {"embedded.in_proj_weight", TensorClass::kMatrix},
      {"embedded.in_proj_bias", TensorClass::kBias},
      {"embedded.bias_k", TensorClass::kBias},
      {"embedded.out_proj.weight", TensorClass::kMatrix},
      {"pos_embed", TensorClass::kEmbedding},
      {"table", TensorClass::kMatrix}};
  for (const auto& [name, tensor_class] : expected) {
    EXPECT_EQ(ClassOf(optimizer.core(), name), tensor_class) << name;
  }
  OptimizerSpec spec = Sgd{};
  spec.classes = {{"patch_embed.*", TensorClass::kEmbedding}};
  EXPECT_EQ(ClassOf(Optimizer(MisnamedImpl(), spec).core(), "patch_embed.weight"),
            TensorClass::kEmbedding);
}

TEST(ModuleClassTest, NamesAreTheModulesInTheirOrder) {
  const MisnamedImpl module;
  const Optimizer optimizer(module, Sgd{});
  std::vector<std::string> names;
  for (const kudari::Tensor& t : optimizer.core().tensors()) names.push_back(t.name);
  EXPECT_EQ(names, module.named_parameters().keys());
}

// A model with frozen parameters that no optimizer steps.
struct QuantizedImpl : nn::Module {
  QuantizedImpl() {
    codes = register_parameter("codes", at::zeros({4}, at::kInt), false);
    first = register_parameter("first", at::ones({2}));
    scale = register_parameter("scale", at::ones({2}, at::kDouble), false);
    strided = register_parameter("strided", at::ones({3, 2}).t(), false);
    frozen = register_parameter("frozen", at::ones({2}), false);
    last = register_parameter("last", at::ones({2}));
  }
  Tensor codes, first, scale, strided, frozen, last;
};

TEST(ModuleTypeTest, GroupsMayNameIt) {
  Tied tied;
  Optimizer optimizer(*tied, Sgd{});
  using Types = std::vector<std::string>;
  EXPECT_EQ(optimizer.core().tensors()[0].modules, (Types{"Embedding", "Head"}));
  EXPECT_EQ(optimizer.core().tensors()[1].modules, Types{"Linear"});
  nn::Sequential model(nn::Conv2d(1, 2, 3), nn::BatchNorm2d(2),
                       nn::LayerNorm(nn::LayerNormOptions({2})), nn::LSTM(2, 2));
  OptimizerSpec spec = Sgd{};
  spec.groups = {{.modules = {"*Norm*"}}, {.modules = {"LSTM"}}, {.modules = {"Conv2d"}}};
  for (const TensorPlan& p : Optimizer(*model, spec).core().Plan()) {
    const char module = p.name[0];
    EXPECT_EQ(p.group, module == '0' ? 2 : module == '3' ? 1 : 0) << p.name;
  }
  spec.groups = {{.modules = {"Head"}}};
  EXPECT_EQ(Optimizer(*tied, spec).core().Plan()[0].group, 0);
  EXPECT_THAT(ErrorOf([&] {
                Optimizer(NamedParameters{{"w", Ones({2})}}, spec);
              }),
              HasSubstr("group 0 (modules = [\"Head\"]) matches no tensor"));
}

TEST(FrozenGroupTest, NothingOfItIsWritten) {
  Tied model;
  OptimizerSpec spec = AdamW{.lr = 0.1, .weight_decay = 0.1};
  spec.groups = {{.match = "lm_head.*", .frozen_until = 2}};
  Optimizer optimizer(*model, spec);
  const Tensor frozen = model->wte->weight, trained = model->mlp->weight;
  const Tensor before = frozen.detach().clone();
  for (int step = 0; step < 4; ++step) {
    SetGradients(*model);
    const auto version = frozen._version(), others = trained._version();
    optimizer.Step();
    EXPECT_EQ(frozen.equal(before), step < 2) << step;
    EXPECT_EQ(frozen._version() == version, step < 2) << step;
    EXPECT_GT(trained._version(), others);
    EXPECT_TRUE(frozen.grad().defined());  // the user's to clear
  }
  // The same by gradient release.
  Tied released;
  Optimizer other(*released, spec);
  GradientRelease release(other);
  const Tensor weight = released->wte->weight;
  for (int step = 0; step < 3; ++step) {
    const auto version = weight._version();
    release.Step([&] { return released(at::arange(5)); });
    EXPECT_EQ(weight.equal(before), step < 2) << step;
    EXPECT_EQ(weight._version() == version, step < 2) << step;
    EXPECT_FALSE(weight.grad().defined());
  }
}

TEST(FrozenTest, WhatTheEngineCannotHoldIsLeftOut) {
  QuantizedImpl model;
  OptimizerSpec spec = Sophia{.lr = 0.5};
  Optimizer optimizer(model, spec);
  std::vector<std::string> names;
  for (const kudari::Tensor& t : optimizer.core().tensors()) names.push_back(t.name);
  EXPECT_EQ(names, (std::vector<std::string>{"first", "strided", "frozen", "last"}));
  const std::vector<Tensor> parameters = optimizer.Parameters();
  ASSERT_EQ(parameters.size(), 4U);
  EXPECT_TRUE(parameters[3].is_same(model.last));
  const auto loss = [&] {
    return ((model.first * model.scale).square() + model.last + model.codes.sum()).sum();
  };
  loss().backward();
  optimizer.Step();
  EXPECT_LT(model.last.max().item<double>(), 1);
  EXPECT_TRUE(model.frozen.equal(at::ones({2})));
  optimizer.UpdateHessian(Hutchinson(parameters, loss));

  // Thawed, what it holds is stepped, and what it left out named.
  model.frozen.set_requires_grad(true);
  optimizer.ZeroGrad();
  (loss() + model.frozen.sum()).backward();
  optimizer.Step();
  EXPECT_LT(model.frozen.max().item<double>(), 1);
  model.scale.set_requires_grad(true);
  optimizer.ZeroGrad();
  loss().backward();
  const Tensor before = model.last.detach().clone();
  EXPECT_EQ(ErrorOf([&] { optimizer.Step(); }),
            "parameter \"scale\", of type Double, has a gradient; it was frozen when the optimizer "
            "was made and therefore left out");
  EXPECT_TRUE(model.last.equal(before));
  optimizer.ZeroGrad();
  EXPECT_FALSE(model.scale.grad().defined());
  EXPECT_EQ(optimizer.core().steps(), 2);
}

TEST(FrozenTest, WhatIsTrainedMustBeALeafAsItLiesInMemory) {
  const auto error = [](const Tensor& t) {
    return ErrorOf([&] { Optimizer(NamedParameters{{"w", t}}, Sgd{}); });
  };
  const Tensor w = Ones({2});
  EXPECT_EQ(error(w * 2),
            "parameter \"w\" is not a leaf of the graph: backward leaves no gradient in the result "
            "of an operation; give the tensor that it was computed from");
  EXPECT_EQ(error(w), "no error");
  Tensor negated = at::imag(at::complex(at::ones({2, 2}), at::ones({2, 2})).conj());
  ASSERT_TRUE(negated.is_neg());
  negated = negated.as_strided({2}, {1});
  ASSERT_TRUE(negated.is_contiguous() && negated.is_neg());
  EXPECT_THAT(error(negated.requires_grad_()), HasSubstr("\"w\" is a negated view"));
}

}  // namespace parameters_test
}  // namespace kudari::torch
