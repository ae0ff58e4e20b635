#include <algorithm>

#include "averagers/averagers.h"
#include "core/elements.h"
#include "kudari/stages.h"

namespace kudari {

void WeightAverage::Start(Engine& engine) {
  average_ = internal::CopyParameters(engine);
  count_ = 0;
}

void WeightAverage::MoveTowards(const Engine& engine, double weight) {
  internal::ForWeights(engine, [&](size_t i, size_t begin, std::span<const float> p) {
    float* const average = average_[i].data() + begin;
    if (count_ == 0 || weight == 1) {
      std::copy(p.begin(), p.end(), average);
      return;
    }
    for (size_t k = 0; k < p.size(); ++k) {
      const double now = average[k];
      average[k] = static_cast<float>(now + weight * (p[k] - now));
    }
  });
  ++count_;
}

const float* WeightAverage::Evaluated(size_t index) const {
  return count_ == 0 ? nullptr : average_[index].data();
}

std::map<std::string, std::vector<float>> WeightAverage::State(const Engine& engine) const {
  internal::AveragerState state = {{"count", internal::SavedCount(count_)}};
  internal::Save(engine, "average", average_, state);
  return state;
}

void WeightAverage::LoadState(const Engine& engine,
                              const std::map<std::string, std::vector<float>>& state) {
  internal::CheckState(engine, name_, {"average"}, true, state);
  internal::Load(engine, "average", state, average_);
  count_ = internal::LoadedCount(state.at("count"));
}

}  // namespace kudari
