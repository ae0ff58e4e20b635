#include "lab/data/parts/data_sources.h"

#include <algorithm>
#include <vector>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/data/parts/find_files.h"

namespace kudari::lab {

namespace fs = std::filesystem;

std::shared_ptr<const DataEntry> EntryOfData(std::string_view name) {
  std::vector<std::string> names;
  for (const auto& entry : LabRegistry::Builtin().data.entries()) {
    if (entry->name == name || (!name.empty() && entry->source.name == name)) return entry;
    names.push_back(entry->name);
    const std::string& other = entry->source.name;
    if (!other.empty() && other != entry->name) names.push_back(other);
  }
  throw Error("unknown data set " + Quoted(name) + Suggest(name, names));
}

std::optional<fs::path> WhereFound(const DataEntry& entry) {
  if (!entry.find) return std::nullopt;
  try {
    return entry.find({});
  } catch (const Error&) {
    return std::nullopt;
  }
}

fs::path UsualFolder(const DataSource& source) {
  const std::string variable = DataVariable();
  std::error_code ignored;
  const bool folder = !variable.empty() && !fs::is_regular_file(variable, ignored);
  return fs::path(folder ? variable : ".data") / source.folder;
}

bool IsComplete(const DataSource& source, const fs::path& folder) {
  return std::ranges::all_of(source.files, [&](const Download& file) {
    return std::ranges::all_of(file.kept, [&](const std::string& kept) {
      const fs::path name = fs::path(kept).filename();
      const bool packed = name.extension() == ".gz" || name.extension() == ".xz";
      return FindIn(folder, (packed ? name.stem() : name).string()).has_value();
    });
  });
}

}  // namespace kudari::lab
