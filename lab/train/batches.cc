#include "lab/train/batches.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "lab/train/visit.h"

namespace kudari::lab {

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
  samples_.StartEpoch();
  if (shuffle_) {
    for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random_() % i]);
  }
  next_ = 0;
}

bool Batches::MoreFull() const {
  return next_ + std::min(batch_size_, samples_.size()) <= samples_.size();
}

Batch Batches::Next() {
  const int64_t count = std::min(batch_size_, samples_.size() - next_);
  const auto begin = order_.begin() + std::exchange(next_, next_ + count);
  return samples_.Rows({begin, static_cast<size_t>(count)});
}

void Batches::Visit(StateVisitor& visitor) {
  const int64_t size = samples_.size();
  visitor.Value("next", next_, 0, size);
  visitor.Array("order", order_, {{size}});
  VisitRandom("random", random_, visitor);
  samples_.Visit(visitor);
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
