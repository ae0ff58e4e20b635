#include "kudari/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kudari/error.h"

namespace kudari {
namespace {

TEST(TensorTest, Size) {
  EXPECT_EQ(Tensor{.shape = {}}.Size(), 1);
  EXPECT_EQ((Tensor{.shape = {2, 3, 4}}.Size()), 24);
  EXPECT_EQ((Tensor{.shape = {2, 0, 4}}.Size()), 0);
}

TEST(TensorTest, ClassifyByNameAndShape) {
  EXPECT_EQ(Classify("fc.weight", {3, 4}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("fc.bias", {3}), TensorClass::kBias);
  EXPECT_EQ(Classify("bias", {3, 4}), TensorClass::kBias);
  EXPECT_EQ(Classify("blocks.0.norm1.weight", {64}), TensorClass::kNorm);
  EXPECT_EQ(Classify("blocks.0.norm1.bias", {64}), TensorClass::kBias);
  EXPECT_EQ(Classify("layernorm.weight", {8, 8}), TensorClass::kNorm);
  EXPECT_EQ(Classify("h.0.ln_1.weight", {64}), TensorClass::kNorm);
  EXPECT_EQ(Classify("bn2.weight", {64}), TensorClass::kNorm);
  EXPECT_EQ(Classify("gain", {64}), TensorClass::kNorm);
  EXPECT_EQ(Classify("temperature", {}), TensorClass::kNorm);
  EXPECT_EQ(Classify("conv1.weight", {8, 3, 5, 5}), TensorClass::kConvolution);
  EXPECT_EQ(Classify("conv1d", {8, 3, 5}), TensorClass::kConvolution);
  EXPECT_EQ(Classify("wte.weight", {1000, 64}), TensorClass::kEmbedding);
  EXPECT_EQ(Classify("pos_embed", {1, 16, 64}), TensorClass::kEmbedding);
  EXPECT_EQ(Classify("tokEmbedding.weight", {100, 8}), TensorClass::kEmbedding);
  EXPECT_EQ(Classify("cls_token", {1, 1, 64}), TensorClass::kEmbedding);
  EXPECT_EQ(Classify("head.weight", {10, 64}), TensorClass::kHead);
  EXPECT_EQ(Classify("lm_head.weight", {1000, 64}), TensorClass::kHead);
  EXPECT_EQ(Classify("classifier.6.weight", {10, 64}), TensorClass::kHead);
  EXPECT_EQ(Classify("head.bias", {10}), TensorClass::kBias);
  // Not every name that holds the letters.
  EXPECT_EQ(Classify("multihead.weight", {3, 4}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("kiln.weight", {3, 4}), TensorClass::kMatrix);
  EXPECT_EQ(Classify("unbiased.weight", {3, 4}), TensorClass::kMatrix);
}

TEST(TensorTest, ReasonsNameTheWordOrTheShape) {
  EXPECT_EQ(ClassReason("fc.bias", {3}), "name ends in \"bias\"");
  EXPECT_EQ(ClassReason("blocks.0.norm1.weight", {64}), "name has \"norm\"");
  EXPECT_EQ(ClassReason("LayerNorm.weight", {8, 8}), "name has \"norm\"");
  EXPECT_EQ(ClassReason("h.0.ln_1.weight", {64}), "name has \"ln\"");
  EXPECT_EQ(ClassReason("tokEmbedding.weight", {100, 8}), "name has \"embed\"");
  EXPECT_EQ(ClassReason("wte.weight", {1000, 64}), "name has \"wte\"");
  EXPECT_EQ(ClassReason("lm_head.weight", {1000, 64}), "name has \"head\"");
  EXPECT_EQ(ClassReason("fc.weight", {3, 4}), "2 dimensions");
  EXPECT_EQ(ClassReason("conv1.weight", {8, 3, 5, 5}), "4 dimensions");
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

}  // namespace
}  // namespace kudari
