// The residual networks for ImageNet.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <fmt/format.h>
#include <torch/torch.h>

#include <array>
#include <map>
#include <numeric>

#include "kudari/error.h"
#include "lab/models/models.h"
#include "lab/models/parts/layers.h"
#include "lab/models/parts/residual.h"
#include "lab/models/parts/vision.h"
#endif

namespace kudari::lab {
namespace {

struct ImagenetResnetOptions {
  int64_t depth = 18, width = 64;
  bool small_stem = false, zero_init = false;
  double drop_path = 0;
};

const internal::OptionTable<ImagenetResnetOptions>& ImagenetResnetTable() {
  using O = ImagenetResnetOptions;
  static const internal::OptionTable<O> table = {
      {.name = "depth",
       .member = &O::depth,
       .least = 18,
       .most = 152,
       .doc =
           "number of layers: 18 or 34 with two convolutions a block, 50, 101 or 152 with three"},
      {.name = "width",
       .member = &O::width,
       .least = 1,
       .most = 4096,
       .doc = "number of channels of the stem; each of the four stages has twice as many as that "
              "before"},
      {.name = "stem",
       .member = internal::WordOf<&O::small_stem>(),
       .choices = {"imagenet", "small"},
       .doc =
           "first layers: a 7x7 convolution of stride 2 and pooling, or, for small images, a 3x3 "
           "convolution of stride 1"},
      {.name = "zero_init",
       .member = &O::zero_init,
       .doc = "each block starts as its shortcut, because its last batch norm starts at zero"},
      {.name = "drop_path",
       .member = &O::drop_path,
       .low = 0,
       .high = kBelow1,
       .doc = "probability that a sample skips the last block in training; earlier blocks have "
              "less, in proportion"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeImagenetResnet() {
  return {.name = "imagenet_resnet",
          .doc = "ResNet-18, -34, -50, -101 or -152, with torchvision's names",
          .options = MakeOwnOptions(ImagenetResnetOptions(), ImagenetResnetTable()),
          .traits = [](const ModelConfig& config) {
            const double drop_path = ValuesOf<ImagenetResnetOptions>(config.options).drop_path;
            return ModelTraits{.batch_norm = true, .dropout = drop_path > 0};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

// Numbers of blocks of the four stages (He et al., arXiv:1512.03385, table 1).
using StageSizes = std::array<int64_t, 4>;
const std::map<int64_t, StageSizes>& DepthsOfResnets() {
  static const std::map<int64_t, StageSizes> depths = {{18, {2, 2, 2, 2}},
                                                       {34, {3, 4, 6, 3}},
                                                       {50, {3, 4, 6, 3}},
                                                       {101, {3, 4, 23, 3}},
                                                       {152, {3, 8, 36, 3}}};
  return depths;
}

bool HasBottlenecks(int64_t depth) { return depth >= 50; }

// As torchvision has it: in blocks of three convolutions the second has the stride.
class ImagenetResnet : public Model {
 public:
  ImagenetResnet(const ImagenetResnetOptions& config, const std::vector<int64_t>& shape,
                 int64_t out)
      : small_stem_(config.small_stem) {
    nn::Conv2d stem = small_stem_ ? MakeConvolution(shape[0], config.width, 3, 1)
                                  : MakeConvolution(shape[0], config.width, 7, 2);
    conv1_ = register_module("conv1", stem);
    bn1_ = register_module("bn1", nn::BatchNorm2d(config.width));
    const StageSizes& sizes = DepthsOfResnets().at(config.depth);
    const int64_t blocks = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
    const bool bottleneck = HasBottlenecks(config.depth);
    ResidualOptions block{.in = config.width, .zero_init = config.zero_init};
    int64_t index = 0;
    for (size_t stage = 0; stage < sizes.size(); ++stage) {
      block.out = (config.width << stage) * (bottleneck ? 4 : 1);
      nn::Sequential layer;
      for (int64_t i = 0; i < sizes[stage]; ++i) {
        block.stride = stage > 0 && i == 0 ? 2 : 1;
        block.drop_path = DropPathRate(config.drop_path, index++, blocks);
        if (bottleneck) {
          layer->push_back(Bottleneck(block));
        } else {
          layer->push_back(BasicBlock(block));
        }
        block.in = block.out;
      }
      layers_.emplace_back(register_module(fmt::format("layer{}", stage + 1), layer));
    }
    fc_ = register_module("fc", nn::Linear(block.out, out));
  }

  Tensor forward(const Tensor& x) override {
    // Of such images one pixel is left in the end.
    const int64_t side = small_stem_ ? 8 : 32;
    if (x.size(2) <= side && x.size(3) <= side) CheckBatch(is_training(), x);
    Tensor y = x.contiguous(at::MemoryFormat::ChannelsLast);
    y = ::torch::relu(bn1_(conv1_(y)));
    if (!small_stem_) y = ::torch::max_pool2d(y, 3, 2, 1);
    for (nn::Sequential& layer : layers_) y = layer->forward(y);
    return fc_(y.mean({2, 3}));
  }

 private:
  bool small_stem_;
  nn::Conv2d conv1_{nullptr};
  nn::BatchNorm2d bn1_{nullptr};
  std::vector<nn::Sequential> layers_;
  nn::Linear fc_{nullptr};
};

void CheckImagenetResnet(const ImagenetResnetOptions& config) {
  const auto sizes = DepthsOfResnets().find(config.depth);
  if (sizes == DepthsOfResnets().end()) {
    throw Error(
        fmt::format("model.depth = {} is not the depth of an imagenet_resnet: 18, 34, 50, 101 or "
                    "152",
                    config.depth));
  }
  // Of a block of the first stage, two 3x3 convolutions, or one and two 1x1 ones with four times
  // the channels on one side; each stage has four times as many weights a block as that before.
  const double block = HasBottlenecks(config.depth) ? 9 + 2 * 4 : 2 * 9;
  const auto width = static_cast<double>(config.width);
  double blocks = 0, scale = 1;
  for (const int64_t size : sizes->second) {
    blocks += static_cast<double>(size) * scale;
    scale *= 4;
  }
  CheckParameters(blocks * block * width * width);
}

}  // namespace

std::shared_ptr<Model> BuildImagenetResnet(const ModelConfig& config, const DataShape& data) {
  CheckImages(config.name(), data.sample);
  const auto& options = ValuesOf<ImagenetResnetOptions>(config.options);
  CheckImagenetResnet(options);
  return std::make_shared<ImagenetResnet>(options, data.sample, data.outputs);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
