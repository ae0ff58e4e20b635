#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "lab/draw/chart.h"
#include "lab/draw/plot.h"
#include "lab/files/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/svg_boxes.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace contour_charts_test {

using kudari::testing::ErrorOf;
using kudari::testing::ParseSvg;
using kudari::testing::Place;
using kudari::testing::PlaceOf;
using kudari::testing::PointsOf;
using kudari::testing::TextFaults;
using kudari::testing::TextsOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;

// (x^2 + 2 y^2 + 0.01) on a grid of 5 by 3.
ContourChart Bowl() {
  ContourChart chart{.title = "Bowl",
                     .x_label = "x",
                     .y_label = "y",
                     .z_label = "height",
                     .log_z = true,
                     .x = {-2, -1, 0, 1, 2},
                     .y = {-1, 0, 1},
                     .points = {{"the bottom", 0, 0}}};
  for (const double y : chart.y) {
    for (const double x : chart.x) chart.z.push_back(x * x + 2 * y * y + 0.01);
  }
  return chart;
}

// A bowl with two paths, one of which leaves it, and their curves.
ContourChart BowlWithPaths() {
  ContourChart chart = Bowl();
  chart.paths = {{.label = "sgd", .x = {-2, -1, -0.5}, .y = {1, 0.5, 0}},
                 {.label = "adam & co", .x = {1, 1, 1}, .y = {0, 0.5, 3}}};
  chart.points = {{"the bottom", 0, 0}, {"minimum", 0, 0}, {"far away", 9, 9}};
  return chart;
}

LineChart Curves() {
  return {.x_label = "step",
          .y_label = "loss",
          .log_y = true,
          .series = {{"sgd", {0, 1, 2}, {3, 2, 1}}, {"adam & co", {0, 1, 2}, {3, 1, 0.5}}}};
}

std::vector<std::string> AttributesOf(const std::string& svg, const char* path, const char* name) {
  const pugi::xml_document document = ParseSvg(svg);
  std::vector<std::string> values;
  for (const pugi::xpath_node& found : document.select_nodes(path)) {
    values.emplace_back(found.node().attribute(name).value());
  }
  return values;
}

TEST(ContourChartTest, DotsHaveALabelAndAreDrawnOnce) {
  ContourChart chart = Bowl();
  chart.points.clear();
  chart.dots = {{.label = "sgd", .x = {-1, 1, 1, 9}, .y = {0, 0.5, 0.5, 0}},
                {.label = "sam", .x = {1}, .y = {0.5}}};
  const std::string svg = ContourSvg(chart);
  EXPECT_THAT(TextsOf(svg), IsSupersetOf({"sgd", "sam"}));
  EXPECT_THAT(svg, HasSubstr("Dots: sgd, sam."));
  const std::vector<std::string> data = AttributesOf(svg, "//g[@class='dots']//path", "d");
  ASSERT_EQ(data.size(), 4U) << "white around each colour";
  EXPECT_EQ(std::ranges::count(data[0], 'M'), 2) << "one place once, and none outside";
  EXPECT_EQ(std::ranges::count(data[2], 'M'), 1);
  const double left = PlaceOf(svg, "−2").x, unit = (PlaceOf(svg, "2").x - left) / 4;
  const std::vector<Place> place = PointsOf(data[2].substr(0, data[2].find('h')));
  EXPECT_NEAR(place[0].x, left + 3 * unit, 0.1);
  const std::vector<std::string> widths =
      AttributesOf(svg, "//g[@class='dots']//path", "stroke-width");
  EXPECT_GT(std::stod(widths[1]), std::stod(widths[3])) << "those on top are smaller";
  EXPECT_THAT(TextFaults(svg), IsEmpty());
  chart.dots[1].y.clear();
  EXPECT_THAT(ErrorOf([&] { ContourSvg(chart); }), HasSubstr("dots \"sam\": 1 values of x and 0"));
}

TEST(ContourChartTest, ContoursAreLabelled) {
  const std::string svg = ContourSvg(Bowl());
  // The bottom is 0.01 and the corners are 6.01.
  EXPECT_THAT(TextsOf(svg), IsSupersetOf({"Bowl", "height", "the bottom", "0.02", "0.05", "0.1",
                                          "0.2", "0.5", "1", "2", "5"}));
  EXPECT_THAT(TextsOf(svg), Not(Contains("10")));
  EXPECT_THAT(TextFaults(svg), IsEmpty());
  EXPECT_EQ(AttributesOf(svg, "//g[@class='bands']/path", "fill").size(), 9U);
  // A plane without height has a colour, but no lines.
  ContourChart flat = Bowl();
  std::fill(flat.z.begin(), flat.z.end(), 1.0);
  const std::string plane = ContourSvg(flat);
  EXPECT_EQ(AttributesOf(plane, "//g[@class='bands']/path", "d").size(), 1U);
  EXPECT_THAT(AttributesOf(plane, "//g[@class='contours']/path", "d"), IsEmpty());
}

