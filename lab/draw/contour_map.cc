#include "lab/draw/contour_map.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "lab/draw/path_lines.h"

namespace kudari::lab {
namespace {

constexpr double kTolerance = 0.15;  // pixels that contours may be off
constexpr double kBarWidth = 14, kBarText = 12;

// Colours and contours; x and y are in pixels from here on.
void DrawBands(SvgElement svg, const ContourChart& chart, const Bands& bands,
               const PlotFrame& frame) {
  Field field = FieldOf(chart);
  for (double& x : field.x) x = frame.x(x);
  for (double& y : field.y) y = frame.y(y);
  SvgElement fills = svg.Group("bands"), lines = svg.Group("contours");
  for (size_t k = 0; k < bands.colours.size(); ++k) {
    const double level = k == 0        ? -std::numeric_limits<double>::infinity()
                         : chart.log_z ? std::log(bands.levels[k - 1])
                                       : bands.levels[k - 1];
    const LevelRegion region = RegionAbove(field, level);
    std::string outlines, contours;
    for (const std::vector<Point>& o : region.outlines) {
      outlines += PathData(Simplified(o, kTolerance), true);
    }
    for (const std::vector<Point>& l : region.lines) {
      contours += PathData(Simplified(l, kTolerance));
    }
    if (!outlines.empty()) fills.Path(outlines, {.fill = bands.colours[k]});
    if (!contours.empty()) lines.Path(contours, {.stroke = "white", .width = 0.8, .opacity = 0.7});
  }
}

// Arrows, with heads that end where the arrows do.
void DrawArrows(SvgElement svg, const ContourChart& chart, const PlotFrame& frame) {
  constexpr double kWidth = 3, kCasing = 6, kHead = 13, kHalf = 5.5;
  SvgElement group = svg.Group("arrows");
  for (size_t k = 0; k < chart.arrows.size(); ++k) {
    const ChartArrow& arrow = chart.arrows[k];
    const LineStyle style = StyleOf(chart.paths.size() + k);
    const Point from{frame.x(arrow.from_x), frame.y(arrow.from_y)};
    const Point to{frame.x(arrow.to_x), frame.y(arrow.to_y)};
    const double length = std::hypot(to.x - from.x, to.y - from.y);
    if (!(length > 0)) continue;
    const Point along{(to.x - from.x) / length, (to.y - from.y) / length};
    const double head = std::min(kHead, length);
    const Point neck{to.x - head * along.x, to.y - head * along.y};
    const std::array shaft = {from, neck};
    const std::array tip = {Point{neck.x - kHalf * along.y, neck.y + kHalf * along.x}, to,
                            Point{neck.x + kHalf * along.y, neck.y - kHalf * along.x}};
    group.Path(PathData(shaft), {.stroke = "white", .width = kCasing, .opacity = 0.85});
    group.Path(PathData(tip, true), {.fill = style.colour, .stroke = "white", .width = 1.5});
    group.Path(PathData(shaft), {.stroke = style.colour, .width = kWidth, .dashes = style.dashes});
  }
}

// Dots of one label as a path of points, which is shorter than circles; ones at the same place are
// one.
void DrawDots(SvgElement svg, const ChartDots& dots, const PlotFrame& frame, double radius,
              const std::string& colour) {
  constexpr double kCasing = 1.6;
  std::set<std::string> points;
  for (size_t k = 0; k < dots.x.size(); ++k) {
    const Point at{frame.x(dots.x[k]), frame.y(dots.y[k])};
    if (frame.box.Contains(at)) points.insert(PathData(std::array{at}) + "h0");
  }
  const std::string data = fmt::format("{}", fmt::join(points, ""));
  if (data.empty()) return;
  svg.Path(data, {.stroke = "white", .width = 2 * radius + kCasing}).Set("stroke-linecap", "round");
  svg.Path(data, {.stroke = colour, .width = 2 * radius}).Set("stroke-linecap", "round");
}

// All dots, those that come later on top and smaller.
void DrawAllDots(SvgElement svg, const ContourChart& chart, const PlotFrame& frame) {
  constexpr double kLargest = 4, kStep = 1.5, kSmallest = 1.5;
  SvgElement group = svg.Group("dots");
  const size_t before = chart.paths.size() + chart.arrows.size();
  for (size_t k = 0; k < chart.dots.size(); ++k) {
    const double radius = std::max(kSmallest, kLargest - kStep * static_cast<double>(k));
    DrawDots(group.Group(), chart.dots[k], frame, radius, StyleOf(before + k).colour);
  }
}

// Crosses, with labels beside them that avoid each other.
void DrawPoints(SvgElement svg, const std::vector<MarkedPoint>& points, const PlotFrame& frame) {
  constexpr double kArm = 5, kAway = 12, kRow = 16;
  SvgElement group = svg.Group("points");
  std::vector<Box> taken;
  for (const MarkedPoint& p : points) {
    const Point at{frame.x(p.x), frame.y(p.y)};
    if (!frame.box.Contains(at)) continue;
    const std::vector<Point> rising = {{at.x - kArm, at.y + kArm}, {at.x + kArm, at.y - kArm}};
    const std::vector<Point> falling = {{at.x - kArm, at.y - kArm}, {at.x + kArm, at.y + kArm}};
    const std::string cross = PathData(rising) + PathData(falling);
    group.Path(cross, {.stroke = "white", .width = 5}).Set("stroke-linecap", "round");
    group.Path(cross, {.stroke = "#1b1f24", .width = 2}).Set("stroke-linecap", "round");
    const double width = TextWidth(p.label, TextStyle().size);
    const bool after = at.x + kAway + width < frame.box.right;
    const double left = after ? at.x + kAway : at.x - kAway - width;
    Box label{left, at.y - kRow / 2, left + width, at.y + kRow / 2};
    const auto meets = [&](const Box& b) {
      return b.left < label.right && label.left < b.right && b.top < label.bottom &&
             label.top < b.bottom;
    };
    while (std::any_of(taken.begin(), taken.end(), meets)) {
      label.top += kRow;
      label.bottom += kRow;
    }
    taken.push_back(label);
    group.Text({after ? label.left : label.right, label.bottom - 3.5}, p.label,
               {.anchor = after ? Anchor::kStart : Anchor::kEnd, .halo = true});
  }
}

}  // namespace

Box MapBox(const ContourChart& chart, double width, double height) {
  if (!chart.equal_axes) return {0, 0, width, height};
  const double x = chart.x.back() - chart.x.front(), y = chart.y.back() - chart.y.front();
  const double unit = std::min(width / x, height / y);
  return {0, 0, std::max(1.0, std::round(unit * x)), std::max(1.0, std::round(unit * y))};
}

PlotFrame MapFrame(const ContourChart& chart, const Box& box) {
  constexpr double kTickColumn = 70, kTickRow = 45;
  const Range xs{chart.x.front(), chart.x.back()}, ys{chart.y.front(), chart.y.back()};
  return {.box = box,
          .x = Scale(xs, false, box.left, box.right),
          .y = Scale(ys, false, box.bottom, box.top),
          .x_ticks = Ticks(xs, false, std::max(2.0, box.Width() / kTickColumn)),
          .y_ticks = Ticks(ys, false, std::max(2.0, box.Height() / kTickRow)),
          .x_label = chart.x_label,
          .y_label = chart.y_label,
          .grid = false};
}

void DrawMap(SvgElement svg, const ContourChart& chart, const Bands& bands, const PlotFrame& frame,
             bool animated) {
  DrawBands(svg, chart, bands, frame);
  DrawFrame(svg, frame);
  DrawYLabel(svg, frame);
  // The ends of all paths are over their lines, so that none is hidden.
  SvgElement paths = svg.Group("paths"), ends = svg.Group("ends");
  for (size_t k = 0; k < chart.paths.size(); ++k) {
    const ChartPath& p = chart.paths[k];
    std::vector<Point> line;
    for (size_t i = 0; i < p.x.size(); ++i) line.push_back({frame.x(p.x[i]), frame.y(p.y[i])});
    const PathLook look{.style = StyleOf(k), .animated = animated};
    DrawPathLine(paths.Group(), line, frame.box, look);
    DrawPathEnds(ends.Group(), line, frame.box, look);
  }
  if (!chart.arrows.empty()) DrawArrows(svg, chart, frame);
  if (!chart.dots.empty()) DrawAllDots(svg, chart, frame);
  DrawPoints(svg, chart.points, frame);
}

double ColourBarWidth(const Bands& bands, const std::string& label) {
  double width = 0;
  for (const std::string& text : bands.texts) width = std::max(width, TextWidth(text, kBarText));
  return std::max(kBarWidth + 8 + width, TextWidth(label, TextStyle().size));
}

void DrawColourBar(SvgElement svg, const Bands& bands, const std::string& label, Point at,
                   double height) {
  SvgElement group = svg.Group("colours");
  const double step = height / static_cast<double>(bands.colours.size());
  const auto edge = [&](size_t k) {
    return std::round(at.y + height - step * static_cast<double>(k));
  };
  for (size_t k = 0; k < bands.colours.size(); ++k) {
    group.Rect({at.x, edge(k + 1), at.x + kBarWidth, edge(k)}, {.fill = bands.colours[k]});
  }
  for (size_t k = 0; k < bands.texts.size(); ++k) {
    group.Text({at.x + kBarWidth + 6, edge(k + 1) + 0.35 * kBarText}, bands.texts[k],
               {.size = kBarText, .colour = kQuietText});
  }
  group.Text({at.x, at.y - 12}, label);
}

std::vector<LineLegend::Entry> PathEntries(const ContourChart& chart) {
  std::vector<LineLegend::Entry> entries;
  for (size_t k = 0; k < chart.paths.size(); ++k) {
    if (!chart.paths[k].label.empty()) entries.push_back({chart.paths[k].label, StyleOf(k)});
  }
  for (size_t k = 0; k < chart.arrows.size(); ++k) {
    if (chart.arrows[k].label.empty()) continue;
    entries.push_back({chart.arrows[k].label, StyleOf(chart.paths.size() + k)});
  }
  for (size_t k = 0; k < chart.dots.size(); ++k) {
    if (chart.dots[k].label.empty()) continue;
    const size_t before = chart.paths.size() + chart.arrows.size();
    entries.push_back({chart.dots[k].label, StyleOf(before + k)});
  }
  return entries;
}

std::string MapDescription(const ContourChart& chart, const Bands& bands) {
  std::string text = fmt::format("Contours of {} from {} to {}; {} to the right, {} upwards.",
                                 chart.z_label, RoundedText(bands.values.low),
                                 RoundedText(bands.values.high), chart.x_label, chart.y_label);
  std::vector<std::string> paths;
  for (const LineLegend::Entry& e : PathEntries(chart)) paths.push_back(e.text);
  const char* const what = !chart.dots.empty()    ? "Dots"
                           : chart.arrows.empty() ? "Paths"
                                                  : "Paths and arrows";
  if (!paths.empty()) text += fmt::format(" {}: {}.", what, fmt::join(paths, ", "));
  return text;
}

}  // namespace kudari::lab
