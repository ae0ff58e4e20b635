#include "lab/draw/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "lab/files/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/svg.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace chart_test {

namespace fs = std::filesystem;
using kudari::testing::PlaceOf;
using kudari::testing::TextsOf;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::StartsWith;

// At the end $PATH is as it was.
class ChartTest : public ::testing::Test {
 protected:
  ChartTest() : path_(std::getenv("PATH")) {}
  ~ChartTest() override { setenv("PATH", path_.c_str(), 1); }

  // What stands in a chart.
  std::vector<std::string> TextsIn(const LineChart& chart) const {
    DrawChart(chart, dir_ / "texts.svg");
    return TextsOf(ReadTextFile(dir_ / "texts.svg"));
  }

  template <class Chart>
  std::string MessageOf(const Chart& chart, const std::string& name) const {
    return kudari::testing::ErrorOf([&] { DrawChart(chart, dir_ / name); });
  }

  std::string path_;
  kudari::testing::TemporaryFolder dir_;
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
  EXPECT_THAT(TextsIn(chart), IsSupersetOf({"1", "10", "10²", "10³", "10⁴", "10⁵", "10⁶"}));
  chart.log_y = false;
  EXPECT_THAT(TextsIn(chart), Not(Contains("10³")));
  chart.series[0].y = {1, 1e3, 1e5};
  chart.log_y = true;
  EXPECT_THAT(TextsIn(chart), IsSupersetOf({"1", "10", "100", "1000", "10000", "100000"}));
  chart.series[0].y = {1e-7, 3e-7, 9e-7};
  chart.series[1].y = {5e-7, 3e-7, 2e-7};
  EXPECT_THAT(TextsIn(chart), IsSupersetOf({"10⁻⁷", "2·10⁻⁷", "5·10⁻⁷"}));
}

TEST_F(ChartTest, TicksAreWhereTheyAreWanted) {
  LineChart chart = Lines();
  for (Series& s : chart.series) s.x = {32, 64, 128};
  chart.log_x = true;
  EXPECT_THAT(TextsIn(chart), AllOf(Contains("100"), Not(Contains("32"))));
  chart.x_ticks = {32, 64, 128};
  EXPECT_THAT(TextsIn(chart), AllOf(IsSupersetOf({"32", "64", "128"}), Not(Contains("100"))));
}

TEST_F(ChartTest, AValueThatNeverChangesIsTheOnlyTick) {
  LineChart chart = Lines();
  chart.series = {{"", {0, 1, 2}, {0.0012, 0.0012, 0.0012}}};
  const std::vector<std::string> texts = TextsIn(chart);
  EXPECT_THAT(texts, Contains("0.0012"));
  EXPECT_EQ(std::count_if(texts.begin(), texts.end(),
                          [](const std::string& text) { return text.starts_with("0.00"); }),
            1);
}

TEST_F(ChartTest, TheLegendIsBelowThePlot) {
  DrawChart(Lines(), dir_ / "l.svg");
  const std::string svg = ReadTextFile(dir_ / "l.svg");
  const double axis = PlaceOf(svg, "across &lt;1 &amp; 2>").y;
  EXPECT_GT(PlaceOf(svg, "sgd\u2019s").y, axis);
  EXPECT_GT(PlaceOf(svg, "sam").y, axis);
}

TEST_F(ChartTest, ALongLegendHasRows) {
  LineChart chart = Lines();
  chart.series[0].label = "a label that is as long as the path of a run may be, or longer";
  chart.series[1].label = "another label that is as long as the path of a run may be";
  DrawChart(chart, dir_ / "l.svg");
  const std::string svg = ReadTextFile(dir_ / "l.svg");
  const double first = PlaceOf(svg, chart.series[0].label).y;
  EXPECT_GT(PlaceOf(svg, chart.series[1].label).y, first + 10);
  EXPECT_GT(first, PlaceOf(svg, "across &lt;1 &amp; 2>").y + 10);
}

TEST_F(ChartTest, LabelsOfMarksAvoidEachOther) {
  LineChart chart = Lines();
  chart.marks = {{.label = "the first of them", .from = 0.5, .to = 0.5},
                 {.label = "the second one", .from = 0.6, .to = 0.6},
                 {.label = "at the same place", .from = 0.6, .to = 0.6, .strong = true},
                 {.label = "far away", .from = 1.5, .to = 1.5}};
  DrawChart(chart, dir_ / "l.svg");
  const std::string svg = ReadTextFile(dir_ / "l.svg");
  const kudari::testing::Place first = PlaceOf(svg, "the first of them");
  const kudari::testing::Place second = PlaceOf(svg, "the second one, at the same place");
  const kudari::testing::Place third = PlaceOf(svg, "far away");
  // The label of the left one is over the other, and where there is room there is one row.
  EXPECT_LT(first.x, second.x);
  EXPECT_LT(first.y, second.y - 15);
  EXPECT_EQ(second.y, third.y);
  // All of them are above the plot.
  EXPECT_LT(third.y, PlaceOf(svg, "3").y);
}

