#include "kudari/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <system_error>
#include <utility>

#include "io/checkpoint_contents.h"
#include "io/file.h"
#include "io/manifest.h"
#include "kudari/error.h"
#include "kudari/messages.h"

namespace kudari {

namespace fs = std::filesystem;
using internal::FolderLock;

namespace {

// Hidden folders: of saves that have not ended, and of checkpoints that are being deleted.
constexpr std::string_view kSaving = ".saving-", kDeleting = ".deleting-";
constexpr const char* kBusy = "another process is saving a checkpoint there";

bool IsCheckpoint(const fs::path& folder) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(folder / internal::kManifestName, ignored));
}

// First out of sight, so that nobody finds half of it.
void Delete(const fs::path& checkpoint) {
  fs::path hidden = checkpoint;
  hidden.replace_filename(std::string(kDeleting) + checkpoint.filename().string());
  std::error_code error;
  fs::rename(checkpoint, hidden, error);
  if (error) internal::ThrowSystem(checkpoint.string() + ": cannot be deleted", error.value());
  fs::remove_all(hidden, error);
  if (error) internal::ThrowSystem(checkpoint.string() + ": cannot be deleted", error.value());
}

std::vector<fs::path> SubfoldersOf(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  fs::directory_iterator at(folder, error);
  for (; !error && at != fs::directory_iterator(); at.increment(error)) found.push_back(at->path());
  if (error) internal::ThrowSystem(folder.string() + ": cannot be read", error.value());
  std::ranges::sort(found);
  return found;
}

// What processes that have ended left, as far as it can be deleted. Only for who holds the lock.
void RemoveLeftovers(const fs::path& folder) {
  for (const fs::path& path : SubfoldersOf(folder)) {
    const std::string name = path.filename().string();
    std::error_code ignored;
    if (name.starts_with(kSaving) || name.starts_with(kDeleting)) fs::remove_all(path, ignored);
  }
}

struct Scan {
  std::vector<CheckpointEntry> entries;  // the newest first, damaged ones last
  std::string newer;                     // why the last of a newer format cannot be read
};

Scan ScanFolder(const fs::path& folder) {
  Scan scan;
  for (const fs::path& path : SubfoldersOf(folder)) {
    if (path.filename().string().starts_with('.') || !IsCheckpoint(path)) continue;
    CheckpointEntry entry{.folder = path};
    try {
      entry.manifest = ReadManifest(path);
    } catch (const internal::NewerFormat& e) {
      scan.newer = entry.damage = e.what();
    } catch (const Error& e) {
      if (!IsCheckpoint(path)) continue;  // it has been deleted meanwhile
      entry.damage = e.what();
    }
    scan.entries.push_back(std::move(entry));
  }
  std::ranges::stable_sort(scan.entries, std::ranges::greater(),
                           [](const CheckpointEntry& e) { return e.manifest.serial; });
  return scan;
}

// The folders that the retention does not keep, of entries with the newest first.
std::vector<fs::path> Surplus(const std::vector<CheckpointEntry>& entries,
                              const CheckpointRetention& retention) {
  if (retention.keep == 0) return {};
  const CheckpointEntry* best = nullptr;
  const auto metric = [&](const CheckpointEntry& e) {
    const double value = e.manifest.metrics.at(retention.keep_best);
    return retention.higher_is_better ? -value : value;
  };
  for (const CheckpointEntry& e : entries) {
    if (!e.manifest.metrics.contains(retention.keep_best)) continue;
    if (best == nullptr || metric(e) < metric(*best)) best = &e;
  }
  std::vector<fs::path> surplus;
  int64_t newer = 0;
  for (const CheckpointEntry& e : entries) {
    if (!e.damage.empty()) continue;
    const bool whole = retention.keep_every > 0 && e.manifest.step % retention.keep_every == 0;
    if (newer++ >= retention.keep && !whole && &e != best) surplus.push_back(e.folder);
  }
  return surplus;
}

std::vector<fs::path> Prune(const fs::path& folder, const CheckpointRetention& retention) {
  std::vector<fs::path> surplus = Surplus(ScanFolder(folder).entries, retention);
  for (const fs::path& path : surplus) Delete(path);
  return surplus;
}

fs::path NewName(const fs::path& folder, int64_t step) {
  const std::string usual = "step-" + std::to_string(step);
  std::error_code ignored;
  fs::path name = folder / usual;
  for (int i = 2; fs::exists(fs::symlink_status(name, ignored)); ++i) {
    name = folder / (usual + "-" + std::to_string(i));
  }
  return name;
}

void CheckManifest(const CheckpointManifest& manifest) {
  if (manifest.step < 0) {
    throw Error("manifest: step = " + std::to_string(manifest.step) + " is outside [0, 2^63 - 1]");
  }
  for (const auto& [name, value] : manifest.metrics) {
    if (!std::isfinite(value)) {
      throw Error("manifest: metric " + Quoted(name) + " = " + NumberText(value) +
                  " is not finite");
    }
  }
}

