// Tables: csv.cc and the reader of cells below it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <set>

#include "kudari/error.h"
#include "lab/data/data.h"
#include "lab/files/csv_cells.h"
#include "tests/support/data_fixture.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace csv_test {

using kudari::testing::DataOf;
using kudari::testing::ErrorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Recorder : public CsvHandler {
 public:
  void Cell(std::string_view text, int64_t line) override {
    seen.push_back(std::to_string(line) + ":" + std::string(text));
  }
  void EndRow(bool closed) override { seen.emplace_back(closed ? "end" : "open"); }

  std::vector<std::string> seen;
};

TEST(CsvCells, HaveTheirLines) {
  Recorder r;
  EXPECT_FALSE(ParseCsvCells("a,\"b\nc\"\r\n\n d ,\"say \"\"x\"\"\"\ne,", ',', CsvEnd::kWhole, r));
  EXPECT_THAT(r.seen, ElementsAre("1:a", "1:b\nc", "end", "4:d", "4:say \"x\"", "end", "5:e",
                                  "5:", "open"));
}

TEST(CsvCells, WrongQuotesAreAFault) {
  Recorder r;
  const auto inside = ParseCsvCells("a\nb\"c\n", ',', CsvEnd::kWhole, r);
  ASSERT_TRUE(inside);
  EXPECT_EQ(inside->line, 2);
  const auto open = ParseCsvCells("a\n\"b\nc", ',', CsvEnd::kWhole, r);
  ASSERT_TRUE(open);
  EXPECT_EQ(open->line, 3);
  EXPECT_FALSE(ParseCsvCells("a\n\"b\nc", ',', CsvEnd::kOpen, r));
}

TEST(CsvCells, ExceptionsPassThrough) {
  class Thrower : public Recorder {
    void Cell(std::string_view text, int64_t line) override {
      if (text == "bad") throw Error("line " + std::to_string(line));
    }
  } thrower;
  EXPECT_EQ(ErrorOf([&] { ParseCsvCells("a\nbad\nc\n", ',', CsvEnd::kWhole, thrower); }), "line 2");
}

class CsvTest : public ::testing::Test {
 protected:
  Dataset Load(const std::string& text, const std::string& options = "", uint64_t seed = 1) {
    std::ofstream(path_, std::ios::binary) << text;
    const bool share = options.find("validation") != std::string::npos;
    const bool test = options.find("test = ") != std::string::npos;
    return LoadData(
        DataOf("name = \"csv\"\npath = \"" + path_ + "\"\n" + (share ? "" : "validation = 0\n") +
               (test ? "" : "test = 0\n") + options),
        seed);
  }
  // Without the name of the file.
  std::string Message(const std::string& text, const std::string& options = "") {
    std::string message = ErrorOf([&] { Load(text, options); });
    const size_t at = message.find(path_);
    if (at == std::string::npos) return message;
    return message.substr(0, at) + "FILE" + message.substr(at + path_.size());
  }

  kudari::testing::TemporaryFolder folder_;
  const std::string path_ = (folder_ / "t.csv").string();
};

TEST_F(CsvTest, NumbersAreReadAsTheyAre) {
  const Dataset data = Load("a,b,y\n1,-2.5e1,0.5\n+3,4,1.25\n", "standardize = false\n");
  EXPECT_EQ(data.name, "t.csv");
  EXPECT_THAT(data.shape, ElementsAre(2));
  EXPECT_EQ(data.classes, 0);
  EXPECT_EQ(data.target_size, 1);
  EXPECT_THAT(data.train.x, ElementsAre(1, -25, 3, 4));
  EXPECT_THAT(data.train.targets, ElementsAre(0.5, 1.25));
  EXPECT_EQ(data.train.samples, 2);
}

TEST_F(CsvTest, HeaderSeparatorAndMark) {
  EXPECT_THAT(Load("1,2\n3,4.5\n", "standardize = false\n").train.x, ElementsAre(1, 3));
  EXPECT_THAT(Load("\xEF\xBB\xBFx;y\r\n3;4.5\r\n",
                   "separator = \";\"\nstandardize = false\n"
                   "target = \"y\"\n")
                  .train.x,
              ElementsAre(3));
  EXPECT_THAT(Load("x\ty\n3\t4.5\n", "separator = \"tab\"\nstandardize = false\n").train.targets,
              ElementsAre(4.5));
  // Years as names of columns.
  EXPECT_THAT(Load("2020,2021\n3,4.5\n",
                   "header = \"yes\"\ntarget = \"2020\"\n"
                   "standardize = false\n")
                  .train.targets,
              ElementsAre(3));
  EXPECT_EQ(Load("a,b\nc,d\n", "header = \"no\"\n").train.samples, 2);
}

