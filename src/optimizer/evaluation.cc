// The view in which parameters are the weights to be evaluated.
#include <utility>

#include "core/elements.h"
#include "kudari/error.h"
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

void Optimizer::Impl::CheckNoView(std::string_view what) const {
  if (!*view_open) return;
  throw Error(std::string(what) +
              ": an evaluation view is open, so the parameters are not those that are trained");
}

EvaluationView Optimizer::Evaluation() {
  Impl& impl = *impl_;
  impl.CheckNoView("Evaluation");
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
      if (impl.averager_started[k]) averages[i] = impl.averagers[k]->Evaluated(i);
    }
    internal::Slotted& s = impl.slotted[i];
    // The coefficients of the update to come; they move a copy of the tensor's memory.
    if (by_rule(i)) impl.cohorts[s.cohort].AddAge(s.step + 1, s.memory, impl.coeff_scratch);
  }
  EvaluationView view(impl.view_open);
  for (size_t i = 0; i < count; ++i) {
    const internal::Slotted& s = impl.slotted[i];
    if (by_rule(i)) coeffs[i] = impl.cohorts[s.cohort].CoeffsAt(s.step + 1, s.memory);
    if (averages[i] == nullptr && coeffs[i] == nullptr) continue;
    auto* const p = static_cast<float*>(impl.tensor_list[i].param);
    view.saved_.push_back({p, std::vector<float>(p, p + s.size)});
  }
  internal::ForElements(impl.tensor_list, impl.parallel_, [&](size_t i, size_t begin, size_t end) {
    float* const p = static_cast<float*>(impl.tensor_list[i].param) + begin;
    if (averages[i] != nullptr) {
      std::copy(averages[i] + begin, averages[i] + end, p);
    } else if (coeffs[i] != nullptr) {
      const internal::Slotted& s = impl.slotted[i];
      const internal::Cohort& c = impl.cohorts[s.cohort];
      float* state[RuleEntry::kMostSlots];
      for (size_t k = 0; k < s.state.size(); ++k) state[k] = s.state[k] + begin;
      if (c.kernels.evaluate != nullptr) {
        c.kernels.evaluate(coeffs[i], {}, p, nullptr, state, end - begin, nullptr);
      } else {
        c.rule.scalar.evaluate(coeffs[i], {}, p, nullptr, state, end - begin);
      }
    }
  });
  return view;
}

}  // namespace kudari
