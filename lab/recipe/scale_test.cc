#include "lab/recipe/scale.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>

#include "kudari/error.h"
#include "kudari/recipe.h"
#include "lab/files/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/read_svg.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace scale_test {

using kudari::testing::ErrorOf;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

constexpr std::string_view kVit = R"toml([model]
name = "vit"
[optimizer]
rule = "adamw"
lr = "2e-3 * warmup(100) * cosine(1600, 0.05)"
weight_decay = 0.05
accumulate = 2
[train]
steps = 1600
eval_every = 80
batch_size = 32
)toml";

constexpr std::string_view kCnn = R"toml([model]
name = "resnet"
[optimizer]
rule = "momentum"
lr = 0.01
ema = {decay = 0.9}
[train]
epochs = 10
batch_size = 32
)toml";

Scaling Scaled(std::string_view recipe, const ScaleOptions& options) {
  return ScaleRecipe(ParseTrainRecipe(recipe, "r.toml"), options);
}

TEST(Scale, CountsAccumulationAndRanks) {
  const Scaling s = Scaled(kVit, {.batch = 256});
  EXPECT_EQ(s.old_batch, 64);
  EXPECT_EQ(s.kappa, 4);
  EXPECT_EQ(s.after.train.batch_size, 128);
  EXPECT_EQ(s.after.optimizer.accumulate, 2);
  EXPECT_EQ(s.after.train.steps, 400);
  EXPECT_EQ(s.after.train.eval_every, 20);
  EXPECT_EQ(s.after.optimizer.options.at("lr").Text(), "0.004 * warmup(25) * cosine(400, 0.05)");
  EXPECT_DOUBLE_EQ(s.after.optimizer.options.at("beta1")(0), 0.6);
  EXPECT_EQ(s.rule, "adam_sde");

  const Scaling ranks = Scaled(kVit, {.batch = 512, .accumulate = 1, .ranks = 8, .from_ranks = 2});
  EXPECT_EQ(ranks.old_batch, 128);
  EXPECT_EQ(ranks.kappa, 4);
  EXPECT_EQ(ranks.after.train.batch_size, 64);
  EXPECT_EQ(ranks.after.optimizer.accumulate, 1);

  // The guide's example: 256 of which 64 fit.
  const Scaling fits = Scaled(kCnn, {.batch = 256, .accumulate = 4});
  EXPECT_EQ(fits.after.train.batch_size, 64);
  EXPECT_DOUBLE_EQ(fits.after.optimizer.options.at("lr")(0), 0.08);
}

TEST(Scale, TheSameBatchIsTheSameRecipe) {
  for (const std::string_view text : {kVit, kCnn}) {
    Recipe recipe = ParseTrainRecipe(text, "r.toml");
    const int64_t batch = recipe.train.batch_size * recipe.optimizer.accumulate;
    recipe.optimizer = Complete(recipe.optimizer);
    EXPECT_EQ(Scaled(text, {.batch = batch}).after, recipe);
    // The same samples otherwise divided change nothing else.
    const Scaling other = Scaled(text, {.batch = batch, .accumulate = batch});
    EXPECT_EQ(other.after.optimizer.options, recipe.optimizer.options);
  }
}

TEST(Scale, WrongRequestsNameTheOption) {
  EXPECT_EQ(ErrorOf([] { Scaled(kVit, {.batch = 0}); }), "--batch = 0 is outside [1, ...]");
  EXPECT_EQ(ErrorOf([] { Scaled(kVit, {.batch = 8, .ranks = -1}); }),
            "--ranks = -1 is outside [1, ...]");
  EXPECT_EQ(ErrorOf([] { Scaled(kVit, {.batch = 100, .ranks = 3}); }),
            "--batch 100 is not a multiple of 6, accumulate 2 times 3 ranks: choose another "
            "--batch, --accumulate or --ranks");
  EXPECT_THAT(ErrorOf([] { Scaled(kVit, {.batch = 128, .rule = "square"}); }),
              HasSubstr("unknown batch rule \"square\""));
  EXPECT_THAT(ErrorOf([] { Scaled(kVit, {.batch = 1024, .rule = "adam_sde"}); }),
              HasSubstr("beta1: kappa (1 - beta) = 16 * (1 - 0.9) is not below 1"));
}

