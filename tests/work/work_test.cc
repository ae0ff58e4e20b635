// Work of the readers of others' files: nearly in proportion to the input, whatever is in it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/toml_table.h"
#include "doctor/view.h"
#include "kudari/doctor.h"
#include "kudari/schedule.h"
#include "lab/logs/run_log.h"
#include "lab/logs/run_log_table.h"
#include "tests/work/work_count.h"

namespace kudari::lab {
namespace work_test {

using kudari::testing::WorkOf;

// Expects that four times the input takes at most five times the work; what grows with the square
// takes sixteen.
void ExpectInProportion(const std::function<void(int64_t size)>& f, int64_t size) {
  constexpr int64_t kTimes = 4, kMost = 5;
  f(size);  // what is made once is made here
  const int64_t work = WorkOf([&] { f(size); });
  EXPECT_GT(work, size);  // it is counted
  EXPECT_LT(WorkOf([&] { f(kTimes * size); }), kMost * work);
}

std::string Number(int64_t i) { return std::to_string(i); }

TEST(WorkTest, RunningMedian) {
  const auto median = [](int64_t size) {
    std::vector<double> y;
    for (int64_t i = 0; i < size; ++i) y.push_back(static_cast<double>(i * 1'000'003 % size));
    internal::RunningMedian(y, static_cast<size_t>(size / 8));
  };
  ExpectInProportion(median, 5'000);
}

TEST(WorkTest, DiagnosisOfALongRun) {
  const auto diagnose = [](int64_t size) {
    RunLog log;
    for (int64_t s = 1; s <= size; ++s) {
      const auto x = static_cast<double>(s);
      log.steps.push_back(
          {.step = s,
           .loss = 2 + 0.1 * static_cast<double>(s * 7919 % 101) - x / static_cast<double>(size),
           .lr = 1e-3,
           .grad_norm = 1 + 0.01 * static_cast<double>(s % 13)});
      if (s % 50 == 0) log.evaluations.push_back({.step = s, .loss = 2});
    }
    Diagnose(log);
  };
  ExpectInProportion(diagnose, 5'000);
}

// Runs that start over or go back, in every way.
TEST(WorkTest, DiagnosisOfManyRuns) {
  const auto diagnose = [](int64_t size) {
    for (const int64_t part : {3, 20, 400}) {
      RunLog over, back, lost;
      for (int64_t i = 0; i < size; ++i) {
        const double loss = 0.1 + 2 * std::exp(-0.02 * static_cast<double>(i % part));
        over.steps.push_back({.step = 1 + i % part, .loss = loss});
        back.steps.push_back({.step = 1 + i % part + i / part, .loss = loss});
        lost.steps.push_back({.step = 1 + i, .loss = loss});
        over.evaluations.push_back({.step = 1 + i % part, .loss = loss});
      }
      for (const RunLog* log : {&over, &back, &lost}) Diagnose(*log);
    }
  };
  ExpectInProportion(diagnose, 4'000);
}

TEST(WorkTest, DiagnosisOfManyTensors) {
  const auto diagnose = [](int64_t size) {
    RunLog log;
    for (int64_t s = 1; s <= 200; ++s) log.steps.push_back({.step = s, .loss = 2, .lr = 1e-3});
    for (const int64_t step : {100, 110}) {
      LayersLog layers{.step = step};
      for (int64_t i = 0; i < size; ++i) {
        layers.tensors.push_back({.name = "layer" + Number(i) + ".weight",
                                  .grad = 0.1,
                                  .weight = 1,
                                  .update = 0.001 * (1 + 0.1 * static_cast<double>(i % 7))});
      }
      log.layers.push_back(layers);
    }
    Diagnose(log);
  };
  ExpectInProportion(diagnose, 2'000);
}

TEST(WorkTest, ManyKeysInARow) {
  const auto read = [](int64_t size) {
    std::string keys;
    for (int64_t i = 0; i < size; ++i) keys += ",\"k" + Number(i) + "\":1";
    const std::string row = "{\"loss\":1" + keys + "}\n";
    EXPECT_EQ(ParseRunLog(row + row, "a.jsonl").steps.size(), 2U);
    EXPECT_EQ(ParseRunLog("{\"log_history\":[" + row + "," + row + "]}", "a.json").steps.size(),
              2U);
  };
  ExpectInProportion(read, 2'000);
}

TEST(WorkTest, NewKeysInEachRow) {
  const auto read = [](int64_t size) {
    std::string text;
    for (int64_t i = 0; i < size; ++i) text += "{\"loss\":1,\"k" + Number(i) + "\":1}\n";
    EXPECT_EQ(std::ssize(ParseRunLog(text, "a.jsonl").steps), size);
  };
  ExpectInProportion(read, 2'000);
}

TEST(WorkTest, KeysInAnotherOrderInEachRow) {
  const auto read = [](int64_t size) {
    std::string forwards, backwards;
    for (int64_t i = 0; i < size; ++i) {
      forwards += ",\"k" + Number(i) + "\":1";
      backwards += ",\"k" + Number(size - 1 - i) + "\":1";
    }
    const std::string text = "{\"loss\":1" + forwards + "}\n{\"loss\":2" + backwards + "}\n";
    const LogTable table = ParseLogTable(text, "a.jsonl");
    EXPECT_EQ(std::ssize(table.columns), size + 1);
    for (const Column& c : table.columns) ASSERT_EQ(c.cells.size(), 2U) << c.name;
  };
  ExpectInProportion(read, 2'000);
}

// A run that was resumed at every other step.
TEST(WorkTest, RunsThatWereResumedOften) {
  const auto read = [](int64_t size) {
    std::string text = "step,loss,val_loss,lr,grad_norm\n0,9,9,1,1\n";
    for (int64_t i = 1; i <= size; ++i) {
      text += Number(i) + ",5,6,0.5,7\n" + Number(i + 2) + ",1,2,3,4\n";
    }
    const RunLog log = ParseRunLog(text, "a.csv");
    ASSERT_EQ(std::ssize(log.steps), 2 * size + 1);
    for (int64_t i = 1; i <= size; ++i) {
      const auto at = static_cast<size_t>(2 * i - 1);
      ASSERT_EQ(log.steps[at].loss, 5) << i;
      ASSERT_EQ(log.steps[at].grad_norm, 7) << i;
      ASSERT_EQ(log.evaluations[at].loss, 6) << i;
    }
  };
  ExpectInProportion(read, 2'000);
}

// Epochs that fall from row to row, so that the count of steps begins again.
TEST(WorkTest, EpochsThatFall) {
  const auto read = [](int64_t size) {
    std::string text = "epoch,loss\n";
    for (int64_t i = 0; i < size; ++i) text += Number(i) + ",1\n";
    for (int64_t i = size; i-- > 0;) text += Number(i) + ",1\n";
    EXPECT_EQ(std::ssize(ParseRunLog(text, "a.csv").steps), 2 * size);
  };
  ExpectInProportion(read, 2'000);
}

TEST(WorkTest, SumsOfManyColumns) {
  const auto read = [](int64_t size) {
    std::string header = "a0", row = "1", sum = "a0";
    for (int64_t i = 1; i < 8; ++i) {
      header += ",a" + Number(i);
      sum += "+a" + Number(i);
      row += ",1";
    }
    std::string text = header + "\n";
    for (int64_t i = 0; i < size; ++i) text += row + "\n";
    EXPECT_EQ(ParseRunLog(text, "a.csv", {.columns = {{"loss", sum}}}).steps.back().loss, 8);
  };
  ExpectInProportion(read, 2'000);
}

// Rows of one cell, and of text, below a header of many.
TEST(WorkTest, ShortRowsBelowALongHeader) {
  const auto read = [](int64_t size) {
    std::string text = "loss";
    for (int64_t i = 0; i < size; ++i) text += ",c" + Number(i);
    text += '\n';
    for (int64_t i = 0; i < size; ++i) text += i % 2 == 0 ? "1\n" : "text\n";
    EXPECT_EQ(std::ssize(ParseRunLog(text, "a.csv").steps), size / 2);
  };
  ExpectInProportion(read, 2'000);
}

TEST(WorkTest, ListsOfManyNumbers) {
  const auto read = [](int64_t size) {
    std::string list = "[0";
    for (int64_t i = 1; i < size; ++i) list += "," + Number(i);
    const std::string text = "{\"loss\":" + list + "],\"val_loss\":" + list + "]}";
    EXPECT_EQ(std::ssize(ParseRunLog(text, "a.json").evaluations), size);
  };
  ExpectInProportion(read, 2'000);
}

TEST(WorkTest, LinesOfText) {
  const auto read = [](int64_t size) {
    std::string text;
    for (int64_t i = 0; i < size; ++i) {
      text += "step " + Number(i) + ": loss 1, name" + Number(i) + "=2 {\"a\" not JSON}\r bar\n";
    }
    EXPECT_EQ(std::ssize(ParseRunLog(text, "a.txt").steps), size);
  };
  ExpectInProportion(read, 2'000);
}

// One line of words, brackets, numbers and commas.
TEST(WorkTest, ALongLineOfText) {
  for (const char* part :
       {"word ", "(", "(a)", "1,000,", "1,", "a=1 ", "{\"", "loss at ", "\x1b[", "/"}) {
    const auto read = [part](int64_t size) {
      std::string text = "loss 1 ";
      for (int64_t i = 0; i < size; ++i) text += part;
      EXPECT_EQ(ParseRunLog(text, "a.txt").steps.size(), 1U);
    };
    ExpectInProportion(read, 2'000);
  }
}

TEST(WorkTest, ProductsOfManyFactors) {
  const auto parse = [](int64_t size) {
    std::string text = "1";
    for (int64_t i = 1; i < size; ++i) text += "*1";
    EXPECT_EQ(std::ssize(ParseSchedule(text).Factors()), size);
  };
  ExpectInProportion(parse, 1'000);
}

TEST(WorkTest, DepthOfToml) {
  const auto parse = [](int64_t size) {
    std::string text;
    for (int64_t i = 0; i < size; ++i) text += "k" + Number(i) + " = [1, {a.b = \"'#.[\"}]\n";
    EXPECT_EQ(std::ssize(internal::ParseToml(text, "a.toml")), size);
  };
  ExpectInProportion(parse, 1'000);
}

}  // namespace work_test
}  // namespace kudari::lab
