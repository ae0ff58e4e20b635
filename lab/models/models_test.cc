#include "lab/models/models.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <span>
#include <utility>

#include "kudari/error.h"
#include "kudari/safetensors.h"
#include "kudari/tensor.h"
#include "lab/train/weights.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace models_test {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Shape = std::vector<int64_t>;

// A small one, with options in TOML.
ModelConfig Vit(const std::string& options = "") {
  return ModelNamed("vit", "patch = 2\ndim = 8\ndepth = 2\nheads = 2\n" + options);
}

// A small one of each that takes samples of any shape, and of vit both forms.
std::vector<ModelConfig> Small(const std::string& dropout = "") {
  return {ModelNamed("linear"), ModelNamed("mlp", dropout), Vit("pool = \"mean\"\n" + dropout),
          Vit("pool = \"class\"\n" + dropout)};
}

ModelConfig ResNet(int64_t depth, int64_t width) {
  return ModelNamed("resnet",
                    "depth = " + std::to_string(depth) + "\nwidth = " + std::to_string(width));
}

std::string MessageOf(const ModelConfig& config, const Shape& shape) {
  return kudari::testing::ErrorOf([&] { MakeModel(config, {shape, 10}); });
}

TEST(Models, MapBatchesToOutputs) {
  for (const ModelConfig& config : Small("dropout = 0.5")) {
    const auto model = MakeModel(config, {{3, 4, 6}, 7});
    EXPECT_THAT(model->forward(::torch::randn({5, 3, 4, 6})).sizes().vec(), ElementsAre(5, 7))
        << config.name();
  }
}

TEST(Models, ResidualNetworksTakeImagesOfAnySize) {
  for (const Shape& shape : {Shape{3, 4, 6}, Shape{1, 8, 8}, Shape{2, 5, 7}, Shape{1, 28, 28}}) {
    const auto model = MakeModel(ResNet(8, 2), {shape, 7});
    const at::Tensor x = ::torch::randn({5, shape[0], shape[1], shape[2]});
    EXPECT_THAT(model->forward(x).sizes().vec(), ElementsAre(5, 7));
  }
}

TEST(Models, EveryParameterGetsAGradient) {
  for (const ModelConfig& config : Small()) {
    const auto model = MakeModel(config, {{1, 4, 4}, 3});
    model->forward(::torch::randn({5, 1, 4, 4})).square().sum().backward();
    for (const auto& item : model->named_parameters()) {
      ASSERT_TRUE(item.value().grad().defined()) << config.name() << " " << item.key();
    }
  }
  const auto model = MakeModel(ResNet(14, 2), {{1, 8, 8}, 3});
  model->forward(::torch::randn({5, 1, 8, 8})).square().sum().backward();
  for (const auto& item : model->named_parameters()) {
    ASSERT_TRUE(item.value().grad().defined()) << item.key();
  }
}

TEST(Models, WeightsOfSixteenBits) {
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    for (const ModelConfig& config : Small()) {
      ::torch::manual_seed(1);
      const auto model = MakeModel(config, {{1, 4, 4}, 3});
      const at::Tensor x = ::torch::randn({5, 1, 4, 4});
      const at::Tensor full = model->forward(x);
      model->StoreWeights(type);
      for (const auto& item : model->named_parameters()) {
        const bool norm = item.key().find("norm") != std::string::npos;
        EXPECT_EQ(item.value().scalar_type(), norm ? at::kFloat : type) << item.key();
      }
      const at::Tensor half = model->forward(x.to(type));
      EXPECT_EQ(half.scalar_type(), type);
      EXPECT_TRUE(at::allclose(half.to(at::kFloat), full, 0.05, 0.05)) << config.name();
      half.to(at::kFloat).square().sum().backward();
      for (const auto& item : model->named_parameters()) {
        EXPECT_EQ(item.value().grad().scalar_type(), item.value().scalar_type()) << item.key();
      }
    }
  }
}

TEST(Models, BatchNormsStayInFloat32) {
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    ::torch::manual_seed(1);
    const auto model = MakeModel(ResNet(8, 4), {{1, 8, 8}, 3});
    const at::Tensor x = ::torch::randn({16, 1, 8, 8});
    const at::Tensor full = model->forward(x);
    model->StoreWeights(type);
    for (const auto& item : model->named_parameters()) {
      const bool norm = item.key().find("bn") != std::string::npos;
      EXPECT_EQ(item.value().scalar_type(), norm ? at::kFloat : type) << item.key();
    }
    for (const auto& item : model->named_buffers()) {
      const bool count = item.key().find("num_batches") != std::string::npos;
      EXPECT_EQ(item.value().scalar_type(), count ? at::kLong : at::kFloat) << item.key();
    }
    const at::Tensor half = model->forward(x.to(type));
    EXPECT_EQ(half.scalar_type(), type);
    EXPECT_TRUE(at::allclose(half.to(at::kFloat), full, 0.05, 0.02));
    half.to(at::kFloat).square().sum().backward();
    for (const auto& item : model->named_parameters()) {
      EXPECT_EQ(item.value().grad().scalar_type(), item.value().scalar_type()) << item.key();
    }
  }
}

