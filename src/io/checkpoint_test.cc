#include "kudari/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "io/checksum.h"
#include "io/file.h"
#include "io/manifest.h"
#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/safetensors.h"
#include "tests/support/errors.h"
#include "tests/support/sanitized.h"
#include "tests/support/temporary_folder.h"

namespace kudari {
namespace checkpoint_test {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

StateTree SmallState(int64_t step) {
  StateTree state;
  state.Set("step", step);
  state.Set("model/parameters/fc.weight",
            StateArray::Of<float>(std::vector<float>{1, 2, 3, static_cast<float>(step)}, {2, 2}));
  state.Set("optimizer/tensors/fc.weight/slots/exp_avg",
            StateArray::Of<float>(std::vector<float>{4, 5, 6, 7}, {2, 2}));
  return state;
}

const CheckpointOptions kModel = {.model_nodes = {"model/parameters"}};

class CheckpointTest : public ::testing::Test {
 protected:
  fs::path Save(int64_t step, const CheckpointOptions& options = kModel) {
    return SaveCheckpoint(folder_ / "all", SmallState(step), {.step = step}, options);
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const CheckpointEntry& e : ListCheckpoints(folder_ / "all")) {
      names.push_back(e.folder.filename().string());
    }
    return names;
  }
  static std::set<std::string> FilesIn(const fs::path& folder) {
    std::set<std::string> names;
    for (const auto& file : fs::directory_iterator(folder)) {
      names.insert(file.path().filename().string());
    }
    return names;
  }
  // What is said of a checkpoint whose manifest was changed by somebody who can compute checksums.
  static std::string Forged(const fs::path& checkpoint, CheckpointManifest manifest,
                            const std::function<void(CheckpointManifest&)>& change) {
    change(manifest);
    WriteFileAtomically(checkpoint / "manifest.json", internal::ManifestText(manifest));
    return ErrorOf([&] { LoadCheckpoint(checkpoint); });
  }

  testing::TemporaryFolder folder_;
};

TEST_F(CheckpointTest, EveryKindComesBack) {
  StateTree state;
  for (size_t i = 0; i <= static_cast<size_t>(ElementType::kFloat64); ++i) {
    const auto type = static_cast<ElementType>(i);
    std::vector<std::byte> bytes(static_cast<size_t>(6 * Bytes(type)));
    for (size_t k = 0; k < bytes.size(); ++k) bytes[k] = std::byte(37 * i + k);
    state.Set("arrays/" + std::string(Name(type)), StateArray{type, {2, 3}, bytes});
  }
  state.Set("arrays/none", StateArray::Of<float>(std::vector<float>(), {0, 4}));
  state.Set("arrays/nan", StateArray::Of<float>(std::vector<float>{NAN, INFINITY}));
  state.Set("text", std::string("0.1 * warmup(5)"));
  state.Set("nan", std::nan(""));
  state.Set("deep/er/seed", uint64_t{18446744073709551615U});
  const CheckpointManifest about{
      .step = 7, .metrics = {{"val_loss", 0.1}}, .texts = {{"recipe", "lr = \"1\"\n"}}};
  const fs::path saved = SaveCheckpoint(folder_ / "all", state, about);
  EXPECT_EQ(saved, folder_ / "all/step-7");
  const Checkpoint loaded = LoadCheckpoint(folder_ / "all");
  EXPECT_EQ(FirstDifference(loaded.state, state), "");
  EXPECT_EQ(loaded.folder, saved);
  EXPECT_EQ(loaded.manifest.step, 7);
  EXPECT_EQ(loaded.manifest.metrics, about.metrics);
  EXPECT_EQ(loaded.manifest.texts, about.texts);
  EXPECT_EQ(loaded.manifest.serial, 1);
  EXPECT_EQ(loaded.manifest.library_version, "0.1.0");
  EXPECT_THAT(loaded.damaged, IsEmpty());
  EXPECT_EQ(loaded.manifest.Bytes(), fs::file_size(saved / "state.safetensors"));
}

// Arrays of several chunks, which threads read.
TEST_F(CheckpointTest, LargeArraysComeBack) {
  StateTree state;
  for (const char* const name : {"a", "b", "c"}) {
    std::vector<uint32_t> values(700001);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<uint32_t>(i) * 2654435761U + static_cast<uint32_t>(name[0]);
    }
    state.Set(name, StateArray::Of<uint32_t>(values));
  }
  // A byte more than whole chunks.
  state.Set("0", StateArray::Of<uint8_t>(std::vector<uint8_t>((1 << 20) + 1, 7)));
  const fs::path saved = SaveCheckpoint(folder_ / "all", state, {.step = 1});
  EXPECT_EQ(FirstDifference(LoadCheckpoint(saved).state, state), "");
  const fs::path file = saved / "state.safetensors";
  std::fstream damaged(file, std::ios::binary | std::ios::in | std::ios::out);
  damaged.seekp(static_cast<std::streamoff>(fs::file_size(file)) - 1);
  damaged.put('x').flush();
  EXPECT_THAT(ErrorOf([&] { LoadCheckpoint(saved); }), HasSubstr("tensor \"c\" is damaged"));
  EXPECT_THAT(ErrorOf([&] { VerifyCheckpoint(saved); }), HasSubstr("tensor \"c\" is damaged"));
}

