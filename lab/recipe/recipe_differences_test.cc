#include "lab/recipe/recipe_differences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kudari::lab {
namespace recipe_differences_test {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Recipe With(const std::vector<std::string>& sets) {
  return ParseTrainRecipe(R"toml(
model = {name = "mlp", hidden = [8]}
optimizer = {rule = "adamw", lr = 0.1}
)toml",
                          "recipe", {.sets = sets});
}

TEST(RecipeDifferences, SafeAndUnsafeOnes) {
  EXPECT_THAT(DifferencesBetween(With({}), With({})), IsEmpty());
  EXPECT_THAT(DifferencesBetween(
                  With({}), With({"train.epochs=20", "optimizer.lr=0.1 * cosine(end)",
                                  "model.hidden=[9]", "optimizer.clip_norm=1", "data.samples=5",
                                  "data.path=/elsewhere", "train.batch_size=8"})),
              ElementsAre(RecipeDifference{"data.path", "\"\"", "\"/elsewhere\"", true},
                          RecipeDifference{"data.samples", "0", "5", false},
                          RecipeDifference{"model.hidden", "[ 8 ]", "[ 9 ]", false},
                          RecipeDifference{"optimizer.clip_norm", "unset", "1", true},
                          RecipeDifference{"optimizer.lr", "0.1", "\"0.1 * cosine(end)\"", true},
                          RecipeDifference{"train.batch_size", "64", "8", false},
                          RecipeDifference{"train.epochs", "10", "20", true}));
}

TEST(RecipeDifferences, InGroupsAndTables) {
  const std::string group = "optimizer.group=[{match = \"*.bias\", lr = ";
  EXPECT_THAT(DifferencesBetween(With({group + "1.0}]"}), With({group + "2.0}]"})),
              ElementsAre(RecipeDifference{"optimizer.group.0.lr", "1", "2", true}));
  for (const RecipeDifference& d : DifferencesBetween(
           With({}),
           With({"optimizer.ema={decay=0.9}", "optimizer.accumulate=2", "optimizer.rule=lion",
                 "optimizer.source=sam", "optimizer.precision.master=split8"}))) {
    const bool of_rule = d.key == "optimizer.beta2" || d.key == "optimizer.eps" ||
                         d.key == "optimizer.weight_decay" || d.key.starts_with("optimizer.sharp");
    EXPECT_EQ(d.safe, of_rule) << d.key;
  }
}

}  // namespace recipe_differences_test
}  // namespace kudari::lab
