#ifndef KUDARI_REGISTRY_H_
#define KUDARI_REGISTRY_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kudari/description.h"
#include "kudari/range.h"
#include "kudari/rule.h"
#include "kudari/scalar.h"
#include "kudari/step.h"

namespace kudari {

namespace internal {
struct KernelSet;
}

/// How the gradient that a rule sees is computed from the stored one: factor * g + shift, clamped
/// to [-limit, limit]. A NaN stays a NaN.
template <class T>
struct GradientForm {
  T factor = 1;
  T shift = 0;
  T limit = std::numeric_limits<T>::infinity();
  /// Whether an infinity becomes a NaN rather than `limit`, for limits that the caller did not ask
  /// for.
  bool infinity_is_nan = false;

  T operator()(T g) const {
    const T x = Fma(factor, g, shift);
    /// The gradient that the rule sees for a stored gradient g.
    const T y = x > limit ? limit : x < -limit ? -limit : x;
    return infinity_is_nan ? Fma(T(0), x, y) : y;
  }
};

/// A pass over n elements. `coeffs` are the coefficients that At returned, and `state` has one
/// pointer per slot. What a pass reads and writes depends on its kind.
template <class T>
using PassFn = void (*)(const T* coeffs, const GradientForm<T>& form, T* p, const T* g,
                        T* const* state, size_t n);
/// A pass that also adds, for each i < n, the square of element i's contribution to the k-th norm
/// to sums[k * 16 + i % 16].
template <class T>
using MeasureFn = void (*)(const T* coeffs, const GradientForm<T>& form, const T* p, const T* g,
                           T* const* state, size_t n, double* sums);

/// A rule's scalar passes: the reference for every kernel. Passes that the rule lacks are null.
/// Those over doubles step tensors of float64.
template <class T>
struct ScalarPasses {
  PassFn<T> update = nullptr;
  MeasureFn<T> measure = nullptr;  ///< for rules with norms
  PassFn<T> hessian = nullptr;     ///< takes the estimate as g; p is null
  PassFn<T> evaluate = nullptr;    ///< changes p; g is null
};

/// The arguments of a WholeRule step: one tensor and its update.
template <class T>
struct WholeStep {
  std::span<const int64_t> shape;
  const double* values;  ///< option values, in the rule's order
  int64_t t;             ///< number of this update of the tensor, from 1
  T* p;
  const T* g;
  GradientForm<T> form;
  T* const* state;  ///< one pointer per slot; null for a slot of size 0
  T* scratch;       ///< ScratchSize elements, cache-aligned, with arbitrary content
  const Parallel& parallel;
  const internal::KernelSet& kernels;  ///< kernels of the instruction set in use
};

/// A rule that steps a tensor as a whole, such as Muon. It knows the shape, and the sizes of its
/// state buffers may differ from the parameter's.
class WholeRule {
 public:
  virtual ~WholeRule() = default;
  /// The size of each slot for a tensor of that shape, whatever lr is. Throws Error if the rule
  /// cannot step such a tensor; the caller prefixes the names of rule and tensor, so the message
  /// begins with the problem.
  virtual std::vector<int64_t> SlotSizes(const double* values,
                                         std::span<const int64_t> shape) const = 0;
  /// The number of scratch elements that a step needs.
  virtual int64_t ScratchSize(std::span<const int64_t> shape) const = 0;
  /// The memory traffic of a step in float32.
  virtual MemoryTraffic Traffic(std::span<const int64_t> shape) const = 0;
  /// Steps the tensor.
  virtual void Step(const WholeStep<float>& step) const = 0;
  virtual void Step(const WholeStep<double>& step) const = 0;
};

/// A rule as the engine uses it: its description, its coefficients and its compiled passes.
struct RuleEntry {
  /// One hyper-parameter; see Field.
  struct Option {
    std::string name;
    double default_value, low, high;
    std::string doc;
    Role role = Role::kValue;
  };
  // Upper limits for any rule.
  static constexpr size_t kMostSlots = 8;
  static constexpr size_t kMostCoeffs = 32;
  static constexpr size_t kMostNorms = 4;
  static constexpr size_t kMostMemory = 4;

