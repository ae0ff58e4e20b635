#ifndef KUDARI_DOCTOR_VIEW_H_
#define KUDARI_DOCTOR_VIEW_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kudari/doctor.h"

namespace kudari::internal {

/// A change and its standard error.
struct Slope {
  double change = 0, error = 0;
};

/// The curves of a run, prepared for analysis. Its steps rise.
class View {
 public:
  explicit View(const RunLog& run_log, bool losses_of_validation = false);

  const RunLog& log;
  size_t size = 0;
  std::vector<double> loss;     ///< a NaN where the step was skipped or the loss is not finite
  std::vector<double> smooth;   ///< running median of the loss over a twentieth of the run
  std::vector<double> scatter;  ///< standard deviation of the loss around `smooth`, at each step
  double error = 0;             ///< standard error of `smooth`, in units of `scatter`
  double first = 0;             ///< the first loss that is finite
  /// The level where the run began: the first loss, but at most three times the median of the first
  /// five. In 19 of 116 real logs the first loss is above that, most often since it falls fast.
  double initial = 0;
  double last = 0;           ///< median of the last tenth of the losses
  double lowest = 0;         ///< of `smooth`
  size_t lowest_at = 0;      ///< where
  double peak_lr = 0;        ///< that a twentieth of the rates reach; 0: rates are unknown
  bool over = false;         ///< whether no further steps are known to be planned
  bool begins_late = false;  ///< whether the log begins long after the run did
  /// Whether the losses are those of the evaluations: they tell nothing about rates.
  bool of_validation = false;

  int64_t Step(size_t i) const { return log.steps[i].step; }
  /// The number of entries up to and including a step.
  size_t Before(int64_t step) const;
  /// Whether the log has the learning rate of an entry.
  bool RateKnown(size_t i) const;
  /// The learning rate relative to the highest; 1 where it is unknown.
  double Rate(size_t i) const;
  /// Whether the rate of a later entry is higher than that of an earlier one, as it had been
  /// before: a cycle or a restart of the schedule, which the loss follows.
  bool RateRoseAgain(size_t earlier, size_t later) const;
  /// Whether the last rate is known, and within [least, most] relative to the highest.
  bool EndsAtRate(double least, double most) const;
  /// How far the losses of [begin, end) have gone down, as a share of their level at the begin, by
  /// the straight line through them; with the standard error.
  Slope FallIn(size_t begin, size_t end) const;
  /// The same of the validation losses of steps behind that of an entry; a NaN for fewer than 4.
  Slope ValidationFall(size_t after) const;
  /// Whether the losses around `high` are above those around `low` whatever the shape of their
  /// noise: the lower quartile of the tenth of the run around one is above the upper of the other.
  bool Exceeds(size_t high, size_t low) const;
  /// How far losses of [begin, end) scatter, from how much neighbours differ: a standard deviation
  /// if their noise is normal, and not small where they jump between two levels.
  double Roughness(size_t begin, size_t end) const;
  /// The median loss in [begin, end).
  double Level(size_t begin, size_t end) const;
  /// The layer logs of steps whose relative rate is at least `least_rate`. The first log of the run
  /// is left out if there are others, since it is of untrained weights.
  std::vector<const LayersLog*> LayersAt(double least_rate) const;
  /// The median ratio of update to weight norms where the rate is near its peak; a NaN if unknown.
  double UpdateRatio() const;
  /// The share of the fall of the smoothed loss from `start` to the end that has happened when a
  /// quarter of the sum of all learning rates is spent. For a run that has hardly begun the two are
  /// in proportion.
  double EarlyPart(double start) const;

 private:
  std::vector<double> highest_rates_;  // up to each entry
};

/// A running median: for each value, the median of it and of `half` neighbours on either side,
/// without NaNs; a NaN where no value remains.
std::vector<double> RunningMedian(const std::vector<double>& y, size_t half);

/// The p-quantile of the values, without NaNs; a NaN if no value remains.
double Quantile(std::vector<double> values, double p);
inline double Median(std::vector<double> values) { return Quantile(std::move(values), 0.5); }

/// A number with three significant digits, such as "0.00123" or "12.3".
std::string Brief(double x);

/// A confidence between 0.5 at the limit and 1 at the value `sure`, on a logarithmic scale.
double Confidence(double value, double limit, double sure);

/// A share as "12.3 %".
inline std::string Percent(double share) { return Brief(100 * share) + " %"; }

/// Whether the tensor holds weights rather than biases or norms, as far as its name tells.
bool IsWeight(const LayerLog& tensor);

// Each function documents its criterion and its limits at its definition.
using Findings = std::vector<Finding>;
/// Returns whether the run has blown up, so that its losses tell nothing more.
bool FindDivergence(const View& run, Findings& found);
void FindHighRate(const View& run, Findings& found);
void FindShortWarmup(const View& run, Findings& found);
void FindLowRate(const View& run, Findings& found);
void FindEndedSchedule(const View& run, Findings& found);
void FindPlateau(const View& run, Findings& found);
void FindUnderfitting(const View& run, Findings& found);
void FindOverfitting(const View& run, Findings& found);
void FindNonfiniteValidation(const View& run, Findings& found);
void FindBadData(const View& run, Findings& found);
void FindGradientFlow(const View& run, Findings& found);
void FindDeadTensors(const View& run, Findings& found);
void FindUpdateRatios(const View& run, Findings& found);
void FindPinnedTrust(const View& run, Findings& found);
void FindNoGradient(const View& run, Findings& found);
void FindSummedAccumulation(const View& run, Findings& found);
void FindScaleThrash(const View& run, Findings& found);
void FindLostUpdates(const View& run, Findings& found);

/// Why the losses cannot be judged, or nothing: they are negative, or scatter like those of
/// reinforcement learning.
std::optional<Note> WhyUnjudgeable(const View& run);

/// The fewest entries for verdicts on the learning rate and on stalls that need a noise estimate.
inline constexpr size_t kLeastSteps = 30;

}  // namespace kudari::internal

#endif  // KUDARI_DOCTOR_VIEW_H_
