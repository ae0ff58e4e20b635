// The models of vision that have published names, against what torchvision, timm, pytorchcv and
// RobustBench compute in Python (tests/golden/make_vision_models.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/safetensors.h"
#include "kudari/tensor.h"
#include "lab/models/models.h"
#include "lab/models/parts/vision.h"
#include "lab/train/weights.h"
#include "tests/support/errors.h"
#include "tests/support/made.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace vision_models_test {

using ::at::Tensor;
using kudari::testing::Made;
using kudari::testing::NamesChecksum;
using kudari::testing::Summary;
using ::nlohmann::json;
using ::testing::HasSubstr;
using Shape = std::vector<int64_t>;

const json& Goldens() {
  static const json goldens = [] {
    std::ifstream file(std::filesystem::path(KUDARI_SOURCE_DIR) /
                       "tests/golden/data/vision_models.json");
    return json::parse(file);
  }();
  return goldens;
}

std::shared_ptr<Model> ModelOf(const json& golden) {
  const ModelConfig config =
      ModelNamed(golden["model"].get<std::string>(), golden["options"].get<std::string>());
  return MakeModel(config, {golden["shape"].get<Shape>(), golden["classes"].get<int64_t>()});
}

// The state dict, as torch has it in Python.
std::map<std::string, Tensor> StateDictOf(const Model& model) {
  std::map<std::string, Tensor> state;
  for (const auto& item : model.named_parameters()) state.emplace(item.key(), item.value());
  for (const auto& item : model.named_buffers()) state.emplace(item.key(), item.value());
  return state;
}

// Writes a state dict of the golden's names, with counts of batches, as the oracle would.
void WriteStateDict(const json& golden, const std::filesystem::path& path) {
  std::vector<Tensor> values;  // kept
  std::vector<SafeTensor> tensors;
  static constexpr int64_t kBatches = 7;
  for (const json& tensor : golden["tensors"]) {
    const std::string name = tensor[0];
    if (name.ends_with("num_batches_tracked")) {
      tensors.push_back({name, "I64", {}, std::as_bytes(std::span(&kBatches, 1))});
      continue;
    }
    const Tensor& value = values.emplace_back(Made(name, tensor[1].get<Shape>()));
    tensors.push_back(
        {name, value.sizes().vec(), {value.data_ptr<float>(), static_cast<size_t>(value.numel())}});
  }
  WriteSafeTensors(path, tensors);
}

void ExpectClose(const Tensor& values, const json& golden, const std::string& what) {
  const Tensor expected = ::torch::tensor(golden.get<std::vector<double>>(), at::kDouble);
  EXPECT_LT(((values.flatten() - expected).norm() / expected.norm()).item<double>(), 1e-9) << what;
}

class VisionTwins : public ::testing::TestWithParam<int> {};

// Weights come from a file with the published names. In double, so that what remains of the
// differences in rounding is far below any mistake.
TEST_P(VisionTwins, DoAsTheOraclesDo) {
  const json& golden = Goldens()["twins"].at(static_cast<size_t>(GetParam()));
  SCOPED_TRACE(golden["oracle"].get<std::string>());
  const auto model = ModelOf(golden);
  const kudari::testing::TemporaryFolder folder;
  WriteStateDict(golden, folder / "state.safetensors");
  LoadWeights(*model, folder / "state.safetensors");
  model->to(at::kDouble);

  Shape shape = golden["shape"].get<Shape>();
  shape.insert(shape.begin(), golden["batch"].get<int64_t>());
  const Tensor x = 2 * Made("x", shape).to(at::kDouble);
  model->eval();
  ExpectClose(model->forward(x), golden["evaluation"], "evaluation");
  model->train();
  const Tensor outputs = model->forward(x);
  ExpectClose(outputs, golden["training"], "training");
  const Tensor labels = ::torch::arange(shape[0]).remainder(golden["classes"].get<int64_t>());
  const Tensor loss = at::cross_entropy_loss(outputs, labels);
  EXPECT_NEAR(loss.item<double>(), golden["loss"].get<double>(), 1e-9);
  loss.backward();

  const auto state = StateDictOf(*model);
  double largest = 0;  // of a gradient
  for (const auto& [name, tensor] : state) {
    if (tensor.requires_grad()) largest = std::max(largest, tensor.grad().norm().item<double>());
  }
  std::set<std::string> names;
  for (const json& expected : golden["tensors"]) {
    const std::string name = expected[0];
    names.insert(name);
    ASSERT_TRUE(state.contains(name)) << name;
    const Tensor& tensor = state.at(name);
    ASSERT_EQ(tensor.sizes().vec(), expected[1].get<Shape>()) << name;
    if (expected.size() == 2) continue;  // a number of batches
    const Tensor value = tensor.requires_grad() ? tensor.grad() : tensor;
    const auto [norm, product] = Summary(name, value);
    // Some gradients are zero but for rounding, as of a bias before a batch norm.
    const double scale = expected[2].get<double>() + (tensor.requires_grad() ? 1e-5 * largest : 0);
    EXPECT_NEAR(norm / scale, expected[2].get<double>() / scale, 1e-7) << name;
    // A probe has values in [-0.5, 0.5), of variance 1 / 12.
    const double length = std::sqrt(static_cast<double>(value.numel()) / 12);
    EXPECT_NEAR(product / (scale * length), expected[3].get<double>() / (scale * length), 1e-7)
        << name;
  }
  for (const auto& [name, tensor] : state) EXPECT_TRUE(names.contains(name)) << name;
}