TEST(Scale, TextHasTheTableOfTheGuide) {
  const std::string text = ScalingText(Scaled(kCnn, {.batch = 1024}));
  EXPECT_THAT(
      text,
      HasSubstr("kappa = 1024 / 32 = 32 (new / old batch size), rule linear: a step of momentum"));
  EXPECT_THAT(text, HasSubstr("samples per step      32      1024\n"));
  EXPECT_THAT(text, HasSubstr("lr                    0.01    0.32\n"));
  for (const char* const row : {"        32         1         0.01         0.01  <- before",
                                "        64         2         0.02      0.01414",
                                "       128         4         0.04         0.02",
                                "       256         8         0.08      0.02828",
                                "       512        16         0.16         0.04",
                                "      1024        32         0.32      0.05657  <- after"}) {
    EXPECT_THAT(text, HasSubstr(row));
  }
  EXPECT_THAT(text, AllOf(HasSubstr("A"), HasSubstr("ooo"), HasSubstr("+++")));
  EXPECT_THAT(text, HasSubstr("a larger learning rate needs one, and there is none"));
  EXPECT_THAT(text, HasSubstr("ema.decay: 0.9 became 0.0343368"));
  EXPECT_THAT(text, HasSubstr("batch norm"));
}

TEST(Scale, NotesFollowTheRecipe) {
  const std::string vit = ScalingText(Scaled(kVit, {.batch = 256}));
  EXPECT_THAT(vit, HasSubstr("warm-up: 100 steps became 25, over the same number of samples; 2 / "
                             "(1 - beta2) = 500 steps"));
  EXPECT_THAT(vit, HasSubstr("weight_decay stays 0.05"));
  EXPECT_THAT(vit, HasSubstr("0.1 would keep it"));
  EXPECT_THAT(vit, Not(HasSubstr("batch norm")));
  EXPECT_THAT(vit, Not(HasSubstr("Check it")));
  EXPECT_THAT(vit, HasSubstr("beta1 0.6, beta2 0.996, eps 5e-09  <- after"));
  EXPECT_THAT(vit, Not(HasSubstr("beyond 1024 samples")));
  EXPECT_THAT(
      Scaled(kCnn, {.batch = 2048}).notes,
      Contains("beyond 1024 samples use lars instead of momentum (Optimizer Selection Guide "
               "and Best Practices, section 3.3)."));
  const std::string smaller = ScalingText(Scaled(kCnn, {.batch = 16}));
  EXPECT_THAT(smaller, Not(HasSubstr("warm-up")));
  const std::string asked = ScalingText(Scaled(kCnn, {.batch = 64, .rule = "sqrt"}));
  EXPECT_THAT(asked, HasSubstr("rule sqrt: requested by --rule; the default would be linear"));
}

TEST(Scale, SchedulesRelativeToTheRunFollowIt) {
  std::string recipe(kVit);
  const std::string absolute = "warmup(100) * cosine(";
  const size_t at = recipe.find(absolute);
  ASSERT_NE(at, std::string::npos);
  const size_t end = recipe.find(',', at);
  recipe.replace(at, end - at, "warmup(10%) * cosine(end");
  const Scaling s = Scaled(recipe, {.batch = 256});
  EXPECT_THAT(s.after.optimizer.options.at("lr").Text(),
              HasSubstr(" * warmup(10%) * cosine(end, "));
  const std::string text = ScalingText(s);
  EXPECT_THAT(text, HasSubstr("- warm-up: it has the same samples as before; lengthen it"));
  EXPECT_THAT(text, HasSubstr("The largest lr by batch size:"));
  EXPECT_THAT(text, Not(HasSubstr("Check it")));
  EXPECT_THAT(text, HasSubstr("beta1 0.6, beta2 0.996, eps 5e-09  <- after"));
}

