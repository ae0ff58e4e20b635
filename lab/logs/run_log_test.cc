#include "lab/logs/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "kudari/error.h"
#include "lab/files/text_file.h"
#include "lab/logs/metrics.h"
#include "lab/logs/run_log_events.h"
#include "lab/recipe/train_recipe.h"
#include "tests/support/errors.h"
#include "tests/support/log_columns.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tfrecord.h"

namespace kudari::lab {
namespace run_log_test {

namespace fs = std::filesystem;
using kudari::testing::ErrorOf;
using kudari::testing::Losses;
using kudari::testing::Record;
using kudari::testing::Steps;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kEvents = KUDARI_SOURCE_DIR "/tests/golden/data/events";

class RunLogTest : public ::testing::Test {
 protected:
  fs::path Write(const std::string& name, const std::string& text) const {
    fs::create_directories((dir_ / name).parent_path());
    std::ofstream(dir_ / name, std::ios::binary) << text;
    return dir_ / name;
  }

  kudari::testing::TemporaryFolder dir_;
};

std::string ParseError(std::string_view text, std::string_view name,
                       const RunLogOptions& options = {}) {
  return ErrorOf([&] { ParseRunLog(text, name, options); });
}

// ---- metrics.jsonl ----

Recipe ARecipe() {
  Recipe recipe;
  recipe.optimizer = OptimizerSpec("adamw");
  return recipe;
}

// Two epochs of three steps, as `kudari train` writes them.
std::string Metrics() {
  std::string text;
  for (int64_t step = 1; step <= 6; ++step) {
    StepRecord record{.step = step,
                      .epoch = (step + 2) / 3,
                      .loss = 1.0 / static_cast<double>(step),
                      .lr = 0.25,
                      .grad_norm = static_cast<double>(step)};
    const Numerics numerics[] = {{.tensor = "w", .elements = 8, .lost = 2}};
    if (step == 2) {
      record.layers = {
          {.name = "z", .grad = 1.5, .weight = 2, .update = 0.25, .trust = 1, .pinned = true},
          {.name = "a", .weight = 4, .update = 0}};
      record.numerics = numerics;
    }
    if (step == 4) {
      record.skipped = true;
      record.loss_scale = 1024;
      record.loss = std::numeric_limits<double>::infinity();
      record.first_nonfinite = "a";
    }
    text += StepJson(record) + "\n";
    if (step % 3 == 0) text += ScoreJson(step, "val", {.loss = 0.5, .accuracy = 0.75}) + "\n";
  }
  return text + ScoreJson(6, "test", {.loss = 9, .accuracy = 0.5}) + "\n";
}

TEST_F(RunLogTest, ReadsWhatTrainingWrites) {
  Write("metrics.jsonl", Metrics());
  Recipe recipe = ARecipe();
  recipe.train.epochs = 5;
  Write("recipe.toml", ToToml(recipe));
  const RunLog log = ReadRunLog(dir_.path());
  EXPECT_THAT(Steps(log), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(log.steps[1].loss, 0.5);
  EXPECT_EQ(log.steps[1].lr, 0.25);
  EXPECT_EQ(log.steps[1].grad_norm, 2);
  EXPECT_EQ(log.steps[1].lost, 0.25);
  EXPECT_EQ(log.steps[1].loss_scale, 1);
  EXPECT_FALSE(log.steps[1].skipped);
  EXPECT_TRUE(std::isnan(log.steps[0].lost));
  EXPECT_TRUE(std::isnan(log.steps[0].micro_grad_norm));
  EXPECT_TRUE(log.steps[3].skipped);
  EXPECT_EQ(log.steps[3].loss_scale, 1024);
  EXPECT_TRUE(std::isnan(log.steps[3].loss));
  EXPECT_THAT(log.evaluations,
              ElementsAre(EvaluationLog{.step = 3, .loss = 0.5, .accuracy = 0.75},
                          EvaluationLog{.step = 6, .loss = 0.5, .accuracy = 0.75}));
  ASSERT_EQ(log.layers.size(), 1U);
  EXPECT_EQ(log.layers[0].step, 2);
  ASSERT_EQ(log.layers[0].tensors.size(), 2U);
  const LayerLog &z = log.layers[0].tensors[0], &a = log.layers[0].tensors[1];
  EXPECT_EQ(
      z, (LayerLog{
             .name = "z", .grad = 1.5, .weight = 2, .update = 0.25, .trust = 1, .pinned = true}));
  EXPECT_EQ(a.name, "a");
  EXPECT_TRUE(std::isnan(a.grad) && std::isnan(a.trust));
  EXPECT_FALSE(a.pinned);
  EXPECT_EQ(log.steps_per_epoch, 3);
  EXPECT_EQ(log.planned_steps, 15);
  EXPECT_EQ(log.first_nonfinite, "a");
}

TEST_F(RunLogTest, KnowsTheWholePlanOrNone) {
  const std::string metrics = Metrics();
  Write("metrics.jsonl", metrics);
  EXPECT_EQ(ReadRunLog(dir_.path()).planned_steps, 0);
  const auto planned = [&](int64_t epochs, int64_t steps) {
    Recipe recipe = ARecipe();
    recipe.train.epochs = epochs;
    recipe.train.steps = steps;
    Write("recipe.toml", ToToml(recipe));
    return ReadRunLog(dir_ / "metrics.jsonl").planned_steps;
  };
  EXPECT_EQ(planned(0, 100), 100);
  EXPECT_EQ(planned(4, 100), 12);
  EXPECT_EQ(planned(4, 7), 7);
  // In the first epoch it is not known how long one is.
  Write("metrics.jsonl", metrics.substr(0, metrics.find("\n{\"step\":3") + 1));
  EXPECT_EQ(planned(4, 100), 0);
  EXPECT_EQ(ReadRunLog(dir_.path()).steps_per_epoch, 0);
  EXPECT_EQ(ReadRunLog(dir_.path(), {.columns = {}, .steps_per_epoch = 5}).steps_per_epoch, 5);
  EXPECT_EQ(ReadRunLog(dir_.path(), {.columns = {}, .steps_per_epoch = 5}).planned_steps, 20);
}

TEST_F(RunLogTest, ALineThatIsBeingWrittenIsLeftAndADamagedOneIsAnError) {
  const std::string metrics = Metrics();
  for (size_t size = 0; size < metrics.size(); ++size) {
    const std::string_view part = std::string_view(metrics).substr(0, size);
    const auto whole = static_cast<size_t>(std::ranges::count(part, '\n'));
    if (whole == 0) continue;
    EXPECT_LE(ParseRunLog(part, "metrics.jsonl").steps.size(), whole + 1) << size;
  }
  std::string damaged = metrics;
  damaged.replace(damaged.find("\n{\"step\":2") + 1, 4, "oops");
  EXPECT_THAT(ParseError(damaged, "metrics.jsonl"), HasSubstr("metrics.jsonl: line 2 is not a"));
  damaged = metrics;
  damaged.insert(1, "}");
  EXPECT_THAT(ParseError(damaged, "metrics.jsonl"), HasSubstr("metrics.jsonl: line 1 is not a"));
}

TEST_F(RunLogTest, OtherJsonLinesAndPythonsNan) {
  const RunLog log = ParseRunLog(
      "{\"iter\": 10, \"Train Loss\": 2.5, \"note\": \"NaN \\\" Infinity\"}\n\n"
      "{\"iter\": 20, \"note\": \"\\\"\", \"Train Loss\": NaN, \"learning-rate\": 0.5}\n"
      "{\"iter\": 30, \"Train Loss\": -Infinity}",
      "log.jsonl");
  EXPECT_THAT(Steps(log), ElementsAre(10, 20, 30));
  EXPECT_EQ(log.steps[0].loss, 2.5);
  EXPECT_TRUE(std::isnan(log.steps[1].loss));
  EXPECT_TRUE(std::isnan(log.steps[0].lr));
  EXPECT_EQ(log.steps[2].lr, 0.5);  // it holds
}

TEST_F(RunLogTest, RatesAndScalesHoldAndNormsDoNot) {
  const RunLog log = ParseRunLog(
      "{\"_Train -- Loss_\": 2, \"lr\": 0.5, \"loss_scale\": 8, \"grad_norm\": 3}\n"
      "{\"_Train -- Loss_\": 1, \"first_nonfinite\": \"a\"}\n{\"first_nonfinite\": \"b\"}\n",
      "log.jsonl");
  ASSERT_THAT(Losses(log), ElementsAre(2, 1));
  EXPECT_EQ(log.steps[1].lr, 0.5);
  EXPECT_EQ(log.steps[1].loss_scale, 8);
  EXPECT_TRUE(std::isnan(log.steps[1].grad_norm));
  EXPECT_EQ(log.first_nonfinite, "a");
}

// ---- CSV ----

TEST_F(RunLogTest, LightningsCsv) {
  // Its rows are of one kind each; the rest of the cells is empty.
  const RunLog log = ParseRunLog(
      "epoch,lr-AdamW/pg1,lr-AdamW/pg2,step,train_loss_epoch,train_loss_step,val_acc,val_loss\n"
      ",0.001,0.1,49,,,,\n"
      "0,,,49,,1.5,,\n"
      "0,,,99,,1.25,,\n"
      "0,,,99,,,0.5,1.375\n"
      "0,,,99,1.4,,,\n"
      "1,,,149,,1,,\n"
      "1,,,199,,nan,,\n"
      "1,,,199,,,0.625,1.25\n",
      "metrics.csv");
  EXPECT_THAT(Steps(log), ElementsAre(49, 99, 149, 199));
  EXPECT_EQ(log.steps[2].loss, 1);
  EXPECT_TRUE(std::isnan(log.steps[3].loss));
  EXPECT_EQ(log.steps[3].lr, 0.001);
  EXPECT_THAT(log.evaluations,
              ElementsAre(EvaluationLog{.step = 99, .loss = 1.375, .accuracy = 0.5},
                          EvaluationLog{.step = 199, .loss = 1.25, .accuracy = 0.625}));
}

TEST_F(RunLogTest, KerasCsv) {
  // No steps; "accuracy" is the training's.
  const RunLog log = ParseRunLog(
      "\xEF\xBB\xBF"
      "epoch,accuracy,loss,val_accuracy,val_loss\r\n"
      "0,0.9,2,0.5,3\r\n1,0.95,1,0.625,2",
      "training.csv");
  EXPECT_THAT(Steps(log), ElementsAre(1, 2));
  EXPECT_THAT(Losses(log), ElementsAre(2, 1));
  EXPECT_EQ(log.evaluations[1], (EvaluationLog{.step = 2, .loss = 2, .accuracy = 0.625}));
  EXPECT_EQ(log.steps_per_epoch, 0);
  EXPECT_THAT(ParseRunLog("loss,accuracy\n1,0.5\n", "a.csv").evaluations, IsEmpty());
}

TEST_F(RunLogTest, StepsFromZeroAreCountedFromOne) {
  const RunLog log =
      ParseRunLog("step,epoch,loss,val_loss\n0,0,3,\n1,0,2,\n2,1,1,5\n3,1,1,\n4,2,1,\n", "log.csv");
  EXPECT_THAT(Steps(log), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(log.evaluations[0].step, 3);
  EXPECT_EQ(log.steps_per_epoch, 2);
}

TEST_F(RunLogTest, EpochsThatBeganBeforeTheLogOrArePartlyOver) {
  EXPECT_EQ(ParseRunLog("step,epoch,loss\n50,0,3\n100,1,2\n200,2,1\n", "a.csv").steps_per_epoch,
            100);
  EXPECT_EQ(ParseRunLog("step,epoch,loss\n50,0,3\n100,1,2\n", "a.csv").steps_per_epoch, 0);
  EXPECT_EQ(ParseRunLog("step,epoch,loss\n0,0.25,3\n1,0.5,2\n", "a.csv").steps_per_epoch, 4);
}

TEST_F(RunLogTest, LayersAreOfStepsThatHaveALoss) {
  const RunLog log = ParseRunLog(
      "{\"step\":0,\"loss\":1,\"layers\":{\"w\":{\"grad\":2}}}\n"
      "{\"step\":5,\"layers\":{\"w\":{\"grad\":3}}}\n",
      "a.jsonl");
  ASSERT_EQ(log.layers.size(), 1U);
  EXPECT_EQ(log.layers[0].step, 1);
  EXPECT_EQ(log.layers[0].tensors[0].grad, 2);
}

TEST_F(RunLogTest, StepsMayGoBack) {
  const RunLog log = ParseRunLog(
      "step,loss,val_loss\n10,9,\n20,8,7\n30,7,\n40,6,\n40,,5\n20,4,\n30,3,2\n", "log.csv");
  EXPECT_THAT(Steps(log), ElementsAre(10, 20, 30, 40, 20, 30));
  EXPECT_THAT(Losses(log), ElementsAre(9, 8, 7, 6, 4, 3));
  ASSERT_EQ(log.evaluations.size(), 3U);
  EXPECT_EQ(log.evaluations[1].step, 40);
  EXPECT_EQ(log.evaluations[2].step, 30);
  EXPECT_EQ(log.evaluations[2].loss, 2);
}

TEST_F(RunLogTest, CsvErrorsSayWhereAndWhat) {
  EXPECT_THAT(ParseError("step,loss\n1,2\n2,abc\n", "a.csv"),
              HasSubstr("a.csv: row 3: loss = \"abc\" is not a number"));
  EXPECT_EQ(ParseRunLog("when,loss\nmonday,2\n", "a.csv").steps.size(), 1U);  // not asked for
  EXPECT_THAT(ParseError("step,loss\n1,2\n\"2\"x,3\n", "a.csv"), HasSubstr("row 3 is damaged"));
  EXPECT_THAT(ParseError("step,loss\n1,2\n1.5,3\n", "a.csv"),
              HasSubstr("row 3: step = 1.5 must be a whole number of at least 0"));
  EXPECT_THAT(ParseError("step,loss\n1,2\n,3\n", "a.csv"), HasSubstr("row 3 has no step"));
  EXPECT_THAT(ParseError("step,cost,lr\n1,2,3\n", "a.csv"),
              HasSubstr("a.csv: has no loss, which is usually called \"loss\" or \"train/loss\"; "
                        "its columns are \"step\", \"cost\", \"lr\"; name it, as in --map "
                        "\"loss=cost\""));
  EXPECT_THAT(ParseError("step,loss,Loss\n1,2,3\n", "a.csv"),
              HasSubstr("loss could be any of \"loss\", \"Loss\"; choose one"));
  EXPECT_THAT(ParseError("step,loss\n", "a.csv"), HasSubstr("\"loss\" is empty"));
  EXPECT_THAT(ParseError("", "a.csv"), HasSubstr("a.csv: is empty; logs are JSON lines"));
  EXPECT_THAT(ParseError("step,loss\n1,x\n2,y\n", "a.csv"), HasSubstr("row 2: loss = \"x\""));
  // The last row of a run that goes on has no end yet.
  EXPECT_EQ(ParseRunLog("step,loss\n1,2\n2", "a.csv").steps.size(), 1U);
  EXPECT_EQ(ParseRunLog("step,loss\n1,2\n2\n", "a.csv").steps.size(), 1U);
  // As Excel writes it.
  EXPECT_THAT(Steps(ParseRunLog("\xEF\xBB\xBF\"step\",\"loss\"\r\n7,2\r\n", "a.csv")),
              ElementsAre(7));
}

TEST_F(RunLogTest, ColumnsMayBeGiven) {
  const std::string text = "n,cost,loss,acc\n1,2,7,0.5\n2,3,7,0.75\n";
  const RunLog log =
      ParseRunLog(text, "a.csv",
                  {.columns = {{"step", "n"}, {"loss", "cost"}, {"val_accuracy", "acc"}},
                   .steps_per_epoch = 9});
  EXPECT_THAT(Losses(log), ElementsAre(2, 3));
  EXPECT_EQ(log.evaluations[1].accuracy, 0.75);
  EXPECT_EQ(log.steps_per_epoch, 9);
  EXPECT_THAT(
      ParseError(text, "a.csv", {.columns = {{"loss", "costs"}}}),
      HasSubstr("has no \"costs\", which was given as loss; its columns are \"n\", \"cost\""));
  EXPECT_THAT(ParseError(text, "a.csv", {.columns = {{"los", "cost"}}}),
              HasSubstr("unknown field \"los\"; did you mean"));
  EXPECT_THAT(ParseError(text, "a.csv", {.columns = {}, .steps_per_epoch = -1}),
              HasSubstr("steps_per_epoch = -1"));
}

// ---- Hugging Face ----

TEST_F(RunLogTest, TrainerState) {
  const std::string text = R"({"max_steps": 60, "log_history": [
    {"epoch": 0.5, "grad_norm": 1.5, "learning_rate": 0.01, "loss": 3.0, "step": 10},
    {"epoch": 1.0, "grad_norm": NaN, "learning_rate": 0.005, "loss": 2.0, "step": 20},
    {"epoch": 1.0, "eval_accuracy": 0.75, "eval_loss": 2.5, "eval_runtime": 1.0, "step": 20},
    {"epoch": 1.0, "train_loss": 2.5, "train_runtime": 9.0, "step": 20}]})";
  const RunLog log = ParseRunLog(text, "checkpoint-20/trainer_state.json");
  EXPECT_THAT(Steps(log), ElementsAre(10, 20));
  EXPECT_THAT(Losses(log), ElementsAre(3, 2));
  EXPECT_EQ(log.steps[0].grad_norm, 1.5);
  EXPECT_TRUE(std::isinf(log.steps[1].grad_norm)) << "not finite";
  EXPECT_THAT(log.evaluations,
              ElementsAre(EvaluationLog{.step = 20, .loss = 2.5, .accuracy = 0.75}));
  EXPECT_EQ(log.steps_per_epoch, 20);
  EXPECT_EQ(log.planned_steps, 60);
  EXPECT_THAT(ParseError(text.substr(0, 90), "a.json"), HasSubstr("a.json: is not JSON, or trunc"));
  EXPECT_THAT(ParseError("{}", "a.json"), HasSubstr("has no loss"));
  EXPECT_THAT(ParseError(R"({"log_history": [1]})", "a.json"), HasSubstr("entry 1"));
}

// ---- TensorBoard ----

std::vector<ScalarEvent> EventsOf(std::string_view bytes, std::string_view name) {
  std::vector<ScalarEvent> events;
  ReadScalarEvents(bytes, name, [&events](const ScalarEvent& e) { events.push_back(e); });
  return events;
}

// Cells and columns are shown on one line, and not all of a long one or of many.
TEST_F(RunLogTest, NamesOfOthersAreShownSafely) {
  const auto message = [&](const std::string& csv) {
    return ErrorOf([&] { ParseRunLog(csv, "log.csv"); });
  };
  EXPECT_EQ(message("step,loss\n1,\x1b[2J\n"),
            "log.csv: row 2: loss = \"\\x1b[2J\" is not a number");
  EXPECT_EQ(message("step,loss\n1," + std::string(1'000'000, 'x') + "\n"),
            "log.csv: row 2: loss = \"" + std::string(100, 'x') + "...\" is not a number");
  std::string columns = "step";
  for (int i = 0; i < 100'000; ++i) columns += ",c\x1b" + std::to_string(i);
  EXPECT_THAT(message(columns + "\n1\n"), HasSubstr("\"c\\x1b8\" and 99991 more"));
}

TEST(Crc32cTest, IsTheStandards) {
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(Crc32c(""), 0U);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAU);  // RFC 3720, B.4
}

TEST_F(RunLogTest, EventsOfTorch) {
  const RunLog log = ReadRunLog(kEvents + "/torch");
  ASSERT_EQ(log.steps.size(), 10U);
  for (size_t i = 0; i < 10; ++i) {
    const double n = static_cast<double>(i) + 1;
    EXPECT_EQ(log.steps[i].step, static_cast<int64_t>(i) + 1);
    EXPECT_EQ(log.steps[i].loss, static_cast<float>(2 / n));
    EXPECT_EQ(log.steps[i].lr, static_cast<float>(0.5 / n));
    EXPECT_TRUE(std::isnan(log.steps[i].grad_norm));
  }
  EXPECT_EQ(log.evaluations.size(), 2U);
  EXPECT_EQ(log.evaluations[1].step, 10);
  EXPECT_EQ(log.evaluations[1].loss, static_cast<float>(0.3));
  EXPECT_THAT(ErrorOf([] {
                ReadRunLog(kEvents + "/torch", {.columns = {{"loss", "cost"}}});
              }),
              HasSubstr("its tags are \"Loss/train\", \"lr\", \"Loss/val\""));
}

TEST_F(RunLogTest, EventsThatAreTensorsInFoldersOfTrainingAndValidation) {
  const RunLog log = ReadRunLog(kEvents + "/tensors");
  ASSERT_EQ(log.steps.size(), 10U);
  ASSERT_EQ(log.evaluations.size(), 10U);
  for (size_t i = 0; i < 10; ++i) {
    const double n = static_cast<double>(i) + 1;
    EXPECT_EQ(log.steps[i].loss, static_cast<float>(2 / n));
    EXPECT_EQ(log.evaluations[i].loss, static_cast<float>(3 / n));
    EXPECT_EQ(log.evaluations[i].step, log.steps[i].step);
  }
}

TEST_F(RunLogTest, SeveralRunsInAFolderAreAnError) {
  fs::copy(kEvents + "/torch", dir_ / "b");
  fs::copy(kEvents + "/tensors", dir_ / "a", fs::copy_options::recursive);
  EXPECT_THAT(ErrorOf([&] { ReadRunLog(dir_.path()); }),
              HasSubstr("has the logs of several runs, \"a\", \"b\"; give the folder of one"));
  EXPECT_EQ(ReadRunLog(dir_ / "a").steps.size(), 10U);
  // One of them is enough if it is named.
  const RunLog log = ReadRunLog(dir_.path(), {.columns = {{"loss", "a/validation/epoch_loss"}}});
  EXPECT_EQ(log.steps[0].loss, 3);
  fs::remove_all(dir_ / "b");
  EXPECT_EQ(ReadRunLog(dir_.path()).steps.size(), 10U);
}

TEST_F(RunLogTest, ARestartedRunsSecondFileFollowsTheFirst) {
  const fs::path first = kEvents + "/torch/events.out.tfevents.1700000000";
  fs::copy(first, dir_ / "events.out.tfevents.1");
  fs::copy(first, dir_ / "events.out.tfevents.2");
  const RunLog log = ReadRunLog(dir_.path());
  ASSERT_EQ(log.steps.size(), 20U);
  EXPECT_EQ(log.steps[10].step, 1);
  EXPECT_EQ(log.steps[10].loss, 2);
  EXPECT_EQ(log.steps[10].lr, 0.5);
  ASSERT_EQ(log.evaluations.size(), 4U);
  EXPECT_EQ(log.evaluations[1].step, log.evaluations[3].step);
}

// A record with a scalar; everything is below 128, so each number is one byte.
std::string Scalar(int step, const std::string& tag, float value) {
  const auto bits = std::bit_cast<std::array<char, 4>>(value);  // little-endian, as the format
  const auto framed = [](char key, const std::string& content) {
    return std::string{key, static_cast<char>(content.size())} + content;
  };
  const std::string scalar = framed('\x0a', tag) + '\x15' + std::string(bits.begin(), bits.end());
  return Record(std::string{'\x10', static_cast<char>(step)} +
                framed('\x2a', framed('\x0a', scalar)));
}

TEST_F(RunLogTest, AResumedRunsSecondFileFollowsTheFirst) {
  Write("train/events.out.tfevents.1", Scalar(1, "loss", 9) + Scalar(2, "loss", 8) +
                                           Scalar(3, "loss", 7) + Scalar(4, "loss", 6) +
                                           Scalar(4, "val_loss", 5) + Scalar(4, "loss_scale", 2));
  Write("train/events.out.tfevents.2", Scalar(2, "loss", 4) + Scalar(3, "loss", 3));
  // Another folder's files are not in an order with those.
  Write("eval/events.out.tfevents.1", Scalar(2, "accuracy", 0.5) + Scalar(3, "accuracy", 0.75));
  const RunLog log = ReadRunLog(dir_.path(), {.columns = {{"val_loss", "train/val_loss"}}});
  EXPECT_THAT(Steps(log), ElementsAre(1, 2, 3, 4, 2, 3));
  EXPECT_THAT(Losses(log), ElementsAre(9, 8, 7, 6, 4, 3));
  EXPECT_EQ(log.steps[3].loss_scale, 2);
  ASSERT_EQ(log.evaluations.size(), 3U);
  EXPECT_EQ(log.evaluations[1].accuracy, 0.75);
  EXPECT_TRUE(std::isnan(log.evaluations[1].loss));
  EXPECT_EQ(log.evaluations[2].step, 4);
  EXPECT_EQ(log.evaluations[2].loss, 5);
}

TEST_F(RunLogTest, EventsTruncatedOrDamagedAnywhere) {
  const std::string name = "events.out.tfevents.1";
  const std::string bytes = ReadTextFile(kEvents + "/torch/events.out.tfevents.1700000000");
  const std::vector<ScalarEvent> whole = EventsOf(bytes, name);
  ASSERT_EQ(whole.size(), 22U);
  size_t before = 0;
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto events = EventsOf(std::string_view(bytes).substr(0, size), name);
    ASSERT_LE(before, events.size()) << size;
    ASSERT_LT(events.size(), whole.size()) << size;
    before = events.size();
  }
  EXPECT_EQ(before + 1, whole.size());
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (const int flip : {1, 0x80, 0xFF}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const std::string message = ErrorOf([&] { EventsOf(damaged, name); });
      EXPECT_THAT(message, HasSubstr(name + ": record ")) << at;
      EXPECT_THAT(message, HasSubstr(" is damaged: its ")) << at;
    }
  }
}

