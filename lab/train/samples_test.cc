// Samples that are read when a batch needs them, as tensors.
#include "lab/train/samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

#include "kudari/error.h"
#include "lab/data/data.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace samples_test {

using kudari::testing::ErrorOf;

// 50 samples of 1x2x3, in reverse order, each filled with its number; one of them is damaged.
Dataset Unread() {
  Dataset data{.name = "unread", .shape = {1, 2, 3}, .classes = 5};
  for (int64_t i = 0; i < 50; ++i) {
    data.train.rows.push_back(49 - i);
    data.train.labels.push_back((49 - i) % 5);
  }
  data.train.samples = 50;
  data.train.read = [](int64_t row, std::span<float> values) {
    EXPECT_EQ(values.size(), 6U);
    if (row == 13) throw Error("sample 13 is damaged");
    for (float& value : values) value = static_cast<float>(row);
  };
  return data;
}

TEST(FileSamples, AreReadByTheBatch) {
  Dataset data = Unread();
  const Samples samples = ToSamples(data.train, data);
  EXPECT_EQ(samples.size(), 50);
  const std::vector<int64_t> rows = {49, 0, 7, 0};
  const Batch batch = samples.Rows(rows);
  EXPECT_EQ(batch.x.sizes(), (std::vector<int64_t>{4, 1, 2, 3}));
  for (int64_t i = 0; i < 4; ++i) {
    const int64_t row = 49 - rows[static_cast<size_t>(i)];
    EXPECT_TRUE((batch.x[i] == static_cast<double>(row)).all().item<bool>());
    EXPECT_EQ(batch.y[i].item<int64_t>(), row % 5);
  }
  const Batch range = samples.First(10).Range(2, 3);
  EXPECT_EQ(range.x.index({1, 0, 1, 2}).item<float>(), 46);
  EXPECT_EQ(range.y[1].item<int64_t>(), 1);
}

TEST(FileSamples, MayHaveTargets) {
  Dataset data = Unread();
  data.classes = 0;
  data.target_size = 2;
  data.train.labels.clear();
  for (int i = 0; i < 100; ++i) data.train.targets.push_back(static_cast<float>(i));
  const Batch batch = ToSamples(data.train, data).Range(3, 2);
  EXPECT_EQ(batch.y.sizes(), (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(batch.y[1][0].item<float>(), 8);
}

TEST(FileSamples, ErrorsPassThroughThreads) {
  Dataset data = Unread();
  const Samples samples = ToSamples(data.train, data);
  EXPECT_EQ(ErrorOf([&] { samples.All(); }), "sample 13 is damaged");
}

}  // namespace samples_test
}  // namespace kudari::lab
