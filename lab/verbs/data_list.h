#ifndef KUDARI_LAB_VERBS_DATA_LIST_H_
#define KUDARI_LAB_VERBS_DATA_LIST_H_

#include <cstdio>
#include <filesystem>
#include <string>

namespace kudari::lab {

/// Prints the data sets that recipes may name, what they are and where they are found here.
void ListData(std::FILE* out);
/// The same as JSON, to a file or "-".
void ListDataJson(const std::filesystem::path& file);

/// Prints what is known of a data set: contents, options, source, licence, files and checksums.
/// Throws Error with the nearest name for an unknown one.
void DataInfo(const std::string& name, std::FILE* out);
/// The same as JSON, to a file or "-".
void DataInfoJson(const std::string& name, const std::filesystem::path& file);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_DATA_LIST_H_
