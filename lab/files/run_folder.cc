#include "lab/files/run_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include "kudari/error.h"
#include "kudari/files.h"
#include "lab/console/usage_error.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

// What `kudari train` writes: who finds one of these finds a run.
constexpr std::array kRunFiles = {"metrics.jsonl", "recipe.toml", "model.safetensors",
                                  "samples.png",   "trajectory",  "checkpoints"};
constexpr const char* kOwnerFile = ".process";

[[noreturn]] void Fail(const fs::path& path, const std::error_code& error) {
  throw UsageError(fmt::format("--out {}: {}", path.string(), error.message()));
}

bool Exists(const fs::path& file) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(file, ignored));  // a link to nothing is something, too
}

// The process that holds a folder, as it said itself; "another process" if it could not.
std::string Owner(const fs::path& path) {
  std::string owner;
  try {
    owner = ReadFile(path / kOwnerFile, 100);
  } catch (const Error&) {
    // The folder is locked all the same.
  }
  return owner.empty() ? "another process" : owner;
}

// Locks the folder; -1 where the file system has no locks.
int Lock(const fs::path& path, const char* option) {
  const int folder = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) {
    throw UsageError(
        fmt::format("{} {}: {}", option, path.string(), std::generic_category().message(errno)));
  }
  if (flock(folder, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    close(folder);
    if (error != EWOULDBLOCK) return -1;
    throw UsageError(
        fmt::format("{} {}: {} is writing a run there", option, path.string(), Owner(path)));
  }
  try {
    std::array<char, 256> host = {};
    gethostname(host.data(), host.size() - 1);
    WriteRunFile(path / kOwnerFile, fmt::format("process {} on {}", getpid(), host.data()));
  } catch (const Error&) {
    // Whoever finds the lock does without the name.
  }
  return folder;
}

}  // namespace

RunFolder::RunFolder(fs::path path, int lock) : path_(std::move(path)), lock_(lock) {}

RunFolder::RunFolder(RunFolder&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)) {}

RunFolder::~RunFolder() {
  if (lock_ < 0) return;
  std::error_code ignored;
  fs::remove(path_ / kOwnerFile, ignored);
  close(lock_);
}

RunFolder RunFolder::At(const fs::path& path, bool force) {
  std::error_code error;
  if (Exists(path) && !fs::is_directory(path, error)) {
    throw UsageError(fmt::format("--out {}: is not a folder", path.string()));
  }
  fs::create_directories(path, error);
  if (error) Fail(path, error);
  RunFolder folder(path, Lock(path, "--out"));
  for (const char* const name : kRunFiles) {
    const fs::path file = path / name;
    if (!Exists(file)) continue;
    if (!force) {
      throw UsageError(
          fmt::format("--out {}: holds a run already ({}); give another folder, or --force to "
                      "delete that run",
                      path.string(), name));
    }
    fs::remove_all(file, error);
    if (error) Fail(file, error);
  }
  return folder;
}

RunFolder RunFolder::Resume(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    throw UsageError(fmt::format("--resume {}: is not a folder", path.string()));
  }
  return {path, Lock(path, "--resume")};
}

RunFolder RunFolder::New(const fs::path& path) {
  std::error_code error;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  if (error) Fail(path, error);
  fs::path at = path;
  for (int64_t i = 2; !fs::create_directory(at, error); ++i) {
    if (error) Fail(at, error);
    at = path;
    at += fmt::format("-{}", i);
  }
  return {at, Lock(at, "--out")};
}

std::optional<fs::path> LatestRun(const fs::path& path) {
  std::optional<fs::path> latest;
  std::error_code ignored;
  fs::path at = path;
  for (int64_t i = 2; fs::is_directory(at, ignored); ++i) {
    latest = at;
    at = path;
    at += fmt::format("-{}", i);
  }
  return latest;
}

fs::path CheckpointsOf(const fs::path& run) { return run / "checkpoints"; }

fs::path CheckpointsAt(const fs::path& place) {
  const fs::path below = CheckpointsOf(place);
  std::error_code ignored;
  return fs::is_directory(below, ignored) ? below : place;
}

bool IsRunning(const fs::path& run) {
  // The lock of a run that is just being started is better not touched.
  if (!Exists(run / kOwnerFile)) return false;
  const int folder = open(run.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return false;
  const bool held = flock(folder, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  close(folder);
  return held;
}

void CheckNoLink(const fs::path& file) {
  std::error_code ignored;
  if (!fs::is_symlink(file, ignored)) return;
  throw Error(
      fmt::format("{}: is a symbolic link, and nothing is written through links in the "
                  "folder of a run",
                  file.string()));
}

void WriteRunFile(const fs::path& file, std::string_view contents) {
  CheckNoLink(file);
  WriteFileAtomically(file, contents);
}

}  // namespace kudari::lab
