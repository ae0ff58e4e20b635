#ifndef KUDARI_SCHEDULE_H_
#define KUDARI_SCHEDULE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/description.h"

namespace kudari {

/// A pure function of the step number s = 0, 1, ..., where s = 0 is the first update. Immutable, so
/// it has no state to save: Text() is its whole description and ParseSchedule(s.Text()) is s.
///
///     Schedule lr = 2e-3 * Warmup(100) * Cosine(1500, 0.05);
///     lr(0);      // 2e-5
///     lr.Text();  // "0.002 * warmup(100) * cosine(1500, 0.05)"
class Schedule {
 public:
  /// The same value at every step; throws Error if it is not finite.
  Schedule(double constant);  // NOLINT(google-explicit-constructor): numbers are schedules

  /// The value at step s >= 0.
  double operator()(int64_t step) const;

  /// Canonical text, as ParseSchedule reads it.
  const std::string& Text() const { return text_; }

  /// Whether the value is the same at every step.
  bool IsConstant() const;

  friend bool operator==(const Schedule& a, const Schedule& b) { return a.text_ == b.text_; }

  /// One factor of the product; defined in schedule.cc.
  struct Factor;

 private:
  friend Schedule operator*(const Schedule&, const Schedule&);
  friend class ScheduleBuilder;
  explicit Schedule(std::vector<std::shared_ptr<const Factor>> factors);

  std::vector<std::shared_ptr<const Factor>> factors_;  // multiplied from left to right
  std::string text_;
};

/// The same value at every step: Schedule(value) by name.
Schedule Constant(double value);

/// Linear warm-up to 1 over `steps` >= 0 steps: (s + 1) / steps while s < steps, then 1. The first
/// update has 1 / steps and is never wasted.
Schedule Warmup(int64_t steps);

/// Linear warm-up from `start` in [0, 1]: start + (1 - start) s / steps while s < steps, then 1, as
/// torch's LinearLR. With start = 0 it is the s / steps of Hugging Face and timm, whose first
/// update has a learning rate of zero.
Schedule Warmup(int64_t steps, double start);

/// Half a cosine from 1 to `last` over `steps` (Loshchilov & Hutter, arXiv:1608.03983, eq. 5), then
/// `last`: unlike torch's CosineAnnealingLR it does not rise again.
Schedule Cosine(int64_t steps, double last = 0);

/// A straight line from 1 to `last` over `steps`, then `last`.
Schedule Linear(int64_t steps, double last = 0);

/// gamma^floor(s / steps), steps >= 1: torch's StepLR.
Schedule Step(int64_t steps, double gamma = 0.1);

/// `first` before step `boundary`, then `second`, whose own step 0 is the boundary.
Schedule Then(const Schedule& first, int64_t boundary, const Schedule& second);

/// The product, value by value.
Schedule operator*(const Schedule& a, const Schedule& b);

/// Reads a product of numbers and calls, such as "2e-3 * warmup(100) * cosine(1500, 0.05)" or
/// "then(1e-3, 500, 1e-4 * linear(100))". Throws Error naming the column, counted from 1, and the
/// nearest known name.
Schedule ParseSchedule(std::string_view text);

/// What every schedule function is and takes, for listings.
std::vector<Description> DescribeSchedules();

}  // namespace kudari

#endif  // KUDARI_SCHEDULE_H_
