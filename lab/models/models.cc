#include "lab/models/models.h"

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

// torch would make the running variances NaN.
void CheckBatch(bool training, const Tensor& x) {
  if (!training || x.size(0) > 1) return;
  throw Error(
      "train.batch_size leaves a batch of one sample: batch norm needs more than one value of each "
      "channel");
}

class Mlp : public Model {
 public:
  Mlp(const ModelConfig& config, int64_t in, int64_t out) : dropout_(config.dropout) {
    for (const int64_t width : config.hidden) {
      layers_.emplace_back(
          register_module(fmt::format("layer{}", layers_.size()), MakeLinear(in, width)));
      if (config.norm == "batch") {
        norms_.emplace_back(
            register_module(fmt::format("bn{}", norms_.size()), nn::BatchNorm1d(width)));
      }
      in = width;
    }
    head_ = register_module("head", MakeHead(in, out));
  }

  Tensor forward(const Tensor& x) override {
    if (!norms_.empty()) CheckBatch(is_training(), x);
    Tensor y = x.flatten(1);
    for (size_t i = 0; i < layers_.size(); ++i) {
      y = layers_[i](y);
      if (!norms_.empty()) y = norms_[i](y);
      y = ::torch::dropout(::torch::gelu(y), dropout_, is_training());
    }
    return head_(y);
  }

 private:
  double dropout_;
  std::vector<nn::Linear> layers_;
  std::vector<nn::BatchNorm1d> norms_;  // one a layer, or none
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

constexpr int64_t kLeastSide = 4;  // of the images of a residual network: two stages halve them

// A 3x3 convolution that keeps the size of the image, or halves it, with He's initial weights.
nn::Conv2d MakeConvolution(int64_t in, int64_t out, int64_t stride) {
  nn::Conv2d layer(nn::Conv2dOptions(in, out, 3).stride(stride).padding(1).bias(false));
  nn::init::kaiming_normal_(layer->weight, 0, ::torch::kFanOut, ::torch::kReLU);
  return layer;
}

// Two convolutions with batch norm beside a shortcut without parameters.
class ResidualImpl : public nn::Module {
 public:
  ResidualImpl(int64_t in, int64_t out, int64_t stride) : stride_(stride), new_channels_(out - in) {
    conv1_ = register_module("conv1", MakeConvolution(in, out, stride));
    bn1_ = register_module("bn1", nn::BatchNorm2d(out));
    conv2_ = register_module("conv2", MakeConvolution(out, out, 1));
    bn2_ = register_module("bn2", nn::BatchNorm2d(out));
  }

  Tensor forward(const Tensor& x) {
    const Tensor y = bn2_(conv2_(::torch::relu(bn1_(conv1_(x)))));
    return ::torch::relu(y + Shortcut(x));
  }

 private:
  // Every other pixel, and zeros for the channels that are new: the paper's option A.
  Tensor Shortcut(const Tensor& x) const {
    if (stride_ == 1) return x;
    const Tensor kept = x.slice(2, 0, std::nullopt, stride_).slice(3, 0, std::nullopt, stride_);
    return at::constant_pad_nd(kept, {0, 0, 0, 0, 0, new_channels_});
  }

  int64_t stride_, new_channels_;
  nn::Conv2d conv1_{nullptr}, conv2_{nullptr};
  nn::BatchNorm2d bn1_{nullptr}, bn2_{nullptr};
};
class Residual : public ::torch::nn::ModuleHolder<ResidualImpl> {
 public:
  using ::torch::nn::ModuleHolder<ResidualImpl>::ModuleHolder;
};

// The residual network for CIFAR (He et al., arXiv:1512.03385, section 4.2): three stages of n
// blocks, each stage of half the image's side and twice the channels of that before.
class ResNet : public Model {
 public:
  ResNet(const ModelConfig& config, const std::vector<int64_t>& shape, int64_t out) {
    int64_t width = config.width;
    conv1_ = register_module("conv1", MakeConvolution(shape[0], width, 1));
    bn1_ = register_module("bn1", nn::BatchNorm2d(width));
    nn::ModuleList blocks;
    for (int stage = 0; stage < 3; ++stage) {
      for (int64_t i = 0; i < config.depth / 6; ++i) {
        const bool halves = stage > 0 && i == 0;
        blocks->push_back(Residual(width, halves ? 2 * width : width, halves ? 2 : 1));
        if (halves) width *= 2;
      }
    }
    blocks_ = register_module("blocks", blocks);
    head_ = register_module("head", MakeHead(width, out));
  }

