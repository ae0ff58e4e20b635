#include "lab/train/best_weights.h"

#include "kudari/torch_visit.h"

namespace kudari::lab {

BestWeights::BestWeights(::torch::nn::Module& model) {
  const ::torch::NoGradGuard no_grad;
  const auto add = [this](const auto& items) {
    for (const auto& item : items) {
      entries_.push_back({item.key(), item.value(), item.value().detach().clone()});
    }
  };
  add(model.named_parameters());
  add(model.named_buffers());
}

void BestWeights::Keep(int64_t step) {
  const ::torch::NoGradGuard no_grad;
  for (Entry& e : entries_) e.kept.copy_(e.now);
  step_ = step;
}

BestWeights::Shown::Shown(const BestWeights& best) : entries_(best.entries_) {
  const ::torch::NoGradGuard no_grad;
  for (const Entry& e : entries_) {
    before_.push_back(e.now.detach().clone());
    at::Tensor(e.now).copy_(e.kept);
  }
}

BestWeights::Shown::~Shown() {
  const ::torch::NoGradGuard no_grad;
  for (size_t i = 0; i < entries_.size(); ++i) at::Tensor(entries_[i].now).copy_(before_[i]);
}

void BestWeights::Visit(StateVisitor& visitor) {
  visitor.Value("step", step_, 0);
  visitor.Node("weights", [&] {
    for (const Entry& e : entries_) kudari::torch::VisitTensor(e.name, e.kept, visitor);
  });
}

}  // namespace kudari::lab
