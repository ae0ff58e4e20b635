// A residual network.
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

struct ResnetOptions {
  int64_t depth = 8, width = 16;
  bool project = false, zero_init = false;
  double drop_path = 0;
};

const internal::OptionTable<ResnetOptions>& ResnetTable() {
  using O = ResnetOptions;
  static const internal::OptionTable<O> table = {
      {.name = "depth",
       .member = &O::depth,
       .least = 1,
       .most = 2000,
       .doc = "number of layers, 6 n + 2 for three stages of n residual blocks"},
      {.name = "width",
       .member = &O::width,
       .least = 1,
       .most = 4096,
       .doc = "number of channels in the first stage; the second and third have two and four times "
              "as many"},
      {.name = "shortcut",
       .member = internal::WordOf<&O::project>(),
       .choices = {"pad", "project"},
       .doc = "what a block has beside it where the image is halved: every other pixel with zeros "
              "for new channels, or a 1x1 convolution with batch norm"},
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

ModelEntry DescribeResnet() {
  return {.name = "resnet",
          .doc = "the residual network for CIFAR, with batch norm",
          .options = MakeOwnOptions(ResnetOptions(), ResnetTable()),
          .traits = [](const ModelConfig& config) {
            const double drop_path = ValuesOf<ResnetOptions>(config.options).drop_path;
            return ModelTraits{.batch_norm = true, .dropout = drop_path > 0};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

constexpr int64_t kLeastSide = 4;  // of the images of a residual network: two stages halve them

// The residual network for CIFAR (He et al., arXiv:1512.03385, section 4.2): three stages of n
// blocks, each stage of half the image's side and twice the channels of that before.
class ResNet : public Model {
 public:
  ResNet(const ResnetOptions& config, const std::vector<int64_t>& shape, int64_t out) {
    int64_t width = config.width;
    conv1_ = register_module("conv1", MakeConvolution(shape[0], width, 3, 1));
    bn1_ = register_module("bn1", nn::BatchNorm2d(width));
    nn::ModuleList blocks;
    for (int stage = 0; stage < 3; ++stage) {
      for (int64_t i = 0; i < config.depth / 6; ++i) {
        const bool halves = stage > 0 && i == 0;
        blocks->push_back(BasicBlock(ResidualOptions{
            .in = width,
            .out = halves ? 2 * width : width,
            .stride = halves ? 2 : 1,
            .shortcut = config.project ? Shortcut::kProject : Shortcut::kPad,
            .zero_init = config.zero_init,
            .drop_path = DropPathRate(config.drop_path, static_cast<int64_t>(blocks->size()),
                                      config.depth / 2 - 1)}));
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
    for (const auto& block : *blocks_) y = block->as<BasicBlock>()->forward(y);
    return head_(y.mean({2, 3}));
  }

 private:
  nn::Conv2d conv1_{nullptr};
  nn::BatchNorm2d bn1_{nullptr};
  nn::ModuleList blocks_{nullptr};
  nn::Linear head_{nullptr};
};

void CheckResNet(const ResnetOptions& config, const std::vector<int64_t>& shape) {
  if (config.depth < 8 || config.depth % 6 != 2) {
    throw Error(
        fmt::format("model.depth = {} is not the depth of a resnet, which has 6 n + 2 layers: 8, "
                    "14, 20, 26, ...",
                    config.depth));
  }
  CheckSides("resnet", kLeastSide, shape);
  // Two convolutions a block, of three stages with width, 2 width and 4 width channels.
  const int64_t blocks = config.depth / 6;
  const auto width = static_cast<double>(config.width);
  CheckParameters(static_cast<double>(blocks) * 2 * 9 * width * width * (1 + 4 + 16));
}

}  // namespace

std::shared_ptr<Model> BuildResnet(const ModelConfig& config, const DataShape& data) {
  CheckImages(config.name(), data.sample);
  const auto& options = ValuesOf<ResnetOptions>(config.options);
  CheckResNet(options, data.sample);
  return std::make_shared<ResNet>(options, data.sample, data.outputs);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
