#ifndef KUDARI_DOCTOR_VIEW_H_
#define KUDARI_DOCTOR_VIEW_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kudari/doctor.h"

namespace kudari::internal {

/// The curves of a run, prepared for analysis.
class View {
 public:
  explicit View(const RunLog& run_log);

  const RunLog& log;
  size_t size = 0;
  std::vector<double> loss;     ///< a NaN where the step was skipped or the loss is not finite
  std::vector<double> smooth;   ///< running median of the loss over a twentieth of the run
  std::vector<double> scatter;  ///< standard deviation of the loss around `smooth`, at each step
  double error = 0;             ///< standard error of `smooth`, in units of `scatter`
  double initial = 0;           ///< the first loss; a NaN if the losses are not all positive
  double last = 0;              ///< median of the last tenth of the losses
  double peak_lr = 0;           ///< 0: learning rates are unknown
  bool over = false;            ///< whether no further steps are known to be planned

  int64_t Step(size_t i) const { return log.steps[i].step; }
  /// The number of entries up to and including a step.
  size_t Before(int64_t step) const;
  /// The learning rate relative to the highest; 1 where rates are unknown.
  double Rate(size_t i) const;
  /// The last learning rate relative to the highest.
  double LastRate() const { return Rate(size - 1); }
  /// The median loss in [begin, end).
  double Level(size_t begin, size_t end) const;
  /// The layer logs of steps whose relative rate is at least `least_rate`. The first log of the run
  /// is left out if there are others, since it is of untrained weights.
  std::vector<const LayersLog*> LayersAt(double least_rate) const;
  /// The median ratio of update to weight norms where the rate is near its peak; a NaN if unknown.
  double UpdateRatio() const;
  /// The share of the total fall of the smoothed loss that has happened when a quarter of the sum
  /// of all learning rates is spent. For a run that has hardly begun the two are in proportion.
  double EarlyPart() const;
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

/// Whether the tensor holds weights rather than biases or norms, as far as its name tells.
bool IsWeight(const LayerLog& tensor);

// Each function documents its criterion and its limits at its definition.
using Findings = std::vector<Finding>;
void FindDivergence(const View& run, Findings& found);
void FindLearningRate(const View& run, Findings& found);
void FindStalls(const View& run, Findings& found);
void FindGeneralization(const View& run, Findings& found);
void FindBadData(const View& run, Findings& found);
void FindGradientFlow(const View& run, Findings& found);
void FindDeadTensors(const View& run, Findings& found);
void FindUpdateRatios(const View& run, Findings& found);
void FindPinnedTrust(const View& run, Findings& found);
void FindSummedAccumulation(const View& run, Findings& found);
void FindScaleThrash(const View& run, Findings& found);
void FindLostUpdates(const View& run, Findings& found);

}  // namespace kudari::internal

#endif  // KUDARI_DOCTOR_VIEW_H_
