#include <algorithm>
#include <cmath>
#include <vector>

#include "lab/draw/chart.h"
#include "lab/draw/contour_map.h"
#include "lab/draw/lines.h"
#include "lab/draw/path_lines.h"

namespace kudari::lab {
namespace {

constexpr double kBarGap = 22;  // between a map and its scale of colours

// The map's frame with its left end at the page's, below a header.
PlotFrame PlacedMap(const ContourChart& map, double width, double height, double header) {
  const Box size = MapBox(map, width, height);
  const double left = std::round(kPageEdge + TickWidth(MapFrame(map, size).y_ticks) + 10);
  const double top = header + kAboveY;
  return MapFrame(map, {left, top, left + size.right, top + size.bottom});
}

}  // namespace

std::string ContourSvg(const ContourChart& chart) {
  constexpr double kWidth = 560, kHeight = 460, kLeastWidth = 420;
  const Bands bands = BandsOf(chart);
  const double title = chart.title.empty() ? kPageEdge : 42;
  const Box size = MapBox(chart, kWidth, kHeight);
  const double bar = ColourBarWidth(bands, chart.z_label);
  const double least = std::max(kLeastWidth, size.right);
  const LineLegend legend(PathEntries(chart), least);
  const PlotFrame frame = PlacedMap(chart, kWidth, kHeight, title + legend.Height());
  const Box& box = frame.box;
  const double width = std::max(std::ceil(box.right + kBarGap + bar + kPageEdge), kLeastWidth);
  SvgDocument svg(width, box.bottom + kBelowX, chart.title, MapDescription(chart, bands));
  DrawTitle(svg.root(), chart.title, width);
  legend.Draw(svg.root(), {kPageEdge, title});
  DrawMap(svg.root(), chart, bands, frame, false);
  DrawColourBar(svg.root(), bands, chart.z_label, {box.right + kBarGap, box.top}, box.Height());
  return svg.Text();
}

std::string LandscapeSvg(const ContourChart& map, const LineChart& curves, bool animated) {
  constexpr double kMapWidth = 470, kMapHeight = 420, kLeastHeight = 260, kCurvesWidth = 360;
  constexpr double kGap = 44, kEdge = 24;
  const Bands bands = BandsOf(map);
  Range xs, values;
  AddRanges(curves, xs, values);
  xs = Widened(xs, curves.log_x);
  const double title = map.title.empty() ? kPageEdge : 42;
  std::vector<LineLegend::Entry> entries = PathEntries(map);
  for (size_t k = map.paths.size() + map.arrows.size(); k < curves.series.size(); ++k) {
    if (!curves.series[k].label.empty()) entries.push_back({curves.series[k].label, StyleOf(k)});
  }
  const LineLegend legend(entries, kMapWidth + kCurvesWidth);
  const PlotFrame frame = PlacedMap(map, kMapWidth, kMapHeight, title + legend.Height());
  const Box& box = frame.box;
  const double bar_left = box.right + kBarGap;
  const double height = std::max(box.Height(), kLeastHeight);
  const Range ys = YRange(curves, values, height);
  const double label_left = std::round(bar_left + ColourBarWidth(bands, map.z_label) + kGap);
  const PlotFrame trial = FrameOf(curves, {0, 0, kCurvesWidth, height}, xs, ys);
  const double left = label_left + std::round(TickWidth(trial.y_ticks)) + 10;
  PlotFrame right = FrameOf(curves, {left, box.top, left + kCurvesWidth, box.top + height}, xs, ys);
  right.label_left = label_left;

  SvgDocument svg(right.box.right + kEdge, right.box.bottom + kBelowX, map.title,
                  MapDescription(map, bands) + " At the right, " + curves.y_label + " over " +
                      curves.x_label + ".");
  if (animated) AddAnimationStyle(svg.root());
  DrawTitle(svg.root(), map.title, right.box.right);
  legend.Draw(svg.root(), {kPageEdge, title});
  DrawMap(svg.root(), map, bands, frame, animated);
  DrawColourBar(svg.root(), bands, map.z_label, {bar_left, box.top}, box.Height());
  DrawFrame(svg.root(), right);
  DrawYLabel(svg.root(), right);
  SvgElement group = svg.root().Group("curves");
  for (size_t k = 0; k < curves.series.size(); ++k) {
    const std::vector<Point> line = PixelsOf(curves.series[k], right);
    const PathLook look{.style = StyleOf(k), .casing = false, .steps = false, .animated = animated};
    DrawPathLine(group.Group(), line, right.box, look);
    if (animated) DrawPathEnds(group, line, right.box, look);
  }
  return svg.Text();
}

}  // namespace kudari::lab
