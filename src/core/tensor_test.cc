#include "kudari/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include "kudari/error.h"

namespace kudari {
namespace tensor_test {

TEST(TensorTest, Size) {
  EXPECT_EQ(Tensor{.shape = {}}.Size(), 1);
  EXPECT_EQ((Tensor{.shape = {2, 3, 4}}.Size()), 24);
  EXPECT_EQ((Tensor{.shape = {2, 0, 4}}.Size()), 0);
}

TEST(TensorTest, ClassifyByNameAndShape) {
  EXPECT_EQ(Classify("layer1.weight", {3, 4}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("w", {3, 4}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("weight", {3, 4}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("", {3, 4}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("blocks.0.ffn.dense.kernel", {3, 4}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("conv1.weight", {8, 3, 5, 5}), TensorClass::kConvolution);
  EXPECT_EQ(Classify("conv1d", {8, 3, 5}), TensorClass::kConvolution);

  EXPECT_EQ(Classify("fc.bias", {3}), TensorClass::kBias);
  EXPECT_EQ(Classify("bias", {3, 4}), TensorClass::kBias);
  EXPECT_EQ(Classify("norm1.bias", {64}), TensorClass::kBias);
  EXPECT_EQ(Classify("head.bias", {10}), TensorClass::kBias);
  EXPECT_EQ(Classify("rnn.bias_ih_l0", {64}), TensorClass::kBias);
  EXPECT_EQ(Classify("attn.in_proj_bias", {64}), TensorClass::kBias);
  EXPECT_EQ(Classify("attn.attention_biases", {4, 49}), TensorClass::kBias);
  EXPECT_EQ(Classify("attn.relative_position_bias_table", {169, 3}), TensorClass::kBias);
  EXPECT_EQ(Classify("attn.bias_proj.weight", {64, 3}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("unbiased.weight", {3, 4}), TensorClass::kMatrix);

  EXPECT_EQ(Classify("blocks.0.norm1.weight", {64}), TensorClass::kNorm);
  EXPECT_EQ(Classify("h.0.ln_1.weight", {64}), TensorClass::kNorm);
  EXPECT_EQ(Classify("bn2.weight", {64}), TensorClass::kNorm);
  EXPECT_EQ(Classify("mlp.grn.weight", {1, 1, 1, 64}), TensorClass::kNorm);
  EXPECT_EQ(Classify("embed_layernorm.weight", {64}), TensorClass::kNorm);
  EXPECT_EQ(Classify("gain", {64}), TensorClass::kNorm);
  EXPECT_EQ(Classify("temperature", {}), TensorClass::kNorm);
  EXPECT_EQ(Classify("block.layer_scale", {96, 1, 1}), TensorClass::kNorm);
  EXPECT_EQ(Classify("conv.weight_g", {96, 1, 1}), TensorClass::kNorm);
  EXPECT_EQ(Classify("conv.weight_v", {96, 4, 3}), TensorClass::kConvolution);
  EXPECT_EQ(Classify("conv.parametrizations.weight.original0", {96, 1, 1}), TensorClass::kNorm);
  EXPECT_EQ(Classify("norm1.linear.weight", {384, 64}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("norm1.weight", {384, 64}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("smear_gate.weight", {1, 12}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("attn.in_proj_weight", {3, 1}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("kiln.weight", {3, 4}), TensorClass::kMatrix);

  EXPECT_EQ(Classify("wte.weight", {1000, 64}), TensorClass::kEmbedding);
  EXPECT_EQ(Classify("pos_embed", {1, 16, 64}), TensorClass::kEmbedding);
  EXPECT_EQ(Classify("tokEmbedding.weight", {100, 8}), TensorClass::kEmbedding);
  EXPECT_EQ(Classify("value_embeds.0.weight", {100, 8}), TensorClass::kEmbedding);
  EXPECT_EQ(Classify("cls_token", {1, 1, 64}), TensorClass::kEmbedding);
  EXPECT_EQ(Classify("register_tokens", {4, 64}), TensorClass::kEmbedding);
  EXPECT_EQ(Classify("model.shared.weight", {1000, 64}), TensorClass::kEmbedding);
  EXPECT_EQ(Classify("patch_embed.proj.weight", {64, 3, 4, 4}), TensorClass::kConvolution);
  EXPECT_EQ(Classify("patch_embedding.weight", {64, 3, 4, 4}), TensorClass::kConvolution);
  EXPECT_EQ(Classify("token_mixer.qkv.weight", {192, 64}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("token_mixer.weight", {192, 64}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("block.shared.weight", {192, 64}), TensorClass::kMatrix);

  EXPECT_EQ(Classify("head.weight", {10, 64}), TensorClass::kHead);
  EXPECT_EQ(Classify("head.parametrizations.weight.original1", {10, 64}), TensorClass::kHead);
  EXPECT_EQ(Classify("lm_head.weight", {1000, 64}), TensorClass::kHead);
  EXPECT_EQ(Classify("classifier.6.weight", {10, 64}), TensorClass::kHead);
  EXPECT_EQ(Classify("classifier.1.weight", {10, 64, 1, 1}), TensorClass::kHead);
  EXPECT_EQ(Classify("head.fc.fc2.weight", {10, 64}), TensorClass::kHead);
  EXPECT_EQ(Classify("output.weight", {32000, 64}), TensorClass::kHead);
  EXPECT_EQ(Classify("fc.weight", {1000, 2048}), TensorClass::kHead);
  EXPECT_EQ(Classify("module.fc.weight", {1000, 2048}), TensorClass::kHead);
  EXPECT_EQ(Classify("mlp.fc.weight", {256, 64}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("fc1.weight", {256, 64}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("attention.output.dense.weight", {64, 64}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("multihead.weight", {3, 4}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("multi_head_attention.q_proj.weight", {64, 64}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("multi_head.in_proj_weight", {192, 64}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("blocks.0.heads.0.key.weight", {64, 384}), TensorClass::kMatrix);
}

struct Exception {
  std::string_view model, name;
  TensorClass told;  // by name and shape
};

// What no name tells.
constexpr Exception kExceptions[] = {
    // Hidden layers of a head that has several; for a matrix rule, the head is the safe side.
    {"torchvision vgg16", "classifier.0.weight", TensorClass::kHead},
    {"timm caformer_s18", "head.fc.fc1.weight", TensorClass::kHead},
    {"transformers roberta classifier", "classifier.dense.weight", TensorClass::kHead},
    // Tables of biases, as Swin's are, kept in embeddings.
    {"transformers t5", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
     TensorClass::kBias},
    {"transformers t5", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
     TensorClass::kBias},
    // An encoder may be anything.
    {"lstm language model", "encoder.weight", TensorClass::kMatrix},
    // Three matrices look like a convolution.
    {"modded-nanogpt", "blocks.0.attn.qkv_w", TensorClass::kConvolution}};

// tests/golden/make_tensor_classes.py, whose verdicts come from the types of the layers.
TEST(TensorTest, ClassesOfKnownModels) {
  std::ifstream file(KUDARI_SOURCE_DIR "/tests/golden/data/tensor_classes.txt");
  size_t count = 0, exceptions = 0;
  for (std::string line; std::getline(file, line); ++count) {
    std::istringstream fields(line);
    std::string model, name, sizes, tensor_class;
    std::getline(fields, model, '\t');
    std::getline(fields, name, '\t');
    std::getline(fields, sizes, '\t');
    std::getline(fields, tensor_class, '\t');
    std::vector<int64_t> shape;
    if (sizes != "scalar") {
      std::istringstream dimensions(sizes);
      for (std::string d; std::getline(dimensions, d, 'x');) shape.push_back(std::stoll(d));
    }
    TensorClass expected = ParseTensorClass(tensor_class);
    for (const Exception& e : kExceptions) {
      if (e.model != model || e.name != name) continue;
      EXPECT_NE(e.told, expected) << line << ": no exception";
      expected = e.told;
      ++exceptions;
    }
    EXPECT_EQ(Name(Classify(name, shape)), Name(expected)) << line;
  }
  EXPECT_GT(count, 700);
  EXPECT_EQ(exceptions, std::size(kExceptions));
}

TEST(TensorTest, ReasonsNameTheWordOrTheShape) {
  EXPECT_EQ(ClassReason("fc.bias", {3}), "name has \"bias\"");
  EXPECT_EQ(ClassReason("blocks.0.norm1.weight", {64}), "layer's name has \"norm\"");
  EXPECT_EQ(ClassReason("h.0.ln_1.weight", {64}), "layer's name has \"ln\"");
  EXPECT_EQ(ClassReason("conv.weight_g", {8, 1, 1}),
            "\"weight_g\" is the gain of weight normalisation");
  EXPECT_EQ(ClassReason("tokEmbedding.weight", {100, 8}), "layer's name has \"embed\"");
  EXPECT_EQ(ClassReason("cls_token", {1, 1, 8}), "name has \"token\"");
  EXPECT_EQ(ClassReason("wte.weight", {1000, 64}), "layer's name has \"wte\"");
  EXPECT_EQ(ClassReason("shared.weight", {1000, 64}), "\"shared\" at the top");
  EXPECT_EQ(ClassReason("lm_head.weight", {1000, 64}), "layer's name has \"head\"");
  EXPECT_EQ(ClassReason("head.fc.weight", {1000, 64}), "in \"head\"");
  EXPECT_EQ(ClassReason("fc.weight", {3, 4}), "\"fc\" at the top");
  EXPECT_EQ(ClassReason("fc1.weight", {3, 4}), "2 dimensions");
  EXPECT_EQ(ClassReason("conv1.weight", {8, 3, 5, 5}), "4 dimensions");
  EXPECT_EQ(ClassReason("layer_scale", {8, 1, 1}), "no second dimension is above 1");
  EXPECT_EQ(ClassReason("embed.scale", {8}), "1 dimension");
  EXPECT_EQ(ClassReason("temperature", {}), "0 dimensions");
}

TEST(TensorTest, ClassNamesReadBack) {
  for (const TensorClass c : {TensorClass::kMatrix, TensorClass::kConvolution,
                              TensorClass::kEmbedding, TensorClass::kNorm, TensorClass::kBias}) {
    EXPECT_EQ(ParseTensorClass(Name(c)), c);
  }
  try {
    ParseTensorClass("nrom");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "unknown class \"nrom\"; did you mean \"norm\"?");
  }
}

TEST(TensorTest, Glob) {
  EXPECT_TRUE(Glob("*", ""));
  EXPECT_TRUE(Glob("*", "anything.at.all"));
  EXPECT_TRUE(Glob("head.*", "head.weight"));
  EXPECT_FALSE(Glob("head.*", "ahead.weight"));
  EXPECT_TRUE(Glob("*.bias", "a.b.bias"));
  EXPECT_FALSE(Glob("*.bias", "a.b.biases"));
  EXPECT_TRUE(Glob("blocks.?.norm*", "blocks.3.norm1.weight"));
  EXPECT_FALSE(Glob("blocks.?.norm*", "blocks.13.norm1.weight"));
  EXPECT_TRUE(Glob("a*b*c", "axxbyyc"));
  EXPECT_TRUE(Glob("a*bc", "abcbc"));
  EXPECT_FALSE(Glob("a*b*c", "axxbyy"));
  EXPECT_FALSE(Glob("", "a"));
  EXPECT_TRUE(Glob("", ""));
  // Many stars against a name that almost fits: must not take exponential time.
  EXPECT_FALSE(Glob("*a*a*a*a*a*a*a*a*a*a*a*a*b", std::string(2000, 'a')));
}

TEST(TensorTest, PatternsMatchAnyNameOfATensor) {
  const Tensor t{.name = "wte.weight", .aliases = {"lm_head.weight", "out.w"}};
  for (const char* pattern : {"wte.*", "lm_head.*", "out.w"}) EXPECT_TRUE(Matches(pattern, t));
  EXPECT_FALSE(Matches("wpe.*", t));
}

}  // namespace tensor_test
}  // namespace kudari
