#include "lab/train/batches.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "kudari/error.h"
#include "lab/train/prefetch.h"
#include "lab/train/visit.h"

namespace kudari::lab {
namespace {

constexpr int64_t kPreparedPerWorker = 2;

using ::at::Tensor;

// Labels of a batch whose samples keep this share of themselves.
Tensor Mixed(const Tensor& labels, int64_t classes, double share) {
  const Tensor flat = labels.contiguous();
  const std::vector<float> mixed =
      MixedLabels({flat.data_ptr<int64_t>(), static_cast<size_t>(flat.numel())}, classes, share);
  return ::torch::tensor(mixed).view({-1, classes});
}

}  // namespace

int64_t WorkersFor(const TrainConfig& config, const Samples& samples, const Augmenter& augmenter) {
  if (config.workers >= 0) return config.workers;
  const bool work = augmenter.active() || !samples.in_memory();
  return work && std::thread::hardware_concurrency() > 1 ? 1 : 0;
}

Batches::Batches(Samples samples, const TrainConfig& config, Augmenter augmenter, int64_t workers)
    : samples_(std::move(samples)),
      augmenter_(std::move(augmenter)),
      batch_size_(config.batch_size),
      shuffle_(config.shuffle),
      random_(static_cast<uint64_t>(config.seed)),
      order_(static_cast<size_t>(samples_.size())),
      most_prepared_(workers * kPreparedPerWorker) {
  std::iota(order_.begin(), order_.end(), 0);
  if (workers == 0) return;
  // Threads share the work by batches, so that LibTorch needs no more of them within one.
  try {
    prefetch_ = std::make_unique<Prefetch<Batch>>(workers, [] { at::set_num_threads(1); });
  } catch (const std::system_error& e) {
    throw Error("train.workers = " + std::to_string(workers) +
                ": the system has no more threads: " + e.what());
  }
}

Batches::~Batches() = default;

// Fisher and Yates's shuffle, spelled out because the standard library's may differ from one
// machine to the next.
void Batches::StartEpoch() {
  Forget();  // before the samples change
  samples_.StartEpoch();
  if (shuffle_) {
    for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random_() % i]);
  }
  next_ = prepared_ = 0;
  ++epoch_;
}

bool Batches::MoreFull() const {
  return next_ + std::min(batch_size_, samples_.size()) <= samples_.size();
}

int64_t Batches::CountAt(int64_t begin) const {
  return std::min(batch_size_, samples_.size() - begin);
}

std::vector<int64_t> Batches::RowsAt(int64_t begin) const {
  const auto first = order_.begin() + begin;
  return {first, first + CountAt(begin)};
}

Batch Batches::Make(int64_t epoch, const std::vector<int64_t>& rows) const {
  Batch batch = samples_.Rows(rows);
  if (!augmenter_.active()) return batch;
  const std::span<float> x(batch.x.data_ptr<float>(), static_cast<size_t>(batch.x.numel()));
  const size_t size = x.size() / rows.size();
  for (size_t i = 0; i < rows.size(); ++i) {
    augmenter_.Change(epoch, rows[i], x.subspan(i * size, size));
  }
  if (augmenter_.mixes()) {
    const double share = augmenter_.Mix(epoch, rows.front(), batch.size(), x);
    batch.y = Mixed(batch.y, augmenter_.classes(), share);
  }
  return batch;
}

// A batch that is prepared has the numbers of its samples, so that no thread sees the order.
void Batches::Prepare() {
  while (prefetch_->size() < most_prepared_ && prepared_ < samples_.size()) {
    prefetch_->Push([this, epoch = epoch_, rows = RowsAt(prepared_)] { return Make(epoch, rows); });
    prepared_ += CountAt(prepared_);
  }
}

void Batches::Forget() {
  if (prefetch_) prefetch_->Clear();
  prepared_ = next_;
}

Batch Batches::Next() {
  const int64_t begin = std::exchange(next_, next_ + CountAt(next_));
  if (!prefetch_) return Make(epoch_, RowsAt(begin));
  Prepare();
  Batch batch = prefetch_->Pop();
  Prepare();
  return batch;
}

void Batches::Visit(StateVisitor& visitor) {
  const int64_t size = samples_.size();
  visitor.Value("next", next_, 0, size);
  visitor.Value("epoch", epoch_, 0);
  visitor.Array("order", order_, {size});
  VisitRandom("random", random_, visitor);
  samples_.Visit(visitor);
  visitor.Then([this] { Forget(); });
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
