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

/// A group of tensors that are treated differently from the rest: those that fit all of `match`,
/// `match_regex`, `classes` and `modules`. A group with a name pattern or modules must have at
/// least one tensor; `classes` may contain classes that a model does not have.
///
///     spec.groups = {{.match = "head.*", .lr_scale = 10},
///                    {.match_regex = "^blocks\\.[0-5]\\.", .frozen_until = 100}};
struct Group {
  std::string match = "*";                ///< glob for tensor names
  std::vector<TensorClass> classes = {};  ///< empty: any class
  std::string rule = {};                  ///< "": the rule of the spec
  /// Options that override the spec's. A group with another rule starts from that rule's defaults.
  Options options = {};
  /// Penalties that override the spec's.
  std::optional<Schedule> l1 = std::nullopt, l2 = std::nullopt;
  /// A regular expression that part of the name has to match, in ECMAScript's syntax without
  /// look-ahead and back-references, of at most 1,000 bytes; "": any name. ^ and $ are the ends.
  std::string match_regex = {};
  /// Globs for the types of modules that hold the tensor, see Tensor::modules; empty: any.
  std::vector<std::string> modules = {};
  /// Multiplies the learning rate, whatever sets it: the options, a schedule or SetSchedule; in
  /// [0, inf). A decoupled decay follows the product, an independent one does not.
  double lr_scale = 1;
  /// Whether the tensors are frozen: always, before step `frozen_until`, and from step
  /// `frozen_from` on. A frozen tensor is treated as one without a gradient: weights, state and
  /// count of updates stay as they are, norms leave it out, and averagers do not move it.
  bool frozen = false;
  std::optional<StepNumber> frozen_until = std::nullopt, frozen_from = std::nullopt;

  friend bool operator==(const Group&, const Group&) = default;
};

/// A second rule, see OptimizerSpec::fallback.
struct Fallback {
  std::string rule = "adamw";
  Options options = {};

  friend bool operator==(const Fallback&, const Fallback&) = default;
};

/// The factor that weight_decay is multiplied by.
enum class Decay {
  kRule,        ///< the one in the rule's formula: the learning rate for decoupled decay
  kIndependent  ///< the learning rate divided by the number in front of its schedule
};

/// Adaptive gradient clipping (Brock et al., arXiv:2102.06171, Section 4): the gradient of each
/// unit (a row of a matrix, a filter of a convolution, a whole vector) is scaled down to `clip`
/// times the 2-norm of the unit's weights, which counts as at least `eps`.
struct AdaptiveClip {
  Schedule clip = 0.01;
  double eps = 1e-3;
  /// Globs for names of tensors that are not clipped, such as the last layer.
  std::vector<std::string> exclude = {};

  friend bool operator==(const AdaptiveClip&, const AdaptiveClip&) = default;
};

/// What Lookahead does with a rule's state when it moves the weights.
enum class LookaheadState {
  kKeep,     ///< nothing
  kReset,    ///< reset it to its value before the first update
  kPullback  ///< interpolate the momentum with that of the previous sync, as the weights are
};

/// Options of Lookahead (Zhang et al., arXiv:1907.08610); see kudari::Lookahead.
struct LookaheadSpec {
  int64_t k = 5;       ///< steps between syncs, at least 1
  double alpha = 0.5;  ///< step size of the slow weights, in [0, 1]
  LookaheadState state = LookaheadState::kKeep;

  friend bool operator==(const LookaheadSpec&, const LookaheadSpec&) = default;
};

/// Options of the exponential moving average of the weights; see Ema.
struct EmaSpec {
  double decay = 0.999;  ///< in [0, 1)
  bool warmup = false;   ///< limit the decay of the n-th update to n / (9 + n)

  friend bool operator==(const EmaSpec&, const EmaSpec&) = default;
};

/// Options of stochastic weight averaging; see Swa.
struct SwaSpec {
  int64_t start = 0;  ///< steps before the first cycle, at least 0
  int64_t every = 1;  ///< steps per cycle, at least 1

  friend bool operator==(const SwaSpec&, const SwaSpec&) = default;
};

