#include "lab/data/data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lzma.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>

#include "kudari/error.h"
#include "kudari/safetensors.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace data_test {

using kudari::testing::ErrorOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace fs = std::filesystem;

std::string Gzip(const std::string& plain) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, plain.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string Xz(const std::string& plain) {
  std::string out(lzma_stream_buffer_bound(plain.size()), '\0');
  size_t size = 0;
  EXPECT_EQ(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, nullptr,
                                    reinterpret_cast<const uint8_t*>(plain.data()), plain.size(),
                                    reinterpret_cast<uint8_t*>(out.data()), &size, out.size()),
            LZMA_OK);
  out.resize(size);
  return out;
}

std::string BigEndian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xff);
  return bytes;
}

// A row whose first two values tell its number; the label is the number modulo 10.
std::string DigitsCsv(int rows) {
  std::ostringstream text;
  for (int i = 0; i < rows; ++i) {
    text << i % 17 << ',' << i / 17 % 17;
    for (int j = 2; j < 64; ++j) text << ',' << (i + j) % 17;
    text << ',' << i % 10 << '\n';
  }
  return text.str();
}

std::string IdxImages(uint32_t count, uint32_t height, uint32_t width, int first = 0) {
  std::string bytes = BigEndian(0x803) + BigEndian(count) + BigEndian(height) + BigEndian(width);
  for (uint32_t i = 0; i < count * height * width; ++i) {
    bytes += static_cast<char>(static_cast<uint32_t>(first) + i);
  }
  return bytes;
}

std::string IdxLabels(uint32_t count) {
  std::string bytes = BigEndian(0x801) + BigEndian(count);
  for (uint32_t i = 0; i < count; ++i) bytes += static_cast<char>(i % 10);
  return bytes;
}

std::string CifarBatch(int count, int first = 0) {
  std::string bytes;
  for (int i = 0; i < count; ++i) {
    bytes += static_cast<char>(i % 10);
    for (int j = 0; j < 3072; ++j) bytes += static_cast<char>(first + i + j / 1024 * 50 + j % 7);
  }
  return bytes;
}

std::vector<int64_t> CountByClass(const Split& split, int64_t classes) {
  std::vector<int64_t> counts(static_cast<size_t>(classes));
  for (const int64_t label : split.labels) ++counts.at(static_cast<size_t>(label));
  return counts;
}

std::vector<std::vector<float>> Rows(const Split& split) {
  std::vector<std::vector<float>> rows;
  const auto width = split.x.size() / static_cast<size_t>(std::max<int64_t>(split.samples, 1));
  for (size_t i = 0; i < split.x.size(); i += width) {
    rows.emplace_back(split.x.begin() + static_cast<std::ptrdiff_t>(i),
                      split.x.begin() + static_cast<std::ptrdiff_t>(i + width));
  }
  return rows;
}

bool SameSplit(const Split& a, const Split& b) {
  return a.x == b.x && a.labels == b.labels && a.targets == b.targets && a.samples == b.samples;
}

void ExpectStandardized(const Split& split, size_t channels, size_t area) {
  for (size_t c = 0; c < channels; ++c) {
    double sum = 0, squares = 0, n = 0;
    for (size_t start = c * area; start < split.x.size(); start += channels * area) {
      for (size_t i = start; i < start + area; ++i, ++n) {
        sum += split.x[i];
        squares += split.x[i] * split.x[i];
      }
    }
    EXPECT_NEAR(sum / n, 0, 1e-5) << "channel " << c;
    EXPECT_NEAR(squares / n, 1, 1e-4) << "channel " << c;
  }
}

// KUDARI_DATA is not set, and is as it was at the end.
class DataTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* old = std::getenv("KUDARI_DATA")) old_variable_ = old;
    unsetenv("KUDARI_DATA");
    old_folder_ = fs::current_path();
  }
  void TearDown() override {
    fs::current_path(old_folder_);
    if (old_variable_) setenv("KUDARI_DATA", old_variable_->c_str(), 1);
  }

  fs::path Write(const fs::path& name, const std::string& bytes) {
    fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  void WriteMnist(const fs::path& folder) {
    Write(folder / "train-images-idx3-ubyte.gz", Gzip(IdxImages(40, 3, 2)));
    Write(folder / "train-labels-idx1-ubyte", IdxLabels(40));
    Write(folder / "t10k-images-idx3-ubyte", IdxImages(20, 3, 2, 7));
    Write(folder / "t10k-labels-idx1-ubyte.gz", Gzip(IdxLabels(20)));
  }

  kudari::testing::TemporaryFolder folder_;
  fs::path old_folder_;
  std::optional<std::string> old_variable_;
};

