#ifndef KUDARI_LAB_FILES_DOWNLOAD_H_
#define KUDARI_LAB_FILES_DOWNLOAD_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace kudari::lab {

/// Told how many bytes of how many there are.
using TransferObserver = std::function<void(int64_t done, int64_t total)>;

/// What is to be downloaded, and how it is known.
struct RemoteFile {
  std::string address;   ///< http or https
  std::string checksum;  ///< in hexadecimal digits: 64 for SHA-256, 32 for MD5
  int64_t bytes = 0;     ///< its size
};

/// Downloads a file, which appears under its name only when it is complete and has the checksum.
/// Until then it is `file`.part, from which a later call goes on; a connection that breaks is tried
/// again as long as each time brings more of it. Throws Error naming the address: if it cannot be
/// reached, or has another size or checksum, when the part is deleted.
void DownloadFile(const RemoteFile& remote, const std::filesystem::path& file,
                  const TransferObserver& observer);

/// The checksum of a file in hexadecimal digits, SHA-256 or MD5. Throws Error naming the file.
std::string ChecksumOf(const std::filesystem::path& path, bool md5);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_DOWNLOAD_H_
