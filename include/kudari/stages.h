#ifndef KUDARI_STAGES_H_
#define KUDARI_STAGES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kudari/description.h"
#include "kudari/registry.h"
#include "kudari/schedule.h"
#include "kudari/spec.h"
#include "kudari/step.h"

namespace kudari {

namespace internal {
class Backup;
struct Shift;
class StageArrays;
}  // namespace internal

/// A source that calls the oracle once and uses the tensors' own gradients.
class PlainSource : public Source {
 public:
  Gradient Compute(Engine& engine, const Oracle& oracle) override;
};

/// Gradient accumulation: the mean over up to `count` oracle calls, weighted by their numbers of
/// samples, so that it equals the gradient of one large batch. Empty batches add nothing.
/// Evaluation::End() ends the group early; a short group is still weighted by its true number of
/// samples. With a count of 1 the call is passed on without a copy. Accumulation is in float32, in
/// the order of the calls.
class Accumulate : public Source {
 public:
  /// Throws Error if count < 1.
  explicit Accumulate(int64_t count);
  ~Accumulate() override;
  Gradient Compute(Engine& engine, const Oracle& oracle) override;

 private:
  int64_t count_;
  struct Sums;
  std::unique_ptr<Sums> sums_;
};

/// Nesterov momentum as written by Sutskever et al. (2013): the gradient is taken at the point that
/// the momentum is about to reach, p - lr momentum b, and the rule `momentum` then steps from p.
/// The rule `nesterov` is torch's form of this: while lr and momentum are constant, its p is the
/// next shifted point of this form. Weight decay is taken at p, not at the shifted point.
/// Parameters are restored bit for bit. It keeps one more copy of the parameters.
class NesterovLookahead : public Source {
 public:
  /// `inner` makes the gradient at the shifted point; null: PlainSource.
  explicit NesterovLookahead(std::unique_ptr<Source> inner = nullptr);
  ~NesterovLookahead() override;
  /// Throws Error if a tensor's rule is not `momentum`.
  Gradient Compute(Engine& engine, const Oracle& oracle) override;
  void Visit(const Engine& engine, StateVisitor& visitor) override;
  void Refresh() override;
  /// Throws Error if a tensor's rule is not `momentum`.
  static void Check(const Engine& engine);

 private:
  std::unique_ptr<Source> inner_;
  std::unique_ptr<internal::Backup> backup_;
  std::unique_ptr<std::vector<internal::Shift>> shifts_;  // of the step being taken
};

/// The sharpness-aware sources. Each takes the gradient g at the weights w and then, after
/// perturbing the weights by e, the gradient g_s at w + e over the same batches; the weights are
/// restored bit for bit. Norms are of the whole gradient, and where a norm is zero, so is the
/// quotient by it.
///
///     sam            e = rho g / norm(g), the gradient is g_s (Foret et al., arXiv:2010.01412)
///     sam_k          as sam in steps 0, k, 2 k ...; g in the others
///     looksam        as sam_k, but the other steps take g + alpha norm(g) / norm(g_v) g_v, where
///                    g_v = g_s - (g_s.g / g.g) g is from the last step with a g_s (Liu et al.,
///                    arXiv:2203.02714, Algorithm 1)
///     layersam       e = rho norm(w_l) / norm(g_l) g_l in each layer l, or as LayerScale says
///     look_layersam  looksam with the perturbation of layersam (Algorithm 3)
///     asam           e = rho T^2 g / norm(T g), T = |w| + eta, 1 for biases (Kwon et al.,
///                    arXiv:2102.11600)
///     gsam           g_s - alpha (g - (g.g_s / g_s.g_s) g_s) (Zhuang et al., arXiv:2203.08065)
///
/// In half precision the perturbation is added to the master weight. A g with an infinity or a NaN
/// is used as it is, without a second pass. A g_v shorter than a millionth of g_s (a hundredth in
/// bfloat16) is rounding noise and is not reused. All keep a copy of the parameters; gsam also
/// keeps one gradient, and looksam and look_layersam keep the direction, whose memory holds g
/// during the second pass.
class Sharpness : public Source {
 public:
  /// The names of the methods above, in that order.
  static const std::vector<std::string>& Methods();
  /// Returns `spec` with defaults spelled out. Throws Error for an unknown method or a value out of
  /// range.
  static SharpnessSpec Complete(std::string_view method, const SharpnessSpec& spec);