TEST_F(DataTest, UnknownNameSuggestsTheNearest) {
  EXPECT_EQ(ErrorOf([] { LoadData("mnits", "", 1, 0.1); }),
            "data.name: unknown name \"mnits\"; did you mean \"mnist\"?");
  EXPECT_THAT(DataNames(),
              ElementsAre("cartpole", "cifar10", "cifar100", "csv", "digits", "fashion-mnist",
                          "image-folder", "labelled-text", "mnist", "movie-reviews", "pendulum",
                          "shapes", "synthetic", "safetensors", "text", "tokens"));
}

TEST_F(DataTest, ShareIsChecked) {
  EXPECT_EQ(ErrorOf([] { LoadData("mnist", "", 1, 1); }), "data.validation = 1 is outside [0, 1)");
  EXPECT_EQ(ErrorOf([] { LoadData("digits", "", 1, 0.8); }),
            "data.validation = 0.8 is outside [0, 0.8)");
  EXPECT_THAT(ErrorOf([] { LoadData("cifar10", "", 1, -0.5); }), HasSubstr("is outside"));
  EXPECT_THAT(ErrorOf([] { LoadData("safetensors", "", 1, NAN); }), HasSubstr("is outside"));
}

TEST_F(DataTest, DigitsAreSplitByClass) {
  Write("digits.csv.gz", Gzip(DigitsCsv(200)));
  const Dataset data = LoadData("digits", folder_.path(), 1, 0.2);
  EXPECT_EQ(data.name, "digits");
  EXPECT_THAT(data.shape, ElementsAre(1, 8, 8));
  EXPECT_EQ(data.classes, 10);
  EXPECT_EQ(data.Outputs(), 10);
  EXPECT_EQ(data.train.Size(), 120);
  EXPECT_EQ(data.validation.Size(), 40);
  EXPECT_EQ(data.test.Size(), 40);
  EXPECT_EQ(data.train.x.size(), 120u * 64);
  EXPECT_THAT(data.train.targets, IsEmpty());
  EXPECT_THAT(CountByClass(data.train, 10), Each(12));
  EXPECT_THAT(CountByClass(data.validation, 10), Each(4));
  EXPECT_THAT(CountByClass(data.test, 10), Each(4));
  ExpectStandardized(data.train, 1, 64);

  // Every row of the file is in exactly one split: all are different.
  std::set<std::vector<float>> rows;
  for (const Split* split : {&data.train, &data.validation, &data.test}) {
    for (auto& row : Rows(*split)) rows.insert(row);
  }
  EXPECT_EQ(rows.size(), 200u);
}

TEST_F(DataTest, DigitsKeepValuesWithTheirLabels) {
  const fs::path file = Write("digits.csv", DigitsCsv(200));
  const Dataset data = LoadData("digits", file, 1, 0.2);
  // Undo the scaling: the extremes of the training values are 0 and 16.
  const float low = std::ranges::min(data.train.x), high = std::ranges::max(data.train.x);
  for (const Split* split : {&data.train, &data.validation, &data.test}) {
    const auto rows = Rows(*split);
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto value = [&](size_t j) {
        return std::lround((rows[i][j] - low) / (high - low) * 16);
      };
      EXPECT_EQ((value(0) + 17 * value(1)) % 10, split->labels[i]);
    }
  }
}

TEST_F(DataTest, SplitDependsOnTheSeedAlone) {
  Write("digits.csv", DigitsCsv(200));
  const Dataset a = LoadData("digits", folder_.path(), 1, 0.2),
                b = LoadData("digits", folder_.path(), 1, 0.2),
                c = LoadData("digits", folder_.path(), 2, 0.2);
  EXPECT_TRUE(SameSplit(a.train, b.train));
  EXPECT_TRUE(SameSplit(a.validation, b.validation));
  EXPECT_TRUE(SameSplit(a.test, b.test));
  EXPECT_FALSE(SameSplit(a.train, c.train));
  EXPECT_FALSE(SameSplit(a.test, c.test));
  // The test samples are drawn first: they do not depend on the validation share.
  EXPECT_EQ(LoadData("digits", folder_.path(), 1, 0).test.labels, a.test.labels);
  EXPECT_EQ(LoadData("digits", folder_.path(), 1, 0).validation.Size(), 0);
}

// The indices that a fixed seed draws, so that a change of the shuffle shows.
TEST_F(DataTest, SplitIsTheSameEverywhere) {
  std::vector<float> x(20), y(20);
  std::iota(x.begin(), x.end(), 0.0f);
  for (size_t i = 0; i < y.size(); ++i) y[i] = 0.5f + x[i];
  const fs::path path = folder_ / "d.safetensors";
  WriteSafeTensors(path, {{{"train/x", {20, 1}, x},
                           {"train/y", {20}, y},
                           {"test/x", {20, 1}, x},
                           {"test/y", {20}, y}}});
  const Dataset data = LoadData("safetensors", path, 7, 0.25);
  EXPECT_THAT(data.validation.x, ElementsAre(2, 4, 12, 14, 18));
}