TEST(Scale, NotesNameWhatIsKept) {
  const auto notes = [](const std::string& optimizer, const ScaleOptions& options) {
    return ScalingText(
        Scaled("[model]\nname = \"mlp\"\n[train]\nepochs = 2\nbatch_size = 64\n"
               "loss_scale = \"dynamic\"\n[optimizer]\n" +
                   optimizer,
               options));
  };
  EXPECT_THAT(notes("rule = \"lion\"\nlookahead = {k = 5}\n", {.batch = 256}),
              HasSubstr("- beta2, lookahead.k, train.growth_interval: unchanged, although counted "
                        "in steps or a rate per\n  step, and a step now has 4 times the samples"));
  EXPECT_THAT(notes("rule = \"adamw\"\n[[optimizer.group]]\nmatch = \"head.*\"\n"
                    "rule = \"sophia\"\n",
                    {.batch = 256}),
              HasSubstr("- group 0: beta1, group 0: beta2, group 0: batch_size, hessian.every, "));
  EXPECT_THAT(notes("rule = \"momentum\"\nweight_decay = 0.01\n", {.batch = 256}),
              Not(HasSubstr("weight_decay stays")));
  EXPECT_THAT(notes("rule = \"momentum\"\nweight_decay = 0.01\n", {.batch = 256, .rule = "none"}),
              HasSubstr("lr times it, summed over the run, is now 1/4 as large; 0.04 would keep"));
  EXPECT_THAT(
      notes("rule = \"adamw\"\nweight_decay = 0.01\ndecay = \"independent\"\n", {.batch = 256}),
      HasSubstr("The shape of lr times it, summed over the run, is now 1/4 as large; 0.04"));
  // Schedules of groups, too.
  EXPECT_THAT(notes("rule = \"sgd\"\nlr = 1\n[[optimizer.group]]\nmatch = \"head.*\"\n"
                    "lr = \"rsqrt(2)\"\nl1 = \"linear(8)\"\n",
                    {.batch = 512}),
              AllOf(HasSubstr("group.0.lr: its schedule cannot be scaled exactly in whole steps"),
                    ::testing::ContainsRegex("group.0.l1 +linear\\(8, 0\\) +linear\\(1, 0\\)")));
}

// The warm-up's share is from another document than the batch rules.
TEST(Scale, SourcesAreNamed) {
  const std::string text = ScalingText(Scaled(kCnn, {.batch = 1024}));
  std::string words;
  for (const char c : text) words += c == '\n' ? ' ' : c;
  std::string joined;
  std::unique_copy(words.begin(), words.end(), std::back_inserter(joined),
                   [](char a, char b) { return a == ' ' && b == ' '; });
  EXPECT_THAT(joined, HasSubstr("1 to 5 % of all steps (Optimisation Methods, 2025, section 6.2)"));
  EXPECT_THAT(joined, HasSubstr("(Optimizer Selection Guide and Best Practices, section 3.3)"));
  EXPECT_THAT(joined, Not(HasSubstr("guide (")));
  EXPECT_THAT(joined, Not(HasSubstr("(guide")));
}

// adam_sde has the learning rate of sqrt: its line does not hide the other.
TEST(Scale, DrawsTheRules) {
  const kudari::testing::TemporaryFolder dir;
  std::ofstream(dir / "r.toml") << kVit;
  const std::unique_ptr<std::FILE, decltype(&std::fclose)> console(std::tmpfile(), &std::fclose);
  Scale({.recipe = dir / "r.toml", .batch = 256, .svg = dir / "s.svg"}, console.get());
  const std::string svg = ReadTextFile(dir / "s.svg");
  EXPECT_THAT(kudari::testing::TextsOf(svg),
              IsSupersetOf({"linear", "sqrt", "adam_sde", "32", "64", "512", "before 64",
                            "after 256", "0.001", "0.01"}));
  EXPECT_NE(svg.find("stroke-width=\"7\""), svg.npos);
}

TEST(Scale, WritesARecipeThatReadsBack) {
  const kudari::testing::TemporaryFolder dir;
  std::ofstream(dir / "r.toml") << kVit;
  const std::unique_ptr<std::FILE, decltype(&std::fclose)> console(std::tmpfile(), &std::fclose);
  const Scaling s =
      Scale({.recipe = dir / "r.toml", .batch = 256, .write = dir / "new.toml"}, console.get());
  EXPECT_EQ(ReadTrainRecipe(dir / "new.toml"), s.after);
  EXPECT_THAT(
      ErrorOf([&] {
        Scale({.recipe = dir / "r.toml", .batch = 256, .write = dir / "other.toml", .svg = "x.jpg"},
              console.get());
      }),
      HasSubstr("x.jpg"));
  EXPECT_FALSE(std::filesystem::exists(dir / "other.toml"));
}

}  // namespace scale_test
}  // namespace kudari::lab
