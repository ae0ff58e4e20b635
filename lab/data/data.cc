#include "lab/data/data.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <utility>

#include "core/suggest.h"
#include "kudari/error.h"
#include "kudari/safetensors.h"
#include "lab/files/unpack.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLargestFile = size_t{1} << 30;  // unpacked: no data set known here comes near

// `folder`/`name`, plain or packed, if one of them is there.
std::optional<fs::path> FindIn(const fs::path& folder, const std::string& name) {
  for (const char* packing : {"", ".gz", ".xz"}) {
    fs::path path = folder / (name + packing);
    std::error_code ignored;
    if (fs::is_regular_file(path, ignored)) return path;
  }
  return std::nullopt;
}

fs::path Require(const fs::path& folder, const std::string& name) {
  if (auto path = FindIn(folder, name)) return *path;
  throw Error(folder.string() + ": has no " + name + ", plain, .gz or .xz");
}

std::string DataVariable() {
  const char* value = std::getenv("KUDARI_DATA");
  return value == nullptr ? "" : value;
}

std::string AsList(const std::vector<fs::path>& paths) {
  std::string text;
  for (const fs::path& path : paths) text += (text.empty() ? "" : ", ") + path.string();
  return text;
}

// The first folder that holds `file`. The user's own path is the only one looked at if it is given.
fs::path FindFolder(const fs::path& path, const std::string& file,
                    const std::vector<std::string>& subfolders) {
  std::vector<fs::path> roots = {path};
  if (path.empty()) {
    roots = {"../shared/data", ".data"};
    if (const std::string variable = DataVariable(); !variable.empty()) {
      roots.insert(roots.begin(), variable);
    }
  }
  std::vector<fs::path> looked;
  for (const fs::path& root : roots) {
    looked.push_back(root);
    for (const std::string& subfolder : subfolders) looked.push_back(root / subfolder);
  }
  for (const fs::path& folder : looked) {
    if (FindIn(folder, file)) return folder;
  }
  throw Error("data: no " + file + ", plain, .gz or .xz, in " + AsList(looked) +
              "; set data.path in the recipe, or KUDARI_DATA, to the folder that holds it");
}

// ---- Splitting and scaling ----

// The standard library's shuffle and distributions differ between implementations; these do not.
uint64_t Below(uint64_t n, std::mt19937_64& random) {
  const uint64_t rest = (std::numeric_limits<uint64_t>::max() % n + 1) % n;
  uint64_t draw = random();
  while (draw > std::numeric_limits<uint64_t>::max() - rest) draw = random();
  return draw % n;
}

void Shuffle(std::vector<int64_t>& values, std::mt19937_64& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[Below(i, random)]);
}

enum class Purpose : uint32_t { kSamples = 1, kLabelNoise = 2 };

// Random bits of one purpose. With one stream for all, the labels that are changed would be those
// of the first batches, which the seed orders.
std::mt19937_64 RandomFor(Purpose purpose, uint64_t seed) {
  std::seed_seq bits = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                        static_cast<uint32_t>(purpose)};
  return std::mt19937_64(bits);
}

std::vector<int64_t> Permutation(int64_t size, std::mt19937_64& random) {
  std::vector<int64_t> values(static_cast<size_t>(size));
  std::iota(values.begin(), values.end(), 0);
  Shuffle(values, random);
  return values;
}

// Indices of the samples of each class; without labels all are one class.
std::vector<std::vector<int64_t>> ByClass(const Split& split, int64_t classes) {
  std::vector<std::vector<int64_t>> members(static_cast<size_t>(std::max<int64_t>(classes, 1)));
  for (int64_t i = 0; i < split.samples; ++i) {
    members[classes > 0 ? static_cast<size_t>(split.labels[static_cast<size_t>(i)]) : 0].push_back(
        i);
  }
  return members;
}

template <class T>
std::vector<T> Gather(const std::vector<T>& from, const std::vector<int64_t>& rows,
                      int64_t samples) {
  if (from.empty()) return {};
  const int64_t width = static_cast<int64_t>(from.size()) / samples;
  std::vector<T> values;
  values.reserve(rows.size() * static_cast<size_t>(width));
  for (const int64_t row : rows) {
    values.insert(values.end(), from.begin() + row * width, from.begin() + (row + 1) * width);
  }
  return values;
}

