#include "lab/recipe/advise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <set>

#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/recipe.h"
#include "lab/files/text_file.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace {

using kudari::testing::ErrorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

double Value(const Advice& advice, const std::string& option) {
  return advice.recipe.optimizer.options.at(option)(0);
}

const Schedule& LearningRate(const Advice& advice) {
  return advice.recipe.optimizer.options.at("lr");
}

std::string Leading(const Advice& advice) {
  const std::string& text = LearningRate(advice).Text();
  return text.substr(0, text.find(" * "));
}

TEST(Advise, CountsAndBytes) {
  EXPECT_EQ(ParseCount("--params", "124M"), 124'000'000);
  EXPECT_EQ(ParseCount("--params", "1.3B"), 1'300'000'000);
  EXPECT_EQ(ParseCount("--params", "85000"), 85'000);
  EXPECT_EQ(ParseCount("--params", "7k"), 7'000);
  EXPECT_EQ(ParseBytes("--memory", "16GiB"), int64_t{16} << 30);
  EXPECT_EQ(ParseBytes("--memory", "80GB"), 80'000'000'000);
  EXPECT_EQ(ParseBytes("--memory", "1048576"), 1'048'576);
  EXPECT_EQ(ParseBytes("--memory", "1.5KiB"), 1536);
  EXPECT_EQ(ErrorOf([] { ParseCount("--params", "124MB"); }),
            "--params 124MB: unknown unit \"MB\"; write it as 124M, 1.3B or 85000");
  EXPECT_EQ(ErrorOf([] { ParseBytes("--memory", "16G"); }),
            "--memory 16G: unknown unit \"G\"; write it as 16GiB, 80GB or a number of bytes");
  EXPECT_THAT(ErrorOf([] { ParseBytes("--memory", "lots"); }), HasSubstr("not a number"));
  for (const char* const bad : {"0", "-3M", "0.2", "nan", "inf", "1e30"}) {
    EXPECT_THAT(ErrorOf([&] { ParseCount("--params", bad); }), HasSubstr("outside [1, 9e18]"))
        << bad;
  }
}

TEST(Advise, UnknownNamesAndNumbersAreErrors) {
  const auto error = [](AdviseOptions options) { return ErrorOf([&] { GiveAdvice(options); }); };
  AdviseOptions options;
  EXPECT_EQ(error(options),
            "--task is missing; give one of cnn, detection, transformer, finetune, gan, rl, other");
  options.task = "transformers";
  EXPECT_EQ(error(options), "--task: unknown task \"transformers\"; did you mean \"transformer\"?");
  options.task = "gan";
  options.priority = "acuracy";
  EXPECT_EQ(error(options), "--priority: unknown priority \"acuracy\"; did you mean \"accuracy\"?");
  options.priority = "";
  options.batch = -1;
  EXPECT_EQ(error(options), "--batch = -1 is outside [1, ...]");
  options.batch = 0;
  options.memory = "1GiB";
  EXPECT_EQ(error(options), "--memory also needs --params");
  options.params = "1M";
  options.activations = "2GiB";
  EXPECT_EQ(error(options), "--activations 2GiB leaves nothing of --memory 1GiB");
}

// The six tables of the guide, its chart, and its summary's large batches.
TEST(Advise, HasTheGuidesNumbers) {
  const Advice cnn = GiveAdvice({.task = "cnn"});
  EXPECT_EQ(cnn.recipe.optimizer.rule, "momentum");
  EXPECT_EQ(Value(cnn, "momentum"), 0.9);
  EXPECT_EQ(Value(cnn, "weight_decay"), 1e-4);
  EXPECT_EQ(Leading(cnn), "0.1");
  EXPECT_EQ(cnn.recipe.train.batch_size, 128);
  EXPECT_EQ(cnn.recipe.train.epochs, 90);
  // A tenth at each third of 9 steps an epoch.
  EXPECT_EQ(cnn.steps, 810);
  EXPECT_THAT(LearningRate(cnn).Text(), HasSubstr("* multistep([33.3%, 66.7%], 0.1)"));
  EXPECT_THAT(LearningRate(cnn).Resolve({.steps = cnn.steps}).Text(),
              HasSubstr("* multistep([270, 540], 0.1)"));

  const Advice detection = GiveAdvice({.task = "detection"});
  EXPECT_EQ(detection.recipe.optimizer.rule, "momentum");
  EXPECT_EQ(Leading(detection), "0.01");
  EXPECT_EQ(Value(detection, "weight_decay"), 5e-4);

  const Advice transformer = GiveAdvice({.task = "transformer"});
  EXPECT_EQ(transformer.recipe.optimizer.rule, "adamw");
  EXPECT_EQ(Value(transformer, "weight_decay"), 0.01);
  EXPECT_EQ(Value(transformer, "beta2"), 0.999);
  EXPECT_EQ(transformer.recipe.optimizer.clip_norm->Text(), "1");
  for (const char* const params : {"1M", "124M", "1.3B", "70B"}) {
    const double lr = std::stod(Leading(GiveAdvice({.task = "transformer", .params = params})));
    EXPECT_GE(lr, 1e-4) << params;
    EXPECT_LE(lr, 5e-4) << params;
  }

  const Advice finetune = GiveAdvice({.task = "finetune"});
  EXPECT_EQ(finetune.recipe.optimizer.rule, "adamw");
  EXPECT_EQ(Leading(finetune), "2e-05");
  EXPECT_EQ(finetune.recipe.train.epochs, 3);

  const Advice gan = GiveAdvice({.task = "gan"});
  EXPECT_EQ(gan.recipe.optimizer.rule, "adam");
  EXPECT_EQ(Value(gan, "lr"), 2e-4);
  EXPECT_EQ(Value(gan, "beta1"), 0.5);
  EXPECT_EQ(Value(gan, "beta2"), 0.999);
  EXPECT_EQ(Value(gan, "weight_decay"), 0);

  const Advice rl = GiveAdvice({.task = "rl"});
  EXPECT_EQ(rl.recipe.optimizer.rule, "adam");
  EXPECT_EQ(Leading(rl), "3e-04");
  EXPECT_EQ(Value(rl, "eps"), 1e-5);
  EXPECT_EQ(rl.recipe.optimizer.clip_norm->Text(), "0.5");

  const Advice other = GiveAdvice({.task = "other"});
  EXPECT_EQ(other.recipe.optimizer.rule, "adamw");
  EXPECT_EQ(Leading(other), "0.001");
  EXPECT_EQ(Value(other, "weight_decay"), 0.01);

  const auto rule = [](const std::string& task, int64_t batch) {
    return GiveAdvice({.task = task, .batch = batch}).recipe.optimizer.rule;
  };
  EXPECT_EQ(rule("cnn", 1023), "momentum");
  EXPECT_EQ(rule("cnn", 1024), "lars");
  EXPECT_EQ(rule("transformer", 1023), "adamw");
  EXPECT_EQ(rule("transformer", 1024), "lamb");
  EXPECT_EQ(rule("finetune", 4096), "adamw");
}

TEST(Advise, LearningRateFollowsTheBatch) {
  const auto lr = [](const std::string& task, int64_t batch) {
    return Leading(GiveAdvice({.task = task, .batch = batch}));
  };
  EXPECT_EQ(lr("cnn", 64), "0.05");
  EXPECT_EQ(lr("cnn", 128), "0.1");
  EXPECT_EQ(lr("cnn", 256), "0.1");
  EXPECT_EQ(lr("cnn", 512), "0.2");
  EXPECT_EQ(lr("cnn", 4096), "1.6");
  // LAMB's table: 5e-3 / 2^1.5 at 4096.
  EXPECT_EQ(lr("transformer", 4096), "0.00177");
}

TEST(Advise, StepsAreThoseOfTheSamples) {
  const Advice advice = GiveAdvice({.task = "cnn", .batch = 256, .samples = "1.281167M"});
  EXPECT_EQ(advice.steps, 5005 * 90);
  EXPECT_EQ(advice.recipe.train.steps, 5005 * 90);
  EXPECT_EQ(advice.recipe.train.epochs, 0);
  EXPECT_EQ(LearningRate(advice).Text(), "0.1 * warmup(5%) * multistep([33.3%, 66.7%], 0.1)");
  const Advice tune = GiveAdvice({.task = "finetune", .batch = 10, .samples = "95", .epochs = 5});
  EXPECT_EQ(LearningRate(tune).Text(), "2e-05 * then(warmup(10%), 10%, linear(end, 0))");
  EXPECT_EQ(LearningRate(tune).Resolve({.steps = tune.steps}).Text(),
            "2e-05 * then(warmup(5), 5, linear(45, 0))");
}

// The first rung that fits; bytes a parameter of a million, as docs/performance.md has them.
TEST(Advise, StepsDownTheLadder) {
  const auto rung = [](const std::string& task, const std::string& memory) {
    return GiveAdvice({.task = task, .params = "1M", .memory = memory, .activations = "1"});
  };
  EXPECT_EQ(rung("transformer", "16000001").rung, "float32");
  const Advice coded = rung("transformer", "16000000");
  EXPECT_EQ(coded.rung, "8-bit state");
  EXPECT_NEAR(static_cast<double>(coded.prediction->plan.Total()) / 1e6, 10.03, 0.02);
  const Advice seven = rung("transformer", "10000001");
  EXPECT_EQ(seven.rung, "seven bytes");
  EXPECT_NEAR(static_cast<double>(seven.prediction->plan.Total()) / 1e6, 7.03, 0.02);
  EXPECT_EQ(seven.recipe.train.weights, "bf16");
  EXPECT_EQ(seven.rungs_above.size(), 2U);
  const Advice adafactor = rung("transformer", "7000001");
  EXPECT_EQ(adafactor.rung, "Adafactor");
  EXPECT_EQ(adafactor.recipe.optimizer.rule, "adafactor");
  EXPECT_EQ(Leading(adafactor), "0.015");
  EXPECT_TRUE(adafactor.prediction->fits);
  const Advice none = rung("transformer", "4000000");
  EXPECT_EQ(none.rung, "Adafactor");
  EXPECT_FALSE(none.prediction->fits);
  EXPECT_THAT(AdviceText(none, {.task = "transformer", .memory = "4000000"}, 1e10, false),
              HasSubstr("Nothing on the ladder fits"));
  // Momentum has no such rung.
  const Advice cnn = rung("cnn", "4000000");
  EXPECT_EQ(cnn.rung, "seven bytes");
  EXPECT_FALSE(cnn.prediction->fits);
  EXPECT_NEAR(static_cast<double>(cnn.prediction->plan.Total()) / 1e6, 6.02, 0.02);
  // What the priority changes is counted.
  const Advice flat = GiveAdvice({.task = "transformer", .params = "1M", .priority = "accuracy"});
  EXPECT_EQ(flat.prediction->plan.Total(), 20'000'000);
  EXPECT_EQ(GiveAdvice({.task = "transformer", .priority = "memory"}).rung, "seven bytes");
}

TEST(Advise, PrioritiesChangeTheRecipe) {
  const auto recipe = [](const std::string& task, const std::string& priority) {
    return GiveAdvice({.task = task, .priority = priority}).recipe;
  };
  EXPECT_EQ(recipe("cnn", "accuracy").optimizer.source, "sam");
  EXPECT_EQ(recipe("cnn", "").optimizer.source, "plain");
  EXPECT_EQ(recipe("gan", "accuracy").optimizer.source, "plain");
  EXPECT_EQ(recipe("gan", "accuracy").optimizer.ema->decay, 0.999);
  EXPECT_EQ(recipe("rl", "speed").train.precision, "bf16");
  EXPECT_EQ(recipe("cnn", "none"), recipe("cnn", ""));
}

TEST(Advise, EveryPathGivesARecipeThatReadsBack) {
  std::set<std::string> settings;
  std::map<std::string, int> paths;
  for (AdviseOptions options : EveryPath()) {
    ++paths[options.task];
    for (const std::string memory : {"", "100MB", "13MB", "9MB", "6MB", "4MB"}) {
      options.memory = memory;
      options.params = memory.empty() ? "" : "1M";
      options.activations = memory.empty() ? "" : "1";
      const Advice advice = GiveAdvice(options);
      settings.insert(advice.setting);
      EXPECT_EQ(ParseTrainRecipe(ToToml(advice.recipe), "advice"), advice.recipe) << advice.setting;
      // Every reason has a source, and every option in it a value.
      std::set<std::string> said;
      for (const Choice& c : advice.choices) {
        said.insert(c.what);
        EXPECT_FALSE(c.source.empty() || c.why.empty() || c.value.empty()) << c.what;
      }
      for (const char* const what :
           {"rule", "lr", "weight_decay", "schedule", "warm-up", "clipping", "batch"}) {
        EXPECT_TRUE(said.contains(what)) << advice.setting << " " << what;
      }
      ASSERT_FALSE(advice.tuning.empty());
      EXPECT_EQ(advice.tuning.front().what, "lr");
    }
  }
  EXPECT_THAT(settings, ElementsAre("cnn", "cnn-large", "detection", "detection-large", "finetune",
                                    "gan", "other", "rl", "transformer", "transformer-large"));
  // Batch unknown, small and large, priority unknown and each of four.
  EXPECT_EQ(paths, (std::map<std::string, int>{{"cnn", 15},
                                               {"detection", 15},
                                               {"transformer", 15},
                                               {"finetune", 5},
                                               {"gan", 5},
                                               {"rl", 5},
                                               {"other", 5}}));
}

TEST(Advise, WritesTheRecipe) {
  const auto file = std::filesystem::path(::testing::TempDir()) /
                    ("advise_test-" + std::to_string(getpid()) + ".toml");
  const std::unique_ptr<std::FILE, decltype(&std::fclose)> console(std::tmpfile(), &std::fclose);
  const AdviseOptions options{.task = "gan", .write = file};
  Advise(options, console.get());
  EXPECT_EQ(ReadTrainRecipe(file), GiveAdvice(options).recipe);
  EXPECT_THAT(ReadTextFile(file), ::testing::StartsWith("# GANs: Adam for both players. Written"));
  std::filesystem::remove(file);
}

// The texts of lab/recipe/advice_snapshots. With KUDARI_UPDATE_SNAPSHOTS in the environment the
// test rewrites them.
TEST(Advise, Snapshots) {
  const std::pair<const char*, AdviseOptions> cases[] = {
      {"cnn", {.task = "cnn", .batch = 512, .params = "25.6M", .samples = "1.28M"}},
      {"transformer",
       {.task = "transformer",
        .batch = 64,
        .params = "1.3B",
        .memory = "16GiB",
        .priority = "accuracy"}},
      {"transformer-large", {.task = "transformer", .batch = 8192}},
      {"gan", {.task = "gan", .priority = "memory"}},
      {"other", {.task = "other", .params = "1M", .memory = "4MB"}},
  };
  for (const auto& [name, options] : cases) {
    const Advice advice = GiveAdvice(options);
    const std::string text = PathText(advice) + AdviceText(advice, options, 40e9, false);
    const auto file = std::filesystem::path(KUDARI_SOURCE_DIR) / "lab/recipe/advice_snapshots" /
                      (std::string(name) + ".txt");
    if (std::getenv("KUDARI_UPDATE_SNAPSHOTS") != nullptr) {
      std::filesystem::create_directories(file.parent_path());
      WriteFileAtomically(file, text);
    }
    EXPECT_EQ(ReadTextFile(file), text) << name;
  }
}

}  // namespace
}  // namespace kudari::lab
