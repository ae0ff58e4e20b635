#include "lab/recipe/advise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/recipe.h"
#include "lab/files/text_file.h"
#include "lab/recipe/advice_chart.h"
#include "tests/support/errors.h"
#include "tests/support/printed.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace advise_test {

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
  EXPECT_EQ(
      error(options),
      "--task is missing; give one of cnn, detection, transformer, vit, finetune, gan, rl, other");
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

// The six settings by task of the guide, its ViT, its chart, and its summary's large batches.
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

  const Advice vit = GiveAdvice({.task = "vit", .samples = "1.28M"});
  EXPECT_EQ(vit.recipe.optimizer.rule, "adamw");
  EXPECT_EQ(vit.recipe.train.steps, 5000 * 300);
  EXPECT_THAT(vit.choices,
              ::testing::Contains(::testing::AllOf(::testing::Field(&Choice::what, "epochs"),
                                                   ::testing::Field(&Choice::value, "300"))));
  EXPECT_EQ(vit.recipe.optimizer.options.at("lr").Text(),
            "0.001 * then(warmup(1.7%), 1.7%, cosine(end, 0.01))");
  EXPECT_EQ(Value(vit, "beta2"), 0.999);
  EXPECT_EQ(Value(vit, "weight_decay"), 0.3);

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
  EXPECT_EQ(rule("vit", 1023), "adamw");
  EXPECT_EQ(rule("vit", 1024), "lamb");
  EXPECT_EQ(rule("finetune", 4096), "adamw");
}

// A recipe trains what the task is about, as far as the lab has it.
TEST(Advise, TasksHaveModelsAndDataOfTheirOwn) {
  const Advice detection = GiveAdvice({.task = "detection"});
  EXPECT_EQ(detection.recipe.model.name(), "detector");
  EXPECT_EQ(detection.recipe.data.name(), "shapes");
  EXPECT_EQ(Value(detection, "momentum"), 0.9);
  EXPECT_EQ(detection.recipe.train.steps, 1600 / 16 * 12);
  EXPECT_EQ(GiveAdvice({.task = "detection", .samples = "16k"}).recipe.train.steps, 12000);

  const Advice gan = GiveAdvice({.task = "gan", .priority = "accuracy"});
  EXPECT_EQ(gan.recipe.model.name(), "dcgan");
  ASSERT_EQ(gan.recipe.other_optimizers.size(), 1U);
  EXPECT_EQ(gan.recipe.other_optimizers[0], gan.recipe.optimizer);

  // 50 rounds of 2048 steps, 10 epochs of minibatches of 64 each; or as many as the samples make.
  const Advice rl = GiveAdvice({.task = "rl"});
  EXPECT_EQ(rl.recipe.model.name(), "actor_critic");
  EXPECT_EQ(rl.recipe.data.name(), "cartpole");
  EXPECT_EQ(rl.recipe.train.steps, 50 * 10 * 2048 / 64);
  EXPECT_EQ(GiveAdvice({.task = "rl", .samples = "1M"}).recipe.train.steps, 15625 * 10);
  const auto option = [](const Recipe& recipe, std::string_view line) {
    return recipe.data.options.Lines().find(line) != std::string::npos;
  };
  EXPECT_TRUE(option(rl.recipe, "update_epochs = 10\n"));
  EXPECT_TRUE(option(rl.recipe, "num_envs = 4\n"));
  EXPECT_TRUE(option(GiveAdvice({.task = "rl", .priority = "speed"}).recipe, "num_envs = 16\n"));
  EXPECT_EQ(GiveAdvice({.task = "cnn"}).recipe.data.name(), "digits");
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
  // Adam's and AdamW's follow the root.
  EXPECT_EQ(lr("transformer", 256), "3e-04");
  EXPECT_EQ(lr("transformer", 64), "0.00015");
  EXPECT_EQ(lr("transformer", 1), "1.87e-05");
  EXPECT_EQ(lr("transformer", 1023), "6e-04");
  EXPECT_EQ(lr("vit", 64), "5e-04");
  EXPECT_EQ(lr("other", 1024), "0.002");
  EXPECT_EQ(lr("other", 65536), "0.002");
  EXPECT_EQ(lr("finetune", 16), "2e-05");
  EXPECT_EQ(lr("finetune", 8), "1.41e-05");
  EXPECT_EQ(lr("finetune", 128), "4e-05");
}