  std::string name, summary, formula, paper, use, torch;
  std::vector<Option> options;
  std::vector<std::string> slots;    ///< at most kMostSlots
  std::vector<SlotKind> slot_kinds;  ///< parallel to `slots`
  std::vector<std::pair<std::string, double>>
      memory;                     ///< names and initial values; at most kMostMemory
  bool decoupled_decay = false;   ///< whether the decay subtracts exactly lr weight_decay p from p
  bool squares_gradient = false;  ///< so that finite magnitudes count as kMostSquared at most
  bool rows = false;              ///< whether it takes gradients of some rows, Tensor::grad_rows
  /// The batch rule known to suit the rule; kSqrt also if none is known.
  BatchRule batch_rule = BatchRule::kSqrt;
  std::string large_batch = {};  ///< the rule recommended instead for large batches, or ""
  HessianEstimate hessian = HessianEstimate::kNone;  ///< the kind it has a slot for
  size_t coeff_count = 0;
  /// Writes the coeff_count coefficients of a tensor's t-th update, t >= 1, and advances its
  /// memory; `values` are in the order of `options`.
  void (*coeffs)(const double* values, int64_t t, double* memory, double* out) = nullptr;
  size_t norms = 0;  ///< number of norms that the rule needs of every tensor, at most kMostNorms
  StatePass state_pass = StatePass::kUpdate;  ///< for rules with norms
  bool adapts_vectors = true;                 ///< for rules with norms
  /// Turns the coefficients of the first pass into those of the second.
  void (*adapt)(const double* values, const double* norms, double* coeffs) = nullptr;
  /// The factor of the second pass's step; null for a rule without a trust ratio.
  TrustRatio (*trust)(const double* values, const double* norms) = nullptr;
  ScalarPasses<float> scalar;
  ScalarPasses<double> scalar64;
  /// Index in the library's table of SIMD kernels; -1: the rule has scalar passes only.
  int kernel = -1;
  /// Null for rules that work element by element. Otherwise the rule has no coefficients or passes.
  std::shared_ptr<const WholeRule> whole = {};

  /// The index of an option. Throws Error suggesting the nearest name if there is none.
  size_t OptionIndex(std::string_view option) const;
  /// The number of slots, counted from the first, that an update writes.
  size_t StoredSlots() const { return slots.size() - (scalar.hessian != nullptr ? 1 : 0); }
  /// The memory traffic of a step in float32 for a tensor of that shape.
  MemoryTraffic Traffic(std::span<const int64_t> shape) const;
};

/// A set of rules by name. It is a value: copy Builtin() and add your own rules.
///
///     Registry registry = Registry::Builtin();
///     registry.Add(MakeEntry<MyRule>());
class Registry {
 public:
  /// The registry of the rules in rules/all.h.
  static const Registry& Builtin();

  /// Adds a rule. Throws Error if its name is taken; the case of letters makes no difference.
  void Add(RuleEntry entry);
  /// Returns the rule with that name, in letters of either case ("AdamW" is adamw); throws Error
  /// suggesting the nearest name if there is none.
  const RuleEntry& Find(std::string_view name) const;
  /// All rules, in the order in which they were added.
  const std::vector<RuleEntry>& rules() const { return rules_; }

 private:
  std::vector<RuleEntry> rules_;
};

/// A readable description of a rule.
Description Describe(const RuleEntry& rule);

namespace internal {

template <class R>
inline constexpr size_t kNormsOf = 0;
template <class R>
requires requires { R::kNorms; }
inline constexpr size_t kNormsOf<R> = R::kNorms;

template <class R>
inline constexpr bool kHasMemory = requires {
  R::kMemory;
};
template <class R>
inline constexpr bool kTakesRows = requires {
  R::kRows;
};
template <class R>
inline constexpr bool kHasHessian = requires {
  R::kHessian;
};
template <class R>
inline constexpr bool kHasEvaluation = requires {
  R::kEvaluation;
};

/// The number of slots, counted from the first, that an update writes.
template <class R>
inline constexpr size_t kStoredSlots = R::kState.size() - (kHasHessian<R> ? 1 : 0);

/// Whether the first of two passes updates the state.
template <class R>
constexpr bool StateInMeasure() {
  if constexpr (kNormsOf < R >> 0) return R::kStatePass == StatePass::kMeasure;
  return false;
}

/// Whether the rule squares its gradients, so that magnitudes above kMostSquared are reduced to it.
template <class R>
constexpr bool SquaresGradient() {
  if constexpr (requires { R::kSquaresGradient; }) return R::kSquaresGradient;
  for (const Slot& s : R::kState) {
    if (s.kind == SlotKind::kSquare) return true;
  }
  return false;
}

/// A constant, so that the compiler knows which member is set.
template <class R, size_t I>
inline constexpr auto kMember = R::kFields[I].member;

template <class R>
R RuleOf(const double* values) {
  R rule;
  const auto set = [&]<size_t... I>(std::index_sequence<I...>) {
    ((rule.*kMember<R, I> = values[I]), ...);
  };
  set(std::make_index_sequence<R::kFields.size()>());
  return rule;
}

template <class C, class T>
C CoeffsOf(const T* raw) {
  std::array<T, sizeof(C) / sizeof(T)> copy;
  for (size_t i = 0; i < copy.size(); ++i) copy[i] = raw[i];
  return std::bit_cast<C>(copy);
}

/// A rule's scalar passes for numbers of type T.
template <class T, class R>
struct Scalar {
  using C = typename R::template Coeffs<T>;

