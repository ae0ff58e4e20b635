// Logs that are larger than any of a run: what is read has limits. tests/work counts the time.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "kudari/files.h"
#include "lab/logs/run_log.h"
#include "lab/logs/run_log_table.h"
#include "tests/support/allocations.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace run_log_limits_test {

namespace fs = std::filesystem;
using kudari::testing::ErrorOf;
using kudari::testing::PeakMemory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;

std::string Repeated(std::string_view text, size_t times) {
  std::string all;
  all.reserve(text.size() * times);
  for (size_t i = 0; i < times; ++i) all += text;
  return all;
}

std::string MessageOf(std::string_view text, std::string_view name) {
  return ErrorOf([&] { ParseLogTable(text, name); });
}

std::vector<std::string> Names(const LogTable& table) {
  std::vector<std::string> names;
  for (const Column& c : table.columns) names.push_back(c.name);
  return names;
}

// ---- Order ----

TEST(LogTableTest, ColumnsAndLayersAreInTheOrderOfTheText) {
  const LogTable table = ParseLogTable(
      R"({"z":1,"b":{"y":2,"x":3,"deep":{"er":4},"list":[5]},"text":"t","a":true,"n":null})"
      "\n"
      R"({"step":7,"layers":{"w2":{"grad":1,"pinned":true},"w1":{"weight":2,"trust":NaN},)"
      R"("number":9,"w0":{"update":3,"deep":{"grad":8},"pinned":1}},"z":4,"z":5})"
      "\n"
      R"({"layers":{"w":{"grad":1}},"first_nonfinite":"p"})",
      "a.jsonl");
  EXPECT_THAT(Names(table), ElementsAre("z", "b/y", "b/x", "a", "n", "step", "layers/number"));
  ASSERT_EQ(table.columns[0].cells.size(), 2u);
  EXPECT_EQ(table.columns[0].cells[1].value, 5);  // the last of two of a name
  EXPECT_EQ(table.columns[0].cells[1].row, 2u);
  EXPECT_EQ(table.columns[3].cells[0].value, 1);
  EXPECT_TRUE(std::isnan(table.columns[4].cells[0].value));
  ASSERT_EQ(table.layers.size(), 1u);  // that without a step are none
  EXPECT_EQ(table.layers[0].step, 7);
  const std::vector<LayerLog>& layers = table.layers[0].tensors;
  ASSERT_EQ(layers.size(), 3u);
  EXPECT_EQ(layers[0].name + layers[1].name + layers[2].name, "w2w1w0");
  EXPECT_EQ(layers[0].grad, 1);
  EXPECT_TRUE(layers[0].pinned);
  EXPECT_EQ(layers[1].weight, 2);
  EXPECT_TRUE(std::isnan(layers[1].trust));
  EXPECT_EQ(layers[2].update, 3);
  EXPECT_TRUE(std::isnan(layers[2].grad));
  EXPECT_FALSE(layers[2].pinned);
  EXPECT_EQ(table.first_nonfinite, "p");
}

TEST(LogTableTest, RowsOfAStateAreThoseOfItsHistory) {
  const LogTable table = ParseLogTable(
      R"({"a":1,"max_steps":9,"other":[{"b":2}],"inner":{"log_history":[{"c":3}],"max_steps":1},)"
      R"("log_history":[{"loss":4,"d":{"e":5,"f":{"g":6}}},{"loss":7}],"z":[[[[[[{"h":8}]]]]]]})",
      "trainer_state.json");
  EXPECT_THAT(Names(table), ElementsAre("loss", "d/e"));
  EXPECT_EQ(table.rows, 2u);
  EXPECT_EQ(table.columns[0].cells[1].value, 7);
  EXPECT_EQ(table.columns[0].cells[1].row, 2u);
  EXPECT_EQ(table.planned_steps, 9);
  for (const char* entry : {"1", "null", "\"a\"", "[]", "true", "1.5", "-1"}) {
    EXPECT_EQ(MessageOf(std::string(R"({"log_history":[{"loss":1},)") + entry + "]}", "a.json"),
              "a.json: entry 2 of log_history is not an object");
  }
  for (const char* text : {"[]", "{}", R"({"log_history":{}})", R"({"a":{"log_history":[]}})"}) {
    EXPECT_TRUE(ParseLogTable(text, "a.json").columns.empty()) << text;
  }
  EXPECT_THAT(MessageOf("1", "a.json"), HasSubstr("a.json: no log was found in it"));
}

TEST(LogTableTest, BytesBeforeAndAfterTheLines) {
  EXPECT_EQ(ParseLogTable("\xEF\xBB\xBF{\"loss\":1}\r\n \t\r\n{\"loss\":2} \n{\"loss\":", "a.jsonl")
                .columns[0]
                .cells.size(),
            2u);
  EXPECT_EQ(ParseLogTable("{\"loss\":1}\n12", "a.jsonl").rows, 2u);
  EXPECT_EQ(MessageOf("{\"loss\":1}\n12\n", "a.jsonl"), "a.jsonl: line 2 is not a JSON object");
  EXPECT_EQ(MessageOf("{\"loss\":1e999}\n", "a.jsonl"), "a.jsonl: is not JSON, or truncated");
}

TEST(LogTableTest, ARowThatIsBeingWrittenLeavesNothing) {
  const LogTable table = ParseLogTable("a,b,c\n1,2,3\n4,x", "a.csv");
  for (const Column& c : table.columns) {
    EXPECT_EQ(c.cells.size(), 1u) << c.name;
    EXPECT_EQ(c.bad_row, 0u) << c.name;
  }
}

