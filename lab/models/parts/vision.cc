#include "lab/models/parts/vision.h"

#include <fmt/format.h>

#include <algorithm>

#include "kudari/error.h"
#include "lab/models/parts/layers.h"

namespace kudari::lab {

using ::at::Tensor;

Tensor DropPath(const Tensor& x, double rate, bool training) {
  if (!training || rate == 0) return x;
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[0] = x.size(0);
  return x * (::torch::empty(shape, x.options()).bernoulli_(1 - rate) / (1 - rate));
}

double DropPathRate(double last, int64_t block, int64_t blocks) {
  return last * static_cast<double>(block) / static_cast<double>(std::max<int64_t>(blocks - 1, 1));
}

Tensor SelfAttention(const Tensor& qkv, int64_t heads, double dropout) {
  const int64_t batch = qkv.size(0), tokens = qkv.size(1), dim = qkv.size(2) / 3;
  const auto parts =
      qkv.view({batch, tokens, 3, heads, dim / heads}).permute({2, 0, 3, 1, 4}).unbind(0);
  return at::scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, dropout)
      .transpose(1, 2)
      .reshape({batch, tokens, dim});
}

void CheckTransformer(const TransformerSizes& sizes, const std::vector<int64_t>& shape) {
  if (shape[1] % sizes.patch != 0 || shape[2] % sizes.patch != 0) {
    throw Error(fmt::format("model.patch = {} does not divide the image, {} x {}", sizes.patch,
                            shape[1], shape[2]));
  }
  if (sizes.dim % sizes.heads != 0) {
    throw Error(
        fmt::format("model.heads = {} does not divide model.dim = {}", sizes.heads, sizes.dim));
  }
  const auto dim = static_cast<double>(sizes.dim);
  CheckParameters(static_cast<double>(sizes.depth) * dim * dim *
                      static_cast<double>(4 + 2 * sizes.mlp_ratio) +
                  dim * static_cast<double>(Product(shape)));
}

void CheckSides(const std::string& model, int64_t least, const std::vector<int64_t>& shape) {
  if (shape[1] >= least && shape[2] >= least) return;
  throw Error(fmt::format("model.name = \"{0}\" needs images of at least {1} x {1}, not {2} x {3}",
                          model, least, shape[1], shape[2]));
}

}  // namespace kudari::lab
