#ifndef KUDARI_LAB_DRAW_LINES_H_
#define KUDARI_LAB_DRAW_LINES_H_

#include <vector>

#include "lab/draw/axis.h"
#include "lab/draw/chart.h"
#include "lab/draw/labels.h"
#include "lab/draw/plot.h"
#include "lab/draw/svg.h"

namespace kudari::lab {

/// Adds what a chart draws to ranges. Throws Error for numbers that do not fit together, and if
/// there is nothing to draw.
void AddRanges(const LineChart& chart, Range& xs, Range& ys);

/// A frame for a chart's lines in a box, over given ranges.
PlotFrame FrameOf(const LineChart& chart, const Box& box, const Range& xs, const Range& ys);

/// The y axis that a chart's values have, of a height in pixels: up to the next ticks, or up to
/// where the chart is to end.
Range YRange(const LineChart& chart, const Range& values, double height);

/// Whether a chart with these values ends above the lowest of them; not where nothing would be
/// left.
bool IsCutBelow(const LineChart& chart, const Range& values);

/// The points of a series in pixels; not finite where there is none.
std::vector<Point> PixelsOf(const Series& series, const PlotFrame& frame);

/// Draws a chart's lines in a frame, and their points if they are few.
void DrawLines(SvgElement svg, const LineChart& chart, const PlotFrame& frame);

/// The labels of a chart's lines, at the heights where these end.
std::vector<EndLabel> EndLabelsOf(const LineChart& chart, const PlotFrame& frame);

/// The width of the room that a chart's labels need at the ends of its lines; 0 if it has none, and
/// negative if they need a legend: they are too many or too long, or a line ends far from the
/// right.
double EndLabelRoom(const LineChart& chart, const PlotFrame& frame);

/// The legend's entries for a chart's lines that have labels.
std::vector<LineLegend::Entry> LegendEntries(const LineChart& chart);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_LINES_H_