TEST_F(CheckpointTest, OthersReadTheModel) {
  const fs::path saved = Save(3);
  EXPECT_EQ(FilesIn(saved),
            (std::set<std::string>{"manifest.json", "model.safetensors", "state.safetensors"}));
  const SafeTensorsFile model(saved / "model.safetensors");
  EXPECT_THAT(model.Floats("fc.weight"), ElementsAre(1, 2, 3, 3));
  EXPECT_THAT(model.tensors(), SizeIs(1));
  EXPECT_EQ(model.metadata().at("format"), "pt");
}

TEST_F(CheckpointTest, LargeStatesAreInShardsWithAnIndex) {
  StateTree state;
  for (const char* const name : {"a", "b", "c"}) {
    state.Set(std::string("model/parameters/") + name,
              StateArray::Of<float>(std::vector<float>(10, 1)));
  }
  for (const char* const name : {"a", "b"}) {
    state.Set(std::string("slots/") + name, StateArray::Of<float>(std::vector<float>(20, 2)));
  }
  state.Set("step", int64_t{1});
  CheckpointOptions options = kModel;
  options.shard_bytes = 80;
  const fs::path saved = SaveCheckpoint(folder_ / "all", state, {.step = 1}, options);
  EXPECT_EQ(
      FilesIn(saved),
      (std::set<std::string>{"manifest.json", "model-00001-of-00002.safetensors",
                             "model-00002-of-00002.safetensors", "model.safetensors.index.json",
                             "state-00001-of-00002.safetensors", "state-00002-of-00002.safetensors",
                             "state.safetensors.index.json"}));
  for (const char* const number : {"1", "2"}) {
    const SafeTensorsFile shard(saved /
                                ("model-0000" + std::string(number) + "-of-00002.safetensors"));
    EXPECT_EQ(shard.metadata().at("format"), "pt");
  }
  EXPECT_EQ(ReadFile(saved / "model.safetensors.index.json", 10000),
            "{\n  \"metadata\": {\n    \"total_size\": 120\n  },\n  \"weight_map\": {\n"
            "    \"a\": \"model-00001-of-00002.safetensors\",\n"
            "    \"b\": \"model-00001-of-00002.safetensors\",\n"
            "    \"c\": \"model-00002-of-00002.safetensors\"\n  }\n}\n");
  EXPECT_EQ(FirstDifference(LoadCheckpoint(saved).state, state), "");
  std::string index = ReadFile(saved / "state.safetensors.index.json", 10000);
  index.back() = ' ';
  std::ofstream(saved / "state.safetensors.index.json", std::ios::binary) << index;
  EXPECT_THAT(ErrorOf([&] { LoadCheckpoint(saved); }),
              HasSubstr("state.safetensors.index.json: is damaged"));
}

TEST_F(CheckpointTest, OthersReadNamesWithSlashes) {
  StateTree state;
  state.Set("model/parameters/" + PathComponent("a/b~c"),
            StateArray::Of<float>(std::vector<float>{1}));
  const fs::path saved = SaveCheckpoint(folder_ / "all", state, {}, kModel);
  EXPECT_THAT(SafeTensorsFile(saved / "model.safetensors").Floats("a/b~c"), ElementsAre(1));
  EXPECT_EQ(FirstDifference(LoadCheckpoint(saved).state, state), "");
}

