#ifndef KUDARI_LAB_DRAW_CONTOURS_H_
#define KUDARI_LAB_DRAW_CONTOURS_H_

#include <string>
#include <vector>

#include "lab/draw/axis.h"
#include "lab/draw/chart.h"
#include "lab/draw/geometry.h"

namespace kudari::lab {

/// Values over a grid: z[i * x.size() + j] belongs to x[j] and y[i].
struct Field {
  std::vector<double> x = {}, y = {}, z = {};

  double At(size_t row, size_t column) const { return z[row * x.size() + column]; }
};

/// Where a field is at least at a level, as far as all corners of a cell are finite: the outlines,
/// closed and such that holes run the other way round, and those parts of them that are at the
/// level rather than at an edge, of which closed ones end where they begin.
struct LevelRegion {
  std::vector<std::vector<Point>> outlines = {}, lines = {};
};
LevelRegion RegionAbove(const Field& field, double level);

/// The colour of a share in [0, 1], from dark to bright, so that it is read without colours, too.
std::string Viridis(double share);

/// How a contour chart's values are coloured: a colour below the first level, one between each two,
/// and one above the last.
struct Bands {
  Range values = {};
  std::vector<double> levels = {};  ///< in the chart's values, at most 12
  std::vector<std::string> texts = {}, colours = {};
  bool logarithmic = false;

  const std::string& ColourOf(double z) const;
};

/// The bands of a chart. Throws Error for numbers that do not fit together, and if there is nothing
/// to draw.
Bands BandsOf(const ContourChart& chart);

/// A chart's values on its grid, as they are drawn: logarithms if the chart is logarithmic, and
/// NaN where there is none.
Field FieldOf(const ContourChart& chart);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_CONTOURS_H_
