#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "lab/draw/chart.h"
#include "lab/files/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/svg_boxes.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace histograms_test {

using kudari::testing::ErrorOf;
using kudari::testing::ParseSvg;
using kudari::testing::PlaceOf;
using kudari::testing::TextFaults;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The heights of the bars of each series, by where they stand.
std::vector<std::vector<Box>> BarsOf(const std::string& svg) {
  const pugi::xml_document document = ParseSvg(svg);
  std::vector<std::vector<Box>> bars;
  for (const pugi::xpath_node& group : document.select_nodes("//g[@class='bars']")) {
    std::vector<Box>& series = bars.emplace_back();
    for (const pugi::xml_node& rect : group.node().children("rect")) {
      const double x = rect.attribute("x").as_double(), y = rect.attribute("y").as_double();
      series.push_back({x, y, x + rect.attribute("width").as_double(),
                        y + rect.attribute("height").as_double()});
    }
  }
  return bars;
}

// 1 value in the first of ten bins, 4 in the sixth and 2 in the last, and those that do not count.
Histogram TenBins() {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return {.title = "weights",
          .x_label = "w",
          .series = {{"start", {0, 0.5, 0.51, 0.55, 0.59, 0.95, 1, kInfinity, std::nan("")}},
                     {"end", {0.5, 0.5}}},
          .bins = 10};
}

TEST(Histograms, BarsAreCounts) {
  const std::string svg = HistogramsSvg({TenBins()});
  const std::vector<std::vector<Box>> bars = BarsOf(svg);
  ASSERT_EQ(bars.size(), 2U);
  ASSERT_EQ(bars[0].size(), 3U) << "empty bins have none";
  // Four is the axis' end, and the ticks say where.
  const double unit = (PlaceOf(svg, "2").y - PlaceOf(svg, "4").y) / 2;
  EXPECT_NEAR(bars[0][0].Height(), 1 * unit, 0.02);
  EXPECT_NEAR(bars[0][1].Height(), 4 * unit, 0.02);
  EXPECT_NEAR(bars[0][2].Height(), 2 * unit, 0.02) << "the end belongs to the last bin";
  ASSERT_EQ(bars[1].size(), 1U);
  EXPECT_NEAR(bars[1][0].Height(), 2 * unit, 0.02);
  EXPECT_EQ(bars[1][0].left, bars[0][1].left) << "the bins are those of both";
  EXPECT_NEAR(PlaceOf(svg, "0.5").x, bars[0][1].left, 1);
  EXPECT_THAT(TextFaults(svg), IsEmpty());
}

TEST(Histograms, OneLabelIsOneColour) {
  Histogram other = TenBins();
  std::reverse(other.series.begin(), other.series.end());
  other.title = "biases";
  const std::string svg = HistogramsSvg({TenBins(), other, TenBins(), other, TenBins()});
  const pugi::xml_document document = ParseSvg(svg);
  std::vector<std::string> colours;
  for (const pugi::xpath_node& group : document.select_nodes("//g[@class='bars']")) {
    colours.emplace_back(group.node().child("rect").attribute("fill").value());
  }
  ASSERT_EQ(colours.size(), 10U);
  EXPECT_EQ(colours[0], colours[3]);
  EXPECT_EQ(colours[1], colours[2]);
  EXPECT_NE(colours[0], colours[1]);
  EXPECT_GT(PlaceOf(svg, "biases").x, PlaceOf(svg, "weights").x);
  EXPECT_THAT(TextFaults(svg), IsEmpty());
}

TEST(Histograms, ASingleValueIsDrawn) {
  EXPECT_EQ(BarsOf(HistogramsSvg({{.series = {{"", {3, 3, 3}}}}}))[0].size(), 1U);
}

TEST(Histograms, WhatCannotBeDrawnIsAnError) {
  EXPECT_THAT(ErrorOf([] {
                HistogramsSvg({{.title = "t", .series = {{"", {std::nan("")}}}}});
              }),
              HasSubstr("histogram \"t\": there is nothing to draw"));
  Histogram none = TenBins();
  none.bins = 0;
  EXPECT_THAT(ErrorOf([&] { HistogramsSvg({none}); }), HasSubstr("histogram \"weights\": 0 bins"));
  const kudari::testing::TemporaryFolder dir;
  EXPECT_THAT(ErrorOf([&] { DrawHistograms({TenBins()}, dir / "h.pdf"); }),
              HasSubstr("h.pdf: a picture must be named .svg or .png"));
  DrawHistograms({TenBins()}, dir / "h.svg");
  EXPECT_EQ(ReadTextFile(dir / "h.svg"), HistogramsSvg({TenBins()}));
}

}  // namespace histograms_test
}  // namespace kudari::lab