TEST_F(RunLogTest, RecordsThatAreNoEvents) {
  const std::string name = "events.out.tfevents.1";
  // Whole records, as their checksums tell, of any content. An event of step 3 with a summary:
  std::string event("\x10\x03\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x20\x41", 17);
  const auto events = EventsOf(Record(event), name);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].tag, "loss");
  EXPECT_EQ(events[0].step, 3);
  EXPECT_EQ(events[0].value, 10);
  EXPECT_THAT(ErrorOf([&] { EventsOf(Record(event.substr(0, 12)), name); }),
              HasSubstr(name + ": record 1 is not an event: "));
  for (size_t at = 0; at < event.size(); ++at) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string other = event;
      other[at] = static_cast<char>(byte);
      const std::string message = ErrorOf([&] { EventsOf(Record(other), name); });
      EXPECT_THAT(message, ::testing::AnyOf("no error", HasSubstr("record 1 is not an event")));
    }
  }
  // A double among tensors, as a content and as a value; two of them are no scalar.
  const auto tensor = [&](const std::string& proto) {
    std::string value =
        "\x0a\x04loss\x42" + std::string(1, static_cast<char>(proto.size())) + proto;
    std::string summary = "\x0a" + std::string(1, static_cast<char>(value.size())) + value;
    return EventsOf(Record("\x2a" + std::string(1, static_cast<char>(summary.size())) + summary),
                    name);
  };
  const std::string half("\0\0\0\0\0\0\xe0\x3f", 8);
  EXPECT_EQ(tensor("\x08\x02\x22\x08" + half).at(0).value, 0.5);
  EXPECT_EQ(tensor("\x08\x02\x32\x08" + half).at(0).value, 0.5);
  EXPECT_EQ(tensor("\x08\x02\x31" + half).at(0).value, 0.5);
  EXPECT_EQ(tensor("\x08\x02\x31" + half).at(0).step, 0);
  EXPECT_THAT(tensor("\x08\x02\x22\x10" + half + half), IsEmpty());
  EXPECT_THAT(tensor("\x08\x07\x22\x08" + half), IsEmpty());
}

