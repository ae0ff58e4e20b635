#ifndef KUDARI_LAB_FILES_ARCHIVE_H_
#define KUDARI_LAB_FILES_ARCHIVE_H_

#include <filesystem>
#include <string>
#include <vector>

namespace kudari::lab {

/// Unpacks some files of an archive (tar, perhaps compressed, or zip) into a folder, each under the
/// last name of its path. They appear there in the order of `members`, when all of them are
/// unpacked; files of these names are replaced. Throws Error naming the archive for what is damaged
/// or missing.
void UnpackMembers(const std::filesystem::path& archive, const std::vector<std::string>& members,
                   const std::filesystem::path& folder);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_ARCHIVE_H_
