#include "lab/draw/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

#include "lab/files/text_file.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A folder of its own, and $PATH as it was at the end.
class ChartTest : public ::testing::Test {
 protected:
  ChartTest() : path_(std::getenv("PATH")) {
    const std::string test = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    dir_ = fs::path(::testing::TempDir()) / ("chart_test-" + std::to_string(getpid()) + "-" + test);
    fs::create_directories(dir_);
  }
  ~ChartTest() override {
    setenv("PATH", path_.c_str(), 1);
    fs::remove_all(dir_);
  }

  template <class Chart>
  std::string MessageOf(const Chart& chart, const std::string& name) const {
    return kudari::testing::ErrorOf([&] { DrawChart(chart, dir_ / name); });
  }

  std::string path_;
  fs::path dir_;
};

LineChart Lines() {
  return {.title = "Two_runs of {x}",
          .x_label = "across <1 & 2>",
          .y_label = "up",
          .series = {{"sgd's", {0, 1, 2}, {3, 1, 2}}, {"sam", {0, 1, 2}, {2, 1, 3}}}};
}

// (x^2 + 2 y^2 + 0.01) on a grid of 5 by 3.
ContourChart Bowl() {
  ContourChart chart{.title = "Bowl",
                     .x_label = "x",
                     .y_label = "y",
                     .z_label = "height",
                     .log_z = true,
                     .x = {-2, -1, 0, 1, 2},
                     .y = {-1, 0, 1},
                     .mark = "the bottom"};
  for (const double y : chart.y) {
    for (const double x : chart.x) chart.z.push_back(x * x + 2 * y * y + 0.01);
  }
  return chart;
}

TEST_F(ChartTest, LinesHaveTextsAsTheyAre) {
  DrawChart(Lines(), dir_ / "l.svg");
  const std::string svg = ReadTextFile(dir_ / "l.svg");
  EXPECT_THAT(svg, HasSubstr("<svg"));
  EXPECT_THAT(svg, HasSubstr("</svg>"));
  // gnuplot's markup is none, and quotes become typographic.
  for (const char* text : {"Two_runs of {x}", "across &lt;1 &amp; 2>", "up", "sgd\u2019s", "sam"}) {
    EXPECT_THAT(svg, HasSubstr(text));
  }
}

TEST_F(ChartTest, NamesAndTextsAreNoCommands) {
  LineChart chart = Lines();
  const std::string evil = "'\nsystem 'touch " + (dir_ / "evil").string() + "'\n#`touch " +
                           (dir_ / "evil").string() + "`";
  chart.title = chart.x_label = chart.series[0].label = evil;
  DrawChart(chart, dir_ / "it's `x` \"$y\".svg");
  EXPECT_TRUE(fs::exists(dir_ / "it's `x` \"$y\".svg"));
  EXPECT_FALSE(fs::exists(dir_ / "evil"));
}

TEST_F(ChartTest, TheEndingChoosesTheFormat) {
  DrawChart(Lines(), dir_ / "l.png");
  DrawChart(Bowl(), dir_ / "b.png");
  for (const char* name : {"l.png", "b.png"}) {
    EXPECT_THAT(ReadTextFile(dir_ / name), StartsWith("\x89PNG"));
  }
  EXPECT_THAT(MessageOf(Lines(), "l.pdf"),
              HasSubstr("l.pdf: a picture must be named .svg or .png"));
  EXPECT_FALSE(fs::exists(dir_ / "l.pdf"));
}

TEST_F(ChartTest, LogarithmicAxesShowDecades) {
  LineChart chart = Lines();
  chart.log_y = true;
  chart.series[0].y = {1, 1e3, 1e6};
  DrawChart(chart, dir_ / "l.svg");
  const std::string log = ReadTextFile(dir_ / "l.svg");
  chart.log_y = false;
  DrawChart(chart, dir_ / "l.svg");
  const std::string plain = ReadTextFile(dir_ / "l.svg");
  EXPECT_THAT(log, HasSubstr("> 1000<"));
  EXPECT_THAT(plain, Not(HasSubstr("> 1000<")));
}

TEST_F(ChartTest, WhatIsNotFiniteIsAGap) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  LineChart chart = Lines();
  chart.series = {{"a", {0, 1, 2, 3}, {1, kNan, 2, std::numeric_limits<double>::infinity()}}};
  EXPECT_EQ(MessageOf(chart, "l.svg"), "no error");
  chart.series = {{"a", {0, 1}, {kNan, kNan}}};
  EXPECT_THAT(MessageOf(chart, "n.svg"),
              HasSubstr("chart \"Two_runs of {x}\": there is nothing to draw"));
  ContourChart bowl = Bowl();
  bowl.z[3] = kNan;
  EXPECT_EQ(MessageOf(bowl, "b.svg"), "no error");
  std::fill(bowl.z.begin(), bowl.z.end(), -1.0);
  EXPECT_THAT(MessageOf(bowl, "n.svg"), HasSubstr("there is nothing to draw"));
}

TEST_F(ChartTest, ContoursAreLabelled) {
  DrawChart(Bowl(), dir_ / "b.svg");
  const std::string svg = ReadTextFile(dir_ / "b.svg");
  for (const char* text : {"Bowl", "height", "the bottom"}) EXPECT_THAT(svg, HasSubstr(text));
  // The bottom is 0.01 and the corners are 6.01.
  for (const char* level : {"0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"}) {
    EXPECT_THAT(svg, HasSubstr(std::string("<text>") + level + "</text>"));
  }
  EXPECT_THAT(svg, Not(HasSubstr("<text>10</text>")));
  // A plane without height has colours, but no lines.
  ContourChart flat = Bowl();
  std::fill(flat.z.begin(), flat.z.end(), 1.0);
  EXPECT_EQ(MessageOf(flat, "f.svg"), "no error");
}

TEST_F(ChartTest, NumbersMustFit) {
  LineChart chart = Lines();
  chart.series[1].y.pop_back();
  EXPECT_THAT(MessageOf(chart, "l.svg"), HasSubstr("series \"sam\": 3 values of x and 2 of y"));
  ContourChart bowl = Bowl();
  bowl.z.pop_back();
  EXPECT_THAT(MessageOf(bowl, "b.svg"), HasSubstr("a grid of 5 by 3 with 14 values"));
}

TEST_F(ChartTest, WithoutGnuplotSaysWhatToInstall) {
  setenv("PATH", dir_.c_str(), 1);
  EXPECT_THAT(MessageOf(Lines(), "l.svg"), HasSubstr("gnuplot-nox"));
  EXPECT_FALSE(fs::exists(dir_ / "l.svg"));
}

TEST_F(ChartTest, FolderThatIsMissingIsNamed) {
  EXPECT_THAT(MessageOf(Lines(), "none/l.svg"), HasSubstr("none/l.svg"));
}

}  // namespace
}  // namespace kudari::lab
