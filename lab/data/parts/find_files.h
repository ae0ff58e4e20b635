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

/// Where the files of a data set are looked for.
struct Place {
  std::string file;                     ///< which shows that it is there
  std::vector<std::string> subfolders;  ///< of .data and the like
  std::string how;                      ///< to get it, "download it with kudari data get mnist"
  /// Whether other data has files of the same names: then .data and $KUDARI_DATA themselves do not
  /// count.
  bool subfolders_only = false;
};

/// Folders to look in: the user's `path`, or if it is empty $KUDARI_DATA and .data.
std::vector<std::filesystem::path> DataRoots(const std::filesystem::path& path);

/// The first folder of a place that holds its file: a root or one of its subfolders. Throws Error
/// saying where it looked and how to get it.
std::filesystem::path FindFolder(const std::filesystem::path& path, const Place& place);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_FIND_FILES_H_
