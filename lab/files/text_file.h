#ifndef KUDARI_LAB_FILES_TEXT_FILE_H_
#define KUDARI_LAB_FILES_TEXT_FILE_H_

#include <cstdint>
#include <filesystem>
#include <string>

namespace kudari::lab {

/// Bytes of the largest file that the lab reads whole, 256 MiB, and of what one may unpack to.
inline constexpr uint64_t kMostRead = uint64_t{1} << 28;

/// The contents of a regular file of at most kMostRead bytes; throws Error naming it.
std::string ReadTextFile(const std::filesystem::path& path);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_TEXT_FILE_H_
