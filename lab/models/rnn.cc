// A recurrent language model, as torch's example word_language_model.
#include "lab/recipe/own_options.h"

#ifdef KUDARI_LAB_TORCH
#include <ATen/autocast_mode.h>
#include <fmt/format.h>
#include <torch/torch.h>

#include <optional>
#include <tuple>
#include <variant>

#include "kudari/error.h"
#include "lab/models/models.h"
#include "lab/models/parts/layers.h"
#include "lab/models/parts/token_layers.h"
#endif

namespace kudari::lab {
namespace {

struct RnnOptions {
  std::string cell = "lstm";
  int64_t layers = 2, dim = 200, embedding = 0;
  double dropout = 0.2;
  bool tied = false, relu = false;
};

const internal::OptionTable<RnnOptions>& RnnTable() {
  using O = RnnOptions;
  static const internal::OptionTable<O> table = {
      {.name = "cell",
       .member = &O::cell,
       .choices = {"lstm", "gru", "rnn"},
       .doc = "long short-term memory, gated recurrent unit, or a plain layer (Elman)"},
      {.name = "layers",
       .member = &O::layers,
       .least = 1,
       .most = 1000,
       .doc = "number of recurrent layers"},
      {.name = "dim",
       .member = &O::dim,
       .least = 1,
       .most = 65536,
       .doc = "width of the hidden state"},
      {.name = "embedding",
       .member = &O::embedding,
       .least = 0,
       .most = 65536,
       .doc = "width of a token's embedding; 0: dim"},
      {.name = "dropout",
       .member = &O::dropout,
       .low = 0,
       .high = kBelow1,
       .doc = "probability that an embedding, or an output of a layer, is dropped in training"},
      {.name = "tied",
       .member = &O::tied,
       .doc = "the head has the weights of the embeddings, which must be as wide as dim"},
      {.name = "nonlinearity",
       .member = internal::WordOf<&O::relu>(),
       .choices = {"tanh", "relu"},
       .doc = "of a plain layer; cells with gates have tanh"},
  };
  return table;
}

}  // namespace

ModelEntry DescribeRnn() {
  return {.name = "rnn",
          .doc =
              "recurrent language model: embeddings, LSTM, GRU or plain layers, and a head; the "
              "state is 0 before each sample",
          .options = MakeOwnOptions(RnnOptions(), RnnTable()),
          .traits = [](const ModelConfig& config) {
            return ModelTraits{.dropout = ValuesOf<RnnOptions>(config.options).dropout > 0,
                               .tokens = true,
                               .next_token = true};
          }};
}

#ifdef KUDARI_LAB_TORCH
namespace {

namespace nn = ::torch::nn;
using ::at::Tensor;

using Recurrent = std::variant<nn::LSTM, nn::GRU, nn::RNN>;

Recurrent MakeRecurrent(const RnnOptions& config, int64_t in) {
  // Between layers only; torch warns if there is one.
  const double dropout = config.layers > 1 ? config.dropout : 0;
  const auto with = [&](auto options) {
    return options.num_layers(config.layers).batch_first(true).dropout(dropout);
  };
  if (config.cell == "lstm") return nn::LSTM(with(nn::LSTMOptions(in, config.dim)));
  if (config.cell == "gru") return nn::GRU(with(nn::GRUOptions(in, config.dim)));
  nn::RNNOptions options(in, config.dim);
  if (config.relu) options.nonlinearity(::torch::kReLU);
  return nn::RNN(with(options));
}

// Torch lends LSTMs in bfloat16 to oneDNN, which on some processors with instructions for it, such
// as Zen 4's, refuses sizes that torch itself can compute (torch 2.13).
class WithoutOneDnn {
 public:
  WithoutOneDnn() { at::globalContext().setUserEnabledMkldnn(false); }
  ~WithoutOneDnn() { at::globalContext().setUserEnabledMkldnn(before_); }
  WithoutOneDnn(const WithoutOneDnn&) = delete;
  WithoutOneDnn& operator=(const WithoutOneDnn&) = delete;

 private:
  bool before_ = at::globalContext().userEnabledMkldnn();
};

class RnnLanguageModel : public Model {
 public:
  RnnLanguageModel(const RnnOptions& config, int64_t embedding, int64_t vocabulary)
      : dropout_(config.dropout),
        encoder_(register_module("encoder", nn::Embedding(vocabulary, embedding))),
        rnn_(MakeRecurrent(config, embedding)) {
    constexpr double kBound = 0.1;
    nn::init::uniform_(encoder_->weight, -kBound, kBound);
    std::visit([this](const auto& rnn) { register_module("rnn", rnn); }, rnn_);
    nn::Module& decoder = FolderAt(*this, "decoder");
    head_ = encoder_->weight;
    if (!config.tied) {
      head_ = decoder.register_parameter("weight", ::torch::empty({vocabulary, config.dim}));
      nn::init::uniform_(head_, -kBound, kBound);
    }
    head_bias_ = decoder.register_parameter("bias", ::torch::zeros(vocabulary));
  }

  Tensor forward(const Tensor& x) override {
    const Tensor y = Drop(encoder_(x));
    std::optional<WithoutOneDnn> without;
    if (y.scalar_type() != at::kFloat || at::autocast::is_autocast_enabled(at::kCPU)) {
      without.emplace();
    }
    const auto states = [&y](auto& rnn) { return std::get<0>(rnn->forward(y)); };
    return at::linear(Drop(std::visit(states, rnn_)), head_, head_bias_);
  }

  WeightNames Names() const override {
    if (!head_.is_same(encoder_->weight)) return {};
    return {.tied = {{"decoder.weight", "encoder.weight"}}};
  }

 private:
  Tensor Drop(const Tensor& x) const { return ::torch::dropout(x, dropout_, is_training()); }

  double dropout_;
  nn::Embedding encoder_;
  Recurrent rnn_;
  Tensor head_, head_bias_;
};

void CheckRnn(const RnnOptions& config, int64_t embedding, int64_t vocabulary) {
  if (config.relu && config.cell != "rnn") {
    throw Error(fmt::format("model.nonlinearity = \"relu\" needs model.cell = \"rnn\", not \"{}\"",
                            config.cell));
  }
  if (config.tied && embedding != config.dim) {
    throw Error(
        fmt::format("model.tied = true needs embeddings as wide as the hidden state: "
                    "model.embedding = {} is not model.dim = {}",
                    embedding, config.dim));
  }
  const double gates = config.cell == "lstm" ? 4 : config.cell == "gru" ? 3 : 1;
  const auto in = static_cast<double>(embedding), dim = static_cast<double>(config.dim);
  const auto above = static_cast<double>(config.layers - 1);
  CheckParameters(gates * dim * (in + dim + 2 + above * (2 * dim + 2)) +
                  static_cast<double>(vocabulary) * (in + (config.tied ? 1 : dim + 1)));
}

}  // namespace

std::shared_ptr<Model> BuildRnn(const ModelConfig& config, const DataShape& data) {
  const auto& options = ValuesOf<RnnOptions>(config.options);
  const int64_t embedding = options.embedding > 0 ? options.embedding : options.dim;
  CheckRnn(options, embedding, data.vocabulary);
  return std::make_shared<RnnLanguageModel>(options, embedding, data.vocabulary);
}
#endif  // KUDARI_LAB_TORCH

}  // namespace kudari::lab