TEST_F(CsvTest, TargetsAreNamedOrNumbered) {
  const std::string table = "a,b,c\n1,2,3.5\n4,5,6.5\n";
  for (const char* target : {"\"b\"", "\"2\"", "\"-2\""}) {
    const std::string options = std::string("task = \"regression\"\ntarget = ") + target + "\n";
    EXPECT_THAT(Load(table, options).train.targets, ElementsAre(2, 5)) << target;
  }
  const Dataset two = Load(table, "target = [\"c\", \"a\"]\nstandardize = false\n");
  EXPECT_EQ(two.target_size, 2);
  EXPECT_THAT(two.train.targets, ElementsAre(3.5, 1, 6.5, 4));
  EXPECT_THAT(two.train.x, ElementsAre(2, 5));
  EXPECT_THAT(Load(table, "ignore = \"a\"\nstandardize = false\n").train.x, ElementsAre(2, 5));
  EXPECT_EQ(Message(table, "target = \"d\"\n"),
            "data.target: \"d\" is not a column of FILE; known: a, b, c");
  EXPECT_EQ(Message(table, "target = \"4\"\n"),
            "data.target: \"4\" is outside [1, 3] and [-3, -1], the columns of FILE");
  EXPECT_EQ(Message(table, "target = \"0\"\n"),
            "data.target: \"0\" is outside [1, 3] and [-3, -1], the columns of FILE");
  EXPECT_EQ(Message("1,2\n3,4\n", "target = \"y\"\n"),
            "data.target: \"y\" is not a column of FILE, whose columns have no names");
  EXPECT_EQ(Message("a,a\n3,4\n", "target = \"a\"\n"),
            "data.target: \"a\" is the name of columns 1 and 2 of FILE");
  EXPECT_EQ(Message(table, "target = [\"a\", \"1\"]\n"), "data.target: \"1\" is named twice");
  EXPECT_EQ(Message(table, "ignore = \"c\"\n"), "data.ignore: column 3 (\"c\") is a target");
}

TEST_F(CsvTest, ClassesAreTextOrRepeatedIntegers) {
  const Dataset text = Load("x,y\n1,rose\n2,aster\n3,rose\n");
  EXPECT_EQ(text.classes, 2);
  EXPECT_EQ(text.target_size, 0);
  EXPECT_THAT(text.train.labels, ElementsAre(1, 0, 1));
  EXPECT_THAT(Load("x,y\n1,10\n2,9\n3,10\n4,9\n").train.labels, ElementsAre(1, 0, 1, 0));
  // Integers that do not repeat, and fractions, are values unless the recipe says otherwise.
  EXPECT_EQ(Load("x,y\n1,10\n2,9\n3,8\n").classes, 0);
  EXPECT_EQ(Load("x,y\n1,0.5\n2,1\n3,0.5\n4,1\n").classes, 0);
  EXPECT_THAT(Load("x,y\n1,0.5\n2,1\n3,0.5\n", "task = \"classification\"\n").train.labels,
              ElementsAre(0, 1, 0));
  EXPECT_EQ(Load("x,y\n1,1\n2,0\n3,1\n4,0\n", "task = \"regression\"\n").classes, 0);
  EXPECT_EQ(Message("x,y\n1,a\n2,a\n"),
            "FILE: column 2 (\"y\") has 1 classes, which is outside [2, 100000]");
  EXPECT_EQ(Message("x,y,z\n1,a,b\n", "task = \"classification\"\ntarget = [\"y\", \"z\"]\n"),
            "data.target names 2 columns, but must name one if data.task = \"classification\"");
}

TEST_F(CsvTest, NamesBecomeOneHot) {
  const std::string table = "colour,size,code,y\nred,1,7,0.5\nblue,2,9,1.5\nred,4,7,2.5\n";
  const std::string plain = "standardize = false\n";
  EXPECT_THAT(Load(table, plain).train.x, ElementsAre(0, 1, 1, 7, 1, 0, 2, 9, 0, 1, 4, 7));
  EXPECT_THAT(Load(table, plain + "categorical = \"code\"\n").train.x,
              ElementsAre(0, 1, 1, 1, 0, 1, 0, 2, 0, 1, 0, 1, 4, 1, 0));
  EXPECT_EQ(Message(table, "categories = \"refuse\"\n"),
            "FILE: line 2, column 1 (\"colour\"): the column has names, not numbers, which "
            "data.categories = \"refuse\" does not permit; ignore it, or use \"one_hot\"");
  // Columns of numbers are scaled, the others are not.
  const Dataset scaled = Load(table);
  const std::vector<float>& x = scaled.train.x;
  EXPECT_EQ(x[0], 0);
  EXPECT_EQ(x[1], 1);
  const double mean = 7.0 / 3, deviation = std::sqrt(21.0 / 3 - mean * mean);
  EXPECT_NEAR(x[2], (1 - mean) / deviation, 1e-6);
  EXPECT_NEAR(x[6], (2 - mean) / deviation, 1e-6);
  std::string many = "id,y\n";
  for (int i = 0; i <= 1000; ++i) {
    many += "n" + std::to_string(i) + "," + std::to_string(i) + ".5\n";
  }
  EXPECT_EQ(Message(many),
            "FILE: column 1 (\"id\") has 1001 different names, which is outside [1, 1000]; ignore "
            "it with data.ignore");
}

