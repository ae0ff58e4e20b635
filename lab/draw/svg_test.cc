#include "lab/draw/svg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "tests/support/read_svg.h"

namespace kudari::lab {
namespace svg_test {

using kudari::testing::ParseSvg;
using kudari::testing::TextsOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ShortNumber, HasNoMoreThanItNeeds) {
  EXPECT_EQ(ShortNumber(12), "12");
  EXPECT_EQ(ShortNumber(0.5), "0.5");
  EXPECT_EQ(ShortNumber(1.005001), "1.01");
  EXPECT_EQ(ShortNumber(-0.001), "0");
  EXPECT_EQ(ShortNumber(-3.25, 1), "-3.2");
  EXPECT_EQ(ShortNumber(1200, 0), "1200");
}

TEST(TextWidth, CountsCharacters) {
  EXPECT_EQ(TextWidth("", 10), 0);
  EXPECT_LT(TextWidth("iiii", 10), TextWidth("mmmm", 10));
  EXPECT_DOUBLE_EQ(TextWidth("loss", 20), 2 * TextWidth("loss", 10));
  // Two bytes of UTF-8 are one character, and an ideograph is a square.
  EXPECT_DOUBLE_EQ(TextWidth("é", 10), 6.4);
  EXPECT_DOUBLE_EQ(TextWidth("損失", 10), 20);
}

TEST(FittedText, IsCutAtCharacters) {
  EXPECT_EQ(FittedText("loss", 10, 100), "loss");
  EXPECT_EQ(FittedText("ééééé", 10, 25), "éé…");
  EXPECT_LE(TextWidth(FittedText("a long text that is cut", 13, 80), 13), 80);
}

TEST(PathData, StepsAddUpToPlaces) {
  EXPECT_EQ(PathData(std::vector<Point>{{1, 2}, {3.5, 2}, {3, -1.25}}), "M1 2l2.5 0-0.5-3.3");
  EXPECT_EQ(PathData(std::vector<Point>{{0, 0}, {1, 0}, {1, 1}}, true), "M0 0l1 0 0 1z");
  // A thousand steps of 0.04 are 40 pixels, however they are rounded.
  std::vector<Point> line;
  for (int k = 0; k <= 1000; ++k) line.push_back({0.04 * k, 0});
  const std::string data = PathData(line);
  std::istringstream steps(data.substr(data.find('l') + 1));
  double x = 0;
  for (double dx = 0, dy = 0; steps >> dx >> dy;) x += dx;
  EXPECT_NEAR(x, 40, 1e-9);
}

TEST(SvgDocument, HasTitleSizeAndRole) {
  const SvgDocument svg(300, 200.5, "A <title>", "What & why");
  const pugi::xml_document document = ParseSvg(svg.Text());
  const pugi::xml_node root = document.child("svg");
  EXPECT_STREQ(root.attribute("role").value(), "img");
  EXPECT_STREQ(root.attribute("viewBox").value(), "0 0 300 200.5");
  EXPECT_STREQ(root.attribute("width").value(), "300");
  EXPECT_STREQ(root.child("title").text().get(), "A <title>");
  EXPECT_STREQ(root.child("desc").text().get(), "What & why");
  EXPECT_STREQ(root.child("rect").attribute("fill").value(), "white");
  EXPECT_THAT(svg.Text(), EndsWith("</svg>\n"));
}

TEST(SvgDocument, TextsAreTextsWhateverIsInThem) {
  SvgDocument svg(10, 10, "\x01", "");
  svg.root().Text({1, 2}, "</text><script>&amp;\"'");
  svg.root().Text({1, 2}, "two\nlines, \x1b[0m and \xff");
  const std::string text = svg.Text();
  EXPECT_THAT(TextsOf(text),
              ElementsAre("</text><script>&amp;\"'", "two lines, \\x1b[0m and \\xff"));
  EXPECT_THAT(text, Not(HasSubstr("<script")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(SvgDocument, ElementsHaveTheirAttributes) {
  SvgDocument svg(10, 10, "", "");
  SvgElement group = svg.root().Group("lines");
  group.Line({1, 2}, {3, 4}, {.stroke = "red", .width = 2, .opacity = 0.5, .dashes = "1 2"});
  group.Circle({5, 6}, 7, {.fill = "blue"});
  group.Text({8, 9}, "x", {.size = 11, .anchor = Anchor::kEnd, .semibold = true, .halo = true});
  const pugi::xml_document document = ParseSvg(svg.Text());
  const pugi::xml_node g = document.child("svg").child("g");
  EXPECT_STREQ(g.attribute("class").value(), "lines");
  const pugi::xml_node line = g.child("line");
  EXPECT_EQ(line.attribute("y2").as_double(), 4);
  EXPECT_STREQ(line.attribute("fill").value(), "none");
  EXPECT_STREQ(line.attribute("stroke-dasharray").value(), "1 2");
  EXPECT_EQ(line.attribute("opacity").as_double(), 0.5);
  EXPECT_FALSE(g.child("circle").attribute("stroke"));
  EXPECT_EQ(g.child("circle").attribute("r").as_double(), 7);
  EXPECT_STREQ(g.child("text").attribute("text-anchor").value(), "end");
  EXPECT_STREQ(g.child("text").attribute("paint-order").value(), "stroke");
  EXPECT_EQ(g.child("text").attribute("font-size").as_double(), 11);
}

}  // namespace svg_test
}  // namespace kudari::lab
