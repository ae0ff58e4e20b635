#include "kudari/huge_pages.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "kudari/kudari.h"

namespace kudari {
namespace huge_pages_test {

/// Bytes of this process whose pages the system was asked to make huge.
size_t AdvisedBytes() {
  std::ifstream file("/proc/self/smaps");
  size_t size = 0, advised = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key, flag;
    words >> key;
    if (key == "Size:") words >> size;
    if (key != "VmFlags:") continue;
    while (words >> flag) {
      if (flag == "hg") advised += size * 1024;
    }
  }
  return advised;
}

struct Mapping {
  explicit Mapping(size_t size) : bytes(size) {
    memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  ~Mapping() { munmap(memory, bytes); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  void* memory;
  size_t bytes;
};

TEST(HugePagesTest, WholePagesWithinMemoryAreAdvisedAndKeepTheirContents) {
  const size_t page = HugePageSize();
  if (page == 0) GTEST_SKIP() << "this system has no huge pages";
  const Mapping mapping(8 * page);
  ASSERT_NE(mapping.memory, MAP_FAILED);
  auto* const bytes = static_cast<unsigned char*>(mapping.memory);
  for (size_t i = 0; i < mapping.bytes; ++i) bytes[i] = static_cast<unsigned char>(i * 31 >> 7);
  const size_t before = AdvisedBytes();
  // Neither end is at a huge page's.
  const size_t advised = AdviseHugePages(bytes + 64, mapping.bytes - 128);
  EXPECT_EQ(advised % page, 0U);
  EXPECT_GE(advised, 6 * page);
  EXPECT_LT(advised, 8 * page);
  EXPECT_EQ(AdvisedBytes() - before, advised);
  for (size_t i = 0; i < mapping.bytes; ++i) {
    ASSERT_EQ(bytes[i], static_cast<unsigned char>(i * 31 >> 7)) << i;
  }
}

TEST(HugePagesTest, ThereIsNothingToAdviseInSmallMemory) {
  std::vector<float> small(1000);
  EXPECT_EQ(AdviseHugePages(small.data(), small.size() * sizeof(float)), 0U);
  EXPECT_EQ(AdviseHugePages(nullptr, 0), 0U);
}

TEST(HugePagesTest, StateOfLargeTensorsHasThem) {
  const size_t page = HugePageSize();
  if (page == 0) GTEST_SKIP() << "this system has no huge pages";
  const auto elements = static_cast<int64_t>(4 * page / sizeof(float));
  std::vector<float> weights(static_cast<size_t>(elements)), gradient(weights.size(), 1);
  const size_t before = AdvisedBytes();
  Optimizer optimizer(
      {{.name = "w", .shape = {elements}, .param = weights.data(), .grad = gradient.data()}},
      AdamW{});
  optimizer.Step();
  const size_t state = 8 * page;  // two moments of four
  EXPECT_GE(AdvisedBytes() - before, state - 2 * page);
  EXPECT_LE(AdvisedBytes() - before, state + page);
}

}  // namespace huge_pages_test
}  // namespace kudari
