#include "lab/bench/blas.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "kudari/error.h"
#include "kudari/parallel.h"

namespace kudari::lab {
namespace blas_test {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

class BlasTest : public ::testing::Test {
 protected:
  // What the machine asks for is none of the tests' business.
  void SetUp() override {
    unsetenv("KUDARI_BLAS");
    unsetenv("OPENBLAS_CORETYPE");
  }
};

TEST_F(BlasTest, AMissingLibraryIsAnError) {
  setenv("KUDARI_BLAS", "libnone.so.7", 1);
  EXPECT_THAT(LoadBlas, ThrowsMessage<Error>(AllOf(StartsWith("libnone.so.7: "),
                                                   HasSubstr("libopenblas0-openmp"),
                                                   HasSubstr("KUDARI_BLAS"))));
  EXPECT_EQ(std::getenv("OPENBLAS_CORETYPE"), nullptr);
}

TEST_F(BlasTest, ALibraryOfOtherThingsIsAnError) {
  setenv("KUDARI_BLAS", "libm.so.6", 1);
  EXPECT_THAT(LoadBlas, ThrowsMessage<Error>("libm.so.6 has no cblas_sgemm"));
}

TEST_F(BlasTest, KnowsTheCoreTypesOfInstructionSets) {
  EXPECT_EQ(OpenBlasCore("avx512"), "SkylakeX");
  EXPECT_EQ(OpenBlasCore("avx2"), "Haswell");
  EXPECT_EQ(OpenBlasCore("neon"), "");
  EXPECT_EQ(OpenBlasCore("scalar"), "");
}

TEST_F(BlasTest, KeepsTheCoreTypeThatTheUserAskedFor) {
  setenv("KUDARI_BLAS", "libnone.so.7", 1);
  setenv("OPENBLAS_CORETYPE", "Nehalem", 1);
  EXPECT_THROW(LoadBlas(), Error);
  EXPECT_STREQ(std::getenv("OPENBLAS_CORETYPE"), "Nehalem");
}

TEST_F(BlasTest, Multiplies) {
  std::optional<Blas> blas;
  try {
    blas = LoadBlas();
  } catch (const Error& e) {
    GTEST_SKIP() << e.what();
  }
  EXPECT_EQ(std::getenv("OPENBLAS_CORETYPE"), nullptr);
  EXPECT_THAT(blas->name, StartsWith("libopenblas.so.0 (OpenBLAS"));
  // OpenBLAS sets the number of OpenMP's threads, which other tests of this program use, too.
  const int threads = Threads({});
  blas->set_threads(1);
  const float a[] = {1, 2, 3, 4, 5, 6};  // 2 x 3
  const float b[] = {1, 0, 2, 0, 1, 1};  // 2 x 3, or 3 x 2
  float c[] = {1, 1, 1, 1};
  blas->Multiply(true, 2, 2, 3, 1, a, b, 0, c);
  EXPECT_THAT(c, ::testing::ElementsAre(7, 5, 16, 11));
  blas->Multiply(false, 2, 2, 3, 2, a, b, 1, c);
  EXPECT_THAT(c, ::testing::ElementsAre(7 + 2 * 8, 5 + 2 * 3, 16 + 2 * 20, 11 + 2 * 6));
  blas->set_threads(threads);
  EXPECT_EQ(Threads({}), threads);
}

}  // namespace blas_test
}  // namespace kudari::lab
