#include "kudari/state_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "kudari/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari {
namespace state_file_test {

namespace fs = std::filesystem;
using testing::ErrorOf;
using ::testing::HasSubstr;

class StateFileTest : public ::testing::Test {
 protected:
  fs::path Path() const { return folder_ / "state"; }

  testing::TemporaryFolder folder_;
};

TEST_F(StateFileTest, EveryKindComesBack) {
  StateTree state;
  for (size_t i = 0; i <= static_cast<size_t>(ElementType::kFloat64); ++i) {
    const auto type = static_cast<ElementType>(i);
    std::vector<std::byte> bytes(static_cast<size_t>(6 * Bytes(type)));
    for (size_t k = 0; k < bytes.size(); ++k) bytes[k] = std::byte(31 * i + k);
    state.Set("arrays/" + std::string(Name(type)), StateArray{type, {2, 3}, bytes});
  }
  state.Set("arrays/scalar", StateArray::Of<float>(std::vector<float>{2}, {}));
  state.Set("arrays/none", StateArray::Of<float>(std::vector<float>(), {0, 4}));
  state.Set("tensors/a~1b~0 \"c\"\n/step", int64_t{12});
  for (const int64_t x : {INT64_MIN, int64_t{-1}, INT64_MAX}) {
    state.Set("int/" + std::to_string(x), x);
  }
  state.Set("uint", ~uint64_t{0});
  state.Set("yes", true);
  state.Set("no", false);
  for (const char* const text : {"", " ", "int64 5", "größe\n\"x\"", "nan"}) {
    state.Set("text/n" + std::string(text), std::string(text));
  }
  const double doubles[] = {
      0.0,      -0.0,      0.1, 5e-324, 1.7976931348623157e308,
      INFINITY, -INFINITY, NAN, -NAN,   std::bit_cast<double>(0x7FF0000000000123U)};
  for (size_t i = 0; i < std::size(doubles); ++i) {
    state.Set("double/" + std::to_string(i), doubles[i]);
  }
  WriteState(Path(), state);
  EXPECT_EQ(FirstDifference(ReadState(Path()), state), "");

  const SafeTensorsFile file(Path());
  EXPECT_EQ(file.metadata().at("uint"), "uint64 18446744073709551615");
  EXPECT_EQ(file.metadata().at("double/2"), "double 0.1");
  EXPECT_EQ(file.metadata().at("yes"), "bool true");
  EXPECT_EQ(file.metadata().at("text/n "), "string  ");
  EXPECT_EQ(file.Find("arrays/BF16").dtype, "BF16");
}

TEST_F(StateFileTest, NodesWithoutMembersAreNotKept) {
  StateTree state;
  WriteState(Path(), state);
  EXPECT_EQ(ReadState(Path()), state);
  state.Set("a/b", StateTree());
  WriteState(Path(), state);
  EXPECT_EQ(ReadState(Path()), StateTree());
}

TEST_F(StateFileTest, BadStatesAreNotWritten) {
  StateTree state;
  state.Set("kudari.state", int64_t{1});
  EXPECT_EQ(ErrorOf([&] { WriteState(Path(), state); }),
            Path().string() + ": \"kudari.state\": the format reserves this name");
  state = StateTree();
  state.Add("\xff", true);
  EXPECT_THAT(ErrorOf([&] { WriteState(Path(), state); }), HasSubstr("not valid UTF-8"));
  state = StateTree();
  std::string path = "a";
  for (int i = 0; i < 100; ++i) path += "/a";
  state.Set(path, true);
  EXPECT_THAT(ErrorOf([&] { WriteState(Path(), state); }), HasSubstr("nested more than 100 deep"));
  EXPECT_FALSE(fs::exists(Path()));
}

TEST_F(StateFileTest, BadFilesAreNamed) {
  const float one = 1;
  const auto error = [&](std::map<std::string, std::string> metadata,
                         const std::vector<std::string>& tensors = {}) {
    std::vector<SafeTensor> written;
    for (const std::string& name : tensors) {
      written.emplace_back(name, std::vector<int64_t>{1}, std::span(&one, 1));
    }
    metadata.emplace("kudari.state", "1");
    WriteSafeTensors(Path(), written, metadata);
    std::string text = ErrorOf([&] { ReadState(Path()); });
    EXPECT_EQ(text.substr(0, Path().string().size() + 2), Path().string() + ": ");
    return text.substr(std::min(text.size(), Path().string().size() + 2));
  };
  WriteSafeTensors(Path(), {});
  EXPECT_EQ(ErrorOf([&] { ReadState(Path()); }),
            Path().string() + ": is not a state: its metadata has no \"kudari.state\"");
  EXPECT_EQ(error({{"kudari.state", "2"}}), "is a state of version \"2\", not 1");
  for (const char* const bad : {"", "int64", "int64 ", "int64 1.5", "int64 9223372036854775808",
                                "uint64 -1", "double", "double x", "double nan",
                                "double nan 7ff0000000000000", "bool yes", "float 1", "int64  1"}) {
    EXPECT_EQ(error({{"x", bad}}),
              "\"x\": \"" + std::string(bad) + "\" is not a scalar such as \"int64 12\"");
  }
  EXPECT_EQ(error({{"x", "int64 1"}}, {"x"}), "\"x\": conflicts with another entry of the file");
  EXPECT_EQ(error({{"x", "int64 1"}}, {"x/y"}),
            "\"x/y\": conflicts with another entry of the file");
  EXPECT_EQ(error({}, {"x/y", "x"}), "\"x\": conflicts with another entry of the file");
  EXPECT_THAT(error({{"x//y", "int64 1"}}), HasSubstr("has an empty name"));
  EXPECT_THAT(error({{"x~", "int64 1"}}), HasSubstr("followed by neither 0 nor 1"));
  std::string deep = "a";
  for (int i = 0; i < 100; ++i) deep += "/a";
  EXPECT_THAT(error({{deep, "int64 1"}}), HasSubstr("is nested 101 deep, more than 100"));
}

}  // namespace state_file_test
}  // namespace kudari
