// A plain convolutional network.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <map>

#include "kudari/error.h"
#include "lab/models/models.h"
#include "lab/models/parts/layers.h"
#include "lab/models/parts/vision.h"
#endif

namespace kudari::lab {
namespace {

struct VggOptions {
  int64_t depth = 11, width = 64, hidden = 4096;
  bool plain = false, large_head = false;
  double dropout = 0.5;
};

const internal::OptionTable<VggOptions>& VggTable() {
  using O = VggOptions;
  static const internal::OptionTable<O> table = {
      {.name = "depth",
       .member = &O::depth,
       .least = 11,
       .most = 19,
       .doc = "number of layers of the published network: 11, 13, 16 or 19"},
      {.name = "width",
       .member = &O::width,
       .least = 1,
       .most = 4096,
       .doc = "number of channels in the first of five stages; the others have 2, 4, 8 and 8 times "
              "as many"},
      {.name = "norm",
       .member = internal::WordOf<&O::plain>(),
       .choices = {"batch", "none"},
       .doc = "normalisation between a convolution and its ReLU"},
      {.name = "classifier",
       .member = internal::WordOf<&O::large_head>(),
       .choices = {"small", "imagenet"},
       .doc = "one linear layer after the mean over the image, or three after pooling it to 7 x 7"},
      {.name = "hidden",
       .member = &O::hidden,
       .least = 1,
       .most = 65536,
       .doc = "width of the two hidden layers of the classifier \"imagenet\""},
      {.name = "dropout",
       .member = &O::dropout,
       .low = 0,
       .high = kBelow1,
       .doc = "probability that an activation of these is dropped in training"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeVgg() {
  return {.name = "vgg",
          .doc = "VGG-11, -13, -16 or -19, with torchvision's names",
          .options = MakeOwnOptions(VggOptions(), VggTable()),
          .traits = [](const ModelConfig& config) {
            const auto& o = ValuesOf<VggOptions>(config.options);
            return ModelTraits{.batch_norm = !o.plain, .dropout = o.large_head && o.dropout > 0};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

constexpr int64_t kLeastVggSide = 32;  // five stages halve the images
constexpr int64_t kPooledSide = 7;     // of the images that the classifier "imagenet" gets

// Numbers of convolutions of the five stages (Simonyan and Zisserman, arXiv:1409.1556, table 1: A,
// B, D and E).
using Convolutions = std::array<int64_t, 5>;
const std::map<int64_t, Convolutions>& DepthsOfVgg() {
  static const std::map<int64_t, Convolutions> depths = {
      {11, {1, 1, 2, 2, 2}}, {13, {2, 2, 2, 2, 2}}, {16, {2, 2, 3, 3, 3}}, {19, {2, 2, 4, 4, 4}}};
  return depths;
}

int64_t VggChannels(const VggOptions& config, size_t stage) {
  return config.width << std::min<size_t>(stage, 3);
}

// With torchvision's initial weights.
nn::Conv2d MakeVggConvolution(int64_t in, int64_t out) {
  nn::Conv2d layer(nn::Conv2dOptions(in, out, 3).padding(1));
  nn::init::kaiming_normal_(layer->weight, 0, ::torch::kFanOut, ::torch::kReLU);
  nn::init::zeros_(layer->bias);
  return layer;
}

nn::Linear MakeVggLinear(int64_t in, int64_t out) {
  nn::Linear layer(in, out);
  nn::init::normal_(layer->weight, 0, 0.01);
  nn::init::zeros_(layer->bias);
  return layer;
}

// As torchvision has it with the classifier "imagenet"; the small one is a linear layer.
class Vgg : public Model {
 public:
  Vgg(const VggOptions& config, const std::vector<int64_t>& shape, int64_t out) {
    const Convolutions& stages = DepthsOfVgg().at(config.depth);
    int64_t in = shape[0];
    nn::Sequential features;
    for (size_t stage = 0; stage < stages.size(); ++stage) {
      for (int64_t i = 0; i < stages[stage]; ++i) {
        const int64_t width = VggChannels(config, stage);
        features->push_back(MakeVggConvolution(in, width));
        if (!config.plain) features->push_back(nn::BatchNorm2d(width));
        features->push_back(nn::ReLU());
        in = width;
      }
      features->push_back(nn::MaxPool2d(nn::MaxPool2dOptions(2).stride(2)));
    }
    features_ = register_module("features", features);
    if (!config.large_head) {
      small_ = register_module("classifier", MakeVggLinear(in, out));
      return;
    }
    const int64_t hidden = config.hidden;
    large_ = register_module(
        "classifier",
        nn::Sequential(MakeVggLinear(in * kPooledSide * kPooledSide, hidden), nn::ReLU(),
                       nn::Dropout(config.dropout), MakeVggLinear(hidden, hidden), nn::ReLU(),
                       nn::Dropout(config.dropout), MakeVggLinear(hidden, out)));
  }

  Tensor forward(const Tensor& x) override {
    const Tensor y = features_->forward(x.contiguous(at::MemoryFormat::ChannelsLast));
    if (large_.is_empty()) return small_(y.mean({2, 3}));
    return large_->forward(at::adaptive_avg_pool2d(y, {kPooledSide, kPooledSide}).flatten(1));
  }

 private:
  nn::Sequential features_{nullptr}, large_{nullptr};  // one of both heads is absent
  nn::Linear small_{nullptr};
};

void CheckVgg(const VggOptions& config, const std::vector<int64_t>& shape, int64_t out) {
  const auto stages = DepthsOfVgg().find(config.depth);
  if (stages == DepthsOfVgg().end()) {
    throw Error(
        fmt::format("model.depth = {} is not the depth of a vgg: 11, 13, 16 or 19", config.depth));
  }
  CheckSides("vgg", kLeastVggSide, shape);
  double parameters = 0, in = static_cast<double>(shape[0]);
  for (size_t stage = 0; stage < stages->second.size(); ++stage) {
    const auto width = static_cast<double>(VggChannels(config, stage));
    const auto others = static_cast<double>(stages->second[stage] - 1);
    parameters += 9 * width * (in + others * width);
    in = width;
  }
  if (config.large_head) {
    const auto hidden = static_cast<double>(config.hidden);
    parameters += hidden * (in * kPooledSide * kPooledSide + hidden + static_cast<double>(out));
  }
  CheckParameters(parameters);
}

}  // namespace

std::shared_ptr<Model> BuildVgg(const ModelConfig& config, const DataShape& data) {
  CheckImages(config.name(), data.sample);
  const auto& options = ValuesOf<VggOptions>(config.options);
  CheckVgg(options, data.sample, data.outputs);
  return std::make_shared<Vgg>(options, data.sample, data.outputs);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