  /// `inner` makes each of the two gradients; null: PlainSource. Throws the same errors as
  /// Complete.
  explicit Sharpness(std::string_view method, const SharpnessSpec& spec = {},
                     std::unique_ptr<Source> inner = nullptr);
  ~Sharpness() override;
  /// Throws Error if the calls of the second pass have other numbers of samples than those of the
  /// first, or if a Radius matches no tensor.
  Gradient Compute(Engine& engine, const Oracle& oracle) override;
  void Visit(const Engine& engine, StateVisitor& visitor) override;
  void Refresh() override;

 private:
  class Work;
  std::unique_ptr<Work> work_;
};

/// Clipping by global norm (Pascanu et al., arXiv:1211.5063): min(1, max_norm / (norm + eps)).
/// torch's clip_grad_norm_ has eps = 1e-6.
class ClipNorm : public Scale {
 public:
  /// `eps` is added to the norm in the denominator.
  explicit ClipNorm(Schedule max_norm, double eps = 1e-6);
  double Factor(double norm, int64_t step) const override;

 private:
  Schedule max_norm_;
  double eps_;
};

/// Lookahead (Zhang et al., arXiv:1907.08610). The slow weights s start as the parameters. After
/// every k-th step it computes
///
///     s <- (1 - alpha) s + alpha p;  p <- s
///
/// and the slow weights are the ones to evaluate. kPullback treats the momentum in the same way
/// (the state named momentum_buffer or exp_avg, if the rule has one of the parameter's size); its
/// slow values start as the initial momentum. Stored in float32, computed in double; one copy of
/// the parameters, two with kPullback.
class Lookahead : public Averager {
 public:
  /// Throws Error if a value is out of range.
  explicit Lookahead(const LookaheadSpec& spec = {});
  ~Lookahead() override;
  void Start(Engine& engine) override;
  bool Resize(Engine& engine) override;
  void After(Engine& engine) override;
  const float* Evaluated(size_t index) const override;
  std::string_view Name() const override { return "lookahead"; }
  void Visit(const Engine& engine, StateVisitor& visitor) override;

 private:
  LookaheadSpec spec_;
  std::unique_ptr<internal::StageArrays> slow_, momentum_;
};

/// The base of Ema and Swa: a float32 mean of the weights, computed in double, which is what is
/// evaluated. It keeps one copy of the parameters.
class WeightAverage : public Averager {
 public:
  ~WeightAverage() override;
  void Start(Engine& engine) override;
  bool Resize(Engine& engine) override;
  const float* Evaluated(size_t index) const override;
  std::string_view Name() const override { return name_; }
  void Visit(const Engine& engine, StateVisitor& visitor) override;

 protected:
  explicit WeightAverage(std::string_view name);
  /// The number of weights that the mean has taken in.
  int64_t count() const { return count_; }
  /// Moves the mean towards the weights by the fraction `weight`; the first call copies them.
  void MoveTowards(const Engine& engine, double weight);

 private:
  std::string_view name_;
  int64_t count_ = 0;
  std::unique_ptr<internal::StageArrays> average_;
};

/// Exponential moving average of the weights. The first update copies them, and the n-th computes
///
///     a <- d a + (1 - d) p,  d = decay, or min(decay, n / (9 + n)) with warm-up
///
/// Without warm-up it is torch's get_ema_avg_fn. With it, it is TensorFlow's
/// ExponentialMovingAverage, which counts from 0: (1 + n) / (10 + n).
class Ema : public WeightAverage {
 public:
  /// Throws Error if decay is outside [0, 1).
  explicit Ema(const EmaSpec& spec = {});
  void After(Engine& engine) override;

 private:
  EmaSpec spec_;
};

/// Stochastic weight averaging (Izmailov et al., arXiv:1803.05407): the mean of the weights after
/// steps start + every, start + 2 every, ..., as torch's AveragedModel. Batch-norm statistics have
/// to be recomputed for the mean.
class Swa : public WeightAverage {
 public:
  /// Throws Error if a value is out of range.
  explicit Swa(const SwaSpec& spec = {});
  void After(Engine& engine) override;

 private:
  SwaSpec spec_;
};

/// Descriptions of every rule of the registry and of every source, scale, averager, schedule and
/// preset, for listings.
std::vector<Description> DescribeAll(const Registry& registry = Registry::Builtin());

}  // namespace kudari

#endif  // KUDARI_STAGES_H_