TEST_F(DataTest, DigitsAreFoundThroughTheVariable) {
  const fs::path file = Write("data/digits/digits.csv", DigitsCsv(50));
  for (const fs::path& value : {folder_ / "data", folder_ / "data/digits", file}) {
    setenv("KUDARI_DATA", value.c_str(), 1);
    EXPECT_EQ(LoadData("digits", "", 1, 0.2).test.Size(), 10);
  }
  unsetenv("KUDARI_DATA");
}

TEST_F(DataTest, DigitsThatAreNotThereSayWhatToDo) {
  EXPECT_EQ(ErrorOf([&] { LoadData("digits", folder_.path(), 1, 0.2); }),
            "data: no digits.csv.gz at " + folder_.path().string() + ", " +
                (folder_ / "digits").string() +
                "; download it with kudari data get digits, or set data.path in the recipe or "
                "KUDARI_DATA to the folder that holds scikit-learn's digits.csv.gz");
}

TEST_F(DataTest, RealDigits) {
  if (std::string(KUDARI_DIGITS).empty()) GTEST_SKIP() << "built without scikit-learn's digits";
  const Dataset data = LoadData("digits", "", 1, 0.2);
  EXPECT_EQ(data.train.Size() + data.validation.Size() + data.test.Size(), 1797);
  EXPECT_NEAR(static_cast<double>(data.validation.Size()), 1797 * 0.2, 5);
  EXPECT_NEAR(static_cast<double>(data.test.Size()), 1797 * 0.2, 5);
  ExpectStandardized(data.train, 1, 64);
}

TEST_F(DataTest, DamagedDigitsAreNamed) {
  const auto message = [&](const std::string& text) {
    const fs::path path = Write("digits.csv", text);
    return ErrorOf([&] { LoadData("digits", path, 1, 0.2); });
  };
  const std::string rows = DigitsCsv(3), path = (folder_ / "digits.csv").string();
  const std::string rest = ": must be 64 integers from 0 to 16 and a label from 0 to 9";
  EXPECT_EQ(message(""), path + ": is empty");
  EXPECT_EQ(message("1,2,3\n"), path + ": line 1, column 3" + rest);
  EXPECT_EQ(message(rows + "1,17"), path + ": line 4, column 2" + rest);
  EXPECT_EQ(message(rows + "1,-1"), path + ": line 4, column 2" + rest);
  EXPECT_EQ(message(rows + "1,x"), path + ": line 4, column 2" + rest);
  EXPECT_EQ(message(rows + "99999999999"), path + ": line 4, column 1" + rest);
  EXPECT_EQ(message(rows + rows.substr(0, rows.find('\n') - 1) + "10\n"),
            path + ": line 4, column 65" + rest);
  EXPECT_EQ(message(rows + rows.substr(0, rows.find('\n')) + ",1\n"),
            path + ": line 4, column 65" + rest);
  std::string windows = DigitsCsv(50);
  for (size_t at = 0; (at = windows.find('\n', at)) != std::string::npos; at += 2) {
    windows.insert(at, "\r");
  }
  EXPECT_EQ(message(windows), "no error");
}

TEST_F(DataTest, DamagedGzipIsNamed) {
  const std::string packed = Gzip(DigitsCsv(50));
  const fs::path path = folder_ / "digits.csv.gz";
  const auto message = [&](const std::string& bytes) {
    Write("digits.csv.gz", bytes);
    return ErrorOf([&] { LoadData("digits", folder_.path(), 1, 0.2); });
  };
  for (size_t size = 0; size < packed.size(); size += 1 + packed.size() / 50) {
    EXPECT_EQ(message(packed.substr(0, size)), path.string() + ": is truncated") << size;
  }
  EXPECT_EQ(message(packed.substr(0, packed.size() - 1)), path.string() + ": is truncated");
  std::string wrong_sum = packed;
  wrong_sum[packed.size() - 6] = static_cast<char>(wrong_sum[packed.size() - 6] ^ 1);
  EXPECT_EQ(message(wrong_sum), path.string() + ": is damaged");
  EXPECT_EQ(message(packed + "more"), path.string() + ": is damaged");
  EXPECT_EQ(message("plain text"), path.string() + ": is damaged");
  const std::string text = DigitsCsv(50);
  EXPECT_EQ(message(Gzip(text.substr(0, 1000)) + Gzip(text.substr(1000))), "no error");
}

