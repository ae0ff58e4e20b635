#include "averagers/averagers.h"

#include "kudari/error.h"
#include "kudari/stages.h"

namespace kudari::internal {

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

}  // namespace kudari::internal
