#ifndef KUDARI_LAB_DRAW_LABELS_H_
#define KUDARI_LAB_DRAW_LABELS_H_

#include <string>
#include <vector>

#include "lab/draw/geometry.h"
#include "lab/draw/plot.h"
#include "lab/draw/svg.h"

namespace kudari::lab {

/// Places that are at least a gap apart and between two limits, as near to the wanted ones as can
/// be (least squares), and in their order; empty if there is no room.
std::vector<double> MovedApart(const std::vector<double>& wanted, double gap, double low,
                               double high);

/// A label at the right end of a line.
struct EndLabel {
  std::string text = {};
  double y = 0;         ///< where the line ends
  bool at_edge = true;  ///< it ends at the plot's right edge, and is joined with a label that moved
  LineStyle style = {};
};

/// How far below each other labels at the ends of lines are.
inline constexpr double kEndLabelGap = 17;

/// Writes labels to the right of a plot, moved apart. There must be room for them.
void DrawEndLabels(SvgElement svg, const std::vector<EndLabel>& labels, const Box& box);

/// Samples of lines with their labels, in rows below each other.
class LineLegend {
 public:
  struct Entry {
    std::string text = {};
    LineStyle style = {};
  };
  /// What does not fit into the width is cut.
  LineLegend(const std::vector<Entry>& entries, double width);

  double Height() const;
  /// Draws the legend with its upper left corner at a point.
  void Draw(SvgElement svg, Point at) const;

 private:
  struct Placed {
    Entry entry = {};
    double left = 0;
    size_t row = 0;
  };
  std::vector<Placed> placed_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_LABELS_H_
