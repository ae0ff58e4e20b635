#include "lab/recipe/recipe_lr.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kudari/recipe.h"
#include "lab/recipe/edit_recipe.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace recipe_lr_test {

using testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(RecipeLrTest, TheNumbersAmongTheFactorsAreReplaced) {
  const auto replaced = [](const char* text) {
    return WithLeadingFactor(ParseSchedule(text), 0.25).Text();
  };
  EXPECT_EQ(replaced("2e-3"), "0.25");
  EXPECT_EQ(replaced("2e-3 * warmup(100) * cosine(510)"), "0.25 * warmup(100) * cosine(510, 0)");
  EXPECT_EQ(replaced("warmup(100) * 2e-3"), "0.25 * warmup(100)");
  EXPECT_EQ(replaced("2 * 1e-3 * linear(10)"), "0.25 * linear(10, 0)");
  EXPECT_EQ(replaced("warmup(100)"), "0.25 * warmup(100)");
  EXPECT_EQ(replaced("1e-2 * then(1, 50, 0.1 * step(10))"),
            "0.25 * then(1, 50, 0.1 * step(10, 0.1))");
  EXPECT_THAT(ErrorOf([&] { replaced("then(1e-2, 50, 1e-3)"); }),
              HasSubstr("\"then(0.01, 50, 0.001)\" has no numeric factor"));
}

constexpr const char* kCommented = R"toml(# A comment with äöü.
[model]
name = "mlp"
[optimizer]
rule = "adamw"   # the rule
lr = "2e-3 * warmup(100)"  # the rate
[[optimizer.group]]
match = "head.*"
lr = 1e-4
[[optimizer.group]]
match = "0.*"
weight_decay = 0.5
[train]
steps = 10
)toml";