// ---- Memory ----

constexpr const char* kMost = ", the most that are read of a log";

TEST(RunLogLimitsTest, RowsHaveALimit) {
  EXPECT_EQ(ParseLogTable("{}" + std::string(LogTable::kMostRows - 1, '\n') + "{}", "a.jsonl").rows,
            LogTable::kMostRows);
  EXPECT_EQ(MessageOf("loss\n" + Repeated("1\n", LogTable::kMostRows), "a.csv"),
            std::string("a.csv: has more than 8388608 rows") + kMost);
  EXPECT_EQ(MessageOf("{}" + std::string(LogTable::kMostRows + 1, '\n') + "{}", "a.jsonl"),
            std::string("a.jsonl: has more than 8388608 rows") + kMost);
  EXPECT_EQ(
      MessageOf("{\"log_history\":[{}" + Repeated(",{}", LogTable::kMostRows) + "]}", "a.json"),
      std::string("a.json: has more than 8388608 rows") + kMost);
}

TEST(RunLogLimitsTest, NumbersHaveALimit) {
  LogTable table("row");
  table.files = {"a.csv"};
  table.Count(LogTable::kMostNumbers - 2);
  Column& column = table.AddColumn("loss");
  for (const uint32_t row : {1U, 2U, 2U}) table.Add({.value = 1, .row = row}, column);
  EXPECT_EQ(ErrorOf([&] { table.Add({.value = 1, .row = 3}, column); }),
            std::string("a.csv: has more than 33554432 numbers") + kMost);
  const std::string layers = "{\"step\":1,\"layers\":{" + Repeated("\"\":{},", 8'388'608);
  EXPECT_EQ(MessageOf(layers + "\"\":{}}}\n", "a.jsonl"),
            std::string("a.jsonl: has more than 33554432 numbers") + kMost);
}

TEST(RunLogLimitsTest, ColumnsAndTheirNamesHaveALimit) {
  const std::string titles = "loss" + Repeated(",", LogTable::kMostColumns - 1);
  EXPECT_EQ(ParseLogTable(titles + "\n", "a.csv").columns.size(), LogTable::kMostColumns);
  EXPECT_EQ(MessageOf(titles + ",\n", "a.csv"),
            std::string("a.csv: has more than 262144 columns") + kMost);
  const std::string name(513, 'x');
  for (const std::string& text : {name + ",loss\n", "\"" + name + "\",loss\n"}) {
    EXPECT_EQ(MessageOf(text, "a.csv"), "a.csv: the name \"" + std::string(100, 'x') +
                                            "...\" has 513 bytes, which is outside [0, 512]");
  }
  EXPECT_THAT(MessageOf("{\"" + name + "\":{\"a\":1}}\n", "a.jsonl"), HasSubstr("has 513 bytes"));
  EXPECT_THAT(MessageOf("{\"" + name.substr(1) + "\":{\"a\":1}}\n", "a.jsonl"),
              HasSubstr("has 514 bytes"));
  EXPECT_EQ(MessageOf("{\"" + name.substr(3) + "\":{\"a\":1}}\n", "a.jsonl"), "no error");
}

// A reader that keeps a text for each cell takes 30 times the file.
TEST(RunLogLimitsTest, CellsAreReadAsTheyCome) {
  const std::string text = "loss,a\n" + Repeated("1,1\n", 4'000'000);
  const PeakMemory memory;
  EXPECT_EQ(ParseLogTable(text, "a.csv").columns[1].cells.size(), 4'000'000u);
  EXPECT_LT(memory.Bytes(), 300 * kMiB);
}

// And one that keeps a value for each of a JSON text fifteen times it. The parser keeps the text
// since the last number or string.
TEST(RunLogLimitsTest, NothingIsKeptOfWhatIsNotRead) {
  const std::string lists = "{\"loss\":1,\"x\":[" + Repeated("[],", 10'000'000) + "[]]}\n";
  const auto check = [](const std::string& text, const std::string& name) {
    const PeakMemory memory;
    MessageOf(text, name);
    EXPECT_LT(memory.Bytes(), 6 * std::ssize(text)) << name;
  };
  check(lists, "lists.jsonl");
  check("{\"y\":" + lists + ",\"log_history\":[" + lists + "]}", "lists.json");
  check("{\"x\":" + Repeated("[", 20'000'000) + "\n", "deep.jsonl");
}

// ---- Files ----

TEST(RunLogLimitsTest, WhatLiesBesideALogIsARegularFile) {
  const kudari::testing::TemporaryFolder dir;
  const fs::path recipe = dir / "recipe.toml", log = dir / "metrics.jsonl";
  WriteFileAtomically(log, "{\"step\":1,\"loss\":1}\n");
  ASSERT_EQ(mkfifo(recipe.c_str(), 0600), 0);
  EXPECT_EQ(ErrorOf([&] { ReadRunLog(dir.path()); }), recipe.string() + ": is not a regular file");
  fs::remove(recipe);
  fs::create_symlink("/dev/zero", recipe);
  EXPECT_EQ(ErrorOf([&] { ReadRunLog(dir.path()); }), recipe.string() + ": is not a regular file");
  fs::remove(recipe);
  fs::remove(log);
  fs::create_symlink("/dev/zero", log);
  EXPECT_EQ(ErrorOf([&] { ReadRunLog(log); }), log.string() + ": is not a regular file");
  EXPECT_THAT(ErrorOf([&] { ReadRunLog(dir.path()); }), HasSubstr("has no log of a training run"));
}

}  // namespace run_log_limits_test
}  // namespace kudari::lab
