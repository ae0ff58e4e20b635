#ifndef KUDARI_LAB_MODELS_PARTS_TOKEN_LAYERS_H_
#define KUDARI_LAB_MODELS_PARTS_TOKEN_LAYERS_H_

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <utility>

namespace kudari::lab {

/// The module at a path of names such as "encoder.layer" below `root`; empty ones are registered
/// where none is.
::torch::nn::Module& FolderAt(::torch::nn::Module& root, const std::string& path);

/// Registers a module below `root` at a path of names such as "attn.c_proj", so that its weights
/// have published names where the code has no classes for all their parts. Returns the module.
template <class M>
M RegisterAt(::torch::nn::Module& root, const std::string& path, M module) {
  const size_t dot = path.rfind('.');
  if (dot == std::string::npos) return root.register_module(path, std::move(module));
  return FolderAt(root, path.substr(0, dot))
      .register_module(path.substr(dot + 1), std::move(module));
}

/// [batch, tokens, heads * width] as [batch, heads, tokens, width].
at::Tensor SplitHeads(const at::Tensor& x, int64_t heads);

/// What attention keeps from what.
struct AttentionLimits {
  bool causal = false;   ///< no token attends to later ones
  at::Tensor mask = {};  ///< true where a key may be attended to, [batch, 1, 1, tokens]; or none
  double dropout = 0;    ///< probability that a weight of the attention is dropped
};

/// Attention of queries, keys and values as SplitHeads gives them, with their heads side by side
/// again: [batch, tokens, heads * width]. Queries may have more heads than keys and values, which
/// are then shared by as many of them.
at::Tensor Attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const AttentionLimits& limits);

/// Draws all weights of `root` but vectors from a normal distribution about 0, and sets biases to
/// 0, as GPT-2 and BERT start with a deviation of 0.02.
void DrawWeights(::torch::nn::Module& root, double deviation);

/// Throws Error naming model.heads unless it divides model.dim.
void CheckHeads(int64_t heads, int64_t dim);

/// The rows of a table of positions: `positions`, or as many as a sample has tokens if it is 0.
/// Throws Error naming model.positions if that is fewer.
int64_t Positions(int64_t positions, int64_t context);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MODELS_PARTS_TOKEN_LAYERS_H_
