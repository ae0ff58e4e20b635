#ifndef KUDARI_REGISTRY_H_
#define KUDARI_REGISTRY_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/description.h"
#include "kudari/rule.h"
#include "kudari/scalar.h"

namespace kudari {

/// Updates n elements: coefficients as At gave them; the gradient is factor * g, clamped to
/// [-limit, limit] (a NaN stays); state has one pointer a slot.
using StepFn = void (*)(const float* coeffs, float factor, float limit, float* p, const float* g,
                        float* const* state, size_t n);
/// The same in double precision.
using StepFn64 = void (*)(const double* coeffs, double factor, double limit, double* p,
                          const double* g, double* const* state, size_t n);

/// A rule as the engine uses it: its description, its coefficients and its compiled updates.
struct RuleEntry {
  struct Option {
    std::string name;
    double default_value, low, high;
    std::string doc;
  };
  static constexpr size_t kMostSlots = 8;

  std::string name, summary, formula, paper;
  std::vector<Option> options;
  std::vector<std::string> slots;  ///< at most kMostSlots
  size_t coeff_count = 0;
  /// Writes coeff_count coefficients of a tensor's t-th update, t >= 1; `values` in the order of
  /// `options`.
  void (*coeffs)(const double* values, int64_t t, double* out) = nullptr;
  /// The update over scalar floats and doubles: the reference of every kernel.
  StepFn scalar = nullptr;
  StepFn64 scalar64 = nullptr;
  /// Index in the library's table of SIMD kernels; -1: only the scalar update exists.
  int kernel = -1;

  /// Index of an option; throws Error with the nearest name.
  size_t OptionIndex(std::string_view option) const;
};

/// Rules by name. A value: copy Builtin() and add rules of your own.
///
///     Registry registry = Registry::Builtin();
///     registry.Add(MakeEntry<MyRule>());
class Registry {
 public:
  /// The rules of rules/all.h.
  static const Registry& Builtin();

  /// Throws Error if the name is taken.
  void Add(RuleEntry entry);
  /// Throws Error with the nearest name.
  const RuleEntry& Find(std::string_view name) const;
  const std::vector<RuleEntry>& rules() const { return rules_; }

 private:
  std::vector<RuleEntry> rules_;
};

/// "[0, 1)" and the like.
std::string RangeText(double low, double high);

/// Throws Error "where = value is outside [low, high]" if it is, or if value is a NaN.
void CheckRange(std::string_view where, double value, double low, double high);

/// A rule in words.
Description Describe(const RuleEntry& rule);

namespace internal {

template <class T, class R, size_t... I>
void ScalarStep(const T* coeffs, T factor, T limit, T* p, const T* g, T* const* state, size_t n,
                std::index_sequence<I...>) {
  using C = typename R::template Coeffs<T>;
  std::array<T, sizeof(C) / sizeof(T)> raw;
  for (size_t i = 0; i < raw.size(); ++i) raw[i] = coeffs[i];
  const C c = std::bit_cast<C>(raw);
  for (size_t i = 0; i < n; ++i) {
    T x = factor * g[i];
    x = x > limit ? limit : x < -limit ? -limit : x;
    Update(c, x, p[i], state[I][i]...);
  }
}

template <class T, class R>
void ScalarStep(const T* coeffs, T factor, T limit, T* p, const T* g, T* const* state, size_t n) {
  ScalarStep<T, R>(coeffs, factor, limit, p, g, state, n,
                   std::make_index_sequence<R::kState.size()>());
}

template <class R>
void RuleCoeffs(const double* values, int64_t t, double* out) {
  R rule;
  for (size_t i = 0; i < R::kFields.size(); ++i) rule.*R::kFields[i].member = values[i];
  const auto c = rule.At(t);
  const auto raw = std::bit_cast<std::array<double, sizeof(c) / sizeof(double)>>(c);
  for (size_t i = 0; i < raw.size(); ++i) out[i] = raw[i];
}

}  // namespace internal

/// An entry for a rule of your own, which runs as scalar code. Its Update must be a function
/// template over float and double in the rule's own namespace, with kudari's Fma and Sqrt.
template <class R>
RuleEntry MakeEntry() {
  static_assert(R::kState.size() <= RuleEntry::kMostSlots);
  static_assert(sizeof(R) == R::kFields.size() * sizeof(double),
                "every member of a rule is a double and has a Field");
  RuleEntry e;
  e.name = R::kName;
  e.summary = R::kSummary;
  e.formula = R::kFormula;
  e.paper = R::kPaper;
  const R defaults;
  for (const auto& f : R::kFields) {
    e.options.push_back(
        {std::string(f.name), defaults.*f.member, f.low, f.high, std::string(f.doc)});
  }
  for (const Slot& s : R::kState) e.slots.emplace_back(s.name);
  e.coeff_count = sizeof(typename R::template Coeffs<double>) / sizeof(double);
  e.coeffs = &internal::RuleCoeffs<R>;
  e.scalar = &internal::ScalarStep<float, R>;
  e.scalar64 = &internal::ScalarStep<double, R>;
  return e;
}

}  // namespace kudari

#endif  // KUDARI_REGISTRY_H_