  /// Calls f(i, values of the slots at element i...) for each element i < n.
  template <class F>
  static void ForEach(T* const* state, size_t n, const F& f) {
    const auto each = [&]<size_t... I>(std::index_sequence<I...>) {
      for (size_t i = 0; i < n; ++i) f(i, state[I][i]...);
    };
    each(std::make_index_sequence<R::kState.size()>());
  }

  static void UpdatePass(const T* coeffs, const GradientForm<T>& form, T* p, const T* g,
                         T* const* state, size_t n) {
    const C c = CoeffsOf<C>(coeffs);
    ForEach(state, n, [&](size_t i, auto&... s) {
      if constexpr (StateInMeasure<R>()) {
        Update(c, p[i], s...);
      } else {
        Update(c, form(g[i]), p[i], s...);
      }
    });
  }

  static void MeasurePass(const T* coeffs, const GradientForm<T>& form, const T* p, const T* g,
                          T* const* state, size_t n, double* sums) {
    const C c = CoeffsOf<C>(coeffs);
    ForEach(state, n, [&](size_t i, [[maybe_unused]] auto&... s) {
      T x[kNormsOf<R>];
      if constexpr (StateInMeasure<R>()) {
        Measure(c, form(g[i]), p[i], s..., x);
      } else {
        Measure(c, form(g[i]), p[i], x);
      }
      for (size_t k = 0; k < kNormsOf<R>; ++k) {
        const auto value = static_cast<double>(x[k]);
        sums[k * 16 + i % 16] = Fma(value, value, sums[k * 16 + i % 16]);
      }
    });
  }

  static void HessianPass(const T* coeffs, const GradientForm<T>& form, T* /*p*/, const T* g,
                          T* const* state, size_t n) {
    const C c = CoeffsOf<C>(coeffs);
    T* const curvature = state[R::kState.size() - 1];
    for (size_t i = 0; i < n; ++i) Curvature(c, form(g[i]), curvature[i]);
  }

  static void EvaluatePass(const T* coeffs, const GradientForm<T>& /*form*/, T* p, const T* /*g*/,
                           T* const* state, size_t n) {
    const C c = CoeffsOf<C>(coeffs);
    ForEach(state, n, [&](size_t i, auto&... s) { Evaluated(c, p[i], s...); });
  }

