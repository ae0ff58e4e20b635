#include "lab/data/parts/cifar_records.h"

#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "kudari/error.h"
#include "lab/data/parts/splits.h"
#include "lab/files/text_file.h"
#include "lab/files/unpack.h"

namespace kudari::lab {

void AppendRecords(const std::filesystem::path& path, const RecordLabels& labels, Split& split) {
  constexpr size_t kPixels = size_t{3} * 32 * 32;
  const size_t record = labels.count + kPixels;
  const std::string bytes = ReadUnpacked(path);
  if (bytes.empty() || bytes.size() % record != 0) {
    throw Error(path.string() + ": has " + std::to_string(bytes.size()) +
                " bytes, which is not a multiple of the record size, " + std::to_string(record));
  }
  // Once a file: to reserve for every record would copy all of the samples each time.
  split.x.reserve(split.x.size() + bytes.size() / record * kPixels);
  for (size_t at = 0; at < bytes.size(); at += record) {
    AppendLabel(path, static_cast<uint8_t>(bytes[at + labels.index]), labels.classes, split);
    AppendPixels(std::string_view(bytes).substr(at + labels.count, kPixels), split.x);
  }
  split.samples = std::ssize(split.labels);
}

std::vector<std::string> ReadNames(const std::filesystem::path& path, int64_t classes) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return {};
  std::vector<std::string> names;
  std::istringstream lines(ReadTextFile(path));
  for (std::string name; std::getline(lines, name);) {
    if (name.ends_with('\r')) name.pop_back();
    if (!name.empty()) names.push_back(std::move(name));
  }
  if (std::ssize(names) != classes) {
    throw Error(path.string() + ": has " + std::to_string(names.size()) +
                " names, but must have one for each of " + std::to_string(classes) + " classes");
  }
  return names;
}

}  // namespace kudari::lab
