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

std::unique_ptr<StageArrays> CopyParameters(const Engine& engine) {
  auto copies = std::make_unique<StageArrays>(StageArrays::OfOwned(engine, Format::kFloat32));
  engine.backend().Convert(copies->WithWeights(engine), engine.parallel());
  return copies;
}

void FollowTensors(const Engine& engine, StageArrays& copies) {
  const size_t before = copies.count();
  copies.Resize(engine);
  if (copies.count() <= before) return;
  const auto of_added = [&](size_t i) { return i < before ? Coded() : engine.Weights(i); };
  engine.backend().Convert(copies.With(of_added), engine.parallel());
}

}  // namespace kudari::internal
