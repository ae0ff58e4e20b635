#ifndef KUDARI_TESTS_SUPPORT_TRAIN_FIXTURE_H_
#define KUDARI_TESTS_SUPPORT_TRAIN_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/safetensors.h"
#include "lab/files/text_file.h"
#include "lab/recipe/train_recipe.h"
#include "lab/verbs/train.h"
#include "tests/support/errors.h"
#include "tests/support/printed.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {

/// Images of 4 x 4 pixels whose class is the brightest quarter, under noise.
inline void WriteQuarters(const std::filesystem::path& path, float scale = 1) {
  std::mt19937_64 random(5);
  std::vector<std::vector<float>> storage;
  std::vector<SafeTensor> tensors;
  storage.reserve(4);
  for (const auto& [part, count] : {std::pair<std::string, int64_t>{"train", 150}, {"test", 60}}) {
    auto& x = storage.emplace_back();
    std::vector<float> y;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t label = i % 4;
      y.push_back(static_cast<float>(label));
      for (int64_t pixel = 0; pixel < 16; ++pixel) {
        const int64_t quarter = pixel / 8 * 2 + pixel % 4 / 2;
        const float noise = static_cast<float>(random() % 1000) / 1000 - 0.5F;
        x.push_back(scale * (noise + (quarter == label ? 1.0F : 0.0F)));
      }
    }
    tensors.push_back({part + "/x", {count, 1, 4, 4}, x});
    tensors.push_back({part + "/y", {count}, storage.emplace_back(std::move(y))});
  }
  WriteSafeTensors(path, tensors);
}

inline constexpr std::string_view kRecipe = R"([model]
name = "vit"
patch = 2
dim = 8
depth = 1
heads = 2
[data]
name = "safetensors"
[optimizer]
rule = "adamw"
lr = 1e-2
[train]
epochs = 2
batch_size = 16
threads = 1
)";

/// Two parts, each with an optimiser.
inline constexpr std::string_view kGan = R"toml([model]
name = "dcgan"
width = 4
latent = 6
[data]
name = "digits"
samples = 96
[optimizer]
rule = "adam"
lr = 1e-3
beta1 = 0.5
[optimizer.generator]
lr = "2e-3 * linear(end)"
[train]
epochs = 2
batch_size = 32
threads = 1
)toml";

/// A folder with the data and a recipe.
class TrainFixture : public ::testing::Test {
 protected:
  TrainFixture() {
    WriteQuarters(dir_ / "data.safetensors");
    WriteRecipe(kRecipe);
  }

  void WriteRecipe(std::string_view text) { std::ofstream(dir_ / "r.toml") << text; }

  TrainOptions Options(std::vector<std::string> sets, const std::string& out = "out") const {
    TrainOptions options;
    options.recipe = dir_ / "r.toml";
    options.changes.sets = std::move(sets);
    options.changes.sets.push_back("data.path=" + (dir_ / "data.safetensors").string());
    options.out = dir_ / out;
    options.force = true;  // a test may train into the same folder twice
    return options;
  }

  /// The recipe with these changes.
  Recipe ReadRecipe(std::vector<std::string> sets = {}) const {
    const TrainOptions options = Options(std::move(sets));
    return ReadTrainRecipe(options.recipe, options.changes);
  }

  /// Trains, keeping what the console was shown.
  RunState Go(const TrainOptions& options) {
    RunState result;
    console_ =
        kudari::testing::Printed([&](std::FILE* console) { result = Train(options, console); });
    return result;
  }

  /// Trains a recipe that says itself where its data is.
  RunState Run(std::string_view recipe, std::vector<std::string> sets = {}) {
    WriteRecipe(recipe);
    TrainOptions options = Options({});
    options.changes.sets = std::move(sets);
    return Go(options);
  }

  std::string MessageOf(const TrainOptions& options) {
    return kudari::testing::ErrorOf([&] { Go(options); });
  }

  /// The lines of metrics.jsonl that have the key; all of them without one.
  std::vector<nlohmann::json> Metrics(const std::string& key = "",
                                      const std::string& out = "out") const {
    std::istringstream in(ReadTextFile(dir_ / out / "metrics.jsonl"));
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(in, line);) {
      nlohmann::json item = nlohmann::json::parse(line);
      if (key.empty() || item.contains(key)) lines.push_back(std::move(item));
    }
    return lines;
  }

  kudari::testing::TemporaryFolder dir_;
  std::string console_;
};

/// Everything that is measured but the time.
inline std::vector<nlohmann::json> WithoutTime(std::vector<nlohmann::json> lines) {
  for (nlohmann::json& line : lines) line.erase("seconds");
  return lines;
}

/// The same recipe for a residual network, with what `train` adds to it.
inline std::string ResNetRecipe() {
  return "[model]\nname = \"resnet\"\nwidth = 4\n" +
         std::string(kRecipe.substr(kRecipe.find("[data]")));
}

}  // namespace kudari::lab

#endif  // KUDARI_TESTS_SUPPORT_TRAIN_FIXTURE_H_
