#ifndef KUDARI_LAB_FILES_UNPACK_H_
#define KUDARI_LAB_FILES_UNPACK_H_

#include <filesystem>
#include <string>

namespace kudari::lab {

/// The contents of a file, unpacked if it is named .gz or .xz. Throws Error naming the file if it
/// cannot be read, is damaged or truncated, or has more than 1 GiB.
std::string ReadUnpacked(const std::filesystem::path& path);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_UNPACK_H_
