// Runs a fuzz target over its kept corpus, and over every prefix of each input.

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace corpus_test {

void RunTarget(const std::string& input) {
  // A copy of the exact size, so that the sanitizers see an access beyond its end.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

class CorpusTest : public ::testing::TestWithParam<std::string> {};

TEST_P(CorpusTest, EveryInputAndItsPrefixes) {
  constexpr size_t kPrefixes = 500;  // of an input, at most
  const std::string folder = KUDARI_SOURCE_DIR "/tests/fuzz/corpus/" + GetParam();
  size_t inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    SCOPED_TRACE(entry.path().string());
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(in), {}};
    EXPECT_NO_THROW(RunTarget(input));
    const size_t step = 1 + input.size() / kPrefixes;
    for (size_t size = 0; size < input.size(); size += step) {
      EXPECT_NO_THROW(RunTarget(input.substr(0, size))) << "the first " << size << " bytes";
    }
    ++inputs;
  }
  EXPECT_GE(inputs, 10u);
}

INSTANTIATE_TEST_SUITE_P(Kept, CorpusTest, ::testing::Values(KUDARI_CORPUS),
                         [](const auto& info) { return info.param; });

}  // namespace corpus_test
