#ifndef KUDARI_LAB_DATA_PARTS_CIFAR_RECORDS_H_
#define KUDARI_LAB_DATA_PARTS_CIFAR_RECORDS_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lab/data/data.h"

namespace kudari::lab {

/// The labels that a record begins with, a byte each, and which of them is taken.
struct RecordLabels {
  size_t count = 1, index = 0;
  int64_t classes = 10;
};

/// Appends the records of a file in CIFAR's binary form: labels, then 32x32 bytes of red, of green
/// and of blue. Throws Error naming the file for another size or another label.
void AppendRecords(const std::filesystem::path& path, const RecordLabels& labels, Split& split);

/// The names of classes in a file of text, one a line; none if there is no such file. Throws Error
/// naming the file if there are not as many as there are classes.
std::vector<std::string> ReadNames(const std::filesystem::path& path, int64_t classes);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_CIFAR_RECORDS_H_
