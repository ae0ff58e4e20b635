#ifndef KUDARI_LAB_FILES_UNPACK_H_
#define KUDARI_LAB_FILES_UNPACK_H_

#include <filesystem>
#include <string>

namespace kudari::lab {

/// The contents of a regular file, unpacked if it is named .gz or .xz. Throws Error naming the file
/// if it cannot be read, is damaged or truncated, has or unpacks to more than kMostRead bytes, or
/// asks for more than 256 MiB of memory to be unpacked.
std::string ReadUnpacked(const std::filesystem::path& path);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_UNPACK_H_
