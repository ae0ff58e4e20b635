// The models of language, against what torch's recurrent layers, Hugging Face's GPT-2 and BERT, and
// nanochat's GPT compute in Python (tests/golden/make_language_models.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kudari/kudari.h"
#include "kudari/safetensors.h"
#include "kudari/torch.h"
#include "lab/data/data.h"
#include "lab/data/parts/tokens.h"
#include "lab/models/models.h"
#include "lab/recipe/own_options.h"
#include "lab/train/objective.h"
#include "lab/train/trainer.h"
#include "lab/train/weights.h"
#include "tests/support/errors.h"
#include "tests/support/made.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace language_models_test {

using ::at::Tensor;
using ::kudari::testing::ErrorOf;
using ::kudari::testing::Made;
using ::kudari::testing::MadeIntegers;
using ::kudari::testing::Summary;
using ::nlohmann::json;
using ::testing::HasSubstr;

constexpr int64_t kVocabulary = 11;

const json& LanguageGoldens() {
  static const json goldens = [] {
    std::ifstream file(std::filesystem::path(KUDARI_SOURCE_DIR) /
                       "tests/golden/data/language_models.json");
    return json::parse(file);
  }();
  return goldens;
}

// A text, or, with classes, samples that are tokens.
DataShape TokensOf(int64_t context, int64_t classes = 0, int64_t vocabulary = kVocabulary,
                   int64_t separator = 0) {
  return {.sample = {context},
          .outputs = classes > 0 ? classes : vocabulary,
          .vocabulary = vocabulary,
          .separator = separator,
          .next_token = classes == 0};
}

std::shared_ptr<Model> GoldenModel(const json& golden) {
  return MakeModel(
      ModelNamed(golden["model"].get<std::string>(), golden["options"].get<std::string>()),
      TokensOf(golden["context"], golden["classes"], golden["vocabulary"],
               golden.value("separator", 0)));
}

// Weights by the formula, so that none is zero.
void FillWeights(const Model& model) {
  const ::torch::NoGradGuard no_grad;
  for (const auto& item : model.named_parameters()) {
    item.value().copy_(Made(item.key(), item.value().sizes().vec()));
  }
}

// What the twins are given.
Batch GoldenBatch(const json& golden) {
  const int64_t batch = golden["batch"], context = golden["context"], classes = golden["classes"];
  Batch made = {MadeIntegers("x", batch, context, golden["vocabulary"]),
                MadeIntegers("y", batch, context, golden["vocabulary"])};
  if (classes == 0) return made;
  made.x = 1 + made.x.remainder(golden["vocabulary"].get<int64_t>() - 1);
  const int64_t separator = golden["separator"];
  for (int64_t i = 0; i < batch; ++i) {
    made.x[i].narrow(0, context - i, i).zero_();
    if (separator == 0) continue;
    made.x[i].masked_fill_(made.x[i].eq(separator), 1);
    for (const int64_t t : {i % 3, context - i - 1}) made.x[i][t] = separator;
  }
  made.y = ::torch::arange(batch).remainder(classes);
  return made;
}

void ExpectClose(const Tensor& values, const json& golden, double tolerance) {
  const Tensor expected = ::torch::tensor(golden.get<std::vector<double>>(), at::kDouble);
  const Tensor off = values.to(at::kDouble).flatten() - expected;
  EXPECT_LT((off.norm() / expected.norm()).item<double>(), tolerance);
}

