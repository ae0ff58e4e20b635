#include "lab/data/data.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/data/parts/splits.h"

namespace kudari::lab {
namespace {

enum class Purpose : uint32_t { kSamples = 1, kLabelNoise = 2 };

// Random bits of one purpose. With one stream for all, the labels that are changed would be those
// of the first batches, which the seed orders.
std::mt19937_64 RandomFor(Purpose purpose, uint64_t seed) {
  std::seed_seq bits = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                        static_cast<uint32_t>(purpose)};
  return std::mt19937_64(bits);
}

}  // namespace

std::vector<std::string> DataNames() { return LabRegistry::Builtin().data.Names(); }

Dataset LoadData(std::string_view name, const std::filesystem::path& path, uint64_t seed,
                 double validation) {
  DataConfig config(LabRegistry::Builtin().data.Find(name));
  config.path = path.string();
  config.validation = validation;
  return config.entry->load(config, seed);
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
    throw Error("data.label_noise = " + NumberText(share) + " is outside [0, 1)");
  }
  if (share == 0) return;
  if (data.classes < 2 || data.train.labels.empty()) {
    throw Error("data.label_noise = " + NumberText(share) +
                " needs at least two classes; the data set " + data.name + " has " +
                (data.classes == 1 ? "one" : "other targets"));
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
  Dataset data = config.entry->load(config, seed);
  KeepSamples(data, config.samples, seed);
  AddLabelNoise(data, config.label_noise, seed);
  if (!data.train.x.empty()) {
    const auto [low, high] = std::ranges::minmax(data.train.x);
    data.low = low;
    data.high = high > low ? high : low + 1;
  }
  return data;
}

}  // namespace kudari::lab