TEST_F(DataTest, MnistIsRead) {
  WriteMnist(".");
  const Dataset data = LoadData("mnist", folder_.path(), 1, 0.25);
  EXPECT_THAT(data.shape, ElementsAre(1, 3, 2));
  EXPECT_EQ(data.classes, 10);
  EXPECT_EQ(data.train.Size(), 30);
  EXPECT_EQ(data.validation.Size(), 10);
  EXPECT_EQ(data.test.Size(), 20);
  EXPECT_THAT(CountByClass(data.train, 10), Each(3));
  EXPECT_THAT(CountByClass(data.validation, 10), Each(1));
  EXPECT_THAT(CountByClass(data.test, 10), Each(2));
  ExpectStandardized(data.train, 1, 6);
  // Neighbours in a file are one grey level apart, but where a byte wraps.
  const std::vector<float>& x = data.test.x;
  const float level = x[1] - x[0];
  EXPECT_GT(level, 0);
  for (size_t i = 1; i < x.size(); ++i) EXPECT_NEAR(x[i] - x[i - 1], level, 1e-4);
}

TEST_F(DataTest, MnistIsFoundInTheUsualFolders) {
  fs::create_directories(folder_ / "here");
  fs::current_path(folder_ / "here");
  EXPECT_EQ(
      ErrorOf([] { LoadData("mnist", "", 1, 0); }),
      "data: no train-images-idx3-ubyte, plain, .gz or .xz, in .data, "
      ".data/mnist; download it with kudari data get mnist, or set data.path in the recipe or "
      "KUDARI_DATA to the folder that holds it");
  for (const char* folder : {"here/.data/mnist", "variable/mnist"}) {
    WriteMnist(folder);
    if (folder == std::string("variable/mnist")) {
      setenv("KUDARI_DATA", (folder_ / "variable").c_str(), 1);
    }
    EXPECT_EQ(LoadData("mnist", "", 1, 0).test.Size(), 20) << folder;
    fs::remove_all(folder_ / folder);
  }
  unsetenv("KUDARI_DATA");
  // A path of the user's is not replaced by another place.
  WriteMnist("here/.data/mnist");
  EXPECT_THAT(ErrorOf([] { LoadData("mnist", "nowhere", 1, 0); }),
              HasSubstr(" in nowhere, nowhere/mnist; "));
}

TEST_F(DataTest, DamagedMnistIsNamed) {
  const std::string images = (folder_ / "train-images-idx3-ubyte").string(),
                    labels = (folder_ / "train-labels-idx1-ubyte").string();
  const auto message = [&](const std::string& x, const std::string& y) {
    WriteMnist(".");
    fs::remove(images + ".gz");
    Write("train-images-idx3-ubyte", x);
    Write("train-labels-idx1-ubyte", y);
    return ErrorOf([&] { LoadData("mnist", folder_.path(), 1, 0.1); });
  };
  const std::string x = IdxImages(20, 3, 2), y = IdxLabels(20);
  EXPECT_EQ(message(x, y), "no error");
  EXPECT_EQ(message("", y), images + ": is truncated");
  EXPECT_EQ(message(x.substr(0, 15), y), images + ": is truncated");
  EXPECT_EQ(message(x.substr(0, x.size() - 1), y),
            images + ": has 119 values, but its header says 120");
  EXPECT_EQ(message(x + "1", y), images + ": has 121 values, but its header says 120");
  EXPECT_EQ(message(y + std::string(20, '1'), y),
            images + ": has magic number 2049, but must have 2051");
  EXPECT_EQ(message(x, IdxLabels(19)), labels + ": has 19 labels for 20 images");
  EXPECT_EQ(message(x, y.substr(0, y.size() - 1) + "\xa"),
            labels + ": sample 19 has label 10, but must have one from 0 to 9");
  EXPECT_EQ(message(IdxImages(20, 2, 3), y),
            (folder_ / "t10k-images-idx3-ubyte").string() +
                ": has images of 3 by 2, but those for training have 2 by 3");
  const std::string huge = BigEndian(0x803) + std::string(12, '\xff');
  EXPECT_EQ(message(huge, y), images +
                                  ": has dimension 4294967295, but must have at least one and at "
                                  "most 2^28 values");
  EXPECT_THAT(message(IdxImages(0, 3, 2), y), HasSubstr("has dimension 0"));
  fs::remove(labels);
  EXPECT_EQ(ErrorOf([&] { LoadData("mnist", folder_.path(), 1, 0.1); }),
            folder_.path().string() + ": has no train-labels-idx1-ubyte, plain, .gz or .xz");
}

