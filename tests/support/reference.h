#ifndef KUDARI_TESTS_SUPPORT_REFERENCE_H_
#define KUDARI_TESTS_SUPPORT_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/kernels.h"
#include "kudari/registry.h"

namespace kudari::testing {

/// One tensor under the double-precision passes of a rule: what the float engine does, without its
/// blocks and threads. `values` are of the options in the rule's order.
class Reference {
 public:
  using Doubles = std::vector<double>;

  /// `adapts` is false for what OptimizerSpec::no_adapt names; slot sizes may depend on `values`.
  Reference(const RuleEntry& rule, std::vector<int64_t> shape, Doubles initial,
            const Doubles& values, bool adapts = true)
      : p(std::move(initial)), rule_(rule), shape_(std::move(shape)), adapts_(adapts) {
    if (rule.whole == nullptr) {
      state.assign(rule.slots.size(), Doubles(p.size()));
    } else {
      for (const int64_t n : rule.whole->SlotSizes(values.data(), shape_)) {
        state.emplace_back(static_cast<size_t>(n));
      }
    }
    for (const auto& [name, initial_value] : rule.memory) memory.push_back(initial_value);
  }

  void Step(const Doubles& values, const Doubles& g) {
    ++updates;
    const auto slots = Slots();
    if (rule_.whole != nullptr) {
      Doubles scratch(static_cast<size_t>(rule_.whole->ScratchSize(shape_)));
      const Parallel alone{.threads = 1};
      rule_.whole->Step(WholeStep<double>{.shape = shape_,
                                          .values = values.data(),
                                          .t = updates,
                                          .p = p.data(),
                                          .g = g.data(),
                                          .form = {},
                                          .state = slots.data(),
                                          .scratch = scratch.data(),
                                          .parallel = alone,
                                          .kernels = internal::Kernels()});
      return;
    }
    Doubles coeffs(rule_.coeff_count);
    rule_.coeffs(values.data(), updates, memory.data(), coeffs.data());
    if (rule_.norms > 0) {
      double lanes[RuleEntry::kMostNorms][16] = {}, norms[RuleEntry::kMostNorms] = {};
      rule_.scalar64.measure(coeffs.data(), {}, p.data(), g.data(), slots.data(), p.size(),
                             lanes[0]);
      for (size_t k = 0; k < rule_.norms; ++k) {
        for (const double lane : lanes[k]) norms[k] += lane;
        norms[k] = std::sqrt(norms[k]);
      }
      if (adapts_) rule_.adapt(values.data(), norms, coeffs.data());
    }
    rule_.scalar64.update(coeffs.data(), {}, p.data(), g.data(), slots.data(), p.size());
  }

  void UpdateHessian(const Doubles& values, const Doubles& estimate) {
    Doubles coeffs(rule_.coeff_count), moved = memory;
    rule_.coeffs(values.data(), updates, moved.data(), coeffs.data());
    rule_.scalar64.hessian(coeffs.data(), {}, nullptr, estimate.data(), Slots().data(), p.size());
  }

  /// The weights to evaluate.
  Doubles Evaluated(const Doubles& values) {
    Doubles coeffs(rule_.coeff_count), moved = memory, weights = p;
    rule_.coeffs(values.data(), updates + 1, moved.data(), coeffs.data());
    rule_.scalar64.evaluate(coeffs.data(), {}, weights.data(), nullptr, Slots().data(), p.size());
    return weights;
  }

  Doubles p;
  std::vector<Doubles> state;  // in the order of the rule's slots
  Doubles memory;
  int64_t updates = 0;

 private:
  std::vector<double*> Slots() {
    std::vector<double*> slots;
    for (Doubles& s : state) slots.push_back(s.empty() ? nullptr : s.data());
    return slots;
  }

  const RuleEntry& rule_;
  std::vector<int64_t> shape_;
  bool adapts_;
};

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_REFERENCE_H_
