// Folders of images: image_folder.cc, parts/resize.cc and files/decode_image.cc. What Pillow
// decodes and scales is in tests/golden/data/lab_data/images, from make_images.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "kudari/error.h"
#include "lab/data/data.h"
#include "lab/data/parts/resize.h"
#include "lab/files/decode_image.h"
#include "lab/files/text_file.h"
#include "tests/support/data_fixture.h"
#include "tests/support/errors.h"

namespace kudari::lab {
namespace image_folder_test {

namespace fs = std::filesystem;
using kudari::testing::DataOf;
using kudari::testing::ErrorOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const fs::path kImages = fs::path(KUDARI_SOURCE_DIR) / "tests/golden/data/lab_data/images";

nlohmann::json Golden() { return nlohmann::json::parse(ReadTextFile(kImages / "images.json")); }
std::string Bytes(const std::string& name) { return ReadTextFile(kImages / name); }

TEST(DecodeImage, AgreesWithPillow) {
  const nlohmann::json golden = Golden();
  EXPECT_GE(golden.size(), 11U);
  for (const auto& [name, expected] : golden.items()) {
    SCOPED_TRACE(name);
    const Image image = DecodeImage(Bytes(name));
    EXPECT_NO_THROW(CheckImageHeader(kImages / name));
    ASSERT_EQ(image.width, expected["size"][0].get<int64_t>());
    ASSERT_EQ(image.height, expected["size"][1].get<int64_t>());
    ASSERT_EQ(std::ssize(image.rgb), 3 * image.width * image.height);
    // Pillow converts CMYK without rounding to the nearest; JPEG itself is decoded alike.
    const int most = name == "cmyk.jpg" ? 2 : name == "deep.png" ? 1 : 0;
    const auto& pixels = expected["pixels"];
    for (size_t y = 0; y < pixels.size(); ++y) {
      for (size_t x = 0; x < pixels[y].size(); ++x) {
        for (size_t c = 0; c < 3; ++c) {
          const size_t at = (8 * y * static_cast<size_t>(image.width) + 8 * x) * 3 + c;
          EXPECT_NEAR(image.rgb[at], pixels[y][x][c].get<int>(), most) << y << " " << x << " " << c;
        }
      }
    }
  }
}

TEST(ResizeAndCrop, AgreesWithPillow) {
  const nlohmann::json golden = Golden();
  for (const auto& [name, expected] : golden.items()) {
    const Image image = DecodeImage(Bytes(name));
    for (const auto& [sides, pixels] : expected["resized"].items()) {
      SCOPED_TRACE(name + " " + sides);
      const int64_t shorter = std::stol(sides), size = std::stol(sides.substr(sides.find(' ')));
      const auto n = static_cast<size_t>(size);
      std::vector<float> out(3 * n * n, -1);
      ResizeAndCrop(image, shorter, size, out);
      for (size_t y = 0; y < pixels.size(); ++y) {
        for (size_t x = 0; x < pixels[y].size(); ++x) {
          for (size_t c = 0; c < 3; ++c) {
            // Pillow rounds twice, after each direction.
            EXPECT_NEAR(out[(c * n + 4 * y) * n + 4 * x], pixels[y][x][c].get<int>(),
                        name == "cmyk.jpg" ? 3 : 1.51)
                << y << " " << x << " " << c;
          }
        }
      }
    }
  }
}

TEST(ResizeAndCrop, LeavesAnImageOfTheRightSize) {
  const Image image = DecodeImage(Bytes("rgb.png"));
  std::vector<float> out(size_t{3} * 41 * 41);
  ResizeAndCrop(image, 41, 41, out);
  for (size_t y = 0; y < 41; ++y) {
    for (size_t x = 0; x < 41; ++x) {
      EXPECT_NEAR(out[y * 41 + x], image.rgb[(y * 57 + x + 8) * 3], 1e-3);
    }
  }
}

TEST(DecodeImage, DamageIsAnError) {
  for (const char* name : {"rgb.jpg", "progressive.jpg", "rgb.png", "palette.png"}) {
    const std::string whole = Bytes(name);
    for (size_t size = 0; size + 16 < whole.size(); size += 1 + whole.size() / 60) {
      EXPECT_NE(ErrorOf([&] { DecodeImage(whole.substr(0, size)); }), "no error")
          << name << " " << size;
    }
    // Whatever bytes are wrong: an error or another picture, nothing else.
    for (size_t at = 0; at < whole.size(); at += 1 + whole.size() / 300) {
      std::string wrong = whole;
      wrong[at] = static_cast<char>(wrong[at] ^ 0x55);
      ErrorOf([&] { DecodeImage(wrong); });
    }
  }
  EXPECT_EQ(ErrorOf([] { DecodeImage(""); }), "is empty");
  EXPECT_EQ(ErrorOf([] { DecodeImage("GIF89a"); }), "is neither a JPEG nor a PNG");
  std::string wrong = Bytes("rgb.png");
  wrong[wrong.size() / 2] = static_cast<char>(wrong[wrong.size() / 2] ^ 1);
  EXPECT_THAT(ErrorOf([&] { DecodeImage(wrong); }), HasSubstr("is a damaged PNG: "));
  EXPECT_THAT(ErrorOf([] { DecodeImage(Bytes("rgb.jpg").substr(0, 700)); }),
              HasSubstr("is a damaged JPEG: "));
}

// Sizes are refused before there is memory for them.
TEST(DecodeImage, SizesAreLimited) {
  std::string jpeg = Bytes("rgb.jpg");
  const size_t frame = jpeg.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\xFF\xDC\xFF\xDC");
  EXPECT_EQ(ErrorOf([&] { DecodeImage(jpeg); }),
            "has 65500 by 65500 pixels, which is outside [1, 67108864] in all");
}

class ImageFolder : public kudari::testing::DataFixture {
 protected:
  static void Copy(const std::string& name, const fs::path& to) { Write(to, Bytes(name)); }
  static void WriteClasses() {
    for (const char* part : {"train", "val"}) {
      Copy("rgb.jpg", fs::path("d") / part / "cat" / "b.JPG");
      Copy("rgb.png", fs::path("d") / part / "cat" / "more" / "a.png");
      Copy("grey.png", fs::path("d") / part / "ant" / "x.jpeg");
      Write(fs::path("d") / part / "ant" / "notes.txt", "not an image");
    }
    Copy("tall.png", "d/train/ant/y.png");
  }
  static Dataset Load(const std::string& options = "") {
    return LoadData(
        DataOf("name = \"image-folder\"\npath = \"d\"\nsize = 8\nresize = 10\n" + options), 1);
  }
  static std::vector<float> Sample(const Dataset& data, const Split& split, size_t i) {
    std::vector<float> values(static_cast<size_t>(data.shape[0] * data.shape[1] * data.shape[2]));
    split.read(split.rows.at(i), values);
    return values;
  }
};

TEST_F(ImageFolder, HasAClassForEachFolder) {
  WriteClasses();
  const Dataset data = Load();
  EXPECT_EQ(data.name, "d");
  EXPECT_THAT(data.shape, ElementsAre(3, 8, 8));
  EXPECT_EQ(data.classes, 2);
  EXPECT_THAT(data.train.labels, ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(data.train.rows, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(data.validation.labels, ElementsAre(0, 1, 1));
  EXPECT_EQ(data.train.samples, 4);
  EXPECT_EQ(data.test.samples, 0);
  EXPECT_THAT(data.train.x, IsEmpty());
  EXPECT_THAT(data.skipped, IsEmpty());
  // b.JPG comes before more/a.png; the values are those of the scaled image, normalised.
  std::vector<float> expected(size_t{3} * 64);
  ResizeAndCrop(DecodeImage(Bytes("rgb.jpg")), 10, 8, expected);
  const std::vector<float> sample = Sample(data, data.train, 2);
  const double mean[] = {0.485, 0.456, 0.406}, deviation[] = {0.229, 0.224, 0.225};
  for (size_t i = 0; i < sample.size(); ++i) {
    EXPECT_NEAR(sample[i], (expected[i] / 255 - mean[i / 64]) / deviation[i / 64], 1e-5);
  }
  Copy("rgb.png", "d/test/ant/1.png");
  EXPECT_THAT(Load().test.labels, ElementsAre(0));
}

TEST_F(ImageFolder, SplitsKeepWhatIsRead) {
  for (int i = 0; i < 10; ++i) {
    Copy(i % 2 == 0 ? "rgb.png" : "tall.png", "d/train/a/" + std::to_string(i) + ".png");
    Copy("grey.png", "d/train/b/" + std::to_string(i) + ".png");
  }
  Dataset data = Load("validation = 0.2\n");
  EXPECT_EQ(data.train.samples, 16);
  EXPECT_EQ(data.validation.samples, 4);
  KeepSamples(data, 5, 1);
  EXPECT_EQ(data.train.rows.size(), 5U);
  for (const Split* split : {&data.train, &data.validation}) {
    for (size_t i = 0; i < split->rows.size(); ++i) {
      const int64_t row = split->rows[i];
      EXPECT_EQ(split->labels[i], row < 10 ? 0 : 1);
      const auto file = row >= 10 ? "grey.png" : row % 2 == 0 ? "rgb.png" : "tall.png";
      std::vector<float> expected(size_t{3} * 64);
      ResizeAndCrop(DecodeImage(Bytes(file)), 10, 8, expected);
      EXPECT_NEAR(Sample(data, *split, i)[0], (expected[0] / 255 - 0.485) / 0.229, 1e-5);
    }
  }
}

TEST_F(ImageFolder, GreyHasOneChannel) {
  WriteClasses();
  const Dataset data = Load("grey = true\nmean = [0]\nstd = [1]\n");
  EXPECT_THAT(data.shape, ElementsAre(1, 8, 8));
  std::vector<float> expected(size_t{3} * 64);
  ResizeAndCrop(DecodeImage(Bytes("rgb.jpg")), 10, 8, expected);
  const std::vector<float> sample = Sample(data, data.train, 2);
  for (size_t i = 0; i < 64; ++i) {
    EXPECT_NEAR(sample[i],
                (0.299 * expected[i] + 0.587 * expected[64 + i] + 0.114 * expected[128 + i]) / 255,
                1e-5);
  }
}

TEST_F(ImageFolder, DamagedImagesAreRefusedOrSkipped) {
  WriteClasses();
  Write("d/train/ant/broken.jpg", "not an image");
  EXPECT_EQ(ErrorOf([] { Load(); }),
            "d/train/ant/broken.jpg: is neither a JPEG nor a PNG; data.corrupt = \"skip\" leaves "
            "out damaged images");
  Write("d/train/cat/cut.jpg", Bytes("rgb.jpg").substr(0, 1000));
  const Dataset data = Load("corrupt = \"skip\"\n");
  EXPECT_THAT(data.train.labels, ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(data.skipped, ElementsAre("d/train/ant/broken.jpg: is neither a JPEG nor a PNG",
                                        HasSubstr("d/train/cat/cut.jpg: is a damaged JPEG: ")));
  // Only decoding shows that the end is missing.
  fs::remove("d/train/ant/broken.jpg");
  const Dataset cut = Load();
  EXPECT_EQ(cut.train.samples, 5);
  EXPECT_THAT(ErrorOf([&] { Sample(cut, cut.train, 3); }),
              HasSubstr("d/train/cat/cut.jpg: is a damaged JPEG: "));
  fs::remove("d/train/cat/cut.jpg");
  fs::remove("d/train/cat/b.JPG");
  EXPECT_THAT(ErrorOf([&] { Sample(cut, cut.train, 2); }), HasSubstr("d/train/cat/b.JPG: "));
}

TEST_F(ImageFolder, WrongFoldersAreNamed) {
  EXPECT_EQ(ErrorOf([] { LoadData("image-folder", "", 1, 0); }),
            "data.path is missing: it must name a folder with train/CLASS/*.jpg");
  EXPECT_EQ(ErrorOf([] { Load(); }), "d: has no folder train");
  fs::create_directories("d/train");
  EXPECT_EQ(ErrorOf([] { Load(); }), "d/train: has no folder of a class");
  Copy("rgb.png", "d/train/cat/1.png");
  EXPECT_EQ(ErrorOf([] { Load(); }), "d/train: has 1 class, but must have at least 2");
  fs::create_directories("d/train/ant");
  EXPECT_EQ(ErrorOf([] { Load(); }),
            "d/train/ant: has no image, no file named .jpg, .jpeg or .png");
  Copy("rgb.png", "d/train/ant/1.png");
  Copy("rgb.png", "d/val/dog/1.png");
  EXPECT_EQ(ErrorOf([] { Load(); }),
            "d/val/dog: is a class of which there is no folder for training");
  EXPECT_EQ(ErrorOf([] { Load("mean = [0.5]\n"); }),
            "data.mean has 1 values, but must have 3, one for each channel of data.grey = false");
  EXPECT_EQ(ErrorOf([] { Load("grey = true\nmean = [0.5]\n"); }),
            "data.std has 3 values, but must have 1, one for each channel of data.grey = true");
  EXPECT_THAT(ErrorOf([] { Load("std = [0, 1, 1]\n"); }),
              HasSubstr("data.std: 0 is outside [0.001, 1000]"));
  EXPECT_THAT(ErrorOf([] { Load("mean = [\"a\"]\n"); }), HasSubstr("must be a list of numbers"));
  EXPECT_EQ(
      ErrorOf([] { LoadData(DataOf("name = \"image-folder\"\npath = \"d\"\nsize = 300\n"), 1); }),
      "data.size = 300 is outside [1, 256], data.resize");
}

}  // namespace image_folder_test
}  // namespace kudari::lab
