// Which columns are read, and what becomes of their rows.

#include "lab/logs/run_log_columns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "lab/logs/run_log.h"
#include "tests/support/errors.h"
#include "tests/support/log_columns.h"

namespace kudari::lab {
namespace run_log_columns_test {

using kudari::testing::At;
using kudari::testing::ErrorOf;
using kudari::testing::Losses;
using kudari::testing::Steps;
using kudari::testing::ValidationOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr double kInf = std::numeric_limits<double>::infinity();

std::string ParseError(const std::string& text, const RunLogOptions& options = {}) {
  return ErrorOf([&] { ParseRunLog(text, "a.csv", options); });
}

TEST(RunLogColumnsTest, PlainNames) {
  EXPECT_EQ(PlainName("Loss/train"), "loss_train");
  EXPECT_EQ(PlainName("_step"), "step");
  EXPECT_EQ(PlainName("brisk-pond-1 - train/loss"), "train_loss");
  EXPECT_EQ(PlainName("a - b - loss__MIN"), "loss_min");
  EXPECT_EQ(PlainName(" - "), "");
}

// ---- Sums ----

TEST(RunLogColumnsTest, LossesMayBeAddedUp) {
  const std::string text = "step,a,b,c\n1,1,2,3\n2,4,,5\n3,6,7,8\n";
  const LogReading two = ParseLog(text, "a.csv", {.columns = {{"loss", "a + b"}}});
  EXPECT_THAT(Steps(two.log), ElementsAre(1, 3));
  EXPECT_THAT(Losses(two.log), ElementsAre(3, 13));
  EXPECT_EQ(two.columns.at("loss"), "a+b");
  EXPECT_THAT(two.notes, IsEmpty());
  const RunLog three =
      ParseRunLog(text, "a.csv", {.columns = {{"loss", "c"}, {"val_loss", "a+b+c"}, {"lr", "a"}}});
  EXPECT_THAT(Losses(three), ElementsAre(3, 5, 8));
  EXPECT_THAT(ValidationOf(three), ElementsAre(At(1, 6), At(3, 21)));
  EXPECT_EQ(three.steps[1].lr, 4);
  EXPECT_THAT(ParseError(text, {.columns = {{"loss", "a+d"}}}),
              HasSubstr("a.csv: has no \"d\", which was given as loss; its columns are \"step\", "
                        "\"a\", \"b\", \"c\""));
  EXPECT_THAT(ParseError(text, {.columns = {{"loss", "a+"}}}), HasSubstr("has no \"\", which"));
  // A name may have a plus.
  EXPECT_THAT(Losses(ParseRunLog("a+b,a\n1,2\n", "a.csv", {.columns = {{"loss", "a+b"}}})),
              ElementsAre(1));
}

TEST(RunLogColumnsTest, UltralyticsTermsAreNotAddedWhereThereIsATotal) {
  const std::string terms = "train/box_loss,train/cls_loss,train/other_loss";
  EXPECT_THAT(Losses(ParseRunLog("epoch," + terms + "\n1,1,2,4\n", "a.csv")), ElementsAre(3));
  EXPECT_THAT(Losses(ParseRunLog("epoch," + terms + ",train/loss\n1,1,2,4,9\n", "a.csv")),
              ElementsAre(9));
  EXPECT_EQ(ParseError("epoch,train/box_loss,train/other_loss\n1,1,2\n"),
            "a.csv: has no loss, which is usually called \"loss\" or \"train/loss\"; its columns "
            "are \"epoch\", \"train/box_loss\", \"train/other_loss\"; name it, as in --map "
            "\"loss=train/box_loss\", or losses to be added up, "
            "\"loss=train/box_loss+train/other_loss\"");
}

// ---- Which of several ----

TEST(RunLogColumnsTest, ColumnsWithoutNumbersAreNotChosen) {
  EXPECT_THAT(Losses(ParseRunLog("loss,train_loss\n,1\n,2\n", "a.csv")), ElementsAre(1, 2));
  EXPECT_THAT(Losses(ParseRunLog("loss,Loss\n,1\n,2\n", "a.csv")), ElementsAre(1, 2));
  EXPECT_EQ(ParseError("step,a - loss,b - loss\n1,1,2\n"),
            "a.csv: loss could be any of \"a - loss\", \"b - loss\"; choose one, as in --map "
            "\"loss=a - loss\"");
}

TEST(RunLogColumnsTest, NamesOfTheField) {
  for (const char* name : {"total_loss", "ctc_loss", "train_loss_batch", "value_loss",
                           "run - train/loss", "lm loss", "Train/Loss_epoch", "training_loss"}) {
    EXPECT_THAT(Losses(ParseRunLog(std::string(name) + ",x\n1,0\n2,0\n", "a.csv")),
                ElementsAre(1, 2))
        << name;
  }
  for (const char* name : {"test_loss", "Loss/test", "valid_loss", "dev_loss", "eval/loss"}) {
    EXPECT_THAT(ValidationOf(ParseRunLog("loss," + std::string(name) + "\n1,3\n", "a.csv")),
                ElementsAre(At(1, 3)))
        << name;
  }
}

TEST(RunLogColumnsTest, LossesThatDoNotTell) {
  const auto why = [](const char* header) {
    return ParseRunLog(std::string(header) + "\n1,2\n", "a.csv").unjudgeable;
  };
  EXPECT_EQ(why("loss,rollout/ep_rew_mean"),
            "the log is of reinforcement learning (rollout/ep_rew_mean)");
  EXPECT_EQ(why("train/value_loss,step"),
            "the log is of reinforcement learning (train/value_loss)");
  EXPECT_EQ(why("loss,reward"), "the log is of reinforcement learning (reward)");
  EXPECT_EQ(why("loss,train/d_loss"), "the log is of adversarial training (train/d_loss)");
  EXPECT_EQ(why("loss,rewards/accuracies"), "");
  EXPECT_EQ(why("loss,val_loss"), "");
}

// ---- Tables ----

TEST(RunLogColumnsTest, CellsThatAreNotThere) {
  const RunLog log = ParseRunLog(
      "step;loss;val_loss;grad_norm\n1;2,5;NA;nan\n2; -1e3 ;None;inf\n3;0;-;-Infinity\n", "a.csv");
  EXPECT_THAT(Losses(log), ElementsAre(2.5, -1000, 0));
  EXPECT_THAT(ValidationOf(log), IsEmpty());
  EXPECT_EQ(log.steps[0].grad_norm, kInf);  // not finite
  EXPECT_EQ(log.steps[1].grad_norm, kInf);
  EXPECT_EQ(log.steps[2].grad_norm, -kInf);
  EXPECT_THAT(ParseError("step;loss\n1;1.234,5\n"),
              HasSubstr("loss = \"1.234,5\" is not a number"));
}

TEST(RunLogColumnsTest, RowsThatAreNoRowsOfTheTable) {
  const LogReading log = ParseLog(
      "nohup: ignoring input\n\nstep,loss,lr\n1,2,0.5\n2,1\nTraceback (most recent call last):\n"
      "step,loss,lr\n3,4,0.25,7\n4,5,0.25\n",
      "a.csv");
  EXPECT_THAT(Steps(log.log), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(Losses(log.log), ElementsAre(2, 1, 4, 5));
  EXPECT_EQ(log.log.steps[1].lr, 0.5);
  EXPECT_THAT(
      log.notes,
      ElementsAre("rows with more cells than the header, of which the last are not read: 1, from "
                  "row 8 on",
                  "rows with fewer cells than the header, of which the last count as empty: 1, "
                  "from row 5 on",
                  "rows without numbers, which are not read: 2, from row 6 on"));
}

TEST(RunLogColumnsTest, HeadersAreFound) {
  const auto header = [](const std::string& text) {
    const LogTable table = ParseLogTable(text, "a.csv");
    std::string names;
    for (const Column& column : table.columns) names += "[" + column.name + "]";
    return names;
  };
  EXPECT_EQ(header(",train loss, val_loss\n0,1,2\n"), "[][train loss][val_loss]");
  EXPECT_EQ(header("a,b;c;d\n1;2;3\n"), "[a,b][c][d]");
  EXPECT_EQ(header("\"a;b\";loss\n1;2\n"), "[a;b][loss]");
  EXPECT_EQ(header("some text, with a comma\nand, more\nx,loss\n1,2\n"), "[x][loss]");
  EXPECT_EQ(header("epoch,loss\n"), "[epoch][loss]");
  EXPECT_EQ(header("objective\n1\n2\n"), "[objective]");
}

// ---- JSON ----

TEST(RunLogColumnsTest, ListsAndObjectsOfNumbers) {
  EXPECT_THAT(Losses(ParseRunLog("{\n \"best\": 3,\n \"history\": {\"loss\": [2.0, NaN, Infinity], "
                                 "\"lr\": [1, 2, 3]}}",
                                 "a.json")),
              ElementsAre(2, ::testing::IsNan(), kInf));
  const RunLog parts =
      ParseRunLog(R"({"train": {"loss": [2, 1.5]}, "val": {"loss": ["2.5", 2]}})", "a.json");
  EXPECT_THAT(Losses(parts), ElementsAre(2, 1.5));
  EXPECT_THAT(ValidationOf(parts), ElementsAre(At(1, 2.5), At(2, 2)));
  // As pandas writes it: a null is a cell without a number.
  const RunLog pandas = ParseRunLog(
      R"({"loss":{"0":2.0,"1":1.5,"2":1.0},"val_loss":{"0":null,"1":null,"2":1.1}})", "a.json");
  EXPECT_THAT(Losses(pandas), ElementsAre(2, 1.5, 1));
  EXPECT_THAT(ValidationOf(pandas), ElementsAre(At(3, 1.1)));
  // A list that is shorter ends earlier.
  EXPECT_THAT(Steps(ParseRunLog(R"({"val_loss":[1,2,3],"loss":[1,2]})", "a.json")),
              ElementsAre(1, 2));
  EXPECT_THAT(ErrorOf([] { ParseRunLog(R"({"max_steps": 3})", "a.json"); }),
              HasSubstr("a.json: has no loss"));
  EXPECT_THAT(ErrorOf([] { ParseRunLog(R"([{"loss": 1}, 2])", "a.json"); }),
              HasSubstr("a.json: entry 2 is not an object"));
}

TEST(RunLogColumnsTest, NullsAreNansUnlessMostAre) {
  const auto text = [](const std::vector<const char*>& values) {
    std::string lines;
    for (const char* value : values) lines += std::string("{\"loss\":") + value + "}\n";
    return lines;
  };
  EXPECT_THAT(Losses(ParseRunLog(text({"2", "null", "1", "null", "null", "null"}), "a.jsonl")),
              ElementsAre(2, ::testing::IsNan(), 1, ::testing::IsNan(), ::testing::IsNan(),
                          ::testing::IsNan()));
  EXPECT_THAT(Losses(ParseRunLog(text({"2", "null", "null", "null", "1", "null"}), "a.jsonl")),
              ElementsAre(2, 1));
}

TEST(RunLogColumnsTest, RowsOfValidation) {
  const RunLog log = ParseRunLog(
      "{\"mode\": \"train\", \"epoch\": 1, \"iter\": 50, \"loss\": 2}\n"
      "{\"mode\": \"val\", \"epoch\": 1, \"iter\": 9, \"loss\": 3}\n"
      "{\"mode\": \"train\", \"epoch\": 2, \"iter\": 50, \"loss\": 1}\n",
      "a.json");
  EXPECT_THAT(Steps(log), ElementsAre(50, 100));
  EXPECT_THAT(ValidationOf(log), ElementsAre(At(50, 3)));
}

// ---- Steps ----

TEST(RunLogColumnsTest, RunsThatWereAppended) {
  const RunLog log =
      ParseRunLog("epoch,loss,val_loss\n0,3,3\n1,2,\n2,1,1\n0,6,6\n1,5,\n2,4,4\n", "a.csv");
  EXPECT_THAT(Steps(log), ElementsAre(1, 2, 3, 1, 2, 3));
  EXPECT_THAT(Losses(log), ElementsAre(3, 2, 1, 6, 5, 4));
  EXPECT_THAT(ValidationOf(log), ElementsAre(At(1, 3), At(3, 1), At(1, 6), At(3, 4)));
  // One that goes on from epoch 1, and one that begins at an epoch that has not been.
  EXPECT_THAT(Steps(ParseRunLog("epoch,loss\n0,3\n0,3\n1,2\n2,1\n1,5\n1,5\n2,4\n", "a.csv")),
              ElementsAre(1, 2, 3, 4, 3, 4, 5));
  EXPECT_THAT(Steps(ParseRunLog("epoch,loss\n5,3\n6,2\n4,1\n", "a.csv")), ElementsAre(1, 2, 1));
}

TEST(RunLogColumnsTest, WhatHoldsGoesOnIntoTheNextRun) {
  const RunLog log = ParseRunLog(
      "step,loss,lr,grad_norm\n1,,0.5,\n1,3,,7\n2,2,,8\n1,,,\n1,6,,9\n1,,0.25,\n2,5,,\n", "a.csv");
  EXPECT_THAT(Steps(log), ElementsAre(1, 2, 1, 2));
  std::vector<double> lrs, norms;
  for (const StepLog& s : log.steps) {
    lrs.push_back(s.lr);
    norms.push_back(s.grad_norm);
  }
  EXPECT_THAT(lrs, ElementsAre(0.5, 0.5, 0.25, 0.25));
  EXPECT_THAT(norms, ElementsAre(7, 8, 9, ::testing::IsNan()));
}

TEST(RunLogColumnsTest, StepsThatAreRepeatedAreKept) {
  const RunLog log = ParseRunLog("step,loss,grad_norm\n1,3,4\n1,2,5\n1,1,6\n", "a.csv");
  EXPECT_THAT(Steps(log), ElementsAre(1, 1, 1));
  EXPECT_THAT(Losses(log), ElementsAre(3, 2, 1));
  EXPECT_EQ(log.steps[1].grad_norm, 5);
}

TEST(RunLogColumnsTest, StepsThatAreCountedInEachEpochFromZero) {
  const RunLog log =
      ParseRunLog("epoch,step,loss\n1,0,5\n1,99,4\n2,0,3\n2,99,2\n4,0,1\n1e300,,\n", "a.csv");
  EXPECT_THAT(Steps(log), ElementsAre(1, 100, 101, 200, 301));
  // Not where they rise over epochs, nor where there are no whole epochs.
  EXPECT_THAT(Steps(ParseRunLog("epoch,step,loss\n1,1,5\n2,3,4\n3,2,3\n", "a.csv")),
              ElementsAre(1, 3, 2));
  EXPECT_THAT(Steps(ParseRunLog("epoch,step,loss\n0.5,1,5\n1.5,1,4\n", "a.csv")),
              ElementsAre(1, 1));
  EXPECT_THAT(Steps(ParseRunLog("epoch,step,loss\n1,1,5\n1e18,1,4\n", "a.csv")), ElementsAre(1, 1));
}

TEST(RunLogColumnsTest, FinishedRuns) {
  const auto planned = [](const std::string& head) {
    return ParseRunLog(
               "{" + head + R"("log_history":[{"loss":1,"step":500},{"loss":1,"step":1000}]})",
               "trainer_state.json")
        .planned_steps;
  };
  EXPECT_EQ(planned(R"("global_step":1200,"max_steps":1200,)"), 1000);
  EXPECT_EQ(planned(R"("global_step":1000,"max_steps":1200,)"), 1200);
  EXPECT_EQ(planned(R"("max_steps":1200,)"), 1200);
  EXPECT_EQ(planned(R"("global_step":1000,)"), 0);
}

}  // namespace run_log_columns_test
}  // namespace kudari::lab
