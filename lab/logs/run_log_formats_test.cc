// Files in the shapes in which programs write logs: tests/data/logs/formats, with made-up numbers.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "lab/files/text_file.h"
#include "lab/logs/run_log.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace run_log_formats_test {

namespace fs = std::filesystem;
using kudari::testing::ErrorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const fs::path kFormats = fs::path(KUDARI_SOURCE_DIR) / "tests/data/logs/formats";

// All have a loss that falls from 2.3 to 0.418 in forty entries, or thirty-nine.
struct Shape {
  const char* file;
  std::string columns;  // "field=column", with commas between
  int64_t first_step = 1, last_step = 40;
  std::vector<EvaluationLog> evaluations = {};  // the first and the last
  size_t evaluation_count = 0;
  double lr = kNotMeasured;
  size_t entries = 40;
  double first_loss = 2.3, last_loss = 0.418;
};

// Each epoch has one.
const std::vector<EvaluationLog> kEach = {{.step = 1, .loss = 2.3}, {.step = 40, .loss = 0.6062}};

const Shape kShapes[] = {
    {.file = "f01_detectron2_metrics.json",
     .columns = "loss=total_loss,lr=lr,step=iteration",
     .first_step = 19,
     .last_step = 799,
     .lr = 0.001},
    {.file = "f02_keras_csvlogger_NA.csv",
     .columns = "epoch=epoch,loss=loss,val_accuracy=val_accuracy,val_loss=val_loss",
     .evaluations = {{.step = 1, .loss = 2.3, .accuracy = 0.5},
                     {.step = 36, .loss = 0.642, .accuracy = 0.5}},
     .evaluation_count = 8},
    {.file = "f03_keras_history.json",
     .columns = "loss=loss,val_loss=val_loss",
     .evaluations = kEach,
     .evaluation_count = 40},
    {.file = "f03b_list_of_dicts.json",
     .columns = "epoch=epoch,loss=train_loss,val_loss=val_loss",
     .evaluations = kEach,
     .evaluation_count = 40},
    {.file = "f04_semicolon_decimal_comma.csv",
     .columns = "epoch=epoch,loss=train_loss,val_loss=val_loss",
     .evaluations = kEach,
     .evaluation_count = 40},
    {.file = "f04b_tab.csv",
     .columns = "epoch=epoch,loss=train_loss,val_loss=val_loss",
     .evaluations = kEach,
     .evaluation_count = 40},
    {.file = "f05_yolo_results.csv",
     .columns = "epoch=epoch,loss=train/box_loss+train/cls_loss+train/dfl_loss,lr=lr/pg0,"
                "val_loss=val/box_loss+val/cls_loss+val/dfl_loss",
     .evaluations = {{.step = 1, .loss = 3 * 2.3}, {.step = 40, .loss = 3 * 0.6062}},
     .evaluation_count = 40,
     .lr = 0.01,
     .first_loss = 3 * 2.3,
     .last_loss = 3 * 0.418},
    {.file = "f06_nanogpt.txt",
     .columns = "loss=loss,step=step,val_loss=val_loss",
     .last_step = 391,
     .evaluations = {{.step = 1, .loss = 2.3}, {.step = 301, .loss = 0.7041}},
     .evaluation_count = 4},
    {.file = "f07_megatron.log",
     .columns = "grad_norm=grad_norm,loss=lm_loss,loss_scale=loss_scale,lr=learning_rate,"
                "skipped=skipped_iterations,step=iteration",
     .lr = 1.342e-4},
    {.file = "f08_trainer_state_no_step.json",
     .columns = "epoch=epoch,loss=loss,lr=learning_rate,step=step,val_loss=eval_loss",
     .first_step = 10,
     .last_step = 400,
     .evaluations = {{.step = 100, .loss = 1.4367}, {.step = 400, .loss = 0.6062}},
     .evaluation_count = 4,
     .lr = 1e-4},
    {.file = "f09_hf_console.txt", .columns = "epoch=epoch,loss=loss,lr=learning_rate", .lr = 1e-4},
    {.file = "f10_test_loss.csv",
     .columns = "epoch=epoch,loss=train_loss,val_loss=test_loss",
     .evaluations = kEach,
     .evaluation_count = 40},
    {.file = "f11_wandb_export.csv",
     .columns = "loss=brisk-pond-1 - train/loss,step=Step",
     .last_step = 391},
    {.file = "f12_timm_summary.csv",
     .columns = "epoch=epoch,loss=train_loss,lr=lr,val_accuracy=eval_top1,val_loss=eval_loss",
     .evaluations = {{.step = 1, .loss = 2.3, .accuracy = 50},
                     {.step = 40, .loss = 0.6062, .accuracy = 50}},
     .evaluation_count = 40,
     .lr = 0.001},
    {.file = "f13_fastai_history.csv",
     .columns = "epoch=epoch,loss=train_loss,val_loss=valid_loss",
     .evaluations = kEach,
     .evaluation_count = 40},
    {.file = "f14_sb3_progress.csv",
     .columns = "loss=train/loss,lr=train/learning_rate,step=time/total_timesteps",
     .first_step = 4096,
     .last_step = 81920,
     .lr = 0.0003,
     .entries = 39,
     .first_loss = 2.16},
    {.file = "f15_mmdet.log.json",
     .columns = "epoch=epoch,loss=loss,lr=lr,step=iter",
     .first_step = 50,
     .last_step = 2000,
     .lr = 0.02},
    {.file = "f16_lightning_train_loss_batch.csv",
     .columns = "epoch=epoch,loss=train_loss_batch,step=step"},
    {.file = "f17_stderr_before_header.csv", .columns = "epoch=epoch,loss=loss"},
    {.file = "f18_speechbrain_train_log.txt",
     .columns = "epoch=epoch,loss=train_loss,lr=lr,val_loss=valid_loss",
     .evaluations = {{.step = 1, .loss = 2.3}, {.step = 40, .loss = 0.606}},
     .evaluation_count = 40,
     .lr = 0.001},
    {.file = "f19_fairseq.log",
     .columns = "epoch=epoch,grad_norm=gnorm,loss=loss,loss_scale=loss_scale,lr=lr,"
                "step=num_updates",
     .first_step = 100,
     .last_step = 4000,
     .lr = 0.0005},
    {.file = "f20_extra_cell.csv",
     .columns = "epoch=epoch,loss=loss,val_loss=val_loss",
     .evaluations = kEach,
     .evaluation_count = 40},
    {.file = "f21_index_column.csv",
     .columns = "loss=train_loss,val_loss=valid_loss",
     .evaluations = kEach,
     .evaluation_count = 40},
    {.file = "f22_train_slash_total_loss.csv",
     .columns = "loss=Loss/train,step=step,val_loss=Loss/val",
     .evaluations = kEach,
     .evaluation_count = 40},
    {.file = "f23_epoch_and_step_loss.csv",
     .columns = "epoch=epoch,loss=train_loss,step=step,val_loss=val_loss",
     .last_step = 1951,
     .evaluations = {{.step = 151, .loss = 1.9478}, {.step = 1951, .loss = 0.6062}},
     .evaluation_count = 10},
    {.file = "f24_spaces.txt",
     .columns = "epoch=epoch,loss=train loss,val_loss=val loss",
     .evaluations = kEach,
     .evaluation_count = 40},
    {.file = "f24b_pandas.txt",
     .columns = "grad_norm=grad_norm,loss=train_loss,val_loss=val_loss",
     .evaluations = {{.step = 1, .loss = 2.3}, {.step = 40, .loss = 0.6062}},
     .evaluation_count = 14},
    {.file = "f24c_numpy.txt",
     .columns = "loss=train_loss,step=step,val_loss=val_loss",
     .evaluations = kEach,
     .evaluation_count = 40},
    {.file = "f25_model_card.md",
     .columns = "epoch=Epoch,loss=Training Loss,step=Step,val_loss=Validation Loss",
     .first_step = 100,
     .last_step = 2050,
     .evaluations = {{.step = 50, .loss = 2.5}, {.step = 2050, .loss = 0.6062}},
     .evaluation_count = 41},
};