// A folder that is deleted with everything in it unless it gets its name.
class HiddenFolder {
 public:
  explicit HiddenFolder(fs::path path) : path_(std::move(path)) {
    std::error_code error;
    fs::create_directory(path_, error);
    if (error) internal::ThrowSystem(path_.string() + ": cannot be made", error.value());
  }
  HiddenFolder(const HiddenFolder&) = delete;
  HiddenFolder& operator=(const HiddenFolder&) = delete;
  ~HiddenFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }

  const fs::path& path() const { return path_; }

  void Rename(const fs::path& name) {
    std::error_code error;
    fs::rename(path_, name, error);
    if (error) internal::ThrowSystem(name.string() + ": cannot be given its name", error.value());
    path_.clear();
  }

 private:
  fs::path path_;
};

}  // namespace

void CheckpointRetention::Check() const {
  const auto check = [](const char* name, int64_t value) {
    if (value >= 0) return;
    throw Error(std::string(name) + " = " + std::to_string(value) + " is outside [0, 2^63 - 1]");
  };
  check("keep", keep);
  check("keep_every", keep_every);
}

fs::path SaveCheckpoint(const fs::path& folder, const StateTree& state,
                        const CheckpointManifest& manifest, const CheckpointOptions& options) {
  options.retention.Check();
  if (options.shard_bytes == 0) throw Error("shard_bytes = 0 is outside [1, 2^64 - 1]");
  CheckManifest(manifest);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) internal::ThrowSystem(folder.string() + ": cannot be made", error.value());
  const FolderLock lock(folder, kBusy);
  if (lock.holds()) RemoveLeftovers(folder);

  CheckpointManifest full = manifest;
  full.library_version = KUDARI_VERSION;
  full.serial = 1;
  full.files.clear();
  full.tensors.clear();
  for (const CheckpointEntry& e : ScanFolder(folder).entries) {
    full.serial = std::max(full.serial, e.manifest.serial + 1);
  }
  fs::path name = NewName(folder, full.step);
  HiddenFolder hidden(
      folder / (std::string(kSaving) + name.filename().string() + "-" + std::to_string(getpid())));
  internal::WriteContents(hidden.path(), name.string(), state, std::move(full), options);
  hidden.Rename(name);
  internal::SyncFolder(folder);
  try {
    Prune(folder, options.retention);
  } catch (const Error& e) {
    throw Error(name.string() + ": was saved, but " + e.what());
  }
  return name;
}

Checkpoint LoadCheckpoint(const fs::path& folder) {
  if (IsCheckpoint(folder)) {
    Checkpoint found{.folder = folder, .manifest = ReadManifest(folder), .state = {}};
    internal::ReadContents(folder, found.manifest, &found.state);
    return found;
  }
  std::vector<DamagedCheckpoint> damaged;
  std::set<fs::path> tried;
  // Whoever saves meanwhile may delete what was found, and has saved a newer one then.
  constexpr int kMostScans = 10;
  for (int scans = 0; scans < kMostScans; ++scans) {
    const Scan scan = ScanFolder(folder);
    if (!scan.newer.empty()) throw Error(scan.newer);
    std::vector<const CheckpointEntry*> fresh;
    for (const CheckpointEntry& e : scan.entries) {
      if (!tried.insert(e.folder).second) continue;
      if (e.damage.empty()) {
        fresh.push_back(&e);
      } else {
        damaged.push_back({e.folder, e.damage});
      }
    }
    bool vanished = scan.entries.empty();
    for (const CheckpointEntry* const e : fresh) {
      try {
        Checkpoint found{.folder = e->folder, .manifest = e->manifest, .state = {}};
        internal::ReadContents(e->folder, e->manifest, &found.state);
        found.damaged = std::move(damaged);
        return found;
      } catch (const Error& reason) {
        vanished = !IsCheckpoint(e->folder);
        if (vanished) break;
        damaged.push_back({e->folder, reason.what()});
      }
    }
    if (!vanished) break;
  }
  std::string message = folder.string() + ": has no checkpoint";
  if (!damaged.empty()) message += " that can be loaded";
  for (const DamagedCheckpoint& d : damaged) message += "; " + d.reason;
  throw Error(message);
}

std::vector<CheckpointEntry> ListCheckpoints(const fs::path& folder) {
  return ScanFolder(folder).entries;
}

void VerifyCheckpoint(const fs::path& checkpoint) {
  internal::ReadContents(checkpoint, ReadManifest(checkpoint), nullptr);
}

std::vector<fs::path> PruneCheckpoints(const fs::path& folder,
                                       const CheckpointRetention& retention) {
  retention.Check();
  const FolderLock lock(folder, kBusy);
  return Prune(folder, retention);
}

}  // namespace kudari
