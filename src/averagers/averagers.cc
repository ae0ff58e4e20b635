#include "averagers/averagers.h"

#include <algorithm>
#include <cmath>

#include "core/suggest.h"
#include "kudari/error.h"
#include "kudari/stages.h"

namespace kudari::internal {
namespace {

constexpr int64_t kUnit = int64_t{1} << 24;  // floats hold every integer below it

std::string Key(std::string_view kind, const Tensor& tensor) {
  return std::string(kind) + "/" + tensor.name;
}

bool IsDigit(float x) { return x >= 0 && x < static_cast<float>(kUnit) && x == std::floor(x); }

}  // namespace

const std::vector<AveragerEntry>& Averagers() {
  static const std::vector<AveragerEntry> entries = {LookaheadEntry(), EmaEntry(), SwaEntry()};
  return entries;
}

std::vector<std::unique_ptr<Averager>> MakeAveragers(const OptimizerSpec& spec) {
  std::vector<std::unique_ptr<Averager>> averagers;
  for (const AveragerEntry& entry : Averagers()) {
    if (auto averager = entry.make(spec)) averagers.push_back(std::move(averager));
  }
  return averagers;
}

Arrays CopyParameters(const Engine& engine) {
  Arrays arrays;
  for (size_t i = 0; i < engine.tensors().size(); ++i) {
    arrays.emplace_back(static_cast<size_t>(engine.tensors()[i].Size()));
    engine.LoadWeights(i, 0, arrays.back());
  }
  return arrays;
}

void Save(const Engine& engine, std::string_view kind, const Arrays& arrays, AveragerState& state) {
  for (size_t i = 0; i < arrays.size(); ++i) {
    state.emplace(Key(kind, engine.tensors()[i]), arrays[i]);
  }
}

void Load(const Engine& engine, std::string_view kind, const AveragerState& state, Arrays& arrays) {
  for (size_t i = 0; i < arrays.size(); ++i) {
    arrays[i] = state.at(Key(kind, engine.tensors()[i]));
  }
}

std::vector<float> SavedCount(int64_t count) {
  const int64_t units = count / kUnit, rest = count % kUnit;
  return {static_cast<float>(units), static_cast<float>(rest)};
}

int64_t LoadedCount(const std::vector<float>& saved) {
  return static_cast<int64_t>(saved[0]) * kUnit + static_cast<int64_t>(saved[1]);
}

void CheckState(const Engine& engine, std::string_view averager,
                std::initializer_list<std::string_view> kinds, bool has_count,
                const AveragerState& state) {
  const std::string where = "state: " + std::string(averager) + ": ";
  std::vector<std::string> known;
  const auto check = [&](const std::string& key, int64_t size) {
    known.push_back(key);
    const auto at = state.find(key);
    if (at == state.end()) throw Error(where + "\"" + key + "\" is missing");
    if (static_cast<int64_t>(at->second.size()) == size) return;
    throw Error(where + "\"" + key + "\" has " + std::to_string(at->second.size()) +
                " values, not " + std::to_string(size));
  };
  if (has_count) {
    check("count", 2);
    const std::vector<float>& count = state.at("count");
    if (!IsDigit(count[0]) || !IsDigit(count[1])) {
      throw Error(where + "\"count\" is not two integers in [0, 2^24)");
    }
  }
  for (const std::string_view kind : kinds) {
    for (const Tensor& t : engine.tensors()) check(Key(kind, t), t.Size());
  }
  if (state.size() == known.size()) return;
  for (const auto& [key, values] : state) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    throw Error(where + "it has nothing named \"" + key + "\"" + Suggest(key, known));
  }
}

}  // namespace kudari::internal
