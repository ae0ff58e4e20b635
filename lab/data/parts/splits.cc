#include "lab/data/parts/splits.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"

namespace kudari::lab {
namespace {

void Shuffle(std::vector<int64_t>& values, std::mt19937_64& random) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[Below(i, random)]);
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

}  // namespace

uint64_t Below(uint64_t n, std::mt19937_64& random) {
  const uint64_t rest = (std::numeric_limits<uint64_t>::max() % n + 1) % n;
  uint64_t draw = random();
  while (draw > std::numeric_limits<uint64_t>::max() - rest) draw = random();
  return draw % n;
}

std::vector<int64_t> Permutation(int64_t size, std::mt19937_64& random) {
  std::vector<int64_t> values(static_cast<size_t>(size));
  std::iota(values.begin(), values.end(), 0);
  Shuffle(values, random);
  return values;
}

Split Gather(const Split& from, const std::vector<int64_t>& rows) {
  return {.x = Gather(from.x, rows, from.samples),
          .read = from.read,
          .rows = Gather(from.rows, rows, from.samples),
          .tokens = from.tokens,
          .begins = Gather(from.begins, rows, from.samples),
          .labels = Gather(from.labels, rows, from.samples),
          .targets = Gather(from.targets, rows, from.samples),
          .samples = static_cast<int64_t>(rows.size())};
}

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

ChannelScale Standardize(Dataset& data, size_t first, size_t count) {
  size_t size = 1;
  for (const int64_t n : data.shape) size *= static_cast<size_t>(n);
  const auto each = [&](Split& split, const auto& visit) {
    for (size_t start = first; start < split.x.size(); start += size) {
      for (size_t i = start; i < start + count; ++i) visit(split.x[i]);
    }
  };
  const double n = static_cast<double>(data.train.samples) * static_cast<double>(count);
  double sum = 0, squares = 0;
  each(data.train, [&](float x) { sum += x; });
  const double mean = sum / n;
  each(data.train, [&](float x) { squares += (x - mean) * (x - mean); });
  const ChannelScale scale{mean, squares > 0 ? std::sqrt(squares / n) : 1};
  for (Split* split : {&data.train, &data.validation, &data.test}) {
    each(*split, [&](float& x) { x = scale.Scaled(x); });
  }
  return scale;
}

void Standardize(Dataset& data) {
  const auto area = static_cast<size_t>(data.shape[1] * data.shape[2]);
  for (size_t c = 0; c < static_cast<size_t>(data.shape[0]); ++c) {
    data.scales.push_back(Standardize(data, c * area, area));
  }
}

void CheckShare(double validation, double below) {
  if (validation >= 0 && validation < below) return;
  throw Error("data.validation = " + NumberText(validation) + " is outside [0, " +
              NumberText(below) + ")");
}

void Finish(Dataset& data, uint64_t seed, double validation) {
  std::mt19937_64 random(seed);
  data.validation = TakeOut(data.train, data.classes, validation, random);
  Standardize(data);
}

void AppendPixels(std::string_view bytes, std::vector<float>& x) {
  for (const char c : bytes) x.push_back(static_cast<float>(static_cast<uint8_t>(c)));
}

void AppendLabel(const std::filesystem::path& path, uint8_t label, int64_t classes, Split& split) {
  if (label >= classes) {
    throw Error(path.string() + ": sample " + std::to_string(split.labels.size()) + " has label " +
                std::to_string(label) + ", but must have one from 0 to " +
                std::to_string(classes - 1));
  }
  split.labels.push_back(label);
}

}  // namespace kudari::lab