TEST_F(DataTest, CifarIsRead) {
  Write("cifar-10-batches-bin/data_batch_1.bin", CifarBatch(20));
  Write("cifar-10-batches-bin/data_batch_2.bin.gz", Gzip(CifarBatch(10, 20)));
  // A packed file may be several, one after the other.
  const std::string fifth = CifarBatch(10, 30);
  Write("cifar-10-batches-bin/data_batch_5.bin.xz",
        Xz(fifth.substr(0, 5000)) + Xz(fifth.substr(5000)));
  Write("cifar-10-batches-bin/test_batch.bin.xz", Xz(CifarBatch(10, 3)));
  setenv("KUDARI_DATA", folder_.path().c_str(), 1);
  const Dataset data = LoadData("cifar10", "", 3, 0.25);
  EXPECT_THAT(data.shape, ElementsAre(3, 32, 32));
  EXPECT_EQ(data.classes, 10);
  EXPECT_EQ(data.train.Size(), 30);
  EXPECT_EQ(data.validation.Size(), 10);
  EXPECT_EQ(data.test.Size(), 10);
  EXPECT_EQ(data.test.x.size(), 10u * 3072);
  EXPECT_THAT(CountByClass(data.train, 10), Each(3));
  EXPECT_THAT(data.test.labels, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  ExpectStandardized(data.train, 3, 1024);
}

TEST_F(DataTest, DamagedCifarIsNamed) {
  Write("test_batch.bin", CifarBatch(10));
  EXPECT_EQ(ErrorOf([&] { LoadData("cifar10", folder_.path(), 1, 0.1); }),
            folder_.path().string() + ": has none of data_batch_1.bin to data_batch_5.bin");
  const auto message = [&](const fs::path& name, const std::string& bytes) {
    const fs::path path = Write(name, bytes);
    std::string text = ErrorOf([&] { LoadData("cifar10", folder_.path(), 1, 0.1); });
    fs::remove(path);
    return text;
  };
  const std::string batch = CifarBatch(10), path = (folder_ / "data_batch_3.bin").string();
  EXPECT_EQ(message("data_batch_3.bin", batch), "no error");
  EXPECT_EQ(message("data_batch_3.bin", batch + "1"),
            path + ": has 30731 bytes, which is not a multiple of the record size, 3073");
  EXPECT_EQ(message("data_batch_3.bin", ""),
            path + ": has 0 bytes, which is not a multiple of the record size, 3073");
  EXPECT_EQ(message("data_batch_3.bin", "\xc8" + batch.substr(1)),
            path + ": sample 0 has label 200, but must have one from 0 to 9");
  const std::string packed = Xz(batch);
  EXPECT_EQ(message("data_batch_3.bin.xz", packed), "no error");
  EXPECT_EQ(message("data_batch_3.bin.xz", packed.substr(0, packed.size() / 2)),
            path + ".xz: is truncated");
  EXPECT_EQ(message("data_batch_3.bin.xz", ""), path + ".xz: is truncated");
  EXPECT_EQ(message("data_batch_3.bin.xz", batch), path + ".xz: is damaged");
}

// A safetensors file with tensors of any dtype.
struct RawTensor {
  std::string name, dtype, shape, data;
};

template <class T>
std::string Raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string SafeTensorsText(const std::vector<RawTensor>& tensors) {
  std::string header = "{", data;
  for (const RawTensor& t : tensors) {
    if (header.size() > 1) header += ',';
    header += "\"" + t.name + R"(":{"dtype":")" + t.dtype + R"(","shape":)" + t.shape +
              R"(,"data_offsets":[)" + std::to_string(data.size()) + ",";
    data += t.data;
    header += std::to_string(data.size()) + "]}";
  }
  header += '}';
  const std::vector<uint64_t> size = {header.size()};
  return Raw(size) + header + data;
}

class SafeTensorsDataTest : public DataTest {
 protected:
  Dataset Load(const std::vector<RawTensor>& tensors, double validation = 0) {
    return LoadData("safetensors", Write("d.safetensors", SafeTensorsText(tensors)), 1, validation);
  }
  // The message without the file's name.
  std::string Message(const std::vector<RawTensor>& tensors) {
    const std::string text = ErrorOf([&] { Load(tensors); });
    const std::string prefix = (folder_ / "d.safetensors").string() + ": ";
    return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
  }
};

const std::vector<float> kSix = {1, 2, 3, 4, 5, 6};

TEST_F(SafeTensorsDataTest, LabelsOfAnyType) {
  const std::vector<std::pair<std::string, std::string>> labels = {{"I64", Raw<int64_t>({2, 0, 1})},
                                                                   {"U8", Raw<uint8_t>({2, 0, 1})},
                                                                   {"I32", Raw<int32_t>({2, 0, 1})},
                                                                   {"F32", Raw<float>({2, 0, 1})}};
  for (const auto& [dtype, y] : labels) {
    const Dataset data = Load({{"train/x", "F32", "[3,2]", Raw(kSix)},
                               {"train/y", dtype, "[3]", y},
                               {"test/x", "F32", "[1,2]", Raw<float>({7, 8})},
                               {"test/y", "I64", "[1]", Raw<int64_t>({4})}});
    EXPECT_THAT(data.shape, ElementsAre(2));
    EXPECT_EQ(data.classes, 5);  // the largest label is in the test samples
    EXPECT_EQ(data.Outputs(), 5);
    EXPECT_THAT(data.train.x, ElementsAreArray(kSix));
    EXPECT_THAT(data.train.labels, ElementsAre(2, 0, 1));
    EXPECT_THAT(data.train.targets, IsEmpty());
    EXPECT_THAT(data.test.labels, ElementsAre(4));
    EXPECT_EQ(data.validation.Size(), 0);
  }
}

TEST_F(SafeTensorsDataTest, RegressionTargets) {
  const Dataset data = Load({{"train/x", "F32", "[3,2]", Raw(kSix)},
                             {"train/y", "F32", "[3,2]", Raw(kSix)},
                             {"test/x", "F32", "[1,2]", Raw<float>({7, 8})},
                             {"test/y", "F32", "[1,2]", Raw<float>({-7, -8})}});
  EXPECT_EQ(data.classes, 0);
  EXPECT_EQ(data.target_size, 2);
  EXPECT_EQ(data.Outputs(), 2);
  EXPECT_THAT(data.train.targets, ElementsAreArray(kSix));
  EXPECT_THAT(data.test.targets, ElementsAre(-7, -8));
  EXPECT_THAT(data.train.labels, IsEmpty());

  // One value that is not an integer, in any part, makes all of them targets.
  const Dataset one = Load({{"train/x", "F32", "[3,2]", Raw(kSix)},
                            {"train/y", "F32", "[3]", Raw<float>({1, 2, 3})},
                            {"test/x", "F32", "[1,2]", Raw<float>({7, 8})},
                            {"test/y", "F32", "[1]", Raw<float>({0.5f})}});
  EXPECT_EQ(one.classes, 0);
  EXPECT_EQ(one.target_size, 1);
  EXPECT_THAT(one.train.targets, ElementsAre(1, 2, 3));
}

TEST_F(SafeTensorsDataTest, ShapesOfSamples) {
  const auto shape = [&](const std::string& x_shape) {
    return Load({{"train/x", "F32", x_shape, Raw(kSix)},
                 {"train/y", "U8", "[1]", std::string(1, '\0')},
                 {"test/x", "F32", x_shape, Raw(kSix)},
                 {"test/y", "U8", "[1]", std::string(1, '\0')}})
        .shape;
  };
  EXPECT_THAT(shape("[1,6]"), ElementsAre(6));
  EXPECT_THAT(shape("[1,3,2]"), ElementsAre(1, 3, 2));
  EXPECT_THAT(shape("[1,3,2,1]"), ElementsAre(3, 2, 1));
  EXPECT_THAT(
      ErrorOf([&] { shape("[6]"); }),
      HasSubstr("tensor \"train/x\" has 1 dimensions and 6 values, but must have values and "
                "the shape (N, D), (N, H, W) or (N, C, H, W)"));
  EXPECT_THAT(ErrorOf([&] { shape("[1,1,1,1,6]"); }), HasSubstr("has 5 dimensions"));
}

TEST_F(SafeTensorsDataTest, OwnValidationOrAShare) {
  std::vector<float> x(40), y(40);
  std::iota(x.begin(), x.end(), 0.0f);
  for (size_t i = 0; i < y.size(); ++i) y[i] = static_cast<float>(i % 4);
  std::vector<RawTensor> tensors = {{"train/x", "F32", "[40,1]", Raw(x)},
                                    {"train/y", "F32", "[40]", Raw(y)},
                                    {"test/x", "F32", "[40,1]", Raw(x)},
                                    {"test/y", "F32", "[40]", Raw(y)}};
  const Dataset share = Load(tensors, 0.2);
  EXPECT_EQ(share.train.Size(), 32);
  EXPECT_THAT(CountByClass(share.validation, 4), Each(2));
  std::vector<float> all = share.train.x;
  all.insert(all.end(), share.validation.x.begin(), share.validation.x.end());
  std::ranges::sort(all);
  EXPECT_EQ(all, x);
  for (size_t i = 0; i < share.train.x.size(); ++i) {
    EXPECT_EQ(static_cast<int64_t>(share.train.x[i]) % 4, share.train.labels[i]);
  }
  EXPECT_TRUE(std::ranges::is_sorted(share.train.x)) << "the order of the file is kept";

  tensors.push_back({"validation/x", "F32", "[1,1]", Raw<float>({77})});
  tensors.push_back({"validation/y", "F32", "[1]", Raw<float>({3})});
  const Dataset own = Load(tensors, 0.2);
  EXPECT_EQ(own.train.Size(), 40);
  EXPECT_THAT(own.validation.x, ElementsAre(77));
  EXPECT_THAT(own.validation.labels, ElementsAre(3));
}

TEST_F(SafeTensorsDataTest, BadTensorsAreNamed) {
  const RawTensor train_x{"train/x", "F32", "[3,2]", Raw(kSix)},
      train_y{"train/y", "I64", "[3]", Raw<int64_t>({2, 0, 1})},
      test_x{"test/x", "F32", "[1,2]", Raw<float>({7, 8})},
      test_y{"test/y", "I64", "[1]", Raw<int64_t>({0})};
  EXPECT_EQ(Message({train_x, train_y, test_x, test_y}), "no error");
  EXPECT_EQ(ErrorOf([] { LoadData("safetensors", "", 1, 0); }),
            "data.path is missing: it must name a safetensors file");
  EXPECT_EQ(Message({train_x, train_y, test_x, {"test/labels", "I64", "[1]", Raw<int64_t>({0})}}),
            "has no tensor \"test/y\"; did you mean \"test/x\"?");
  EXPECT_THAT(
      Message(
          {train_x, train_y, test_x, test_y, {"validation/x", "F32", "[1,2]", Raw<float>({7, 8})}}),
      HasSubstr("has no tensor \"validation/y\""));
  EXPECT_EQ(Message({{"train/x", "F64", "[3,1]", Raw<double>({1, 2, 3})}, train_y, test_x, test_y}),
            "tensor \"train/x\" is F64, but must be F32");
  EXPECT_EQ(Message({train_x, train_y, {"test/x", "F32", "[1,3]", Raw<float>({7, 8, 9})}, test_y}),
            "the samples of \"test/x\" do not have the shape of those of \"train/x\"");
  EXPECT_EQ(Message({train_x, {"train/y", "I64", "[2]", Raw<int64_t>({0, 1})}, test_x, test_y}),
            "tensor \"train/y\" must have 3 rows, as \"train/x\" has");
  EXPECT_EQ(Message({train_x, train_y, test_x, {"test/y", "I64", "[1]", Raw<int64_t>({-1})}}),
            "tensor \"test/y\" has the label -1, which is outside [0, 100000); for regression give "
            "it two dimensions");
  EXPECT_THAT(Message({train_x, train_y, test_x, {"test/y", "I64", "[1]", Raw<int64_t>({100000})}}),
              HasSubstr("has the label 100000, which is outside"));
  EXPECT_EQ(Message({train_x, train_y, test_x, {"test/y", "I64", "[1,1]", Raw<int64_t>({0})}}),
            "tensor \"train/y\" is I64, but must be F32");
  EXPECT_EQ(
      Message(
          {{"train/x", "F32", "[3,2]", Raw<float>({1, 2, 3, NAN, 5, 6})}, train_y, test_x, test_y}),
      "tensor \"train/x\" has a value that is not finite at index 3");
  EXPECT_EQ(Message({train_x,
                     {"train/y", "F32", "[3]", Raw<float>({1, NAN, 0})},
                     test_x,
                     {"test/y", "F32", "[1]", Raw<float>({1})}}),
            "tensor \"train/y\" has a value that is not finite at index 1");
  EXPECT_EQ(Message({train_x,
                     {"train/y", "F32", "[3,1]", Raw<float>({1, 2, 0})},
                     test_x,
                     {"test/y", "F32", "[1,2]", Raw<float>({1, 2})}}),
            "tensor \"test/y\" has 2 values per sample, but must have 1");
}

// 90 training samples of the classes 0 to 9 whose x is their number, and others.
Dataset Numbered() {
  Dataset data{.name = "numbered", .shape = {1}, .classes = 10};
  for (int i = 0; i < 90; ++i) {
    data.train.x.push_back(static_cast<float>(i));
    data.train.labels.push_back(i % 10);
  }
  data.train.samples = 90;
  data.validation = {.x = {1, 2, 3}, .labels = {1, 2, 3}, .samples = 3};
  data.test = {.x = {4, 5}, .labels = {4, 5}, .samples = 2};
  return data;
}

std::vector<size_t> Changed(const Dataset& data) {
  std::vector<size_t> rows;
  for (size_t i = 0; i < data.train.labels.size(); ++i) {
    const auto number = static_cast<int64_t>(data.train.x[i]);
    if (data.train.labels[i] != number % 10) rows.push_back(i);
  }
  return rows;
}

TEST(LabelNoise, ChangesTheShareOfTheTrainingLabelsAlone) {
  const Dataset clean = Numbered();
  // 0.4 * 90 = 36, 0.05 * 90 = 4.5, 0.99 * 90 = 89.1.
  for (const auto& [share, count] :
       {std::pair{0.0, 0U}, std::pair{0.4, 36U}, std::pair{0.05, 5U}, std::pair{0.99, 89U}}) {
    Dataset data = Numbered();
    AddLabelNoise(data, share, 3);
    EXPECT_EQ(Changed(data).size(), count) << share;
    EXPECT_EQ(data.train.x, clean.train.x);
    EXPECT_TRUE(SameSplit(data.validation, clean.validation));
    EXPECT_TRUE(SameSplit(data.test, clean.test));
    for (const int64_t label : data.train.labels) EXPECT_TRUE(label >= 0 && label < 10) << label;
  }
}

TEST(LabelNoise, DependsOnTheSeedAlone) {
  const auto labels = [](uint64_t seed) {
    Dataset data = Numbered();
    AddLabelNoise(data, 0.4, seed);
    return data.train.labels;
  };
  EXPECT_EQ(labels(1), labels(1));
  EXPECT_NE(labels(1), labels(2));
  EXPECT_NE(labels(1), labels(1 + (uint64_t{1} << 32)));
}

// Over many seeds every sample is as likely as the other, and every class but its own.
TEST(LabelNoise, IsSymmetric) {
  constexpr int kSeeds = 2000;
  std::vector<int> times(90), steps(10);
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    Dataset data = Numbered();
    AddLabelNoise(data, 0.5, seed);
    for (const size_t row : Changed(data)) {
      ++times[row];
      ++steps[(static_cast<size_t>(data.train.labels[row]) + 10 - row % 10) % 10];
    }
  }
  // Five deviations of binomials: 2,000 times 1/2, and 90,000 times 1/9.
  for (const int n : times) EXPECT_NEAR(n, 1000, 5 * std::sqrt(500.0));
  EXPECT_EQ(steps[0], 0);
  for (size_t i = 1; i < 10; ++i) EXPECT_NEAR(steps[i], 10000, 5 * std::sqrt(90000 * 8.0 / 81));
}

