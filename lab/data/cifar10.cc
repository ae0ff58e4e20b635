// CIFAR-10 in its binary form: data_batch_1.bin to data_batch_5.bin, as many as there are, and
// test_batch.bin, each plain, .gz or .xz.
#include "kudari/error.h"
#include "lab/data/data.h"
#include "lab/data/parts/cifar_records.h"
#include "lab/data/parts/find_files.h"
#include "lab/data/parts/splits.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

fs::path FindCifar10(const fs::path& path) {
  return FindFolder(path, {.file = "test_batch.bin",
                           .subfolders = {"cifar10", "cifar-10-batches-bin"},
                           .how = "download it with kudari data get cifar10"});
}

Dataset LoadCifar10(const DataConfig& config, uint64_t seed) {
  CheckShare(config.validation, 1);
  const fs::path folder = FindCifar10(config.path);
  Dataset data{.name = "cifar10",
               .shape = {3, 32, 32},
               .classes = 10,
               .brightest = 255,
               .class_names = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog",
                               "horse", "ship", "truck"}};
  for (int i = 1; i <= 5; ++i) {
    const auto batch = FindIn(folder, "data_batch_" + std::to_string(i) + ".bin");
    if (batch) AppendRecords(*batch, {}, data.train);
  }
  if (data.train.samples == 0) {
    throw Error(folder.string() + ": has none of data_batch_1.bin to data_batch_5.bin");
  }
  AppendRecords(Require(folder, "test_batch.bin"), {}, data.test);
  Finish(data, seed, config.validation);
  return data;
}

}  // namespace

DataEntry DescribeCifar10() {
  return {.name = "cifar10",
          .doc = "32x32 images in colour, in ten classes",
          .load = &LoadCifar10,
          .source = {.name = "cifar10",
                     .folder = "cifar10",
                     .contents = "50,000 training and 10,000 test images of 3x32x32, ten classes",
                     .home = "https://www.cs.toronto.edu/~kriz/cifar.html",
                     .licence = "none stated; cite Krizhevsky 2009, Learning Multiple Layers of "
                                "Features from Tiny Images",
                     .files = {{.address = "https://www.cs.toronto.edu/~kriz/"
                                           "cifar-10-binary.tar.gz",
                                .checksum = "c4a38c50a1bc5f3a1c5537f2155ab9d6"
                                            "8f9f25eb1ed8d9ddda3db29a59bca1dd",
                                .bytes = 170052171,
                                .kept = {"cifar-10-batches-bin/data_batch_1.bin",
                                         "cifar-10-batches-bin/data_batch_2.bin",
                                         "cifar-10-batches-bin/data_batch_3.bin",
                                         "cifar-10-batches-bin/data_batch_4.bin",
                                         "cifar-10-batches-bin/data_batch_5.bin",
                                         "cifar-10-batches-bin/batches.meta.txt",
                                         "cifar-10-batches-bin/test_batch.bin"},
                                .archive = true}}},
          .find = &FindCifar10};
}

}  // namespace kudari::lab
