// The view in which parameters are the weights to be evaluated.
#include <utility>

#include "backend/stage_arrays.h"
#include "core/elements.h"
#include "optimizer/impl.h"

namespace kudari {

/// The weights that are trained, while the parameters hold others.
class EvaluationView::Saved {
 public:
  Saved(std::shared_ptr<Backend> backend, std::shared_ptr<bool> open)
      : backend_(std::move(backend)), open_(std::move(open)) {
    *open_ = true;
  }
  // By this thread alone: a pool that the user has lent may be gone, or throw.
  ~Saved() {
    backend_->Copy(pairs_, Parallel{.threads = 1});
    *open_ = false;
  }
  Saved(const Saved&) = delete;
  Saved& operator=(const Saved&) = delete;

  /// Says that Save is to save a tensor.
  void Add(size_t index, const Tensor& tensor) {
    const auto bytes = static_cast<size_t>(tensor.Size() * Bytes(tensor.dtype));
    copies_.emplace_back(*backend_, bytes);
    tensors_.push_back(index);
    pending_.push_back({{.data = copies_.back().data()}, {.data = tensor.param}, bytes});
  }
  void Save(const Parallel& parallel) {
    backend_->Copy(pending_, parallel);
    for (internal::ArrayPair& pair : pending_) std::swap(pair.to, pair.from);
    pairs_ = std::move(pending_);
  }
  const std::vector<size_t>& tensors() const { return tensors_; }

 private:
  std::shared_ptr<Backend> backend_;
  std::shared_ptr<bool> open_;  // whether the optimiser has a view
  std::vector<size_t> tensors_;
  std::vector<internal::Buffer> copies_;
  std::vector<internal::ArrayPair> pending_, pairs_;  // to be saved; to be put back
};

EvaluationView::EvaluationView(std::unique_ptr<Saved> saved) : saved_(std::move(saved)) {}
EvaluationView::EvaluationView(EvaluationView&&) noexcept = default;
EvaluationView::~EvaluationView() = default;

std::vector<size_t> EvaluationView::Changed() const { return saved_->tensors(); }

EvaluationView Optimizer::EvaluationWeights() {
  Impl& impl = *impl_;
  impl.CheckBetweenSteps("Evaluation");
  const Impl::Inside inside(impl);
  impl.BindParameters();
  const size_t count = impl.tensor_list.size();
  // An average, or else the rule's own point, or else what is trained.
  std::vector<const float*> averages(count, nullptr);
  for (internal::Cohort& c : impl.cohorts) {
    if (c.rule.scalar.evaluate != nullptr) impl.SetValues(c);
  }
  const auto by_rule = [&](size_t i) {
    const internal::TensorRecord& s = impl.records[i];
    return averages[i] == nullptr && s.step > 0 &&
           impl.cohorts[s.cohort].rule.scalar.evaluate != nullptr;
  };
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = impl.averagers.size(); averages[i] == nullptr && k-- > 0;) {
      const Impl::Follower& f = impl.averagers[k];
      if (f.started) averages[i] = f.averager->Evaluated(i);
    }
    const internal::TensorRecord& s = impl.records[i];
    // The coefficients of the update to come; they move a copy of the tensor's memory.
    if (by_rule(i)) impl.cohorts[s.cohort].AddAge(s.step + 1, s.Memory());
  }
  for (internal::Cohort& c : impl.cohorts) {
    if (c.rule.scalar.evaluate != nullptr) c.FormCoeffs();
  }
  auto saved = std::make_unique<EvaluationView::Saved>(impl.backend_, impl.view_open);
  std::vector<internal::ArrayPair> averaged;
  std::vector<internal::EvaluatedTensor> evaluated;
  for (size_t i = 0; i < count; ++i) {
    const internal::TensorRecord& s = impl.records[i];
    const Tensor& t = impl.tensor_list[i];
    // Masters stay: the view is of what the model sees.
    const internal::Coded visible = internal::Visible(t);
    if (averages[i] != nullptr) {
      averaged.push_back({.to = visible,
                          .from = {.data = const_cast<float*>(averages[i])},  // only read
                          .n = static_cast<size_t>(t.Size())});
    } else if (by_rule(i)) {
      const internal::Cohort& c = impl.cohorts[s.cohort];
      evaluated.push_back({.tensor = i,
                           .coeffs = c.CoeffsAt(s.step + 1, s.Memory()),
                           .exact = c.float64 ? c.ExactAt(s.step + 1, s.Memory()) : nullptr,
                           .to = visible});
    } else {
      continue;
    }
    saved->Add(i, t);
  }
  saved->Save(impl.parallel_);
  impl.backend_->Convert(averaged, impl.parallel_);
  impl.backend_->Evaluate(impl.View(), evaluated);
  return EvaluationView(std::move(saved));
}

}  // namespace kudari
