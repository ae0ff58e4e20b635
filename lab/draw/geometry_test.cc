#include "lab/draw/geometry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "lab/draw/labels.h"

namespace kudari::lab {
namespace geometry_test {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Box kBox{0, 0, 10, 10};

TEST(ClipLine, KeepsWhatIsInside) {
  const std::vector<Point> inside = {{1, 1}, {2, 5}, {9, 9}};
  const std::vector<LinePiece> pieces = ClipLine(inside, kBox);
  ASSERT_EQ(pieces.size(), 1U);
  EXPECT_EQ(pieces[0].points.size(), 3U);
  EXPECT_THAT(pieces[0].times, ElementsAre(0, 1, 2));
  EXPECT_THAT(ClipLine(std::vector<Point>{{20, 1}, {20, 9}}, kBox), IsEmpty());
  EXPECT_THAT(ClipLine(std::vector<Point>{{-5, 8}, {5, 18}}, kBox), IsEmpty()) << "past a corner";
}

TEST(ClipLine, EndsAtTheEdge) {
  const std::vector<Point> line = {{5, 5}, {15, 5}, {15, 8}, {-5, 8}};
  const std::vector<LinePiece> pieces = ClipLine(line, kBox);
  ASSERT_EQ(pieces.size(), 2U);
  EXPECT_DOUBLE_EQ(pieces[0].points.back().x, 10);
  EXPECT_DOUBLE_EQ(pieces[0].times.back(), 0.5);
  EXPECT_DOUBLE_EQ(pieces[1].points.front().x, 10);
  EXPECT_DOUBLE_EQ(pieces[1].points.back().x, 0);
  EXPECT_DOUBLE_EQ(pieces[1].points.back().y, 8);
  EXPECT_DOUBLE_EQ(pieces[1].times.front(), 2.25);
}

TEST(ClipLine, HasGapsWhereThereIsNoPoint) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<Point> line = {{1, 1}, {2, 2}, {3, kNan}, {4, 4}, {5, kNan}, {6, 6}, {7, 7}};
  const std::vector<LinePiece> pieces = ClipLine(line, kBox);
  ASSERT_EQ(pieces.size(), 3U);
  EXPECT_EQ(pieces[0].points.size(), 2U);
  EXPECT_EQ(pieces[1].points.size(), 1U) << "a point between gaps";
  EXPECT_EQ(pieces[2].times.front(), 5);
}

TEST(Simplified, KeepsCornersOnly) {
  std::vector<Point> line;
  for (int k = 0; k <= 10; ++k) line.push_back({static_cast<double>(k), 0.01 * (k % 2)});
  for (int k = 1; k <= 10; ++k) line.push_back({10, static_cast<double>(k)});
  const std::vector<Point> few = Simplified(line, 0.1);
  ASSERT_EQ(few.size(), 3U);
  EXPECT_EQ(few[1].x, 10);
  EXPECT_NEAR(few[1].y, 0, 0.01);
  EXPECT_EQ(Simplified(line, 0.001).size(), 12U);
}

TEST(LengthsAlong, AddUp) {
  EXPECT_THAT(LengthsAlong(std::vector<Point>{{0, 0}, {3, 4}, {3, 10}}), ElementsAre(0, 5, 11));
}

TEST(MovedApart, StayNearAndInOrder) {
  EXPECT_THAT(MovedApart({100, 20}, 15, 0, 200), ElementsAre(100, 20)) << "far enough apart";
  EXPECT_THAT(MovedApart({50, 50}, 10, 0, 200), ElementsAre(45, 55)) << "by as much";
  const std::vector<double> three = MovedApart({51, 50, 52}, 10, 0, 200);
  EXPECT_THAT(three, ElementsAre(DoubleNear(51, 1e-9), DoubleNear(41, 1e-9), DoubleNear(61, 1e-9)));
  EXPECT_THAT(MovedApart({0, 1}, 10, 0, 200), ElementsAre(0, 10)) << "not beyond the limits";
  EXPECT_THAT(MovedApart({199, 200}, 10, 0, 200), ElementsAre(190, 200));
  EXPECT_THAT(MovedApart({1, 2, 3}, 10, 0, 15), IsEmpty());
  EXPECT_THAT(MovedApart({}, 10, 0, 15), IsEmpty());
}

}  // namespace geometry_test
}  // namespace kudari::lab