// As torch's formula, from the statistics of the batch in training and the running ones after.
TEST(Models, AnMlpMayHaveBatchNorm) {
  const ModelConfig config = ModelNamed("mlp", "hidden = [5, 4]\nnorm = \"batch\"");
  ::torch::manual_seed(1);
  const auto model = MakeModel(config, {{1, 2, 3}, 3});
  EXPECT_EQ(model->ParameterCount(), (6 * 5 + 5) + 2 * 5 + (5 * 4 + 4) + 2 * 4 + (4 * 3 + 3));
  const auto p = model->named_parameters();
  EXPECT_EQ(Classify("bn0.weight", p["bn0.weight"].sizes().vec()), TensorClass::kNorm);
  EXPECT_EQ(Classify("bn1.bias", p["bn1.bias"].sizes().vec()), TensorClass::kBias);
  const at::Tensor x = 2 * ::torch::randn({8, 1, 2, 3}) + 1;
  const auto expected = [&](bool training) {
    at::Tensor y = x.flatten(1);
    for (const char* const layer : {"0", "1"}) {
      y = at::linear(y, p[std::string("layer") + layer + ".weight"]);  // biases are zero
      if (training) y = (y - y.mean(0)) / (y.var(0, false) + 1e-5).sqrt();
      y = at::gelu(y);
    }
    return at::linear(y, p["head.weight"]);
  };
  model->eval();  // mean 0 and variance 1 before any training
  EXPECT_TRUE(at::allclose(model->forward(x), expected(false), 1e-4, 1e-5));
  model->train();
  EXPECT_TRUE(at::allclose(model->forward(x), expected(true), 1e-4, 1e-5));
  EXPECT_EQ(model->named_buffers()["bn0.num_batches_tracked"].item<int64_t>(), 1);

  model->StoreWeights(at::kBFloat16);
  EXPECT_EQ(model->named_parameters()["bn0.weight"].scalar_type(), at::kFloat);
  EXPECT_EQ(model->named_parameters()["layer0.weight"].scalar_type(), at::kBFloat16);
  EXPECT_THAT(kudari::testing::ErrorOf([&] { model->forward(x.narrow(0, 0, 1)); }),
              HasSubstr("train.batch_size leaves a batch of one"));
}

TEST(Models, ParameterCounts) {
  const int64_t block = 2 * 2 * 8 + (8 * 24 + 24) + (8 * 8 + 8) + (8 * 32 + 32) + (32 * 8 + 8);
  EXPECT_EQ(MakeModel(Vit(), {{1, 4, 4}, 3})->ParameterCount(),
            int64_t{4 * 8 + 8 + 4 * 8} + 2 * block + int64_t{2 * 8 + 8 * 3 + 3});
  const ModelConfig mlp = ModelNamed("mlp", "hidden = [5, 4]");
  EXPECT_EQ(MakeModel(mlp, {{6}, 3})->ParameterCount(), (6 * 5 + 5) + (5 * 4 + 4) + (4 * 3 + 3));
}

