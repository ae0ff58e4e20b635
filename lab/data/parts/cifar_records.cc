#include "lab/data/parts/cifar_records.h"

#include <string>
#include <string_view>

#include "kudari/error.h"
#include "lab/data/parts/splits.h"
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

}  // namespace kudari::lab
