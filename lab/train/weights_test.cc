#include "lab/train/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <filesystem>
#include <string>
#include <vector>

#include "kudari/error.h"
#include "kudari/safetensors.h"
#include "lab/train/objective.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace weights_test {

namespace fs = std::filesystem;
using ::at::Tensor;
using ::testing::HasSubstr;

std::shared_ptr<Model> ResNet(uint64_t seed) {
  const ModelConfig config = ModelNamed("resnet", "depth = 8\nwidth = 4");
  ::torch::manual_seed(seed);
  return MakeModel(config, {{1, 8, 8}, 3});
}

Samples SomeSamples() {
  ::torch::manual_seed(5);
  return {2 * ::torch::randn({40, 1, 8, 8}) + 1, ::torch::randint(3, {40}, ::torch::kInt64)};
}

class WeightsTest : public ::testing::Test {
 protected:
  // Writes the tensors of a model whose names have `part`, and the parameters.
  void WriteSome(const Model& model, const std::string& part) const {
    std::vector<SafeTensor> tensors;
    const auto add = [&](const std::string& name, const Tensor& t) {
      tensors.push_back(
          {name, t.sizes().vec(), {t.data_ptr<float>(), static_cast<size_t>(t.numel())}});
    };
    for (const auto& item : model.named_parameters()) add(item.key(), item.value());
    for (const auto& item : model.named_buffers()) {
      if (!part.empty() && item.key().find(part) != std::string::npos)
        add(item.key(), item.value());
    }
    WriteSafeTensors(path_, tensors);
  }

  kudari::testing::TemporaryFolder folder_;
  const fs::path path_ = folder_ / "model.safetensors";
};

TEST_F(WeightsTest, StatisticsAreSavedSoThatTheLossIsTheSameBitForBit) {
  const Samples samples = SomeSamples();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Compute compute{.weights = type};
    const auto model = ResNet(1);
    model->StoreWeights(type);
    for (int i = 0; i < 3; ++i) Forward(*model, samples.All().x, compute);
    const Score score = Evaluate(*model, samples, LossNamed("cross_entropy"), compute);
    SaveWeights(*model, path_);
    const auto other = ResNet(2);
    other->StoreWeights(type);
    EXPECT_NE(Evaluate(*other, samples, LossNamed("cross_entropy"), compute).loss, score.loss);
    LoadWeights(*other, path_);
    EXPECT_EQ(std::bit_cast<uint64_t>(
                  Evaluate(*other, samples, LossNamed("cross_entropy"), compute).loss),
              std::bit_cast<uint64_t>(score.loss));
    const SafeTensorsFile file(path_);
    EXPECT_TRUE(file.Contains("blocks.2.bn1.running_mean"));
    EXPECT_TRUE(file.Contains("bn1.running_var"));
    EXPECT_FALSE(file.Contains("bn1.num_batches_tracked"));
  }
}

TEST_F(WeightsTest, AFileMayHaveParametersAlone) {
  const auto model = ResNet(1), other = ResNet(2);
  WriteSome(*model, "");
  Forward(*other, SomeSamples().All().x, {});
  const Tensor before = other->named_buffers()["bn1.running_mean"].clone();
  EXPECT_NE(before.abs().sum().item<double>(), 0);
  LoadWeights(*other, path_);
  EXPECT_TRUE(
      other->named_parameters()["conv1.weight"].equal(model->named_parameters()["conv1.weight"]));
  EXPECT_TRUE(other->named_buffers()["bn1.running_mean"].equal(before));
}

TEST_F(WeightsTest, StatisticsAreAllThereOrNone) {
  const auto model = ResNet(1);
  WriteSome(*model, "running_mean");
  EXPECT_THAT(kudari::testing::ErrorOf([&] { LoadWeights(*model, path_); }),
              HasSubstr("running_var"));
}

// Such as a head for other classes.
TEST_F(WeightsTest, SkippedNamesKeepTheirWeights) {
  const auto model = ResNet(1);
  SaveWeights(*model, path_);
  const auto fresh = [] {
    ::torch::manual_seed(2);
    return MakeModel(ModelNamed("resnet", "depth = 8\nwidth = 4"), {{1, 8, 8}, 5});
  };
  const auto message = [&](const std::vector<std::string>& skip) {
    return kudari::testing::ErrorOf([&] { LoadWeights(*fresh(), path_, skip); });
  };
  EXPECT_THAT(message({}), HasSubstr("tensor \"head.weight\" has the shape [3, 16], the model's "
                                     "has [5, 16]"));
  EXPECT_THAT(message({"head.bias"}), HasSubstr("tensor \"head.weight\" has the shape"));
  EXPECT_EQ(message({"head.*", "fc.*"}),
            "train.init_skip: \"fc.*\" matches no parameter of the model");
  const auto other = fresh();
  LoadWeights(*other, path_, {"head.*", "*.bn1.*"});
  const auto before = fresh()->named_parameters(), after = other->named_parameters();
  EXPECT_TRUE(after["head.weight"].equal(before["head.weight"]));
  EXPECT_TRUE(after["conv1.weight"].equal(model->named_parameters()["conv1.weight"]));

  // Nor does the file need them, in parameters or statistics, or the model those of the file.
  SaveWeights(*MakeModel(ModelNamed("linear"), {{4}, 3}), path_);
  EXPECT_THAT(message({"*conv*"}), HasSubstr("bn1.weight"));
  const auto before_all = fresh();
  const auto all = fresh();
  LoadWeights(*all, path_, {"*"});
  EXPECT_TRUE(
      all->named_parameters()["head.bias"].equal(before_all->named_parameters()["head.bias"]));
}

TEST_F(WeightsTest, StatisticsOfAnotherModelAreNamed) {
  const auto model = ResNet(1);
  SaveWeights(*model, path_);
  const auto linear = MakeModel(ModelNamed("linear"), {{4}, 3});
  EXPECT_THAT(kudari::testing::ErrorOf([&] { LoadWeights(*linear, path_); }),
              HasSubstr(path_.string()));
}

}  // namespace weights_test
}  // namespace kudari::lab