Split Gather(const Split& from, const std::vector<int64_t>& rows) {
  return {.x = Gather(from.x, rows, from.samples),
          .labels = Gather(from.labels, rows, from.samples),
          .targets = Gather(from.targets, rows, from.samples),
          .samples = static_cast<int64_t>(rows.size())};
}

// Moves a share of every class of `from`, rounded, into the split that is returned. At least one
// sample of a class stays. Both keep the order of the samples.
Split TakeOut(Split& from, int64_t classes, double share, std::mt19937_64& random) {
  std::vector<int64_t> kept, taken;
  for (std::vector<int64_t>& members : ByClass(from, classes)) {
    if (members.empty()) continue;
    Shuffle(members, random);
    const auto count = std::min<int64_t>(std::llround(share * static_cast<double>(members.size())),
                                         std::ssize(members) - 1);
    taken.insert(taken.end(), members.begin(), members.begin() + count);
    kept.insert(kept.end(), members.begin() + count, members.end());
  }
  std::ranges::sort(kept);
  std::ranges::sort(taken);
  Split out = Gather(from, taken);
  from = Gather(from, kept);
  return out;
}

// Scales every channel to mean 0 and deviation 1 over the training samples.
void Standardize(Dataset& data) {
  const auto channels = static_cast<size_t>(data.shape[0]);
  const auto area = static_cast<size_t>(data.shape[1] * data.shape[2]);
  for (size_t c = 0; c < channels; ++c) {
    const auto each = [&](Split& split, const auto& visit) {
      for (size_t start = c * area; start < split.x.size(); start += channels * area) {
        for (size_t i = start; i < start + area; ++i) visit(split.x[i]);
      }
    };
    const double n = static_cast<double>(data.train.samples) * static_cast<double>(area);
    double sum = 0, squares = 0;
    each(data.train, [&](float x) { sum += x; });
    const double mean = sum / n;
    each(data.train, [&](float x) { squares += (x - mean) * (x - mean); });
    const double deviation = squares > 0 ? std::sqrt(squares / n) : 1;
    for (Split* split : {&data.train, &data.validation, &data.test}) {
      each(*split, [&](float& x) { x = static_cast<float>((x - mean) / deviation); });
    }
  }
}

void CheckShare(double validation, double below) {
  if (validation >= 0 && validation < below) return;
  throw Error("data.validation = " + internal::NumberText(validation) + " is outside [0, " +
              internal::NumberText(below) + ")");
}

// What is left to do for images that come with test samples.
void Finish(Dataset& data, uint64_t seed, double validation) {
  std::mt19937_64 random(seed);
  data.validation = TakeOut(data.train, data.classes, validation, random);
  Standardize(data);
}

// ---- digits ----

constexpr double kDigitsTest = 0.2;

fs::path FindDigits(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return path;
  std::vector<fs::path> looked;
  if (!path.empty()) {
    looked = {path, path / "digits"};
  } else if (fs::path variable = DataVariable(); !variable.empty()) {
    if (fs::is_regular_file(variable, ignored)) return variable;
    looked = {variable, variable / "digits"};
  }
  for (const fs::path& folder : looked) {
    if (auto found = FindIn(folder, "digits.csv")) return *found;
  }
  if (path.empty()) {
    fs::path built_in = KUDARI_DIGITS;
    if (fs::is_regular_file(built_in, ignored)) return built_in;
    if (!built_in.empty()) looked.push_back(built_in);
  }
  throw Error("data: no digits.csv.gz" + (looked.empty() ? "" : " at " + AsList(looked)) +
              "; run `make setup`, or set data.path in the recipe, or KUDARI_DATA, to the folder "
              "that holds scikit-learn's digits.csv.gz");
}

// ---- idx files ----

struct Idx {
  std::vector<int64_t> shape;
  std::string bytes;  // the file
  size_t start = 0;   // of the values in it
};

