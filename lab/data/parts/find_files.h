#ifndef KUDARI_LAB_DATA_PARTS_FIND_FILES_H_
#define KUDARI_LAB_DATA_PARTS_FIND_FILES_H_

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kudari::lab {

/// `folder`/`name`, plain, .gz or .xz, if one of them is there.
std::optional<std::filesystem::path> FindIn(const std::filesystem::path& folder,
                                            const std::string& name);

/// The same; throws Error if there is none.
std::filesystem::path Require(const std::filesystem::path& folder, const std::string& name);

/// The value of $KUDARI_DATA, "" if it is not set.
std::string DataVariable();

/// Paths with commas between.
std::string AsList(const std::vector<std::filesystem::path>& paths);

/// The first folder that holds `file`: the user's `path` or one of its subfolders, or if it is
/// empty $KUDARI_DATA and .data. Throws Error saying where it looked and `how` to get it, such as
/// "download it with make mnist".
std::filesystem::path FindFolder(const std::filesystem::path& path, const std::string& file,
                                 const std::vector<std::string>& subfolders,
                                 const std::string& how);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_FIND_FILES_H_
