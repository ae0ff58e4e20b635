// Console output, as programs print it.

#include "lab/logs/run_log_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lab/logs/run_log.h"
#include "tests/support/errors.h"
#include "tests/support/log_columns.h"

namespace kudari::lab {
namespace run_log_text_test {

using kudari::testing::At;
using kudari::testing::ErrorOf;
using kudari::testing::LossesOf;
using kudari::testing::ValidationOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The numbers of a line by their names.
std::map<std::string, double> NumbersOf(const std::string& line) {
  std::map<std::string, double> numbers;
  for (const Column& column : ParseText(line, "a.txt").columns) {
    numbers[column.name] = column.cells.back().value;
  }
  return numbers;
}

using Numbers = std::map<std::string, double>;

TEST(RunLogTextTest, NamesAndNumbers) {
  EXPECT_EQ(NumbersOf("step 100: train loss 2.31, val loss 2.45"),
            (Numbers{{"step", 100}, {"train_loss", 2.31}, {"val_loss", 2.45}}));
  EXPECT_EQ(NumbersOf("\x1b[32m[03/19 10:00:00 d2.utils]: \x1b[0m iter: 19  total_loss: 2.3"),
            (Numbers{{"iter", 19}, {"total_loss", 2.3}}));
  EXPECT_EQ(NumbersOf("loss=tensor(0.5, requires_grad=True) lr = 1e-3."),
            (Numbers{{"loss", 0.5}, {"lr", 1e-3}}));
  EXPECT_EQ(NumbersOf("average training loss 0.5 and validation loss of -0.7"),
            (Numbers{{"training_loss", 0.5}, {"validation_loss", -0.7}}));
  EXPECT_EQ(NumbersOf("Loss at step 12,000: 2.5"), (Numbers{{"step", 12000}, {"loss", 2.5}}));
  EXPECT_EQ(NumbersOf("Loss at 12,000: 2.5"), (Numbers{{"loss", 2.5}}));
  EXPECT_EQ(NumbersOf("step 12000 Loss 3 (4)"), (Numbers{{"step", 12000}, {"loss", 3}}));
  EXPECT_EQ(NumbersOf("loss (smoothed): 1.5; time per step (ms): 4"),
            (Numbers{{"loss", 1.5}, {"time per step", 4}}));
  EXPECT_EQ(NumbersOf("[valid] loss: 2.5"), (Numbers{{"val_loss", 2.5}}));
  EXPECT_EQ(NumbersOf("| valid on 'valid' subset | loss 9.1 | num_updates 11"),
            (Numbers{{"val_loss", 9.1}, {"num_updates", 11}}));
  EXPECT_EQ(NumbersOf("Test: [  1/196]\tTime  2.1 (  2.1)\tLoss 5.5e+00 (5.6e+00)"),
            (Numbers{{"val_loss", 5.5}}));
}

TEST(RunLogTextTest, NumbersThatAreNotFinite) {
  const auto nan = NumbersOf("step 1 loss nan lr: inf, skipped iterations: 0 norm -inf");
  EXPECT_TRUE(std::isnan(nan.at("loss")));
  EXPECT_EQ(nan.at("lr"), HUGE_VAL);
  EXPECT_EQ(nan.at("norm"), -HUGE_VAL);
  EXPECT_TRUE(std::isnan(NumbersOf("loss at step 3: nan").at("loss")));
  // These are words.
  EXPECT_EQ(NumbersOf("number of nan iterations: 3"), (Numbers{{"nan iterations", 3}}));
  EXPECT_THAT(NumbersOf("val_loss improved from inf to 0.5"), IsEmpty());
  EXPECT_THAT(NumbersOf("step_avg:nanms and inf"), IsEmpty());
}

TEST(RunLogTextTest, WhatIsNoNumberOfAName) {
  for (const char* line : {"", "2024-05-01 10:00:00,123 INFO hello", "batch size 8", "loss 15.3%",
                           "loss 100.00ms", "loss", "0.5 0.4", "Epoch", "10/500 [00:10<00:00]",
                           "((((]])) : = 3", "step -1", "step 0.5"}) {
    EXPECT_THAT(NumbersOf(line), IsEmpty()) << line;
  }
  const std::string words(100'000, 'w');
  EXPECT_EQ(NumbersOf(words + ": 1"), (Numbers{{std::string(48, 'w'), 1}}));
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "w ";
  EXPECT_EQ(NumbersOf(many + ": 1"), (Numbers{{"w w w w w w w w", 1}}));
}

TEST(RunLogTextTest, OnlySoManyNamesThatAreNotKnown) {
  std::string text = "loss 1\n";
  for (int i = 0; i < 3000; ++i) text += "n" + std::to_string(i) + "=1\n";
  EXPECT_EQ(ParseText(text + "val loss 2\n", "a.txt").columns.size(), 1002u);
}

TEST(RunLogTextTest, LlmC) {
  const LogReading log = ParseLog(
      "s:0 tel:11.0088\ns:0 trl:11.0091 lr:0.000001 norm:15.37\ns:1 trl:10.96 lr:0.000002 "
      "norm:14.1\ns:1 eval:0.25\ns:1 tel:6.5\n",
      "main.log");
  EXPECT_THAT(LossesOf(log.log), ElementsAre(At(1, 11.0091), At(2, 10.96)));
  EXPECT_EQ(log.log.steps[1].lr, 2e-6);
  EXPECT_EQ(log.log.steps[1].grad_norm, 14.1);
  EXPECT_THAT(ValidationOf(log.log), ElementsAre(At(1, 11.0088), At(2, 6.5)));
  const RunLog console = ParseRunLog(
      "| learning rate (LR)   | 6.000000e-04 |\nval loss 11.009\n"
      "step    1/19560 | loss 11.009614 (+nanz)| norm 15.3690 (+nanz)| lr 8.57e-07 | 3242.40 ms\n"
      "step    2/19560 | loss 10.962957 (+nanz)| norm 14.8692 (-1.22z)| lr 1.71e-06 | 299.71 ms\n"
      "val loss 7.009\n",
      "a.txt");
  EXPECT_THAT(LossesOf(console), ElementsAre(At(1, 11.009614), At(2, 10.962957)));
  EXPECT_THAT(ValidationOf(console), ElementsAre(At(0, 11.009), At(2, 7.009)));
  EXPECT_EQ(console.steps[0].lr, 8.57e-7);
  EXPECT_EQ(console.planned_steps, 19560);
}

TEST(RunLogTextTest, ModdedNanoGpt) {
  const RunLog log = ParseRunLog(
      "Running Python 3.12.7 (main, Oct 18 2024, 06:22:29)\n"
      "step:0/5100 val_loss:10.8258 train_time:0ms step_avg:nanms\n"
      "step:1/5100 train_loss:10.8 train_time:31ms step_avg:31.2ms\n"
      "step:2/5100 train_loss:10.1 train_time:62ms step_avg:31.2ms\n",
      "a.txt");
  EXPECT_THAT(LossesOf(log), ElementsAre(At(1, 10.8), At(2, 10.1)));
  EXPECT_THAT(ValidationOf(log), ElementsAre(At(0, 10.8258)));
  EXPECT_EQ(log.planned_steps, 5100);
}

TEST(RunLogTextTest, MegatronWithValidation) {
  const RunLog log = ParseRunLog(
      "using world size: 8, data-parallel-size: 8\n"
      " [2024-05-01 10:00:00] iteration      100/  500000 | consumed samples: 6400 | learning "
      "rate: 1.342E-04 | lm loss: 9.3E+00 | grad norm: 2.918 | number of skipped iterations:   1 "
      "| number of nan iterations:   0 |\n"
      " validation loss at iteration 100 | lm loss value: 9.1 | lm loss PPL: 8000.0 |\n"
      " iteration      200/  500000 | consumed samples: 12800 | learning rate: 1.342E-04 | lm "
      "loss: 8.3E+00 | grad norm: nan | number of skipped iterations:   0 |\n",
      "a.log");
  EXPECT_THAT(LossesOf(log), ElementsAre(At(100, 9.3), At(200, 8.3)));
  EXPECT_THAT(ValidationOf(log), ElementsAre(At(100, 9.1)));
  EXPECT_TRUE(log.steps[0].skipped);
  EXPECT_FALSE(log.steps[1].skipped);
  EXPECT_TRUE(std::isinf(log.steps[1].grad_norm));
  EXPECT_EQ(log.planned_steps, 500000);
}

TEST(RunLogTextTest, HuggingFacesConsoleAmongProgressBars) {
  const LogReading log = ParseLog(
      "  0%|          | 0/1000 [00:00<?, ?it/s]\r  1%|#         | 10/1000 [00:05<09:00, "
      "1.8it/s]\r{'loss': '2.3', 'grad_norm': '1.5', 'learning_rate': '5e-05', 'epoch': '0.01'}\n"
      "{'loss': 2.1, 'grad_norm': nan, 'learning_rate': 4e-05, 'epoch': 0.02}\n"
      "{'eval_loss': 2.0, 'eval_runtime': 12.3, 'epoch': 0.02}\n"
      "{'train_runtime': 100.0, 'train_loss': 2.2, 'epoch': 3.0}\n",
      "a.txt");
  EXPECT_THAT(LossesOf(log.log), ElementsAre(At(1, 2.3), At(2, 2.1)));
  EXPECT_EQ(log.log.steps[0].grad_norm, 1.5);
  EXPECT_EQ(log.log.steps[0].lr, 5e-5);
  EXPECT_THAT(ValidationOf(log.log), ElementsAre(At(2, 2.0)));
}

TEST(RunLogTextTest, KerasAndPyTorchsTutorial) {
  const RunLog keras = ParseRunLog(
      "Epoch 1/10\n"
      "500/500 [====] - 3s 5ms/step - loss: 0.5 - accuracy: 0.8 - val_loss: 0.4 - val_accuracy: "
      "0.85\nEpoch 2/10\n"
      "500/500 [====] - 3s 5ms/step - loss: 0.4 - accuracy: 0.8 - val_loss: 0.35 - val_accuracy: "
      "0.86\nEpoch 00002: val_loss improved from inf to 0.35, saving model to a.h5\n",
      "a.txt");
  EXPECT_THAT(LossesOf(keras), ElementsAre(At(1, 0.5), At(2, 0.4)));
  EXPECT_THAT(keras.evaluations,
              ElementsAre(EvaluationLog{.step = 1, .loss = 0.4, .accuracy = 0.85},
                          EvaluationLog{.step = 2, .loss = 0.35, .accuracy = 0.86}));
  const RunLog tutorial = ParseRunLog(
      "Epoch 0/24\n----------\ntrain Loss: 0.5730 Acc: 0.7008\nval Loss: 0.25 Acc: 0.9020\n\n"
      "Epoch 1/24\n----------\ntrain Loss: 0.4730 Acc: 0.7008\nval Loss: 0.24 Acc: 0.9020\n",
      "a.txt");
  EXPECT_THAT(LossesOf(tutorial), ElementsAre(At(1, 0.573), At(2, 0.473)));
  EXPECT_THAT(tutorial.evaluations,
              ElementsAre(EvaluationLog{.step = 1, .loss = 0.25, .accuracy = 0.902},
                          EvaluationLog{.step = 2, .loss = 0.24, .accuracy = 0.902}));
}

TEST(RunLogTextTest, StepsThatAreCountedInEachEpoch) {
  const LogReading mmdet = ParseLog(
      "2021-01-01 00:00:00,123 - mmdet - INFO - Epoch [1][50/7330]\tlr: 1.9e-03, eta: 1 day, "
      "2:00:00, loss_cls: 1.5, acc: 80.2, loss: 2.7\n"
      "2021-01-01 00:00:00,123 - mmdet - INFO - Epoch [1][100/7330]\tlr: 2e-03, loss: 2.5\n"
      "2021-01-01 00:00:00,123 - mmdet - INFO - Epoch [2][50/7330]\tlr: 2e-02, loss: 1.5\n"
      "2021-01-01 00:00:00,123 - mmdet - INFO - Epoch(val) [2][7330]\tbbox_mAP: 0.1\n",
      "a.log");
  EXPECT_THAT(LossesOf(mmdet.log), ElementsAre(At(50, 2.7), At(100, 2.5), At(150, 1.5)));
  EXPECT_EQ(mmdet.log.steps[2].lr, 2e-2);
  EXPECT_EQ(mmdet.log.planned_steps, 0);
  const LogReading imagenet = ParseLog(
      "Epoch: [0][   1/5005]\tTime  6.1 ( 6.1)\tLoss 7.0e+00 (7.0e+00)\tAcc@1   0.00 (  0.00)\n"
      "Epoch: [0][  11/5005]\tTime  6.1 ( 6.1)\tLoss 6.9e+00 (7.0e+00)\tAcc@1   0.00 (  0.00)\n"
      "Test: [  1/196]\tTime  2.1 (  2.1)\tLoss 5.5e+00 (5.5e+00)\tAcc@1  10.0 (10.0)\n"
      "Epoch: [1][   1/5005]\tTime  6.1 ( 6.1)\tLoss 5.0e+00 (5.0e+00)\n",
      "a.log");
  EXPECT_THAT(LossesOf(imagenet.log), ElementsAre(At(1, 7), At(11, 6.9), At(12, 5)));
  EXPECT_THAT(ValidationOf(imagenet.log), ElementsAre(At(11, 5.5)));
}

TEST(RunLogTextTest, FairseqsOtherFormatAndObjectsInText) {
  const LogReading log = ParseLog(
      "2021-01-01 00:00:00 | INFO | train_inner | epoch 001:    100 / 1102 loss=13.1, "
      "nll_loss=12.9, num_updates=100, lr=1.25e-05, gnorm=3.4, wall=60\n"
      "2021-01-01 00:00:00 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 9.1 | "
      "nll_loss 8.5 | num_updates 100\n"
      "2021-01-01 00:00:00 | INFO | train_inner | {\"loss\": \"12\", \"num_updates\": \"200\"}\n",
      "a.log");
  EXPECT_THAT(LossesOf(log.log), ElementsAre(At(100, 13.1), At(200, 12)));
  EXPECT_THAT(ValidationOf(log.log), ElementsAre(At(100, 9.1)));
}

TEST(RunLogTextTest, AStepMayBeInTheLineBefore) {
  const RunLog log = ParseRunLog("Step 10:\n  loss: 2\nStep 20:\n  loss: 1\nfinal loss: 9\n", "a");
  EXPECT_THAT(LossesOf(log), ElementsAre(At(10, 2), At(20, 1)));
  // A step that only one of them has is none of theirs.
  const RunLog counted = ParseRunLog("global step: 5\nloss: 3\nloss: 2\nloss: 1\n", "a");
  EXPECT_THAT(LossesOf(counted), ElementsAre(At(1, 3), At(2, 2), At(3, 1)));
}

TEST(RunLogTextTest, WhatIsNotUnderstoodIsRefused) {
  const auto message = [](const std::string& text) {
    return ErrorOf([&] { ParseRunLog(text, "a.txt"); });
  };
  EXPECT_THAT(message("Cost after iteration 0: 0.69\nCost after iteration 100: 0.58\n"),
              HasSubstr("a.txt: has no loss, which is usually called \"loss\" or \"train/loss\"; "
                        "its columns are \"iteration\", \"Cost\"; name it, as in --map "
                        "\"loss=Cost\""));
  EXPECT_THAT(message("#!/bin/sh\necho hello\n"),
              HasSubstr("a.txt: no log was found in it, which begins with \"#!/bin/sh"));
  EXPECT_THAT(message("1,2,3\n4,5,6\n"), HasSubstr("a.txt: no log was found"));
  EXPECT_THAT(message(std::string(1000, '\0')), HasSubstr("a.txt: no log was found"));
}

}  // namespace run_log_text_test
}  // namespace kudari::lab
