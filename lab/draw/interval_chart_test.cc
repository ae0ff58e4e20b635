#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "lab/draw/chart.h"
#include "tests/support/errors.h"
#include "tests/support/svg_boxes.h"

namespace kudari::lab {
namespace interval_chart_test {

using kudari::testing::ErrorOf;
using kudari::testing::ParseSvg;
using kudari::testing::PlaceOf;
using kudari::testing::TextFaults;
using kudari::testing::TextsOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

IntervalChart Methods() {
  return {.title = "By method",
          .x_label = "accuracy (%)",
          .rows = {{.label = "SGD", .values = {40, 44}, .mean = 42, .error = 10},
                   {.label = "a method with a longer name", .mean = 50, .error = 0}}};
}

// The circles and the bars of a row.
struct DrawnRow {
  std::vector<double> dots, bars;  // x of circles; x of both ends of the level line
};
std::vector<DrawnRow> RowsOf(const std::string& svg) {
  const pugi::xml_document document = ParseSvg(svg);
  std::vector<DrawnRow> rows;
  for (const pugi::xpath_node& found : document.select_nodes("//g[@class='rows']/g")) {
    DrawnRow& row = rows.emplace_back();
    for (const pugi::xml_node& dot : found.node().children("circle")) {
      row.dots.push_back(dot.attribute("cx").as_double());
    }
    for (const pugi::xml_node& line : found.node().children("line")) {
      if (line.attribute("y1").as_double() != line.attribute("y2").as_double()) continue;
      row.bars = {line.attribute("x1").as_double(), line.attribute("x2").as_double()};
    }
  }
  return rows;
}

TEST(IntervalChartTest, DotsAndBarsAreWhereTheAxisSays) {
  const std::string svg = IntervalsSvg(Methods());
  const double at40 = PlaceOf(svg, "40").x, unit = (PlaceOf(svg, "50").x - at40) / 10;
  const std::vector<DrawnRow> rows = RowsOf(svg);
  ASSERT_EQ(rows.size(), 2U);
  ASSERT_EQ(rows[0].dots.size(), 3U) << "two values and the mean";
  EXPECT_NEAR(rows[0].dots[0], at40, 0.02);
  EXPECT_NEAR(rows[0].dots[1], at40 + 4 * unit, 0.02);
  EXPECT_NEAR(rows[0].dots[2], at40 + 2 * unit, 0.02);
  ASSERT_EQ(rows[0].bars.size(), 2U);
  EXPECT_NEAR(rows[0].bars[0], at40 - 8 * unit, 0.02);
  EXPECT_NEAR(rows[0].bars[1], at40 + 12 * unit, 0.02);
  EXPECT_EQ(rows[1].dots.size(), 1U);
  EXPECT_THAT(rows[1].bars, IsEmpty()) << "no error, no bar";
}

TEST(IntervalChartTest, NamesStandInTheirOrder) {
  const std::string svg = IntervalsSvg(Methods());
  EXPECT_THAT(TextsOf(svg),
              IsSupersetOf({"By method", "SGD", "a method with a longer name", "accuracy (%)"}));
  EXPECT_LT(PlaceOf(svg, "SGD").y, PlaceOf(svg, "a method with a longer name").y);
  EXPECT_THAT(TextFaults(svg), IsEmpty());
}

TEST(IntervalChartTest, ThereMustBeSomethingToDraw) {
  IntervalChart chart = Methods();
  chart.rows[0].mean = std::nan("");
  chart.rows.pop_back();
  chart.rows[0].values.clear();
  EXPECT_THAT(ErrorOf([&] { IntervalsSvg(chart); }), HasSubstr("there is nothing to draw"));
  chart.rows.clear();
  EXPECT_THAT(ErrorOf([&] { IntervalsSvg(chart); }),
              HasSubstr("chart \"By method\": there is nothing to draw"));
}

}  // namespace interval_chart_test
}  // namespace kudari::lab