TEST(Models, MoreParametersThanAnyMemoryHoldsAreRefusedBeforehand) {
  EXPECT_EQ(MessageOf(ModelNamed("vit", "dim = 65536\ndepth = 1000\npatch = 1"), {1, 4, 4}),
            "model: has about 5.2e+13 parameters, which is outside [0, 1e+10]");
  EXPECT_THAT(MessageOf(ModelNamed("mlp", "hidden = [1000000, 1000000]"), {6}),
              HasSubstr("model: has about 1e+12 parameters"));
  EXPECT_THAT(MessageOf(ResNet(2000, 4096), {3, 32, 32}), HasSubstr("model: has about 2.1e+12"));
  EXPECT_THAT(MessageOf(ModelNamed("linear"), {2'000'000'000}),
              HasSubstr("model: has about 2e+10 parameters"));
  std::string widths = "1";
  for (int i = 0; i < 1000; ++i) widths += ", 1";
  EXPECT_EQ(MessageOf(ModelNamed("mlp", "hidden = [" + widths + "]"), {6}),
            "model.hidden has 1001 layers, which is outside [0, 1000]");
}

// The paper says 0.27M of 20 layers; shortcuts have none. With 16, 32 and 64 channels, of weights
// of convolutions and pairs of batch norm:
//   conv1, bn1         9*3*16 + 2*16 = 464
//   a block of 16      2*(9*16*16 + 2*16) = 4,672
//   the first of 32    9*16*32 + 9*32*32 + 4*32 = 13,952      another    2*(9*32*32 + 2*32) =
//   18,560 the first of 64    9*32*64 + 9*64*64 + 4*64 = 55,552      another    2*(9*64*64 + 2*64)
//   = 73,984 head               64*10 + 10 = 650
// 8 layers: 464 + 4,672 + 13,952 + 55,552 + 650; 20 layers: two more of each block.
TEST(Models, ParameterCountsOfResidualNetworks) {
  EXPECT_EQ(MakeModel(ResNet(8, 16), {{3, 32, 32}, 10})->ParameterCount(), 75290);
  EXPECT_EQ(MakeModel(ResNet(20, 16), {{3, 32, 32}, 10})->ParameterCount(), 269722);
}

// What weight decay is kept from, and what a rule for matrices is given, follows from the names.
TEST(Models, NamesTellTheirClasses) {
  const auto parameters = MakeModel(Vit("pool = \"class\""), {{1, 4, 4}, 3})->named_parameters();
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

TEST(Models, NamesTellTheirClassesInResidualNetworks) {
  const auto parameters = MakeModel(ResNet(8, 2), {{1, 4, 4}, 3})->named_parameters();
  const auto class_of = [&](const std::string& name) {
    return Classify(name, parameters[name].sizes().vec());
  };
  EXPECT_EQ(class_of("conv1.weight"), TensorClass::kConvolution);
  EXPECT_EQ(class_of("blocks.2.conv2.weight"), TensorClass::kConvolution);
  EXPECT_EQ(class_of("bn1.weight"), TensorClass::kNorm);
  EXPECT_EQ(class_of("blocks.1.bn2.weight"), TensorClass::kNorm);
  EXPECT_EQ(class_of("blocks.1.bn2.bias"), TensorClass::kBias);
  EXPECT_EQ(class_of("head.weight"), TensorClass::kHead);
}

// torch in Python, on images of an odd size (tests/golden/make_resnet.py).
TEST(Models, ResidualNetworkDoesAsTorchDoes) {
  const std::filesystem::path data = std::filesystem::path(KUDARI_SOURCE_DIR) / "tests/golden/data";
  const auto model = MakeModel(ResNet(8, 2), {{2, 7, 7}, 3});
  LoadWeights(*model, data / "resnet8.safetensors");
  const SafeTensorsFile file(data / "resnet8_expected.safetensors");
  const auto expected = [&](const std::string& name) {
    const std::span<const float> values = file.Floats(name);
    return ::torch::tensor(std::vector<float>(values.begin(), values.end()))
        .view(file.Find(name).shape);
  };
  const auto close = [&](const at::Tensor& value, const std::string& name) {
    return at::allclose(value, expected(name), 1e-5, 1e-5);
  };
  model->eval();
  EXPECT_TRUE(close(model->forward(expected("x")), "evaluation"));
  model->train();
  const at::Tensor outputs = model->forward(expected("x"));
  EXPECT_TRUE(close(outputs, "training"));
  outputs.square().sum().backward();
  for (const auto& item : model->named_parameters()) {
    EXPECT_TRUE(at::allclose(item.value().grad(), expected("grad/" + item.key()), 1e-4, 1e-4))
        << item.key();
  }
  for (const auto& item : model->named_buffers()) {
    if (!item.value().is_floating_point()) continue;
    EXPECT_TRUE(close(item.value(), "after/" + item.key())) << item.key();
  }
}

// Where the blocks add nothing, images pass: every fourth pixel, in the first channels.
TEST(Models, ShortcutsHaveNoParameters) {
  ::torch::manual_seed(1);
  const auto model = MakeModel(ResNet(14, 4), {{3, 8, 8}, 5});
  const ::torch::NoGradGuard no_grad;
  auto parameters = model->named_parameters();
  for (const auto& item : parameters) {
    if (item.key().find("bn2") != std::string::npos) item.value().zero_();
  }
  model->eval();
  const at::Tensor x = ::torch::randn({6, 3, 8, 8});
  at::Tensor stem = at::conv2d(x, parameters["conv1.weight"], {}, 1, 1);
  stem = ::torch::relu(stem / std::sqrt(1 + 1e-5));  // the statistics before any training
  at::Tensor pooled = ::torch::zeros({6, 16});
  for (const int row : {0, 4}) {
    for (const int column : {0, 4}) {
      pooled.narrow(1, 0, 4) += stem.select(2, row).select(2, column) / 4;
    }
  }
  const at::Tensor expected =
      at::linear(pooled, parameters["head.weight"], parameters["head.bias"]);
  EXPECT_TRUE(at::allclose(model->forward(x), expected, 1e-4, 1e-6));
}

// He's: deviation sqrt(2 / (9 outputs)).
TEST(Models, ConvolutionsStartAsHeSays) {
  ::torch::manual_seed(1);
  const auto parameters = MakeModel(ResNet(8, 16), {{3, 8, 8}, 10})->named_parameters();
  for (const auto& [name, outputs] :
       {std::pair<const char*, double>{"conv1.weight", 16}, {"blocks.2.conv1.weight", 64}}) {
    const at::Tensor& w = parameters[name];
    const double deviation = std::sqrt(2 / (9 * outputs));
    EXPECT_NEAR(w.std().item<double>(), deviation, 0.1 * deviation) << name;
  }
}

// Without its positions the transformer could not tell the upper half from the lower one.
TEST(Models, PositionsMatter) {
  ::torch::manual_seed(1);
  const auto model = MakeModel(Vit(), {{1, 4, 4}, 3});
  const at::Tensor x = ::torch::randn({1, 1, 4, 4});
  const at::Tensor swapped = ::torch::cat({x.narrow(2, 2, 2), x.narrow(2, 0, 2)}, 2);
  EXPECT_FALSE(::torch::allclose(model->forward(x), model->forward(swapped)));
  const ::torch::NoGradGuard no_grad;
  model->named_parameters()["pos_embed"].zero_();
  EXPECT_TRUE(::torch::allclose(model->forward(x), model->forward(swapped), 1e-4, 1e-5));
}

TEST(Models, DropoutOnlyInTraining) {
  const auto model = MakeModel(Vit("dropout = 0.5"), {{1, 4, 4}, 3});
  const at::Tensor x = ::torch::randn({4, 1, 4, 4});
  EXPECT_FALSE(::torch::equal(model->forward(x), model->forward(x)));
  model->eval();
  EXPECT_TRUE(::torch::equal(model->forward(x), model->forward(x)));
}

TEST(Models, SameSeedSameWeights) {
  const auto weights = [](uint64_t seed) {
    ::torch::manual_seed(seed);
    return MakeModel(Vit(), {{1, 4, 4}, 3})->named_parameters()["blocks.1.fc1.weight"];
  };
  EXPECT_TRUE(::torch::equal(weights(1), weights(1)));
  EXPECT_FALSE(::torch::equal(weights(1), weights(2)));
}

TEST(Models, ErrorsNameTheOption) {
  EXPECT_EQ(MessageOf(ModelNamed("vit", "patch = 3"), {1, 8, 8}),
            "model.patch = 3 does not divide the image, 8 x 8");
  EXPECT_EQ(MessageOf(ModelNamed("vit", "heads = 3\ndim = 8"), {1, 8, 8}),
            "model.heads = 3 does not divide model.dim = 8");
  EXPECT_THAT(MessageOf(Vit(), {64}), HasSubstr("needs images"));
  EXPECT_EQ(
      MessageOf(ResNet(9, 16), {1, 8, 8}),
      "model.depth = 9 is not the depth of a resnet, which has 6 n + 2 layers: 8, 14, 20, 26, ...");
  EXPECT_THAT(MessageOf(ResNet(2, 16), {1, 8, 8}), HasSubstr("model.depth = 2 is not the depth"));
  EXPECT_EQ(MessageOf(ResNet(8, 16), {64}),
            "model.name = \"resnet\" needs images [channels, height, width]; a sample of the data "
            "has the shape [64]");
  EXPECT_EQ(MessageOf(ResNet(8, 16), {1, 8, 3}),
            "model.name = \"resnet\" needs images of at least 4 x 4, not 8 x 3");
  const auto model = MakeModel(ResNet(8, 2), {{1, 4, 4}, 3});
  const auto forward = [&] { model->forward(::torch::randn({1, 1, 4, 4})); };
  EXPECT_THAT(kudari::testing::ErrorOf(forward),
              HasSubstr("train.batch_size leaves a batch of one"));
  model->eval();
  EXPECT_NO_THROW(forward());
}

}  // namespace models_test
}  // namespace kudari::lab