// Compares logits, loss and gradients.
void ExpectTwin(const json& golden, at::ScalarType type, double tolerance) {
  const auto model = GoldenModel(golden);
  FillWeights(*model);
  model->to(type);
  const auto [x, y] = GoldenBatch(golden);
  const Tensor logits = model->forward(x);
  ASSERT_EQ(logits.scalar_type(), type);
  ExpectClose(logits, golden["logits"], tolerance);
  const Tensor loss = at::cross_entropy_loss(logits.flatten(0, -2), y.flatten());
  EXPECT_NEAR(loss.item<double>(), golden["loss"].get<double>(), tolerance);
  loss.backward();

  const auto parameters = model->named_parameters();
  ASSERT_EQ(parameters.size(), golden["tensors"].size());
  double largest = 0;
  for (const json& expected : golden["tensors"]) largest = std::max<double>(largest, expected[2]);
  for (const json& expected : golden["tensors"]) {
    const std::string name = expected[0];
    SCOPED_TRACE(name);
    ASSERT_TRUE(parameters.contains(name));
    ASSERT_EQ(parameters[name].sizes().vec(), expected[1].get<std::vector<int64_t>>());
    const auto [norm, product] = Summary(name, parameters[name].grad());
    // Some gradients are zero but for rounding, as of the keys' biases.
    const double scale = expected[2].get<double>() + 1e-2 * largest;
    EXPECT_NEAR(norm / scale, expected[2].get<double>() / scale, tolerance);
    EXPECT_NEAR(product / scale, expected[3].get<double>() / scale, tolerance);
  }
}

class LanguageTwins : public ::testing::TestWithParam<int> {};