uint32_t BigEndian(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = at; i < at + 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

Idx ReadIdx(const fs::path& path, size_t dimensions) {
  Idx idx{.shape = {}, .bytes = ReadUnpacked(path), .start = 4 * (1 + dimensions)};
  if (idx.bytes.size() < idx.start) throw Error(path.string() + ": is truncated");
  const auto magic = static_cast<uint32_t>(0x800 + dimensions);  // unsigned bytes
  if (BigEndian(idx.bytes, 0) != magic) {
    throw Error(path.string() + ": has magic number " + std::to_string(BigEndian(idx.bytes, 0)) +
                ", but must have " + std::to_string(magic));
  }
  uint64_t size = 1;
  for (size_t d = 0; d < dimensions; ++d) {
    const uint32_t n = BigEndian(idx.bytes, 4 * (d + 1));
    if (n == 0 || size > kLargestFile / n) {
      throw Error(path.string() + ": has dimension " + std::to_string(n) +
                  ", but must have at least one and at most 2^30 values");
    }
    idx.shape.push_back(n);
    size *= n;
  }
  if (idx.bytes.size() - idx.start != size) {
    throw Error(path.string() + ": has " + std::to_string(idx.bytes.size() - idx.start) +
                " values, but its header says " + std::to_string(size));
  }
  return idx;
}

void AppendPixels(std::string_view bytes, std::vector<float>& x) {
  for (const char c : bytes) x.push_back(static_cast<float>(static_cast<uint8_t>(c)));
}

void AppendLabel(const fs::path& path, uint8_t label, Split& split) {
  if (label > 9) {
    throw Error(path.string() + ": sample " + std::to_string(split.labels.size()) + " has label " +
                std::to_string(label) + ", but must have one from 0 to 9");
  }
  split.labels.push_back(label);
}

Split ReadMnist(const fs::path& folder, const std::string& part, std::vector<int64_t>& shape) {
  const fs::path images = Require(folder, part + "-images-idx3-ubyte");
  const fs::path labels = Require(folder, part + "-labels-idx1-ubyte");
  const Idx x = ReadIdx(images, 3), y = ReadIdx(labels, 1);
  if (x.shape[0] != y.shape[0]) {
    throw Error(labels.string() + ": has " + std::to_string(y.shape[0]) + " labels for " +
                std::to_string(x.shape[0]) + " images");
  }
  const std::vector<int64_t> sample = {1, x.shape[1], x.shape[2]};
  if (shape.empty()) shape = sample;
  if (shape != sample) {
    throw Error(images.string() + ": has images of " + std::to_string(sample[1]) + " by " +
                std::to_string(sample[2]) + ", but those for training have " +
                std::to_string(shape[1]) + " by " + std::to_string(shape[2]));
  }
  Split split;
  split.samples = x.shape[0];
  split.x.reserve(x.bytes.size() - x.start);
  AppendPixels(std::string_view(x.bytes).substr(x.start), split.x);
  for (const char c : std::string_view(y.bytes).substr(y.start)) {
    AppendLabel(labels, static_cast<uint8_t>(c), split);
  }
  return split;
}

// ---- CIFAR-10 ----

void AppendBatch(const fs::path& path, Split& split) {
  constexpr size_t kRecord = 1 + 3 * 32 * 32;
  const std::string bytes = ReadUnpacked(path);
  if (bytes.empty() || bytes.size() % kRecord != 0) {
    throw Error(path.string() + ": has " + std::to_string(bytes.size()) +
                " bytes, which is not a number of records of " + std::to_string(kRecord));
  }
  // Once a batch: to reserve for every record would copy all of the samples each time.
  split.x.reserve(split.x.size() + bytes.size() - bytes.size() / kRecord);
  for (size_t at = 0; at < bytes.size(); at += kRecord) {
    AppendLabel(path, static_cast<uint8_t>(bytes[at]), split);
    AppendPixels(std::string_view(bytes).substr(at + 1, kRecord - 1), split.x);
  }
  split.samples = std::ssize(split.labels);
}

// ---- safetensors ----

constexpr int64_t kMostClasses = 100'000;

bool HasLabels(const SafeTensorsFile& file, const std::string& name) {
  const SafeTensor& y = file.Find(name);
  if (y.shape.size() != 1) return false;
  if (y.dtype != "F32") return true;
  return std::ranges::all_of(file.Floats(name), [](float v) { return v == std::trunc(v); });
}

void CheckFinite(const fs::path& path, const std::string& name, std::span<const float> values) {
  const auto bad = std::ranges::find_if_not(values, [](float v) { return std::isfinite(v); });
  if (bad == values.end()) return;
  throw Error(path.string() + ": tensor \"" + name + "\" has a value that is not finite at index " +
              std::to_string(bad - values.begin()));
}

std::vector<int64_t> SampleShape(const fs::path& path, const SafeTensor& x) {
  std::vector<int64_t> shape(x.shape.begin() + (x.shape.empty() ? 0 : 1), x.shape.end());
  if (x.shape.size() < 2 || x.shape.size() > 4 || x.Size() == 0) {
    throw Error(path.string() + ": tensor \"" + x.name + "\" has " +
                std::to_string(x.shape.size()) + " dimensions and " + std::to_string(x.Size()) +
                " values, but must have values and the shape (N, D), (N, H, W) or (N, C, H, W)");
  }
  if (shape.size() == 2) shape.insert(shape.begin(), 1);
  return shape;
}

Split ReadPart(const fs::path& path, const SafeTensorsFile& file, const std::string& part,
               bool labels, Dataset& data) {
  const std::string x_name = part + "/x", y_name = part + "/y";
  const SafeTensor &x = file.Find(x_name), &y = file.Find(y_name);
  const auto values = file.Floats(x_name);
  const std::vector<int64_t> shape = SampleShape(path, x);
  if (data.shape.empty()) data.shape = shape;
  if (shape != data.shape) {
    throw Error(path.string() + ": the samples of \"" + x_name +
                "\" have another shape than those of \"train/x\"");
  }
  if (y.shape.empty() || y.shape[0] != x.shape[0]) {
    throw Error(path.string() + ": tensor \"" + y_name + "\" must have " +
                std::to_string(x.shape[0]) + " rows, as \"" + x_name + "\" has");
  }
  CheckFinite(path, x_name, values);
  Split split{.x = {values.begin(), values.end()}, .samples = x.shape[0]};
  if (labels) {
    split.labels = file.Integers(y_name);
    const auto [low, high] = std::ranges::minmax(split.labels);
    if (low < 0 || high >= kMostClasses) {
      throw Error(path.string() + ": tensor \"" + y_name + "\" has the label " +
                  std::to_string(low < 0 ? low : high) + ", which is outside [0, " +
                  std::to_string(kMostClasses) + "); for regression give it two dimensions");
    }
    data.classes = std::max(data.classes, high + 1);
  } else {
    const auto targets = file.Floats(y_name);
    CheckFinite(path, y_name, targets);
    split.targets.assign(targets.begin(), targets.end());
    const int64_t size = y.Size() / x.shape[0];
    if (data.target_size == 0) data.target_size = size;
    if (size == 0 || size != data.target_size) {
      throw Error(path.string() + ": tensor \"" + y_name + "\" has " + std::to_string(size) +
                  " values a sample, but must have " +
                  (data.target_size == 0 ? "at least 1" : std::to_string(data.target_size)));
    }
  }
  return split;
}

}  // namespace