std::string Text(const LogReading& reading) {
  std::string text;
  for (const auto& [field, column] : reading.columns) {
    text += (text.empty() ? "" : ",") + field + "=" + column;
  }
  return text;
}

void ExpectSame(double found, double expected) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(found)) << found;
  } else {
    EXPECT_DOUBLE_EQ(found, expected);
  }
}

class RunLogFormatsTest : public ::testing::TestWithParam<Shape> {};

TEST_P(RunLogFormatsTest, IsRead) {
  const Shape& shape = GetParam();
  const LogReading reading = ReadLog(kFormats / shape.file);
  EXPECT_EQ(Text(reading), shape.columns);
  const RunLog& log = reading.log;
  ASSERT_EQ(log.steps.size(), shape.entries);
  EXPECT_EQ(log.steps.front().step, shape.first_step);
  EXPECT_EQ(log.steps.back().step, shape.last_step);
  ExpectSame(log.steps.front().loss, shape.first_loss);
  ExpectSame(log.steps.back().loss, shape.last_loss);
  for (const StepLog& s : log.steps) ExpectSame(s.lr, shape.lr);
  ASSERT_EQ(log.evaluations.size(), shape.evaluation_count);
  if (shape.evaluation_count == 0) return;
  for (const auto& [found, expected] : {std::pair(log.evaluations.front(), shape.evaluations[0]),
                                        std::pair(log.evaluations.back(), shape.evaluations[1])}) {
    EXPECT_EQ(found.step, expected.step);
    ExpectSame(found.loss, expected.loss);
    ExpectSame(found.accuracy, expected.accuracy);
  }
}