// From one batch to the next no rate falls or jumps: sqrt(2) is the most that a step from 1 to 2
// can change it, beside the rounding to three digits.
TEST(Advise, LearningRateIsContinuousInTheBatch) {
  for (const std::string task : {"transformer", "vit", "finetune", "gan", "rl", "other"}) {
    const bool asks = task == "transformer" || task == "vit";  // for the batch: then LAMB
    double last = 0;
    for (int64_t batch = 1; batch <= (asks ? 1023 : 1100); ++batch) {
      const double lr = std::stod(Leading(GiveAdvice({.task = task, .batch = batch})));
      if (last > 0) {
        const double most = std::sqrt(static_cast<double>(batch) / static_cast<double>(batch - 1));
        EXPECT_GE(lr, last) << task << " " << batch;
        EXPECT_LE(lr, last * most * 1.01) << task << " " << batch;
      }
      last = lr;
    }
  }
}

// Every task has a word on large batches: a setting of their own, or a remark.
TEST(Advise, LargeBatchesAreRemarkedOn) {
  for (const std::string task :
       {"cnn", "detection", "transformer", "vit", "finetune", "gan", "rl", "other"}) {
    for (const int64_t batch : {512, 65536}) {
      const AdviseOptions options{.task = task, .batch = batch};
      const Advice advice = GiveAdvice(options);
      const std::string text = AdviceText(advice, options, 1e10, false);
      const bool said = advice.setting.ends_with("-large") ||
                        text.find("A batch of 1024 samples or more is a large one") != text.npos;
      EXPECT_EQ(said, batch == 65536) << task;
    }
  }
}

TEST(Advise, WarmupsOfShortRunsAreWhatTheyAre) {
  const auto warmup = [](const AdviseOptions& options) {
    const Advice advice = GiveAdvice(options);
    for (const Choice& c : advice.choices) {
      if (c.what == "warm-up") return c.value;
    }
    return std::string();
  };
  EXPECT_EQ(warmup({.task = "transformer", .batch = 64}), "51 steps of 510");
  EXPECT_EQ(warmup({.task = "transformer", .batch = 10, .samples = "100", .epochs = 1}),
            "1 step of 10");
  EXPECT_EQ(warmup({.task = "transformer", .batch = 10, .samples = "120", .epochs = 1}),
            "1 step: 10 % of 12 steps, rounded to whole steps");
  EXPECT_EQ(warmup({.task = "transformer", .batch = 10, .samples = "10", .epochs = 1}),
            "none: 10 % of 1 step is less than half a step");
  EXPECT_EQ(warmup({.task = "gan"}), "none");
}

// Whoever reads the advice, as text or as JSON, learns what the short names of sources stand for.
TEST(Advise, SourcesAreNamed) {
  const AdviseOptions options{.task = "vit"};
  const Advice advice = GiveAdvice(options);
  const std::string text = AdviceText(advice, options, 1e10, false);
  EXPECT_THAT(text,
              HasSubstr("guide: Optimizer Selection Guide and Best Practices (notebook 116)"));
  const auto json = nlohmann::json::parse(AdviceJson(advice));
  for (const char* const name : {"guide", "advanced", "notes", "playbook"}) {
    EXPECT_THAT(text, HasSubstr(std::string("\n  ") + name + ": "));
    EXPECT_FALSE(json["sources"][name].empty()) << name;
  }
  // Every source is one of them or can be found by itself.
  for (const Choice& c : advice.choices) {
    EXPECT_THAT(c.source, ::testing::ContainsRegex("^(guide|advanced|notes|playbook|arXiv:)"));
  }
}

