#ifndef KUDARI_LAB_FILES_TEXT_FILE_H_
#define KUDARI_LAB_FILES_TEXT_FILE_H_

#include <filesystem>
#include <string>

namespace kudari::lab {

/// The contents of a file of at most 1 GiB; throws Error naming it.
std::string ReadTextFile(const std::filesystem::path& path);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_TEXT_FILE_H_
