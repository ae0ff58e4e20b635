#include "lab/models/parts/detection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace kudari::lab {
namespace {

using ::testing::ElementsAre;

Box At(int64_t label, double left, double top, double right, double bottom, double score = 1) {
  return {
      .label = label, .left = left, .top = top, .right = right, .bottom = bottom, .score = score};
}

TEST(Detection, BoxesOverlap) {
  const Box a = At(0, 0, 0, 2, 2);
  EXPECT_DOUBLE_EQ(IntersectionOverUnion(a, a), 1);
  EXPECT_DOUBLE_EQ(IntersectionOverUnion(a, At(0, 1, 1, 3, 3)), 1.0 / 7);
  EXPECT_DOUBLE_EQ(IntersectionOverUnion(a, At(0, 0, 0, 1, 1)), 1.0 / 4);
  EXPECT_DOUBLE_EQ(IntersectionOverUnion(a, At(0, 2, 0, 3, 2)), 0);  // beside it
  EXPECT_DOUBLE_EQ(IntersectionOverUnion(a, At(0, 5, 5, 4, 4)), 0);  // inside out
  EXPECT_DOUBLE_EQ(IntersectionOverUnion(At(0, 1, 1, 1, 1), At(0, 1, 1, 1, 1)), 0);
}

TEST(Detection, TheSurestOfABunchStays) {
  const std::vector<Box> kept = Suppress({At(0, 0, 0, 2, 2, 0.3), At(0, 0, 0, 2, 2.2, 0.9),
                                          At(1, 0, 0, 2, 2, 0.5), At(0, 1, 1, 3, 3, 0.4)},
                                         0.5);
  ASSERT_EQ(kept.size(), 3U);
  EXPECT_EQ(kept[0].score, 0.9);
  EXPECT_EQ(kept[1].label, 1);
  EXPECT_EQ(kept[2].score, 0.4);  // of another place
}

// Boxes that were found, with their scores, right or wrong: the published worked example of Padilla
// et al., A survey on performance metrics for object-detection algorithms, 2020 (24 boxes for 15
// true ones; average precision 24.56 %).
TEST(Detection, PrecisionIsThatOfAPublishedExample) {
  struct Given {
    double score;
    bool right;
  };
  const std::vector<Given> given = {
      {0.95, true},  {0.95, false}, {0.91, true},  {0.88, false}, {0.84, false}, {0.80, false},
      {0.78, false}, {0.74, false}, {0.71, false}, {0.70, true},  {0.67, false}, {0.62, true},
      {0.54, true},  {0.48, true},  {0.45, false}, {0.45, false}, {0.44, false}, {0.44, false},
      {0.43, false}, {0.38, false}, {0.35, false}, {0.23, true},  {0.18, false}, {0.14, false}};
  // One image a box, and eight true boxes that nothing finds.
  std::vector<std::vector<Box>> found, truth;
  for (const Given& g : given) {
    found.push_back({At(0, 0, 0, 1, 1, g.score)});
    truth.emplace_back();
    if (g.right) truth.back().push_back(At(0, 0, 0, 1, 1));
  }
  for (int i = 0; i < 8; ++i) {
    found.emplace_back();
    truth.push_back({At(0, 0, 0, 1, 1)});
  }
  EXPECT_NEAR(MeanAveragePrecision(found, truth, 1, 0.5), 0.2456, 5e-5);
}

TEST(Detection, EachTrueBoxIsFoundOnce) {
  const std::vector<std::vector<Box>> truth = {{At(0, 0, 0, 1, 1), At(1, 0, 0, 1, 1)}};
  const auto map = [&](std::vector<Box> found) {
    return MeanAveragePrecision({std::move(found)}, truth, 3, 0.5);
  };
  EXPECT_DOUBLE_EQ(map({At(0, 0, 0, 1, 1), At(1, 0, 0, 1, 1)}), 1);
  EXPECT_DOUBLE_EQ(map({At(0, 0, 0, 1, 1)}), 0.5);
  EXPECT_DOUBLE_EQ(map({}), 0);
  // The second of the same is wrong, and costs nothing behind all right ones.
  EXPECT_DOUBLE_EQ(map({At(0, 0, 0, 1, 1, 0.9), At(0, 0, 0, 1, 1, 0.8), At(1, 0, 0, 1, 1)}), 1);
  // A wrong one before it halves the precision; one of another class is a miss.
  EXPECT_DOUBLE_EQ(map({At(0, 5, 5, 6, 6, 0.9), At(0, 0, 0, 1, 1, 0.8)}), 0.25);
  EXPECT_DOUBLE_EQ(map({At(2, 0, 0, 1, 1)}), 0);
  // Half of it is just enough, less is not.
  EXPECT_DOUBLE_EQ(map({At(0, 0, 0, 1, 0.5)}), 0.5);
  EXPECT_DOUBLE_EQ(map({At(0, 0, 0, 1, 0.49)}), 0);
  EXPECT_TRUE(std::isnan(MeanAveragePrecision({{}}, {{}}, 3, 0.5)));
}

}  // namespace
}  // namespace kudari::lab
