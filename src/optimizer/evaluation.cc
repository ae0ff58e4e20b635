// The view in which parameters are the weights to be evaluated.
#include <utility>

#include "optimizer/coded.h"
#include "optimizer/impl.h"

namespace kudari {

EvaluationView::EvaluationView(std::shared_ptr<bool> open) : open_(std::move(open)) {
  *open_ = true;
}

EvaluationView::~EvaluationView() {
  if (open_ == nullptr) return;  // moved from
  for (const Saved& s : saved_) std::copy(s.weights.begin(), s.weights.end(), s.param);
  *open_ = false;
}

std::vector<size_t> EvaluationView::Changed() const {
  std::vector<size_t> tensors;
  for (const Saved& s : saved_) tensors.push_back(s.tensor);
  return tensors;
}

EvaluationView Optimizer::Evaluation() {
  Impl& impl = *impl_;
  impl.CheckBetweenSteps("Evaluation");
  const Impl::Inside inside(impl);
  impl.BindParameters();
  const size_t count = impl.tensor_list.size();
  // An average, or else the rule's own point, or else what is trained.
  std::vector<const float*> averages(count, nullptr);
  std::vector<const float*> coeffs(count, nullptr);
  for (internal::Cohort& c : impl.cohorts) {
    if (c.rule.scalar.evaluate != nullptr) impl.SetValues(c);
  }
  const auto by_rule = [&](size_t i) {
    const internal::Slotted& s = impl.slotted[i];
    return averages[i] == nullptr && s.step > 0 &&
           impl.cohorts[s.cohort].rule.scalar.evaluate != nullptr;
  };
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = impl.averagers.size(); averages[i] == nullptr && k-- > 0;) {
      const Impl::Follower& f = impl.averagers[k];
      if (f.started) averages[i] = f.averager->Evaluated(i);
    }
    const internal::Slotted& s = impl.slotted[i];
    // The coefficients of the update to come; they move a copy of the tensor's memory.
    if (by_rule(i)) impl.cohorts[s.cohort].AddAge(s.step + 1, s.Memory());
  }
  for (internal::Cohort& c : impl.cohorts) {
    if (c.rule.scalar.evaluate != nullptr) c.FormCoeffs();
  }
  EvaluationView view(impl.view_open);
  for (size_t i = 0; i < count; ++i) {
    const internal::Slotted& s = impl.slotted[i];
    if (by_rule(i)) coeffs[i] = impl.cohorts[s.cohort].CoeffsAt(s.step + 1, s.Memory());
    if (averages[i] == nullptr && coeffs[i] == nullptr) continue;
    const std::span<std::byte> p = internal::BytesOf(impl.tensor_list[i]);
    view.saved_.push_back({i, p.data(), std::vector<std::byte>(p.begin(), p.end())});
  }
  internal::ForElements(impl.tensor_list, impl.parallel_, [&](size_t i, size_t begin, size_t end) {
    // Masters stay: the view is of what the model sees.
    const internal::Coded visible = internal::Visible(impl.tensor_list[i]);
    if (averages[i] != nullptr) {
      impl.codecs->store(averages[i] + begin, begin, end - begin, visible);
    } else if (coeffs[i] != nullptr) {
      impl.Evaluate(i, coeffs[i], begin, end, visible);
    }
  });
  return view;
}

/// Puts what a rule says is to be evaluated in elements [begin, end) of a tensor into `to`.
void Optimizer::Impl::Evaluate(size_t index, const float* coeffs, size_t begin, size_t end,
                               const internal::Coded& to) {
  internal::Slotted& s = slotted[index];
  const internal::Cohort& c = cohorts[s.cohort];
  internal::ForBlocks(*codecs, s, {}, internal::Access::OfEvaluation(c.rule), false,
                      static_cast<int64_t>(begin), static_cast<int64_t>(end - begin),
                      [&](int64_t at, int64_t n, float* p, const float*, float* const* state) {
                        const auto count = static_cast<size_t>(n);
                        if (c.kernels.evaluate != nullptr) {
                          c.kernels.evaluate(coeffs, {}, p, nullptr, state, count, nullptr);
                        } else {
                          c.rule.scalar.evaluate(coeffs, {}, p, nullptr, state, count);
                        }
                        if (to.format != internal::Format::kFloat32) {
                          codecs->store(p, static_cast<size_t>(at), count, to);
                        }
                      });
}

}  // namespace kudari
