#ifndef KUDARI_LAB_FILES_RUN_FOLDER_H_
#define KUDARI_LAB_FILES_RUN_FOLDER_H_

#include <filesystem>
#include <optional>
#include <string_view>

namespace kudari::lab {

/// The folder that one training run writes its results into. While the object lives the folder is
/// locked, so that no second process writes into it, and has a hidden file that names the process.
class RunFolder {
 public:
  /// Makes `path`, with the folders above it, if it is not there; other files in it are left alone.
  /// Throws Error if it holds the files of a run, unless `force` says to delete these, or if
  /// another process holds it.
  static RunFolder At(const std::filesystem::path& path, bool force);
  /// The folder of a run to go on with, and everything in it as it is. Throws Error if it is not
  /// there or another process holds it.
  static RunFolder Resume(const std::filesystem::path& path);
  /// Makes a new folder: `path` or, if that exists, the first of path-2, path-3, ... that does not.
  static RunFolder New(const std::filesystem::path& path);

  RunFolder(RunFolder&& other) noexcept;
  RunFolder& operator=(RunFolder&&) = delete;
  ~RunFolder();

  const std::filesystem::path& path() const { return path_; }

 private:
  RunFolder(std::filesystem::path path, int lock);

  std::filesystem::path path_;
  int lock_;  // a descriptor of the folder
};

/// The newest of the folders that New has made for `path`; nothing if there is none.
std::optional<std::filesystem::path> LatestRun(const std::filesystem::path& path);

/// Where a run has its checkpoints.
std::filesystem::path CheckpointsOf(const std::filesystem::path& run);
/// The same if `place` has them; otherwise `place`, which is a folder of checkpoints then, or one.
std::filesystem::path CheckpointsAt(const std::filesystem::path& place);

/// Whether another process holds a run's folder, that is, trains there.
bool IsRunning(const std::filesystem::path& run);

/// Replaces a file of a run's folder by these contents, atomically. Throws Error if it is a
/// symbolic link, since whoever made that decides what is overwritten, or if it cannot be written.
void WriteRunFile(const std::filesystem::path& file, std::string_view contents);

/// Throws Error if `file` is a symbolic link.
void CheckNoLink(const std::filesystem::path& file);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_RUN_FOLDER_H_