  Tensor forward(const Tensor& x) override {
    // Of such images one pixel is left in the end.
    if (x.size(2) == kLeastSide && x.size(3) == kLeastSide) CheckBatch(is_training(), x);
    // With the channels of a pixel side by side, training takes a fifth less time.
    Tensor y = x.contiguous(at::MemoryFormat::ChannelsLast);
    y = ::torch::relu(bn1_(conv1_(y)));
    for (const auto& block : *blocks_) y = block->as<Residual>()->forward(y);
    return head_(y.mean({2, 3}));
  }

 private:
  nn::Conv2d conv1_{nullptr};
  nn::BatchNorm2d bn1_{nullptr};
  nn::ModuleList blocks_{nullptr};
  nn::Linear head_{nullptr};
};

void CheckImages(const ModelConfig& config, const std::vector<int64_t>& shape) {
  if (shape.size() == 3) return;
  throw Error(fmt::format(
      "model.name = \"{}\" needs images [channels, height, width]; a sample of the data has the "
      "shape [{}]",
      config.name, fmt::join(shape, ", ")));
}

void CheckVit(const ModelConfig& config, const std::vector<int64_t>& shape) {
  if (shape[1] % config.patch != 0 || shape[2] % config.patch != 0) {
    throw Error(fmt::format("model.patch = {} does not divide the image, {} x {}", config.patch,
                            shape[1], shape[2]));
  }
  if (config.dim % config.heads != 0) {
    throw Error(
        fmt::format("model.heads = {} does not divide model.dim = {}", config.heads, config.dim));
  }
}

void CheckResNet(const ModelConfig& config, const std::vector<int64_t>& shape) {
  if (config.depth < 8 || config.depth % 6 != 2) {
    throw Error(fmt::format(
        "model.depth = {} is no depth of a resnet, which has 6 n + 2 layers: 8, 14, 20, 26, ...",
        config.depth));
  }
  if (shape[1] < kLeastSide || shape[2] < kLeastSide) {
    throw Error(
        fmt::format("model.name = \"resnet\" needs images of at least {0} x {0}, not {1} x {2}",
                    kLeastSide, shape[1], shape[2]));
  }
}

}  // namespace

int64_t Model::ParameterCount() const {
  int64_t count = 0;
  for (const Tensor& p : parameters()) count += p.numel();
  return count;
}

void Model::StoreWeights(at::ScalarType type) {
  for (const auto& module : modules()) {
    if (module->as<nn::LayerNorm>() != nullptr || module->as<nn::BatchNorm1d>() != nullptr ||
        module->as<nn::BatchNorm2d>() != nullptr) {
      continue;
    }
    for (Tensor& p : module->parameters(false)) p.set_data(p.to(type));
  }
}

std::shared_ptr<Model> MakeModel(const ModelConfig& config, const std::vector<int64_t>& shape,
                                 int64_t outputs) {
  if (config.name == "linear") return std::make_shared<LinearModel>(Product(shape), outputs);
  if (config.name == "mlp") return std::make_shared<Mlp>(config, Product(shape), outputs);
  if (config.name == "vit") {
    CheckImages(config, shape);
    CheckVit(config, shape);
    return std::make_shared<VisionTransformer>(config, shape, outputs);
  }
  if (config.name == "resnet") {
    CheckImages(config, shape);
    CheckResNet(config, shape);
    return std::make_shared<ResNet>(config, shape, outputs);
  }
  throw Error(fmt::format("model.name = \"{}\" is none of linear, mlp, vit, resnet", config.name));
}

}  // namespace kudari::lab