// ---- Files ----

TEST_F(RunLogTest, PackedFilesAndFolders) {
  const std::string metrics = Metrics();
  const fs::path packed = dir_ / "metrics.jsonl.gz";
  gzFile file = gzopen(packed.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(gzwrite(file, metrics.data(), static_cast<unsigned>(metrics.size())),
            static_cast<int>(metrics.size()));
  gzclose(file);
  EXPECT_EQ(ReadRunLog(packed).steps.size(), 6U);
  EXPECT_EQ(ReadRunLog(dir_.path()).steps.size(), 6U);
  fs::remove(packed);
  Write("metrics.csv", "loss\n1\n2\n");
  EXPECT_EQ(ReadRunLog(dir_.path()).steps.size(), 2U);
  Write("trainer_state.json", R"({"log_history": [{"loss": 1, "step": 1}]})");
  EXPECT_EQ(ReadRunLog(dir_.path()).steps.size(), 1U);
}

TEST_F(RunLogTest, WhatIsNoLogIsAnError) {
  EXPECT_THAT(
      ErrorOf([&] { ReadRunLog(dir_.path()); }),
      HasSubstr(dir_.path().string() + ": has no log of a training run; known are JSON lines"));
  EXPECT_THAT(ErrorOf([&] { ReadRunLog(dir_ / "none.csv"); }), HasSubstr("none.csv: cannot be"));
  EXPECT_THAT(ErrorOf([&] { ReadRunLog(Write("log.txt", "hello")); }),
              HasSubstr("log.txt: no log was found in it, which begins with \"hello\"; logs are"));
}

// A NaN is evidence, and nothing is none.
TEST(RunLogNormsTest, ANormThatIsNotFiniteIsInfinite) {
  const auto norms = [](const char* text) {
    std::vector<double> found;
    for (const StepLog& s : ParseRunLog(text, "log").steps) found.push_back(s.grad_norm);
    return found;
  };
  const double infinity = std::numeric_limits<double>::infinity();
  const auto missing = ::testing::IsNan();
  EXPECT_THAT(norms("step,loss,grad_norm\n1,3,nan\n2,2,\n3,2,inf\n4,1,0.5\n"),
              ElementsAre(infinity, missing, infinity, 0.5));
  EXPECT_THAT(norms("step 1 loss 3 grad_norm nan\nstep 2 loss 2\n"),
              ElementsAre(infinity, missing));
  EXPECT_THAT(norms(R"({"step":1,"loss":3,"grad_norm":2}
{"step":2,"loss":2,"grad_norm":null}
)"),
              ElementsAre(2, infinity));
  EXPECT_THAT(norms(R"({"step":1,"loss":3,"grad_norm":null}
{"step":2,"loss":2,"grad_norm":null}
)"),
              ElementsAre(missing, missing))
      << "never logged";
}

}  // namespace run_log_test
}  // namespace kudari::lab
