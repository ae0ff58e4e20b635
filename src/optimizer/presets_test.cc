#include "kudari/presets.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kudari/kudari.h"
#include "tests/support/model.h"

namespace kudari {
namespace presets_test {

using testing::Model;

const Model::Shapes kGpt = {{"wte.weight", {12, 8}},    {"h.0.attn.weight", {8, 8}},
                            {"h.0.fc.weight", {16, 8}}, {"h.0.fc.bias", {16}},
                            {"norm.weight", {8}},       {"lm_head.weight", {12, 8}}};

TEST(PresetsTest, EachStepsAModelWithEveryClass) {
  for (const std::string& name : PresetNames()) {
    Model model(kGpt);
    Optimizer optimizer(model.tensors, Preset(name));
    for (int step = 0; step < 7; ++step) {
      const auto before = model.params;
      model.NextGradient();
      optimizer.Step();
      for (size_t i = 0; i < before.size(); ++i) {
        EXPECT_NE(model.params[i], before[i]) << name << " " << kGpt[i].first;
        for (const float p : model.params[i]) EXPECT_TRUE(std::isfinite(p));
      }
    }
  }
}

TEST(PresetsTest, NvlambIsLambWithClippingAndExclusions) {
  OptimizerSpec expected("lamb");
  expected.clip_norm = 1.0;
  expected.clip_norm_eps = 0;
  expected.no_adapt = expected.no_decay = {TensorClass::kBias, TensorClass::kNorm};
  EXPECT_EQ(Preset("nvlamb"), expected);
}

/// The value of an option of a tensor, given by its index in kGpt, at some step.
double ValueAt(const std::string& preset, size_t tensor, const std::string& option, int64_t step) {
  Model model(kGpt);
  Optimizer optimizer(model.tensors, Preset(preset));
  StateTree state = optimizer.State();
  state.Set("step", step);
  optimizer.LoadState(state);
  return optimizer.Value(tensor, option);
}

std::vector<std::string> Rules(const std::string& preset) {
  Model model(kGpt);
  std::vector<std::string> rules;
  for (const TensorPlan& p : Optimizer(model.tensors, Preset(preset)).Plan()) {
    rules.push_back(p.rule);
  }
  return rules;
}

TEST(PresetsTest, MuonSparesEmbeddingsHeadNormsAndBiases) {
  EXPECT_EQ(Rules("muon"),
            (std::vector<std::string>{"adamw", "muon", "muon", "adamw", "adamw", "adamw"}));
}

TEST(PresetsTest, NanochatOfOctober2025) {
  const std::string name = "nanochat_2025_10";
  EXPECT_EQ(Rules(name),
            (std::vector<std::string>{"adamw", "muon", "muon", "adamw", "adamw", "adamw"}));
  for (const int64_t step : {0, 1, 150, 299, 300, 5000}) {
    const double share = std::min(static_cast<double>(step) / 300, 1.0);
    EXPECT_NEAR(ValueAt(name, 1, "momentum", step), (1 - share) * 0.85 + share * 0.95, 1e-15);
  }
  EXPECT_EQ(ValueAt(name, 1, "lr", 0), 0.02);
  EXPECT_EQ(ValueAt(name, 1, "weight_decay", 0), 0);
  EXPECT_EQ(ValueAt(name, 0, "lr", 0), 0.2);
  EXPECT_EQ(ValueAt(name, 5, "lr", 0), 0.004);
  for (const size_t tensor : {size_t{0}, size_t{5}}) {
    EXPECT_EQ(ValueAt(name, tensor, "beta1", 0), 0.8);
    EXPECT_EQ(ValueAt(name, tensor, "beta2", 0), 0.95);
    EXPECT_EQ(ValueAt(name, tensor, "eps", 0), 1e-10);
    EXPECT_EQ(ValueAt(name, tensor, "weight_decay", 0), 0);
  }
  EXPECT_EQ(Preset(name).clip_norm, Schedule(1));
}

TEST(PresetsTest, NanochatOfJuly2026) {
  const std::string name = "nanochat";
  EXPECT_EQ(Rules(name),
            (std::vector<std::string>{"adamw", "normuon", "normuon", "adamw", "adamw", "adamw"}));
  for (const int64_t step : {0, 7, 399, 400, 5000}) {
    const double share = std::min(static_cast<double>(step) / 400, 1.0);
    EXPECT_NEAR(ValueAt(name, 1, "momentum", step), (1 - share) * 0.85 + share * 0.97, 1e-15);
  }
  EXPECT_EQ(ValueAt(name, 1, "weight_decay", 0), 0.28);
  EXPECT_DOUBLE_EQ(ValueAt(name, 1, "lr", 0), 0.02 / 40);
  EXPECT_EQ(ValueAt(name, 1, "lr", 39), 0.02);
  EXPECT_EQ(ValueAt(name, 0, "lr", 40), 0.3);
  EXPECT_EQ(ValueAt(name, 0, "beta2", 0), 0.995);
  EXPECT_EQ(ValueAt(name, 0, "weight_decay", 0), 0.001);
  EXPECT_EQ(ValueAt(name, 5, "lr", 40), 0.008);
  EXPECT_EQ(ValueAt(name, 5, "beta2", 0), 0.96);
  EXPECT_EQ(ValueAt(name, 5, "weight_decay", 0), 0.01);
  EXPECT_FALSE(Preset(name).clip_norm.has_value());
}

}  // namespace presets_test
}  // namespace kudari
