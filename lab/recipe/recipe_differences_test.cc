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

std::vector<std::string> Differences(const std::vector<std::string>& before,
                                     const std::vector<std::string>& after) {
  std::vector<std::string> texts;
  for (const RecipeDifference& d : DifferencesBetween(With(before), With(after))) {
    texts.push_back((d.safe ? "safe: " : "unsafe: ") + d.key + ": " + d.before + " to " + d.after);
  }
  return texts;
}

TEST(RecipeDifferences, SafeAndUnsafeOnes) {
  EXPECT_THAT(Differences({}, {}), IsEmpty());
  EXPECT_THAT(
      Differences({}, {"train.epochs=20", "optimizer.lr=0.1 * cosine(end)", "model.hidden=[9, 4]",
                       "optimizer.clip_norm=1", "data.samples=5", "data.path=/elsewhere",
                       "train.batch_size=8"}),
      ElementsAre("safe: data.path: \"\" to \"/elsewhere\"", "unsafe: data.samples: 0 to 5",
                  "unsafe: model.hidden: [8] to [9, 4]", "safe: optimizer.clip_norm: unset to 1",
                  "safe: optimizer.lr: 0.1 to \"0.1 * cosine(end, 0)\"",
                  "unsafe: train.batch_size: 64 to 8", "safe: train.epochs: 10 to 20"));
}

TEST(RecipeDifferences, InGroupsAndTables) {
  const std::string group = "optimizer.group=[{match = \"*.bias\", lr = ";
  EXPECT_THAT(Differences({group + "1.0}]"}, {group + "2.5}]"}),
              ElementsAre("safe: optimizer.group.0.lr: 1 to 2.5"));
  EXPECT_THAT(Differences({}, {"optimizer.ema={decay=0.9}"}),
              ElementsAre("unsafe: optimizer.ema.decay: unset to 0.9",
                          "unsafe: optimizer.ema.warmup: unset to false"));
  EXPECT_THAT(Differences({}, {"optimizer.accumulate=2"}),
              ElementsAre("unsafe: optimizer.accumulate: 1 to 2"));
  EXPECT_THAT(Differences({"optimizer.source=sam"},
                          {"optimizer.source=sam", "optimizer.sharpness.rho=0.5"}),
              ElementsAre("safe: optimizer.sharpness.rho: 0.05 to 0.5"));
}

}  // namespace recipe_differences_test
}  // namespace kudari::lab
