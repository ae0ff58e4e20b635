// Fashion-MNIST, in the form of MNIST.
#include "lab/data/data.h"
#include "lab/data/parts/find_files.h"
#include "lab/data/parts/idx.h"
#include "lab/data/parts/splits.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

const std::string kFolder =
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/";

fs::path FindFashionMnist(const fs::path& path) {
  return FindFolder(path, {.file = "train-images-idx3-ubyte",
                           .subfolders = {"fashion-mnist"},
                           .how = "download it with kudari data get fashion-mnist",
                           .subfolders_only = true});
}

Dataset LoadFashionMnist(const DataConfig& config, uint64_t seed) {
  CheckShare(config.validation, 1);
  Dataset data = LoadIdx("fashion-mnist", FindFashionMnist(config.path), seed, config.validation);
  data.class_names = {"T-shirt/top", "trouser", "pullover", "dress", "coat",
                      "sandal",      "shirt",   "sneaker",  "bag",   "ankle boot"};
  return data;
}

}  // namespace

DataEntry DescribeFashionMnist() {
  return {.name = "fashion-mnist",
          .doc = "28x28 images of clothes in the form of MNIST, in ten classes",
          .load = &LoadFashionMnist,
          .source = {.name = "fashion-mnist",
                     .folder = "fashion-mnist",
                     .contents = "60,000 training and 10,000 test images of 28x28, ten kinds of "
                                 "clothes",
                     .home = "https://github.com/zalandoresearch/fashion-mnist",
                     .licence = "MIT",
                     .files = {{.address = kFolder + "t10k-labels-idx1-ubyte.gz",
                                .checksum = "67da17c76eaffca5446c3361aaab5c3c"
                                            "d6d1c2608764d35dfb1850b086bf8dd5",
                                .bytes = 5148,
                                .kept = {"t10k-labels-idx1-ubyte.gz"}},
                               {.address = kFolder + "t10k-images-idx3-ubyte.gz",
                                .checksum = "346e55b948d973a97e58d2351dde16a4"
                                            "84bd415d4595297633bb08f03db6a073",
                                .bytes = 4422102,
                                .kept = {"t10k-images-idx3-ubyte.gz"}},
                               {.address = kFolder + "train-labels-idx1-ubyte.gz",
                                .checksum = "a04f17134ac03560a47e3764e11b92fc"
                                            "97de4d1bfaf8ba1a3aa29af54cc90845",
                                .bytes = 29515,
                                .kept = {"train-labels-idx1-ubyte.gz"}},
                               {.address = kFolder + "train-images-idx3-ubyte.gz",
                                .checksum = "3aede38d61863908ad78613f6a32ed27"
                                            "1626dd12800ba2636569512369268a84",
                                .bytes = 26421880,
                                .kept = {"train-images-idx3-ubyte.gz"}}}},
          .find = &FindFashionMnist};
}

}  // namespace kudari::lab
