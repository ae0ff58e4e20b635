// Serves bench/checkpoint/run.py: reads commands, one a line, and prints the seconds that each
// took.
//
//     checkpoint_worker FOLDER MIB
//
// save: SaveCheckpoint. load: LoadCheckpoint. read: reads the same files into new memory and does
// nothing else. copy: the copy of the state that an asynchronous save takes. begin: what a thread
// that trains does to begin such a save of an optimiser with as large a state; the save ends before
// the next command. drop: puts the files out of the system's cache.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kudari/checkpoint.h"
#include "kudari/kudari.h"

namespace {

namespace fs = std::filesystem;

constexpr int kTensors = 32;

kudari::StateTree RandomState(size_t bytes) {
  kudari::StateTree state;
  std::mt19937_64 random(1);
  for (int i = 0; i < kTensors; ++i) {
    std::vector<float> values(bytes / kTensors / sizeof(float));
    for (float& x : values) x = static_cast<float>(random() % 1000003) / 1000;
    state.Set("tensors/w" + std::to_string(i) + "/slots/exp_avg",
              kudari::StateArray::Of<float>(values));
  }
  return state;
}

// An optimiser with moments of so many bytes.
class Trained {
 public:
  explicit Trained(size_t bytes) : weights_(kTensors), gradients_(kTensors) {
    std::vector<kudari::Tensor> tensors;
    for (size_t i = 0; i < kTensors; ++i) {
      const size_t n = bytes / kTensors / 2 / sizeof(float);
      weights_[i].assign(n, 1.0F);
      gradients_[i].assign(n, 0.5F);
      tensors.push_back({.name = "w" + std::to_string(i),
                         .shape = {static_cast<int64_t>(n)},
                         .param = weights_[i].data(),
                         .grad = gradients_[i].data()});
    }
    optimizer_.emplace(std::move(tensors), kudari::AdamW{});
    optimizer_->Step();
  }

  const kudari::Optimizer& optimizer() const { return *optimizer_; }

 private:
  std::vector<std::vector<float>> weights_, gradients_;
  std::optional<kudari::Optimizer> optimizer_;
};

void DropFromCache(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const int fd = open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
  }
}

// Pieces of 1 MiB, as dd reads them.
std::unique_ptr<char[]> ReadIntoNewMemory(const fs::path& folder) {
  constexpr size_t kPiece = size_t{1} << 20;
  const fs::path file = kudari::ListCheckpoints(folder).front().folder / "state.safetensors";
  const size_t size = fs::file_size(file);
  std::unique_ptr<char[]> memory(new char[size]);
  const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  for (size_t at = 0; at < size;) {
    const ssize_t n = read(fd, memory.get() + at, std::min(kPiece, size - at));
    if (n <= 0) std::abort();
    at += static_cast<size_t>(n);
  }
  close(fd);
  return memory;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const fs::path folder = argv[1];
  const size_t bytes = std::stoul(argv[2]) << 20;
  const kudari::StateTree state = RandomState(bytes);
  const kudari::CheckpointOptions options{.retention = {.keep = 1}};
  std::optional<Trained> trained;  // if it is asked for
  kudari::CheckpointSaver saver(folder, options);
  kudari::StateTree made;            // by the last command
  std::unique_ptr<char[]> contents;  // read by it
  const std::vector<std::pair<std::string, std::function<void()>>> commands = {
      {"save", [&] { kudari::SaveCheckpoint(folder, state, {}, options); }},
      {"load", [&] { made = kudari::LoadCheckpoint(folder).state; }},
      {"read", [&] { contents = ReadIntoNewMemory(folder); }},
      {"copy", [&] { made = state; }},
      {"begin", [&] { saver.Save(trained->optimizer().State(), {}); }},
      {"drop", [&] { DropFromCache(folder); }}};
  for (std::string line; std::getline(std::cin, line);) {
    for (const auto& [name, run] : commands) {
      if (name != line) continue;
      made = {};
      contents.reset();
      saver.Wait();
      if (name == "begin" && !trained) trained.emplace(bytes);
      const auto start = std::chrono::steady_clock::now();
      run();
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      std::printf("%.6f\n", seconds.count());
      std::fflush(stdout);
    }
  }
}
