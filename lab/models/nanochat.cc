// The GPT of nanochat (Karpathy, github.com/karpathy/nanochat, commit 3a5e0bc of October 2025).
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kudari/error.h"
#include "lab/models/models.h"
#include "lab/models/parts/layers.h"
#include "lab/models/parts/token_layers.h"
#endif

namespace kudari::lab {
namespace {

struct NanochatOptions {
  int64_t layers = 20, heads = 10, kv_heads = 0, dim = 1280;
  double softcap = 15, rotary_base = 10000;
  bool tied = false;
};

const internal::OptionTable<NanochatOptions>& NanochatTable() {
  using O = NanochatOptions;
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
      {.name = "kv_heads",
       .member = &O::kv_heads,
       .least = 0,
       .most = 1024,
       .doc = "number of heads of keys and values, which heads share; must divide heads; 0: heads"},
      {.name = "dim", .member = &O::dim, .least = 1, .most = 65536, .doc = "width of a token"},
      {.name = "softcap",
       .member = &O::softcap,
       .low = 0,
       .high = kInfinity,
       .doc = "bound c of the logits, which become c tanh(x / c); 0: none"},
      {.name = "rotary_base",
       .member = &O::rotary_base,
       .low = 1,
       .high = 1e12,
       .doc = "base of the frequencies by which positions turn queries and keys"},
      {.name = "tied",
       .member = &O::tied,
       .doc = "the head has the weights of the embeddings, which then start with a deviation of "
              "dim^-0.5 instead of 1"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeNanochat() {
  return {.name = "nanochat",
          .doc =
              "nanochat's GPT: rotary positions, norms without weights, also of queries and "
              "keys, relu^2; by default the one of depth 20",
          .options = MakeOwnOptions(NanochatOptions(), NanochatTable()),
          .traits = [](const ModelConfig& /*config*/) {
            return ModelTraits{.tokens = true, .next_token = true};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

// In float32 at least.
Tensor Wide(const Tensor& x) { return x.to(at::promote_types(x.scalar_type(), at::kFloat)); }

// Root mean square norm without weights.
Tensor RmsNorm(const Tensor& x) {
  constexpr double kEps = std::numeric_limits<float>::epsilon();
  return at::rms_norm(Wide(x), {x.size(-1)}, {}, kEps).to(x.scalar_type());
}

// How positions turn queries and keys: cosines and sines, [positions, width / 2].
struct Rotation {
  Rotation(int64_t positions, int64_t width, double base) {
    const Tensor channels = at::arange(0, width, 2, at::kFloat);
    const Tensor frequencies = at::pow(base, channels / width).reciprocal();
    const Tensor angles = at::outer(at::arange(positions, at::kFloat), frequencies);
    cosines = angles.cos();
    sines = angles.sin();
  }

  // x is [batch, heads, tokens, width]; channel i and i + width / 2 are a pair.
  Tensor Turn(const Tensor& x) const {
    const Tensor c = cosines.narrow(0, 0, x.size(2)), s = sines.narrow(0, 0, x.size(2));
    const auto half = x.chunk(2, -1);
    return at::cat({half[0] * c + half[1] * s, half[1] * c - half[0] * s}, -1).to(x.scalar_type());
  }

  Tensor cosines, sines;
};

nn::Linear WithoutBias(int64_t in, int64_t out) {
  return nn::Linear(nn::LinearOptions(in, out).bias(false));
}

// x + attention(norm(x)), then x + mlp(norm(x)).
class NanochatBlock : public nn::Module {
 public:
  NanochatBlock(const NanochatOptions& config, int64_t kv_heads)
      : heads_(config.heads), kv_heads_(kv_heads) {
    const int64_t dim = config.dim, kv_dim = dim / heads_ * kv_heads_;
    c_q_ = RegisterAt(*this, "attn.c_q", WithoutBias(dim, dim));
    c_k_ = RegisterAt(*this, "attn.c_k", WithoutBias(dim, kv_dim));
    c_v_ = RegisterAt(*this, "attn.c_v", WithoutBias(dim, kv_dim));
    attn_c_proj_ = RegisterAt(*this, "attn.c_proj", WithoutBias(dim, dim));
    c_fc_ = RegisterAt(*this, "mlp.c_fc", WithoutBias(dim, 4 * dim));
    mlp_c_proj_ = RegisterAt(*this, "mlp.c_proj", WithoutBias(4 * dim, dim));
    for (const nn::Linear& layer : {c_q_, c_k_, c_v_, c_fc_}) {
      // Yang et al., A Spectral Condition for Feature Learning, arXiv:2310.17813.
      const auto in = static_cast<double>(layer->weight.size(1));
      const auto out = static_cast<double>(layer->weight.size(0));
      nn::init::normal_(layer->weight, 0, std::sqrt(std::min(1.0, out / in) / in));
    }
    // At first a block passes on what it is given.
    nn::init::zeros_(attn_c_proj_->weight);
    nn::init::zeros_(mlp_c_proj_->weight);
  }

  Tensor forward(const Tensor& x, const Rotation& rotation) {
    const Tensor from = RmsNorm(x);
    const Tensor q = RmsNorm(rotation.Turn(SplitHeads(c_q_(from), heads_)));
    const Tensor k = RmsNorm(rotation.Turn(SplitHeads(c_k_(from), kv_heads_)));
    const Tensor v = SplitHeads(c_v_(from), kv_heads_);
    const Tensor y = x + attn_c_proj_(Attend(q, k, v, {.causal = true}));
    return y + mlp_c_proj_(at::relu(c_fc_(RmsNorm(y))).square());
  }

 private:
  int64_t heads_, kv_heads_;
  nn::Linear c_q_{nullptr}, c_k_{nullptr}, c_v_{nullptr}, attn_c_proj_{nullptr};
  nn::Linear c_fc_{nullptr}, mlp_c_proj_{nullptr};
};

class Nanochat : public Model {
 public:
  Nanochat(const NanochatOptions& config, int64_t kv_heads, const DataShape& data)
      : softcap_(config.softcap),
        rotation_(data.sample.at(0), config.dim / config.heads, config.rotary_base),
        wte_(RegisterAt(*this, "transformer.wte", nn::Embedding(data.vocabulary, config.dim))) {
    const auto dim = static_cast<double>(config.dim);
    nn::init::normal_(wte_->weight, 0, config.tied ? 1 / std::sqrt(dim) : 1);
    for (int64_t i = 0; i < config.layers; ++i) {
      blocks_.push_back(RegisterAt(*this, fmt::format("transformer.h.{}", i),
                                   std::make_shared<NanochatBlock>(config, kv_heads)));
    }
    if (config.tied) return;
    lm_head_ = register_module("lm_head", WithoutBias(config.dim, data.vocabulary));
    nn::init::zeros_(lm_head_->weight);
  }

  Tensor forward(const Tensor& x) override {
    Tensor y = RmsNorm(wte_(x));
    for (const auto& block : blocks_) y = block->forward(y, rotation_);
    const Tensor logits = at::linear(RmsNorm(y), (lm_head_ ? lm_head_->weight : wte_->weight));
    return softcap_ > 0 ? softcap_ * at::tanh(Wide(logits) / softcap_) : logits;
  }

  WeightNames Names() const override {
    if (lm_head_) return {};
    return {.tied = {{"lm_head.weight", "transformer.wte.weight"}}};
  }

 private:
  double softcap_;
  Rotation rotation_;
  nn::Embedding wte_;
  std::vector<std::shared_ptr<NanochatBlock>> blocks_;
  nn::Linear lm_head_{nullptr};  // none if it is tied
};

void CheckNanochat(const NanochatOptions& config, int64_t kv_heads, int64_t vocabulary) {
  CheckHeads(config.heads, config.dim);
  const int64_t width = config.dim / config.heads;
  if (config.heads % kv_heads != 0) {
    throw Error(fmt::format("model.kv_heads = {} does not divide model.heads = {}", kv_heads,
                            config.heads));
  }
  if (width % 2 != 0) {
    throw Error(fmt::format("model.dim / model.heads = {} is odd: positions turn pairs of channels",
                            width));
  }
  const auto dim = static_cast<double>(config.dim);
  const auto kv_dim = static_cast<double>(width * kv_heads);
  CheckParameters(static_cast<double>(config.layers) * dim * (10 * dim + 2 * kv_dim) +
                  dim * static_cast<double>(vocabulary) * (config.tied ? 1 : 2));
}

}  // namespace

std::shared_ptr<Model> BuildNanochat(const ModelConfig& config, const DataShape& data) {
  const auto& options = ValuesOf<NanochatOptions>(config.options);
  const int64_t kv_heads = options.kv_heads > 0 ? options.kv_heads : options.heads;
  CheckNanochat(options, kv_heads, data.vocabulary);
  return std::make_shared<Nanochat>(options, kv_heads, data);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