TEST(ContourChartTest, UnitsAreEquallyLong) {
  const auto sides = [](const ContourChart& chart) {
    double width = 0, height = 0;
    // The lowest band is the whole grid.
    const std::string d = AttributesOf(ContourSvg(chart), "//g[@class='bands']/path", "d")[0];
    const std::vector<Place> points = PointsOf(d);
    for (const Place& p : points) {
      width = std::max(width, std::abs(p.x - points[0].x));
      height = std::max(height, std::abs(p.y - points[0].y));
    }
    return width / height;
  };
  ContourChart chart = Bowl();
  EXPECT_NEAR(sides(chart), 2, 0.01);
  chart.equal_axes = false;
  EXPECT_LT(sides(chart), 1.5);
}

TEST(ContourChartTest, PathsAreInPlaceAndEndAtTheEdge) {
  const std::string svg = ContourSvg(BowlWithPaths());
  const double unit = (PlaceOf(svg, "2").x - PlaceOf(svg, "−2").x) / 4;
  const double left = PlaceOf(svg, "−2").x;
  const std::vector<std::string> paths = AttributesOf(svg, "//g[@class='paths']/g/path", "d");
  ASSERT_EQ(paths.size(), 4U) << "a casing and a line each";
  EXPECT_EQ(paths[0], paths[1]);
  const std::vector<Place> sgd = PointsOf(paths[1]), adam = PointsOf(paths[3]);
  ASSERT_EQ(sgd.size(), 3U);
  EXPECT_NEAR(sgd[0].x, left, 0.06);
  EXPECT_NEAR(sgd[1].x, left + unit, 0.06);
  EXPECT_NEAR(sgd[2].x, left + 1.5 * unit, 0.06);
  EXPECT_NEAR(sgd[2].y - sgd[0].y, unit, 0.11);
  // The grid ends at y = 1, where the first path begins.
  EXPECT_NEAR(adam.back().x, left + 3 * unit, 0.06);
  EXPECT_NEAR(adam.back().y, sgd[0].y, 0.06);
  // Both have a ring where they begin, but only one ends on the map.
  EXPECT_EQ(AttributesOf(svg, "//g[@class='ends']/g/circle", "cx").size(), 3U);
  EXPECT_THAT(TextsOf(svg), IsSupersetOf({"sgd", "adam & co", "minimum"}));
  EXPECT_THAT(TextsOf(svg), Not(Contains("far away")));
}

TEST(ContourChartTest, ArrowsPointWhereTheyEndInColoursOfTheirOwn) {
  ContourChart chart = BowlWithPaths();
  chart.arrows = {{.label = "up", .from_x = 0, .from_y = 0, .to_x = 2, .to_y = 0.5},
                  {.label = "nowhere", .from_x = 1, .from_y = 1, .to_x = 1, .to_y = 1}};
  const std::string svg = ContourSvg(chart);
  const pugi::xml_document document = ParseSvg(svg);
  const auto paths = document.select_nodes("//g[@class='arrows']/path");
  ASSERT_EQ(paths.size(), 3U) << "a casing, a head and a shaft; none without a length";
  // The head's second point is the end of the arrow, over the tick of its x.
  const Place end = PointsOf(paths[1].node().attribute("d").value())[1];
  EXPECT_NEAR(end.x, PlaceOf(svg, "2").x, 0.2);
  EXPECT_STREQ(paths[2].node().attribute("stroke").value(), StyleOf(2).colour.c_str());
  EXPECT_THAT(TextsOf(svg), IsSupersetOf({"sgd", "up", "nowhere"}));
  EXPECT_THAT(TextFaults(svg), IsEmpty());
}

TEST(ContourChartTest, LabelsOfPointsAvoidEachOther) {
  ContourChart chart = Bowl();
  chart.points = {{"a minimum", 0, 0}, {"another one", 0.1, 0}, {"at the edge", 1.95, 0.5}};
  EXPECT_THAT(TextFaults(ContourSvg(chart)), IsEmpty());
}

TEST(ContourChartTest, WhatIsNotFiniteIsBlank) {
  ContourChart bowl = Bowl();
  bowl.z[3] = std::nan("");
  const std::string whole = ContourSvg(Bowl()), gap = ContourSvg(bowl);
  EXPECT_NE(AttributesOf(whole, "//g[@class='bands']/path", "d")[0],
            AttributesOf(gap, "//g[@class='bands']/path", "d")[0]);
  std::fill(bowl.z.begin(), bowl.z.end(), -1.0);
  EXPECT_THAT(ErrorOf([&] { ContourSvg(bowl); }),
              HasSubstr("chart \"Bowl\": there is nothing to draw"));
  bowl = Bowl();
  bowl.z.pop_back();
  EXPECT_THAT(ErrorOf([&] { ContourSvg(bowl); }), HasSubstr("a grid of 5 by 3 with 14 values"));
}

