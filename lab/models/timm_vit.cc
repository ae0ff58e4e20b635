// The vision transformers for ImageNet.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <torch/torch.h>

#include "lab/models/models.h"
#include "lab/models/parts/layers.h"
#include "lab/models/parts/vision.h"
#endif

namespace kudari::lab {
namespace {

struct TimmVitOptions {
  int64_t patch = 16, dim = 384, depth = 12, heads = 6, mlp_ratio = 4;
  bool mean = false;
  double dropout = 0, attention_dropout = 0, drop_path = 0;
};

const internal::OptionTable<TimmVitOptions>& TimmVitTable() {
  using O = TimmVitOptions;
  static const internal::OptionTable<O> table = {
      {.name = "patch",
       .member = &O::patch,
       .least = 1,
       .most = 4096,
       .doc = "side of the square patches that become tokens; must divide the image"},
      {.name = "dim",
       .member = &O::dim,
       .least = 1,
       .most = 65536,
       .doc = "width of a token: 192 for Ti/16, 384 for S/16, 768 for B/16"},
      {.name = "depth",
       .member = &O::depth,
       .least = 1,
       .most = 1000,
       .doc = "number of transformer blocks"},
      {.name = "heads",
       .member = &O::heads,
       .least = 1,
       .most = 1024,
       .doc =
           "number of attention heads per block, which must divide dim: 3 for Ti/16, 6 for S/16, "
           "12 for B/16"},
      {.name = "mlp_ratio",
       .member = &O::mlp_ratio,
       .least = 1,
       .most = 64,
       .doc = "hidden width of a block's MLP, in units of dim"},
      {.name = "pool",
       .member = internal::WordOf<&O::mean>(),
       .choices = {"class", "mean"},
       .doc = "input of the head: a class token, or the mean of the tokens, normalised afterwards"},
      {.name = "dropout",
       .member = &O::dropout,
       .low = 0,
       .high = kBelow1,
       .doc = "probability that an activation is dropped in training"},
      {.name = "attention_dropout",
       .member = &O::attention_dropout,
       .low = 0,
       .high = kBelow1,
       .doc = "probability that a weight of attention is dropped in training"},
      {.name = "drop_path",
       .member = &O::drop_path,
       .low = 0,
       .high = kBelow1,
       .doc = "probability that a sample skips a branch of the last block in training; earlier "
              "blocks have less, in proportion"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeTimmVit() {
  return {
      .name = "timm_vit",
      .doc = "the vision transformer for ImageNet, ViT-Ti/16, S/16 or B/16, with timm's names",
      .options = MakeOwnOptions(TimmVitOptions(), TimmVitTable()),
      .traits = [](const ModelConfig& config) {
        const auto& o = ValuesOf<TimmVitOptions>(config.options);
        return ModelTraits{.dropout = o.dropout > 0 || o.attention_dropout > 0 || o.drop_path > 0};
      }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

// timm draws these from a normal distribution that is cut off at 100 deviations, so from a normal
// one.
nn::Linear MakeTimmLinear(int64_t in, int64_t out) {
  nn::Linear layer(in, out);
  nn::init::normal_(layer->weight, 0, 0.02);
  nn::init::zeros_(layer->bias);
  return layer;
}

nn::LayerNorm MakeTimmNorm(int64_t dim) {
  return nn::LayerNorm(nn::LayerNormOptions({dim}).eps(1e-6));
}

class TimmPatchesImpl : public nn::Module {
 public:
  TimmPatchesImpl(int64_t channels, int64_t dim, int64_t patch)
      : proj_(register_module("proj",
                              nn::Conv2d(nn::Conv2dOptions(channels, dim, patch).stride(patch)))) {}

  // [batch, channels, height, width] -> [batch, patches, dim]
  Tensor forward(const Tensor& x) { return proj_(x).flatten(2).transpose(1, 2); }

 private:
  nn::Conv2d proj_;
};
class TimmPatches : public ::torch::nn::ModuleHolder<TimmPatchesImpl> {
 public:
  using ::torch::nn::ModuleHolder<TimmPatchesImpl>::ModuleHolder;
};

class TimmAttentionImpl : public nn::Module {
 public:
  explicit TimmAttentionImpl(const TimmVitOptions& config)
      : heads_(config.heads),
        dropout_(config.attention_dropout),
        qkv_(register_module("qkv", MakeTimmLinear(config.dim, 3 * config.dim))),
        proj_(register_module("proj", MakeTimmLinear(config.dim, config.dim))) {}

  Tensor forward(const Tensor& x) {
    return proj_(SelfAttention(qkv_(x), heads_, is_training() ? dropout_ : 0));
  }

 private:
  int64_t heads_;
  double dropout_;
  nn::Linear qkv_, proj_;
};
class TimmAttention : public ::torch::nn::ModuleHolder<TimmAttentionImpl> {
 public:
  using ::torch::nn::ModuleHolder<TimmAttentionImpl>::ModuleHolder;
};

class TimmMlpImpl : public nn::Module {
 public:
  explicit TimmMlpImpl(const TimmVitOptions& config)
      : dropout_(config.dropout),
        fc1_(register_module("fc1", MakeTimmLinear(config.dim, config.mlp_ratio * config.dim))),
        fc2_(register_module("fc2", MakeTimmLinear(config.mlp_ratio * config.dim, config.dim))) {}

  Tensor forward(const Tensor& x) {
    return fc2_(::torch::dropout(::torch::gelu(fc1_(x)), dropout_, is_training()));
  }

 private:
  double dropout_;
  nn::Linear fc1_, fc2_;
};
class TimmMlp : public ::torch::nn::ModuleHolder<TimmMlpImpl> {
 public:
  using ::torch::nn::ModuleHolder<TimmMlpImpl>::ModuleHolder;
};

class TimmBlockImpl : public nn::Module {
 public:
  TimmBlockImpl(const TimmVitOptions& config, double drop_path)
      : dropout_(config.dropout),
        drop_path_(drop_path),
        norm1_(register_module("norm1", MakeTimmNorm(config.dim))),
        attn_(register_module("attn", TimmAttention(config))),
        norm2_(register_module("norm2", MakeTimmNorm(config.dim))),
        mlp_(register_module("mlp", TimmMlp(config))) {}

  Tensor forward(const Tensor& x) {
    const Tensor y = x + Branch(attn_->forward(norm1_(x)));
    return y + Branch(mlp_->forward(norm2_(y)));
  }

 private:
  Tensor Branch(const Tensor& x) const {
    return DropPath(::torch::dropout(x, dropout_, is_training()), drop_path_, is_training());
  }

  double dropout_, drop_path_;
  nn::LayerNorm norm1_;
  TimmAttention attn_;
  nn::LayerNorm norm2_;
  TimmMlp mlp_;
};
class TimmBlock : public ::torch::nn::ModuleHolder<TimmBlockImpl> {
 public:
  using ::torch::nn::ModuleHolder<TimmBlockImpl>::ModuleHolder;
};

// A vision transformer (Dosovitskiy et al., arXiv:2010.11929; Touvron et al., arXiv:2012.12877) as
// timm's VisionTransformer has it. The mean of the tokens has no class token, and a norm after it.
class TimmVit : public Model {
 public:
  TimmVit(const TimmVitOptions& config, const std::vector<int64_t>& shape, int64_t out)
      : mean_(config.mean), dropout_(config.dropout) {
    const int64_t dim = config.dim;
    if (!mean_) cls_token_ = register_parameter("cls_token", 1e-6 * ::torch::randn({1, 1, dim}));
    const int64_t patches = (shape[1] / config.patch) * (shape[2] / config.patch);
    const int64_t tokens = patches + (mean_ ? 0 : 1);
    pos_embed_ = register_parameter("pos_embed", 0.02 * ::torch::randn({1, tokens, dim}));
    patch_embed_ = register_module("patch_embed", TimmPatches(shape[0], dim, config.patch));
    for (int64_t i = 0; i < config.depth; ++i) {
      blocks_->push_back(TimmBlock(config, DropPathRate(config.drop_path, i, config.depth)));
    }
    register_module("blocks", blocks_);
    norm_ = register_module(mean_ ? "fc_norm" : "norm", MakeTimmNorm(dim));
    head_ = register_module("head", MakeTimmLinear(dim, out));
  }

  Tensor forward(const Tensor& x) override {
    Tensor tokens = patch_embed_->forward(x);
    if (!mean_) tokens = ::torch::cat({cls_token_.expand({x.size(0), -1, -1}), tokens}, 1);
    tokens = ::torch::dropout(tokens + pos_embed_, dropout_, is_training());
    tokens = blocks_->forward(tokens);
    return head_(mean_ ? norm_(tokens.mean(1)) : norm_(tokens.select(1, 0)));
  }

 private:
  bool mean_;
  double dropout_;
  Tensor cls_token_, pos_embed_;
  TimmPatches patch_embed_{nullptr};
  nn::Sequential blocks_;
  nn::LayerNorm norm_{nullptr};
  nn::Linear head_{nullptr};
};

}  // namespace

std::shared_ptr<Model> BuildTimmVit(const ModelConfig& config, const DataShape& data) {
  CheckImages(config.name(), data.sample);
  const auto& options = ValuesOf<TimmVitOptions>(config.options);
  CheckTransformer({.patch = options.patch,
                    .dim = options.dim,
                    .depth = options.depth,
                    .heads = options.heads,
                    .mlp_ratio = options.mlp_ratio},
                   data.sample);
  return std::make_shared<TimmVit>(options, data.sample, data.outputs);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
