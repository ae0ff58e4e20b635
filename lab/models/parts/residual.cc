#include "lab/models/parts/residual.h"

#include <optional>

#include "lab/models/parts/vision.h"

namespace kudari::lab {

namespace nn = ::torch::nn;
using ::at::Tensor;

namespace {

// The projection where the shape changes; nothing elsewhere, or if new channels are padded.
nn::Sequential MakeProjection(const ResidualOptions& options) {
  const bool changes = options.stride != 1 || options.in != options.out;
  if (!changes || options.shortcut == Shortcut::kPad) return nullptr;
  return nn::Sequential(MakeConvolution(options.in, options.out, 1, 1),
                        nn::BatchNorm2d(options.out));
}

Tensor ShortcutOf(const ResidualOptions& options, nn::Sequential& downsample, const Tensor& x) {
  Tensor kept = EveryPixel(x, options.stride);
  if (!downsample.is_empty()) return downsample->forward(kept);
  if (options.in == options.out) return kept;
  return at::constant_pad_nd(kept, {0, 0, 0, 0, 0, options.out - options.in});
}

}  // namespace

nn::Conv2d MakeConvolution(int64_t in, int64_t out, int64_t side, int64_t stride) {
  nn::Conv2d layer(nn::Conv2dOptions(in, out, side).stride(stride).padding(side / 2).bias(false));
  nn::init::kaiming_normal_(layer->weight, 0, ::torch::kFanOut, ::torch::kReLU);
  return layer;
}

Tensor EveryPixel(const Tensor& x, int64_t stride) {
  if (stride == 1) return x;
  return x.slice(2, 0, std::nullopt, stride).slice(3, 0, std::nullopt, stride);
}

BasicBlockImpl::BasicBlockImpl(const ResidualOptions& options) : options_(options) {
  const int64_t out = options.out;
  conv1_ = register_module("conv1", MakeConvolution(options.in, out, 3, options.stride));
  bn1_ = register_module("bn1", nn::BatchNorm2d(out));
  conv2_ = register_module("conv2", MakeConvolution(out, out, 3, 1));
  bn2_ = register_module("bn2", nn::BatchNorm2d(out));
  if (options.zero_init) nn::init::zeros_(bn2_->weight);
  downsample_ = MakeProjection(options);
  if (!downsample_.is_empty()) register_module("downsample", downsample_);
}

Tensor BasicBlockImpl::forward(const Tensor& x) {
  const Tensor y = bn2_(conv2_(::torch::relu(bn1_(conv1_(x)))));
  return ::torch::relu(DropPath(y, options_.drop_path, is_training()) +
                       ShortcutOf(options_, downsample_, x));
}

BottleneckImpl::BottleneckImpl(const ResidualOptions& options) : options_(options) {
  const int64_t inner = options.out / 4;
  conv1_ = register_module("conv1", MakeConvolution(options.in, inner, 1, 1));
  bn1_ = register_module("bn1", nn::BatchNorm2d(inner));
  conv2_ = register_module("conv2", MakeConvolution(inner, inner, 3, options.stride));
  bn2_ = register_module("bn2", nn::BatchNorm2d(inner));
  conv3_ = register_module("conv3", MakeConvolution(inner, options.out, 1, 1));
  bn3_ = register_module("bn3", nn::BatchNorm2d(options.out));
  if (options.zero_init) nn::init::zeros_(bn3_->weight);
  downsample_ = MakeProjection(options);
  if (!downsample_.is_empty()) register_module("downsample", downsample_);
}

Tensor BottleneckImpl::forward(const Tensor& x) {
  Tensor y = ::torch::relu(bn1_(conv1_(x)));
  y = bn3_(conv3_(::torch::relu(bn2_(conv2_(y)))));
  return ::torch::relu(DropPath(y, options_.drop_path, is_training()) +
                       ShortcutOf(options_, downsample_, x));
}

}  // namespace kudari::lab
