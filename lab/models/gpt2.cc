// GPT-2, with the names of Hugging Face's GPT2LMHeadModel.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <fmt/format.h>
#include <torch/torch.h>

#include <cmath>

#include "lab/models/models.h"
#include "lab/models/parts/layers.h"
#include "lab/models/parts/token_layers.h"
#endif

namespace kudari::lab {
namespace {

struct Gpt2Options {
  int64_t layers = 12, heads = 12, dim = 768, positions = 0;
  double dropout = 0.1;
};

const internal::OptionTable<Gpt2Options>& Gpt2Table() {
  using O = Gpt2Options;
  static const internal::OptionTable<O> table = {
      {.name = "layers",
       .member = &O::layers,
       .least = 1,
       .most = 1000,
       .doc = "number of transformer blocks"},
      {.name = "heads",
       .member = &O::heads,
       .least = 1,
       .most = 1024,
       .doc = "number of attention heads per block; must divide dim"},
      {.name = "dim", .member = &O::dim, .least = 1, .most = 65536, .doc = "width of a token"},
      {.name = "positions",
       .member = &O::positions,
       .least = 0,
       .most = 1 << 20,
       .doc = "number of positions that have an embedding, 1024 in published weights; 0: as many "
              "as a sample has tokens"},
      {.name = "dropout",
       .member = &O::dropout,
       .low = 0,
       .high = kBelow1,
       .doc = "probability that an embedding, a weight of the attention, or an output of a layer "
              "is dropped in training"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeGpt2() {
  return {.name = "gpt2",
          .doc = "GPT-2, by default its smallest; published weights fit",
          .options = MakeOwnOptions(Gpt2Options(), Gpt2Table()),
          .traits = [](const ModelConfig& config) {
            return ModelTraits{.dropout = ValuesOf<Gpt2Options>(config.options).dropout > 0,
                               .tokens = true,
                               .next_token = true};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

// A linear layer that holds its weights as [in, out], which published files of GPT-2 do.
class Conv1dImpl : public nn::Module {
 public:
  Conv1dImpl(int64_t in, int64_t out)
      : weight_(register_parameter("weight", ::torch::empty({in, out}))),
        bias_(register_parameter("bias", ::torch::empty(out))) {}

  Tensor forward(const Tensor& x) { return at::linear(x, weight_.t(), bias_); }

 private:
  Tensor weight_, bias_;
};
class Conv1d : public nn::ModuleHolder<Conv1dImpl> {
 public:
  using nn::ModuleHolder<Conv1dImpl>::ModuleHolder;
};

// x + attention(norm(x)), then x + mlp(norm(x)).
class Gpt2Block : public nn::Module {
 public:
  explicit Gpt2Block(const Gpt2Options& config)
      : heads_(config.heads),
        dropout_(config.dropout),
        ln_1_(register_module("ln_1", nn::LayerNorm(nn::LayerNormOptions({config.dim})))),
        c_attn_(RegisterAt(*this, "attn.c_attn", Conv1d(config.dim, 3 * config.dim))),
        attn_c_proj_(RegisterAt(*this, "attn.c_proj", Conv1d(config.dim, config.dim))),
        ln_2_(register_module("ln_2", nn::LayerNorm(nn::LayerNormOptions({config.dim})))),
        c_fc_(RegisterAt(*this, "mlp.c_fc", Conv1d(config.dim, 4 * config.dim))),
        mlp_c_proj_(RegisterAt(*this, "mlp.c_proj", Conv1d(4 * config.dim, config.dim))) {}

  Tensor forward(const Tensor& x) {
    const auto qkv = c_attn_(ln_1_(x)).chunk(3, -1);
    const AttentionLimits limits{.causal = true, .dropout = is_training() ? dropout_ : 0};
    const Tensor attended = Attend(SplitHeads(qkv[0], heads_), SplitHeads(qkv[1], heads_),
                                   SplitHeads(qkv[2], heads_), limits);
    const Tensor y = x + Drop(attn_c_proj_(attended));
    return y + Drop(mlp_c_proj_(at::gelu(c_fc_(ln_2_(y)), "tanh")));
  }

 private:
  Tensor Drop(const Tensor& x) const { return ::torch::dropout(x, dropout_, is_training()); }

  int64_t heads_;
  double dropout_;
  nn::LayerNorm ln_1_;
  Conv1d c_attn_, attn_c_proj_;
  nn::LayerNorm ln_2_;
  Conv1d c_fc_, mlp_c_proj_;
};

// GPT-2 (Radford et al., Language Models are Unsupervised Multitask Learners, 2019). The head has
// the weights of the embeddings.
class Gpt2 : public Model {
 public:
  Gpt2(const Gpt2Options& config, int64_t positions, int64_t vocabulary)
      : dropout_(config.dropout),
        wte_(RegisterAt(*this, "transformer.wte", nn::Embedding(vocabulary, config.dim))),
        wpe_(RegisterAt(*this, "transformer.wpe", nn::Embedding(positions, config.dim))) {
    for (int64_t i = 0; i < config.layers; ++i) {
      blocks_.push_back(RegisterAt(*this, fmt::format("transformer.h.{}", i),
                                   std::make_shared<Gpt2Block>(config)));
    }
    ln_f_ =
        RegisterAt(*this, "transformer.ln_f", nn::LayerNorm(nn::LayerNormOptions({config.dim})));
    constexpr double kDeviation = 0.02;
    DrawWeights(*this, kDeviation);
    // So that the sum of what the blocks add does not grow with their number.
    const double added = kDeviation / std::sqrt(2.0 * static_cast<double>(config.layers));
    for (auto& item : named_parameters()) {
      if (item.key().ends_with("c_proj.weight")) nn::init::normal_(item.value(), 0, added);
    }
  }

  Tensor forward(const Tensor& x) override {
    Tensor y = wte_(x) + wpe_->weight.narrow(0, 0, x.size(1));
    y = ::torch::dropout(y, dropout_, is_training());
    for (const auto& block : blocks_) y = block->forward(y);
    return at::linear(ln_f_(y), wte_->weight);
  }

  WeightNames Names() const override {
    return {.prefix = "transformer.",
            .tied = {{"lm_head.weight", "transformer.wte.weight"}},
            .surplus = {"*.attn.bias", "*.attn.masked_bias"}};  // constants: the causal mask
  }

 private:
  double dropout_;
  nn::Embedding wte_, wpe_;
  std::vector<std::shared_ptr<Gpt2Block>> blocks_;
  nn::LayerNorm ln_f_{nullptr};
};

void CheckGpt2(const Gpt2Options& config, int64_t positions, int64_t vocabulary) {
  CheckHeads(config.heads, config.dim);
  const auto dim = static_cast<double>(config.dim);
  CheckParameters(static_cast<double>(config.layers) * dim * (12 * dim + 13) +
                  dim * static_cast<double>(vocabulary + positions + 2));
}

}  // namespace

std::shared_ptr<Model> BuildGpt2(const ModelConfig& config, const DataShape& data) {
  const auto& options = ValuesOf<Gpt2Options>(config.options);
  const int64_t positions = Positions(options.positions, data.sample.at(0));
  CheckGpt2(options, positions, data.vocabulary);
  return std::make_shared<Gpt2>(options, positions, data.vocabulary);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