std::span<const std::string> DataNames() {
  static const std::array<std::string, 4> names = {"digits", "mnist", "cifar10", "safetensors"};
  return names;
}

Dataset LoadData(std::string_view name, const std::filesystem::path& path, uint64_t seed,
                 double validation) {
  if (name == "digits") return LoadDigits(path, seed, validation);
  if (name == "mnist") return LoadMnist(path, seed, validation);
  if (name == "cifar10") return LoadCifar10(path, seed, validation);
  if (name == "safetensors") return LoadSafeTensors(path, seed, validation);
  throw Error("data.name: unknown name \"" + std::string(name) + "\"" +
              internal::Suggest(name, DataNames()));
}

Dataset LoadDigits(const std::filesystem::path& path, uint64_t seed, double validation) {
  CheckShare(validation, 1 - kDigitsTest);
  constexpr size_t kPixels = 64;
  const fs::path file = FindDigits(path);
  const std::string text = ReadUnpacked(file);
  Dataset data{.name = "digits", .shape = {1, 8, 8}, .classes = 10};
  Split& all = data.train;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    for (size_t column = 0; column <= kPixels; ++column) {
      int value = 0;
      const auto result = std::from_chars(at, end, value);
      const int most = column < kPixels ? 16 : 9;
      const char* after = result.ptr;
      if (after < end && *after == '\r') ++after;
      const bool closed =
          column < kPixels ? after < end && *after == ',' : after == end || *after == '\n';
      if (result.ec != std::errc() || value < 0 || value > most || !closed) {
        throw Error(file.string() + ": line " + std::to_string(all.samples + 1) + ", column " +
                    std::to_string(column + 1) +
                    ": must be 64 integers from 0 to 16 and a label from 0 to 9");
      }
      at = after == end ? end : after + 1;
      if (column < kPixels) {
        all.x.push_back(static_cast<float>(value));
      } else {
        all.labels.push_back(value);
      }
    }
    ++all.samples;
  }
  if (all.samples == 0) throw Error(file.string() + ": is empty");
  std::mt19937_64 random(seed);
  data.test = TakeOut(all, data.classes, kDigitsTest, random);
  data.validation = TakeOut(all, data.classes, validation / (1 - kDigitsTest), random);
  Standardize(data);
  return data;
}

