#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "lab/draw/chart.h"
#include "lab/draw/contours.h"
#include "tests/support/errors.h"
#include "tests/support/svg_boxes.h"

namespace kudari::lab {
namespace table_chart_test {

using kudari::testing::ErrorOf;
using kudari::testing::ParseSvg;
using kudari::testing::Place;
using kudari::testing::PlaceOf;
using kudari::testing::TextFaults;
using kudari::testing::TextsOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

TableChart Accuracies() {
  return {.title = "AdamW",
          .x_label = "learning rate",
          .y_label = "strength",
          .columns = {"0.001", "0.01", "0.1"},
          .rows = {{.label = "1", .values = {50, 75, 100}, .marked = {2}},
                   {.label = "0.1", .values = {60, 70, 51}, .marked = {}}}};
}

// The rectangles of a fill, which cells have, or without one, which frames have.
std::vector<pugi::xml_node> RectsOf(const pugi::xml_document& document, bool filled) {
  std::vector<pugi::xml_node> rects;
  for (const pugi::xpath_node& found : document.select_nodes("//g[@class='cells']//rect")) {
    const bool has = std::string(found.node().attribute("fill").value()).starts_with('#');
    if (has == filled) rects.push_back(found.node());
  }
  return rects;
}

TEST(TableChartTest, NumbersStandInRowsAndColumns) {
  const std::string svg = TableSvg(Accuracies());
  EXPECT_THAT(TextsOf(svg), IsSupersetOf({"AdamW", "learning rate", "strength", "0.001", "0.01",
                                          "50", "75", "100", "60", "70", "51"}));
  EXPECT_EQ(PlaceOf(svg, "75").x, PlaceOf(svg, "0.01").x);
  EXPECT_EQ(PlaceOf(svg, "75").y, PlaceOf(svg, "100").y);
  EXPECT_LT(PlaceOf(svg, "50").y, PlaceOf(svg, "60").y) << "the first row is at the top";
  EXPECT_THAT(TextFaults(svg), IsEmpty());
}

TEST(TableChartTest, ColoursGoBySize) {
  TableChart chart = Accuracies();
  const auto fills = [&] {
    const pugi::xml_document document = ParseSvg(TableSvg(chart));
    std::vector<std::string> colours;
    for (const pugi::xml_node& rect : RectsOf(document, true)) {
      colours.emplace_back(rect.attribute("fill").value());
    }
    return colours;
  };
  EXPECT_THAT(fills(), ElementsAre(Viridis(0), Viridis(0.5), Viridis(1), Viridis(0.2), Viridis(0.4),
                                   Viridis(0.02)));
  chart.z_least = 60;
  EXPECT_THAT(fills(), ElementsAre(Viridis(0), Viridis(0.375), Viridis(1), Viridis(0),
                                   Viridis(0.25), Viridis(0)));
}

TEST(TableChartTest, MarkedNumbersHaveAFrame) {
  const std::string svg = TableSvg(Accuracies());
  const pugi::xml_document document = ParseSvg(svg);
  const std::vector<pugi::xml_node> frames = RectsOf(document, false);
  ASSERT_EQ(frames.size(), 2U) << "a white one below the dark one";
  const Place text = PlaceOf(svg, "100");
  const double left = frames[0].attribute("x").as_double();
  EXPECT_NEAR(left + frames[0].attribute("width").as_double() / 2, text.x, 0.02);
}

TEST(TableChartTest, NumbersMustFit) {
  TableChart chart = Accuracies();
  chart.rows[1].values.pop_back();
  EXPECT_EQ(ErrorOf([&] { TableSvg(chart); }),
            "chart \"AdamW\", row \"0.1\": 2 values for 3 columns");
  chart = Accuracies();
  chart.rows[0].marked = {3};
  EXPECT_THAT(ErrorOf([&] { TableSvg(chart); }), HasSubstr("there is no column 3 to mark"));
  chart = Accuracies();
  for (TableChart::Row& row : chart.rows) row.values = {NAN, NAN, NAN};
  EXPECT_THAT(ErrorOf([&] { TableSvg(chart); }), HasSubstr("there is nothing to draw"));
}

}  // namespace table_chart_test
}  // namespace kudari::lab
