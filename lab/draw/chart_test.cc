#include "lab/draw/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "lab/files/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/read_svg.h"
#include "tests/support/svg_boxes.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace chart_test {

namespace fs = std::filesystem;
using kudari::testing::Place;
using kudari::testing::PlaceOf;
using kudari::testing::TextFaults;
using kudari::testing::TextsOf;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::StartsWith;

class ChartTest : public ::testing::Test {
 protected:
  // What stands in a chart.
  std::vector<std::string> TextsIn(const LineChart& chart) const {
    DrawChart(chart, dir_ / "texts.svg");
    return TextsOf(ReadTextFile(dir_ / "texts.svg"));
  }

  std::string MessageOf(const LineChart& chart, const std::string& name) const {
    return kudari::testing::ErrorOf([&] { DrawChart(chart, dir_ / name); });
  }

  kudari::testing::TemporaryFolder dir_;
};

LineChart Lines() {
  return {.title = "Two_runs of {x}",
          .x_label = "across <1 & 2>",
          .y_label = "up",
          .series = {{"sgd's", {0, 1, 2}, {3, 1, 2}}, {"sam", {0, 1, 2}, {2, 1, 3}}}};
}

// The circles of lines.
std::vector<Place> DotsOf(const std::string& svg) {
  const pugi::xml_document document = kudari::testing::ParseSvg(svg);
  std::vector<Place> dots;
  for (const pugi::xpath_node& found : document.select_nodes("//g[@class='lines']//circle")) {
    dots.push_back(
        {found.node().attribute("cx").as_double(), found.node().attribute("cy").as_double()});
  }
  return dots;
}

// The height of the highest point of each line.
std::vector<double> LinePlaces(const std::string& svg) {
  const pugi::xml_document document = kudari::testing::ParseSvg(svg);
  std::vector<double> tops;
  for (const pugi::xpath_node& found : document.select_nodes("//g[@class='lines']//path")) {
    double top = 0;
    for (const Place& p : kudari::testing::PointsOf(found.node().attribute("d").value())) {
      top = tops.empty() && top == 0 ? p.y : std::min(top, p.y);
    }
    tops.push_back(top);
  }
  return tops;
}

TEST_F(ChartTest, LinesHaveTextsAsTheyAre) {
  EXPECT_THAT(TextsIn(Lines()),
              IsSupersetOf({"Two_runs of {x}", "across <1 & 2>", "up", "sgd's", "sam"}));
  LineChart chart = Lines();
  const std::string evil = "</svg><script>&\n";
  chart.title = chart.x_label = chart.series[0].label = evil;
  const std::vector<std::string> texts = TextsIn(chart);
  EXPECT_EQ(std::count(texts.begin(), texts.end(), "</svg><script>& "), 3);
}

TEST_F(ChartTest, NamesOfFilesAreNames) {
  DrawChart(Lines(), dir_ / "it's `x` \"$y\".svg");
  EXPECT_TRUE(fs::exists(dir_ / "it's `x` \"$y\".svg"));
}

TEST_F(ChartTest, TheSameChartIsTheSamePicture) {
  EXPECT_EQ(PanelsSvg({Lines(), Lines()}), PanelsSvg({Lines(), Lines()}));
  DrawChart(Lines(), dir_ / "l.svg");
  EXPECT_EQ(ReadTextFile(dir_ / "l.svg"), PanelsSvg({Lines()}));
}