INSTANTIATE_TEST_SUITE_P(All, VisionTwins, ::testing::Range(0, 9));

TEST(VisionModels, AllTwinsAreTested) { EXPECT_EQ(Goldens()["twins"].size(), 9u); }

// Names, shapes and numbers of parameters of the published models.
TEST(VisionModels, HavePublishedSizesAndNames) {
  ::torch::manual_seed(1);
  for (const json& golden : Goldens()["published"]) {
    SCOPED_TRACE(golden["oracle"].get<std::string>());
    const auto model = ModelOf(golden);
    EXPECT_EQ(model->ParameterCount(), golden["parameters"].get<int64_t>());
    if (!golden.contains("names")) continue;  // those are the lab's own
    const auto state = StateDictOf(*model);
    EXPECT_EQ(NamesChecksum({state.begin(), state.end()}), golden["names"].get<std::string>());
  }
}

// Small ones of each.
std::vector<ModelConfig> SmallModels(const std::string& options = "") {
  std::vector<ModelConfig> all;
  for (const auto& [name, size] : {std::pair{"imagenet_resnet", "width = 2\n"},
                                   {"wide_resnet", "depth = 10\nwiden = 1\n"},
                                   {"vgg", "width = 2\n"},
                                   {"timm_vit", "patch = 8\ndim = 8\ndepth = 2\nheads = 2\n"}}) {
    all.push_back(ModelNamed(name, size + options));
  }
  return all;
}

TEST(VisionModels, TakeImagesAndClassesOfAnyNumber) {
  ::torch::manual_seed(1);
  std::vector<ModelConfig> models = SmallModels();
  models.push_back(ModelNamed("imagenet_resnet", "width = 2\ndepth = 50\nstem = \"small\""));
  models.push_back(ModelNamed("vgg", "width = 2\nclassifier = \"imagenet\"\nhidden = 3"));
  for (const ModelConfig& config : models) {
    for (const Shape& shape : {Shape{1, 32, 40}, Shape{4, 64, 48}}) {
      const auto model = MakeModel(config, {shape, 6});
      const Tensor y = model->forward(::torch::randn({2, shape[0], shape[1], shape[2]}));
      EXPECT_EQ(y.sizes().vec(), (Shape{2, 6})) << config.name();
      y.square().sum().backward();
      for (const auto& item : model->named_parameters()) {
        EXPECT_TRUE(item.value().grad().defined()) << config.name() << " " << item.key();
      }
    }
  }
}