/// How the digits that 16-bit parameters lack are stored.
enum class Master {
  kNone,  ///< not at all: updates below half a unit in the last place are lost or rounded at random
  kFloat32,  ///< all digits of float32: kSplit16 for bfloat16, a 4-byte copy for float16
  kSplit8,   ///< 1 byte that extends bfloat16 to 24 bits in total: half a unit is 2^-16 of the
             ///< weight
  kSplit16,  ///< 2 bytes that extend bfloat16 to float32, exact to the bit
  kKahan     ///< a second bfloat16 that compensates the first, 2 bytes
};

/// How a value that does not fit into 16 bits is rounded.
enum class Rounding {
  kNearest,    ///< to nearest, ties to even
  kStochastic  ///< up or down at random, so that the mean is exact
};

/// The storage format of state.
enum class StateFormat {
  kFloat32,
  kBFloat16,
  // 8 bits, in blocks of 256 that share a float32 scale, the largest magnitude in the block:
  kLinear8,    ///< evenly spaced codes; for means of squares, the codes of the root
  kSoftsign8,  ///< as kLinear8, but first moments are companded: codes are denser near zero
               ///< (Gonzalez Ortiz et al., FlashOptim, arXiv:2602.23349)
  kDynamic8    ///< each decade has twice as many codes as the one below (Dettmers et al.,
               ///< arXiv:2110.02861)
};

/// The name of a master: "none", "float32", "split8", "split16" or "kahan".
std::string_view Name(Master master);

/// How parameters and state are stored. Formats with fewer than 32 bits change what a step reads
/// and writes, but not how it computes: values are decoded to float32 first and encoded afterwards.
///
///     OptimizerSpec spec = AdamW{.lr = 1e-3};  // 7 bytes a parameter, gradient included
///     spec.precision = {.master = Master::kSplit8, .state = StateFormat::kLinear8};
struct Precision {
  /// The master of 16-bit parameters; 32-bit parameters need none. kSplit8, kSplit16 and kKahan
  /// require bfloat16. A master is initialised from its parameter at the first step.
  Master master = Master::kNone;
  /// The rounding of 16-bit parameters without a master, and of state in bfloat16.
  Rounding rounding = Rounding::kNearest;
  /// The seed of stochastic rounding, which depends only on the seed, the step, the tensor's name
  /// and the element.
  int64_t seed = 0;
  /// The format of all state buffers that have the size of the parameter. Tensors with fewer than
  /// kSmallestCoded elements use float32 instead of an 8-bit format.
  StateFormat state = StateFormat::kFloat32;
  /// Formats of individual state buffers, keyed by the buffer's name.
  std::map<std::string, StateFormat> slots = {};
  /// Classes whose state stays float32, such as embeddings.
  std::vector<TensorClass> exclude = {};
  /// Count what rounding loses, see Numerics. This slows steps down.
  bool check = false;

  static constexpr int64_t kSmallestCoded = 4096;

  friend bool operator==(const Precision&, const Precision&) = default;
};

/// How far LayerSAM moves a layer with weights w and gradient g_l. The paper leaves this open, and
/// all of these are in use; a value of rho for one of them says nothing about the others.
enum class LayerScale {
  kWeightRatio,  ///< rho norm(w) / norm(g_l) times g_l: rho is relative to the weights
  kRatioGlobal,  ///< rho norm(w) / norm(g_l) / norm(g) times g_l, where g is the whole gradient
  kUnitLayer,    ///< rho / norm(g_l) times g_l: the same distance for all layers
  kDouble        ///< rho norm(w) / norm(g_l)^2 times g_l: unbounded as the gradient vanishes
};

/// What LayerSAM treats as a layer.
enum class LayerUnit {
  kTensor,  ///< each tensor on its own
  kModule   ///< the tensors whose names agree up to the last dot
};

/// Options of the sharpness-aware sources, see Sharpness. Each source uses only some of them.
struct SharpnessSpec {
  /// A perturbation radius for some of the tensors.
  struct Radius {
    std::string match = "*";                ///< glob for tensor names
    std::vector<TensorClass> classes = {};  ///< empty: any class
    Schedule rho = 0.05;