TEST_F(CheckpointTest, WhatWasLoadedIsSavedAgain) {
  Save(3);
  const Checkpoint loaded = LoadCheckpoint(folder_ / "all");
  SaveCheckpoint(folder_ / "all", loaded.state, loaded.manifest, kModel);
  const Checkpoint again = LoadCheckpoint(folder_ / "all");
  EXPECT_THAT(again.damaged, IsEmpty());
  EXPECT_EQ(again.manifest.serial, 2);
  EXPECT_EQ(again.manifest.files, loaded.manifest.files);
  EXPECT_EQ(again.manifest.tensors, loaded.manifest.tensors);
  EXPECT_EQ(FirstDifference(again.state, loaded.state), "");
}

TEST_F(CheckpointTest, MovedCopiedAndRenamedOnesLoad) {
  Save(3);
  fs::rename(folder_ / "all", folder_ / "moved");
  EXPECT_EQ(LoadCheckpoint(folder_ / "moved").manifest.step, 3);
  fs::copy(folder_ / "moved/step-3", folder_ / "mine", fs::copy_options::recursive);
  EXPECT_EQ(LoadCheckpoint(folder_ / "mine").manifest.step, 3);
  fs::create_directory_symlink(folder_ / "moved", folder_ / "link");
  EXPECT_EQ(LoadCheckpoint(folder_ / "link").manifest.step, 3);
  // Saving goes where the link says.
  SaveCheckpoint(folder_ / "link", SmallState(4), {.step = 4});
  EXPECT_EQ(LoadCheckpoint(folder_ / "moved").manifest.step, 4);
}

TEST_F(CheckpointTest, TheRetentionIsKept) {
  CheckpointOptions options;
  options.retention = {.keep = 2, .keep_every = 4, .keep_best = "val_loss"};
  const std::vector<double> losses = {5, 4, 1, 7, 8, 9, 6};
  for (size_t i = 0; i < losses.size(); ++i) {
    const auto step = static_cast<int64_t>(i) + 1;
    SaveCheckpoint(folder_ / "all", SmallState(step),
                   {.step = step, .metrics = {{"val_loss", losses[i]}}}, options);
  }
  EXPECT_THAT(Names(), ElementsAre("step-7", "step-6", "step-4", "step-3"));
  options.retention.higher_is_better = true;
  EXPECT_THAT(PruneCheckpoints(folder_ / "all", options.retention),
              ElementsAre(folder_ / "all/step-3"));
  EXPECT_THAT(PruneCheckpoints(folder_ / "all", {.keep = 1}), SizeIs(2));
  EXPECT_THAT(PruneCheckpoints(folder_ / "all", {.keep = 0}), IsEmpty());
  EXPECT_EQ(FilesIn(folder_ / "all"), std::set<std::string>{"step-7"});
  EXPECT_THAT(ErrorOf([&] { Save(8, {.retention = {.keep = -1}}); }),
              HasSubstr("keep = -1 is outside [0, 2^63 - 1]"));
  EXPECT_THAT(ErrorOf([&] { CheckpointSaver(folder_ / "all", {.retention = {.keep_every = -1}}); }),
              HasSubstr("keep_every = -1 is outside [0, 2^63 - 1]"));
}

TEST_F(CheckpointTest, TheRetentionLeavesDamagedOnesAlone) {
  const fs::path damaged = Save(1);
  std::ofstream(damaged / "manifest.json") << "half";
  for (int64_t step = 2; step <= 4; ++step) Save(step);
  EXPECT_THAT(Names(), ElementsAre("step-4", "step-3", "step-1"));
}

// One process saves and deletes what another has just found.
TEST_F(CheckpointTest, LoadingGoesOnWithANewerOneIfTheOneThatItFoundWasDeleted) {
  Save(1, {.retention = {.keep = 1}});
  CheckpointSaver saver(folder_ / "all", {.retention = {.keep = 1}});
  int64_t loaded = 0;
  for (int64_t step = 2; step <= 40; ++step) {
    saver.Save(SmallState(step), {.step = step});
    do {
      const Checkpoint found = LoadCheckpoint(folder_ / "all");
      EXPECT_THAT(found.damaged, IsEmpty());
      EXPECT_GE(found.manifest.step, loaded);
      loaded = found.manifest.step;
    } while (saver.saving());
  }
  saver.Wait();
  EXPECT_EQ(LoadCheckpoint(folder_ / "all").manifest.step, 40);
}

