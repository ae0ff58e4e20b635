#ifndef KUDARI_LAB_DATA_PARTS_COLUMNS_H_
#define KUDARI_LAB_DATA_PARTS_COLUMNS_H_

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace kudari::lab {

/// The index of the column that data.`option` names, by its name or by its number: 1 is the first,
/// -1 the last. `names` has one for each column of the table at `path`, "" for one without. Throws
/// Error for a column that is not there and for a name that two have.
size_t FindColumn(const std::vector<std::string>& names, const std::filesystem::path& path,
                  const std::string& option, const std::string& column);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_COLUMNS_H_