// A title names the rule that the setting answers with.
TEST(Advise, TitlesAreTrue) {
  const std::map<std::string, std::string> names = {{"momentum", "SGD with momentum"},
                                                    {"lars", "LARS"},
                                                    {"adamw", "AdamW"},
                                                    {"lamb", "LAMB"},
                                                    {"adam", "Adam "}};
  for (const AdviseOptions& options : EveryPath()) {
    const Advice advice = GiveAdvice({.task = options.task, .batch = options.batch});
    EXPECT_THAT(advice.title, HasSubstr(names.at(advice.recipe.optimizer.rule)));
  }
}

TEST(Advise, ChartHasEveryPath) {
  const std::string chart = ChartText();
  EXPECT_THAT(chart,
              ::testing::StartsWith(
                  "Which task? [guide 1]\n"
                  "├─ cnn: images, a convolutional network\n"
                  "│  How many samples does a step use? [guide 1, 3.3 and 7]\n"
                  "│  ├─ below 1024: small to medium => Images: SGD with momentum; then (A)\n"
                  "│  └─ from 1024 on: large => Images with a large batch: LARS; then (A)\n"
                  "├─ detection: "));
  EXPECT_THAT(chart, HasSubstr("\n(A) What matters most? [guide 7, advanced 8]\n"
                               "├─ none: nothing in particular\n"
                               "├─ accuracy: accuracy on new data => sharpness-aware gradients\n"));
  EXPECT_THAT(chart, HasSubstr("\n├─ gan: a generator against a discriminator\n"
                               "│  => GANs: Adam for both players; then (B)\n"));
  EXPECT_THAT(chart, HasSubstr("\n(B) What matters most? [guide 7]\n"));
  EXPECT_THAT(chart,
              HasSubstr("guide: Optimizer Selection Guide and Best Practices (notebook 116)"));
  for (const AdviseOptions& options : EveryPath()) {
    const Advice advice = GiveAdvice(options);
    EXPECT_THAT(chart, HasSubstr("=> " + advice.title));
    for (const ChartStep& step : advice.path) {
      EXPECT_THAT(chart, HasSubstr(step.question + " [" + step.source + "]\n"));
      EXPECT_THAT(chart, HasSubstr(step.answer));
    }
  }
}

TEST(Advise, TableFitsAScreenAndHasTheGuidesRows) {
  const std::string table = QuickReference();
  for (const char* const row :
       {"\ncnn, small batch          momentum   0.1             128 to 256  linear   a tenth at "
        "each",
        "\ncnn, large batch          lars       0.1             256         linear   warm-up is a "
        "must",
        "\ntransformer, small batch  adamw      1e-04 to 5e-04  256         sqrt     warm-up is a "
        "must",
        "\ntransformer, large batch  lamb       0.000625        512         sqrt     warm-up is a "
        "must",
        "\nfinetune                  adamw      2e-05           16 to 32    sqrt     a tenth of",
        "\ngan                       adam       2e-04           64 to 128   sqrt     beta1 0.5",
        "\nrl                        adam       3e-04           64          sqrt     clip_norm 0.5",
        "\nother                     adamw      0.001           256         sqrt     the default",
        "\naccuracy  SAM beside the rule, two gradients a step; not for gan and rl\n"}) {
    EXPECT_THAT(table, HasSubstr(row));
  }
  size_t lines = 0;
  for (size_t begin = 0; begin < table.size(); ++lines) {
    const size_t end = table.find('\n', begin);
    EXPECT_LE(end - begin, 100U) << table.substr(begin, end - begin);
    begin = end + 1;
  }
  EXPECT_LE(lines, 45U);
}

// Without a task the chart and the table are all there is to print; with one they come first.
TEST(Advise, ChartAndTableNeedNoTask) {
  const auto printed = [](const AdviseOptions& options) {
    return kudari::testing::Printed([&](std::FILE* console) { Advise(options, console); });
  };
  EXPECT_EQ(printed({.chart = true}), ChartText());
  EXPECT_EQ(printed({.chart = true, .table = true}), ChartText() + "\n" + QuickReference());
  EXPECT_THAT(printed({.task = "gan", .table = true}),
              ::testing::StartsWith(QuickReference() + "\nGANs: Adam for both players\n"));
  EXPECT_THAT(ErrorOf([] { Advise({.chart = true, .json = "-"}, stderr); }),
              HasSubstr("--task is missing"));
}