// The newest is the one that was saved last, whatever its step, its name and the clock say.
TEST_F(CheckpointTest, WhoGoesOnFromAnEarlierStepFindsTheNewerSaves) {
  Save(3, {});
  const fs::path later = Save(9, {});
  fs::last_write_time(later, fs::file_time_type::clock::now() + std::chrono::hours(100));
  const fs::path again = Save(5, {});
  EXPECT_EQ(LoadCheckpoint(folder_ / "all").folder, again);
  EXPECT_EQ(Save(5, {}), folder_ / "all/step-5-2");
  EXPECT_THAT(Names(), ElementsAre("step-5-2", "step-5"));
}

TEST_F(CheckpointTest, EveryFlippedBitIsFoundAndTheOneBeforeIsLoaded) {
  const fs::path before = Save(1), last = Save(2);
  const StateTree expected = SmallState(1);
  int64_t flips = 0;
  for (const std::string& name : FilesIn(last)) {
    const std::string whole = ReadFile(last / name, 1 << 20);
    // The first and the last bit of each byte, and all bits of each fifth byte with sanitizers,
    // which are slow.
    for (size_t i = 0; i < whole.size(); ++i) {
      for (int bit = 0; bit < 8; ++bit) {
        if (testing::kSanitized && i % 25 != 0) continue;
        std::string flipped = whole;
        flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
        std::ofstream(last / name, std::ios::binary) << flipped;
        const Checkpoint loaded = LoadCheckpoint(folder_ / "all");
        ASSERT_EQ(loaded.folder, before) << name << " byte " << i << " bit " << bit;
        ASSERT_EQ(FirstDifference(loaded.state, expected), "");
        ASSERT_EQ(loaded.damaged.size(), 1U);
        ASSERT_EQ(loaded.damaged.front().folder, last);
        ++flips;
      }
    }
    std::ofstream(last / name, std::ios::binary) << whole;
  }
  EXPECT_GT(flips, testing::kSanitized ? 350 : 10000);
  EXPECT_EQ(LoadCheckpoint(folder_ / "all").folder, last);
}

TEST_F(CheckpointTest, EveryTruncationIsFoundAndTheOneBeforeIsLoaded) {
  const fs::path before = Save(1), last = Save(2);
  for (const std::string& name : FilesIn(last)) {
    const std::string whole = ReadFile(last / name, 1 << 20);
    for (size_t size = 0; size < whole.size(); ++size) {
      std::ofstream(last / name, std::ios::binary) << whole.substr(0, size);
      const Checkpoint loaded = LoadCheckpoint(folder_ / "all");
      ASSERT_EQ(loaded.folder, before) << name << " " << size;
      ASSERT_EQ(loaded.damaged.size(), 1U);
      EXPECT_THAT(loaded.damaged.front().reason, HasSubstr(name));
    }
    std::ofstream(last / name, std::ios::binary) << whole << '\n';
    EXPECT_EQ(LoadCheckpoint(folder_ / "all").folder, before) << name << " and a byte more";
    fs::remove(last / name);
    EXPECT_EQ(LoadCheckpoint(folder_ / "all").folder, before) << "without " << name;
    std::ofstream(last / name, std::ios::binary) << whole;
  }
  EXPECT_EQ(LoadCheckpoint(folder_ / "all").folder, last);
}

TEST_F(CheckpointTest, NothingToLoadIsAnErrorThatNamesAll) {
  EXPECT_THAT(ErrorOf([&] { LoadCheckpoint(folder_ / "none"); }),
              HasSubstr("none: cannot be read"));
  fs::create_directory(folder_ / "all");
  EXPECT_THAT(ErrorOf([&] { LoadCheckpoint(folder_ / "all"); }),
              HasSubstr("all: has no checkpoint"));
  for (const int64_t step : {1, 2}) {
    fs::resize_file(Save(step, {}) / "state.safetensors", 9);
  }
  EXPECT_THAT(ErrorOf([&] { LoadCheckpoint(folder_ / "all"); }),
              AllOf(HasSubstr("has no checkpoint that can be loaded"),
                    HasSubstr("step-2/state.safetensors: has 9 bytes, but"),
                    HasSubstr("step-1/state.safetensors: has 9 bytes, but")));
  EXPECT_THAT(ErrorOf([&] { VerifyCheckpoint(folder_ / "all/step-1"); }), HasSubstr("9 bytes"));
}

