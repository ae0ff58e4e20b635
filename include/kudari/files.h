#ifndef KUDARI_FILES_H_
#define KUDARI_FILES_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "kudari/language.h"

namespace kudari {

/// The contents of a regular file of at most `most` bytes. Throws Error naming the file: if it has
/// more, is a folder, a device or a pipe, or for what the system reports.
std::string ReadFile(const std::filesystem::path& path, uint64_t most);

/// Writes a file completely or not at all: it appears under its name only when it is complete, and
/// a failure leaves the previous file in place, unless only syncing the folder fails. A symbolic
/// link is followed, and an existing file keeps its permissions. Throws Error if the path exists
/// and is not a regular file, and for failures reported by the system.
void WriteFileAtomically(const std::filesystem::path& path, std::string_view contents);

}  // namespace kudari

#endif  // KUDARI_FILES_H_
