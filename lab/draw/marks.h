#ifndef KUDARI_LAB_DRAW_MARKS_H_
#define KUDARI_LAB_DRAW_MARKS_H_

#include <string>
#include <vector>

#include "lab/draw/axis.h"
#include "lab/draw/chart.h"
#include "lab/draw/geometry.h"
#include "lab/draw/svg.h"

namespace kudari::lab {

/// A label of marks at one place, and the row of text above the chart that it gets, counted from
/// the lowest.
struct MarkLabel {
  std::string text = {};
  double from = 0, to = 0;            ///< of the mark, in pixels
  double begin = 0, end = 0;          ///< of the text, in pixels
  bool range = false;                 ///< the mark is a range, even if it is narrow
  bool strong = false, after = true;  ///< it stands to the right of its mark
  size_t row = 0;
};

/// Labels of marks in rows, such that neither another label nor the line from another mark to its
/// label crosses one. Marks at one place share one.
std::vector<MarkLabel> PlaceMarkLabels(const std::vector<Mark>& marks, const Scale& x,
                                       double picture_width);

/// The height of all rows of labels.
double MarkRowsHeight(const std::vector<MarkLabel>& labels);

/// Draws the marks of a plot: ranges and lines over its height, and, if `rows_bottom` is positive,
/// the labels in rows above that height of the picture, with lines up to them.
void DrawMarks(SvgElement svg, const std::vector<MarkLabel>& labels, const Box& plot,
               double rows_bottom);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_MARKS_H_
