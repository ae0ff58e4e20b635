// Folders of images as ImageNet has them: train/CLASS/... and perhaps val/CLASS/... and
// test/CLASS/..., JPEG or PNG. An image is decoded when a batch needs it.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/data/data.h"
#include "lab/data/parts/image_input.h"
#include "lab/data/parts/splits.h"
#include "lab/files/decode_image.h"
#include "lab/files/image_files.h"
#include "lab/files/text_file.h"
#include "lab/recipe/own_options.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr double kBrightest = 255;

struct ImageFolderOptions {
  int64_t size = 224, resize = 256;
  bool grey = false;
  std::vector<double> mean = {0.485, 0.456, 0.406}, std = {0.229, 0.224, 0.225};
  std::string corrupt = "refuse";
};

const internal::OptionTable<ImageFolderOptions>& ImageFolderTable() {
  using O = ImageFolderOptions;
  static const internal::OptionTable<O> table = {
      {.name = "resize",
       .member = &O::resize,
       .least = 1,
       .most = 2048,
       .doc = "pixels of the shorter side, to which an image is scaled"},
      {.name = "size",
       .member = &O::size,
       .least = 1,
       .most = 2048,
       .doc = "pixels of each side of the middle of it, which is taken; at most resize"},
      {.name = "grey",
       .member = &O::grey,
       .doc = "whether images become grey, with one channel instead of three"},
      {.name = "mean",
       .member = &O::mean,
       .low = 0,
       .high = 1,
       .doc = "what is subtracted from each channel, whose values are in [0, 1]; ImageNet's mean"},
      {.name = "std",
       .member = &O::std,
       .low = 1e-3,
       .high = 1e3,
       .doc = "what each channel is divided by then; ImageNet's standard deviation"},
      {.name = "corrupt",
       .member = &O::corrupt,
       .choices = {"refuse", "skip"},
       .doc =
           "refuse: a damaged image is an error, before the run if its beginning shows it; skip: "
           "all images are decoded once before the run, and damaged ones left out and named"},
  };
  return table;
}

// What a sample is made of.
class ImageReader {
 public:
  explicit ImageReader(ImageInput input) : input_(std::move(input)) {}

  void Read(const fs::path& path, std::span<float> values) const {
    Image image;
    try {
      image = DecodeImage(ReadTextFile(path));
    } catch (const Error& e) {
      const std::string what = e.what(), name = path.string();
      throw Error(what.starts_with(name) ? what : name + ": " + what);
    }
    input_.Read(image, values);
  }

 private:
  ImageInput input_;
};

std::vector<fs::path> ClassFolders(const fs::path& folder) {
  std::vector<fs::path> classes;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory() && !entry.path().filename().string().starts_with('.')) {
      classes.push_back(entry.path());
    }
  }
  std::ranges::sort(classes, {}, [](const fs::path& p) { return p.string(); });
  return classes;
}

// The images of a part and their labels.
struct Files {
  std::vector<fs::path> paths;
  std::vector<int64_t> labels;
};

Files FindFiles(const fs::path& folder, const std::map<std::string, int64_t>& classes) {
  Files files;
  const std::vector<fs::path> folders = ClassFolders(folder);
  if (folders.empty()) throw Error(folder.string() + ": has no folder of a class");
  for (const fs::path& of_class : folders) {
    const auto label = classes.find(of_class.filename().string());
    if (label == classes.end()) {
      throw Error(of_class.string() + ": is a class of which there is no folder for training");
    }
    const std::vector<fs::path> images = ImagesIn(of_class);
    if (images.empty()) {
      throw Error(of_class.string() + ": has no image, no file named .jpg, .jpeg or .png");
    }
    files.paths.insert(files.paths.end(), images.begin(), images.end());
    files.labels.resize(files.paths.size(), label->second);
  }
  return files;
}

