#include "lab/train/faults.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kudari/error.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace faults_test {

Dataset Numbered(int64_t samples, int64_t classes) {
  Dataset data{.name = "numbers", .shape = {2}, .classes = classes};
  data.train.samples = samples;
  for (int64_t i = 0; i < samples; ++i) {
    data.train.x.push_back(static_cast<float>(i));
    data.train.x.push_back(-1);
    if (classes > 0) data.train.labels.push_back(i % classes);
  }
  return data;
}

FaultConfig Bad(double begin, double end, const std::string& what = "labels") {
  FaultConfig faults;
  faults.bad_begin = begin;
  faults.bad_end = end;
  faults.bad = what;
  return faults;
}

TEST(Faults, SpoilsLabelsOfAStretch) {
  Dataset data = Numbered(1000, 10);
  SpoilData(Bad(0.2, 0.5), 1, data);
  int wrong = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    const bool is_wrong = data.train.labels[static_cast<size_t>(i)] != i % 10;
    if (i < 200 || i >= 500) {
      EXPECT_FALSE(is_wrong) << i;
    }
    wrong += is_wrong ? 1 : 0;
  }
  EXPECT_NEAR(wrong, 270, 25);  // one in ten is right by chance
  EXPECT_EQ(data.train.x, Numbered(1000, 10).train.x);
  Dataset again = Numbered(1000, 10), other = Numbered(1000, 10);
  SpoilData(Bad(0.2, 0.5), 1, again);
  SpoilData(Bad(0.2, 0.5), 2, other);
  EXPECT_EQ(again.train.labels, data.train.labels);
  EXPECT_NE(other.train.labels, data.train.labels);
}

TEST(Faults, SpoilsInputsOfAStretch) {
  Dataset data = Numbered(10, 2);
  SpoilData(Bad(0.5, 0.7, "inputs"), 1, data);
  const std::vector<float> x = {0,  -1,  1,  -1,  2, -1, 3, -1, 4, -1,
                                50, -10, 60, -10, 7, -1, 8, -1, 9, -1};
  EXPECT_EQ(data.train.x, x);
}

TEST(Faults, SpoilsNothingUnlessAsked) {
  Dataset data = Numbered(10, 2);
  SpoilData({}, 1, data);
  SpoilData(Bad(0.5, 0.5, "inputs"), 1, data);
  EXPECT_EQ(data.train.x, Numbered(10, 2).train.x);
  EXPECT_EQ(data.train.labels, Numbered(10, 2).train.labels);
}

TEST(Faults, LabelsNeedClasses) {
  Dataset data = Numbered(10, 0);
  EXPECT_EQ(testing::ErrorOf([&] { SpoilData(Bad(0, 0.5), 1, data); }),
            "fault.bad = \"labels\": numbers has none");
}

}  // namespace faults_test
}  // namespace kudari::lab