TEST(LabelNoise, OptionIsNamed) {
  Dataset data = Numbered();
  EXPECT_EQ(ErrorOf([&] { AddLabelNoise(data, 1, 1); }), "data.label_noise = 1 is outside [0, 1)");
  EXPECT_THAT(ErrorOf([&] { AddLabelNoise(data, NAN, 1); }), HasSubstr("data.label_noise = nan"));
  data.classes = 1;
  EXPECT_EQ(ErrorOf([&] { AddLabelNoise(data, 0.5, 1); }),
            "data.label_noise = 0.5 needs at least two classes; the data set numbered has one");
  data.classes = 0;
  EXPECT_EQ(ErrorOf([&] { AddLabelNoise(data, 0.5, 1); }),
            "data.label_noise = 0.5 needs at least two classes; the data set numbered has other "
            "targets");
  EXPECT_NO_THROW(AddLabelNoise(data, 0, 1));
}

TEST(Samples, AreDrawnWithTheSeedInTheirOrder) {
  const auto drawn = [](int64_t samples, uint64_t seed) {
    Dataset data = Numbered();
    KeepSamples(data, samples, seed);
    EXPECT_EQ(data.train.Size(), samples == 0 ? 90 : samples);
    EXPECT_THAT(Changed(data), IsEmpty());  // labels are still those of their samples
    EXPECT_TRUE(std::ranges::is_sorted(data.train.x));
    EXPECT_EQ(std::set<float>(data.train.x.begin(), data.train.x.end()).size(),
              data.train.x.size());
    EXPECT_TRUE(SameSplit(data.test, Numbered().test));
    return data.train.x;
  };
  EXPECT_EQ(drawn(0, 1), Numbered().train.x);
  EXPECT_EQ(drawn(90, 1), Numbered().train.x);
  EXPECT_EQ(drawn(20, 1), drawn(20, 1));
  EXPECT_NE(drawn(20, 1), drawn(20, 2));
  Dataset data = Numbered();
  EXPECT_EQ(ErrorOf([&] { KeepSamples(data, 91, 1); }),
            "data.samples = 91 is outside [0, 90], the training samples of numbered without those "
            "for validation");
}

}  // namespace data_test
}  // namespace kudari::lab