    friend bool operator==(const Radius&, const Radius&) = default;
  };

  /// Radius of the perturbation, in [0, inf). Unset: 0.05, but 0.5 for asam and 0.01 for layersam
  /// and look_layersam.
  std::optional<Schedule> rho = std::nullopt;
  /// Radii for groups of tensors; the last match replaces rho. The norm that the gradient is
  /// divided by is still taken over all tensors.
  std::vector<Radius> groups = {};
  /// The number of steps from one perturbed gradient to the next for sam_k, looksam and
  /// look_layersam, at least 1. The first step has a perturbed gradient.
  int64_t k = 5;
  /// The length of the component that looksam reuses, relative to the gradient, or the weight of
  /// the surrogate gap in gsam; in [0, inf). Unset: 0.7, but 0.4 for gsam.
  std::optional<Schedule> alpha = std::nullopt;
  /// How layersam and look_layersam scale the perturbation of a layer.
  LayerScale layer_scale = LayerScale::kWeightRatio;
  /// The unit that layersam and look_layersam treat as one layer.
  LayerUnit layer = LayerUnit::kTensor;
  /// Whether looksam and look_layersam split and reuse the gradient layer by layer rather than as
  /// one vector.
  bool decompose_layers = false;
  /// A control for experiments: looksam and look_layersam reuse a random direction, orthogonal to
  /// the gradient of the step that draws it, instead of g_v.
  bool random_direction = false;
  /// A number that asam adds to the magnitudes of weights, in [0, inf).
  double eta = 0.01;
  /// Whether asam also perturbs biases in proportion to their magnitudes.
  bool adapt_biases = false;
  /// Classes that are not perturbed. Their gradients do not count towards the norm that the other
  /// gradients are divided by.
  std::vector<TensorClass> exclude = {};
  /// The storage format of the direction that looksam reuses: kFloat32 or kBFloat16.
  StateFormat direction = StateFormat::kFloat32;

  friend bool operator==(const SharpnessSpec&, const SharpnessSpec&) = default;
};