TEST(VisionModels, MayStoreWeightsInSixteenBits) {
  for (const ModelConfig& config : SmallModels()) {
    ::torch::manual_seed(1);
    const auto model = MakeModel(config, {{3, 32, 32}, 3});
    model->eval();
    const Tensor x = ::torch::randn({4, 3, 32, 32});
    const Tensor full = model->forward(x);
    model->StoreWeights(at::kBFloat16);
    const Tensor half = model->forward(x.to(at::kBFloat16));
    EXPECT_EQ(half.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(at::allclose(half.to(at::kFloat), full, 0.1, 0.05)) << config.name();
  }
}

// With the last batch norms at zero, no convolution of a block matters.
TEST(VisionModels, ZeroInitMakesBlocksOfShortcuts) {
  ::torch::manual_seed(1);
  for (const char* const depth : {"18", "50"}) {
    const std::string options = std::string("width = 2\nzero_init = true\ndepth = ") + depth;
    const auto model = MakeModel(ModelNamed("imagenet_resnet", options), {{3, 32, 32}, 3});
    model->eval();
    const Tensor x = ::torch::randn({2, 3, 32, 32});
    const Tensor before = model->forward(x);
    const ::torch::NoGradGuard no_grad;
    auto parameters = model->named_parameters();
    parameters["layer2.1.conv1.weight"].fill_(3);
    EXPECT_TRUE(model->forward(x).equal(before));
    parameters["layer2.0.downsample.0.weight"].mul_(3);
    EXPECT_FALSE(model->forward(x).equal(before));
  }
  const auto model = MakeModel(ModelNamed("resnet", "width = 2\nzero_init = true"), {{3, 8, 8}, 3});
  for (const auto& item : model->named_parameters()) {
    if (!item.key().ends_with("bn2.weight")) continue;
    EXPECT_EQ(item.value().abs().sum().item<double>(), 0);
  }
}

TEST(VisionModels, DropPathDropsWholeSamplesAndKeepsTheMean) {
  ::torch::manual_seed(1);
  const Tensor x = ::torch::ones({4000, 2, 3});
  const Tensor y = DropPath(x, 0.2, true);
  EXPECT_TRUE(y.amin({1, 2}).equal(y.amax({1, 2})));
  EXPECT_TRUE(((y == 0) | (y == 1.25)).all().item<bool>());
  // Five deviations of the mean of 4000: 5 sqrt(0.2 / 0.8 / 4000).
  EXPECT_NEAR(y.mean().item<double>(), 1, 0.04);
  EXPECT_TRUE(DropPath(x, 0.2, false).equal(x));
  EXPECT_TRUE(DropPath(x, 0, true).equal(x));
  EXPECT_EQ(DropPathRate(0.4, 0, 5), 0);
  EXPECT_EQ(DropPathRate(0.4, 2, 5), 0.2);
  EXPECT_EQ(DropPathRate(0.4, 4, 5), 0.4);
  EXPECT_EQ(DropPathRate(0.4, 0, 1), 0);
}

// Outputs are random in training alone, and the same for the same seed.
TEST(VisionModels, RandomPartsActInTrainingOnly) {
  const std::vector<ModelConfig> models = {
      ModelNamed("resnet", "width = 2\ndrop_path = 0.5"),
      ModelNamed("imagenet_resnet", "width = 2\ndrop_path = 0.5"),
      ModelNamed("imagenet_resnet", "width = 2\ndepth = 50\ndrop_path = 0.5"),
      ModelNamed("wide_resnet", "depth = 10\nwiden = 1\ndropout = 0.5"),
      ModelNamed("vgg", "width = 2\nclassifier = \"imagenet\"\nhidden = 32"),
      ModelNamed("vit", "patch = 8\ndim = 8\nheads = 2\ndrop_path = 0.5"),
      ModelNamed("timm_vit", "patch = 8\ndim = 8\ndepth = 2\nheads = 2\ndropout = 0.5"),
      ModelNamed("timm_vit", "patch = 8\ndim = 8\ndepth = 2\nheads = 2\nattention_dropout = 0.5"),
      ModelNamed("timm_vit", "patch = 8\ndim = 8\ndepth = 2\nheads = 2\ndrop_path = 0.5")};
  for (const ModelConfig& config : models) {
    SCOPED_TRACE(config.name() + "\n" + config.options.Lines());
    EXPECT_TRUE(config.entry->traits(config).dropout);
    ::torch::manual_seed(1);
    const auto model = MakeModel(config, {{3, 32, 32}, 3});
    const Tensor x = ::torch::randn({8, 3, 32, 32});
    const auto outputs = [&](uint64_t seed) {
      ::torch::manual_seed(seed);
      return model->forward(x);
    };
    EXPECT_TRUE(outputs(2).equal(outputs(2)));
    EXPECT_FALSE(outputs(2).equal(outputs(3)));
    model->eval();
    EXPECT_TRUE(outputs(2).equal(outputs(3)));
  }
}

TEST(VisionModels, ErrorsNameTheOption) {
  ::torch::manual_seed(1);
  const auto message = [](const std::string& name, const std::string& options, const Shape& shape) {
    return kudari::testing::ErrorOf([&] { MakeModel(ModelNamed(name, options), {shape, 10}); });
  };
  EXPECT_EQ(message("imagenet_resnet", "depth = 20", {3, 32, 32}),
            "model.depth = 20 is not the depth of an imagenet_resnet: 18, 34, 50, 101 or 152");
  EXPECT_EQ(message("wide_resnet", "depth = 17", {3, 32, 32}),
            "model.depth = 17 is not the depth of a wide_resnet, which has 6 n + 4 layers: 10, 16, "
            "22, 28, ...");
  EXPECT_THAT(message("wide_resnet", "depth = 4", {3, 32, 32}), HasSubstr("model.depth = 4"));
  EXPECT_EQ(message("wide_resnet", "", {3, 32, 3}),
            "model.name = \"wide_resnet\" needs images of at least 4 x 4, not 32 x 3");
  EXPECT_EQ(message("vgg", "depth = 12", {3, 32, 32}),
            "model.depth = 12 is not the depth of a vgg: 11, 13, 16 or 19");
  EXPECT_EQ(message("vgg", "", {3, 28, 28}),
            "model.name = \"vgg\" needs images of at least 32 x 32, not 28 x 28");
  EXPECT_EQ(message("timm_vit", "", {3, 28, 28}),
            "model.patch = 16 does not divide the image, 28 x 28");
  EXPECT_EQ(message("timm_vit", "heads = 5", {3, 32, 32}),
            "model.heads = 5 does not divide model.dim = 384");
  for (const ModelConfig& config : SmallModels()) {
    EXPECT_THAT(message(config.name(), "", {64}), HasSubstr("needs images"));
  }
  EXPECT_THAT(message("imagenet_resnet", "width = 4096\ndepth = 152", {3, 32, 32}),
              HasSubstr("model: has about 2.3e+11 parameters"));
  EXPECT_THAT(message("wide_resnet", "widen = 256\ndepth = 1000", {3, 32, 32}),
              HasSubstr("model: has about"));
  EXPECT_THAT(message("vgg", "width = 4096", {3, 32, 32}), HasSubstr("model: has about"));
  EXPECT_THAT(message("timm_vit", "dim = 65536\nheads = 1\ndepth = 1000", {3, 32, 32}),
              HasSubstr("model: has about"));
}

// Batch norm of one value of each channel has no variance.
TEST(VisionModels, ABatchOfOneNeedsMoreThanOnePixelInTheEnd) {
  ::torch::manual_seed(1);
  for (const auto& [name, options, side] : {std::tuple{"imagenet_resnet", "width = 2", 32},
                                            {"imagenet_resnet", "width = 2\nstem = \"small\"", 8},
                                            {"wide_resnet", "depth = 10\nwiden = 1", 4}}) {
    const auto model = MakeModel(ModelNamed(name, options), {{3, side, side}, 3});
    const auto message = [&model, height = side](int64_t width) {
      return kudari::testing::ErrorOf([&] {
        model->forward(::torch::randn({1, 3, height, width}));
      });
    };
    EXPECT_THAT(message(side), HasSubstr("train.batch_size leaves a batch of one")) << name;
    EXPECT_EQ(message(side + 1), "no error") << name;
    model->eval();
    EXPECT_EQ(message(side), "no error") << name;
  }
}

TEST(VisionModels, NamesAndLayersTellTheirClasses) {
  for (const auto& [name, shape, tensor_class] :
       {std::tuple<const char*, Shape, TensorClass>{"fc.weight", {10, 64}, TensorClass::kHead},
        {"layer1.0.downsample.1.weight", {64}, TensorClass::kNorm},
        {"classifier.weight", {10, 64}, TensorClass::kHead},
        {"cls_token", {1, 1, 8}, TensorClass::kEmbedding},
        {"pos_embed", {1, 5, 8}, TensorClass::kEmbedding},
        {"blocks.0.attn.qkv.weight", {24, 8}, TensorClass::kMatrix},
        {"head.weight", {10, 8}, TensorClass::kHead}}) {
    EXPECT_EQ(Classify(name, shape), tensor_class) << name;
  }
}

}  // namespace vision_models_test
}  // namespace kudari::lab
