#ifndef KUDARI_SPEC_H_
#define KUDARI_SPEC_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kudari/schedule.h"
#include "kudari/step.h"
#include "kudari/tensor.h"

namespace kudari {

/// Hyper-parameters by name; a number is a constant schedule.
using Options = std::map<std::string, Schedule>;

/// Tensors that are treated differently from the rest. A `match` other than "*" must match at least
/// one tensor; `classes` may name classes that a model does not have.
struct Group {
  std::string match = "*";                ///< glob on tensor names
  std::vector<TensorClass> classes = {};  ///< empty: any class
  std::string rule = {};                  ///< "": the rule of the spec
  /// Replace the spec's options; a group with another rule starts from that rule's defaults.
  Options options = {};
  /// Replace the spec's penalties.
  std::optional<Schedule> l1 = std::nullopt, l2 = std::nullopt;

  friend bool operator==(const Group&, const Group&) = default;
};

/// See OptimizerSpec::fallback.
struct Fallback {
  std::string rule = "adamw";
  Options options = {};

  friend bool operator==(const Fallback&, const Fallback&) = default;
};

/// What weight_decay is multiplied by.
enum class Decay {
  kRule,        ///< by what the rule's formula says: the learning rate where the decay is decoupled
  kIndependent  ///< by the learning rate divided by the number in front of its schedule
};

/// Adaptive gradient clipping (Brock et al., arXiv:2102.06171, Section 4): the gradient of each
/// unit (a row of a matrix, a filter of a convolution, a whole vector) is scaled down to `clip`
/// times the 2-norm of the unit's weights, which counts as at least `eps`.
struct AdaptiveClip {
  Schedule clip = 0.01;
  double eps = 1e-3;
  /// Globs on the names of tensors that are not clipped, such as the last layer.
  std::vector<std::string> exclude = {};

  friend bool operator==(const AdaptiveClip&, const AdaptiveClip&) = default;
};

/// What Lookahead does with the state of a rule when it moves the weights.
enum class LookaheadState {
  kKeep,     ///< nothing
  kReset,    ///< it becomes what it is before the first update
  kPullback  ///< the momentum is interpolated with that of the sync before, as the weights are
};

/// Lookahead (Zhang et al., arXiv:1907.08610), see the averager.
struct LookaheadSpec {
  int64_t k = 5;       ///< steps from sync to sync, at least 1
  double alpha = 0.5;  ///< step of the slow weights, in [0, 1]
  LookaheadState state = LookaheadState::kKeep;

  friend bool operator==(const LookaheadSpec&, const LookaheadSpec&) = default;
};

/// Exponential moving average of the weights, see Ema.
struct EmaSpec {
  double decay = 0.999;  ///< in [0, 1)
  bool warmup = false;   ///< let the decay of the n-th update be at most n / (9 + n)

  friend bool operator==(const EmaSpec&, const EmaSpec&) = default;
};

/// Stochastic weight averaging, see Swa.
struct SwaSpec {
  int64_t start = 0;  ///< steps before the first cycle, at least 0
  int64_t every = 1;  ///< steps of a cycle, at least 1

  friend bool operator==(const SwaSpec&, const SwaSpec&) = default;
};

/// How the digits that 16-bit parameters lack are kept.
enum class Master {
  kNone,  ///< not at all: updates below half a unit of the parameter are lost or rounded at random
  kFloat32,  ///< all digits of float32: kSplit16 for bfloat16, for float16 a copy of 4 bytes
  kSplit8,   ///< what bfloat16 lacks of 24 bits, 1 byte: half a unit is 2^-16 of the weight
  kSplit16,  ///< what bfloat16 lacks of float32, 2 bytes: float32 to the bit
  kKahan     ///< a second bfloat16 that compensates the first, 2 bytes
};

/// How a value that 16 bits cannot hold is rounded.
enum class Rounding {
  kNearest,    ///< to the nearest, ties to even
  kStochastic  ///< up or down at random, so that the mean is right
};

/// How state lies in memory.
enum class StateFormat {
  kFloat32,
  kBFloat16,
  // 8 bits, in blocks of 256 that share a float32 scale, the largest magnitude:
  kLinear8,    ///< evenly spaced codes, of means of squares those of the root
  kSoftsign8,  ///< as kLinear8, but first moments companded: codes are denser near zero (Gonzalez
               ///< Ortiz et al., FlashOptim, arXiv:2602.23349)
  kDynamic8    ///< a decade to each power of two of codes (Dettmers et al., arXiv:2110.02861)
};

/// "none", "float32", "split8", "split16" or "kahan".
std::string_view Name(Master master);

/// Storage of parameters and state. Formats with less than 32 bits change what a step reads and
/// writes, never how it computes: in float32, from values that are decoded first and coded after.
///
///     OptimizerSpec spec = AdamW{.lr = 1e-3};  // 7 bytes a parameter, gradient included
///     spec.precision = {.master = Master::kSplit8, .state = StateFormat::kLinear8};
struct Precision {
  /// The master of 16-bit parameters; those of 32 bits need none. kSplit8, kSplit16 and kKahan are
  /// for bfloat16.
  /// It is initialised from the parameter at its first step.
  Master master = Master::kNone;
  /// The rounding of 16-bit parameters without a master, and of state in bfloat16.
  Rounding rounding = Rounding::kNearest;
  /// The seed of stochastic rounding, which depends on the seed, the step, the tensor's name and
  /// the element alone.
  int64_t seed = 0;
  /// The format of all state buffers that have the size of the parameter. Tensors of less than
  /// kSmallestCoded elements keep float32 instead of 8 bits.
  StateFormat state = StateFormat::kFloat32;
  /// Formats of single state buffers, by the name of the buffer.
  std::map<std::string, StateFormat> slots = {};
  /// Classes whose state stays float32, such as embeddings.
  std::vector<TensorClass> exclude = {};
  /// Counts what rounding loses, see Numerics. Steps become slower.
  bool check = false;

