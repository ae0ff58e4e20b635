#ifndef KUDARI_DOCTOR_VIEW_H_
#define KUDARI_DOCTOR_VIEW_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kudari/doctor.h"

namespace kudari::internal {

/// A run's curves, prepared for reading.
class View {
 public:
  explicit View(const RunLog& run_log);

  const RunLog& log;
  size_t size = 0;
  std::vector<double> loss;     ///< where it was skipped or is not finite a NaN
  std::vector<double> smooth;   ///< running median of it over a twentieth of the run
  std::vector<double> scatter;  ///< standard deviation of the loss around it, there
  double error = 0;             ///< standard error of `smooth`, in units of `scatter`
  double initial = 0;           ///< the first loss; a NaN if losses are not all positive
  double last = 0;              ///< median of the last tenth
  double peak_lr = 0;           ///< 0: learning rates are not known
  bool over = false;            ///< the run is not known to have more steps

  int64_t Step(size_t i) const { return log.steps[i].step; }
  /// Number of entries up to a step.
  size_t Before(int64_t step) const;
  /// Learning rate relative to the highest, 1 where rates are not known.
  double Rate(size_t i) const;
  /// The last rate relative to the highest.
  double LastRate() const { return Rate(size - 1); }
  /// Medians of the loss in [begin, end).
  double Level(size_t begin, size_t end) const;
  /// Layers of the steps whose rate is at least this, the first logged one left out if others are
  /// there, since it is of weights that were never trained.
  std::vector<const LayersLog*> LayersAt(double least_rate) const;
  /// Median of the change of weights in a step relative to them, where the rate is near its peak; a
  /// NaN if not known.
  double UpdateRatio() const;
  /// The part of the whole fall of the smoothed loss that is made when a quarter of the sum of all
  /// learning rates has been spent. A run that has hardly begun falls in proportion.
  double EarlyPart() const;
};

/// For each value the median of it and `half` neighbours on either side, NaNs left out; a NaN where
/// nothing remains.
std::vector<double> RunningMedian(const std::vector<double>& y, size_t half);

/// The p-th part of the values in order, NaNs left out; a NaN if nothing remains.
double Quantile(std::vector<double> values, double p);
inline double Median(std::vector<double> values) { return Quantile(std::move(values), 0.5); }

/// "0.00123" and "12.3": three digits.
std::string Brief(double x);

/// Between 0.5 at the limit and 1 at the value that leaves no doubt, on a logarithmic scale.
double Confidence(double value, double limit, double sure);

/// Of weights, which are neither biases nor norms, as far as a name tells.
bool IsWeight(const LayerLog& tensor);

// What each looks for stands with its limits where it is defined.
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
