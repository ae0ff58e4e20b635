// A vision transformer.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <torch/torch.h>

#include "lab/models/models.h"
#include "lab/models/parts/layers.h"
#include "lab/models/parts/vision.h"
#endif

namespace kudari::lab {
namespace {

struct VitOptions {
  int64_t patch = 4, dim = 64, depth = 4, heads = 4, mlp_ratio = 4;
  bool class_token = false;
  double dropout = 0, drop_path = 0;
};

const internal::OptionTable<VitOptions>& VitTable() {
  using O = VitOptions;
  static const internal::OptionTable<O> table = {
      {.name = "patch",
       .member = &O::patch,
       .least = 1,
       .most = 4096,
       .doc = "side of the square patches that become tokens; must divide the image"},
      {.name = "dim", .member = &O::dim, .least = 1, .most = 65536, .doc = "width of a token"},
      {.name = "depth",
       .member = &O::depth,
       .least = 1,
       .most = 1000,
       .doc = "number of transformer blocks"},
      {.name = "heads",
       .member = &O::heads,
       .least = 1,
       .most = 1024,
       .doc = "number of attention heads per block; must divide dim"},
      {.name = "mlp_ratio",
       .member = &O::mlp_ratio,
       .least = 1,
       .most = 64,
       .doc = "hidden width of a block's MLP, in units of dim"},
      {.name = "pool",
       .member = internal::WordOf<&O::class_token>(),
       .choices = {"mean", "class"},
       .doc = "input of the head: the mean of the tokens, or a separate class token"},
      {.name = "dropout",
       .member = &O::dropout,
       .low = 0,
       .high = kBelow1,
       .doc = "probability that an activation is dropped in training"},
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

ModelEntry DescribeVit() {
  return {.name = "vit",
          .doc = "pre-norm vision transformer",
          .options = MakeOwnOptions(VitOptions(), VitTable()),
          .traits = [](const ModelConfig& config) {
            const auto& o = ValuesOf<VitOptions>(config.options);
            return ModelTraits{.dropout = o.dropout > 0 || o.drop_path > 0};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

// One pre-norm transformer block: x + attention(norm1(x)), then x + mlp(norm2(x)).
class BlockImpl : public nn::Module {
 public:
  BlockImpl(const VitOptions& config, double drop_path)
      : heads_(config.heads), dropout_(config.dropout), drop_path_(drop_path) {
    const int64_t dim = config.dim;
    norm1_ = register_module("norm1", nn::LayerNorm(nn::LayerNormOptions({dim})));
    qkv_ = register_module("qkv", MakeLinear(dim, 3 * dim));
    proj_ = register_module("proj", MakeLinear(dim, dim));
    norm2_ = register_module("norm2", nn::LayerNorm(nn::LayerNormOptions({dim})));
    fc1_ = register_module("fc1", MakeLinear(dim, config.mlp_ratio * dim));
    fc2_ = register_module("fc2", MakeLinear(config.mlp_ratio * dim, dim));
  }

  Tensor forward(const Tensor& x) {
    const Tensor y = x + Path(Drop(proj_(SelfAttention(qkv_(norm1_(x)), heads_, 0))));
    return y + Path(Drop(fc2_(Drop(::torch::gelu(fc1_(norm2_(y)))))));
  }

 private:
  Tensor Drop(const Tensor& x) const { return ::torch::dropout(x, dropout_, is_training()); }
  Tensor Path(const Tensor& x) const { return DropPath(x, drop_path_, is_training()); }

  int64_t heads_;
  double dropout_, drop_path_;
  nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  nn::Linear qkv_{nullptr}, proj_{nullptr}, fc1_{nullptr}, fc2_{nullptr};
};
class Block : public ::torch::nn::ModuleHolder<BlockImpl> {
 public:
  using ::torch::nn::ModuleHolder<BlockImpl>::ModuleHolder;
};

// Positions as strong as the patches they are added to: with the usual 0.02, and few images to
// learn from, the transformer hardly learns to use them.
constexpr double kPositionScale = 0.5;

// A vision transformer (Dosovitskiy et al., arXiv:2010.11929), pre-norm.
class VisionTransformer : public Model {
 public:
  VisionTransformer(const VitOptions& config, const std::vector<int64_t>& shape, int64_t out)
      : patch_(config.patch),
        channels_(shape[0]),
        rows_(shape[1] / patch_),
        columns_(shape[2] / patch_),
        dropout_(config.dropout) {
    const int64_t dim = config.dim;
    patch_embed_ = register_module("patch_embed", MakeLinear(channels_ * patch_ * patch_, dim));
    if (config.class_token)
      cls_token_ = register_parameter("cls_token", 0.02 * ::torch::randn({1, 1, dim}));
    const int64_t tokens = rows_ * columns_ + (config.class_token ? 1 : 0);
    pos_embed_ = register_parameter("pos_embed", kPositionScale * ::torch::randn({1, tokens, dim}));
    nn::ModuleList blocks;
    for (int64_t i = 0; i < config.depth; ++i) {
      blocks->push_back(Block(config, DropPathRate(config.drop_path, i, config.depth)));
    }
    blocks_ = register_module("blocks", blocks);
    norm_ = register_module("norm", nn::LayerNorm(nn::LayerNormOptions({dim})));
    head_ = register_module("head", MakeHead(dim, out));
  }

  Tensor forward(const Tensor& x) override {
    Tensor tokens = patch_embed_(Patches(x));
    if (cls_token_.defined()) {
      tokens = ::torch::cat({cls_token_.expand({x.size(0), -1, -1}), tokens}, 1);
    }
    tokens = ::torch::dropout(tokens + pos_embed_, dropout_, is_training());
    for (const auto& block : *blocks_) tokens = block->as<Block>()->forward(tokens);
    tokens = norm_(tokens);
    return head_(cls_token_.defined() ? tokens.select(1, 0) : tokens.mean(1));
  }

 private:
  // [batch, channels, height, width] -> [batch, patches, channels patch patch]
  Tensor Patches(const Tensor& x) const {
    return x.view({x.size(0), channels_, rows_, patch_, columns_, patch_})
        .permute({0, 2, 4, 1, 3, 5})
        .reshape({x.size(0), rows_ * columns_, channels_ * patch_ * patch_});
  }

  int64_t patch_, channels_, rows_, columns_;
  double dropout_;
  Tensor cls_token_, pos_embed_;
  nn::Linear patch_embed_{nullptr}, head_{nullptr};
  nn::ModuleList blocks_{nullptr};
  nn::LayerNorm norm_{nullptr};
};

}  // namespace

std::shared_ptr<Model> BuildVit(const ModelConfig& config, const DataShape& data) {
  CheckImages(config.name(), data.sample);
  const auto& options = ValuesOf<VitOptions>(config.options);
  CheckTransformer({.patch = options.patch,
                    .dim = options.dim,
                    .depth = options.depth,
                    .heads = options.heads,
                    .mlp_ratio = options.mlp_ratio},
                   data.sample);
  return std::make_shared<VisionTransformer>(options, data.sample, data.outputs);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
