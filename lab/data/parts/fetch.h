#ifndef KUDARI_LAB_DATA_PARTS_FETCH_H_
#define KUDARI_LAB_DATA_PARTS_FETCH_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "lab/recipe/lab_registry.h"

namespace kudari::lab {

/// Told how many bytes of how many there are of the file that is being downloaded.
using FetchObserver = std::function<void(const std::string& address, int64_t done, int64_t total)>;

/// Downloads the files of a source that a folder lacks, and unpacks what comes in an archive. Each
/// appears only when it is complete; what was begun before goes on. `mirror`, if it is not empty,
/// is an address that takes the place of each file's up to its last slash. Throws Error naming the
/// address or file that fails.
void FetchData(const DataSource& source, const std::filesystem::path& folder,
               const std::string& mirror, const FetchObserver& observer);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_FETCH_H_
