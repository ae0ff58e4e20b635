// A model and a data set from one place each, as a file of lab/models and one of lab/data are: all
// that is known of them is their entries.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <random>

#include "kudari/error.h"
#include "lab/data/data.h"
#include "lab/models/models.h"
#include "lab/recipe/own_options.h"
#include "lab/recipe/train_recipe.h"
#include "lab/train/trainer.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace toy_entries_test {

using ::testing::HasSubstr;

// ---- What lab/models/scaled.cc would be ----

struct ScaledOptions {
  double gain = 1;
  int64_t layers = 1;
};

const internal::OptionTable<ScaledOptions>& ScaledTable() {
  using O = ScaledOptions;
  static const internal::OptionTable<O> table = {
      {.name = "gain", .member = &O::gain, .low = 0, .high = 8, .doc = "factor of the output"},
      {.name = "layers", .member = &O::layers, .least = 1, .most = 9, .doc = "number of layers"}};
  return table;
}

class Scaled : public Model {
 public:
  Scaled(const ScaledOptions& options, int64_t in, int64_t out) : gain_(options.gain) {
    for (int64_t i = 0; i < options.layers; ++i) {
      layers_->push_back(::torch::nn::Linear(i == 0 ? in : out, out));
    }
    register_module("layers", layers_);
  }

  at::Tensor forward(const at::Tensor& x) override {
    return gain_ * layers_->forward(x.flatten(1));
  }

 private:
  double gain_;
  ::torch::nn::Sequential layers_;
};

ModelEntry DescribeScaled() {
  return {.name = "scaled",
          .doc = "linear layers with a gain",
          .options = MakeOwnOptions(ScaledOptions(), ScaledTable())};
}

std::shared_ptr<Model> BuildScaled(const ModelConfig& config, const DataShape& data) {
  return std::make_shared<Scaled>(ValuesOf<ScaledOptions>(config.options), data.sample.at(0),
                                  data.outputs);
}

// ---- What lab/data/halves.cc would be ----

struct HalvesOptions {
  int64_t size = 4;
};

const internal::OptionTable<HalvesOptions>& HalvesTable() {
  using O = HalvesOptions;
  static const internal::OptionTable<O> table = {
      {.name = "size", .member = &O::size, .least = 2, .most = 64, .doc = "values of a sample"}};
  return table;
}

// Samples of which the first value, 1 or -1, tells the class.
Dataset LoadHalves(const DataConfig& config, uint64_t seed) {
  const int64_t size = ValuesOf<HalvesOptions>(config.options).size;
  std::mt19937_64 random(seed);
  Dataset data{.name = "halves", .shape = {size}, .classes = 2};
  for (Split* split : {&data.train, &data.validation, &data.test}) {
    split->samples = 64;
    for (int64_t i = 0; i < split->samples; ++i) {
      split->labels.push_back(i % 2);
      for (int64_t k = 0; k < size; ++k) {
        split->x.push_back(k == 0 ? static_cast<float>(1 - 2 * (i % 2))
                                  : static_cast<float>(random() % 3) - 1);
      }
    }
  }
  return data;
}

DataEntry DescribeHalves() {
  return {.name = "halves",
          .doc = "two classes by the sign of a value",
          .options = MakeOwnOptions(HalvesOptions(), HalvesTable()),
          .load = &LoadHalves};
}

// ----

LabRegistry WithToys() {
  LabRegistry registry = LabRegistry::Builtin();
  registry.models.Add(Built(DescribeScaled(), &BuildScaled));
  registry.data.Add(DescribeHalves());
  return registry;
}

constexpr const char* kToyRecipe =
    "model = {name = \"scaled\", gain = 2, layers = 2}\n"
    "data = {name = \"halves\", size = 6}\n"
    "optimizer = {rule = \"adam\", lr = 0.05}\n"
    "train = {steps = 100, threads = 1}\n";

TEST(Registry, ToysAreReadListedAndWritten) {
  const LabRegistry registry = WithToys();
  const Recipe recipe = ParseTrainRecipe(kToyRecipe, "toy.toml", {}, registry);
  const std::string text = ToToml(recipe);
  EXPECT_THAT(text, HasSubstr("[model]\nname = \"scaled\"\ngain = 2\nlayers = 2\n"));
  EXPECT_THAT(text, HasSubstr("label_noise = 0\nsize = 6\n"));
  Recipe again = ParseTrainRecipe(text, "again", {}, registry);
  EXPECT_EQ(again.model, recipe.model);
  EXPECT_EQ(again.data, recipe.data);
  EXPECT_NE(again.model, ModelNamed("scaled", "gain = 3\nlayers = 2", registry));

  const std::vector<Description> tables = DescribeRecipe(registry);
  EXPECT_THAT(tables[0].options[0].range, HasSubstr("\"scaled\""));
  EXPECT_THAT(tables[0].options[0].doc, HasSubstr("scaled: linear layers with a gain"));
  EXPECT_EQ(tables[0].options.back().doc, "scaled: number of layers");
  EXPECT_EQ(tables[1].options.back().doc, "halves: values of a sample");

  const auto error = [&](const char* model) {
    return kudari::testing::ErrorOf([&] {
      ParseTrainRecipe(std::string("model = {") + model + "}\noptimizer = {rule = \"sgd\"}", "t",
                       {}, registry);
    });
  };
  EXPECT_EQ(error("name = \"scaled\", gain = 9"), "t:1: model.gain: 9 is outside [0, 8]");
  EXPECT_EQ(error("name = \"vit\", gain = 1"),
            "t:1: model.gain: is not an option of model \"vit\", only of scaled");
  EXPECT_THAT(error("name = \"scald\""), HasSubstr("did you mean \"scaled\"?"));
  LabRegistry twice = WithToys();
  EXPECT_EQ(kudari::testing::ErrorOf([&] { twice.models.Add(DescribeScaled()); }),
            "model.name = \"scaled\" is already taken");
}

TEST(Registry, ToysAreTrained) {
  const Recipe recipe = ParseTrainRecipe(kToyRecipe, "toy.toml", {}, WithToys());
  const Dataset data = LoadData(recipe.data, 3);
  ASSERT_EQ(data.shape, std::vector<int64_t>{6});
  ::torch::manual_seed(1);
  const auto model = MakeModel(recipe.model, data.Shape());
  EXPECT_EQ(model->ParameterCount(), (6 * 2 + 2) + (2 * 2 + 2));
  Trainer trainer(recipe);
  EXPECT_GT(trainer.Run().test.accuracy, 0.95);
}

}  // namespace toy_entries_test
}  // namespace kudari::lab
