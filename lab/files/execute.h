#ifndef KUDARI_LAB_FILES_EXECUTE_H_
#define KUDARI_LAB_FILES_EXECUTE_H_

#include <filesystem>
#include <string>
#include <vector>

namespace kudari::lab {

/// A new folder for files that are in use for a moment, which is removed with this object.
class ScratchFolder {
 public:
  /// Makes it, with a hidden name, in a folder that is there. Throws Error for what the system
  /// reports.
  explicit ScratchFolder(const std::filesystem::path& parent);
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// How a program ended, and what it wrote.
struct Ended {
  int code = 0;  ///< its exit code, or 128 and the signal that ended it
  std::string output = {}, error = {};
};

/// Runs a program, which is found as a shell finds it, with its arguments, and waits for its end.
/// Files for what it writes are in `scratch`. Throws Error if it cannot be executed.
Ended Execute(const std::vector<std::string>& command, const ScratchFolder& scratch);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_EXECUTE_H_