TEST_F(CheckpointTest, ManifestsThatLieAreFound) {
  const fs::path saved = Save(1);
  const CheckpointManifest truth = ReadManifest(saved);
  EXPECT_THAT(Forged(saved, truth, [](auto& m) { m.files[0].bytes = 7; }),
              HasSubstr("but 7 when it was"));
  EXPECT_THAT(Forged(saved, truth, [&](auto& m) { m.files[0].bytes = uint64_t{1} << 62; }),
              HasSubstr("but 4611686018427387904 when it was"));
  EXPECT_THAT(Forged(saved, truth, [&](auto& m) { m.files[0].xxh3 = 7; }),
              HasSubstr("model.safetensors: is damaged"));
  EXPECT_THAT(Forged(saved, truth, [&](auto& m) { m.tensors[0].xxh3 = 7; }),
              HasSubstr("model.safetensors: is damaged"));
  EXPECT_THAT(
      Forged(saved, truth, [&](auto& m) { m.tensors[0].shape = {4}; }),
      HasSubstr("has \"fc.weight\" (F32 [2, 2]) where its manifest says \"fc.weight\" (F32 [4])"));
  EXPECT_THAT(Forged(saved, truth, [&](auto& m) { m.tensors.pop_back(); }),
              HasSubstr("has 1 tensors, but its manifest lists 0"));
  EXPECT_THAT(Forged(saved, truth,
                     [&](auto& m) {
                       m.tensors[0].shape = {1, -1};
                     }),
              HasSubstr("tensors[0]: \"shape\" has a size that is not"));
  EXPECT_THAT(Forged(saved, truth,
                     [&](auto& m) {
                       m.tensors[0].shape = {INT64_MAX, INT64_MAX};
                     }),
              HasSubstr("tensors[0]: \"shape\" is too large"));
  EXPECT_THAT(Forged(saved, truth, [&](auto& m) { m.tensors[1].path = m.tensors[0].path; }),
              HasSubstr("tensors[1]: \"path\" = \"model/parameters/fc.weight\" is duplicate"));
  EXPECT_THAT(Forged(saved, truth, [&](auto& m) { m.tensors[1].path = "a//b"; }),
              HasSubstr("empty name"));
  EXPECT_THAT(Forged(saved, truth, [&](auto& m) { m.tensors[0].file = "x.safetensors"; }),
              HasSubstr("tensors[0]: \"file\" = \"x.safetensors\" is not a file"));
  EXPECT_THAT(Forged(saved, truth, [&](auto& m) { m.files.push_back(m.files[0]); }),
              HasSubstr("files[2]: \"name\" = \"model.safetensors\" is duplicate"));
  EXPECT_THAT(Forged(saved, truth, [&](auto& m) { m.serial = 0; }),
              HasSubstr("\"serial\" is not an integer from 1"));
  for (const std::string name :
       {"../all/x", "/etc/passwd", "", ".", "..", ".x", "a/b", "manifest.json", "a\\b"}) {
    EXPECT_THAT(Forged(saved, truth, [&](auto& m) { m.files[0].name = name; }),
                HasSubstr("is no plain file name"));
  }
  EXPECT_EQ(Forged(saved, truth, [](auto&) {}), "no error");
}

TEST_F(CheckpointTest, ANewerFormatIsNotPassedOver) {
  Save(1);
  const fs::path last = Save(2);
  std::string text = ReadFile(last / "manifest.json", 1 << 20);
  const size_t end = text.rfind(",\n  \"checksum\"");
  text.replace(text.find("\"version\": 1"), 12, "\"version\": 2");
  char digits[17];
  std::snprintf(digits, sizeof(digits), "%016llx",
                static_cast<unsigned long long>(internal::Checksum::Of(text.data(), end)));
  WriteFileAtomically(last / "manifest.json",
                      text.substr(0, end) + ",\n  \"checksum\": \"" + digits + "\"\n}\n");
  EXPECT_THAT(
      ErrorOf([&] { LoadCheckpoint(folder_ / "all"); }),
      AllOf(HasSubstr("step-2/manifest.json"), HasSubstr("is of format 2, which is newer")));
}

