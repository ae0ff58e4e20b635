#include "lab/draw/contours.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/errors.h"

namespace kudari::lab {
namespace contours_test {

using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

// f over [-1, 1] x [-1, 1].
template <class F>
Field FieldBy(size_t count, const F& f) {
  Field field;
  for (size_t k = 0; k < count; ++k) {
    field.x.push_back(-1 + 2 * static_cast<double>(k) / static_cast<double>(count - 1));
  }
  field.y = field.x;
  for (const double y : field.y) {
    for (const double x : field.x) field.z.push_back(f(x, y));
  }
  return field;
}

double AreaOf(const LevelRegion& region) {
  double area = 0;
  for (const std::vector<Point>& o : region.outlines) {
    for (size_t k = 0; k < o.size(); ++k) {
      const Point &a = o[k], &b = o[(k + 1) % o.size()];
      area += (a.x * b.y - b.x * a.y) / 2;
    }
  }
  return area;
}

constexpr double kAll = -std::numeric_limits<double>::infinity();

TEST(RegionAbove, ACircleIsRound) {
  const Field bowl = FieldBy(101, [](double x, double y) { return x * x + y * y; });
  const LevelRegion region = RegionAbove(bowl, 0.25);
  ASSERT_EQ(region.lines.size(), 1U);
  EXPECT_GT(region.lines[0].size(), 100U);
  for (const Point& p : region.lines[0]) EXPECT_NEAR(std::hypot(p.x, p.y), 0.5, 1e-3);
  EXPECT_EQ(region.lines[0].front().x, region.lines[0].back().x) << "it is closed";
  // Outside of it is the square, and the circle is a hole in it.
  ASSERT_EQ(region.outlines.size(), 2U);
  EXPECT_NEAR(AreaOf(region), 4 - 0.25 * std::acos(-1), 1e-3);
}

TEST(RegionAbove, LinesEndAtTheEdges) {
  const Field plane = FieldBy(11, [](double x, double y) { return x + 0 * y; });
  const LevelRegion region = RegionAbove(plane, 0.37);
  ASSERT_EQ(region.lines.size(), 1U);
  for (const Point& p : region.lines[0]) EXPECT_NEAR(p.x, 0.37, 1e-12);
  EXPECT_NEAR(std::abs(region.lines[0].front().y), 1, 1e-12);
  EXPECT_NEAR(AreaOf(region), 2 * (1 - 0.37), 1e-12);
  EXPECT_NEAR(AreaOf(RegionAbove(plane, kAll)), 4, 1e-12);
  EXPECT_TRUE(RegionAbove(plane, kAll).lines.empty());
  EXPECT_TRUE(RegionAbove(plane, 2).outlines.empty());
}

// The two ways through a cell whose opposite corners are high depend on its middle.
TEST(RegionAbove, SaddlesGoByTheirMiddle) {
  const Field saddle{.x = {0, 1}, .y = {0, 1}, .z = {1, 0, 0, 1}};
  EXPECT_EQ(RegionAbove(saddle, 0.4).outlines.size(), 1U);
  EXPECT_NEAR(AreaOf(RegionAbove(saddle, 0.4)), 1 - 0.4 * 0.4, 1e-12);
  const LevelRegion apart = RegionAbove(saddle, 0.6);
  EXPECT_EQ(apart.outlines.size(), 2U);
  EXPECT_NEAR(AreaOf(apart), 0.4 * 0.4, 1e-12);
  EXPECT_EQ(apart.lines.size(), 2U);
}

TEST(RegionAbove, CellsWithoutAValueStayBlank) {
  Field flat = FieldBy(11, [](double, double) { return 1.0; });
  flat.z[5 * 11 + 5] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NEAR(AreaOf(RegionAbove(flat, 0)), 4 - 4 * 0.2 * 0.2, 1e-12);
  EXPECT_TRUE(RegionAbove(flat, 0).lines.empty()) << "the hole's edge is no contour";
}

TEST(RegionAbove, RegionsLieInEachOther) {
  const auto waves = [](double x, double y) { return std::sin(5 * x) * std::cos(7 * y) + x; };
  const Field field = FieldBy(60, waves);
  double last = 4 + 1e-9;
  for (const double level : {-1.5, -0.5, 0.0, 0.5, 1.5}) {
    const double area = AreaOf(RegionAbove(field, level));
    EXPECT_LT(area, last);
    EXPECT_GT(area, 0);
    last = area;
  }
}

TEST(Bands, HaveAColourForEachValue) {
  ContourChart chart{
      .title = "t", .x_label = "", .y_label = "", .z_label = "", .x = {0, 1, 2}, .y = {0, 1}};
  chart.z = {0, 1, 2, 3, 4, 5};
  const Bands bands = BandsOf(chart);
  EXPECT_LE(bands.levels.size(), 12U);
  ASSERT_EQ(bands.colours.size(), bands.levels.size() + 1);
  EXPECT_EQ(bands.texts.size(), bands.levels.size());
  EXPECT_EQ(bands.ColourOf(-1), bands.colours.front());
  EXPECT_EQ(bands.ColourOf(9), bands.colours.back());
  EXPECT_EQ(bands.ColourOf(bands.levels[0]), bands.colours[1]);
  chart.log_z = true;
  EXPECT_EQ(BandsOf(chart).values.low, 1) << "zero has no logarithm";
  EXPECT_TRUE(std::isnan(FieldOf(chart).z[0]));
  EXPECT_DOUBLE_EQ(FieldOf(chart).z[5], std::log(5));
}

TEST(Bands, NumbersMustFit) {
  ContourChart chart{.title = "t",
                     .x_label = "",
                     .y_label = "",
                     .z_label = "",
                     .x = {0, 1},
                     .y = {0, 1},
                     .z = {1, 2, 3, 4}};
  EXPECT_EQ(ErrorOf([&] { BandsOf(chart); }), "no error");
  chart.paths = {{.label = "way", .x = {1, 2}, .y = {1}}};
  EXPECT_EQ(ErrorOf([&] { BandsOf(chart); }),
            "chart \"t\", path \"way\": 2 values of x and 1 of y");
  chart.paths.clear();
  chart.x = {1, 1};
  EXPECT_THAT(ErrorOf([&] { BandsOf(chart); }), HasSubstr("the values of a grid's axis must rise"));
  chart.x = {1, std::numeric_limits<double>::quiet_NaN()};
  EXPECT_THAT(ErrorOf([&] { BandsOf(chart); }), HasSubstr("must rise"));
}

}  // namespace contours_test
}  // namespace kudari::lab