  static constexpr int64_t kSmallestCoded = 4096;

  friend bool operator==(const Precision&, const Precision&) = default;
};

/// How far LayerSAM moves a layer with weights w and gradient g_l. The paper's text leaves it open,
/// and each of these was found in use; a rho for one of them says nothing about the others.
enum class LayerScale {
  kWeightRatio,  ///< rho norm(w) / norm(g_l) times g_l: rho is relative to the weights
  kRatioGlobal,  ///< rho norm(w) / norm(g_l) / norm(g) times g_l, g being the whole gradient
  kUnitLayer,    ///< rho / norm(g_l) times g_l: the same distance for all layers
  kDouble        ///< rho norm(w) / norm(g_l)^2 times g_l: without bound as the gradient vanishes
};

/// What LayerSAM takes for a layer.
enum class LayerUnit {
  kTensor,  ///< each tensor by itself
  kModule   ///< tensors whose names are the same up to the last dot
};

/// Options of the sharpness-aware sources; see Sharpness. Each source uses some of them.
struct SharpnessSpec {
  /// A radius for some tensors.
  struct Radius {
    std::string match = "*";                ///< glob on tensor names
    std::vector<TensorClass> classes = {};  ///< empty: any class
    Schedule rho = 0.05;

    friend bool operator==(const Radius&, const Radius&) = default;
  };

  /// Radius of the perturbation, [0, inf). Unset: 0.05; for asam 0.5, for layersam and
  /// look_layersam 0.01.
  std::optional<Schedule> rho = std::nullopt;
  /// The last one that matches a tensor replaces its rho. The norm that the gradient is divided by
  /// remains the norm over all tensors.
  std::vector<Radius> groups = {};
  /// Number of steps from one perturbed gradient to the next (sam_k, looksam, look_layersam), at
  /// least 1. The first step has a perturbed gradient.
  int64_t k = 5;
  /// Length of the part that looksam reuses, relative to the gradient; weight of the surrogate gap
  /// in gsam. [0, inf). Unset: 0.7; for gsam 0.4.
  std::optional<Schedule> alpha = std::nullopt;
  LayerScale layer_scale = LayerScale::kWeightRatio;
  LayerUnit layer = LayerUnit::kTensor;
  /// Whether looksam and look_layersam split and reuse the gradient layer by layer, rather than as
  /// one vector.
  bool decompose_layers = false;
  /// A control for experiments: looksam and look_layersam reuse a random direction, orthogonal to
  /// the gradient of the step that makes it, in place of g_v.
  bool random_direction = false;
  /// A number that asam adds to the magnitudes of weights, [0, inf).
  double eta = 0.01;
  /// Whether asam perturbs biases, too, in proportion to their magnitudes.
  bool adapt_biases = false;
  /// Classes that are not perturbed, and whose gradient does not count for the norm that the others
  /// are divided by.
  std::vector<TensorClass> exclude = {};
  /// How the direction that looksam reuses is kept: kFloat32 or kBFloat16.
  StateFormat direction = StateFormat::kFloat32;