TEST_F(ChartTest, LabelsAtTheRightEndToTheLeftOfTheirMarks) {
  LineChart chart = Lines();
  chart.marks = {{.label = "a mark whose label is long", .from = 1.9, .to = 1.9},
                 {.label = "another", .from = 2, .to = 2}};
  DrawChart(chart, dir_ / "l.svg");
  const std::string svg = ReadTextFile(dir_ / "l.svg");
  EXPECT_NE(svg.find("text-anchor=\"end\""), svg.npos);
  EXPECT_LT(PlaceOf(svg, "another").y, PlaceOf(svg, "a mark whose label is long").y);
}

TEST_F(ChartTest, LabelsThatFitOnNeitherSideHaveRows) {
  LineChart chart = Lines();
  chart.marks = {{.label = "a mark whose label is long", .from = 0.05, .to = 0.05},
                 {.label = "in the middle", .from = 1, .to = 1},
                 {.label = "another mark whose label is long", .from = 1.9, .to = 1.9}};
  DrawChart(chart, dir_ / "l.svg");
  const std::string svg = ReadTextFile(dir_ / "l.svg");
  const double middle = PlaceOf(svg, "in the middle").y;
  EXPECT_GT(std::abs(PlaceOf(svg, "a mark whose label is long").y - middle), 15);
  EXPECT_GT(std::abs(PlaceOf(svg, "another mark whose label is long").y - middle), 15);
}

TEST_F(ChartTest, RangesHaveRowsOfTheirOwn) {
  LineChart chart = Lines();
  chart.marks = {{.label = "all", .from = 0, .to = 2}, {.label = "end", .from = 1, .to = 2}};
  DrawChart(chart, dir_ / "l.svg");
  const std::string svg = ReadTextFile(dir_ / "l.svg");
  EXPECT_GT(std::abs(PlaceOf(svg, "all").y - PlaceOf(svg, "end").y), 15);
  EXPECT_THAT(svg, HasSubstr("fill-opacity"));
}

// A line that another covers shows at both sides of it.
TEST_F(ChartTest, CoveredLinesAreWider) {
  LineChart chart = Lines();
  const auto wide = [&] {
    DrawChart(chart, dir_ / "l.svg");
    return ReadTextFile(dir_ / "l.svg").find("stroke-width=\"7.00\"") != std::string::npos;
  };
  EXPECT_FALSE(wide());
  chart.series[1].y = chart.series[0].y;
  EXPECT_TRUE(wide());
  // A part of it is enough, a common point is not.
  chart.series[1].y.back() = 7;
  EXPECT_TRUE(wide());
  chart.series[1].y.front() = 7;
  EXPECT_FALSE(wide());
}

TEST_F(ChartTest, WhatIsCutOffIsSaid) {
  const std::string note = "The up is cut off at 2.5; it reaches 3";
  LineChart chart = Lines();
  chart.y_most = 10;
  EXPECT_THAT(TextsIn(chart), Not(Contains(HasSubstr("cut off"))));
  chart.y_most = 2.5;
  EXPECT_THAT(TextsIn(chart), Contains(note));
}

TEST_F(ChartTest, PanelsShareTheAxis) {
  LineChart upper = Lines(), lower = Lines();
  lower.series = {{"", {0, 4}, {25, 75}}};
  lower.y_label = "another";
  DrawPanels({upper, lower}, dir_ / "l.svg");
  const std::string svg = ReadTextFile(dir_ / "l.svg");
  const std::vector<std::string> texts = TextsOf(svg);
  for (const char* const text : {"Two_runs of {x}", "across &lt;1 &amp; 2>", "up", "another"}) {
    EXPECT_EQ(std::count(texts.begin(), texts.end(), text), 1) << text;
  }
  EXPECT_GT(PlaceOf(svg, "4").y, PlaceOf(svg, "40").y) << "the axis of both is at the bottom";
  // A logarithmic axis, too.
  upper.series = lower.series = {{"", {1, 10}, {1, 2}}};
  upper.log_x = lower.log_x = true;
  DrawPanels({upper, lower}, dir_ / "l.svg");
  const std::vector<std::string> log = TextsOf(ReadTextFile(dir_ / "l.svg"));
  EXPECT_EQ(std::count(log.begin(), log.end(), "5"), 1);
  lower.series[0].y = {std::nan(""), std::nan("")};
  EXPECT_THAT(kudari::testing::ErrorOf([&] {
                DrawPanels({upper, lower}, dir_ / "n.svg");
              }),
              HasSubstr("there is nothing to draw"));
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
  setenv("PATH", dir_.path().c_str(), 1);
  EXPECT_THAT(MessageOf(Lines(), "l.svg"), HasSubstr("gnuplot-nox"));
  EXPECT_FALSE(fs::exists(dir_ / "l.svg"));
}

TEST_F(ChartTest, FolderThatIsMissingIsNamed) {
  EXPECT_THAT(MessageOf(Lines(), "none/l.svg"), HasSubstr("none/l.svg"));
}

}  // namespace chart_test
}  // namespace kudari::lab
