#include "lab/models/parts/frechet.h"

#include <cmath>

namespace kudari::lab {
namespace {

using ::at::Tensor;

// A kernel of He's scale.
Tensor Kernel(int64_t in, int64_t out, const at::Generator& random) {
  constexpr int64_t kSide = 3;
  return ::torch::randn({out, in, kSide, kSide}, random) *
         std::sqrt(2.0 / static_cast<double>(in * kSide * kSide));
}

Tensor Covariance(const Tensor& x) {
  const Tensor centred = x - x.mean(0, true);
  return centred.t().mm(centred) / static_cast<double>(x.size(0) - 1);
}

// The root of a symmetric matrix without negative eigenvalues, but for rounding.
Tensor Root(const Tensor& matrix) {
  const auto [values, vectors] = at::linalg_eigh(matrix);
  return (vectors * values.clamp_min(0).sqrt()).mm(vectors.t());
}

}  // namespace

FixedFeatures::FixedFeatures(int64_t channels) {
  constexpr uint64_t kSeed = 20140610;
  const at::Generator random = at::detail::createCPUGenerator(kSeed);
  first_ = Kernel(channels, 16, random);
  second_ = Kernel(16, 32, random);
  third_ = Kernel(32, 64, random);
}

Tensor FixedFeatures::operator()(const Tensor& images) const {
  const auto layer = [](const Tensor& x, const Tensor& kernel, int64_t stride) {
    return at::leaky_relu(at::conv2d(x, kernel, {}, stride, 1), 0.2);
  };
  const Tensor x = layer(layer(layer(images, first_, 1), second_, 2), third_, 2);
  return x.mean({2, 3}).to(at::kDouble);
}

double FrechetDistance(const Tensor& a, const Tensor& b) {
  const Tensor covariance_a = Covariance(a), covariance_b = Covariance(b);
  const Tensor root = Root(covariance_a);
  // (C1 C2)^(1/2) has the trace of (C1^(1/2) C2 C1^(1/2))^(1/2), which is symmetric.
  const Tensor values = at::linalg_eigvalsh(root.mm(covariance_b).mm(root));
  const Tensor apart = (a.mean(0) - b.mean(0)).square().sum();
  return (apart + covariance_a.trace() + covariance_b.trace() -
          2 * values.clamp_min(0).sqrt().sum())
      .item<double>();
}

}  // namespace kudari::lab
