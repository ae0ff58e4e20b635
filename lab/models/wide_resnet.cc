// A wide residual network.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <fmt/format.h>
#include <torch/torch.h>

#include "kudari/error.h"
#include "lab/models/models.h"
#include "lab/models/parts/layers.h"
#include "lab/models/parts/residual.h"
#include "lab/models/parts/vision.h"
#endif

namespace kudari::lab {
namespace {

struct WideResnetOptions {
  int64_t depth = 16, widen = 4;
  double dropout = 0;
};

const internal::OptionTable<WideResnetOptions>& WideResnetTable() {
  using O = WideResnetOptions;
  static const internal::OptionTable<O> table = {
      {.name = "depth",
       .member = &O::depth,
       .least = 1,
       .most = 2000,
       .doc = "number of layers, 6 n + 4 for three stages of n residual blocks"},
      {.name = "widen",
       .member = &O::widen,
       .least = 1,
       .most = 256,
       .doc = "width of the stages, which have 16, 32 and 64 times as many channels"},
      {.name = "dropout",
       .member = &O::dropout,
       .low = 0,
       .high = kBelow1,
       .doc = "probability that an activation between the convolutions of a block is dropped in "
              "training"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeWideResnet() {
  return {.name = "wide_resnet",
          .doc = "the wide residual network for CIFAR, with batch norm first: WRN-16-4, WRN-28-10",
          .options = MakeOwnOptions(WideResnetOptions(), WideResnetTable()),
          .traits = [](const ModelConfig& config) {
            const double dropout = ValuesOf<WideResnetOptions>(config.options).dropout;
            return ModelTraits{.batch_norm = true, .dropout = dropout > 0};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

constexpr int64_t kLeastWideSide = 4;  // two stages halve the images

// Batch norm, ReLU and convolution twice, beside a shortcut, which is a convolution of the first
// activation where the shape changes.
class WideBlockImpl : public nn::Module {
 public:
  WideBlockImpl(int64_t in, int64_t out, int64_t stride, double dropout)
      : stride_(stride), dropout_(dropout) {
    bn1_ = register_module("bn1", nn::BatchNorm2d(in));
    conv1_ = register_module("conv1", MakeConvolution(in, out, 3, stride));
    bn2_ = register_module("bn2", nn::BatchNorm2d(out));
    conv2_ = register_module("conv2", MakeConvolution(out, out, 3, 1));
    if (in != out) {
      shortcut_ = register_module("convShortcut", MakeConvolution(in, out, 1, 1));
    }
  }

  Tensor forward(const Tensor& x) {
    const Tensor first = ::torch::relu(bn1_(x));
    const Tensor second = ::torch::relu(bn2_(conv1_(first)));
    const Tensor y = conv2_(::torch::dropout(second, dropout_, is_training()));
    return y + (shortcut_.is_empty() ? x : shortcut_(EveryPixel(first, stride_)));
  }

 private:
  int64_t stride_;
  double dropout_;
  nn::BatchNorm2d bn1_{nullptr}, bn2_{nullptr};
  nn::Conv2d conv1_{nullptr}, conv2_{nullptr}, shortcut_{nullptr};
};
class WideBlock : public ::torch::nn::ModuleHolder<WideBlockImpl> {
 public:
  using ::torch::nn::ModuleHolder<WideBlockImpl>::ModuleHolder;
};

// Blocks of the same number of channels, under the name that holds them in published weights.
class WideStageImpl : public nn::Module {
 public:
  WideStageImpl(int64_t in, int64_t out, int64_t stride, int64_t blocks, double dropout) {
    nn::Sequential layer;
    for (int64_t i = 0; i < blocks; ++i) {
      layer->push_back(WideBlock(i == 0 ? in : out, out, i == 0 ? stride : 1, dropout));
    }
    layer_ = register_module("layer", layer);
  }

  Tensor forward(const Tensor& x) { return layer_->forward(x); }

 private:
  nn::Sequential layer_{nullptr};
};
class WideStage : public ::torch::nn::ModuleHolder<WideStageImpl> {
 public:
  using ::torch::nn::ModuleHolder<WideStageImpl>::ModuleHolder;
};

// A wide residual network (Zagoruyko and Komodakis, arXiv:1605.07146), named as in the weights of
// TRADES and of RobustBench.
class WideResnet : public Model {
 public:
  WideResnet(const WideResnetOptions& config, const std::vector<int64_t>& shape, int64_t out) {
    constexpr int64_t kStem = 16;
    conv1_ = register_module("conv1", MakeConvolution(shape[0], kStem, 3, 1));
    int64_t in = kStem;
    for (int64_t stage = 0; stage < 3; ++stage) {
      const int64_t width = (kStem << stage) * config.widen;
      stages_.emplace_back(register_module(
          fmt::format("block{}", stage + 1),
          WideStage(in, width, stage == 0 ? 1 : 2, (config.depth - 4) / 6, config.dropout)));
      in = width;
    }
    bn1_ = register_module("bn1", nn::BatchNorm2d(in));
    fc_ = register_module("fc", nn::Linear(in, out));
    nn::init::zeros_(fc_->bias);
  }

  Tensor forward(const Tensor& x) override {
    // Of such images one pixel is left in the end.
    if (x.size(2) == kLeastWideSide && x.size(3) == kLeastWideSide) CheckBatch(is_training(), x);
    Tensor y = conv1_(x.contiguous(at::MemoryFormat::ChannelsLast));
    for (WideStage& stage : stages_) y = stage->forward(y);
    return fc_(::torch::relu(bn1_(y)).mean({2, 3}));
  }

 private:
  nn::Conv2d conv1_{nullptr};
  std::vector<WideStage> stages_;
  nn::BatchNorm2d bn1_{nullptr};
  nn::Linear fc_{nullptr};
};

void CheckWideResnet(const WideResnetOptions& config, const std::vector<int64_t>& shape) {
  if (config.depth < 10 || config.depth % 6 != 4) {
    throw Error(
        fmt::format("model.depth = {} is not the depth of a wide_resnet, which has 6 n + 4 layers: "
                    "10, 16, 22, 28, ...",
                    config.depth));
  }
  CheckSides("wide_resnet", kLeastWideSide, shape);
  // Two 3x3 convolutions a block, of three stages.
  const int64_t blocks = (config.depth - 4) / 6;
  const double width = 16 * static_cast<double>(config.widen);
  CheckParameters(static_cast<double>(blocks) * 2 * 9 * width * width * (1 + 4 + 16));
}

}  // namespace

std::shared_ptr<Model> BuildWideResnet(const ModelConfig& config, const DataShape& data) {
  CheckImages(config.name(), data.sample);
  const auto& options = ValuesOf<WideResnetOptions>(config.options);
  CheckWideResnet(options, data.sample);
  return std::make_shared<WideResnet>(options, data.sample, data.outputs);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