// The ticks say where a value is, and so a point is between them.
TEST_F(ChartTest, PointsAreWhereTheAxesSay) {
  for (const bool logarithmic : {false, true}) {
    LineChart chart = Lines();
    chart.log_x = chart.log_y = logarithmic;
    chart.series = {{"", {1, 10, 40}, {2, 50, 100}}};
    const std::string svg = PanelsSvg({chart});
    const std::vector<Place> dots = DotsOf(svg);
    ASSERT_EQ(dots.size(), 3U);
    const auto along = [&](double x) { return logarithmic ? std::log(x) : x; };
    const Place low = PlaceOf(svg, "20"), high = PlaceOf(svg, logarithmic ? "50" : "80");
    const double unit = (high.y - low.y) / (along(logarithmic ? 50 : 80) - along(20));
    EXPECT_NEAR(dots[2].y + 4.2, low.y + unit * (along(100) - along(20)), 0.05);
    EXPECT_NEAR(dots[0].y + 4.2, low.y + unit * (along(2) - along(20)), 0.05);
    const double left = PlaceOf(svg, logarithmic ? "2" : "10").x;
    EXPECT_TRUE(logarithmic || std::abs(dots[1].x - left) < 0.01);
    EXPECT_NEAR((dots[1].x - dots[0].x) / (dots[2].x - dots[0].x),
                along(10) / (along(40) - along(1)) - along(1) / (along(40) - along(1)), 1e-4);
  }
}

TEST_F(ChartTest, FewPointsAreMarked) {
  LineChart chart = Lines();
  EXPECT_EQ(DotsOf(PanelsSvg({chart})).size(), 6U);
  chart.points = false;
  EXPECT_TRUE(DotsOf(PanelsSvg({chart})).empty());
  chart.points = true;
  chart.series = {{"many", {}, {}}};
  for (int k = 0; k < 50; ++k) {
    chart.series[0].x.push_back(k);
    chart.series[0].y.push_back(k % 7);
  }
  EXPECT_TRUE(DotsOf(PanelsSvg({chart})).empty());
  // One point is no line.
  chart.series = {{"one", {3}, {4}}};
  chart.points = false;
  EXPECT_EQ(DotsOf(PanelsSvg({chart})).size(), 1U);
}

