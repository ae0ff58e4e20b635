// A safetensors file with train/x, train/y, test/x, test/y and perhaps validation/x, validation/y
// (else a share of train). x is float32 (N, D), (N, H, W) or (N, C, H, W) and taken as it is. y is
// labels if it has one dimension and only integers, of any integer type or float32; any other
// float32 is regression targets, a row a sample.
#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "kudari/error.h"
#include "kudari/safetensors.h"
#include "lab/data/data.h"
#include "lab/data/parts/splits.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

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
                "\" do not have the shape of those of \"train/x\"");
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
                  " values per sample, but must have " +
                  (data.target_size == 0 ? "at least 1" : std::to_string(data.target_size)));
    }
  }
  return split;
}

Dataset LoadTensorFile(const DataConfig& config, uint64_t seed) {
  const fs::path path = config.path;
  const double validation = config.validation;
  CheckShare(validation, 1);
  if (path.empty()) throw Error("data.path is missing: it must name a safetensors file");
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

}  // namespace

DataEntry DescribeTensorFile() {
  return {.name = "safetensors",
          .doc = "a safetensors file of your own, with classes or other targets",
          .load = &LoadTensorFile};
}

}  // namespace kudari::lab
