#ifndef KUDARI_STAGES_H_
#define KUDARI_STAGES_H_

#include <memory>
#include <vector>

#include "kudari/description.h"
#include "kudari/registry.h"
#include "kudari/schedule.h"
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

/// Every rule of the registry, source, scale, averager and schedule in words, for listings.
std::vector<Description> DescribeAll(const Registry& registry = Registry::Builtin());

}  // namespace kudari

#endif  // KUDARI_STAGES_H_
