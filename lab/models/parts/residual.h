#ifndef KUDARI_LAB_MODELS_PARTS_RESIDUAL_H_
#define KUDARI_LAB_MODELS_PARTS_RESIDUAL_H_

#include <torch/torch.h>

#include <cstdint>

namespace kudari::lab {

/// A square convolution without bias that keeps the image's size, or divides it by the stride, with
/// He's normal initial weights for the number of outputs.
::torch::nn::Conv2d MakeConvolution(int64_t in, int64_t out, int64_t side, int64_t stride);

/// What a residual block has where its shape changes: every other pixel and zeros for new channels,
/// or a convolution with batch norm (options A and B of He et al., arXiv:1512.03385).
enum class Shortcut { kPad, kProject };

/// How a residual block is built.
struct ResidualOptions {
  int64_t in = 1, out = 1, stride = 1;  ///< channels, and what its side is divided by
  Shortcut shortcut = Shortcut::kProject;
  bool zero_init = false;  ///< the last batch norm starts at zero, and the block as its shortcut
  double drop_path = 0;    ///< rate of DropPath
};

/// Two 3x3 convolutions with batch norm beside a shortcut, with torchvision's names: conv1, bn1,
/// conv2, bn2, downsample.
class BasicBlockImpl : public ::torch::nn::Module {
 public:
  explicit BasicBlockImpl(const ResidualOptions& options);
  at::Tensor forward(const at::Tensor& x);

 private:
  ResidualOptions options_;
  ::torch::nn::Conv2d conv1_{nullptr}, conv2_{nullptr};
  ::torch::nn::BatchNorm2d bn1_{nullptr}, bn2_{nullptr};
  ::torch::nn::Sequential downsample_{nullptr};
};
/// The holder of a BasicBlockImpl.
class BasicBlock : public ::torch::nn::ModuleHolder<BasicBlockImpl> {
 public:
  using ::torch::nn::ModuleHolder<BasicBlockImpl>::ModuleHolder;
};

/// A 1x1, a 3x3 and a 1x1 convolution with batch norm beside a shortcut; the inner ones have a
/// quarter of the output channels, and the 3x3 one has the stride, as in torchvision, whose names
/// it has: conv1 to conv3, bn1 to bn3, downsample.
class BottleneckImpl : public ::torch::nn::Module {
 public:
  explicit BottleneckImpl(const ResidualOptions& options);
  at::Tensor forward(const at::Tensor& x);

 private:
  ResidualOptions options_;
  ::torch::nn::Conv2d conv1_{nullptr}, conv2_{nullptr}, conv3_{nullptr};
  ::torch::nn::BatchNorm2d bn1_{nullptr}, bn2_{nullptr}, bn3_{nullptr};
  ::torch::nn::Sequential downsample_{nullptr};
};
/// The holder of a BottleneckImpl.
class Bottleneck : public ::torch::nn::ModuleHolder<BottleneckImpl> {
 public:
  using ::torch::nn::ModuleHolder<BottleneckImpl>::ModuleHolder;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MODELS_PARTS_RESIDUAL_H_
