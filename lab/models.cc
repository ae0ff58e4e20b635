#include "lab/models.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <numeric>
#include <string>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

int64_t Product(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

// A linear layer with Glorot's uniform weights and a bias of zero.
nn::Linear MakeLinear(int64_t in, int64_t out) {
  nn::Linear layer(in, out);
  nn::init::xavier_uniform_(layer->weight);
  nn::init::zeros_(layer->bias);
  return layer;
}

// The last layer starts near zero, so that training starts from even odds.
nn::Linear MakeHead(int64_t in, int64_t out) {
  nn::Linear layer(in, out);
  nn::init::normal_(layer->weight, 0, 0.02);
  nn::init::zeros_(layer->bias);
  return layer;
}

class LinearModel : public Model {
 public:
  LinearModel(int64_t in, int64_t out) { head_ = register_module("head", MakeHead(in, out)); }

  Tensor forward(const Tensor& x) override { return head_(x.flatten(1)); }

 private:
  nn::Linear head_{nullptr};
};

class Mlp : public Model {
 public:
  Mlp(const ModelConfig& config, int64_t in, int64_t out) : dropout_(config.dropout) {
    for (const int64_t width : config.hidden) {
      layers_.emplace_back(
          register_module(fmt::format("layer{}", layers_.size()), MakeLinear(in, width)));
      in = width;
    }
    head_ = register_module("head", MakeHead(in, out));
  }

  Tensor forward(const Tensor& x) override {
    Tensor y = x.flatten(1);
    for (nn::Linear& layer : layers_) {
      y = ::torch::dropout(::torch::gelu(layer(y)), dropout_, is_training());
    }
    return head_(y);
  }

 private:
  double dropout_;
  std::vector<nn::Linear> layers_;
  nn::Linear head_{nullptr};
};

// One pre-norm transformer block: x + attention(norm1(x)), then x + mlp(norm2(x)).
class BlockImpl : public nn::Module {
 public:
  explicit BlockImpl(const ModelConfig& config) : heads_(config.heads), dropout_(config.dropout) {
    const int64_t dim = config.dim;
    norm1_ = register_module("norm1", nn::LayerNorm(nn::LayerNormOptions({dim})));
    qkv_ = register_module("qkv", MakeLinear(dim, 3 * dim));
    proj_ = register_module("proj", MakeLinear(dim, dim));
    norm2_ = register_module("norm2", nn::LayerNorm(nn::LayerNormOptions({dim})));
    fc1_ = register_module("fc1", MakeLinear(dim, config.mlp_ratio * dim));
    fc2_ = register_module("fc2", MakeLinear(config.mlp_ratio * dim, dim));
  }

  Tensor forward(const Tensor& x) {
    const Tensor y = x + Drop(proj_(Attention(qkv_(norm1_(x)))));
    return y + Drop(fc2_(Drop(::torch::gelu(fc1_(norm2_(y))))));
  }

 private:
  // [batch, tokens, 3 dim] -> [batch, tokens, dim]
  Tensor Attention(const Tensor& qkv) const {
    const int64_t batch = qkv.size(0), tokens = qkv.size(1), dim = qkv.size(2) / 3;
    const auto parts =
        qkv.view({batch, tokens, 3, heads_, dim / heads_}).permute({2, 0, 3, 1, 4}).unbind(0);
    return at::scaled_dot_product_attention(parts[0], parts[1], parts[2])
        .transpose(1, 2)
        .reshape({batch, tokens, dim});
  }

  Tensor Drop(const Tensor& x) const { return ::torch::dropout(x, dropout_, is_training()); }

  int64_t heads_;
  double dropout_;
  nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  nn::Linear qkv_{nullptr}, proj_{nullptr}, fc1_{nullptr}, fc2_{nullptr};
};
TORCH_MODULE(Block);

// Positions as strong as the patches they are added to: with the usual 0.02, and few images to
// learn from, the transformer hardly learns to use them.
constexpr double kPositionScale = 0.5;

// A vision transformer (Dosovitskiy et al., arXiv:2010.11929), pre-norm.
class VisionTransformer : public Model {
 public:
  VisionTransformer(const ModelConfig& config, const std::vector<int64_t>& shape, int64_t out)
      : patch_(config.patch),
        channels_(shape[0]),
        rows_(shape[1] / patch_),
        columns_(shape[2] / patch_),
        dropout_(config.dropout) {
    const int64_t dim = config.dim;
    patch_embed_ = register_module("patch_embed", MakeLinear(channels_ * patch_ * patch_, dim));
    const bool class_token = config.pool == "class";
    if (class_token)
      cls_token_ = register_parameter("cls_token", 0.02 * ::torch::randn({1, 1, dim}));
    const int64_t tokens = rows_ * columns_ + (class_token ? 1 : 0);
    pos_embed_ = register_parameter("pos_embed", kPositionScale * ::torch::randn({1, tokens, dim}));
    nn::ModuleList blocks;
    for (int64_t i = 0; i < config.depth; ++i) blocks->push_back(Block(config));
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

void CheckVit(const ModelConfig& config, const std::vector<int64_t>& shape) {
  if (shape.size() != 3) {
    throw Error(fmt::format(
        "model.name = \"vit\" needs images [channels, height, width]; a sample of the data has the "
        "shape [{}]",
        fmt::join(shape, ", ")));
  }
  if (shape[1] % config.patch != 0 || shape[2] % config.patch != 0) {
    throw Error(fmt::format("model.patch = {} does not divide the image, {} x {}", config.patch,
                            shape[1], shape[2]));
  }
  if (config.dim % config.heads != 0) {
    throw Error(
        fmt::format("model.heads = {} does not divide model.dim = {}", config.heads, config.dim));
  }
}

}  // namespace

int64_t Model::ParameterCount() const {
  int64_t count = 0;
  for (const Tensor& p : parameters()) count += p.numel();
  return count;
}

void Model::StoreWeights(at::ScalarType type) {
  to(type);
  for (const auto& module : modules()) {
    if (module->as<nn::LayerNorm>() != nullptr) module->to(at::kFloat);
  }
}

std::shared_ptr<Model> MakeModel(const ModelConfig& config, const std::vector<int64_t>& shape,
                                 int64_t outputs) {
  if (config.name == "linear") return std::make_shared<LinearModel>(Product(shape), outputs);
  if (config.name == "mlp") return std::make_shared<Mlp>(config, Product(shape), outputs);
  if (config.name == "vit") {
    CheckVit(config, shape);
    return std::make_shared<VisionTransformer>(config, shape, outputs);
  }
  throw Error(fmt::format("model.name = \"{}\" is none of linear, mlp, vit", config.name));
}

}  // namespace kudari::lab