INSTANTIATE_TEST_SUITE_P(All, RunLogFormatsTest, ::testing::ValuesIn(kShapes),
                         [](const ::testing::TestParamInfo<Shape>& info) {
                           std::string name = fs::path(info.param.file).stem().stem().string();
                           return name;
                         });

TEST(RunLogFormatsTest, AllFilesAreInTheTable) {
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(kFormats)) {
    EXPECT_TRUE(std::ranges::any_of(kShapes, [&](const Shape& shape) {
      return entry.path().filename() == shape.file;
    })) << entry.path();
    ++files;
  }
  EXPECT_EQ(files, std::size(kShapes));
}

TEST(RunLogFormatsTest, WhatElseTheFilesSay) {
  const auto read = [](const char* file) { return ReadLog(kFormats / file); };
  const LogReading megatron = read("f07_megatron.log");
  EXPECT_EQ(megatron.log.planned_steps, 1000);
  EXPECT_EQ(megatron.log.steps[39].grad_norm, 2.918);
  EXPECT_EQ(megatron.log.steps[39].loss_scale, 16384);
  EXPECT_FALSE(megatron.log.steps[39].skipped);
  EXPECT_EQ(read("f19_fairseq.log").log.steps[7].grad_norm, 1.2);
  EXPECT_EQ(read("f08_trainer_state_no_step.json").log.planned_steps, 400);
  const LogReading rl = read("f14_sb3_progress.csv");
  EXPECT_EQ(rl.log.unjudgeable, "the log is of reinforcement learning (rollout/ep_rew_mean)");
  EXPECT_EQ(read("f13_fastai_history.csv").log.unjudgeable, "");
  EXPECT_THAT(read("f20_extra_cell.csv").notes,
              ElementsAre("rows with more cells than the header, of which the last are not read: "
                          "19, from row 23 on"));
  EXPECT_THAT(read("f15_mmdet.log.json").notes,
              ElementsAre("steps are counted again in each epoch; they were counted on, 500 to an "
                          "epoch"));
  EXPECT_EQ(read("f15_mmdet.log.json").log.steps[10].step, 550);
  EXPECT_EQ(read("f15_mmdet.log.json").log.steps_per_epoch, 500);
  EXPECT_THAT(read("f05_yolo_results.csv").notes,
              ElementsAre("loss is the sum of train/box_loss+train/cls_loss+train/dfl_loss",
                          "val_loss is the sum of val/box_loss+val/cls_loss+val/dfl_loss"));
  EXPECT_THAT(read("f01_detectron2_metrics.json").notes, IsEmpty());
  EXPECT_THAT(read("f24_spaces.txt").notes, IsEmpty());
  EXPECT_THAT(read("f25_model_card.md").notes,
              ElementsAre(HasSubstr("rows without numbers, which are not read: 3")));
  const RunLog pandas = read("f24b_pandas.txt").log;
  EXPECT_EQ(pandas.steps[35].grad_norm, 1.25);
  EXPECT_TRUE(std::isinf(pandas.steps[39].grad_norm)) << "not finite, from there on";
}

// The contents tell the format.
TEST(RunLogFormatsTest, NamesDoNotMatter) {
  for (const Shape& shape : kShapes) {
    const std::string text = ReadTextFile(kFormats / shape.file);
    for (const char* name : {"a.csv", "a.json", "a.jsonl", "a.txt", "a"}) {
      EXPECT_EQ(Text(ParseLog(text, name)), shape.columns) << shape.file << " as " << name;
    }
  }
}

// A log that is being written may end anywhere: what is read then is in the whole log.
TEST(RunLogFormatsTest, AnyBeginningIsReadOrRefused) {
  for (const Shape& shape : kShapes) {
    const std::string text = ReadTextFile(kFormats / shape.file);
    const size_t whole = ParseRunLog(text, shape.file).steps.size();
    for (size_t size = 0; size < text.size(); size += 7) {
      const std::string message = ErrorOf([&] {
        EXPECT_LE(ParseRunLog(text.substr(0, size), shape.file).steps.size(), whole)
            << shape.file << ' ' << size;
      });
      EXPECT_THAT(message, ::testing::AnyOf("no error", HasSubstr(shape.file)));
    }
  }
}

}  // namespace run_log_formats_test
}  // namespace kudari::lab