  friend bool operator==(const SharpnessSpec&, const SharpnessSpec&) = default;
};

/// A complete description of an optimiser: a plain value, the same as a recipe's [optimizer] table.
///
///     OptimizerSpec spec = AdamW{.lr = 1e-3};
///     spec.options.at("lr") = 1e-3 * Warmup(100) * Cosine(2000);
///     spec.clip_norm = 1.0;
///     spec.no_decay = {TensorClass::kBias, TensorClass::kNorm};
struct OptimizerSpec {
  /// Rule for all tensors. May be empty if each tensor is matched by a group that has one.
  std::string rule;
  Options options;
  /// Groups of tensors. The last group that matches a tensor applies to it.
  std::vector<Group> groups;
  /// Penalties l1 |p| + l2 p^2 / 2, [0, inf), for any rule: l1 sign(p) + l2 p, of the weights that
  /// the step begins with, is added to the gradient that the rule sees, after unscaling, clipping
  /// and centralisation, where a coupled weight decay would be. Norms in reports are without them.
  /// Tensors whose weight_decay is zero by their class have none either. Unset: off.
  std::optional<Schedule> l1, l2;
  /// With kIndependent the decoupled weight decay follows the schedule of the learning rate but not
  /// its height (Loshchilov & Hutter, arXiv:1711.05101, Algorithm 2): p loses
  /// lr(t) / base * weight_decay of itself in a step, where base is the product of the numbers
  /// among the factors of lr, 1e-3 in 1e-3 * warmup(100) * cosine(2000). It does not change when
  /// SetSchedule changes lr. Rules that add the decay to the gradient cannot have it, nor can those
  /// whose decay has other factors than lr (adafactor, normuon).
  Decay decay = Decay::kRule;
  /// Classes whose weight_decay is zero, whatever their group says.
  std::vector<TensorClass> no_decay;
  /// Classes that rules with a trust ratio neither adapt nor decay; unset: bias and norm for rules
  /// that say so (lars), none for others (lamb).
  std::optional<std::vector<TensorClass>> no_adapt;
  /// The rule for tensors that a matrix rule does not suit: those of the classes embedding, head,
  /// norm and bias. Groups come after it and can override it.
  std::optional<Fallback> fallback;
  /// Classes that override those of Classify, by globs on names; the last match wins.
  std::vector<std::pair<std::string, TensorClass>> classes;
  /// Clip by global norm; unset: off.
  std::optional<Schedule> clip_norm;
  /// A number added to the norm that clip_norm is divided by; torch adds 1e-6.
  double clip_norm_eps = 1e-6;
  /// Clamp every element of the scaled gradient to [-clip_value, clip_value]; unset: off.
  std::optional<Schedule> clip_value;
  /// Adaptive gradient clipping, after clip_norm; unset: off.
  std::optional<AdaptiveClip> agc;
  /// Gradient centralisation (Yong et al., arXiv:2004.01461): the gradient of each unit (a row of a
  /// matrix, a filter of a convolution) has its mean subtracted, after clipping by norm.
  bool centralize = false;
  /// What to do about infinities and NaNs in the gradient.
  NonFinite nonfinite = NonFinite::kPropagate;
  /// Reports the gradient's norm even if nothing needs it, for one more read of the gradient.
  bool measure_norm = false;
  /// Where the gradient is taken: "plain", "nesterov_lookahead", or one of the sharpness-aware
  /// sources, "sam", "sam_k", "looksam", "layersam", "look_layersam", "asam" and "gsam".
  std::string source = "plain";
  /// Options of a sharpness-aware source; unset: its defaults.
  std::optional<SharpnessSpec> sharpness;
  /// Number of oracle calls in a step, at least 1.
  int64_t accumulate = 1;
  /// Storage of parameters and state.
  Precision precision;
  /// Averagers of the weights, applied in this order; unset: none.
  std::optional<LookaheadSpec> lookahead;
  std::optional<EmaSpec> ema;
  std::optional<SwaSpec> swa;

  OptimizerSpec() = default;
  /// From a rule's name.
  explicit OptimizerSpec(std::string rule_name, Options rule_options = {})
      : rule(std::move(rule_name)), options(std::move(rule_options)) {}
  /// From a rule's struct: a rule is a specification.
  template <class R, class = decltype(R::kFields)>
  OptimizerSpec(const R& r) : rule(R::kName) {  // NOLINT(google-explicit-constructor)
    for (const auto& f : R::kFields) options.emplace(std::string(f.name), r.*f.member);
  }

  friend bool operator==(const OptimizerSpec&, const OptimizerSpec&) = default;
};

}  // namespace kudari

#endif  // KUDARI_SPEC_H_
