#include "lab/data/parts/find_files.h"

#include <cstdlib>

#include "kudari/error.h"

namespace kudari::lab {

namespace fs = std::filesystem;

std::optional<fs::path> FindIn(const fs::path& folder, const std::string& name) {
  for (const char* packing : {"", ".gz", ".xz"}) {
    fs::path path = folder / (name + packing);
    std::error_code ignored;
    if (fs::is_regular_file(path, ignored)) return path;
  }
  return std::nullopt;
}

fs::path Require(const fs::path& folder, const std::string& name) {
  if (auto path = FindIn(folder, name)) return *path;
  throw Error(folder.string() + ": has no " + name + ", plain, .gz or .xz");
}

std::string DataVariable() {
  const char* value = std::getenv("KUDARI_DATA");
  return value == nullptr ? "" : value;
}

std::string AsList(const std::vector<fs::path>& paths) {
  std::string text;
  for (const fs::path& path : paths) text += (text.empty() ? "" : ", ") + path.string();
  return text;
}

std::vector<fs::path> DataRoots(const fs::path& path) {
  if (!path.empty()) return {path};
  std::vector<fs::path> roots = {".data"};
  if (const std::string variable = DataVariable(); !variable.empty()) {
    roots.insert(roots.begin(), variable);
  }
  return roots;
}

fs::path FindFolder(const fs::path& path, const Place& place) {
  std::vector<fs::path> looked;
  for (const fs::path& root : DataRoots(path)) {
    if (!path.empty() || !place.subfolders_only) looked.push_back(root);
    for (const std::string& subfolder : place.subfolders) looked.push_back(root / subfolder);
  }
  for (const fs::path& folder : looked) {
    if (FindIn(folder, place.file)) return folder;
  }
  throw Error("data: no " + place.file + ", plain, .gz or .xz, in " + AsList(looked) + "; " +
              place.how +
              ", or set data.path in the recipe or KUDARI_DATA to the folder that holds it");
}

}  // namespace kudari::lab