TEST_F(ChartTest, LinesOfManyPointsAreThinned) {
  LineChart chart = Lines();
  chart.points = false;
  chart.series = {{"", {}, {}}};
  for (int k = 0; k < 200'000; ++k) {
    chart.series[0].x.push_back(k);
    chart.series[0].y.push_back(k == 77'777 ? 9 : k % 2);
  }
  const std::string svg = PanelsSvg({chart});
  EXPECT_LT(svg.size(), 60'000U);
  EXPECT_GT(svg.size(), 3'000U);
  // The one high value is still seen.
  const double top = LinePlaces(svg)[0];
  EXPECT_LT(top, PlaceOf(svg, "8").y);
}

TEST_F(ChartTest, TheEndingChoosesTheFormat) {
  DrawChart(Lines(), dir_ / "l.png");
  EXPECT_THAT(ReadTextFile(dir_ / "l.png"), StartsWith("\x89PNG"));
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

TEST_F(ChartTest, LabelsAreAtTheEndsOfLines) {
  LineChart chart = Lines();
  chart.series = {{"high", {0, 1}, {1, 9}}, {"low", {0, 1}, {1, 1.1}}, {"lower", {0, 1}, {1, 1}}};
  const std::string svg = PanelsSvg({chart});
  const std::vector<Place> dots = DotsOf(svg);
  EXPECT_NEAR(PlaceOf(svg, "high").y, dots[1].y + 4.5, 0.01);
  EXPECT_GT(PlaceOf(svg, "high").x, dots[1].x);
  EXPECT_GT(PlaceOf(svg, "lower").y, PlaceOf(svg, "low").y + 14) << "moved apart, in their order";
  EXPECT_THAT(TextFaults(svg), IsEmpty());
}

TEST_F(ChartTest, ManyLabelsAreALegendBelowTheTitle) {
  LineChart chart = Lines();
  for (int k = 0; k < 12; ++k) {
    chart.series.push_back({"run number " + std::to_string(k), {0, 2}, {1.0 * k, 2.0 * k}});
  }
  const std::string svg = PanelsSvg({chart});
  EXPECT_LT(PlaceOf(svg, "run number 11").y, PlaceOf(svg, "up").y);
  EXPECT_GT(PlaceOf(svg, "sgd's").y, PlaceOf(svg, "Two_runs of {x}").y);
  EXPECT_GT(PlaceOf(svg, "run number 11").y, PlaceOf(svg, "sgd's").y + 15) << "in rows";
  EXPECT_THAT(TextFaults(svg), IsEmpty());
  // The seventh line has the first one's colour, dashed.
  EXPECT_THAT(svg, HasSubstr("stroke-dasharray=\"6 3\""));
}

TEST_F(ChartTest, LongLabelsAreALegendBelowTheTitle) {
  LineChart chart = Lines();
  chart.series[0].label = "a label that is as long as the path of a run may be, or even longer";
  chart.series[1].label = "another label that is as long as the path of a run may be";
  const std::string svg = PanelsSvg({chart});
  const double first = PlaceOf(svg, chart.series[0].label).y;
  EXPECT_GT(PlaceOf(svg, chart.series[1].label).y, first + 10);
  EXPECT_LT(first, PlaceOf(svg, "up").y);
  EXPECT_THAT(TextFaults(svg), IsEmpty());
}

// Labels at the right would not say which line is which.
TEST_F(ChartTest, LinesThatEndEarlyHaveALegend) {
  LineChart chart = Lines();
  chart.series[1] = {"sam", {0, 0.5}, {2, 1}};
  const std::string svg = PanelsSvg({chart});
  EXPECT_LT(PlaceOf(svg, "sam").y, PlaceOf(svg, "up").y);
}

TEST_F(ChartTest, TextsNeverOverlap) {
  LineChart chart = Lines();
  chart.title = std::string(200, 'w');
  chart.x_ticks = {0, 0.01, 0.02, 1, 2};
  chart.marks = {{.label = "begin", .from = 0, .to = 0},
                 {.label = "the second", .from = 0.02, .to = 0.4},
                 {.label = "end", .from = 2, .to = 2, .strong = true}};
  EXPECT_THAT(TextFaults(PanelsSvg({chart, chart, chart})), IsEmpty());
  chart.marks.clear();
  chart.title = "a small chart with a title that is too long for it";
  EXPECT_THAT(TextFaults(ChartsSvg({chart, Lines(), Lines()}, 2)), IsEmpty());
}

TEST_F(ChartTest, SmallChartsHaveOneLegendAndLabelsOfTheirAxes) {
  LineChart chart = Lines();
  chart.title = "small";
  const std::string svg = ChartsSvg({chart, chart}, 2);
  const std::vector<std::string> texts = TextsOf(svg);
  EXPECT_EQ(std::count(texts.begin(), texts.end(), "sgd's"), 1);
  EXPECT_EQ(std::count(texts.begin(), texts.end(), chart.x_label), 2);
  EXPECT_EQ(std::count(texts.begin(), texts.end(), chart.y_label), 2);
  EXPECT_THAT(TextFaults(svg), IsEmpty());
  // Fewer columns make larger charts.
  const auto width = [](const std::string& picture) {
    return kudari::testing::ParseSvg(picture).child("svg").attribute("width").as_double();
  };
  EXPECT_EQ(width(svg), 810);
  EXPECT_EQ(width(ChartsSvg({chart}, 1)), 810);
  EXPECT_EQ(width(ChartsSvg({chart}, 5)), 5 * 270);
}

TEST_F(ChartTest, StackedPicturesStandUnderEachOther) {
  LineChart first = Lines(), second = Lines();
  first.title = "first";
  second.title = "second";
  const std::string above = PanelsSvg({first}), both = StackedSvg({above, PanelsSvg({second})});
  const double height =
      kudari::testing::ParseSvg(above).child("svg").attribute("height").as_double();
  EXPECT_EQ(PlaceOf(both, "second").y, height + PlaceOf(both, "first").y);
  EXPECT_EQ(kudari::testing::ParseSvg(both).child("svg").attribute("height").as_double(),
            2 * height);
  // In rows of two, the third one is below the first.
  const std::string three = StackedSvg({above, PanelsSvg({second}), above}, 2);
  EXPECT_EQ(PlaceOf(three, "second").y, PlaceOf(three, "first").y);
  EXPECT_EQ(PlaceOf(three, "second").x, PlaceOf(three, "first").x + 800);
  EXPECT_EQ(kudari::testing::ParseSvg(three).child("svg").attribute("width").as_double(), 1600);
  EXPECT_EQ(kudari::testing::ParseSvg(three).child("svg").attribute("height").as_double(),
            2 * height);
}

TEST_F(ChartTest, LabelsOfMarksAvoidEachOther) {
  LineChart chart = Lines();
  chart.marks = {{.label = "the first of them", .from = 0.5, .to = 0.5},
                 {.label = "the second one", .from = 0.6, .to = 0.6},
                 {.label = "at the same place", .from = 0.6, .to = 0.6, .strong = true},
                 {.label = "far away", .from = 1.5, .to = 1.5}};
  const std::string svg = PanelsSvg({chart});
  const kudari::testing::Place first = PlaceOf(svg, "the first of them");
  const kudari::testing::Place second = PlaceOf(svg, "the second one, at the same place");
  const kudari::testing::Place third = PlaceOf(svg, "far away");
  // The label of the left one is over the other, and where there is room there is one row.
  EXPECT_LT(first.x, second.x);
  EXPECT_LT(first.y, second.y - 15);
  EXPECT_EQ(second.y, third.y);
  // All of them are above the plot.
  EXPECT_LT(third.y, PlaceOf(svg, "3").y);
  EXPECT_THAT(TextFaults(svg), IsEmpty());
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
    return ReadTextFile(dir_ / "l.svg").find("stroke-width=\"7\"") != std::string::npos;
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
  // Lines end there, and points above it are left out.
  chart.y_most = 2;
  const std::string svg = PanelsSvg({chart});
  EXPECT_EQ(DotsOf(svg).size(), 4U);
  EXPECT_NEAR(LinePlaces(svg)[0], PlaceOf(svg, "2").y - 4.2, 0.1);
}

TEST_F(ChartTest, WhatIsBelowIsCutOffAsWell) {
  LineChart chart = Lines();
  chart.y_least = 1.5;
  const std::string svg = PanelsSvg({chart});
  EXPECT_THAT(TextsOf(svg), Contains("The up is cut off at 1.5; it goes down to 1"));
  EXPECT_EQ(DotsOf(svg).size(), 4U);
  chart.y_least = 0.5;
  EXPECT_THAT(TextsIn(chart), Not(Contains(HasSubstr("cut off"))));
  chart.y_least = 7;  // a chart that would be empty ends where it did
  EXPECT_EQ(DotsOf(PanelsSvg({chart})).size(), 6U);
}

TEST_F(ChartTest, BarsReachAsFarAsTheErrors) {
  LineChart chart = Lines();
  chart.series = {{"a", {0, 1, 2}, {20, 50, 80}, {10, 0, 20}}};
  std::string svg = PanelsSvg({chart});
  // The path of bars is several lines: "M1 2l0 3M...".
  const auto bars = [&svg] {
    std::vector<std::vector<Place>> drawn;
    const pugi::xml_document document = kudari::testing::ParseSvg(svg);
    for (const pugi::xpath_node& found : document.select_nodes("//g[@class='lines']//path")) {
      std::string data = found.node().attribute("d").value();
      if (std::count(data.begin(), data.end(), 'M') < 2) continue;  // the line itself
      for (size_t next = 0; !data.empty(); data = data.substr(std::min(next, data.size()))) {
        next = std::min(data.find('M', 1), data.size());
        drawn.push_back(kudari::testing::PointsOf(data.substr(0, next)));
      }
    }
    return drawn;
  };
  // A bar and its two ends for each of two points, since an error of 0 has none.
  ASSERT_EQ(bars().size(), 6U);
  const double unit = (PlaceOf(svg, "0").y - PlaceOf(svg, "100").y) / 100;
  const std::vector<Place> dots = DotsOf(svg);
  for (const auto& [bar, dot, error] : {std::tuple{0, 0, 10}, std::tuple{3, 2, 20}}) {
    const std::vector<Place> line = bars()[static_cast<size_t>(bar)];
    const double y = dots[static_cast<size_t>(dot)].y;
    EXPECT_NEAR(line[0].y, y + error * unit, 0.1);
    EXPECT_NEAR(line[1].y, y - error * unit, 0.1);
    EXPECT_NEAR(line[0].x, dots[static_cast<size_t>(dot)].x, 0.1);
  }
  // Bars end at the chart's edge, without an end there, and where there is no logarithm.
  chart.y_most = 90;
  svg = PanelsSvg({chart});
  EXPECT_EQ(bars().size(), 5U);
  chart.y_most.reset();
  chart.log_y = true;
  chart.series[0].error = {25, 0, 20};
  svg = PanelsSvg({chart});
  EXPECT_EQ(bars().size(), 5U);
  chart.series[0].error.pop_back();
  EXPECT_THAT(MessageOf(chart, "l.svg"), HasSubstr("series \"a\": 2 values of error and 3 of y"));
}

TEST_F(ChartTest, TheAxisHasZeroWhereThatIsAskedFor) {
  LineChart chart = Lines();
  for (Series& s : chart.series) {
    for (double& y : s.y) y += 100;
  }
  const auto zeros = [&] { return std::ranges::count(TextsIn(chart), "0"); };
  EXPECT_EQ(zeros(), 1);  // on the x axis
  chart.from_zero = true;
  EXPECT_EQ(zeros(), 2);
  chart.log_y = true;
  EXPECT_EQ(zeros(), 1);
}

TEST_F(ChartTest, PanelsShareTheAxis) {
  LineChart upper = Lines(), lower = Lines();
  lower.series = {{"", {0, 4}, {25, 75}}};
  lower.y_label = "another";
  DrawPanels({upper, lower}, dir_ / "l.svg");
  const std::string svg = ReadTextFile(dir_ / "l.svg");
  const std::vector<std::string> texts = TextsOf(svg);
  for (const char* const text : {"Two_runs of {x}", "across <1 & 2>", "up", "another"}) {
    EXPECT_EQ(std::count(texts.begin(), texts.end(), text), 1) << text;
  }
  EXPECT_GT(PlaceOf(svg, "4").y, PlaceOf(svg, "50").y) << "the axis of both is at the bottom";
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
  EXPECT_EQ(DotsOf(PanelsSvg({chart})).size(), 2U);
  chart.series = {{"a", {0, 1, 2, 3}, {1, 2, kNan, 3}}};
  EXPECT_EQ(LinePlaces(PanelsSvg({chart})).size(), 1U);
  chart.series = {{"a", {0, 1}, {kNan, kNan}}};
  EXPECT_THAT(MessageOf(chart, "n.svg"),
              HasSubstr("chart \"Two_runs of {x}\": there is nothing to draw"));
}

TEST_F(ChartTest, NumbersMustFit) {
  LineChart chart = Lines();
  chart.series[1].y.pop_back();
  EXPECT_THAT(MessageOf(chart, "l.svg"), HasSubstr("series \"sam\": 3 values of x and 2 of y"));
}

TEST_F(ChartTest, FolderThatIsMissingIsNamed) {
  EXPECT_THAT(MessageOf(Lines(), "none/l.svg"), HasSubstr("none/l.svg"));
}

}  // namespace chart_test
}  // namespace kudari::lab
