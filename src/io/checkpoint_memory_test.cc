#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kudari/checkpoint.h"
#include "tests/support/allocations.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_folder.h"

namespace kudari {
namespace checkpoint_memory_test {

using testing::ErrorOf;
using testing::PeakMemory;

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kArrays = 8, kArrayMiB = 4, kStateBytes = kArrays * kArrayMiB * kMiB;
// For names, the manifest and the like.
constexpr int64_t kSmall = kMiB / 2;
const CheckpointOptions kShards = {.model_nodes = {"model"},
                                   .shard_bytes = uint64_t{2 * kArrayMiB * kMiB}};

StateTree LargeState() {
  StateTree state;
  const std::vector<float> values(static_cast<size_t>(kArrayMiB * kMiB) / sizeof(float), 1.5F);
  for (int64_t i = 0; i < kArrays; ++i) {
    state.Set((i < kArrays / 2 ? "model/w" : "slots/w") + std::to_string(i),
              StateArray::Of<float>(values));
  }
  return state;
}

// Arrays are written from where they are: a save needs no memory for a shard, not even for one
// array.
TEST(CheckpointMemory, ASaveTakesNextToNone) {
  const testing::TemporaryFolder folder;
  const StateTree state = LargeState();
  const PeakMemory peak;
  SaveCheckpoint(folder / "all", state, {.step = 1}, kShards);
  EXPECT_LT(peak.Bytes(), kSmall);
}

TEST(CheckpointMemory, ASaveInAThreadTakesTheCopyThatItIsGiven) {
  const testing::TemporaryFolder folder;
  const StateTree state = LargeState();
  CheckpointSaver saver(folder / "all", kShards);
  const PeakMemory peak;
  // The second waits for the first, which frees its copy before it has ended.
  for (int64_t step = 1; step <= 2; ++step) {
    saver.Wait();
    saver.Save(StateTree(state), {.step = step});
  }
  while (saver.saving()) std::this_thread::yield();
  EXPECT_GE(peak.Bytes(), kStateBytes);
  EXPECT_LT(peak.Bytes(), kStateBytes + kSmall);
  // Once the files are written nothing is left of it, whether or not anybody asks what became of
  // it.
  const PeakMemory afterwards;
  EXPECT_LT(peak.Bytes(), kSmall);
}

// The lowest priority, as niceness, of the threads of this process.
int LowestPriority() {
  int lowest = -20;
  std::error_code ended;  // a thread may end meanwhile
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", ended)) {
    const auto thread = static_cast<id_t>(std::stoi(task.path().filename().string()));
    lowest = std::max(lowest, getpriority(PRIO_PROCESS, thread));
  }
  return lowest;
}

TEST(CheckpointThread, StepsBackBehindTheOthers) {
  const testing::TemporaryFolder folder;
  const StateTree state = LargeState();
  const int own = getpriority(PRIO_PROCESS, static_cast<id_t>(gettid()));
  CheckpointSaver saver(folder / "all", kShards);
  int lowest = own;
  for (int64_t step = 1; step <= 20 && lowest == own; ++step) {
    saver.Save(StateTree(state), {.step = step});
    while (saver.saving()) lowest = std::max(lowest, LowestPriority());
    saver.Wait();
  }
  EXPECT_EQ(lowest, std::min(own + 10, 19));
  EXPECT_EQ(LowestPriority(), own) << "other threads keep theirs";
}

TEST(CheckpointMemory, LoadingTakesTheStateAndVerifyingAChunkForEachThread) {
  const testing::TemporaryFolder folder;
  const auto saved = SaveCheckpoint(folder / "all", LargeState(), {.step = 1}, kShards);
  {
    const PeakMemory peak;
    LoadCheckpoint(saved);
    EXPECT_LT(peak.Bytes(), kStateBytes + kSmall);
  }
  const PeakMemory peak;
  VerifyCheckpoint(saved);
  EXPECT_LT(peak.Bytes(), kMiB + kSmall);
}

// While it lives, no thread can begin: it would have a stack larger than the address space.
class NoThreads {
 public:
  NoThreads() {
    pthread_getattr_default_np(&former_);
    pthread_attr_t huge;
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, size_t{1} << 50);
    pthread_setattr_default_np(&huge);
    pthread_attr_destroy(&huge);
  }
  ~NoThreads() {
    pthread_setattr_default_np(&former_);
    pthread_attr_destroy(&former_);
  }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;

 private:
  pthread_attr_t former_ = {};
};

TEST(CheckpointMemory, WithoutThreadsASaverSaysSoAndLoadingGoesOn) {
  const testing::TemporaryFolder folder;
  const StateTree state = LargeState();
  CheckpointSaver saver(folder / "all", kShards);
  {
    const NoThreads none;
    EXPECT_THAT(ErrorOf([&] { saver.Save(state, {.step = 1}); }),
                ::testing::HasSubstr("all: there can be no thread that saves: "));
    EXPECT_FALSE(saver.saving());
    EXPECT_EQ(saver.Wait(), std::nullopt);
    const auto saved = SaveCheckpoint(folder / "all", state, {.step = 2}, kShards);
    EXPECT_EQ(FirstDifference(LoadCheckpoint(saved).state, state), "");
  }
  saver.Save(state, {.step = 3});
  EXPECT_EQ(saver.Wait(), folder / "all/step-3");
}

}  // namespace checkpoint_memory_test
}  // namespace kudari
