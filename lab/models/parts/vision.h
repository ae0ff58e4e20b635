#ifndef KUDARI_LAB_MODELS_PARTS_VISION_H_
#define KUDARI_LAB_MODELS_PARTS_VISION_H_

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

namespace kudari::lab {

/// Drops whole samples of a residual branch, [batch, ...], in training, each with the probability
/// `rate`, and divides the others by 1 - rate (stochastic depth, Huang et al., arXiv:1603.09382).
at::Tensor DropPath(const at::Tensor& x, double rate, bool training);

/// The rate of a block: 0 for the first, `last` for the last, and linear in between, as in timm. A
/// network of one block has 0.
double DropPathRate(double last, int64_t block, int64_t blocks);

/// Attention of every token to all, of queries, keys and values side by side: [batch, tokens,
/// 3 dim] -> [batch, tokens, dim]. `dropout` is the probability that a weight is dropped.
at::Tensor SelfAttention(const at::Tensor& qkv, int64_t heads, double dropout);

/// The sizes of a vision transformer.
struct TransformerSizes {
  int64_t patch = 1, dim = 1, depth = 1, heads = 1, mlp_ratio = 1;
};

/// Throws Error unless square patches divide the image, [channels, height, width], and heads the
/// width of a token, and for more parameters than CheckParameters permits.
void CheckTransformer(const TransformerSizes& sizes, const std::vector<int64_t>& shape);

/// Throws Error if the image, [channels, height, width], has a side below `least`; `model` is the
/// name of the model that needs it.
void CheckSides(const std::string& model, int64_t least, const std::vector<int64_t>& shape);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MODELS_PARTS_VISION_H_
