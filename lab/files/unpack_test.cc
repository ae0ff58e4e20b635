#include "lab/files/unpack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lzma.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cstring>
#include <filesystem>

#include "kudari/files.h"
#include "lab/files/text_file.h"
#include "tests/support/allocations.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace unpack_test {

namespace fs = std::filesystem;
using kudari::testing::ErrorOf;
using kudari::testing::PeakMemory;
using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;

class UnpackTest : public ::testing::Test {
 protected:
  // A file of zeros, packed as its name says.
  fs::path Zeros(const std::string& name, int64_t size) const {
    fs::path path = dir_ / name;
    const std::string zeros(kMiB, '\0');
    if (path.extension() == ".gz") {
      gzFile file = gzopen(path.c_str(), "wb9");
      for (int64_t left = size; left > 0; left -= kMiB) {
        gzwrite(file, zeros.data(), static_cast<unsigned>(std::min(left, kMiB)));
      }
      gzclose(file);
      return path;
    }
    lzma_stream stream = LZMA_STREAM_INIT;
    EXPECT_EQ(lzma_easy_encoder(&stream, 0, LZMA_CHECK_CRC32), LZMA_OK);
    std::string packed(size_t{1} << 20, '\0');
    stream.next_out = reinterpret_cast<uint8_t*>(packed.data());
    stream.avail_out = packed.size();
    for (int64_t left = size; left > 0; left -= kMiB) {
      stream.next_in = reinterpret_cast<const uint8_t*>(zeros.data());
      stream.avail_in = static_cast<size_t>(std::min(left, kMiB));
      EXPECT_EQ(lzma_code(&stream, LZMA_RUN), LZMA_OK);
    }
    EXPECT_EQ(lzma_code(&stream, LZMA_FINISH), LZMA_STREAM_END);
    packed.resize(packed.size() - stream.avail_out);
    lzma_end(&stream);
    WriteFileAtomically(path, packed);
    return path;
  }

  kudari::testing::TemporaryFolder dir_;
};

TEST_F(UnpackTest, SmallFilesUnpackToALimit) {
  for (const char* name : {"zeros.gz", "zeros.xz"}) {
    const fs::path path = Zeros(name, 256 * kMiB);
    EXPECT_LT(fs::file_size(path), 300'000u);
    {
      const PeakMemory memory;
      EXPECT_EQ(ReadUnpacked(path).size(), static_cast<size_t>(256 * kMiB));
      EXPECT_LT(memory.Bytes(), 258 * kMiB) << name;
    }
    const PeakMemory memory;
    EXPECT_EQ(ErrorOf([&] { ReadUnpacked(Zeros(name, 256 * kMiB + 1)); }),
              path.string() + ": unpacks to more than 268435456 bytes");
    EXPECT_LT(memory.Bytes(), 4 * kMiB) << name;
  }
}

// The header of a file says how much memory unpacking takes, up to 4 GiB.
TEST_F(UnpackTest, MemoryForUnpackingHasALimit) {
  const fs::path path = Zeros("small.xz", 1000);
  std::string bytes = ReadTextFile(path);
  // Behind the 12 bytes of the stream's header is that of the block: its size, flags, the filter,
  // the size of its properties and these, padding, and a checksum.
  const size_t block = 12, size = 4 * (static_cast<size_t>(bytes[block]) + 1);
  ASSERT_EQ(bytes[block + 2], '\x21');  // LZMA2
  const auto with_dictionary = [&](char code) {
    bytes[block + 4] = code;
    const uint32_t check =
        lzma_crc32(reinterpret_cast<const uint8_t*>(bytes.data()) + block, size - 4, 0);
    std::memcpy(bytes.data() + block + size - 4, &check, sizeof(check));
    WriteFileAtomically(path, bytes);
    return ErrorOf([&] { ReadUnpacked(path); });
  };
  EXPECT_EQ(with_dictionary(30), "no error");  // 128 MiB
  EXPECT_THAT(with_dictionary(40), AllOf(HasSubstr(path.string() + ": takes 429"),
                                         HasSubstr("bytes of memory to be unpacked, which is "
                                                   "outside [0, 268435456]")));
}

TEST_F(UnpackTest, WhatIsPackedIsARegularFile) {
  for (const char* name : {"pipe.gz", "pipe.xz", "pipe.csv"}) {
    const fs::path path = dir_ / name;
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    EXPECT_EQ(ErrorOf([&] { ReadUnpacked(path); }), path.string() + ": is not a regular file");
  }
  EXPECT_EQ(ErrorOf([&] { ReadUnpacked("/dev/zero"); }), "/dev/zero: is not a regular file");
  const fs::path sparse = dir_ / "sparse.csv";
  WriteFileAtomically(sparse, "");
  fs::resize_file(sparse, static_cast<uintmax_t>(256 * kMiB + 1));
  EXPECT_EQ(ErrorOf([&] { ReadUnpacked(sparse); }),
            sparse.string() + ": has 268435457 bytes, which is outside [0, 268435456]");
}

TEST_F(UnpackTest, SeveralStreamsAndTruncatedOnes) {
  for (const char* name : {"parts.gz", "parts.xz"}) {
    const fs::path path = Zeros(name, 100'000);
    const std::string one = ReadTextFile(path);
    WriteFileAtomically(path, one + one);
    EXPECT_EQ(ReadUnpacked(path), std::string(200'000, '\0')) << name;
    WriteFileAtomically(path, one.substr(0, one.size() - 9));
    EXPECT_EQ(ErrorOf([&] { ReadUnpacked(path); }), path.string() + ": is truncated");
    WriteFileAtomically(path, one + "more than a stream");
    EXPECT_EQ(ErrorOf([&] { ReadUnpacked(path); }), path.string() + ": is damaged");
  }
}

}  // namespace unpack_test
}  // namespace kudari::lab
