// Reading and writing of whole files.
#ifndef KUDARI_IO_FILE_H_
#define KUDARI_IO_FILE_H_

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace kudari::internal {

/// Throws Error "what: the system's message" for an errno value.
[[noreturn]] void ThrowSystem(const std::string& what, int error);

/// Whether a name is that of a file in a folder, not hidden, that no path leads out of.
bool IsPlainName(std::string_view name);

/// A file descriptor that is closed on destruction.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void Reset(int fd) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }

 private:
  int fd_;
};

/// A regular file that is read. Folders, devices and pipes are refused: opening or reading one may
/// never end.
class InputFile {
 public:
  /// Throws Error naming the file.
  explicit InputFile(const std::filesystem::path& path);

  /// Bytes that it had when it was opened.
  uint64_t size() const { return size_; }
  /// Reads the next `size` bytes. Throws Error if that fails or there are fewer.
  void Read(void* to, size_t size);
  /// Reads `size` bytes from there on, whatever was read before; several threads may do that.
  void ReadAt(uint64_t offset, void* to, size_t size) const;
  /// Lets the system read ahead, up to the end.
  void Expect() const;

 private:
  std::string shown_;
  Descriptor fd_;
  uint64_t size_ = 0;
};

/// A new file in a folder that is not visible to others yet.
class NewFile {
 public:
  /// Throws Error naming the file, also if it exists.
  explicit NewFile(const std::filesystem::path& path);

  /// Appends bytes.
  void Write(const void* from, size_t size);
  /// Waits until the contents are on the disk.
  void Sync();

 private:
  std::string shown_;
  Descriptor file_;
};

/// Waits until the names in a folder are on the disk. Throws Error naming the folder.
void SyncFolder(const std::filesystem::path& folder);

/// While it lives no other FolderLock of the folder can be made, by any process; where the file
/// system has no locks it does nothing.
class FolderLock {
 public:
  /// Throws Error naming the folder if it cannot be opened, and saying `busy` if it is locked.
  FolderLock(const std::filesystem::path& folder, const std::string& busy);

  /// Whether the file system has locks.
  bool holds() const { return holds_; }

 private:
  Descriptor folder_;
  bool holds_ = false;
};

/// A file that replaces `path` when it is committed and leaves no trace if it is not.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() { Remove(); }

  /// Appends bytes to the temporary file.
  void Write(const void* from, size_t size);
  /// Syncs the temporary file and renames it to `path`.
  void Commit();

 private:
  void Remove();

  std::string shown_;
  std::filesystem::path target_, temporary_;
  Descriptor folder_, file_;
  bool exists_ = false;  // whether the temporary file is there
};

}  // namespace kudari::internal

#endif  // KUDARI_IO_FILE_H_
