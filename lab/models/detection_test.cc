#include "lab/models/parts/detection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

namespace kudari::lab {
namespace detection_test {

ObjectBox At(int64_t label, double left, double top, double right, double bottom,
             double score = 1) {
  return {
      .label = label, .left = left, .top = top, .right = right, .bottom = bottom, .score = score};
}

TEST(Detection, BoxesOverlap) {
  const ObjectBox a = At(0, 0, 0, 2, 2);
  EXPECT_DOUBLE_EQ(IntersectionOverUnion(a, a), 1);
  EXPECT_DOUBLE_EQ(IntersectionOverUnion(a, At(0, 1, 1, 3, 3)), 1.0 / 7);
  EXPECT_DOUBLE_EQ(IntersectionOverUnion(a, At(0, 0, 0, 1, 1)), 1.0 / 4);
  EXPECT_DOUBLE_EQ(IntersectionOverUnion(a, At(0, 2, 0, 3, 2)), 0);  // beside it
  EXPECT_DOUBLE_EQ(IntersectionOverUnion(a, At(0, 5, 5, 4, 4)), 0);  // inside out
  EXPECT_DOUBLE_EQ(IntersectionOverUnion(At(0, 1, 1, 1, 1), At(0, 1, 1, 1, 1)), 0);
}

TEST(Detection, TheSurestOfABunchStays) {
  const std::vector<ObjectBox> kept = Suppress({At(0, 0, 0, 2, 2, 0.3), At(0, 0, 0, 2, 2.2, 0.9),
                                                At(1, 0, 0, 2, 2, 0.5), At(0, 1, 1, 3, 3, 0.4)},
                                               0.5);
  ASSERT_EQ(kept.size(), 3U);
  EXPECT_EQ(kept[0].score, 0.9);
  EXPECT_EQ(kept[1].label, 1);
  EXPECT_EQ(kept[2].score, 0.4);  // of another place
}

// tests/golden/data/own_losses.json: what COCO's own program says of random boxes.
TEST(Detection, PrecisionIsCocos) {
  std::ifstream file(KUDARI_SOURCE_DIR "/tests/golden/data/own_losses.json");
  const auto golden = nlohmann::json::parse(file)["detection"];
  const auto boxes = [&](const char* which) {
    std::vector<std::vector<ObjectBox>> all;
    for (const auto& image : golden[which]) {
      all.emplace_back();
      for (const std::vector<double> row : image) {
        all.back().push_back(At(static_cast<int64_t>(row[0]), row[1], row[2], row[3], row[4],
                                row.size() > 5 ? row[5] : 1));
      }
    }
    return all;
  };
  ASSERT_EQ(golden["truth"].size(), 12U);
  EXPECT_NEAR(MeanAveragePrecision(boxes("found"), boxes("truth"), 3, 0.5),
              golden["map"].get<double>(), 1e-12);
}

TEST(Detection, EachTrueBoxIsFoundOnce) {
  const std::vector<std::vector<ObjectBox>> truth = {{At(0, 0, 0, 1, 1), At(1, 0, 0, 1, 1)}};
  const auto map = [&](std::vector<ObjectBox> found) {
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

}  // namespace detection_test
}  // namespace kudari::lab
