// CIFAR-100 in its binary form: train.bin and test.bin, each plain, .gz or .xz. A record has a
// coarse label, of 20, and a fine one, of 100.
#include "lab/data/data.h"
#include "lab/data/parts/cifar_records.h"
#include "lab/data/parts/find_files.h"
#include "lab/data/parts/splits.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

struct Cifar100Options {
  std::string labels = "fine";
};

const internal::OptionTable<Cifar100Options>& Cifar100Table() {
  static const internal::OptionTable<Cifar100Options> table = {
      {.name = "labels",
       .member = &Cifar100Options::labels,
       .choices = {"fine", "coarse"},
       .doc = "fine: 100 classes; coarse: the 20 groups of five that they form"},
  };
  return table;
}

fs::path FindCifar100(const fs::path& path) {
  return FindFolder(path, {.file = "train.bin",
                           .subfolders = {"cifar100", "cifar-100-binary"},
                           .how = "download it with kudari data get cifar100",
                           .subfolders_only = true});
}

Dataset LoadCifar100(const DataConfig& config, uint64_t seed) {
  CheckShare(config.validation, 1);
  const bool fine = ValuesOf<Cifar100Options>(config.options).labels == "fine";
  const RecordLabels labels{.count = 2, .index = fine ? 1U : 0U, .classes = fine ? 100 : 20};
  const fs::path folder = FindCifar100(config.path);
  Dataset data{
      .name = "cifar100", .shape = {3, 32, 32}, .classes = labels.classes, .brightest = 255};
  AppendRecords(Require(folder, "train.bin"), labels, data.train);
  AppendRecords(Require(folder, "test.bin"), labels, data.test);
  data.class_names = ReadNames(folder / (fine ? "fine_label_names.txt" : "coarse_label_names.txt"),
                               labels.classes);
  Finish(data, seed, config.validation);
  return data;
}

}  // namespace

DataEntry DescribeCifar100() {
  return {.name = "cifar100",
          .doc = "32x32 images in colour, in 100 classes or 20 groups of them",
          .options = MakeOwnOptions(Cifar100Options(), Cifar100Table()),
          .load = &LoadCifar100,
          .source = {.name = "cifar100",
                     .folder = "cifar100",
                     .contents = "50,000 training and 10,000 test images of 3x32x32, 100 classes",
                     .home = "https://www.cs.toronto.edu/~kriz/cifar.html",
                     .licence = "none stated; cite Krizhevsky 2009, Learning Multiple Layers of "
                                "Features from Tiny Images",
                     .files = {{.address = "https://www.cs.toronto.edu/~kriz/"
                                           "cifar-100-binary.tar.gz",
                                .checksum = "58a81ae192c23a4be8b1804d68e518ed"
                                            "807d710a4eb253b1f2a199162a40d8ec",
                                .bytes = 168513733,
                                .kept = {"cifar-100-binary/coarse_label_names.txt",
                                         "cifar-100-binary/fine_label_names.txt",
                                         "cifar-100-binary/test.bin", "cifar-100-binary/train.bin"},
                                .archive = true}}},
          .find = &FindCifar100};
}

}  // namespace kudari::lab
