#include "lab/logs/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "kudari/error.h"
#include "lab/files/text_file.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace metrics_test {

using nlohmann::json;

TEST(Metrics, StepHasItsKeysInOrder) {
  const std::string line = StepJson({.step = 3,
                                     .epoch = 2,
                                     .loss = 0.1,
                                     .lr = 1e-3,
                                     .grad_norm = 2.5,
                                     .skipped = true,
                                     .loss_scale = 65536,
                                     .gradients = 2,
                                     .seconds = 0.25});
  EXPECT_EQ(line, R"({"step":3,"epoch":2,"loss":0.1,"lr":0.001,"grad_norm":2.5,"skipped":true,)"
                  R"("loss_scale":65536,"gradients":2,"seconds":0.250000})");
}

TEST(Metrics, NumbersReadBackExactly) {
  const double loss = std::sqrt(2.0) * 1e-7;
  EXPECT_EQ(json::parse(StepJson({.step = 1, .loss = loss}))["loss"].get<double>(), loss);
}

TEST(Metrics, WhatIsNotFiniteIsNull) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const json step = json::parse(
      StepJson({.step = 1, .loss = std::numeric_limits<double>::infinity(), .grad_norm = nan}));
  EXPECT_TRUE(step["loss"].is_null());
  EXPECT_TRUE(step["grad_norm"].is_null());
  EXPECT_EQ(ScoreJson(7, "val", {.loss = 0.5, .accuracy = nan}),
            R"({"step":7,"val_loss":0.5,"val_accuracy":null})");
}

TEST(Metrics, LayersAndWhatIsRareAreThereIfKnown) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const StepRecord record{
      .step = 1,
      .micro_grad_norm = 0.75,
      .layers =
          {{.name = "b", .grad = nan, .weight = 2, .update = 0.5},
           {.name = "a\"", .grad = 1, .weight = 3, .update = 0, .trust = 0.25, .pinned = true}},
      .first_nonfinite = "b"};
  const std::string line = StepJson(record);
  EXPECT_THAT(line, ::testing::EndsWith(
                        R"("micro_grad_norm":0.75,"layers":{"b":{"grad":null,"weight":2,"update":)"
                        R"(0.5},"a\"":{"grad":1,"weight":3,"update":0,"trust":0.25,"pinned":)"
                        R"(true}},"first_nonfinite":"b"})"));
  EXPECT_TRUE(json::accept(line));
  EXPECT_EQ(json::parse(StepJson({.step = 1})).size(), 9u);
}

TEST(Metrics, NumericsAreSharesOfWhatCanBeLost) {
  const std::vector<Numerics> numerics = {
      {.tensor = "a", .elements = 8, .lost = 4},
      {.tensor = "b", .elements = 24, .blocks = 8},
      {.tensor = "c\"", .elements = 0, .blocks = 2, .saturated = 1}};
  const json step = json::parse(StepJson({.step = 1, .numerics = numerics}))["numerics"];
  EXPECT_EQ(step["lost"], 4.0 / 32);
  EXPECT_EQ(step["saturated"], 1.0 / 10);
  EXPECT_EQ(step["tensors"], json::parse(R"({"a": {"lost": 0.5, "saturated": 0.0},
                                             "c\"": {"lost": 0.0, "saturated": 0.5}})"));
  EXPECT_FALSE(json::parse(StepJson({.step = 1})).contains("numerics"));
}

TEST(Metrics, NamesThatAreNotUtf8AreReplaced) {
  StepRecord record{.step = 1, .loss = 1, .first_nonfinite = "a\xff"};
  record.layers = {{.name = "b\xff\x1b", .grad = 1}};
  const std::string line = StepJson(record);
  EXPECT_THAT(line, ::testing::HasSubstr("\"first_nonfinite\":\"a\xef\xbf\xbd\""));
  EXPECT_THAT(line, ::testing::HasSubstr("\"b\xef\xbf\xbd\\u001b\""));
}

TEST(Metrics, EachLineIsInTheFileAtOnce) {
  const kudari::testing::TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  MetricsFile file(path);
  file.Write("a");
  EXPECT_EQ(ReadTextFile(path), "a\n");
  file.Write("b");
  EXPECT_EQ(ReadTextFile(path), "a\nb\n");
  MetricsFile again(path);
  EXPECT_EQ(ReadTextFile(path), "");
}

TEST(Metrics, FilesGoOnBehindWhatIsKept) {
  const kudari::testing::TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  MetricsFile(path).Write("kept");
  MetricsFile(path, 5).Write("lost");
  MetricsFile(path, 5).Write("b");
  EXPECT_EQ(ReadTextFile(path), "kept\nb\n");
  try {
    MetricsFile file(path, 8);
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(),
                ::testing::HasSubstr("has 7 bytes, fewer than the 8 of the run to resume"));
  }
  EXPECT_EQ(ReadTextFile(path), "kept\nb\n");
}

TEST(Metrics, FileThatCannotBeWrittenIsNamed) {
  const kudari::testing::TemporaryFolder folder;
  try {
    MetricsFile file(folder / "no-such-folder/m.jsonl");
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("no-such-folder/m.jsonl: No such file"));
  }
}

}  // namespace metrics_test
}  // namespace kudari::lab
