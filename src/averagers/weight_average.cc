#include <algorithm>

#include "averagers/averagers.h"
#include "core/elements.h"
#include "kudari/stages.h"
#include "kudari/state.h"

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

void WeightAverage::Visit(const Engine& engine, StateVisitor& visitor) {
  visitor.Value("count", count_, 0);
  visitor.Tensors(engine.tensors(), [&](size_t i) {
    visitor.Array("average", std::span(average_[i]), engine.tensors()[i].shape);
  });
}

}  // namespace kudari