  static ScalarPasses<T> Passes() {
    ScalarPasses<T> passes{.update = &UpdatePass};
    if constexpr (kNormsOf < R >> 0) passes.measure = &MeasurePass;
    if constexpr (kHasHessian<R>) passes.hessian = &HessianPass;
    if constexpr (kHasEvaluation<R>) passes.evaluate = &EvaluatePass;
    return passes;
  }
};

/// Coefficients are constructed where they will be read, because copies of different widths wait
/// for each other.
template <class R>
void RuleCoeffs(const double* values, int64_t t, double* memory, double* out) {
  using C = typename R::template Coeffs<double>;
  const R rule = RuleOf<R>(values);
  if constexpr (kHasMemory<R>) {
    new (out) C(rule.At(t, std::span<double>(memory, R::kMemory.size())));
  } else {
    static_cast<void>(memory);
    new (out) C(rule.At(t));
  }
}

template <class R>
void AdaptCoeffs(const double* values, const double* norms, double* coeffs) {
  using C = typename R::template Coeffs<double>;
  const C first = CoeffsOf<C>(coeffs);
  new (coeffs) C(RuleOf<R>(values).Adapted(first, std::span<const double>(norms, kNormsOf<R>)));
}

template <class R>
TrustRatio RatioOf(const double* values, const double* norms) {
  return RuleOf<R>(values).Ratio(std::span<const double>(norms, kNormsOf<R>));
}

/// The descriptive part of an entry.
template <class R>
RuleEntry DescribedEntry() {
  static_assert(R::kState.size() <= RuleEntry::kMostSlots);
  static_assert(sizeof(R) == R::kFields.size() * sizeof(double),
                "every member of a rule is a double and has a Field");
  RuleEntry e;
  e.name = R::kName;
  e.summary = R::kSummary;
  e.formula = R::kFormula;
  e.paper = R::kPaper;
  if constexpr (requires { R::kUse; }) e.use = R::kUse;
  if constexpr (requires { R::kTorch; }) e.torch = R::kTorch;
  if constexpr (requires { R::kDecoupledDecay; }) e.decoupled_decay = R::kDecoupledDecay;
  e.rows = kTakesRows<R>;
  if constexpr (requires { R::kBatchRule; }) e.batch_rule = R::kBatchRule;
  if constexpr (requires { R::kLargeBatch; }) e.large_batch = R::kLargeBatch;
  if constexpr (requires { R::kHessian; }) e.hessian = R::kHessian;
  const R defaults;
  for (const auto& f : R::kFields) {
    e.options.push_back(
        {std::string(f.name), defaults.*f.member, f.low, f.high, std::string(f.doc), f.role});
  }
  for (const Slot& s : R::kState) {
    e.slots.emplace_back(s.name);
    e.slot_kinds.push_back(s.kind);
  }
  e.squares_gradient = SquaresGradient<R>();
  return e;
}

template <class R>
std::vector<int64_t> SlotSizesOf(const R& rule, std::span<const int64_t> shape) {
  return SlotSizes(rule, shape);
}
template <class R>
int64_t ScratchSizeOf(std::span<const int64_t> shape) {
  return ScratchSize(R(), shape);
}
template <class R>
MemoryTraffic TrafficOf(std::span<const int64_t> shape) {
  return Traffic(R(), shape);
}

/// Implements WholeRule with the functions in R's namespace.
template <class R>
class Whole : public WholeRule {
 public:
  std::vector<int64_t> SlotSizes(const double* values,
                                 std::span<const int64_t> shape) const override {
    return SlotSizesOf(RuleOf<R>(values), shape);
  }
  int64_t ScratchSize(std::span<const int64_t> shape) const override {
    return ScratchSizeOf<R>(shape);
  }
  MemoryTraffic Traffic(std::span<const int64_t> shape) const override {
    return TrafficOf<R>(shape);
  }
  void Step(const WholeStep<float>& s) const override { StepWhole(RuleOf<R>(s.values), s); }
  void Step(const WholeStep<double>& s) const override { StepWhole(RuleOf<R>(s.values), s); }
};

}  // namespace internal

/// Makes the registry entry for a rule of your own, which runs as scalar code. Its functions must
/// be templates over float and double in the rule's own namespace and use kudari's Fma, Sqrt and so
/// on.
template <class R>
RuleEntry MakeEntry() {
  static_assert(internal::kNormsOf<R> <= RuleEntry::kMostNorms);
  static_assert(internal::kNormsOf<R> == 0 || !internal::kHasMemory<R>,
                "a rule has norms or memory, not both");
  static_assert(
      !internal::kTakesRows<R> || (internal::kNormsOf<R> == 0 && !internal::kHasMemory<R>),
      "a rule for gradients of some rows has neither norms nor memory");
  RuleEntry e = internal::DescribedEntry<R>();
  static_assert(sizeof(typename R::template Coeffs<double>) <=
                RuleEntry::kMostCoeffs * sizeof(double));
  e.coeff_count = sizeof(typename R::template Coeffs<double>) / sizeof(double);
  e.coeffs = &internal::RuleCoeffs<R>;
  if constexpr (internal::kHasMemory<R>) {
    static_assert(R::kMemory.size() <= RuleEntry::kMostMemory);
    for (const Memory& m : R::kMemory) e.memory.emplace_back(m.name, m.initial);
  }
  if constexpr (internal::kNormsOf < R >> 0) {
    e.norms = R::kNorms;
    e.state_pass = R::kStatePass;
    e.adapts_vectors = R::kAdaptsVectors;
    e.adapt = &internal::AdaptCoeffs<R>;
    if constexpr (requires(const R& r, std::span<const double> norms) { r.Ratio(norms); }) {
      e.trust = &internal::RatioOf<R>;
    }
  }
  e.scalar = internal::Scalar<float, R>::Passes();
  e.scalar64 = internal::Scalar<double, R>::Passes();
  return e;
}

/// Makes the registry entry for a rule that steps whole tensors. R has the description of any rule,
/// and its namespace provides the following functions
///
///     std::vector<int64_t> SlotSizes(const R&, std::span<const int64_t> shape);
///     int64_t ScratchSize(const R&, std::span<const int64_t> shape);
///     MemoryTraffic Traffic(const R&, std::span<const int64_t> shape);
///     void StepWhole(const R&, const WholeStep<T>&);   // for float and double
///
/// with the meaning of the members of WholeRule.
template <class R>
RuleEntry MakeWholeEntry() {
  RuleEntry e = internal::DescribedEntry<R>();
  e.whole = std::make_shared<const internal::Whole<R>>();
  return e;
}

}  // namespace kudari

#endif  // KUDARI_REGISTRY_H_
