#include <algorithm>

#include "kudari/registry.h"
#include "kudari/stages.h"

namespace kudari {

Ema::Ema(const EmaSpec& spec) : WeightAverage("ema"), spec_(spec) {
  CheckRange("ema.decay", spec.decay, 0, kBelow1);
}

void Ema::After(Engine& engine) {
  const auto n = static_cast<double>(count());
  const double decay = spec_.warmup ? std::min(spec_.decay, (1 + n) / (10 + n)) : spec_.decay;
  MoveTowards(engine, 1 - decay);
}

}  // namespace kudari
