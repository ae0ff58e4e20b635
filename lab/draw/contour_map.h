#ifndef KUDARI_LAB_DRAW_CONTOUR_MAP_H_
#define KUDARI_LAB_DRAW_CONTOUR_MAP_H_

#include <vector>

#include "lab/draw/chart.h"
#include "lab/draw/contours.h"
#include "lab/draw/labels.h"
#include "lab/draw/plot.h"
#include "lab/draw/svg.h"

namespace kudari::lab {

/// The largest box for a chart's grid within a width and a height, with its corner at zero.
Box MapBox(const ContourChart& chart, double width, double height);

/// A frame for a chart's grid in a box.
PlotFrame MapFrame(const ContourChart& chart, const Box& box);

/// Draws a chart in a frame: colours, contours, axes, paths and marked points.
void DrawMap(SvgElement svg, const ContourChart& chart, const Bands& bands, const PlotFrame& frame,
             bool animated);

/// The width of a scale of colours with its texts, and the scale itself, from a place downwards,
/// with its label above.
double ColourBarWidth(const Bands& bands, const std::string& label);
void DrawColourBar(SvgElement svg, const Bands& bands, const std::string& label, Point at,
                   double height);

/// The legend's entries for a chart's paths that have labels.
std::vector<LineLegend::Entry> PathEntries(const ContourChart& chart);

/// What a reader that cannot see a chart is told.
std::string MapDescription(const ContourChart& chart, const Bands& bands);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_CONTOUR_MAP_H_