TEST_F(CheckpointTest, LeftoversOfCrashesAreIgnoredAndRemoved) {
  Save(1);
  fs::create_directory(folder_ / "all/.saving-step-2-123");
  std::ofstream(folder_ / "all/.saving-step-2-123/manifest.json") << "half";
  fs::rename(Save(2), folder_ / "all/.deleting-step-2");
  EXPECT_EQ(LoadCheckpoint(folder_ / "all").manifest.step, 1);
  Save(3);
  EXPECT_EQ(FilesIn(folder_ / "all"), (std::set<std::string>{"step-1", "step-3"}));
}

TEST_F(CheckpointTest, OnlyOneSavesAtATime) {
  Save(1);
  const internal::FolderLock other(folder_ / "all", "");
  EXPECT_THAT(ErrorOf([&] { Save(2); }),
              HasSubstr("all: another process is saving a checkpoint there"));
  EXPECT_THAT(ErrorOf([&] { PruneCheckpoints(folder_ / "all", {.keep = 1}); }),
              HasSubstr("another process is saving"));
  EXPECT_EQ(LoadCheckpoint(folder_ / "all").manifest.step, 1);
}

// A full disk, as far as the file is concerned: no file may have more bytes.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    former_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &former_);
    const rlimit limit = {bytes, former_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &former_);
    std::signal(SIGXFSZ, former_handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit former_ = {};
  void (*former_handler_)(int) = nullptr;
};

TEST_F(CheckpointTest, ASaveThatFailsLeavesNothing) {
  Save(1);
  for (const rlim_t most : {0U, 10U, 300U, 500U}) {
    const FileSizeLimit limit(most);
    EXPECT_THAT(ErrorOf([&] { Save(2); }), HasSubstr("cannot be written: File too large"));
    EXPECT_EQ(FilesIn(folder_ / "all"), std::set<std::string>{"step-1"});
  }
  EXPECT_EQ(LoadCheckpoint(folder_ / "all").manifest.step, 1);
  std::ofstream(folder_ / "file") << "no folder";
  EXPECT_THAT(ErrorOf([&] { SaveCheckpoint(folder_ / "file/all", SmallState(1), {}); }),
              HasSubstr("cannot be made"));
  EXPECT_THAT(ErrorOf([&] { SaveCheckpoint("/proc/none", SmallState(1), {}); }),
              HasSubstr("/proc/none: cannot be made"));
  EXPECT_THAT(ErrorOf([&] { SaveCheckpoint(folder_ / "x", SmallState(1), {.step = -1}); }),
              HasSubstr("step = -1 is outside"));
  EXPECT_THAT(ErrorOf([&] {
                SaveCheckpoint(folder_ / "x", SmallState(1), {.metrics = {{"loss", NAN}}});
              }),
              HasSubstr("metric \"loss\" = nan is not finite"));
  EXPECT_THAT(ErrorOf([&] {
                SaveCheckpoint(folder_ / "x", SmallState(1), {.texts = {{"recipe", "\xff"}}});
              }),
              HasSubstr("is not valid UTF-8"));
  EXPECT_THAT(
      ErrorOf([&] { SaveCheckpoint(folder_ / "x", SmallState(1), {}, {.shard_bytes = 0}); }),
      HasSubstr("shard_bytes = 0"));
  // A folder that was removed is made again.
  fs::remove_all(folder_ / "all");
  Save(5);
  EXPECT_EQ(LoadCheckpoint(folder_ / "all").manifest.step, 5);
}

