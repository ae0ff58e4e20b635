#include "kudari/safetensors.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <csignal>
#include <cstring>
#include <fstream>
#include <limits>
#include <numeric>

#include "io/file.h"
#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/state.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari {
namespace safetensors_test {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

namespace fs = std::filesystem;

std::vector<std::byte> Bytes(std::string_view text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

// A file in memory: the length of the header, the header, the data.
std::string FileText(std::string_view header, std::string_view data = "") {
  const uint64_t size = header.size();
  std::string text(sizeof(size), '\0');
  std::memcpy(text.data(), &size, sizeof(size));
  return text.append(header).append(data);
}

SafeTensorsFile Parse(std::string_view text) { return SafeTensorsFile(Bytes(text), "file"); }

std::string ParseMessage(std::string_view text) {
  return ErrorOf([&] { Parse(text); });
}

std::string HeaderMessage(std::string_view header, std::string_view data = "") {
  return ParseMessage(FileText(header, data));
}

std::string Slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

template <class T>
std::string Raw(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

class SafeTensorsTest : public ::testing::Test {
 protected:
  std::vector<std::string> Listing() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  testing::TemporaryFolder folder_;
};

TEST_F(SafeTensorsTest, RoundTrip) {
  const std::vector<float> weight = {1, -0.0f, 3e-45f, std::numeric_limits<float>::infinity(),
                                     5, 6};
  const std::vector<float> scalar = {std::numeric_limits<float>::quiet_NaN()};
  const fs::path path = folder_ / "model.safetensors";
  WriteSafeTensors(
      path, {{{"z.weight", {2, 3}, weight}, {"a \"quoted\"\nñ", {}, scalar}, {"none", {0, 7}, {}}}},
      {{"format", "pt"}, {"note", "ü"}});
  const SafeTensorsFile file(path);

  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.tensors()[0].name, "z.weight");
  EXPECT_EQ(file.tensors()[0].dtype, "F32");
  EXPECT_THAT(file.tensors()[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(file.tensors()[0].Size(), 6);
  EXPECT_EQ(std::memcmp(file.Floats("z.weight").data(), weight.data(), 24), 0);
  EXPECT_EQ(std::memcmp(file.Floats("a \"quoted\"\nñ").data(), scalar.data(), 4), 0);
  EXPECT_THAT(file.Find("a \"quoted\"\nñ").shape, IsEmpty());
  EXPECT_EQ(file.Find("none").Size(), 0);
  EXPECT_THAT(file.Floats("none"), IsEmpty());
  EXPECT_THAT(file.metadata(), ElementsAre(Pair("format", "pt"), Pair("note", "ü")));
  EXPECT_TRUE(file.Contains("none"));
  EXPECT_FALSE(file.Contains("nine"));
  EXPECT_THAT(Listing(), ElementsAre("model.safetensors"));
}

TEST_F(SafeTensorsTest, WritesNothingButAHeader) {
  const fs::path path = folder_ / "empty.safetensors";
  WriteSafeTensors(path, {});
  const SafeTensorsFile file(path);
  EXPECT_THAT(file.tensors(), IsEmpty());
  EXPECT_THAT(file.metadata(), IsEmpty());
}

TEST_F(SafeTensorsTest, DataStartsAtAMultipleOf64) {
  const fs::path path = folder_ / "f";
  const std::vector<float> one = {1};
  for (size_t length = 1; length <= 65; ++length) {
    WriteSafeTensors(path, {{{std::string(length, 'n'), {1}, one}}});
    EXPECT_EQ((fs::file_size(path) - sizeof(float)) % 64, 0u);
    EXPECT_EQ(SafeTensorsFile(path).Floats(std::string(length, 'n'))[0], 1);
  }
}

TEST_F(SafeTensorsTest, MovedFileKeepsItsData) {
  SafeTensorsFile a =
      Parse(FileText(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", Raw<float>({7})));
  const SafeTensorsFile b = std::move(a);
  EXPECT_THAT(b.Floats("x"), ElementsAre(7));
}

// The header's length decides where the data of a foreign file lies; tensors may follow others of
// any size.
TEST_F(SafeTensorsTest, FloatsAreAlignedWhereverTheyLie) {
  for (size_t pad = 0; pad < 16; ++pad) {
    const SafeTensorsFile file =
        Parse(FileText(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[3,11]},)"
                       R"("n":{"dtype":"I64","shape":[1],"data_offsets":[12,20]},)"
                       R"("b":{"dtype":"BOOL","shape":[1],"data_offsets":[11,12]},)"
                       R"("mask":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})" +
                           std::string(pad, ' '),
                       "\1\2\3" + Raw<float>({1.5f, -2}) + "\1" + Raw<int64_t>({-9})));
    for (const SafeTensor& t : file.tensors()) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(t.bytes.data()) % 8, 0u) << t.name;
    }
    EXPECT_THAT(file.Integers("mask"), ElementsAre(1, 2, 3));
    EXPECT_THAT(file.Floats("x"), ElementsAre(1.5f, -2));
    EXPECT_THAT(file.Integers("b"), ElementsAre(1));
    EXPECT_THAT(file.Integers("n"), ElementsAre(-9));
    EXPECT_EQ(file.tensors()[0].name, "mask");
    EXPECT_EQ(file.tensors()[3].name, "n");
  }
}

TEST_F(SafeTensorsTest, KnowsEveryDtype) {
  const std::vector<std::pair<std::string, int>> types = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
      {"U16", 2},  {"I16", 2}, {"F16", 2}, {"BF16", 2},    {"U32", 4},
      {"I32", 4},  {"F32", 4}, {"U64", 8}, {"I64", 8},     {"F64", 8}};
  for (const auto& [dtype, bytes] : types) {
    const auto header = [&, d = dtype](int size) {
      return R"({"x":{"dtype":")" + d + R"(","shape":[3],"data_offsets":[0,)" +
             std::to_string(size) + "]}}";
    };
    const size_t size = 3 * static_cast<size_t>(bytes);
    const SafeTensorsFile file = Parse(FileText(header(3 * bytes), std::string(size, '\0')));
    EXPECT_EQ(file.Find("x").dtype, dtype);
    EXPECT_EQ(file.Find("x").bytes.size(), size);
    EXPECT_THAT(HeaderMessage(header(3 * bytes + 1), std::string(size + 1, '\0')),
                HasSubstr("do not hold"));
  }
}

TEST_F(SafeTensorsTest, IntegersOfEveryType) {
  const auto integers = [](std::string_view dtype, std::string_view data, size_t count) {
    return Parse(FileText(R"({"y":{"dtype":")" + std::string(dtype) + R"(","shape":[)" +
                              std::to_string(count) + R"(],"data_offsets":[0,)" +
                              std::to_string(data.size()) + "]}}",
                          data))
        .Integers("y");
  };
  EXPECT_THAT(integers("BOOL", Raw<uint8_t>({0, 1}), 2), ElementsAre(0, 1));
  EXPECT_THAT(integers("U8", Raw<uint8_t>({0, 255}), 2), ElementsAre(0, 255));
  EXPECT_THAT(integers("I8", Raw<int8_t>({-128, 127}), 2), ElementsAre(-128, 127));
  EXPECT_THAT(integers("U16", Raw<uint16_t>({65535}), 1), ElementsAre(65535));
  EXPECT_THAT(integers("I16", Raw<int16_t>({-32768}), 1), ElementsAre(-32768));
  EXPECT_THAT(integers("U32", Raw<uint32_t>({4294967295u}), 1), ElementsAre(4294967295));
  EXPECT_THAT(integers("I32", Raw<int32_t>({-5}), 1), ElementsAre(-5));
  EXPECT_THAT(integers("U64", Raw<uint64_t>({uint64_t{1} << 62}), 1),
              ElementsAre(int64_t{1} << 62));
  EXPECT_THAT(integers("I64", Raw<int64_t>({INT64_MIN, INT64_MAX}), 2),
              ElementsAre(INT64_MIN, INT64_MAX));
  EXPECT_THAT(integers("F32", Raw<float>({3, -0.0f, -0x1p63f}), 3), ElementsAre(3, 0, INT64_MIN));

  const std::string index1 = "file: tensor \"y\" has at index 1 a value that is not an int64";
  EXPECT_EQ(ErrorOf([&] { integers("F32", Raw<float>({3, 0.5f}), 2); }), index1);
  EXPECT_EQ(ErrorOf([&] { integers("F32", Raw<float>({3, 0x1p63f}), 2); }), index1);
  EXPECT_EQ(ErrorOf([&] { integers("F32", Raw<float>({3, NAN}), 2); }), index1);
  EXPECT_EQ(ErrorOf([&] { integers("U64", Raw<uint64_t>({3, UINT64_MAX}), 2); }), index1);
  EXPECT_EQ(ErrorOf([&] { integers("F64", Raw<double>({3}), 1); }),
            "file: tensor \"y\" is F64, but must be of an integer type or F32");
}

TEST_F(SafeTensorsTest, FindNamesTheNearest) {
  const SafeTensorsFile file =
      Parse(FileText(R"({"train/x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "1"));
  EXPECT_EQ(ErrorOf([&] { file.Find("train/X"); }),
            "file: has no tensor \"train/X\"; did you mean \"train/x\"?");
  EXPECT_EQ(ErrorOf([&] { file.Floats("train/x"); }),
            "file: tensor \"train/x\" is U8, but must be F32");
}

TEST_F(SafeTensorsTest, NamesAreShownSafely) {
  const std::string escape = R"({"\u001b[2J\n":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}})";
  EXPECT_EQ(
      HeaderMessage(escape, "1"),
      "file: tensor \"\\x1b[2J\\x0a\": data_offsets [0, 1] do not hold the 2 bytes of U8 [2]");
  const std::string name(1'000'000, 'n');
  EXPECT_EQ(HeaderMessage("{\"" + name + "\":1}"),
            "file: tensor \"" + name.substr(0, 100) + "...\": is 1 where an object must be");
  std::string shape = "1";
  for (int i = 0; i < 100'000; ++i) shape += ",1";
  EXPECT_LT(
      HeaderMessage(R"({"a":{"dtype":"U8","shape":[)" + shape + R"(],"data_offsets":[0,2]}})", "12")
          .size(),
      5000u);
}

// A file without contents that claims more than any memory.
TEST_F(SafeTensorsTest, MoreThanMemoryIsAnError) {
  constexpr int64_t kData = int64_t{1} << 42;
  const fs::path path = folder_ / "sparse";
  std::ofstream(path, std::ios::binary) << FileText(
      R"({"a":{"dtype":"U8","shape":[4398046511104],"data_offsets":[0,4398046511104]}})");
  std::error_code error;
  fs::resize_file(path, fs::file_size(path) + kData, error);
  if (error) GTEST_SKIP() << "no sparse files of 4 TiB here";
  const uint64_t memory =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (memory > kData / 4) GTEST_SKIP() << "so much memory";
  EXPECT_EQ(ErrorOf([&] { SafeTensorsFile{path}; }),
            path.string() + ": needs 4398046511104 bytes of memory, more than is available");
}

TEST_F(SafeTensorsTest, RejectsBadLengths) {
  EXPECT_EQ(ParseMessage("1234567"),
            "file: is truncated: it has 7 bytes, and the length of the header alone takes 8");
  EXPECT_EQ(ParseMessage(Raw<uint64_t>({3}) + "{}"),
            "file: is truncated: its header should have 3 bytes, and only 2 follow");
  EXPECT_EQ(ParseMessage(Raw<uint64_t>({100'000'001}) + "{}"),
            "file: header length 100000001 is outside [2, 100000000]; is this a safetensors file?");
  EXPECT_THAT(ParseMessage(Raw<uint64_t>({UINT64_MAX}) + "{}"), HasSubstr("is outside"));
  EXPECT_EQ(ParseMessage(Raw<uint64_t>({0})), "file: the header does not start with {");
}

TEST_F(SafeTensorsTest, RejectsBadJson) {
  EXPECT_EQ(HeaderMessage(" {}"), "file: the header does not start with {");
  EXPECT_EQ(HeaderMessage("[]"), "file: the header does not start with {");
  EXPECT_THAT(HeaderMessage("{"), HasSubstr("file: the header is not valid JSON at its byte 2"));
  EXPECT_THAT(HeaderMessage("{} {}"), HasSubstr("is not valid JSON"));
  EXPECT_THAT(HeaderMessage("{\"\xff\":1}"), HasSubstr("is not valid JSON"));
  EXPECT_EQ(HeaderMessage("{}" + std::string(1, '\0')),
            "file: the header is not valid JSON at its byte 3");
  EXPECT_THAT(HeaderMessage(R"({"a":1e999})"), HasSubstr("is not valid JSON"));
  EXPECT_EQ(HeaderMessage("{}  \n"), "no error");
}

TEST_F(SafeTensorsTest, RejectsKeysThatStandTwice) {
  const std::string x = R"("x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_EQ(HeaderMessage("{" + x + "," + x + "}", "1"),
            "file: key \"x\" appears twice in the header");
  EXPECT_EQ(HeaderMessage(R"({"x":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})"),
            "file: tensor \"x\": key \"dtype\" appears twice in the header");
  EXPECT_EQ(HeaderMessage(R"({"__metadata__":{"a":"1","a":"2"}})"),
            "file: key \"a\" appears twice in the header");
  EXPECT_EQ(HeaderMessage(R"({"__metadata__":{},"__metadata__":{}})"),
            "file: key \"__metadata__\" appears twice in the header");
}

TEST_F(SafeTensorsTest, RejectsOtherStructure) {
  EXPECT_EQ(HeaderMessage(R"({"x":1})"), "file: tensor \"x\": is 1 where an object must be");
  EXPECT_EQ(HeaderMessage(R"({"x":[{}]})"),
            "file: tensor \"x\": is an array where an object must be");
  EXPECT_EQ(HeaderMessage(R"({"x":null})"), "file: tensor \"x\": is null where an object must be");
  EXPECT_EQ(HeaderMessage(R"({"__metadata__":"a"})"),
            "file: \"__metadata__\" has \"a\" where only strings by name may be");
  EXPECT_EQ(HeaderMessage(R"({"__metadata__":{"a":1}})"),
            "file: \"__metadata__\" has 1 where only strings by name may be");
  EXPECT_EQ(HeaderMessage(R"({"__metadata__":{"a":{"b":"c"}}})"),
            "file: \"__metadata__\" has an object where only strings by name may be");
  EXPECT_EQ(HeaderMessage(R"({"x":{"type":"U8"}})"),
            "file: tensor \"x\": unknown key \"type\"; known are \"dtype\", \"shape\" and "
            "\"data_offsets\"");
  EXPECT_EQ(HeaderMessage(R"({"x":{"dtype":7}})"),
            "file: tensor \"x\": \"dtype\" has 7, but must be a string");
  EXPECT_EQ(HeaderMessage(R"({"x":{"dtype":true}})"),
            "file: tensor \"x\": \"dtype\" has true, but must be a string");
  EXPECT_EQ(HeaderMessage(R"({"x":{"dtype":"f32"}})"), "file: tensor \"x\": unknown dtype \"f32\"");
  EXPECT_EQ(HeaderMessage(R"({"x":{"shape":3}})"),
            "file: tensor \"x\": \"shape\" has 3, but must be an array of integers from 0 to "
            "2^63 - 1");
  for (const std::string bad :
       {"-1", "1.0", "1e3", "9223372036854775808", "\"1\"", "[1]", "{}", "null", "false"}) {
    EXPECT_THAT(HeaderMessage(R"({"x":{"shape":[2,)" + bad + "]}}"),
                HasSubstr("tensor \"x\": \"shape\" has "))
        << bad;
    EXPECT_THAT(HeaderMessage(R"({"x":{"data_offsets":[)" + (bad.size() > 9 ? "-1" : bad) + "]}}"),
                HasSubstr("tensor \"x\": \"data_offsets\" has "))
        << bad;
  }
  EXPECT_EQ(HeaderMessage(R"({"x":{"data_offsets":[0]}})"),
            "file: tensor \"x\": \"data_offsets\" must be two numbers");
  EXPECT_EQ(HeaderMessage(R"({"x":{"data_offsets":[0,1,2]}})"),
            "file: tensor \"x\": \"data_offsets\" has 2, but must be an array of two integers "
            "from 0 to 2^64 - 1");
  EXPECT_EQ(HeaderMessage(R"({"x":{"shape":[1],"data_offsets":[0,1]}})", "1"),
            "file: tensor \"x\": has no \"dtype\"");
  EXPECT_EQ(HeaderMessage(R"({"x":{"dtype":"U8","data_offsets":[0,1]}})", "1"),
            "file: tensor \"x\": has no \"shape\"");
  EXPECT_EQ(HeaderMessage(R"({"x":{"dtype":"U8","shape":[1]}})", "1"),
            "file: tensor \"x\": has no \"data_offsets\"");
}

TEST_F(SafeTensorsTest, RejectsDeepNestingWithoutFollowingIt) {
  const std::string deep(1'000'000, '[');
  EXPECT_EQ(HeaderMessage(R"({"x":)" + deep),
            "file: tensor \"x\": is an array where an object must be");
  std::string objects = "{";
  for (int i = 0; i < 100'000; ++i) objects += R"("__metadata__":{)";
  EXPECT_EQ(HeaderMessage(objects),
            "file: \"__metadata__\" has an object where only strings by name may be");
}

TEST_F(SafeTensorsTest, RejectsRangesThatDoNotCoverTheData) {
  const auto u8 = [](std::string_view name, std::string_view shape, std::string_view range) {
    std::string text = "\"";
    text.append(name).append(R"(":{"dtype":"U8","shape":)").append(shape);
    return text.append(R"(,"data_offsets":)").append(range).append("}");
  };
  const auto two = [&](std::string_view a, std::string_view b) {
    return HeaderMessage("{" + u8("a", "[2]", a) + "," + u8("b", "[2]", b) + "}", "1234");
  };
  EXPECT_EQ(two("[0,2]", "[2,4]"), "no error");
  EXPECT_EQ(two("[2,4]", "[0,2]"), "no error");
  EXPECT_EQ(two("[0,2]", "[1,3]"),
            "file: tensor \"b\": data_offsets [1, 3] overlap the tensor before, which ends at 2");
  EXPECT_EQ(two("[0,2]", "[0,2]"),
            "file: tensor \"b\": data_offsets [0, 2] overlap the tensor before, which ends at 2");
  EXPECT_EQ(two("[0,2]", "[3,5]"),
            "file: tensor \"b\": data_offsets [3, 5] leave a hole after the tensor before, which "
            "ends at 2");
  EXPECT_THAT(HeaderMessage("{" + u8("a", "[2]", "[1,3]") + "}", "123"), HasSubstr("leave a hole"));
  EXPECT_EQ(HeaderMessage("{" + u8("a", "[2]", "[0,3]") + "}", "123"),
            "file: tensor \"a\": data_offsets [0, 3] do not hold the 2 bytes of U8 [2]");
  EXPECT_THAT(HeaderMessage("{" + u8("a", "[2]", "[2,0]") + "}", "12"), HasSubstr("do not hold"));
  EXPECT_EQ(HeaderMessage("{" + u8("a", "[2]", "[0,2]") + "}", "123"),
            "file: the tensors end at 2, but 3 bytes of data follow the header");
  EXPECT_EQ(HeaderMessage("{" + u8("a", "[2]", "[0,2]") + "}", "1"),
            "file: is truncated: tensor \"a\" ends at 2 of 1 bytes of data");
  EXPECT_EQ(HeaderMessage("{}", "1"),
            "file: the tensors end at 0, but 1 bytes of data follow the header");
  // Empty tensors take no room and may lie between others, but not inside them.
  EXPECT_EQ(HeaderMessage("{" + u8("a", "[2]", "[0,2]") + "," + u8("e", "[0]", "[2,2]") + "," +
                              u8("f", "[3,0]", "[0,0]") + "}",
                          "12"),
            "no error");
  EXPECT_THAT(
      HeaderMessage("{" + u8("a", "[2]", "[0,2]") + "," + u8("e", "[0]", "[1,1]") + "}", "12"),
      HasSubstr("overlap"));
}

TEST_F(SafeTensorsTest, RejectsSizesThatOverflow) {
  const auto message = [](std::string_view dtype, std::string_view shape) {
    return HeaderMessage(R"({"x":{"dtype":")" + std::string(dtype) + R"(","shape":)" +
                         std::string(shape) + R"(,"data_offsets":[0,0]}})");
  };
  EXPECT_EQ(message("U8", "[4294967296, 4294967296]"),
            "file: tensor \"x\": shape [4294967296, 4294967296] is too large");
  EXPECT_THAT(message("F32", "[4611686018427387904]"), HasSubstr("is too large"));
  EXPECT_THAT(message("F64", "[2305843009213693952]"), HasSubstr("is too large"));
  EXPECT_THAT(message("U8", "[9223372036854775807, 9223372036854775807, 0]"),
              HasSubstr("is too large"));
  EXPECT_THAT(message("U8", "[72057594037927937]"), HasSubstr("is too large"));
  EXPECT_THAT(message("U8", "[72057594037927936]"), HasSubstr("do not hold"));
  // So do products that leave out a zero.
  EXPECT_THAT(message("U8", "[0, 9223372036854775807, 9223372036854775807]"),
              HasSubstr("is too large"));
  EXPECT_THAT(message("U8", "[4611686018427387904, 4, 0]"), HasSubstr("is too large"));
  EXPECT_EQ(message("U8", "[0, 72057594037927936]"), "no error");
}

std::string SmallFile() {
  return FileText(R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,1],)"
                  R"("data_offsets":[0,8]},"b":{"dtype":"I16","shape":[],"data_offsets":[8,10]}} )",
                  "0123456789");
}

TEST_F(SafeTensorsTest, RejectsEveryTruncation) {
  const std::string whole = SmallFile();
  ASSERT_EQ(ParseMessage(whole), "no error");
  const fs::path path = folder_ / "cut";
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(ParseMessage(whole.substr(0, size)), HasSubstr("file: is truncated")) << size;
    if (size % 8 != 0) continue;
    WriteFileAtomically(path, whole.substr(0, size));
    EXPECT_THAT(ErrorOf([&] { SafeTensorsFile{path}; }),
                HasSubstr(path.string() + ": is truncated"))
        << size;
  }
}

// Any other exception, and any access out of bounds under the sanitizers, fails the test.
TEST_F(SafeTensorsTest, EveryFlippedBitLoadsOrIsRejected) {
  const std::string whole = SmallFile();
  int rejected = 0, loaded = 0;
  for (size_t bit = 0; bit < 8 * (whole.size() - 10); ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    try {
      const SafeTensorsFile file = Parse(flipped);
      size_t bytes = 0;
      for (const SafeTensor& t : file.tensors()) bytes += t.bytes.size();
      EXPECT_EQ(bytes, 10u);
      ++loaded;
    } catch (const Error&) {
      ++rejected;
    }
  }
  EXPECT_GT(rejected, 8 * 100);
  EXPECT_GT(loaded, 10);  // other names, and another 2-byte type
}

TEST_F(SafeTensorsTest, ReadingNamesFileAndReason) {
  const fs::path missing = folder_ / "missing";
  EXPECT_EQ(ErrorOf([&] { SafeTensorsFile{missing}; }),
            missing.string() + ": cannot be opened: No such file or directory");
  EXPECT_EQ(ErrorOf([&] { SafeTensorsFile{folder_.path()}; }),
            folder_.path().string() + ": is not a regular file");
}

TEST_F(SafeTensorsTest, WhatIsReadIsARegularFile) {
  const fs::path pipe = folder_ / "pipe", link = folder_ / "link";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  fs::create_symlink(pipe, link);
  for (const fs::path& path :
       {pipe, link, fs::path("/dev/zero"), fs::path("/dev/null"), folder_.path()}) {
    EXPECT_EQ(ErrorOf([&] { SafeTensorsFile{path}; }), path.string() + ": is not a regular file");
    EXPECT_EQ(ErrorOf([&] { ReadFile(path, 10); }), path.string() + ": is not a regular file");
  }
  EXPECT_EQ(ErrorOf([&] { ReadFile(folder_ / "none", 10); }),
            (folder_ / "none").string() + ": cannot be opened: No such file or directory");
  fs::remove(link);
  const fs::path file = folder_ / "file";
  WriteFileAtomically(file, std::string_view("a\0b", 3));
  fs::create_symlink(file, link);
  EXPECT_EQ(ReadFile(link, 3), std::string_view("a\0b", 3));
  EXPECT_EQ(ErrorOf([&] { ReadFile(file, 2); }),
            file.string() + ": has 3 bytes, which is outside [0, 2]");
  WriteFileAtomically(file, "");
  EXPECT_EQ(ReadFile(file, 0), "");
}

TEST_F(SafeTensorsTest, EveryTypeIsReadAsItWasWritten) {
  std::vector<SafeTensor> tensors;
  std::vector<std::vector<std::byte>> bytes;
  for (size_t i = 0; i <= static_cast<size_t>(ElementType::kFloat64); ++i) {
    const auto type = static_cast<ElementType>(i);
    bytes.emplace_back(static_cast<size_t>(3 * Bytes(type)));
    for (size_t k = 0; k < bytes.back().size(); ++k) bytes.back()[k] = std::byte(7 * i + 3 * k);
    tensors.emplace_back("t" + std::to_string(i), Name(type), std::vector<int64_t>{3, 1},
                         bytes.back());
  }
  const fs::path path = folder_ / "types";
  WriteSafeTensors(path, tensors);
  const SafeTensorsFile file(path);
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (const SafeTensor& t : tensors) {
    const SafeTensor& read = file.Find(t.name);
    EXPECT_EQ(read.dtype, t.dtype);
    EXPECT_EQ(read.shape, t.shape);
    EXPECT_TRUE(std::ranges::equal(read.bytes, t.bytes)) << t.dtype;
  }
}

TEST_F(SafeTensorsTest, WriterRejectsBadTensors) {
  const std::vector<float> two = {1, 2};
  const fs::path path = folder_ / "bad";
  const auto message = [&](std::vector<SafeTensor> tensors,
                           const std::map<std::string, std::string>& metadata = {}) {
    const std::string text = ErrorOf([&] { WriteSafeTensors(path, tensors, metadata); });
    EXPECT_THAT(text, HasSubstr(path.string() + ": "));
    return text.substr(std::min(text.size(), path.string().size() + 2));
  };
  EXPECT_EQ(message({{"a", {2}, two}, {"a", {2}, two}}), "tensor \"a\": appears twice");
  EXPECT_EQ(message({{"", {2}, two}}), "a tensor has an empty name");
  EXPECT_EQ(message({{"__metadata__", {2}, two}}),
            "tensor \"__metadata__\": the format reserves this name");
  EXPECT_EQ(message({{"a", {3}, two}}), "tensor \"a\": 8 bytes do not fit F32 [3]");
  EXPECT_EQ(message({{"a", {-2, -1}, two}}), "tensor \"a\": 8 bytes do not fit F32 [-2, -1]");
  EXPECT_EQ(message({{"a", {int64_t{1} << 62, 4}, {}}}),
            "tensor \"a\": 0 bytes do not fit F32 [4611686018427387904, 4]");
  EXPECT_EQ(message({{"a", "F33", {2}, std::as_bytes(std::span(two))}}),
            "tensor \"a\": unknown dtype \"F33\"");
  EXPECT_EQ(message({{"a", "I64", {2}, std::as_bytes(std::span(two))}}),
            "tensor \"a\": 8 bytes do not fit I64 [2]");
  EXPECT_EQ(message({{"a\xff", {2}, two}}), "a name or a metadata text is not valid UTF-8");
  EXPECT_EQ(message({}, {{"k", "\xff"}}), "a name or a metadata text is not valid UTF-8");
  const size_t kLongName = 100'000'000;
  EXPECT_THAT(message({{std::string(kLongName, 'n'), {2}, two}}),
              HasSubstr("more than the 100000000 that a header may have"));
  EXPECT_THAT(Listing(), IsEmpty());
}

TEST_F(SafeTensorsTest, WritingNamesFileAndReason) {
  EXPECT_EQ(ErrorOf([&] { WriteFileAtomically(folder_.path(), "text"); }),
            folder_.path().string() + ": cannot be written: it exists and is not a regular file");
  const fs::path nowhere = folder_ / "no" / "file";
  EXPECT_EQ(ErrorOf([&] { WriteFileAtomically(nowhere, "text"); }),
            nowhere.string() + ": folder " + (folder_ / "no").string() +
                " cannot be opened: No such file or directory");
  EXPECT_THAT(ErrorOf([] { WriteFileAtomically("/dev/null", "text"); }),
              HasSubstr("/dev/null: cannot be written"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  const fs::path long_name = folder_ / std::string(300, 'n');
  EXPECT_THAT(ErrorOf([&] { WriteFileAtomically(long_name, "text"); }),
              AllOf(HasSubstr(long_name.string()), HasSubstr("File name too long")));
  EXPECT_THAT(Listing(), IsEmpty());
}

// A write that fails half way: the system allows no file to grow beyond 4096 bytes.
TEST_F(SafeTensorsTest, OldFileSurvivesAFailedWrite) {
  const fs::path path = folder_ / "model.safetensors";
  const std::vector<float> old_values = {1, 2, 3};
  WriteSafeTensors(path, {{{"w", {3}, old_values}}});
  const std::string before = Slurp(path);
  const std::vector<float> large(10'000, 5);

  rlimit old_limit = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  auto* const old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit = old_limit;
  limit.rlim_cur = 4096;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string message = ErrorOf([&] { WriteSafeTensors(path, {{{"w", {10'000}, large}}}); });
  const std::string text_message =
      ErrorOf([&] { WriteFileAtomically(folder_ / "new", std::string(5000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);

  EXPECT_EQ(message, path.string() + ": cannot be written: File too large");
  EXPECT_EQ(text_message, (folder_ / "new").string() + ": cannot be written: File too large");
  EXPECT_EQ(Slurp(path), before);
  EXPECT_THAT(Listing(), ElementsAre("model.safetensors"));

  WriteSafeTensors(path, {{{"w", {10'000}, large}}});
  EXPECT_EQ(SafeTensorsFile(path).Floats("w").size(), 10'000u);
  EXPECT_THAT(Listing(), ElementsAre("model.safetensors"));
}

TEST_F(SafeTensorsTest, OldFileSurvivesAFolderThatCannotBeWritten) {
  const fs::path path = folder_ / "text";
  WriteFileAtomically(path, "old");
  fs::permissions(folder_.path(), fs::perms::owner_read | fs::perms::owner_exec);
  const std::string message = ErrorOf([&] { WriteFileAtomically(path, "new"); });
  fs::permissions(folder_.path(), fs::perms::owner_all);
  if (geteuid() == 0) {  // whom permissions do not stop
    EXPECT_EQ(Slurp(path), "new");
  } else {
    EXPECT_EQ(message, path.string() + ": cannot be written: Permission denied");
    EXPECT_EQ(Slurp(path), "old");
  }
  EXPECT_THAT(Listing(), ElementsAre("text"));
}

TEST_F(SafeTensorsTest, PermissionsAreTheUsualOnes) {
  const auto mode = [](const fs::path& path) {
    struct stat info = {};
    EXPECT_EQ(stat(path.c_str(), &info), 0);
    return info.st_mode & 07777;
  };
  const fs::path path = folder_ / "text";
  const mode_t old_mask = umask(027);
  WriteFileAtomically(path, "a");
  umask(old_mask);
  EXPECT_EQ(mode(path), 0640u);
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  WriteFileAtomically(path, "b");
  EXPECT_EQ(mode(path), 0600u);
  EXPECT_EQ(Slurp(path), "b");
}

TEST_F(SafeTensorsTest, WritingFollowsLinks) {
  const fs::path path = folder_ / "real", link = folder_ / "link";
  WriteFileAtomically(path, "old");
  fs::create_symlink("real", link);
  WriteFileAtomically(link, "new");
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(Slurp(path), "new");
  EXPECT_THAT(Listing(), UnorderedElementsAre("real", "link"));
}

TEST_F(SafeTensorsTest, WritesIntoTheCurrentFolder) {
  const fs::path old_folder = fs::current_path();
  fs::current_path(folder_.path());
  WriteFileAtomically("plain", std::string("a\0b", 3));
  fs::current_path(old_folder);
  EXPECT_EQ(Slurp(folder_ / "plain"), std::string("a\0b", 3));
}

// A process that ends while it writes leaves nothing behind.
TEST_F(SafeTensorsTest, AProcessThatIsKilledLeavesNoTemporaryFile) {
  const fs::path folder = folder_ / "killed";
  fs::create_directories(folder);
  const pid_t child = fork();
  if (child == 0) {
    internal::AtomicFile file(folder / "out");
    file.Write("some", 4);
    raise(SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  if (open(folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600) < 0) {
    GTEST_SKIP() << "the file system has no files without names";
  }
  EXPECT_TRUE(fs::is_empty(folder));
}

}  // namespace safetensors_test
}  // namespace kudari
