#include "lab/files/execute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari::lab {
namespace execute_test {

namespace fs = std::filesystem;
using kudari::testing::ErrorOf;
using ::testing::HasSubstr;

TEST(ExecuteTest, AProgramsEndAndWhatItWrites) {
  const kudari::testing::TemporaryFolder folder;
  fs::path path;
  {
    const ScratchFolder scratch(folder.path());
    path = scratch.path();
    const Ended ended =
        Execute({"sh", "-c", "echo \"$1\"; echo why >&2; exit 3", "sh", "a b"}, scratch);
    EXPECT_EQ(ended.code, 3);
    EXPECT_EQ(ended.output, "a b\n");
    EXPECT_EQ(ended.error, "why\n");
    EXPECT_EQ(Execute({"sh", "-c", "kill -9 $$"}, scratch).code, 137);
    EXPECT_EQ(Execute({"sh", "-c", "read x || echo none"}, scratch).output, "none\n")
        << "there is no input";
    EXPECT_EQ(ErrorOf([&] { Execute({"no-such-program"}, scratch); }),
              "no-such-program: cannot be executed: No such file or directory");
  }
  EXPECT_FALSE(fs::exists(path));
  EXPECT_THAT(ErrorOf([&] { const ScratchFolder none(folder / "none"); }),
              HasSubstr("cannot be made: No such file or directory"));
}

}  // namespace execute_test
}  // namespace kudari::lab