TEST_F(CsvTest, ScalesByTheTrainingRows) {
  std::string table = "x,y\n";
  for (int i = 0; i < 100; ++i) table += std::to_string(i * i) + "," + std::to_string(i) + ".5\n";
  const Dataset data = Load(table, "test = 0.2\nvalidation = 0.3\n");
  EXPECT_EQ(data.train.samples, 50);
  EXPECT_EQ(data.validation.samples, 30);
  EXPECT_EQ(data.test.samples, 20);
  double sum = 0, squares = 0;
  for (const float x : data.train.x) sum += x, squares += x * x;
  EXPECT_NEAR(sum / 50, 0, 1e-6);
  EXPECT_NEAR(squares / 50, 1, 1e-5);
  // Every row is in one part, and all parts are scaled alike.
  std::set<float> seen;
  const auto check = [&](const Split& split) {
    for (size_t i = 0; i < split.x.size(); ++i) {
      seen.insert(split.targets[i]);
      const double t = split.targets[i] - 0.5, first = data.train.targets[0] - 0.5,
                   last = data.train.targets.back() - 0.5;
      const double slope = (data.train.x.back() - data.train.x[0]) / (last * last - first * first);
      EXPECT_NEAR(split.x[i], data.train.x[0] + slope * (t * t - first * first), 1e-4);
    }
  };
  check(data.train), check(data.validation), check(data.test);
  EXPECT_EQ(seen.size(), 100U);
  EXPECT_EQ(Load(table, "test = 0.2\n", 3).test.x, Load(table, "test = 0.2\n", 3).test.x);
  EXPECT_NE(Load(table, "test = 0.2\n", 3).test.targets,
            Load(table, "test = 0.2\n", 4).test.targets);
}

TEST_F(CsvTest, ConstantColumnsBecomeZero) {
  EXPECT_THAT(Load("a,y\n7,1.5\n7,2.5\n").train.x, ElementsAre(0, 0));
}

TEST_F(CsvTest, WrongCellsAreNamed) {
  EXPECT_EQ(Message("a,b,y\n1,2,3\n4,,6\n"),
            "FILE: line 3, column 2 (\"b\"): is missing; fill it in, remove the row, or ignore the "
            "column");
  EXPECT_THAT(Message("a,b,y\n1,2,3\n4,5,NA\n"), HasSubstr("line 3, column 3 (\"y\"): is missing"));
  EXPECT_THAT(Message("a,y\nred,1\nNaN,2\n"), HasSubstr("line 3, column 1 (\"a\"): is missing"));
  EXPECT_EQ(Message("a,b,y\n1,2,3.5\n\"4\n\",5,6\n"),
            "FILE: line 3, column 1 (\"a\"): \"4\\x0a\" is not a finite number, as the column "
            "needs; name it in data.categorical if its cells are names");
  EXPECT_THAT(Message("a,y\n1,3.5\ninf,6\n"),
              HasSubstr("line 3, column 1 (\"a\"): \"inf\" is not"));
  EXPECT_THAT(Message("a,y\n1,3.5\n\n1e39,6\n"),
              HasSubstr("line 4, column 1 (\"a\"): 1e+39 is outside [-3.4e38, 3.4e38]"));
  EXPECT_THAT(Message("a,y\n1,3.5\n2,x\n", "task = \"regression\"\n"),
              HasSubstr("line 3, column 2 (\"y\"): \"x\" is not a finite number"));
  EXPECT_EQ(Message("1,2,3\n1,2\n"),
            "FILE: line 2, column 2: is the last cell, but the first row has 3");
  EXPECT_EQ(Message("1,2\n1,2\n1,2,3\n"), "FILE: line 3, column 3: the first row has only 2 cells");
  EXPECT_EQ(Message("a,y\n1,2\n\"1\",\"2\n"),
            "FILE: line 4 is damaged: error parsing data while "
            "strict checking enabled");
  EXPECT_EQ(Message(""), "FILE: is empty");
  EXPECT_EQ(Message("a,b\n"), "FILE: has no rows below its header");
  EXPECT_EQ(Message("a\n1.5\n"), "FILE: has no column of features");
}

TEST_F(CsvTest, NeedsAFile) {
  EXPECT_EQ(ErrorOf([] { LoadData(DataOf("name = \"csv\"\n"), 1); }),
            "data.path is missing: it must name a CSV file");
  EXPECT_THAT(ErrorOf([&] { LoadData("csv", "none.csv", 1, 0); }), HasSubstr("none.csv"));
  EXPECT_EQ(ErrorOf([&] { LoadData("csv", "none.csv", 1, 0.9); }),
            "data.validation = 0.9 is outside [0, 0.8)");
}

}  // namespace csv_test
}  // namespace kudari::lab
