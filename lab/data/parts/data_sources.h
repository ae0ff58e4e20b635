#ifndef KUDARI_LAB_DATA_PARTS_DATA_SOURCES_H_
#define KUDARI_LAB_DATA_PARTS_DATA_SOURCES_H_

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lab/recipe/lab_registry.h"

namespace kudari::lab {

/// The data set of that name, its own or that of its source. Throws Error with the nearest name.
std::shared_ptr<const DataEntry> EntryOfData(std::string_view name);

/// Where a data set's files are found without a path; nothing if they are not, or if it has none.
std::optional<std::filesystem::path> WhereFound(const DataEntry& entry);

/// Where `kudari data get` puts it unless it is told: a folder in $KUDARI_DATA or .data.
std::filesystem::path UsualFolder(const DataSource& source);

/// Whether all files of a source are in a folder, whether plain, .gz or .xz.
bool IsComplete(const DataSource& source, const std::filesystem::path& folder);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_DATA_SOURCES_H_