TEST(Advise, StepsAreThoseOfTheSamples) {
  const Advice advice = GiveAdvice({.task = "cnn", .batch = 256, .samples = "1.281167M"});
  EXPECT_EQ(advice.steps, 5005 * 90);
  EXPECT_EQ(advice.recipe.train.steps, 5005 * 90);
  EXPECT_EQ(advice.recipe.train.epochs, 0);
  EXPECT_EQ(LearningRate(advice).Text(), "0.1 * warmup(5%) * multistep([33.3%, 66.7%], 0.1)");
  const Advice tune = GiveAdvice({.task = "finetune", .batch = 10, .samples = "95", .epochs = 5});
  EXPECT_EQ(LearningRate(tune).Text(), "1.58e-05 * then(warmup(10%), 10%, linear(end, 0))");
  EXPECT_EQ(LearningRate(tune).Resolve({.steps = tune.steps}).Text(),
            "1.58e-05 * then(warmup(5), 5, linear(45, 0))");
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
  // Policies of the lab have float32 weights.
  const Advice policy = rung("rl", "4000000");
  EXPECT_EQ(policy.rung, "8-bit state");
  EXPECT_FALSE(policy.prediction->fits);
  EXPECT_EQ(policy.recipe.train.weights, "f32");
  EXPECT_EQ(GiveAdvice({.task = "rl", .priority = "memory"}).rung, "8-bit state");
  EXPECT_THAT(
      AdviceText(GiveAdvice({.task = "rl", .priority = "memory"}), {.task = "rl"}, 1e10, false),
      HasSubstr("The recipe's storage: the rule's state in 8 bits"));
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
  EXPECT_EQ(recipe("gan", "speed").train.precision, "bf16");
  EXPECT_EQ(recipe("rl", "speed").train.precision, "f32");
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
  EXPECT_THAT(settings,
              ElementsAre("cnn", "cnn-large", "detection", "detection-large", "finetune", "gan",
                          "other", "rl", "transformer", "transformer-large", "vit"));
  // Batch unknown, small and large, priority unknown and each of four.
  EXPECT_EQ(paths, (std::map<std::string, int>{{"cnn", 15},
                                               {"detection", 15},
                                               {"transformer", 15},
                                               {"vit", 15},
                                               {"finetune", 5},
                                               {"gan", 5},
                                               {"rl", 5},
                                               {"other", 5}}));
}

TEST(Advise, WritesTheRecipe) {
  const kudari::testing::TemporaryFolder folder;
  const auto file = folder / "recipe.toml";
  const std::unique_ptr<std::FILE, decltype(&std::fclose)> console(std::tmpfile(), &std::fclose);
  const AdviseOptions options{.task = "gan", .write = file};
  Advise(options, console.get());
  EXPECT_EQ(ReadTrainRecipe(file), GiveAdvice(options).recipe);
  EXPECT_THAT(ReadTextFile(file), ::testing::StartsWith("# GANs: Adam for both players. Written"));
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
      {"vit", {.task = "vit", .params = "86M", .samples = "1.28M"}},
      {"detection", {.task = "detection"}},
      {"gan", {.task = "gan", .priority = "memory"}},
      {"rl", {.task = "rl", .priority = "speed"}},
      {"other", {.task = "other", .params = "1M", .memory = "4MB"}},
      {"other-large", {.task = "other", .batch = 65536}},
  };
  const auto check = [](const std::string& name, const std::string& text) {
    const auto file =
        std::filesystem::path(KUDARI_SOURCE_DIR) / "lab/recipe/advice_snapshots" / (name + ".txt");
    if (std::getenv("KUDARI_UPDATE_SNAPSHOTS") != nullptr) {
      std::filesystem::create_directories(file.parent_path());
      WriteFileAtomically(file, text);
    }
    EXPECT_EQ(ReadTextFile(file), text) << name;
  };
  check("chart", ChartText());
  check("table", QuickReference());
  for (const auto& [name, options] : cases) {
    const Advice advice = GiveAdvice(options);
    check(name, PathText(advice) + "\n" + AdviceText(advice, options, 40e9, false));
  }
}

}  // namespace advise_test
}  // namespace kudari::lab
