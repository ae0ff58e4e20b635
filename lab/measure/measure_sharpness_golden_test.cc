// The sharpness-aware sources through `kudari train`, beside whole training runs by davda54/sam,
// SamsungLabs/ASAM, juntang-zhuang/GSAM, Leminhbinh0209/LookSAM and others in double, which
// tests/golden/make_sharpness.py recorded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kudari/safetensors.h"
#include "lab/files/text_file.h"
#include "lab/verbs/train.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace measure_sharpness_golden_test {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kGoldens = fs::path(KUDARI_SOURCE_DIR) / "tests/golden/data/sharpness";

std::vector<json> Cases() {
  return json::parse(ReadTextFile(kGoldens / "cases.json"))["cases"].get<std::vector<json>>();
}

// A value of a case as an option of a recipe.
std::string Toml(const json& value) {
  if (!value.is_array()) return value.dump();
  std::string groups;
  for (const json& group : value) {
    groups += "{match = " + group["match"].dump() + ", rho = " + group["rho"].dump() + "},";
  }
  return "[" + groups + "]";
}

std::vector<std::string> OptimizerOf(const json& c) {
  std::vector<std::string> sets;
  for (const auto& [key, value] : c["base"].items()) {
    sets.push_back("optimizer." + key + "=" + Toml(value));
  }
  for (const auto& [key, value] : c["options"].items()) {
    if (key == "source") {
      sets.push_back("optimizer.source=" + Toml(value));
    } else if (!c.contains("lr")) {
      sets.push_back("optimizer.sharpness." + key + "=" + Toml(value));
    }
  }
  if (c.contains("lr")) {  // the one case whose lr and rho fall in proportion
    const auto fall = [&](const std::string& key) {
      return c[key][0].dump() + " * linear(60, 0.1)";
    };
    sets.push_back("optimizer.lr=" + fall("lr"));
    sets.push_back("optimizer.sharpness.rho=" + fall("rho"));
    sets.push_back("optimizer.sharpness.alpha=" + c["options"]["alpha"].dump());
  }
  return sets;
}

std::vector<double> Doubles(const SafeTensorsFile& file, const std::string& name) {
  const SafeTensor& t = file.Find(name);
  EXPECT_EQ(t.dtype, "F64");
  std::vector<double> values(t.bytes.size() / sizeof(double));
  std::memcpy(values.data(), t.bytes.data(), t.bytes.size());
  return values;
}

class SharpnessGoldenTest : public ::testing::TestWithParam<json> {};

INSTANTIATE_TEST_SUITE_P(Cases, SharpnessGoldenTest, ::testing::ValuesIn(Cases()),
                         [](const auto& test) {
                           std::string name = test.param["name"];
                           for (char& c : name) c = std::isalnum(c) != 0 ? c : '_';
                           return name;
                         });

TEST_P(SharpnessGoldenTest, TrainingIsTheOracles) {
  const json& c = GetParam();
  const std::string name = c["name"];
  const kudari::testing::TemporaryFolder dir;
  std::ofstream(dir / "r.toml") << "[model]\nname = \"mlp\"\nhidden = [16, 8]\n"
                                   "[data]\nname = \"safetensors\"\nvalidation = 0\n"
                                   "[train]\nbatch_size = 64\nshuffle = false\nthreads = 1\n"
                                   "[optimizer]\nrule = \"sgd\"\n";
  const SafeTensorsFile golden(kGoldens / (name + ".safetensors"));
  for (const int64_t steps : {1, 2, 10, 60}) {
    TrainOptions options;
    options.recipe = dir / "r.toml";
    options.out = dir.path();
    options.force = true;
    options.changes.sets = OptimizerOf(c);
    options.changes.sets.push_back("data.path=" + (kGoldens / "data.safetensors").string());
    options.changes.sets.push_back("train.init=" + (kGoldens / "init.safetensors").string());
    options.changes.sets.push_back("train.steps=" + std::to_string(steps));
    std::FILE* const console = std::tmpfile();
    const RunState result = Train(options, console);
    std::fclose(console);
    EXPECT_EQ(result.steps, steps);
    if (steps == 60) {
      EXPECT_EQ(result.gradients, c["gradients"].get<int64_t>());
    }
    const SafeTensorsFile model(dir / "model.safetensors");
    double difference = 0, norm = 0;
    for (const SafeTensor& t : model.tensors()) {
      const auto expected = Doubles(golden, "step" + std::to_string(steps) + "/" + t.name);
      const std::span<const float> ours = model.Floats(t.name);
      ASSERT_EQ(ours.size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        difference += std::pow(ours[i] - expected[i], 2);
        norm += expected[i] * expected[i];
      }
    }
    EXPECT_LT(std::sqrt(difference / norm), 2e-6) << steps;
  }
  // The metrics tell how often it went forward and backward.
  std::ifstream metrics(dir / "metrics.jsonl");
  int64_t gradients = 0;
  for (std::string line; std::getline(metrics, line);) {
    gradients += json::parse(line).value("gradients", int64_t{0});
  }
  EXPECT_EQ(gradients, c["gradients"].get<int64_t>());
}

}  // namespace measure_sharpness_golden_test
}  // namespace kudari::lab
