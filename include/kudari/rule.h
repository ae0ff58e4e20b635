#ifndef KUDARI_RULE_H_
#define KUDARI_RULE_H_

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "kudari/language.h"

namespace kudari {

/// The role of a hyper-parameter, as far as it matters when steps see a different number of samples
/// (see kudari/batch_scaling.h).
enum class Role {
  kValue,      ///< none of the following
  kDecay,      ///< the share of itself that a running mean or a buffer keeps per step
  kEps,        ///< added to the root of a mean of squared gradients
  kEpsInside,  ///< added to such a mean inside the root
  kRate,       ///< a rate per step: it is multiplied by the number of steps
  kSteps,      ///< a number of steps, which should cover as many samples as before
  kCounts      ///< depends on the number of steps or samples in another way
};

/// One hyper-parameter of rule R: its name, the member that holds it, the closed range of its
/// values, a description, and its role.
template <class R>
struct Field {
  std::string_view name;
  double R::*member;
  double low, high;
  std::string_view doc;
  Role role = Role::kValue;
};

/// How the learning rate and related options change when steps see kappa times as many samples; see
/// kudari/batch_scaling.h.
enum class BatchRule {
  kNone,    ///< no change
  kLinear,  ///< lr kappa (Goyal et al., arXiv:1706.02677): SGD
  kSqrt,    ///< lr sqrt(kappa)
  kAdamSde  ///< lr sqrt(kappa), 1 - beta times kappa, eps / sqrt(kappa) (Malladi et al.,
            ///< arXiv:2205.10287): Adam and RMSprop, while kappa (1 - beta) < 1
};

/// The estimate of the Hessian's diagonal that a rule is made for.
enum class HessianEstimate {
  kNone,         ///< none
  kGaussNewton,  ///< Gauss-Newton-Bartlett: gradients with labels drawn from the model
  kHutchinson    ///< products of the Hessian with random vectors
};

/// The kind of numbers in a state buffer, which determines their 8-bit code.
enum class SlotKind {
  kSigned,  ///< of either sign
  kSquare,  ///< divisors, not negative: means of squares, used through their root, and maxima
  kExact,   ///< values that 8 bits would spoil, such as terms that cancel; never coded
  kOffset,  ///< offsets of other weights from the parameter, sums of small changes; never coded,
            ///< and reset to zero when the parameter is given other values, see Optimizer::Refresh
  kWeights  ///< other weights, which follow by small changes; always float32, and reset to the
            ///< parameter when it is given other values
};

/// One state buffer of a rule. It has the parameter's shape and starts at zero. It has torch's name
/// where torch has such a buffer. Rules see float32, whatever format OptimizerSpec::precision
/// stores, and float64 in tensors of float64.
struct Slot {
  std::string_view name;
  SlotKind kind = SlotKind::kSigned;
};

/// A double that a rule keeps for each tensor, with its value before the first update: a running
/// product or sum over the values of scheduled hyper-parameters.
struct Memory {
  std::string_view name;
  double initial;
};

/// Which pass of a rule with norms updates the state.
enum class StatePass {
  kMeasure,  ///< Measure updates it from the gradient; Update reads it and sees no gradient
  kUpdate    ///< Measure sees only the parameter and the gradient; Update updates the state
};

/// The factor by which a rule with norms multiplies the step of a tensor.
struct TrustRatio {
  double ratio;
  bool pinned;  ///< whether it is the rule's bound, or one because a norm is zero
};

/// The number of bytes that a step must at least read and write.
struct MemoryTraffic {
  int64_t read = 0, written = 0;
};
/// A list of types, such as rules.

template <class... R>
struct TypeList {};
/// The upper end of an unbounded range.

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The largest double below one: the upper end of "[0, 1)".
inline constexpr double kBelow1 = 1 - std::numeric_limits<double>::epsilon() / 2;

/// The largest finite number.
template <class T>
inline constexpr T kMost = std::numeric_limits<T>::max();

/// A smaller epsilon, including 0, is raised to this value: kLeastEps where it is added to a root,
/// kLeastEpsInside where it is added under the root or to a curvature. So a quotient 0 / 0 is 0,
/// and a quotient whose square underflows in float32 stays below 1.
inline constexpr double kLeastEps = 0x1p-70, kLeastEpsInside = 0x1p-126;

/// How Mean and MeanSquare are given the decay, in [0, 1), of an exponential mean: as the share of
/// the new value, 1 - decay, or for decays below one half as minus the share of the old mean, so
/// that float32 represents the smaller of the two accurately.
constexpr double MeanShare(double decay) { return decay < 0.5 ? -decay : 1 - decay; }

/// For rules that square gradients, such as those with a SlotKind::kSquare, greater finite
/// magnitudes are reduced to this, so that no mean of squares overflows float32.
inline constexpr float kMostSquared = 0x1p62F;
/// The same for tensors of float64.
inline constexpr double kMostSquared64 = 0x1p510;

// A rule is a struct that describes an optimiser in one place. Its members are the
// hyper-parameters, all double, and it has:
//
//   kName, kSummary, kFormula, kPaper   text; kFormula states the conventions
//   kUse, kTorch                        text, may be absent: when to use it; what differs from
//                                       torch's
//   kFields                             std::array of Field, one for each member
//   kState                              std::array of Slot, possibly empty
//   Coeffs<T>                           what Update needs, members all T
//   Coeffs<double> At(int64_t t) const  the coefficients of a tensor's t-th update, t = 1, 2, ...
//
// and, between #ifdef KUDARI_LANES and #endif, a function template over the number type V
//
//   template <class V, class T>
//   KUDARI_INLINE void Update(const Rule::Coeffs<T>& c, V g, V& p, V& slot0, ...)
//
// It may use + - * /, Fma, Sqrt, Abs, Max, Min, Sign, AddShare, Mean, MeanSquare and V(c.x). It is
// compiled once for each SIMD target and for scalar float and double. See rules/adamw.h. A rule may
// also have:
//
//   kMemory      std::array of Memory. At is then At(int64_t t, std::span<double> memory) const;
//                it is called once per update and advances the memory. See rules/nadam.h.
//   kNorms       a number n: the rule needs n 2-norms over the whole tensor. A first pass calls
//                  Measure(c, g, p, slot0&, ..., V (&x)[n])  (kStatePass = StatePass::kMeasure) or
//                  Measure(c, g, p, V (&x)[n])               (StatePass::kUpdate)
//                and sums the squares of each x in double. The second pass is Update; after a
//                Measure that updated the state it is Update(c, V& p, slot0, ...). Its coefficients
//                are those that Adapted(Coeffs<double> first, std::span<const double> norms) const
//                makes of At(t), the coefficients of the first pass, or At(t) itself for tensors
//                that are not adapted (see OptimizerSpec::no_adapt; kAdaptsVectors says whether
//                bias and norm tensors are adapted when the spec does not say). A rule that scales
//                the step of each tensor has TrustRatio Ratio(std::span<const double> norms) const,
//                which gives the factor for the Report. See rules/lamb.h.
//   kHessian     a HessianEstimate: the last slot is an estimate of the Hessian's diagonal. Update
//                only reads it, and Curvature(c, V estimate, slot&) updates it with an estimate of
//                that kind, see Optimizer::UpdateHessian and rules/sophia.h.
//   kEvaluation  true: Evaluated(c, V& p, slot0, ...) turns the parameter into the one to evaluate.
//                See rules/schedule_free_adamw.h.
//
//   kDecoupledDecay  true: the only effect of weight_decay is to subtract lr weight_decay p from p,
//                in addition to the gradient step, so that the decay can be made independent of
//                lr, see OptimizerSpec::decay.
//
//   kSquaresGradient  true: squares of gradients are in slots of another kind than kSquare.
//
//   kRows        true: a gradient of some rows (Tensor::grad_rows) updates these rows alone, as if
//                the others had no gradient. The rule has neither norms nor memory, and options
//                called weight_decay and initial_accumulator_value must then be 0. See
//                rules/sparse_adam.h.
//
//   kBatchRule   the BatchRule that is known to suit the rule; absent: kSqrt. kAdamSde scales the
//                options with the roles kDecay, kEps and kEpsInside.
//   kLargeBatch  the name of the rule recommended instead for large batches.
//
// A rule that steps whole tensors has only the description, and the functions that MakeWholeEntry
// asks for. See rules/adafactor.h.

}  // namespace kudari

#endif  // KUDARI_RULE_H_
