#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "kudari/checkpoint.h"
#include "kudari/files.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

// In place of the system's, for the library too: what is synced and renamed, in which order, is all
// that can be seen of what survives when the machine loses power.

namespace {

struct Calls {
  bool recorded = false;
  int syncs_until_failure = 0;  // not positive: none fails
  std::vector<std::string> made = {};
};

Calls& TheCalls() {
  static Calls calls;
  return calls;
}

std::string NameOf(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with(".saving-") ? "hidden" : name;
}

template <class F>
F* Original(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" int fsync(int fd) {
  Calls& calls = TheCalls();
  if (calls.recorded) {
    calls.made.push_back(
        "sync " + NameOf(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd))));
    if (--calls.syncs_until_failure == 0) {
      errno = EIO;
      return -1;
    }
  }
  static auto* const original = Original<int(int)>("fsync");
  return original(fd);
}

// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the system's are reserved
extern "C" int rename(const char* from, const char* to) noexcept {
  Calls& calls = TheCalls();
  if (calls.recorded) calls.made.push_back("rename " + NameOf(from) + " to " + NameOf(to));
  static auto* const original = Original<int(const char*, const char*)>("rename");
  return original(from, to);
}

namespace kudari {
namespace checkpoint_durability_test {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Records while it lives.
class Recorded {
 public:
  explicit Recorded(int syncs_until_failure = 0) {
    TheCalls() = {.recorded = true, .syncs_until_failure = syncs_until_failure};
  }
  ~Recorded() { TheCalls() = {}; }
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;

  static const std::vector<std::string>& calls() { return TheCalls().made; }
};

StateTree State() {
  StateTree state;
  state.Set("step", int64_t{1});
  for (const char* const path : {"model/a", "model/b", "slots/a"}) {
    state.Set(path, StateArray::Of<float>(std::vector<float>(4, 1.5F)));
  }
  return state;
}

const CheckpointOptions kOptions = {
    .retention = {.keep = 1}, .model_nodes = {"model"}, .shard_bytes = 16};

// Everything is on the disk before the checkpoint appears, and the checkpoint before the one that
// it replaces disappears.
TEST(CheckpointDurability, EachFileThenTheFoldersThenTheOldOne) {
  const testing::TemporaryFolder folder;
  SaveCheckpoint(folder / "all", State(), {.step = 1}, kOptions);
  const Recorded recorded;
  SaveCheckpoint(folder / "all", State(), {.step = 2}, kOptions);
  EXPECT_THAT(
      Recorded::calls(),
      ElementsAre("sync model-00001-of-00002.safetensors", "sync model-00002-of-00002.safetensors",
                  "sync model.safetensors.index.json", "sync state.safetensors",
                  "sync manifest.json", "sync hidden", "rename hidden to step-2", "sync all",
                  "rename step-1 to .deleting-step-1"));
}

TEST(CheckpointDurability, AFailedSyncIsAFailedSave) {
  const testing::TemporaryFolder folder;
  SaveCheckpoint(folder / "all", State(), {.step = 1}, kOptions);
  // The last is of the folder with the new checkpoint, which is there, but may not stay.
  for (int n = 1; n <= 7; ++n) {
    std::string failure;
    {
      const Recorded recorded(n);
      failure =
          testing::ErrorOf([&] { SaveCheckpoint(folder / "all", State(), {.step = 2}, kOptions); });
    }
    EXPECT_THAT(failure, HasSubstr("cannot be synced: Input/output error")) << n;
    EXPECT_EQ(ListCheckpoints(folder / "all").size(), n < 7 ? 1U : 2U) << n;
    EXPECT_TRUE(std::filesystem::exists(folder / "all/step-1/manifest.json")) << n;
  }
}

TEST(CheckpointDurability, AFileIsSyncedBeforeItReplacesAnother) {
  const testing::TemporaryFolder folder;
  WriteFileAtomically(folder / "file", "old");
  {
    const Recorded recorded;
    WriteFileAtomically(folder / "file", "new");
    ASSERT_EQ(Recorded::calls().size(), 3U);
    EXPECT_THAT(Recorded::calls()[0], HasSubstr("sync "));
    EXPECT_THAT(Recorded::calls()[1], HasSubstr(" to file"));
    EXPECT_THAT(Recorded::calls()[2], HasSubstr("sync "));
  }
  {
    const Recorded recorded(1);
    EXPECT_THAT(testing::ErrorOf([&] { WriteFileAtomically(folder / "file", "newer"); }),
                HasSubstr("cannot be synced"));
  }
  EXPECT_EQ(ReadFile(folder / "file", 100), "new");
}

}  // namespace checkpoint_durability_test
}  // namespace kudari
