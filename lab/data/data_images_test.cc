// Fashion-MNIST and CIFAR-100; data_test.cc tests the readers that they share with MNIST and
// CIFAR-10.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "kudari/error.h"
#include "lab/data/data.h"
#include "tests/support/data_fixture.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace data_images_test {

namespace fs = std::filesystem;
using kudari::testing::DataOf;
using kudari::testing::ErrorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using DataImages = kudari::testing::DataFixture;

std::string Dimensions(std::initializer_list<uint32_t> numbers) {
  std::string bytes;
  for (const uint32_t n : numbers) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(n >> shift & 0xff);
  }
  return bytes;
}

void WriteIdx(const fs::path& folder, char first) {
  for (const char* part : {"train", "t10k"}) {
    std::string pixels = Dimensions({0x803, 10, 2, 2}), labels = Dimensions({0x801, 10});
    for (char i = 0; i < 10; ++i) {
      labels += i;
      pixels += {first, i, i, i};
    }
    fs::create_directories(folder);
    std::ofstream(folder / (std::string(part) + "-images-idx3-ubyte")) << pixels;
    std::ofstream(folder / (std::string(part) + "-labels-idx1-ubyte")) << labels;
  }
}

TEST_F(DataImages, FashionMnistIsNotTakenForMnist) {
  WriteIdx(".data/mnist", 1);
  EXPECT_EQ(ErrorOf([] { LoadData("fashion-mnist", "", 1, 0); }),
            "data: no train-images-idx3-ubyte, plain, .gz or .xz, in .data/fashion-mnist; download "
            "it with kudari data get fashion-mnist, or set data.path in the recipe or KUDARI_DATA "
            "to the folder that holds it");
  // Where only MNIST can be, in $KUDARI_DATA itself, it is not looked for.
  setenv("KUDARI_DATA", ".data/mnist", 1);
  EXPECT_THAT(ErrorOf([] { LoadData("fashion-mnist", "", 1, 0); }),
              HasSubstr("in .data/mnist/fashion-mnist, .data/fashion-mnist; "));
  WriteIdx(".data/fashion-mnist", 9);
  const Dataset fashion = LoadData("fashion-mnist", "", 1, 0), mnist = LoadData("mnist", "", 1, 0);
  EXPECT_EQ(fashion.name, "fashion-mnist");
  EXPECT_EQ(fashion.classes, 10);
  EXPECT_THAT(fashion.shape, ElementsAre(1, 2, 2));
  EXPECT_THAT(fashion.test.labels, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  EXPECT_NE(fashion.train.x, mnist.train.x);
  EXPECT_EQ(LoadData("fashion-mnist", ".data/mnist", 1, 0).train.x, mnist.train.x);
}

// Records whose coarse label is a fifth of the fine one; every pixel is the number of the record.
std::string Cifar100Records(int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) {
    bytes += {static_cast<char>(i % 100 / 5), static_cast<char>(i % 100)};
    bytes.append(3072, static_cast<char>(i));
  }
  return bytes;
}

Dataset LoadCifar100(const std::string& options) {
  return LoadData(DataOf("name = \"cifar100\"\nvalidation = 0\n" + options), 1);
}

TEST_F(DataImages, Cifar100HasFineAndCoarseLabels) {
  Write(".data/cifar100/train.bin", Cifar100Records(200));
  Write(".data/cifar100/test.bin", Cifar100Records(100));
  const Dataset fine = LoadCifar100(""), coarse = LoadCifar100("labels = \"coarse\"\n");
  EXPECT_EQ(fine.classes, 100);
  EXPECT_EQ(coarse.classes, 20);
  EXPECT_THAT(fine.shape, ElementsAre(3, 32, 32));
  EXPECT_EQ(fine.train.samples, 200);
  EXPECT_EQ(fine.test.samples, 100);
  const float level = fine.test.x[3072] - fine.test.x[0];
  EXPECT_GT(level, 0);
  for (size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(fine.test.labels[i], static_cast<int64_t>(i));
    EXPECT_EQ(coarse.test.labels[i], static_cast<int64_t>(i / 5));
    EXPECT_EQ(fine.test.x[i * 3072], fine.test.x[i * 3072 + 3071]);
    EXPECT_NEAR(fine.test.x[i * 3072] - fine.test.x[0], level * static_cast<float>(i), 1e-4);
  }
  EXPECT_THAT(ErrorOf([] { LoadCifar100("labels = \"corse\"\n"); }), HasSubstr("\"coarse\""));
}

TEST_F(DataImages, DamagedCifar100IsNamed) {
  EXPECT_THAT(ErrorOf([] { LoadCifar100(""); }),
              HasSubstr("no train.bin, plain, .gz or .xz, in .data/cifar100, "
                        ".data/cifar-100-binary; download it with kudari data get cifar100"));
  Write(".data/cifar100/train.bin", Cifar100Records(2));
  EXPECT_EQ(ErrorOf([] { LoadCifar100(""); }),
            ".data/cifar100: has no test.bin, plain, .gz or .xz");
  Write(".data/cifar100/test.bin", Cifar100Records(2).substr(1));
  EXPECT_EQ(ErrorOf([] { LoadCifar100(""); }),
            ".data/cifar100/test.bin: has 6147 bytes, which is not a multiple of the record size, "
            "3074");
  std::string wrong = Cifar100Records(2);
  wrong[3074 + 1] = 100;
  Write(".data/cifar100/test.bin", wrong);
  EXPECT_EQ(ErrorOf([] { LoadCifar100(""); }),
            ".data/cifar100/test.bin: sample 1 has label 100, but must have one from 0 to 99");
  wrong[3074] = 20;
  Write(".data/cifar100/test.bin", wrong);
  EXPECT_EQ(ErrorOf([] { LoadCifar100("labels = \"coarse\"\n"); }),
            ".data/cifar100/test.bin: sample 1 has label 20, but must have one from 0 to 19");
}

}  // namespace data_images_test
}  // namespace kudari::lab