/// A complete description of an optimiser. It is a plain value, equivalent to a recipe's
/// [optimizer] table.
///
///     OptimizerSpec spec = AdamW{.lr = 1e-3};
///     spec.options.at("lr") = 1e-3 * Warmup(100) * Cosine(2000);
///     spec.clip_norm = 1.0;
///     spec.no_decay = {TensorClass::kBias, TensorClass::kNorm};
struct OptimizerSpec {
  /// The rule for all tensors, by its name in letters of either case. It may be empty if each
  /// tensor is matched by a group that has one.
  /// Options of the rule; options that are missing have the rule's defaults.
  std::string rule;
  Options options;
  /// Groups of tensors. If several groups match a tensor, the last one applies, with all that it
  /// says and nothing of the others.
  std::vector<Group> groups;
  /// Whether each tensor must be in a group; one that has the spec's own rule or its fallback is
  /// then an error.
  bool strict = false;
  /// Layer-wise decay of the learning rate (Bao et al., BEiT, arXiv:2106.08254), as in timm: that
  /// of a tensor is multiplied by max(layer_decay_min_scale, layer_decay^(last - layer)), besides
  /// the lr_scale of its group. All three are in [0, 1]; 1: no decay.
  ///
  /// Layers are counted from 0 by the names. The first number in a name is that of a layer, as in
  /// blocks.3.norm.weight or encoder.layer.3.output.bias, and what comes directly behind it that of
  /// a layer in a stage: layer1.0, layers.2.blocks.1. Before them is one layer for embeddings, for
  /// what is called a stem, and for tensors that come before the first with a number; behind them
  /// one for heads and all others, but a norm at the end of the layers counts to the last of them.
  double layer_decay = 1, layer_decay_min_scale = 0;
  /// Tensors whose scale is below this are frozen.
  double layer_decay_no_opt_scale = 0;
  /// Globs in which each # stands for a number of a layer, "decoder.h.#.*", where the rule above
  /// reads other numbers than those meant. Layers of a pattern come before those of the next, and
  /// tensors that none matches are treated as those without a number.
  std::vector<std::string> layer_match;
  /// Penalties l1 |p| + l2 p^2 / 2 for any rule, both coefficients in [0, inf); unset: off. The
  /// term l1 sign(p) + l2 p, for the weights before the step, is added to the gradient that the
  /// rule sees, after unscaling, clipping and centralisation, where a coupled weight decay would be
  /// added. Norms in reports do not include it. Tensors whose class has zero weight_decay have no
  /// penalties either.
  std::optional<Schedule> l1, l2;
  /// With kIndependent the decoupled weight decay follows the shape of the learning-rate schedule
  /// but not its height (Loshchilov & Hutter, arXiv:1711.05101, Algorithm 2): a step subtracts
  /// lr(t) / base * weight_decay * p from p, where base is the product of the numeric factors of
  /// lr, 1e-3 in 1e-3 * warmup(100) * cosine(2000). The base does not change when SetSchedule
  /// changes lr. It is not available for rules that add the decay to the gradient, nor for those
  /// whose decay has factors other than lr (adafactor, normuon).
  Decay decay = Decay::kRule;
  /// Classes whose weight_decay is zero, whatever their group specifies.
  std::vector<TensorClass> no_decay;
  /// Classes that rules with a trust ratio neither adapt nor decay. Unset: bias and norm for rules
  /// that exclude them by default (lars), none for the others (lamb).
  std::optional<std::vector<TensorClass>> no_adapt;
  /// The rule for tensors that do not suit a matrix rule: those of the classes embedding, head,
  /// norm and bias. Groups take precedence over it.
  std::optional<Fallback> fallback;
  /// Classes that override the result of Classify, by globs for names; the last match wins.
  std::vector<std::pair<std::string, TensorClass>> classes;
  /// Maximum global norm for clipping; unset: off.
  std::optional<Schedule> clip_norm;
  /// A number added to the norm in the denominator of clip_norm; torch adds 1e-6.
  double clip_norm_eps = 1e-6;
  /// Clamps every element of the scaled gradient to [-clip_value, clip_value]; unset: off.
  std::optional<Schedule> clip_value;
  /// Adaptive gradient clipping, applied after clip_norm; unset: off.
  std::optional<AdaptiveClip> agc;
  /// Gradient centralisation (Yong et al., arXiv:2004.01461): subtracts the mean from the gradient
  /// of each unit (a row of a matrix, a filter of a convolution), after clipping by norm.
  bool centralize = false;
  /// The policy for infinities and NaNs in the gradient.
  NonFinite nonfinite = NonFinite::kPropagate;
  /// Reports the gradient's norm even if nothing needs it, which costs one more read of the
  /// gradient.
  bool measure_norm = false;
  /// How the gradient is computed: "plain", "nesterov_lookahead", or one of the sharpness-aware
  /// sources "sam", "sam_k", "looksam", "layersam", "look_layersam", "asam" and "gsam".
  std::string source = "plain";
  /// Options of a sharpness-aware source; unset: its defaults.
  std::optional<SharpnessSpec> sharpness;
  /// Gradient accumulation: the number of oracle calls per step, at least 1.
  int64_t accumulate = 1;
  /// How parameters and state are stored.
  Precision precision;
  /// Weight averagers, applied in this order; unset: none.
  std::optional<LookaheadSpec> lookahead;
  std::optional<EmaSpec> ema;
  std::optional<SwaSpec> swa;

  OptimizerSpec() = default;
  /// A specification of the rule with that name.
  explicit OptimizerSpec(std::string rule_name, Options rule_options = {})
      : rule(std::move(rule_name)), options(std::move(rule_options)) {}
  /// A specification from a rule's struct, which converts implicitly.
  template <class R, class = decltype(R::kFields)>
  OptimizerSpec(const R& r) : rule(R::kName) {  // NOLINT(google-explicit-constructor)
    for (const auto& f : R::kFields) options.emplace(std::string(f.name), r.*f.member);
  }

  friend bool operator==(const OptimizerSpec&, const OptimizerSpec&) = default;
};

}  // namespace kudari

#endif  // KUDARI_SPEC_H_
