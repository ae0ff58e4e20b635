#ifndef KUDARI_STAGES_H_
#define KUDARI_STAGES_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kudari/description.h"
#include "kudari/registry.h"
#include "kudari/schedule.h"
#include "kudari/spec.h"
#include "kudari/step.h"

namespace kudari {

/// Calls the oracle once and takes the tensors' own gradients.
class PlainSource : public Source {
 public:
  Gradient Compute(Engine& engine, const Oracle& oracle) override;
};

/// Gradient accumulation: the mean over up to `count` oracle calls, each weighted by its number of
/// samples, so that it is the gradient of the one big batch. An oracle that returns zero samples
/// ends the group early, and the short group keeps its true weights. A single call is passed on
/// without a copy. Accumulates in float32, in the order of the calls.
class Accumulate : public Source {
 public:
  /// Throws Error if count < 1.
  explicit Accumulate(int64_t count);
  Gradient Compute(Engine& engine, const Oracle& oracle) override;

 private:
  int64_t count_;
  std::vector<std::vector<float>> sums_;
  std::vector<const float*> data_;
};

/// Nesterov's momentum as Sutskever et al. (2013) write it: the gradient is taken where the
/// momentum is about to carry the weights, at p - lr momentum b, and the rule `momentum` then steps
/// from p. The rule `nesterov` is torch's form of the same, whose p is this form's next shifted
/// point as long as lr and momentum are constant; there is weight decay at p, not at the shifted
/// point. Parameters are put back bit for bit. One more copy of the parameters.
class NesterovLookahead : public Source {
 public:
  /// `inner` makes the gradient at the shifted point; null: PlainSource.
  explicit NesterovLookahead(std::unique_ptr<Source> inner = nullptr);
  /// Throws Error if a tensor's rule is not `momentum`.
  Gradient Compute(Engine& engine, const Oracle& oracle) override;
  /// Throws Error if a tensor's rule is not `momentum`.
  static void Check(const Engine& engine);

 private:
  std::unique_ptr<Source> inner_;
  std::vector<std::vector<std::byte>> weights_;
};

/// Clipping by global norm (Pascanu et al., arXiv:1211.5063): min(1, max_norm / (norm + eps)).
/// torch's clip_grad_norm_ has eps = 1e-6.
class ClipNorm : public Scale {
 public:
  explicit ClipNorm(Schedule max_norm, double eps = 1e-6);
  double Factor(double norm, int64_t step) const override;

 private:
  Schedule max_norm_;
  double eps_;
};

/// Lookahead (Zhang et al., arXiv:1907.08610): slow weights s, at first the parameters, and after
/// every step whose number is a multiple of k
///
///     s <- (1 - alpha) s + alpha p;  p <- s
///
/// To be evaluated with the slow weights. kPullback treats the momentum (the state named
/// momentum_buffer or exp_avg, if the rule has one of the parameter's size) in the same way, its
/// slow values zero at first. Float32, computed in double; one copy of the parameters, two with
/// kPullback.
class Lookahead : public Averager {
 public:
  /// Throws Error if a value is out of its range.
  explicit Lookahead(const LookaheadSpec& spec = {});
  void Start(Engine& engine) override;
  void After(Engine& engine) override;
  const float* Evaluated(size_t index) const override;
  std::map<std::string, std::vector<float>> State(const Engine& engine) const override;
  void LoadState(const Engine& engine,
                 const std::map<std::string, std::vector<float>>& state) override;

 private:
  LookaheadSpec spec_;
  std::vector<std::vector<float>> slow_, momentum_;
};

/// What Ema and Swa share: a float32 mean of the weights, computed in double, to be evaluated with;
/// one copy of the parameters.
class WeightAverage : public Averager {
 public:
  void Start(Engine& engine) override;
  const float* Evaluated(size_t index) const override;
  std::map<std::string, std::vector<float>> State(const Engine& engine) const override;
  void LoadState(const Engine& engine,
                 const std::map<std::string, std::vector<float>>& state) override;

 protected:
  /// `name` is the averager's in error messages.
  explicit WeightAverage(std::string_view name) : name_(name) {}
  /// How many weights the mean has taken in.
  int64_t count() const { return count_; }
  /// Moves the mean towards the weights by so much of the way; the first time it becomes them.
  void MoveTowards(const Engine& engine, double weight);

 private:
  std::string_view name_;
  int64_t count_ = 0;
  std::vector<std::vector<float>> average_;
};

/// Exponential moving average of the weights: the first update copies them, and the n-th does
///
///     a <- d a + (1 - d) p,  d = decay, or min(decay, n / (9 + n)) with warm-up
///
/// Without warm-up it is torch's get_ema_avg_fn; with it TensorFlow's ExponentialMovingAverage,
/// which counts from 0: (1 + n) / (10 + n).
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
/// to be taken anew for the mean.
class Swa : public WeightAverage {
 public:
  /// Throws Error if a value is out of its range.
  explicit Swa(const SwaSpec& spec = {});
  void After(Engine& engine) override;

 private:
  SwaSpec spec_;
};

/// Every rule of the registry, source, scale, averager, schedule and preset in words, for listings.
std::vector<Description> DescribeAll(const Registry& registry = Registry::Builtin());

}  // namespace kudari

#endif  // KUDARI_STAGES_H_
