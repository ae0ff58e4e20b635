#include "lab/data/parts/idx.h"

#include <string_view>
#include <vector>

#include "kudari/error.h"
#include "lab/data/parts/find_files.h"
#include "lab/data/parts/splits.h"
#include "lab/files/text_file.h"
#include "lab/files/unpack.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

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
    if (n == 0 || size > kMostRead / n) {
      throw Error(path.string() + ": has dimension " + std::to_string(n) +
                  ", but must have at least one and at most 2^28 values");
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

Split ReadPart(const fs::path& folder, const std::string& part, std::vector<int64_t>& shape) {
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
    AppendLabel(labels, static_cast<uint8_t>(c), 10, split);
  }
  return split;
}

}  // namespace

Dataset LoadIdx(const std::string& name, const fs::path& folder, uint64_t seed, double validation) {
  Dataset data{.name = name, .shape = {}, .classes = 10, .brightest = 255};
  data.train = ReadPart(folder, "train", data.shape);
  data.test = ReadPart(folder, "t10k", data.shape);
  Finish(data, seed, validation);
  return data;
}

}  // namespace kudari::lab
