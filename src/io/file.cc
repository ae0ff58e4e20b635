#include "io/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string_view>
#include <system_error>

#include "kudari/error.h"
#include "kudari/files.h"

namespace kudari {
namespace internal {
namespace {

constexpr size_t kMaxTransfer = size_t{1} << 30;  // Linux moves at most 2 GiB in one call

// A name for a temporary file that this process has not used before.
std::filesystem::path NewName(const std::filesystem::path& folder) {
  static std::atomic<uint64_t> counter = 0;
  return folder / (".kudari-" + std::to_string(getpid()) + "-" +
                   std::to_string(counter.fetch_add(1)) + ".tmp");
}

// Where an open file can be found.
std::string OpenFile(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

void WriteAll(int fd, const void* from, size_t size, const std::string& shown) {
  const auto* at = static_cast<const char*>(from);
  while (size > 0) {
    const ssize_t n = write(fd, at, std::min(size, kMaxTransfer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) ThrowSystem(shown + ": cannot be written", errno);
    at += n;
    size -= static_cast<size_t>(n);
  }
}

}  // namespace

void ThrowSystem(const std::string& what, int error) {
  throw Error(what + ": " + std::generic_category().message(error));
}

bool IsPlainName(std::string_view name) {
  constexpr std::string_view kSpecial("/\\\0", 3);
  return !name.empty() && name.front() != '.' && name.find_first_of(kSpecial) == name.npos;
}

InputFile::InputFile(const std::filesystem::path& path)
    : shown_(path.string()),
      // Without O_NONBLOCK a pipe would be waited for until somebody writes into it.
      fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {
  if (!fd_.valid()) ThrowSystem(shown_ + ": cannot be opened", errno);
  struct stat info = {};
  if (fstat(fd_.get(), &info) != 0) ThrowSystem(shown_ + ": cannot be read", errno);
  if (!S_ISREG(info.st_mode)) throw Error(shown_ + ": is not a regular file");
  size_ = static_cast<uint64_t>(info.st_size);
}

void InputFile::Read(void* to, size_t size) {
  auto* at = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t n = read(fd_.get(), at, std::min(size, kMaxTransfer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) ThrowSystem(shown_ + ": cannot be read", errno);
    if (n == 0) throw Error(shown_ + ": became shorter while it was read");
    at += n;
    size -= static_cast<size_t>(n);
  }
}

void InputFile::ReadAt(uint64_t offset, void* to, size_t size) const {
  auto* at = static_cast<char*>(to);
  while (size > 0) {
    const ssize_t n =
        pread(fd_.get(), at, std::min(size, kMaxTransfer), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) ThrowSystem(shown_ + ": cannot be read", errno);
    if (n == 0) throw Error(shown_ + ": became shorter while it was read");
    at += n;
    offset += static_cast<uint64_t>(n);
    size -= static_cast<size_t>(n);
  }
}

void InputFile::Expect() const {
  posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_WILLNEED);
}

NewFile::NewFile(const std::filesystem::path& path)
    : shown_(path.string()),
      file_(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)) {
  if (!file_.valid()) ThrowSystem(shown_ + ": cannot be written", errno);
}

void NewFile::Write(const void* from, size_t size) { WriteAll(file_.get(), from, size, shown_); }

void NewFile::Sync() {
  if (fsync(file_.get()) != 0) ThrowSystem(shown_ + ": cannot be synced", errno);
}

void SyncFolder(const std::filesystem::path& folder) {
  const Descriptor fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) ThrowSystem(folder.string() + ": cannot be opened", errno);
  // Some file systems cannot sync a folder and say EINVAL.
  if (fsync(fd.get()) != 0 && errno != EINVAL) {
    ThrowSystem(folder.string() + ": cannot be synced", errno);
  }
}

FolderLock::FolderLock(const std::filesystem::path& folder, const std::string& busy)
    : folder_(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (!folder_.valid()) ThrowSystem(folder.string() + ": cannot be opened", errno);
  holds_ = flock(folder_.get(), LOCK_EX | LOCK_NB) == 0;
  if (!holds_ && errno == EWOULDBLOCK) throw Error(folder.string() + ": " + busy);
}

AtomicFile::AtomicFile(const std::filesystem::path& path) : shown_(path.string()) {
  std::error_code error;
  target_ = path;
  if (std::filesystem::is_symlink(path, error)) {
    target_ = std::filesystem::weakly_canonical(path, error);
    if (error) ThrowSystem(shown_ + ": cannot be written", error.value());
  }
  // Renaming onto a device, pipe or folder would replace it, or fail only after all the work.
  struct stat old = {};
  const bool replaces = stat(target_.c_str(), &old) == 0;
  if (replaces && !S_ISREG(old.st_mode)) {
    throw Error(shown_ + ": cannot be written: it exists and is not a regular file");
  }
  const std::filesystem::path folder =
      target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".");
  folder_.Reset(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder_.valid()) {
    ThrowSystem(shown_ + ": folder " + folder.string() + " cannot be opened", errno);
  }
  // A file without a name is gone when the process is, however that ends. Some file systems have
  // none, and without /proc it could not be named.
  file_.Reset(open(folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666));
  if (!file_.valid() || access(OpenFile(file_.get()).c_str(), F_OK) != 0) {
    do {
      temporary_ = NewName(folder);
      file_.Reset(open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    } while (!file_.valid() && errno == EEXIST);
    if (!file_.valid()) ThrowSystem(shown_ + ": cannot be written", errno);
    exists_ = true;
  }
  if (replaces && fchmod(file_.get(), old.st_mode & 07777) != 0) {
    const int reason = errno;
    Remove();
    ThrowSystem(shown_ + ": cannot be given its permissions", reason);
  }
}

void AtomicFile::Write(const void* from, size_t size) { WriteAll(file_.get(), from, size, shown_); }

void AtomicFile::Commit() {
  if (fsync(file_.get()) != 0) ThrowSystem(shown_ + ": cannot be synced", errno);
  if (!exists_) {
    int failed = 0;
    do {
      temporary_ = NewName(target_.has_parent_path() ? target_.parent_path() : ".");
      failed = linkat(AT_FDCWD, OpenFile(file_.get()).c_str(), AT_FDCWD, temporary_.c_str(),
                      AT_SYMLINK_FOLLOW);
    } while (failed != 0 && errno == EEXIST);
    if (failed != 0) ThrowSystem(shown_ + ": cannot be given a name", errno);
    exists_ = true;
  }
  if (rename(temporary_.c_str(), target_.c_str()) != 0) {
    ThrowSystem(shown_ + ": cannot be renamed to", errno);
  }
  exists_ = false;
  // Some file systems cannot sync a folder and say EINVAL; the rename is as safe there as it
  // gets.
  if (fsync(folder_.get()) != 0 && errno != EINVAL) {
    ThrowSystem(shown_ + ": was written, but its folder cannot be synced", errno);
  }
}

void AtomicFile::Remove() {
  if (exists_) unlink(temporary_.c_str());
  exists_ = false;
}

}  // namespace internal

std::string ReadFile(const std::filesystem::path& path, uint64_t most) {
  internal::InputFile in(path);
  if (in.size() > most) {
    throw Error(path.string() + ": has " + std::to_string(in.size()) +
                " bytes, which is outside [0, " + std::to_string(most) + "]");
  }
  std::string contents(in.size(), '\0');
  in.Read(contents.data(), contents.size());
  return contents;
}

void WriteFileAtomically(const std::filesystem::path& path, std::string_view contents) {
  internal::AtomicFile out(path);
  out.Write(contents.data(), contents.size());
  out.Commit();
}

}  // namespace kudari