// Calls `check`, which throws Error for a damaged image, for all of them in several threads.
// Returns what it said of each, "" for those in order.
template <class F>
std::vector<std::string> CheckAll(const std::vector<fs::path>& paths, const F& check) {
  std::vector<std::string> faults(paths.size());
  std::atomic<size_t> next = 0;
  std::exception_ptr failure;
  std::mutex mutex;
  const auto work = [&] {
    for (size_t i = next++; i < paths.size(); i = next++) {
      try {
        check(paths[i]);
      } catch (const Error& e) {
        faults[i] = e.what();
      } catch (...) {
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
        next = paths.size();
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 1; i < std::thread::hardware_concurrency(); ++i) threads.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  return faults;
}

Files Checked(Files files, const ImageFolderOptions& options, const ImageReader& reader,
              size_t values, std::vector<std::string>& skipped) {
  const bool skip = options.corrupt == "skip";
  const auto faults = CheckAll(files.paths, [&](const fs::path& path) {
    if (!skip) return CheckImageHeader(path);
    std::vector<float> sample(values);
    reader.Read(path, sample);
  });
  Files sound;
  for (size_t i = 0; i < faults.size(); ++i) {
    if (faults[i].empty()) {
      sound.paths.push_back(std::move(files.paths[i]));
      sound.labels.push_back(files.labels[i]);
    } else if (skip) {
      skipped.push_back(faults[i]);
    } else {
      throw Error(faults[i] + "; data.corrupt = \"skip\" leaves out damaged images");
    }
  }
  return sound;
}

Split ToSplit(Files files, const ImageReader& reader) {
  Split split{.labels = std::move(files.labels)};
  split.samples = std::ssize(split.labels);
  for (int64_t i = 0; i < split.samples; ++i) split.rows.push_back(i);
  const auto paths = std::make_shared<const std::vector<fs::path>>(std::move(files.paths));
  split.read = [paths, reader](int64_t row, std::span<float> values) {
    reader.Read((*paths)[static_cast<size_t>(row)], values);
  };
  return split;
}

void CheckOptions(const ImageFolderOptions& options) {
  if (options.size > options.resize) {
    throw Error("data.size = " + std::to_string(options.size) + " is outside [1, " +
                std::to_string(options.resize) + "], data.resize");
  }
  const size_t channels = options.grey ? 1 : 3;
  for (const auto& [name, list] : {std::pair("mean", &options.mean), {"std", &options.std}}) {
    if (list->size() == channels) continue;
    throw Error("data." + std::string(name) + " has " + std::to_string(list->size()) +
                " values, but must have " + std::to_string(channels) +
                ", one for each channel of data.grey = " + (options.grey ? "true" : "false"));
  }
}

Dataset LoadImageFolder(const DataConfig& config, uint64_t seed) {
  const auto& options = ValuesOf<ImageFolderOptions>(config.options);
  CheckShare(config.validation, 1);
  CheckOptions(options);
  const fs::path folder = config.path;
  std::error_code ignored;
  if (config.path.empty() || !fs::is_directory(folder / "train", ignored)) {
    throw Error(config.path.empty()
                    ? "data.path is missing: it must name a folder with train/CLASS/*.jpg"
                    : folder.string() + ": has no folder train");
  }
  Dataset data{.name = folder.filename().string(),
               .shape = {options.grey ? 1 : 3, options.size, options.size}};
  if (data.name.empty()) data.name = folder.parent_path().filename().string();
  data.brightest = kBrightest;
  data.shorter = options.resize;
  data.low = std::numeric_limits<float>::max();
  data.high = std::numeric_limits<float>::lowest();
  for (size_t c = 0; c < options.mean.size(); ++c) {
    const ChannelScale scale = {kBrightest * options.mean[c], kBrightest * options.std[c]};
    data.scales.push_back(scale);
    data.low = std::min(data.low, scale.Scaled(0));
    data.high = std::max(data.high, scale.Scaled(kBrightest));
  }
  const ImageReader reader(InputOf(data));
  const auto values = static_cast<size_t>(data.shape[0] * options.size * options.size);
  std::map<std::string, int64_t> classes;
  try {
    for (const fs::path& of_class : ClassFolders(folder / "train")) {
      classes.emplace(of_class.filename().string(), std::ssize(classes));
      data.class_names.push_back(of_class.filename().string());
    }
    const auto load = [&](const fs::path& part) {
      const Files files = FindFiles(part, classes);
      return ToSplit(Checked(files, options, reader, values, data.skipped), reader);
    };
    data.train = load(folder / "train");
    const bool own_validation = fs::is_directory(folder / "val", ignored);
    if (own_validation) data.validation = load(folder / "val");
    if (fs::is_directory(folder / "test", ignored)) data.test = load(folder / "test");
    data.classes = std::ssize(classes);
    if (data.classes < 2) {
      throw Error((folder / "train").string() + ": has 1 class, but must have at least 2");
    }
    if (!own_validation) {
      std::mt19937_64 random(seed);
      data.validation = TakeOut(data.train, data.classes, config.validation, random);
    }
  } catch (const fs::filesystem_error& e) {
    throw Error(e.path1().string() + ": " + e.code().message());
  }
  return data;
}

}  // namespace

DataEntry DescribeImageFolder() {
  return {.name = "image-folder",
          .doc =
              "images in folders train/CLASS, val/CLASS and test/CLASS, JPEG or PNG, as ImageNet "
              "has them",
          .options = MakeOwnOptions(ImageFolderOptions(), ImageFolderTable()),
          .load = &LoadImageFolder};
}

}  // namespace kudari::lab
