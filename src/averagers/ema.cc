#include <algorithm>

#include "averagers/averagers.h"
#include "core/elements.h"
#include "kudari/registry.h"
#include "kudari/stages.h"

namespace kudari {

Ema::Ema(const EmaSpec& spec) : spec_(spec) { CheckRange("ema.decay", spec.decay, 0, kBelow1); }

void Ema::Start(Engine& engine) {
  average_ = internal::CopyParameters(engine);
  count_ = 0;
}

void Ema::After(Engine& engine) {
  const auto n = static_cast<double>(count_);
  double decay = spec_.decay;
  if (spec_.warmup) decay = std::min(decay, (1 + n) / (10 + n));
  if (count_ == 0) decay = 0;
  const std::span<const Tensor> tensors = engine.tensors();
  internal::ForElements(tensors, engine.parallel(), [&](size_t i, size_t begin, size_t end) {
    const auto* const p = static_cast<const float*>(tensors[i].param);
    float* const average = average_[i].data();
    if (decay == 0) {
      std::copy(p + begin, p + end, average + begin);
      return;
    }
    // In double: rounded to float, decay and 1 - decay do not add up to 1, which is a bias.
    for (size_t k = begin; k < end; ++k) {
      average[k] = static_cast<float>(decay * static_cast<double>(average[k]) + (1 - decay) * p[k]);
    }
  });
  ++count_;
}

const float* Ema::Evaluated(size_t index) const {
  return count_ == 0 ? nullptr : average_[index].data();
}

std::map<std::string, std::vector<float>> Ema::State(const Engine& engine) const {
  internal::AveragerState state = {{"count", internal::SavedCount(count_)}};
  internal::Save(engine, "average", average_, state);
  return state;
}

void Ema::LoadState(const Engine& engine, const std::map<std::string, std::vector<float>>& state) {
  internal::CheckState(engine, "ema", {"average"}, true, state);
  internal::Load(engine, "average", state, average_);
  count_ = internal::LoadedCount(state.at("count"));
}

}  // namespace kudari