TEST_P(LanguageTwins, DoAsTheOraclesDo) {
  const json& golden = LanguageGoldens()["twins"].at(static_cast<size_t>(GetParam()));
  SCOPED_TRACE(golden["oracle"].get<std::string>());
  ExpectTwin(golden, at::kDouble, 1e-9);
  ExpectTwin(golden, at::kFloat, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(All, LanguageTwins, ::testing::Range(0, 10));

TEST(LanguageModels, AllTwinsAreTested) { EXPECT_EQ(LanguageGoldens()["twins"].size(), 10U); }

TEST(LanguageModels, HavePublishedSizesAndNames) {
  for (const json& golden : LanguageGoldens()["published"]) {
    SCOPED_TRACE(golden["oracle"].get<std::string>());
    const auto model = GoldenModel(golden);
    EXPECT_EQ(model->ParameterCount(), golden["parameters"].get<int64_t>());
    EXPECT_EQ(kudari::testing::NamesChecksum(model->named_parameters().pairs()),
              golden["names"].get<std::string>());
  }
}

// Small ones of each that predict the next token.
std::vector<ModelConfig> SmallTexts(const std::string& dropout = "dropout = 0") {
  std::vector<ModelConfig> all;
  for (const char* const cell : {"lstm", "gru", "rnn"}) {
    all.push_back(ModelNamed("rnn", std::string("dim = 8\ncell = \"") + cell + "\"\n" + dropout));
  }
  all.push_back(ModelNamed("gpt2", "layers = 2\ndim = 8\nheads = 2\n" + dropout));
  all.push_back(ModelNamed("nanochat", "layers = 2\ndim = 8\nheads = 2"));
  return all;
}

ModelConfig SmallBert(const std::string& dropout = "dropout = 0") {
  return ModelNamed("bert", "layers = 2\ndim = 8\nheads = 2\n" + dropout);
}

std::vector<ModelConfig> SmallLanguage(const std::string& dropout = "dropout = 0") {
  std::vector<ModelConfig> all = SmallTexts(dropout);
  all.push_back(SmallBert(dropout));
  return all;
}

// One with weights that are not zero, for samples of six tokens.
std::shared_ptr<Model> Filled(const ModelConfig& config, int64_t separator = 0) {
  auto model =
      MakeModel(config, TokensOf(6, config.name() == "bert" ? 3 : 0, kVocabulary, separator));
  FillWeights(*model);
  return model;
}

TEST(LanguageModels, NoOutputDependsOnLaterTokens) {
  for (const ModelConfig& config : SmallTexts()) {
    SCOPED_TRACE(config.name() + "\n" + config.options.Lines());
    const auto model = Filled(config);
    const Tensor x = MadeIntegers("x", 3, 6, kVocabulary);
    const Tensor before = model->forward(x);
    ASSERT_EQ(before.sizes(), at::IntArrayRef({3, 6, kVocabulary}));
    for (int64_t t = 1; t < 6; ++t) {
      Tensor other = x.clone();
      other.narrow(1, t, 6 - t).add_(1).remainder_(kVocabulary);
      const Tensor after = model->forward(other);
      EXPECT_TRUE(at::allclose(after.narrow(1, 0, t), before.narrow(1, 0, t), 0, 1e-6)) << t;
      for (int64_t later = t; later < 6; ++later) {
        EXPECT_FALSE(at::allclose(after.select(1, later), before.select(1, later), 0, 1e-3));
      }
      // The same for less of the sample.
      EXPECT_TRUE(
          at::allclose(model->forward(x.narrow(1, 0, t)), before.narrow(1, 0, t), 1e-5, 1e-5));
    }
    // Samples do not depend on each other.
    EXPECT_TRUE(at::allclose(model->forward(x.narrow(0, 1, 1)), before.narrow(0, 1, 1), 0, 1e-5));
  }
}

TEST(LanguageModels, BertDependsOnNoPadding) {
  const auto model = Filled(SmallBert());
  const Tensor x = 1 + MadeIntegers("x", 3, 6, kVocabulary - 1);
  Tensor padded = x.clone();
  padded.narrow(1, 4, 2).zero_();
  EXPECT_TRUE(at::allclose(model->forward(padded), model->forward(x.narrow(1, 0, 4)), 0, 1e-5));
  // With a second text, which all that follows is part of.
  const auto pairs = Filled(SmallBert(), kVocabulary - 1);
  for (const int64_t t : {1, 3}) padded.select(1, t).fill_(kVocabulary - 1);
  EXPECT_TRUE(
      at::allclose(pairs->forward(padded), pairs->forward(padded.narrow(1, 0, 4)), 0, 1e-5));
  EXPECT_FALSE(at::allclose(pairs->forward(padded), model->forward(padded), 0, 1e-4));
  // Every token that is not padding counts.
  for (int64_t t = 0; t < 6; ++t) {
    Tensor other = x.clone();
    other.select(1, t).remainder_(kVocabulary - 1).add_(1);
    EXPECT_FALSE(at::allclose(model->forward(other), model->forward(x), 0, 1e-4)) << t;
  }
  const Tensor nothing = model->forward(at::zeros({2, 6}, at::kLong));
  nothing.sum().backward();
  EXPECT_TRUE(nothing.isfinite().all().item<bool>());
  for (const Tensor& p : model->parameters()) {
    EXPECT_TRUE(p.grad().isfinite().all().item<bool>());
  }
}

TEST(LanguageModels, DropoutActsInTrainingOnly) {
  for (const ModelConfig& config : SmallLanguage("dropout = 0.5")) {
    SCOPED_TRACE(config.name() + "\n" + config.options.Lines());
    const auto model = Filled(config);
    const Tensor x = 1 + MadeIntegers("x", 3, 6, kVocabulary - 1);
    const auto outputs = [&](uint64_t seed) {
      ::torch::manual_seed(seed);
      return model->forward(x);
    };
    const bool drops = config.name() != "nanochat";
    EXPECT_EQ(config.entry->traits(config).dropout, drops);
    EXPECT_TRUE(outputs(2).equal(outputs(2)));
    EXPECT_EQ(outputs(2).equal(outputs(3)), !drops);
    model->eval();
    EXPECT_TRUE(outputs(2).equal(outputs(3)));
  }
  for (const ModelConfig& config : SmallLanguage()) {
    EXPECT_FALSE(config.entry->traits(config).dropout);
  }
}

TEST(LanguageModels, ComputeInSixteenBits) {
  const Tensor x = 1 + MadeIntegers("x", 3, 6, kVocabulary - 1);
  for (const ModelConfig& config : SmallLanguage()) {
    SCOPED_TRACE(config.name() + "\n" + config.options.Lines());
    const auto model = Filled(config);
    const Tensor full = model->forward(x);
    const auto close = [&](const Tensor& half) {
      EXPECT_EQ(half.scalar_type(), at::kFloat);
      const double off = ((half - full).norm() / full.norm()).item<double>();
      EXPECT_LT(off, 0.03);
      EXPECT_GT(off, 1e-5);  // or nothing was computed in 16 bits
      model->zero_grad();
      half.square().mean().backward();
      for (const auto& item : model->named_parameters()) {
        ASSERT_TRUE(item.value().grad().defined()) << item.key();
        EXPECT_TRUE(item.value().grad().isfinite().all().item<bool>()) << item.key();
      }
    };
    close(Forward(*model, x, {.autocast = at::kBFloat16}));
    model->zero_grad();
    model->StoreWeights(at::kBFloat16);
    close(Forward(*model, x, {.weights = at::kBFloat16}));
  }
}

TEST(LanguageModels, StartAsPublished) {
  ::torch::manual_seed(1);
  const auto deviation = [](const Tensor& t) { return t.std().item<double>(); };
  const auto gpt2 =
      MakeModel(ModelNamed("gpt2", "layers = 8\ndim = 64\nheads = 2"), TokensOf(64, 0, 200))
          ->named_parameters();
  for (const char* const name : {"wte", "wpe", "h.3.attn.c_attn", "h.3.mlp.c_fc"}) {
    EXPECT_NEAR(deviation(gpt2[std::string("transformer.") + name + ".weight"]), 0.02, 0.001);
  }
  for (const char* const name : {"attn", "mlp"}) {
    const std::string layer = std::string("transformer.h.3.") + name + ".c_proj.";
    EXPECT_NEAR(deviation(gpt2[layer + "weight"]), 0.02 / 4, 0.0003);
    EXPECT_EQ(gpt2[layer + "bias"].abs().sum().item<double>(), 0);
  }
  const auto nanochat =
      MakeModel(ModelNamed("nanochat", "layers = 1\ndim = 64\nheads = 2\nkv_heads = 1"),
                TokensOf(64, 0, 200))
          ->named_parameters();
  EXPECT_NEAR(deviation(nanochat["transformer.wte.weight"]), 1, 0.05);
  EXPECT_NEAR(deviation(nanochat["transformer.h.0.attn.c_q.weight"]), 1 / 8.0, 0.008);
  EXPECT_NEAR(deviation(nanochat["transformer.h.0.attn.c_k.weight"]), std::sqrt(0.5) / 8, 0.006);
  EXPECT_NEAR(deviation(nanochat["transformer.h.0.mlp.c_fc.weight"]), 1 / 8.0, 0.004);
  for (const char* const name :
       {"transformer.h.0.attn.c_proj", "transformer.h.0.mlp.c_proj", "lm_head"}) {
    EXPECT_EQ(nanochat[std::string(name) + ".weight"].abs().sum().item<double>(), 0) << name;
  }
  const auto bert =
      MakeModel(ModelNamed("bert", "layers = 1\ndim = 64\nheads = 2"), TokensOf(64, 3, 200))
          ->named_parameters();
  const Tensor words = bert["bert.embeddings.word_embeddings.weight"];
  EXPECT_NEAR(deviation(words), 0.02, 0.001);
  EXPECT_EQ(words[0].abs().sum().item<double>(), 0);
  EXPECT_NE(words[1].abs().sum().item<double>(), 0);
  EXPECT_NEAR(deviation(bert["bert.encoder.layer.0.intermediate.dense.weight"]), 0.02, 0.001);
  EXPECT_EQ(bert["bert.pooler.dense.bias"].abs().sum().item<double>(), 0);
}

// Muon gets the matrices of the blocks, its fallback everything else.
TEST(LanguageModels, MuonGetsTheMatricesOfBlocks) {
  OptimizerSpec spec = Muon{};
  spec.fallback = {.rule = "adamw"};
  std::vector<ModelConfig> configs = SmallLanguage();
  configs.push_back(ModelNamed("rnn", "dim = 8\ntied = true"));
  configs.push_back(ModelNamed("nanochat", "layers = 2\ndim = 8\nheads = 2\ntied = true"));
  for (const ModelConfig& config : configs) {
    SCOPED_TRACE(config.name() + "\n" + config.options.Lines());
    const auto model = Filled(config);
    const kudari::torch::Optimizer optimizer(*model, spec);
    std::set<std::string> embeddings, heads;
    for (const TensorPlan& plan : optimizer.core().Plan()) {
      const std::string& name = plan.name;
      const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
      const bool matrix = model->named_parameters()[name].dim() == 2 && !has("wte") &&
                          !has("wpe") && !has("encoder.weight") && !has("embeddings") &&
                          !has("lm_head") && !has("decoder") && !name.starts_with("classifier");
      EXPECT_EQ(plan.rule, matrix ? "muon" : "adamw") << name;
      EXPECT_EQ(plan.tensor_class == TensorClass::kMatrix, matrix) << name;
      if (plan.tensor_class == TensorClass::kEmbedding) embeddings.insert(name);
      if (plan.tensor_class == TensorClass::kHead) heads.insert(name);
      EXPECT_EQ(plan.tensor_class == TensorClass::kBias, name.find("bias") != std::string::npos)
          << name;
    }
    const std::map<std::string, std::pair<std::set<std::string>, std::set<std::string>>> expected =
        {{"rnn", {{"encoder.weight"}, {"decoder.weight"}}},
         {"gpt2", {{"transformer.wte.weight", "transformer.wpe.weight"}, {}}},
         {"nanochat", {{"transformer.wte.weight"}, {"lm_head.weight"}}},
         {"bert",
          {{"bert.embeddings.word_embeddings.weight", "bert.embeddings.position_embeddings.weight",
            "bert.embeddings.token_type_embeddings.weight"},
           {"classifier.weight"}}}};
    EXPECT_EQ(embeddings, expected.at(config.name()).first);
    const bool tied = config.options.Lines().find("tied = true") != std::string::npos;
    EXPECT_EQ(heads, tied ? std::set<std::string>() : expected.at(config.name()).second);
  }
}

// Files of weights under names that others publish.
class PublishedWeights : public ::testing::Test {
 protected:
  using Tensors = std::vector<std::pair<std::string, Tensor>>;

  // The parameters of a model.
  static Tensors Of(const Model& model) {
    Tensors all;
    for (const auto& item : model.named_parameters()) all.emplace_back(item.key(), item.value());
    return all;
  }

  void Write(const Tensors& all) {
    std::vector<SafeTensor> tensors;
    for (const auto& [name, value] : all) {
      tensors.push_back({name,
                         value.sizes().vec(),
                         {value.data_ptr<float>(), static_cast<size_t>(value.numel())}});
    }
    WriteSafeTensors(path_, tensors);
  }

  // Whether a new model has the weights of `from` after loading the file.
  bool Load(const ModelConfig& config, const DataShape& data, const Model& from) {
    const auto model = MakeModel(config, data);
    LoadWeights(*model, path_);
    const auto expected = from.named_parameters();
    for (const auto& item : model->named_parameters()) {
      if (!item.value().equal(expected[item.key()])) return false;
    }
    return true;
  }

  kudari::testing::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "model.safetensors";
};

TEST_F(PublishedWeights, OfGpt2) {
  const ModelConfig config = ModelNamed("gpt2", "layers = 2\ndim = 8\nheads = 2\npositions = 9");
  const auto model = Filled(config);
  SaveWeights(*model, path_);
  EXPECT_TRUE(Load(config, TokensOf(6), *model));
  // As the model without a head saves them, with the masks that older versions saved.
  Tensors bare;
  for (const auto& [name, value] : Of(*model)) bare.emplace_back(name.substr(12), value);
  bare.emplace_back("h.0.attn.bias", at::ones({1, 1, 9, 9}).tril());
  bare.emplace_back("h.1.attn.masked_bias", at::zeros({1}));
  Write(bare);
  EXPECT_TRUE(Load(config, TokensOf(5), *model));
  // With the head, which is the embeddings once more.
  Tensors both = Of(*model);
  both.emplace_back("lm_head.weight", both[0].second.detach().clone());
  Write(both);
  EXPECT_TRUE(Load(config, TokensOf(6), *model));
  both.back().second[0][0] += 1;
  Write(both);
  EXPECT_EQ(ErrorOf([&] { Load(config, TokensOf(6), *model); }),
            path_.string() +
                ": tensor \"lm_head.weight\" is not \"transformer.wte.weight\", which the model "
                "has in its place");
  both.back().first = "h.9.weight";
  Write(both);
  EXPECT_THAT(ErrorOf([&] { Load(config, TokensOf(6), *model); }),
              HasSubstr("the model has no parameter \"h.9.weight\""));
  bare.erase(bare.begin());
  Write(bare);
  EXPECT_THAT(ErrorOf([&] { Load(config, TokensOf(6), *model); }),
              HasSubstr("transformer.wte.weight"));
}

TEST_F(PublishedWeights, OfBert) {
  const ModelConfig config = SmallBert();
  const auto model = Filled(config);
  Tensors all = Of(*model);
  for (auto& [name, value] : all) {  // as converted from TensorFlow
    const size_t norm = name.find("LayerNorm.");
    if (norm == std::string::npos) continue;
    name = name.substr(0, norm + 10) + (name.ends_with("weight") ? "gamma" : "beta");
  }
  all.emplace_back("cls.predictions.bias", at::zeros({kVocabulary}));
  all.emplace_back("bert.embeddings.position_ids", at::zeros({1, 6}));
  Write(all);
  EXPECT_TRUE(Load(config, TokensOf(6, 3), *model));
}

TEST_F(PublishedWeights, OfTiedRecurrentModels) {
  const ModelConfig config = ModelNamed("rnn", "dim = 8\ntied = true");
  const auto model = Filled(config);
  Tensors all = Of(*model);
  all.emplace_back("decoder.weight", model->named_parameters()["encoder.weight"]);
  Write(all);
  EXPECT_TRUE(Load(config, TokensOf(6), *model));
}

TEST(LanguageModels, ErrorsNameTheOption) {
  ::torch::manual_seed(1);
  const auto message = [](const std::string& name, const std::string& options,
                          const DataShape& data = TokensOf(6)) {
    return ErrorOf([&] { MakeModel(ModelNamed(name, options), data); });
  };
  EXPECT_EQ(message("gpt2", "heads = 5"), "model.heads = 5 does not divide model.dim = 768");
  EXPECT_EQ(message("gpt2", "positions = 5"),
            "model.positions = 5 is less than data.context = 6: each token of a sample needs a "
            "position");
  EXPECT_EQ(message("nanochat", "heads = 3"), "model.heads = 3 does not divide model.dim = 1280");
  EXPECT_EQ(message("nanochat", "kv_heads = 3"),
            "model.kv_heads = 3 does not divide model.heads = 10");
  EXPECT_EQ(message("nanochat", "heads = 2\ndim = 10"),
            "model.dim / model.heads = 5 is odd: positions turn pairs of channels");
  EXPECT_EQ(message("bert", "heads = 7", TokensOf(6, 2)),
            "model.heads = 7 does not divide model.dim = 768");
  EXPECT_THAT(message("bert", "positions = 2", TokensOf(6, 2)), HasSubstr("model.positions = 2"));
  EXPECT_EQ(message("rnn", "nonlinearity = \"relu\""),
            "model.nonlinearity = \"relu\" needs model.cell = \"rnn\", not \"lstm\"");
  EXPECT_EQ(message("rnn", "embedding = 100\ntied = true"),
            "model.tied = true needs embeddings as wide as the hidden state: model.embedding = 100 "
            "is not model.dim = 200");
  EXPECT_THAT(message("rnn", "cell = \"elman\""),
              HasSubstr("unknown name \"elman\"; known: lstm, gru, rnn"));
  EXPECT_THAT(message("gpt2", "dropout = 1"), HasSubstr("model.dropout"));
  for (const char* const name : {"gpt2", "nanochat", "rnn", "bert"}) {
    const DataShape data = TokensOf(6, name == std::string("bert") ? 2 : 0);
    EXPECT_THAT(message(name, "layers = 0", data),
                HasSubstr("model.layers: 0 is outside [1, 1000]"));
    EXPECT_THAT(message(name, "layers = 1000\ndim = 65280", data), HasSubstr("has about"));
    EXPECT_THAT(message(name, "", {.sample = {3, 8, 8}, .outputs = 10}),
                HasSubstr("needs tokens; the data set has numbers"));
  }
  EXPECT_THAT(message("gpt2", "", TokensOf(6, 2)), HasSubstr("whose next tokens"));
  EXPECT_THAT(message("bert", ""), HasSubstr("a class or value for each sample"));
}

// ---- Training ----

// Samples of 12 tokens, padded at the end, of two classes: whether token 1 or token 2 occurs.
Dataset LoadMarked(const DataConfig& /*config*/, uint64_t seed) {
  constexpr int64_t kContext = 12, kSamples = 128;
  Dataset data{.name = "marked", .shape = {kContext}, .classes = 2, .vocabulary = 8};
  for (Split* split : {&data.train, &data.validation, &data.test}) {
    std::vector<int32_t> tokens;
    const Tensor drawn = MadeIntegers(
        std::to_string(seed + split->labels.size() + static_cast<uint64_t>(split - &data.train)),
        kSamples, kContext + 2, 1 << 20);
    for (int64_t i = 0; i < kSamples; ++i) {
      const auto row = drawn[i];
      const int64_t length = 4 + row[kContext].item<int64_t>() % (kContext - 3);
      const int64_t mark = row[kContext + 1].item<int64_t>() % length;
      for (int64_t t = 0; t < kContext; ++t) {
        const int64_t other = 3 + row[t].item<int64_t>() % 5;
        tokens.push_back(static_cast<int32_t>(t >= length ? 0 : t == mark ? 1 + i % 2 : other));
      }
      split->begins.push_back(i * kContext);
      split->labels.push_back(i % 2);
    }
    split->tokens = InMemory(std::move(tokens));
    split->samples = kSamples;
  }
  return data;
}

TEST(LanguageModels, BertLearnsToClassify) {
  LabRegistry registry = LabRegistry::Builtin();
  registry.data.Add(
      {.name = "marked", .doc = "which mark occurs in a padded sample", .load = &LoadMarked});
  Trainer trainer(ParseTrainRecipe(R"(
model = {name = "bert", layers = 1, dim = 16, heads = 2, dropout = 0.1}
data = {name = "marked"}
optimizer = {rule = "adamw", lr = 3e-3}
train = {steps = 150, batch_size = 32, threads = 1}
)",
                                   "marked.toml", {}, registry));
  EXPECT_GT(trainer.Run().test.accuracy, 0.95);
}

// A text in which each letter follows from the two before it: a single token does not tell.
class LearnedText : public ::testing::TestWithParam<const char*> {};

TEST_P(LearnedText, ALanguageModelLearns) {
  const kudari::testing::TemporaryFolder folder;
  {
    std::ofstream file(folder / "text.txt");
    for (int i = 0; i < 1500; ++i) file << "aabacbbcc";
  }
  const Recipe recipe = ParseTrainRecipe(
      std::string("model = {") + GetParam() +
          "}\ndata = {name = \"text\", context = 16, path = \"" + (folder / "text.txt").string() +
          "\"}\noptimizer = {rule = \"adamw\", lr = 1e-2, clip_norm = 1.0}\n"
          "train = {steps = 200, batch_size = 16, threads = 1}\n",
      "text.toml");
  Trainer trainer(recipe);
  const double loss = trainer.Run().validation.loss;
  // The first letters of a sample have no two before them: at most log 3 for one or two of 16.
  EXPECT_LT(loss, 0.15);
}

INSTANTIATE_TEST_SUITE_P(
    All, LearnedText,
    ::testing::Values("name = \"rnn\", cell = \"lstm\", dim = 24, dropout = 0",
                      "name = \"rnn\", cell = \"gru\", dim = 24, dropout = 0, tied = true",
                      "name = \"rnn\", cell = \"rnn\", dim = 24, dropout = 0, layers = 1",
                      "name = \"gpt2\", layers = 2, dim = 24, heads = 2, dropout = 0",
                      "name = \"nanochat\", layers = 2, dim = 24, heads = 2"));

}  // namespace language_models_test
}  // namespace kudari::lab
