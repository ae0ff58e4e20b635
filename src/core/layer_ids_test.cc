#include "core/layer_ids.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/errors.h"

namespace kudari::internal {
namespace layer_ids_test {

using ::kudari::testing::ErrorOf;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int64_t> Layers(const std::vector<Tensor>& tensors,
                            const std::vector<std::string>& patterns = {}) {
  std::vector<TensorClass> classes;
  for (const Tensor& t : tensors) classes.push_back(Classify(t.name, t.shape));
  return LayersOf(tensors, classes, patterns);
}

std::vector<int64_t> LayersOfMatrices(const std::vector<std::string>& names,
                                      const std::vector<std::string>& patterns = {}) {
  std::vector<Tensor> tensors;
  for (const std::string& name : names) tensors.push_back({.name = name, .shape = {4, 4}});
  return Layers(tensors, patterns);
}

TEST(LayerIdsTest, AreTimms) {
  const json golden =
      json::parse(std::ifstream(KUDARI_SOURCE_DIR "/tests/golden/layer_decay.json"));
  ASSERT_GE(golden.size(), 9U);
  for (const json& c : golden) {
    const json& options = c["options"];
    std::vector<Tensor> tensors;
    for (const json& p : c["parameters"]) tensors.push_back({.name = p[0], .shape = p[1]});
    const std::vector<int64_t> layers = Layers(tensors);
    const int64_t last = *std::ranges::max_element(layers);
    EXPECT_GE(last, 3);
    for (size_t i = 0; i < layers.size(); ++i) {
      const double scale = std::max(
          options.value("min_scale", 0.0),
          std::pow(options["layer_decay"].get<double>(), static_cast<double>(last - layers[i])));
      const json& expected = c["parameters"][i][2];
      if (expected.is_null()) {
        EXPECT_LT(scale, options["no_opt_scale"].get<double>()) << c["model"] << tensors[i].name;
      } else {
        EXPECT_NEAR(scale, expected.get<double>(), 1e-14) << c["model"] << " " << tensors[i].name;
      }
    }
  }
}

TEST(LayerIdsTest, CountNumbersInNames) {
  EXPECT_THAT(LayersOfMatrices({"0.weight", "2.weight", "4.weight"}), ElementsAre(0, 1, 2));
  EXPECT_THAT(LayersOfMatrices({"conv1.weight", "layer1.0.conv.weight", "layer1.1.conv.weight",
                                "layer2.0.conv.weight", "fc.weight"}),
              ElementsAre(0, 1, 2, 3, 4));
  // Of the numbers behind the first, only those of layers in a stage count.
  EXPECT_THAT(LayersOfMatrices({"h.0.mlp.0.weight", "h.0.mlp.2.weight", "h.1.mlp.layers.7.weight"}),
              ElementsAre(0, 0, 1));
  EXPECT_THAT(LayersOfMatrices({"stages.0.blocks.0.w", "stages.0.blocks.1.w",
                                "stages.1.downsample.1.weight", "stages.1.blocks.0.w"}),
              ElementsAre(0, 1, 2, 2));
  EXPECT_THAT(LayersOfMatrices({"features.denseblock1.denselayer1.conv.weight",
                                "features.denseblock1.denselayer2.conv.weight",
                                "features.denseblock2.denselayer1.conv.weight"}),
              ElementsAre(0, 1, 2));
  EXPECT_THAT(LayersOfMatrices({"encoder.layers.encoder_layer_0.mlp.0.weight",
                                "encoder.layers.encoder_layer_1.mlp.3.weight"}),
              ElementsAre(0, 1));
  EXPECT_THAT(LayersOfMatrices({"layers/10/w", "layers/9/w"}), ElementsAre(1, 0));
  EXPECT_THAT(LayersOfMatrices({}), ElementsAre());
  EXPECT_THAT(LayersOfMatrices({"weight", "w"}), ElementsAre(0, 0));
  // Too large to be a number.
  EXPECT_THAT(LayersOfMatrices({"blocks.99999999999999999999.w", "blocks.1.w"}), ElementsAre(0, 1));
}

TEST(LayerIdsTest, StemAndHeadAreFoundByNameAndByOrder) {
  // In alphabetical order too.
  EXPECT_THAT(LayersOfMatrices({"blocks.0.w", "blocks.1.w", "classifier.0.weight", "cls_token",
                                "head.weight", "patch_embed.proj.weight", "stem.0.weight"}),
              ElementsAre(1, 2, 3, 0, 3, 0, 0));
  EXPECT_THAT(LayersOfMatrices({"first.weight", "blocks.0.w", "between.weight", "blocks.1.w"}),
              ElementsAre(0, 1, 3, 2));
  const auto norms = [](const std::string& name) {
    return Layers({{.name = "visual.conv1.weight", .shape = {4, 4, 3, 3}},
                   {.name = "visual.transformer.resblocks.0.w", .shape = {4, 4}},
                   {.name = "visual.transformer.resblocks.1.w", .shape = {4, 4}},
                   {.name = name, .shape = {4}},
                   {.name = "visual.proj", .shape = {4, 4}}})[3];
  };
  EXPECT_EQ(norms("visual.ln_post.weight"), 2);
  EXPECT_EQ(norms("visual.transformer.norm.bias"), 2);
  EXPECT_EQ(norms("norm.weight"), 2);
  EXPECT_EQ(norms("fc_norm.weight"), 3);
  EXPECT_EQ(norms("head.norm.weight"), 3);
  EXPECT_EQ(norms("predictions.transform.LayerNorm.weight"), 3);
}

TEST(LayerIdsTest, PatternsSayWhereTheNumbersAre) {
  const std::vector<std::string> names = {"emb.weight", "enc.g0.l0.w", "enc.g0.l1.w", "enc.g1.l0.w",
                                          "dec.0.w",    "dec.0.3.w",   "dec.1.w",     "out.weight"};
  EXPECT_THAT(LayersOfMatrices(names, {"enc.g#.l#.*", "dec.#.*"}),
              ElementsAre(0, 1, 2, 3, 4, 4, 5, 6));
  EXPECT_THAT(LayersOfMatrices(names, {"dec.#.w", "*g#.*"}), ElementsAre(0, 3, 3, 4, 1, 5, 2, 5));
  EXPECT_THAT(LayersOfMatrices({"a.12.w", "a.3.w"}, {"a.#.w"}), ElementsAre(1, 0));
  EXPECT_THAT(LayersOfMatrices({"a12b3", "a2b14", "a2b3"}, {"a#b#"}), ElementsAre(2, 1, 0));
  EXPECT_THAT(LayersOfMatrices({"x.1.y.2.w", "x.1.y.3.w"}, {"*.y.#.?"}), ElementsAre(0, 1));
  Tensor tied{.name = "first", .shape = {4, 4}, .aliases = {"h.7.w"}};
  EXPECT_THAT(Layers({{.name = "h.3.w", .shape = {4, 4}}, tied}, {"h.#.w"}), ElementsAre(0, 1));
  EXPECT_EQ(ErrorOf([&] { LayersOfMatrices(names, {"dec.*"}); }),
            "layer_match: \"dec.*\" has no \"#\", which stands for the number of a layer");
  EXPECT_EQ(ErrorOf([&] {
              LayersOfMatrices(names, {"dec.#.w", "decoder.#.w"});
            }),
            "layer_match: \"decoder.#.w\" matches no tensor; the first one is \"emb.weight\"");
  // A # takes a whole number.
  EXPECT_THAT(ErrorOf([&] { LayersOfMatrices({"a12"}, {"a1#"}); }), HasSubstr("matches no tensor"));
  EXPECT_THAT(ErrorOf([&] { LayersOfMatrices({"a-1"}, {"a#"}); }), HasSubstr("matches no tensor"));
}

}  // namespace layer_ids_test
}  // namespace kudari::internal
