#ifndef KUDARI_LAB_REPORT_DOWNSAMPLE_H_
#define KUDARI_LAB_REPORT_DOWNSAMPLE_H_

#include <cstddef>
#include <span>
#include <vector>

#include "lab/logs/run_log.h"

namespace kudari::lab {

/// A curve with few enough points to be drawn.
struct SampledCurve {
  std::vector<LogPoint> points = {};
  /// The mean of the finite values of each part of the curve, at its middle step, which a smoothed
  /// curve is made of, as extremes would distort it; a NaN if a part has none. Empty if `points`
  /// are all points.
  std::vector<LogPoint> means = {};
};

/// At most `most` points, which must be at least 5, of a curve whose steps rise. If it has more, it
/// is cut into parts of equally many points, of which the first and the last, the lowest and the
/// highest, and the first that is not finite are kept: no spike is lost.
SampledCurve Downsample(std::span<const LogPoint> curve, size_t most);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_REPORT_DOWNSAMPLE_H_
