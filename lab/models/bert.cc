// BERT with a classifier, with the names of Hugging Face's BertForSequenceClassification.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <fmt/format.h>
#include <torch/torch.h>

#include "lab/models/models.h"
#include "lab/models/parts/layers.h"
#include "lab/models/parts/token_layers.h"
#endif

namespace kudari::lab {
namespace {

struct BertOptions {
  int64_t layers = 12, heads = 12, dim = 768, mlp_ratio = 4, positions = 0;
  double dropout = 0.1;
};

const internal::OptionTable<BertOptions>& BertTable() {
  using O = BertOptions;
  static const internal::OptionTable<O> table = {
      {.name = "layers",
       .member = &O::layers,
       .least = 1,
       .most = 1000,
       .doc = "number of transformer blocks"},
      {.name = "heads",
       .member = &O::heads,
       .least = 1,
       .most = 1024,
       .doc = "number of attention heads per block; must divide dim"},
      {.name = "dim", .member = &O::dim, .least = 1, .most = 65536, .doc = "width of a token"},
      {.name = "mlp_ratio",
       .member = &O::mlp_ratio,
       .least = 1,
       .most = 64,
       .doc = "hidden width of a block's MLP, in units of dim"},
      {.name = "positions",
       .member = &O::positions,
       .least = 0,
       .most = 1 << 20,
       .doc = "number of positions that have an embedding, 512 in published weights; 0: as many "
              "as a sample has tokens"},
      {.name = "dropout",
       .member = &O::dropout,
       .low = 0,
       .high = kBelow1,
       .doc = "probability that an embedding, a weight of the attention, an output of a layer or "
              "an input of the classifier is dropped in training"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeBert() {
  return {.name = "bert",
          .doc =
              "BERT with a classifier of the first token, by default the base model; token 0 is "
              "padding, which no token attends to, and what follows the data's first separator is "
              "the second segment",
          .options = MakeOwnOptions(BertOptions(), BertTable()),
          .traits = [](const ModelConfig& config) {
            return ModelTraits{.dropout = ValuesOf<BertOptions>(config.options).dropout > 0,
                               .tokens = true};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

constexpr int64_t kPadding = 0;

nn::LayerNorm BertNorm(int64_t dim) {
  return nn::LayerNorm(nn::LayerNormOptions({dim}).eps(1e-12));
}

// norm(x + attention(x)), then norm(x + mlp(x)).
class BertBlock : public nn::Module {
 public:
  explicit BertBlock(const BertOptions& config) : heads_(config.heads), dropout_(config.dropout) {
    const int64_t dim = config.dim, hidden = config.mlp_ratio * dim;
    query_ = RegisterAt(*this, "attention.self.query", nn::Linear(dim, dim));
    key_ = RegisterAt(*this, "attention.self.key", nn::Linear(dim, dim));
    value_ = RegisterAt(*this, "attention.self.value", nn::Linear(dim, dim));
    attended_ = RegisterAt(*this, "attention.output.dense", nn::Linear(dim, dim));
    attended_norm_ = RegisterAt(*this, "attention.output.LayerNorm", BertNorm(dim));
    intermediate_ = RegisterAt(*this, "intermediate.dense", nn::Linear(dim, hidden));
    output_ = RegisterAt(*this, "output.dense", nn::Linear(hidden, dim));
    output_norm_ = RegisterAt(*this, "output.LayerNorm", BertNorm(dim));
  }

  // `mask` is true for keys that are not padding.
  Tensor forward(const Tensor& x, const Tensor& mask) {
    const Tensor attended = Attend(SplitHeads(query_(x), heads_), SplitHeads(key_(x), heads_),
                                   SplitHeads(value_(x), heads_),
                                   {.mask = mask, .dropout = is_training() ? dropout_ : 0});
    const Tensor y = attended_norm_(x + Drop(attended_(attended)));
    return output_norm_(y + Drop(output_(at::gelu(intermediate_(y)))));
  }

 private:
  Tensor Drop(const Tensor& x) const { return ::torch::dropout(x, dropout_, is_training()); }

  int64_t heads_;
  double dropout_;
  nn::Linear query_{nullptr}, key_{nullptr}, value_{nullptr}, attended_{nullptr};
  nn::LayerNorm attended_norm_{nullptr};
  nn::Linear intermediate_{nullptr}, output_{nullptr};
  nn::LayerNorm output_norm_{nullptr};
};

// BERT (Devlin et al., arXiv:1810.04805). Tokens after the first separator are of the second
// segment; without separators all are of the first.
class Bert : public Model {
 public:
  Bert(const BertOptions& config, int64_t positions, const DataShape& data)
      : dropout_(config.dropout), separator_(data.separator) {
    const int64_t dim = config.dim;
    const std::string embeddings = "bert.embeddings.";
    words_ =
        RegisterAt(*this, embeddings + "word_embeddings",
                   nn::Embedding(nn::EmbeddingOptions(data.vocabulary, dim).padding_idx(kPadding)));
    positions_ =
        RegisterAt(*this, embeddings + "position_embeddings", nn::Embedding(positions, dim));
    segments_ = RegisterAt(*this, embeddings + "token_type_embeddings", nn::Embedding(2, dim));
    norm_ = RegisterAt(*this, embeddings + "LayerNorm", BertNorm(dim));
    for (int64_t i = 0; i < config.layers; ++i) {
      blocks_.push_back(RegisterAt(*this, fmt::format("bert.encoder.layer.{}", i),
                                   std::make_shared<BertBlock>(config)));
    }
    pooler_ = RegisterAt(*this, "bert.pooler.dense", nn::Linear(dim, dim));
    classifier_ = register_module("classifier", nn::Linear(dim, data.outputs));
    DrawWeights(*this, 0.02);
    const ::torch::NoGradGuard no_grad;
    words_->weight[kPadding].zero_();
  }

  Tensor forward(const Tensor& x) override {
    const Tensor mask = x.ne(kPadding).view({x.size(0), 1, 1, x.size(1)});
    Tensor y = words_(x) + Segments(x) + positions_->weight.narrow(0, 0, x.size(1));
    y = Drop(norm_(y));
    for (const auto& block : blocks_) y = block->forward(y, mask);
    return classifier_(Drop(at::tanh(pooler_(y.select(1, 0)))));
  }

  // Published files have the heads of pre-training, and some the norms' names in TensorFlow.
  WeightNames Names() const override {
    return {.prefix = "bert.",
            .endings = {{".gamma", ".weight"}, {".beta", ".bias"}},
            .surplus = {"cls.*", "*embeddings.position_ids"}};
  }

 private:
  Tensor Drop(const Tensor& x) const { return ::torch::dropout(x, dropout_, is_training()); }
  Tensor Segments(const Tensor& x) {
    if (separator_ == 0) return segments_->weight[0];
    const Tensor ends = x.eq(separator_).to(at::kLong);
    return segments_((ends.cumsum(1) - ends).clamp_max(1));
  }

  double dropout_;
  int64_t separator_;
  nn::Embedding words_{nullptr}, positions_{nullptr}, segments_{nullptr};
  nn::LayerNorm norm_{nullptr};
  std::vector<std::shared_ptr<BertBlock>> blocks_;
  nn::Linear pooler_{nullptr}, classifier_{nullptr};
};

void CheckBert(const BertOptions& config, int64_t positions, const DataShape& data) {
  CheckHeads(config.heads, config.dim);
  const auto dim = static_cast<double>(config.dim);
  const auto hidden = static_cast<double>(config.mlp_ratio) * dim;
  CheckParameters(static_cast<double>(config.layers) * (dim * (4 * dim + 2 * hidden + 9) + hidden) +
                  dim * (static_cast<double>(data.vocabulary + positions) + dim + 5) +
                  static_cast<double>(data.outputs) * (dim + 1));
}

}  // namespace

std::shared_ptr<Model> BuildBert(const ModelConfig& config, const DataShape& data) {
  const auto& options = ValuesOf<BertOptions>(config.options);
  const int64_t positions = Positions(options.positions, data.sample.at(0));
  CheckBert(options, positions, data);
  return std::make_shared<Bert>(options, positions, data);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