Dataset LoadMnist(const std::filesystem::path& path, uint64_t seed, double validation) {
  CheckShare(validation, 1);
  const fs::path folder = FindFolder(path, "train-images-idx3-ubyte", {"mnist"});
  Dataset data{.name = "mnist", .shape = {}, .classes = 10};
  data.train = ReadMnist(folder, "train", data.shape);
  data.test = ReadMnist(folder, "t10k", data.shape);
  Finish(data, seed, validation);
  return data;
}

Dataset LoadCifar10(const std::filesystem::path& path, uint64_t seed, double validation) {
  CheckShare(validation, 1);
  const fs::path folder = FindFolder(path, "test_batch.bin", {"cifar10", "cifar-10-batches-bin"});
  Dataset data{.name = "cifar10", .shape = {3, 32, 32}, .classes = 10};
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

Dataset LoadSafeTensors(const std::filesystem::path& path, uint64_t seed, double validation) {
  CheckShare(validation, 1);
  if (path.empty()) throw Error("data.path is missing: the safetensors file of the data");
  const SafeTensorsFile file(path);
  std::vector<std::pair<std::string, Split Dataset::*>> parts = {{"train", &Dataset::train},
                                                                 {"test", &Dataset::test}};
  const bool own_validation = file.Contains("validation/x") || file.Contains("validation/y");
  if (own_validation) parts.emplace_back("validation", &Dataset::validation);
  const bool labels = std::ranges::all_of(
      parts, [&](const auto& part) { return HasLabels(file, part.first + "/y"); });
  Dataset data{.name = "safetensors"};
  for (const auto& [part, member] : parts) {
    data.*member = ReadPart(path, file, part, labels, data);
  }
  if (!own_validation) {
    std::mt19937_64 random(seed);
    data.validation = TakeOut(data.train, data.classes, validation, random);
  }
  return data;
}

void KeepSamples(Dataset& data, int64_t samples, uint64_t seed) {
  if (samples == 0) return;
  if (samples < 0 || samples > data.train.samples) {
    throw Error("data.samples = " + std::to_string(samples) + " is outside [0, " +
                std::to_string(data.train.samples) + "], the training samples of " + data.name +
                " without those for validation");
  }
  std::mt19937_64 random = RandomFor(Purpose::kSamples, seed);
  std::vector<int64_t> rows = Permutation(data.train.samples, random);
  rows.resize(static_cast<size_t>(samples));
  std::ranges::sort(rows);
  data.train = Gather(data.train, rows);
}

void AddLabelNoise(Dataset& data, double share, uint64_t seed) {
  if (!(share >= 0 && share < 1)) {
    throw Error("data.label_noise = " + internal::NumberText(share) + " is outside [0, 1)");
  }
  if (share == 0) return;
  if (data.classes < 2) {
    throw Error("data.label_noise = " + internal::NumberText(share) +
                " needs at least two classes; the data set " + data.name + " has " +
                (data.classes == 0 ? "other targets" : "one"));
  }
  std::mt19937_64 random = RandomFor(Purpose::kLabelNoise, seed);
  std::vector<int64_t> rows = Permutation(data.train.samples, random);
  rows.resize(static_cast<size_t>(std::llround(share * static_cast<double>(data.train.samples))));
  for (const int64_t row : rows) {
    int64_t& label = data.train.labels[static_cast<size_t>(row)];
    const auto step = static_cast<int64_t>(Below(static_cast<uint64_t>(data.classes - 1), random));
    label = (label + 1 + step) % data.classes;
  }
}

Dataset LoadData(const DataConfig& config, uint64_t seed) {
  Dataset data = LoadData(config.name, config.path, seed, config.validation);
  KeepSamples(data, config.samples, seed);
  AddLabelNoise(data, config.label_noise, seed);
  return data;
}

}  // namespace kudari::lab
