#include "lab/train/batches.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "lab/train/visit.h"

namespace kudari::lab {

Samples ToSamples(Split& split, const Dataset& data) {
  const int64_t outputs = data.Outputs();
  std::vector<int64_t> shape = {split.Size()};
  shape.insert(shape.end(), data.shape.begin(), data.shape.end());
  const at::Tensor x = ::torch::from_blob(split.x.data(), shape, ::torch::kFloat32);
  if (data.classes > 0) {
    return {x, ::torch::from_blob(split.labels.data(), {split.Size()}, ::torch::kInt64)};
  }
  return {x, ::torch::from_blob(split.targets.data(), {split.Size(), outputs}, ::torch::kFloat32)};
}

Batches::Batches(Samples samples, const TrainConfig& config)
    : samples_(std::move(samples)),
      batch_size_(config.batch_size),
      shuffle_(config.shuffle),
      random_(static_cast<uint64_t>(config.seed)),
      order_(static_cast<size_t>(samples_.size())) {
  std::iota(order_.begin(), order_.end(), 0);
}

// Fisher and Yates's shuffle, spelled out because the standard library's may differ from one
// machine to the next.
void Batches::StartEpoch() {
  if (shuffle_) {
    for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random_() % i]);
  }
  next_ = 0;
}

bool Batches::MoreFull() const {
  return next_ + std::min(batch_size_, samples_.size()) <= samples_.size();
}

Samples Batches::Next() {
  const int64_t count = std::min(batch_size_, samples_.size() - next_);
  const at::Tensor index = ::torch::from_blob(order_.data() + next_, {count}, ::torch::kInt64);
  next_ += count;
  return {samples_.x.index_select(0, index), samples_.y.index_select(0, index)};
}

void Batches::Visit(StateVisitor& visitor) {
  const int64_t size = samples_.size();
  visitor.Value("next", next_, 0, size);
  visitor.Array("order", order_, {{size}});
  VisitRandom("random", random_, visitor);
  const StateTree* const order = visitor.Found("order");
  if (order == nullptr) return;
  std::vector<char> dealt(order_.size());
  for (const int64_t i : order->Array().As<int64_t>()) {
    if (i < 0 || i >= size || std::exchange(dealt[static_cast<size_t>(i)], 1) != 0) {
      visitor.Fail("order", "is not an order of " + std::to_string(size) + " samples");
    }
  }
}

}  // namespace kudari::lab
