// Reading and writing of whole files.
#ifndef KUDARI_IO_FILE_H_
#define KUDARI_IO_FILE_H_

#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <string>

namespace kudari::internal {

/// Throws Error "what: the system's message" for an errno value.
[[noreturn]] void ThrowSystem(const std::string& what, int error);

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

/// Reads `size` bytes; `file` names the file in messages. Throws Error if reading fails or the file
/// ends early.
void ReadFully(int fd, const std::string& file, void* to, size_t size);

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