TEST(ContourChartTest, LargeGridsAreSmallFiles) {
  ContourChart chart = Bowl();
  chart.x.clear();
  chart.z.clear();
  for (int k = 0; k < 200; ++k) chart.x.push_back(0.05 * k - 5);
  chart.y = chart.x;
  for (const double y : chart.y) {
    for (const double x : chart.x) {
      chart.z.push_back(std::pow(x * x + y - 11, 2) + std::pow(x + y * y - 7, 2) + 0.01);
    }
  }
  EXPECT_LT(ContourSvg(chart).size(), 35'000U);
  EXPECT_LT(SurfaceSvg(chart).size(), 150'000U);
}

TEST(Landscape, HasAMapAndCurvesInTheSameColours) {
  const std::string svg = LandscapeSvg(BowlWithPaths(), Curves(), false);
  const std::vector<std::string> paths = AttributesOf(svg, "//g[@class='paths']/g/path", "stroke");
  const std::vector<std::string> curves =
      AttributesOf(svg, "//g[@class='curves']/g/path", "stroke");
  ASSERT_EQ(curves.size(), 2U);
  EXPECT_EQ(paths[1], curves[0]);
  EXPECT_EQ(paths[3], curves[1]);
  EXPECT_NE(curves[0], curves[1]);
  const std::vector<std::string> texts = TextsOf(svg);
  EXPECT_EQ(std::count(texts.begin(), texts.end(), "adam & co"), 1) << "one legend for both";
  EXPECT_GT(PlaceOf(svg, "loss").x, PlaceOf(svg, "height").x);
  EXPECT_THAT(TextFaults(svg), IsEmpty());
  EXPECT_THAT(svg, Not(HasSubstr("animate")));
  EXPECT_EQ(svg, LandscapeSvg(BowlWithPaths(), Curves(), false));
}

TEST(Landscape, CurvesWithoutAPathHaveLabelsOfTheirOwn) {
  LineChart curves = Curves();
  curves.series.push_back({"mean", {0, 1, 2}, {2, 2, 2}});
  const std::vector<std::string> texts = TextsOf(LandscapeSvg(BowlWithPaths(), curves, false));
  EXPECT_THAT(texts, Contains("mean"));
  EXPECT_EQ(std::count(texts.begin(), texts.end(), "sgd"), 1);
}

TEST(Landscape, AnimatedLinesEndAsTheFinishedPicture) {
  const std::string still = LandscapeSvg(BowlWithPaths(), Curves(), false);
  const std::string svg = LandscapeSvg(BowlWithPaths(), Curves(), true);
  // The same lines, which are whole for readers that do not animate: dashes as long as they are.
  const char* const lines = "//g[@class='paths']/g/path";
  EXPECT_EQ(AttributesOf(svg, lines, "d"), AttributesOf(still, lines, "d"));
  const pugi::xml_document document = ParseSvg(svg);
  const auto drawn = document.select_nodes("//path[@class='kudari-drawn']");
  ASSERT_EQ(drawn.size(), 6U) << "casings, paths and curves";
  for (const pugi::xpath_node& found : drawn) {
    const pugi::xml_node path = found.node(), animate = path.child("animate");
    double length = 0;
    const std::vector<Place> points = PointsOf(path.attribute("d").value());
    for (size_t k = 1; k < points.size(); ++k) {
      length += std::hypot(points[k].x - points[k - 1].x, points[k].y - points[k - 1].y);
    }
    EXPECT_GE(path.attribute("stroke-dasharray").as_double(), length - 0.5);
    EXPECT_FALSE(path.attribute("stroke-dashoffset"));
    EXPECT_STREQ(animate.attribute("attributeName").value(), "stroke-dashoffset");
    EXPECT_STREQ(animate.attribute("repeatCount").value(), "indefinite");
    const std::string times = animate.attribute("keyTimes").value();
    const std::string values = animate.attribute("values").value();
    EXPECT_EQ(std::count(times.begin(), times.end(), ';'),
              std::count(values.begin(), values.end(), ';'));
    EXPECT_EQ(times.substr(0, 2), "0;");
    EXPECT_EQ(times.substr(times.size() - 2), ";1");
    EXPECT_EQ(values.substr(values.size() - 4), ";0;0");
  }
  // The pace is that of the points: half of the time for the first of two steps.
  const std::string times = drawn.begin()->node().child("animate").attribute("keyTimes").value();
  EXPECT_EQ(times, "0;0.4;0.8;0.8;1");
  // A dot is at its line's end, and moves from where the line begins.
  const pugi::xml_node dot = document.select_node("//circle[@class='kudari-moving']").node();
  const std::vector<Place> way = PointsOf(dot.child("animateMotion").attribute("path").value());
  const std::vector<Place> line = PointsOf(AttributesOf(svg, lines, "d")[0]);
  EXPECT_NEAR(dot.attribute("cx").as_double() + way[0].x, line[0].x, 0.11);
  EXPECT_NEAR(way.back().x, 0, 0.11);
  EXPECT_THAT(svg, HasSubstr("prefers-reduced-motion"));
}

TEST(Landscape, FilesAreWhatTheTextsAre) {
  const kudari::testing::TemporaryFolder dir;
  DrawLandscape(BowlWithPaths(), Curves(), true, dir / "l.svg");
  EXPECT_EQ(ReadTextFile(dir / "l.svg"), LandscapeSvg(BowlWithPaths(), Curves(), true));
  DrawLandscape(BowlWithPaths(), Curves(), true, dir / "l.png");
  EXPECT_EQ(ReadTextFile(dir / "l.png").substr(1, 3), "PNG");
  DrawChart(Bowl(), dir / "c.svg");
  EXPECT_EQ(ReadTextFile(dir / "c.svg"), ContourSvg(Bowl()));
  DrawSurface(Bowl(), dir / "s.svg");
  EXPECT_EQ(ReadTextFile(dir / "s.svg"), SurfaceSvg(Bowl()));
  for (const char* const name : {"c.gif", "c"}) {
    const std::string message = "a picture must be named .svg or .png";
    EXPECT_THAT(ErrorOf([&] { DrawChart(Bowl(), dir / name); }), HasSubstr(message));
    EXPECT_THAT(ErrorOf([&] { DrawSurface(Bowl(), dir / name); }), HasSubstr(message));
    EXPECT_THAT(ErrorOf([&] { DrawLandscape(Bowl(), Curves(), false, dir / name); }),
                HasSubstr(message));
  }
  LineChart none = Curves();
  none.series.clear();
  EXPECT_THAT(ErrorOf([&] { LandscapeSvg(Bowl(), none, false); }),
              HasSubstr("there is nothing to draw"));
}

TEST(Surface, CellsAreDrawnFromTheBack) {
  ContourChart chart = Bowl();
  const std::string svg = SurfaceSvg(chart);
  const std::vector<std::string> cells = AttributesOf(svg, "//g[@class='surface']/path", "d");
  ASSERT_EQ(cells.size(), 8U);
  // The last one is the nearest, with the corner of small x and y, which is the lowest on the page.
  double last = 0, first = 0;
  for (const Place& p : PointsOf(cells.back())) last = std::max(last, p.y);
  for (const Place& p : PointsOf(cells.front())) first = std::max(first, p.y);
  EXPECT_GT(last, first);
  EXPECT_THAT(TextsOf(svg), IsSupersetOf({"Bowl", "x", "y", "height", "−2", "2", "0.1", "1"}));
  chart.z[0] = std::nan("");
  EXPECT_EQ(AttributesOf(SurfaceSvg(chart), "//g[@class='surface']/path", "d").size(), 7U);
}

TEST(Surface, PathsBehindItAreFaint) {
  ContourChart ridge{.title = "Ridge", .x_label = "x", .y_label = "y", .z_label = "z"};
  for (int k = 0; k <= 20; ++k) ridge.x.push_back(k);
  ridge.y = ridge.x;
  for (const double y : ridge.y) {
    for (const double x : ridge.x) ridge.z.push_back(std::exp(-std::pow(x + y - 20, 2) / 4));
  }
  // From the far side, over the ridge, to the near one.
  ridge.paths = {{.label = "over", .x = {14, 2}, .y = {14, 2}}};
  const std::vector<std::string> dashes =
      AttributesOf(SurfaceSvg(ridge), "//g[@class='path']/path", "stroke-dasharray");
  EXPECT_THAT(dashes, Contains("2 3"));
  EXPECT_THAT(dashes, Contains(""));
  ridge.paths = {{.label = "in front", .x = {8, 2}, .y = {8, 2}}};
  EXPECT_THAT(AttributesOf(SurfaceSvg(ridge), "//g[@class='path']/path", "stroke-dasharray"),
              Not(Contains("2 3")));
}

TEST(Surface, LongLabelsStayOnThePage) {
  ContourChart chart = Bowl();
  chart.x_label = "alpha: along one filter-normalised random direction";
  chart.y_label = "beta: along another filter-normalised direction";
  EXPECT_THAT(TextFaults(SurfaceSvg(chart)), IsEmpty());
}

}  // namespace contour_charts_test
}  // namespace kudari::lab
