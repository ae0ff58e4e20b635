#ifndef KUDARI_RULE_H_
#define KUDARI_RULE_H_

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

namespace kudari {

/// What a hyper-parameter does, as far as it matters when steps see more samples or fewer (see
/// kudari/batch_scaling.h).
enum class Role {
  kValue,      ///< nothing of the following
  kDecay,      ///< what a running mean or a buffer keeps of itself in a step
  kEps,        ///< added to the root of a mean of squared gradients
  kEpsInside,  ///< added to such a mean under the root
  kRate,       ///< multiplied with the number of steps
  kSteps,      ///< a number of steps, which should see as many samples as before
  kCounts      ///< depends on the number of steps or samples in another way
};

/// One hyper-parameter of rule R: its name, where it lives, the closed range of its values, what it
/// is in words, and its role.
template <class R>
struct Field {
  std::string_view name;
  double R::*member;
  double low, high;
  std::string_view doc;
  Role role = Role::kValue;
};

/// What becomes of the learning rate, and of what goes with it, when steps see kappa times as many
/// samples; see kudari/batch_scaling.h.
enum class BatchRule {
  kNone,    ///< nothing
  kLinear,  ///< lr kappa (Goyal et al., arXiv:1706.02677): SGD
  kSqrt,    ///< lr sqrt(kappa)
  kAdamSde  ///< lr sqrt(kappa), 1 - beta times kappa, eps / sqrt(kappa) (Malladi et al.,
            ///< arXiv:2205.10287): Adam and RMSprop, while kappa (1 - beta) < 1
};

/// Which estimate of the Hessian's diagonal a rule is made for.
enum class HessianEstimate {
  kNone,         ///< it uses none
  kGaussNewton,  ///< Gauss-Newton-Bartlett: gradients with labels drawn from the model
  kHutchinson    ///< products of the Hessian with random vectors
};

/// What numbers a state buffer holds, which decides about 8-bit codes for them.
enum class SlotKind {
  kSigned,  ///< of either sign
  kSquare,  ///< means of squares: not negative, used through their root
  kExact,   ///< what 8 bits would spoil, as terms that cancel: never coded
  kOffset   ///< how far other weights are from the parameter, a sum of small changes: never coded,
            ///< and zero again when the parameter is given other values, see Optimizer::Refresh
};

/// One state buffer of a rule, of the parameter's shape, zero at first. Named as torch names it
/// where torch has it. Rules see float32, whatever OptimizerSpec::precision keeps.
struct Slot {
  std::string_view name;
  SlotKind kind = SlotKind::kSigned;
};

/// A double that a rule keeps for each tensor, and what it is before the first update: a running
/// product or sum over the values that scheduled hyper-parameters have had.
struct Memory {
  std::string_view name;
  double initial;
};

/// Which pass of a rule with norms touches the state.
enum class StatePass {
  kMeasure,  ///< Measure updates it from the gradient; Update reads it and sees no gradient
  kUpdate    ///< Measure sees parameter and gradient alone; Update updates it
};

/// What a rule with norms multiplies the step of a tensor with.
struct TrustRatio {
  double ratio;
  bool pinned;  ///< it is the rule's bound, or one because a norm is zero
};

/// Bytes of memory that a step has to read and write, at least.
struct MemoryTraffic {
  int64_t read = 0, written = 0;
};

template <class... R>
struct TypeList {};

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The largest double below one: the upper end of "[0, 1)".
inline constexpr double kBelow1 = 1 - std::numeric_limits<double>::epsilon() / 2;

/// The largest finite float32.
inline constexpr float kMostFloat = std::numeric_limits<float>::max();

/// What an eps of less, 0 included, counts as: added to a root, or to what is under the root or a
/// curvature. A quotient 0 / 0 is 0 then, and one whose square float32 loses stays below 1.
inline constexpr double kLeastEps = 0x1p-70, kLeastEpsInside = 0x1p-126;

/// How Mean and MeanSquare are told the decay, in [0, 1), of an exponential mean: the share of the
/// new value, 1 - decay, or for small decays minus that of the former mean, so that float32 holds
/// the smaller of the two.
constexpr double MeanShare(double decay) { return decay < 0.5 ? -decay : 1 - decay; }

/// Rules that square gradients, as those with a SlotKind::kSquare do, see this where one is greater
/// and finite: no mean of squares leaves float32's range.
inline constexpr float kMostSquared = 0x1p62F;

// A rule is a struct that describes an optimiser once. Its members are hyper-parameters, all
// double, and it has:
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
// that may use + - * /, Fma, Sqrt, Abs, Max, Min, Sign, AddShare, Mean, MeanSquare and V(c.x). It
// is compiled once for each SIMD target and for scalar float and double. See rules/adamw.h. A rule
// may have more:
//
//   kMemory      std::array of Memory. At is then At(int64_t t, std::span<double> memory) const; it
//                is called once an update and moves the memory on. See rules/nadam.h.
//   kNorms       a number n: the rule needs n 2-norms over the whole tensor. A first pass calls
//                  Measure(c, g, p, slot0&, ..., V (&x)[n])  (kStatePass = StatePass::kMeasure) or
//                  Measure(c, g, p, V (&x)[n])               (StatePass::kUpdate)
//                whose x are squared and summed in double. At(t, std::span<const double> norms)
//                then gives the coefficients of the second pass, which is Update; after a Measure
//                that updated the state it is Update(c, V& p, slot0, ...). At(t), without norms,
//                gives those of the first pass, and of the second for tensors that are not adapted
//                (see OptimizerSpec::no_adapt; kAdaptsVectors says whether bias and norm tensors
//                are adapted when the spec does not say). If it scales each tensor's step,
//                TrustRatio Ratio(std::span<const double> norms) const tells by how much, for the
//                Report. See rules/lamb.h.
//   kHessian     a HessianEstimate: the last slot is of the Hessian's diagonal. Update reads it
//                alone, and Curvature(c, V estimate, slot&) takes an estimate of that kind into it,
//                see Optimizer::UpdateHessian and rules/sophia.h.
//   kEvaluation  true: Evaluated(c, V& p, slot0, ...) turns the parameter into the one that is to
//                be evaluated. See rules/schedule_free_adamw.h.
//
//   kDecoupledDecay  true: weight_decay takes lr weight_decay p from p and nothing else, beside
//                what the gradient does, so that the decay can be made independent of lr, see
//                OptimizerSpec::decay.
//
//   kSquaresGradient  true: squares of gradients are in slots of another kind than kSquare.
//
//   kBatchRule   the BatchRule that is known to suit it; absent: kSqrt. kAdamSde scales the options
//                of the roles kDecay, kEps and kEpsInside.
//   kLargeBatch  the name of the rule that is advised in its place for large batches.
//
// A rule that steps whole tensors has the description alone, and the functions that MakeWholeEntry
// asks for. See rules/adafactor.h.

}  // namespace kudari

#endif  // KUDARI_RULE_H_
