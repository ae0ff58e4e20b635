#include "averagers/averagers.h"
#include "kudari/stages.h"
#include "kudari/state.h"

namespace kudari {

WeightAverage::WeightAverage(std::string_view name) : name_(name) {}
WeightAverage::~WeightAverage() = default;

void WeightAverage::Start(Engine& engine) {
  average_ = internal::CopyParameters(engine);
  count_ = 0;
}

bool WeightAverage::Resize(Engine& engine) {
  internal::FollowTensors(engine, *average_);
  return true;
}

void WeightAverage::MoveTowards(const Engine& engine, double weight) {
  engine.backend().Blend(average_->WithWeights(engine), count_ == 0 ? 1 : weight,
                         engine.parallel());
  ++count_;
}

const float* WeightAverage::Evaluated(size_t index) const {
  return count_ == 0 ? nullptr : average_->Floats(index);
}

void WeightAverage::Visit(const Engine& engine, StateVisitor& visitor) {
  visitor.Value("count", count_, 0);
  visitor.Tensors(engine.tensors(), [&](size_t i) {
    if (engine.Owns(i)) average_->Visit(engine, i, "average", visitor);
  });
}

}  // namespace kudari