std::string Rewritten(const std::string& text, const LrPlace& place, double lr) {
  return EditRecipe(text, WithLearningRate(ParseTrainRecipe(text, "test"), place, lr));
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

TEST(RecipeLrTest, OneValueOfTheTextChanges) {
  EXPECT_EQ(Rewritten(kCommented, {}, 0.01),
            Replaced(kCommented, "\"2e-3 * warmup(100)\"", "\"0.01 * warmup(100)\""));
  EXPECT_EQ(Rewritten(kCommented, {.kind = LrPlace::kGroup, .group = 0}, 0.01),
            Replaced(kCommented, "1e-4", "0.01"));
  // The second group has the recipe's own rate until it gets one.
  const std::string second = Rewritten(kCommented, {.kind = LrPlace::kGroup, .group = 1}, 0.01);
  EXPECT_EQ(ParseTrainRecipe(second, "test").optimizer.groups[1].options.at("lr").Text(),
            "0.01 * warmup(100)");
  const std::string added =
      Rewritten(kCommented, {.kind = LrPlace::kNewGroup, .match = "*.\"bias\""}, 0.01);
  EXPECT_EQ(added, std::string(kCommented) +
                       "\n[[optimizer.group]]\nmatch = \"*.\\\"bias\\\"\"\nlr = "
                       "\"0.01 * warmup(100)\"\n");
}

TEST(RecipeLrTest, OtherWaysToWriteIt) {
  const std::string number = "[optimizer]\nrule = \"sgd\"\nlr=.1e1 \n[train]\nsteps = 10\n";
  EXPECT_THAT(ErrorOf([&] { Rewritten(number, {}, 0.01); }), HasSubstr("test"));  // no TOML
  EXPECT_EQ(Rewritten(Replaced(number, ".1e1", "1.5e-1"), {}, 0.01),
            Replaced(number, ".1e1", "0.01"));
  EXPECT_EQ(Rewritten("optimizer = {rule = \"sgd\", lr = 1} # inline\n", {}, 0.01),
            "optimizer = {rule = \"sgd\", lr = 0.01} # inline\n");
  EXPECT_EQ(Rewritten("optimizer.rule = \"sgd\"\noptimizer.lr = 1\n", {}, 0.01),
            "optimizer.rule = \"sgd\"\noptimizer.lr = 0.01\n");
  EXPECT_EQ(Rewritten("[optimizer]\nrule = \"sgd\"\n", {}, 0.01),
            "[optimizer]\nrule = \"sgd\"\nlr = 0.01\n");
  const std::string fallback =
      "[optimizer]\nrule = \"muon\"\nfallback = {rule = \"adamw\", lr = 1}\n";
  EXPECT_EQ(Rewritten(fallback, {.kind = LrPlace::kFallback}, 0.5),
            Replaced(fallback, "lr = 1", "lr = 0.5"));
}

TEST(EditRecipeTest, CommentsAreKeptWhateverChanges) {
  const std::string text =
      "# mine\n[optimizer]\nrule = \"adamw\"  # decoupled\nlr = 1e-3 # found\n"
      "sharpness = {rho = 0.1}\nsource = \"sam\"\n[train]\nsteps = 10 # few\n";
  const std::vector<std::string> sets = {
      "train.seed=7",    "optimizer.weight_decay=0.25", "optimizer.sharpness.k=3", "train.steps=20",
      "data.samples=50", "optimizer.ema.decay=0.5"};
  Recipe changed = ParseTrainRecipe(text, "test", {.sets = sets});
  changed.optimizer = Complete(changed.optimizer);
  const std::string edited = EditRecipe(text, changed);
  Recipe read = ParseTrainRecipe(edited, "test");
  read.optimizer = Complete(read.optimizer);
  EXPECT_EQ(read, changed);
  for (const char* const part : {"# mine\n[optimizer]\nrule = \"adamw\"  # decoupled\n",
                                 "lr = 1e-3 # found\n", "steps = 20 # few\n", "\nseed = 7\n",
                                 "\nweight_decay = 0.25\n", "\n[data]\nsamples = 50\n"}) {
    EXPECT_THAT(edited, HasSubstr(part));
  }
}

// What an edit of the text cannot do is spelled out; either way the recipe is the one wanted.
TEST(EditRecipeTest, WhatCannotBeEditedIsSpelledOut) {
  Recipe changed = ParseTrainRecipe("[optimizer]\nrule = \"sgd\"\n", "test");
  changed.optimizer = Complete(changed.optimizer);
  const std::string text =
      EditRecipe("[optimizer]\nrule = \"adamw\"\nbetas = 3 # no such key\n", changed);
  EXPECT_THAT(text, StartsWith("[model]"));
  Recipe read = ParseTrainRecipe(text, "test");
  read.optimizer = Complete(read.optimizer);
  EXPECT_EQ(read, changed);
}

TEST(RecipeLrTest, PlaceOfParameters) {
  const std::vector<int> groups = {-1, -1, 0, 0, 1, -2};
  std::vector<TensorPlan> plan(groups.size());
  for (size_t i = 0; i < plan.size(); ++i) plan[i].group = groups[i];
  const auto key = [&](const std::vector<size_t>& parameters, const std::string& match = "x*") {
    return FindLrPlace(plan, parameters, match).Key();
  };
  EXPECT_EQ(key({0, 1, 4}, ""), "optimizer.lr");
  EXPECT_EQ(key({0, 1}), "optimizer.lr");
  EXPECT_EQ(key({1}), "lr of a new optimizer.group with match = \"x*\"");
  EXPECT_EQ(key({2, 3}), "optimizer.group.0.lr");
  EXPECT_EQ(key({4}), "optimizer.group.1.lr");
  EXPECT_EQ(key({5}), "optimizer.fallback.lr");
  EXPECT_THAT(ErrorOf([&] { key({2}); }), HasSubstr("that \"x*\" matches have no learning rate"));
  EXPECT_THAT(ErrorOf([&] { key({0, 1, 2}); }), HasSubstr("or of several"));
}

}  // namespace recipe_lr_test
}  // namespace kudari::lab
