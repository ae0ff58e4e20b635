#include "lab/models/parts/token_layers.h"

#include <fmt/format.h>

#include <memory>

#include "kudari/error.h"

namespace kudari::lab {

namespace nn = ::torch::nn;
using ::at::Tensor;

nn::Module& FolderAt(nn::Module& root, const std::string& path) {
  const size_t dot = path.find('.');
  const std::string name = path.substr(0, dot);
  const auto children = root.named_children();
  const std::shared_ptr<nn::Module>* const found = children.find(name);
  nn::Module& child =
      found != nullptr ? **found : *root.register_module(name, std::make_shared<nn::Module>());
  return dot == std::string::npos ? child : FolderAt(child, path.substr(dot + 1));
}

Tensor SplitHeads(const Tensor& x, int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

Tensor Attend(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionLimits& limits) {
  const auto mask = limits.mask.defined() ? std::optional(limits.mask) : std::nullopt;
  const bool shared = k.size(1) != q.size(1);
  return at::scaled_dot_product_attention(q, k, v, mask, limits.dropout, limits.causal,
                                          /*scale=*/std::nullopt, shared)
      .transpose(1, 2)
      .flatten(2);
}

void DrawWeights(nn::Module& root, double deviation) {
  for (auto& item : root.named_parameters()) {
    if (item.value().dim() > 1) {
      nn::init::normal_(item.value(), 0, deviation);
    } else if (item.key().ends_with("bias")) {
      nn::init::zeros_(item.value());
    }
  }
}

void CheckHeads(int64_t heads, int64_t dim) {
  if (dim % heads == 0) return;
  throw Error(fmt::format("model.heads = {} does not divide model.dim = {}", heads, dim));
}

int64_t Positions(int64_t positions, int64_t context) {
  if (positions == 0) return context;
  if (positions >= context) return positions;
  throw Error(
      fmt::format("model.positions = {} is less than data.context = {}: each token of a "
                  "sample needs a position",
                  positions, context));
}

}  // namespace kudari::lab
