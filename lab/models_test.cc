#include "lab/models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kudari/error.h"
#include "kudari/tensor.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Shape = std::vector<int64_t>;

ModelConfig Vit() {
  ModelConfig config;
  config.patch = 2;
  config.dim = 8;
  config.depth = 2;
  config.heads = 2;
  return config;
}

std::string MessageOf(const ModelConfig& config, const Shape& shape) {
  return kudari::testing::ErrorOf([&] { MakeModel(config, shape, 10); });
}

TEST(Models, MapBatchesToOutputs) {
  for (const char* name : {"linear", "mlp", "vit"}) {
    for (const char* pool : {"mean", "class"}) {
      ModelConfig config = Vit();
      config.name = name;
      config.pool = pool;
      config.dropout = 0.5;
      const auto model = MakeModel(config, {3, 4, 6}, 7);
      EXPECT_THAT(model->forward(::torch::randn({5, 3, 4, 6})).sizes().vec(), ElementsAre(5, 7))
          << name;
    }
  }
}

TEST(Models, EveryParameterGetsAGradient) {
  for (const char* name : {"linear", "mlp", "vit"}) {
    for (const char* pool : {"mean", "class"}) {
      ModelConfig config = Vit();
      config.name = name;
      config.pool = pool;
      const auto model = MakeModel(config, {1, 4, 4}, 3);
      model->forward(::torch::randn({5, 1, 4, 4})).square().sum().backward();
      for (const auto& item : model->named_parameters()) {
        ASSERT_TRUE(item.value().grad().defined()) << name << " " << item.key();
      }
    }
  }
}

TEST(Models, WeightsOfSixteenBits) {
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    for (const char* name : {"linear", "mlp", "vit"}) {
      ModelConfig config = Vit();
      config.name = name;
      ::torch::manual_seed(1);
      const auto model = MakeModel(config, {1, 4, 4}, 3);
      const at::Tensor x = ::torch::randn({5, 1, 4, 4});
      const at::Tensor full = model->forward(x);
      model->StoreWeights(type);
      for (const auto& item : model->named_parameters()) {
        const bool norm = item.key().find("norm") != std::string::npos;
        EXPECT_EQ(item.value().scalar_type(), norm ? at::kFloat : type) << item.key();
      }
      const at::Tensor half = model->forward(x.to(type));
      EXPECT_EQ(half.scalar_type(), type);
      EXPECT_TRUE(at::allclose(half.to(at::kFloat), full, 0.05, 0.05)) << name;
      half.to(at::kFloat).square().sum().backward();
      for (const auto& item : model->named_parameters()) {
        EXPECT_EQ(item.value().grad().scalar_type(), item.value().scalar_type()) << item.key();
      }
    }
  }
}

TEST(Models, ParameterCounts) {
  ModelConfig config = Vit();
  const int64_t block = 2 * 2 * 8 + (8 * 24 + 24) + (8 * 8 + 8) + (8 * 32 + 32) + (32 * 8 + 8);
  EXPECT_EQ(MakeModel(config, {1, 4, 4}, 3)->ParameterCount(),
            int64_t{4 * 8 + 8 + 4 * 8} + 2 * block + int64_t{2 * 8 + 8 * 3 + 3});
  config.name = "mlp";
  config.hidden = {5, 4};
  EXPECT_EQ(MakeModel(config, {6}, 3)->ParameterCount(), (6 * 5 + 5) + (5 * 4 + 4) + (4 * 3 + 3));
}

// What weight decay is kept from, and what a rule for matrices is given, follows from the names.
TEST(Models, NamesTellTheirClasses) {
  ModelConfig config = Vit();
  config.pool = "class";
  const auto parameters = MakeModel(config, {1, 4, 4}, 3)->named_parameters();
  const auto class_of = [&](const std::string& name) {
    return Classify(name, parameters[name].sizes().vec());
  };
  EXPECT_EQ(class_of("pos_embed"), TensorClass::kEmbedding);
  EXPECT_EQ(class_of("cls_token"), TensorClass::kEmbedding);
  EXPECT_EQ(class_of("patch_embed.bias"), TensorClass::kBias);
  EXPECT_EQ(class_of("blocks.0.norm1.weight"), TensorClass::kNorm);
  EXPECT_EQ(class_of("blocks.1.qkv.weight"), TensorClass::kMatrix);
  EXPECT_EQ(class_of("blocks.1.proj.weight"), TensorClass::kMatrix);
  EXPECT_EQ(class_of("blocks.1.fc1.bias"), TensorClass::kBias);
  EXPECT_EQ(class_of("norm.weight"), TensorClass::kNorm);
  EXPECT_EQ(class_of("head.weight"), TensorClass::kHead);
}

// Without its positions the transformer could not tell the upper half from the lower one.
TEST(Models, PositionsMatter) {
  ::torch::manual_seed(1);
  const auto model = MakeModel(Vit(), {1, 4, 4}, 3);
  const at::Tensor x = ::torch::randn({1, 1, 4, 4});
  const at::Tensor swapped = ::torch::cat({x.narrow(2, 2, 2), x.narrow(2, 0, 2)}, 2);
  EXPECT_FALSE(::torch::allclose(model->forward(x), model->forward(swapped)));
  const ::torch::NoGradGuard no_grad;
  model->named_parameters()["pos_embed"].zero_();
  EXPECT_TRUE(::torch::allclose(model->forward(x), model->forward(swapped), 1e-4, 1e-5));
}

TEST(Models, DropoutOnlyInTraining) {
  ModelConfig config = Vit();
  config.dropout = 0.5;
  const auto model = MakeModel(config, {1, 4, 4}, 3);
  const at::Tensor x = ::torch::randn({4, 1, 4, 4});
  EXPECT_FALSE(::torch::equal(model->forward(x), model->forward(x)));
  model->eval();
  EXPECT_TRUE(::torch::equal(model->forward(x), model->forward(x)));
}

TEST(Models, SameSeedSameWeights) {
  const auto weights = [](uint64_t seed) {
    ::torch::manual_seed(seed);
    return MakeModel(Vit(), {1, 4, 4}, 3)->named_parameters()["blocks.1.fc1.weight"];
  };
  EXPECT_TRUE(::torch::equal(weights(1), weights(1)));
  EXPECT_FALSE(::torch::equal(weights(1), weights(2)));
}

TEST(Models, ErrorsNameTheOption) {
  ModelConfig config = Vit();
  config.patch = 3;
  EXPECT_EQ(MessageOf(config, {1, 8, 8}), "model.patch = 3 does not divide the image, 8 x 8");
  config = Vit();
  config.heads = 3;
  EXPECT_EQ(MessageOf(config, {1, 8, 8}), "model.heads = 3 does not divide model.dim = 8");
  EXPECT_THAT(MessageOf(Vit(), {64}), HasSubstr("needs images"));
}

}  // namespace
}  // namespace kudari::lab
