// CIFAR-10 in its binary form: data_batch_1.bin to data_batch_5.bin, as many as there are, and
// test_batch.bin, each plain, .gz or .xz.
#include "kudari/error.h"
#include "lab/data/data.h"
#include "lab/data/parts/find_files.h"
#include "lab/data/parts/splits.h"
#include "lab/files/unpack.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

void AppendBatch(const fs::path& path, Split& split) {
  constexpr size_t kRecord = 1 + 3 * 32 * 32;
  const std::string bytes = ReadUnpacked(path);
  if (bytes.empty() || bytes.size() % kRecord != 0) {
    throw Error(path.string() + ": has " + std::to_string(bytes.size()) +
                " bytes, which is not a multiple of the record size, " + std::to_string(kRecord));
  }
  // Once a batch: to reserve for every record would copy all of the samples each time.
  split.x.reserve(split.x.size() + bytes.size() - bytes.size() / kRecord);
  for (size_t at = 0; at < bytes.size(); at += kRecord) {
    AppendLabel(path, static_cast<uint8_t>(bytes[at]), split);
    AppendPixels(std::string_view(bytes).substr(at + 1, kRecord - 1), split.x);
  }
  split.samples = std::ssize(split.labels);
}

Dataset LoadCifar10(const DataConfig& config, uint64_t seed) {
  const fs::path path = config.path;
  const double validation = config.validation;
  CheckShare(validation, 1);
  const fs::path folder = FindFolder(path, "test_batch.bin", {"cifar10", "cifar-10-batches-bin"},
                                     "download it with make cifar10");
  Dataset data{.name = "cifar10", .shape = {3, 32, 32}, .classes = 10, .brightest = 255};
  for (int i = 1; i <= 5; ++i) {
    const auto batch = FindIn(folder, "data_batch_" + std::to_string(i) + ".bin");
    if (batch) AppendBatch(*batch, data.train);
  }
  if (data.train.samples == 0) {
    throw Error(folder.string() + ": has none of data_batch_1.bin to data_batch_5.bin");
  }
  AppendBatch(Require(folder, "test_batch.bin"), data.test);
  Finish(data, seed, validation);
  return data;
}

}  // namespace

DataEntry DescribeCifar10() {
  return {.name = "cifar10", .doc = "32x32 images in colour, in ten classes", .load = &LoadCifar10};
}

}  // namespace kudari::lab