// Takes the rights of another user for a while, since root may write everywhere.
class AsNobody {
 public:
  AsNobody() { taken_ = seteuid(65534) == 0; }
  ~AsNobody() {
    if (taken_ && seteuid(0) != 0) std::abort();
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;

 private:
  bool taken_ = false;
};

TEST_F(CheckpointTest, AReadOnlyFolderIsRead) {
  Save(1);
  fs::permissions(folder_ / "all", fs::perms{0555});
  {
    const AsNobody rights;
    EXPECT_THAT(ErrorOf([&] { Save(2); }), HasSubstr("Permission denied"));
    EXPECT_EQ(ErrorOf([&] { PruneCheckpoints(folder_ / "all", {.keep = 1}); }), "no error");
    EXPECT_EQ(LoadCheckpoint(folder_ / "all").manifest.step, 1);
  }
  fs::permissions(folder_ / "all", fs::perms{0755});
  EXPECT_EQ(FilesIn(folder_ / "all"), std::set<std::string>{"step-1"});
}

TEST_F(CheckpointTest, ASaveSucceedsWhereAnOldOneCannotBeDeleted) {
  const fs::path old = Save(1);
  // Its files belong to somebody else.
  fs::permissions(old, fs::perms{0555});
  fs::permissions(folder_ / "all", fs::perms{0777});
  const AsNobody rights;
  const std::string error = ErrorOf([&] { Save(2, {.retention = {.keep = 1}}); });
  if (geteuid() == 0) GTEST_SKIP() << "root may delete everything, and cannot be another here";
  EXPECT_THAT(error, AllOf(HasSubstr("step-2: was saved, but "), HasSubstr("cannot be deleted")));
  EXPECT_EQ(LoadCheckpoint(folder_ / "all").manifest.step, 2);
  // What is left of the old one is in nobody's way.
  Save(3, {.retention = {.keep = 2}});
  EXPECT_THAT(Names(), ElementsAre("step-3", "step-2"));
}

TEST_F(CheckpointTest, WhoReadsAFileKeepsIt) {
  const fs::path first = Save(1, {.retention = {.keep = 1}});
  std::ifstream reader(first / "state.safetensors", std::ios::binary);
  const std::string before = ReadFile(first / "state.safetensors", 1 << 20);
  Save(2, {.retention = {.keep = 1}});
  EXPECT_FALSE(fs::exists(first));
  std::string read(before.size(), '\0');
  reader.read(read.data(), static_cast<std::streamsize>(read.size()));
  EXPECT_EQ(read, before);
}

TEST_F(CheckpointTest, SavesInAThread) {
  CheckpointSaver saver(folder_ / "all", kModel);
  EXPECT_EQ(saver.Saved(), std::nullopt);
  EXPECT_EQ(saver.Wait(), std::nullopt);
  for (int64_t step = 1; step <= 5; ++step) saver.Save(SmallState(step), {.step = step});
  EXPECT_EQ(saver.Wait(), folder_ / "all/step-5");
  EXPECT_FALSE(saver.saving());
  EXPECT_THAT(Names(), ElementsAre("step-5", "step-4"));
  EXPECT_EQ(FirstDifference(LoadCheckpoint(folder_ / "all").state, SmallState(5)), "");

  saver.Save(SmallState(6), {.step = -1});
  EXPECT_THAT(ErrorOf([&] { saver.Save(SmallState(7), {.step = 7}); }), HasSubstr("step = -1"));
  EXPECT_EQ(saver.Wait(), std::nullopt) << "a failure is told of once";
  saver.Save(SmallState(8), {.step = -1});
  std::string failure = "no error";
  while (failure == "no error") failure = ErrorOf([&] { saver.Saved(); });
  EXPECT_THAT(failure, HasSubstr("step = -1"));
  saver.Save(SmallState(9), {.step = 9});
  EXPECT_EQ(saver.Wait(), folder_ / "all/step-9");
  EXPECT_THAT(ErrorOf([&] { saver.SetRetention({.keep = -1}); }), HasSubstr("keep = -1"));
}

// Every version of the library has to read what earlier ones wrote.
TEST_F(CheckpointTest, OldFilesLoad) {
  const fs::path old = fs::path(KUDARI_SOURCE_DIR) / "tests/data/checkpoint-1";
  const Checkpoint loaded = LoadCheckpoint(old);
  EXPECT_EQ(loaded.manifest.step, 12);
  EXPECT_EQ(loaded.manifest.metrics.at("val_loss"), 0.25);
  EXPECT_EQ(loaded.manifest.texts.at("recipe"), "lr = 0.1\n");
  EXPECT_EQ(FirstDifference(loaded.state, SmallState(12)), "");
}

}  // namespace checkpoint_test
}  // namespace kudari
