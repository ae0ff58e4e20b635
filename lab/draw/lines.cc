#include "lab/draw/lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <unordered_map>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

constexpr double kTickRow = 45;  // pixels of height for a tick of the y axis, about

bool IsDrawn(const LineChart& chart, double x, double y) {
  return std::isfinite(x) && std::isfinite(y) && (!chart.log_x || x > 0) && (!chart.log_y || y > 0);
}

// Between which heights the error bar of a point reaches; only its height if it has none.
std::array<double, 2> ErrorEnds(const Series& series, size_t k) {
  const double error = series.error.empty() ? 0 : series.error[k];
  return {series.y[k] - error, series.y[k] + error};
}

// Whether b passes through more than one point of a.
bool Covers(const Series& b, const Series& a) {
  constexpr double kNear = 1e-9;
  std::unordered_map<double, double> values;
  for (size_t k = 0; k < b.x.size(); ++k) values.emplace(b.x[k], b.y[k]);
  size_t common = 0;
  for (size_t k = 0; k < a.x.size(); ++k) {
    const auto at = values.find(a.x[k]);
    if (at == values.end()) continue;
    common += std::abs(at->second - a.y[k]) <= kNear * std::abs(at->second) ? 1 : 0;
  }
  return common > 1;
}

// Of the points that fall into one column of pixels after each other, the first, the lowest, the
// highest and the last, which look the same.
std::vector<Point> ThinnedByColumn(const std::vector<Point>& line) {
  constexpr size_t kMany = 4000;
  if (line.size() < kMany) return line;
  std::vector<Point> thinned;
  for (size_t begin = 0; begin < line.size();) {
    size_t end = begin, low = begin, high = begin;
    for (; end < line.size() && std::floor(line[end].x) == std::floor(line[begin].x); ++end) {
      if (line[end].y < line[low].y) low = end;
      if (line[end].y > line[high].y) high = end;
    }
    std::vector<size_t> kept = {begin, low, high, end - 1};
    std::sort(kept.begin(), kept.end());
    kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
    for (const size_t k : kept) thinned.push_back(line[k]);
    begin = end;
  }
  return thinned;
}

// Bars around the points of a line, with ends where these are in the frame.
void DrawErrorBars(SvgElement svg, const Series& series, const LineChart& chart,
                   const PlotFrame& frame, const std::string& colour) {
  constexpr double kWidth = 1.5, kEnd = 4;
  std::string bars;
  for (size_t k = 0; k < series.error.size(); ++k) {
    if (!IsDrawn(chart, series.x[k], series.y[k]) || !(series.error[k] > 0)) continue;
    const auto [low, high] = ErrorEnds(series, k);
    const double x = frame.x(series.x[k]);
    // What has no logarithm is below the frame.
    const double bottom = IsDrawn(chart, series.x[k], low) ? frame.y(low) : frame.box.bottom + 1;
    const std::array bar = {Point{x, bottom}, Point{x, frame.y(high)}};
    for (const LinePiece& piece : ClipLine(bar, frame.box)) bars += PathData(piece.points);
    for (const Point& end : bar) {
      if (!frame.box.Contains(end)) continue;
      bars += PathData(std::array{Point{end.x - kEnd, end.y}, Point{end.x + kEnd, end.y}});
    }
  }
  if (!bars.empty()) svg.Path(bars, {.stroke = colour, .width = kWidth});
}

// Where the part of a line ends that is seen; the upper left corner if none is.
Point EndOf(const Series& series, const PlotFrame& frame) {
  const std::vector<LinePiece> pieces = ClipLine(PixelsOf(series, frame), frame.box);
  return pieces.empty() ? Point{frame.box.left, frame.box.top} : pieces.back().points.back();
}

}  // namespace

void AddRanges(const LineChart& chart, Range& xs, Range& ys) {
  for (const Series& s : chart.series) {
    if (s.x.size() != s.y.size()) {
      throw Error(fmt::format("chart \"{}\", series \"{}\": {} values of x and {} of y",
                              chart.title, s.label, s.x.size(), s.y.size()));
    }
    if (!s.error.empty() && s.error.size() != s.y.size()) {
      throw Error(fmt::format("chart \"{}\", series \"{}\": {} values of error and {} of y",
                              chart.title, s.label, s.error.size(), s.y.size()));
    }
    for (size_t k = 0; k < s.x.size(); ++k) {
      if (!IsDrawn(chart, s.x[k], s.y[k])) continue;
      xs.Add(s.x[k]);
      ys.Add(s.y[k]);
      for (const double end : ErrorEnds(s, k)) {
        if (IsDrawn(chart, s.x[k], end)) ys.Add(end);
      }
    }
  }
  if (ys.IsEmpty()) {
    throw Error(fmt::format("chart \"{}\": there is nothing to draw", chart.title));
  }
  if (chart.from_zero && !chart.log_y) ys.Add(0);
}

bool IsCutBelow(const LineChart& chart, const Range& values) {
  return chart.y_least && values.low < *chart.y_least &&
         *chart.y_least < std::min(values.high, chart.y_most.value_or(values.high));
}

Range YRange(const LineChart& chart, const Range& values, double height) {
  constexpr double kAround = 1.2;
  Range range = values;
  const bool cut = chart.y_most && values.high > *chart.y_most;
  if (cut) range = {std::min(values.low, *chart.y_most), *chart.y_most};
  const bool cut_below = IsCutBelow(chart, values);
  if (cut_below) range.low = *chart.y_least;
  if (chart.log_y) {
    return {cut_below ? range.low : range.low / kAround, cut ? range.high : range.high * kAround};
  }
  if (range.low == range.high) return Widened(range, false);
  const Range rounded = UpToTicks(range, height / kTickRow);
  return {cut_below ? range.low : rounded.low, cut ? range.high : rounded.high};
}

PlotFrame FrameOf(const LineChart& chart, const Box& box, const Range& xs, const Range& ys) {
  constexpr double kTickColumn = 80;
  // A value that never changes is the only tick.
  Range values, any;
  AddRanges(chart, any, values);
  const double middle = (ys.low + ys.high) / 2;
  // Fewer logarithmic ticks would be powers of ten only.
  const double y_ticks = std::max(box.Height() / kTickRow, chart.log_y ? 3.2 : 2.0);
  const bool constant = values.low == values.high && !chart.log_y && values.high <= ys.high;
  return {.box = box,
          .x = Scale(xs, chart.log_x, box.left, box.right),
          .y = Scale(ys, chart.log_y, box.bottom, box.top),
          .x_ticks = chart.x_ticks.empty() ? Ticks(xs, chart.log_x, box.Width() / kTickColumn)
                                           : TicksAt(chart.x_ticks),
          .y_ticks = constant ? TicksAt({middle}) : Ticks(ys, chart.log_y, y_ticks),
          .x_label = chart.x_label,
          .y_label = chart.y_label};
}

std::vector<Point> PixelsOf(const Series& series, const PlotFrame& frame) {
  std::vector<Point> points;
  for (size_t k = 0; k < series.x.size(); ++k) {
    points.push_back({frame.x(series.x[k]), frame.y(series.y[k])});
  }
  return points;
}

void DrawLines(SvgElement svg, const LineChart& chart, const PlotFrame& frame) {
  constexpr double kLineWidth = 2, kWide = 7, kDot = 3, kTolerance = 0.1;
  constexpr size_t kMostDots = 40;
  SvgElement group = svg.Group("lines");
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const Series& s = chart.series[i];
    const auto covers = [&s](const Series& later) { return Covers(later, s); };
    const bool covered = std::any_of(chart.series.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                     chart.series.end(), covers);
    const LineStyle style = StyleOf(i);
    const std::vector<Point> pixels = PixelsOf(s, frame);
    const bool marked = chart.points && s.x.size() <= kMostDots;
    SvgElement line = group.Group();
    for (const LinePiece& piece : ClipLine(pixels, frame.box)) {
      if (piece.points.size() == 1) {
        if (!marked) line.Circle(piece.points[0], kDot, {.fill = style.colour});
        continue;
      }
      line.Path(PathData(Simplified(ThinnedByColumn(piece.points), kTolerance)),
                {.stroke = style.colour,
                 .width = covered ? kWide : kLineWidth,
                 .opacity = covered ? 0.5 : 1,
                 .dashes = style.dashes})
          .Set("stroke-linejoin", "round");
    }
    DrawErrorBars(line, s, chart, frame, style.colour);
    if (!marked) continue;
    for (const Point& p : pixels) {
      if (frame.box.Contains(p)) {
        line.Circle(p, kDot, {.fill = style.colour, .stroke = "white"});
      }
    }
  }
}

std::vector<EndLabel> EndLabelsOf(const LineChart& chart, const PlotFrame& frame) {
  std::vector<EndLabel> labels;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    if (chart.series[i].label.empty()) continue;
    const Point end = EndOf(chart.series[i], frame);
    labels.push_back({chart.series[i].label, end.y, end.x > frame.box.right - 2, StyleOf(i)});
  }
  return labels;
}

double EndLabelRoom(const LineChart& chart, const PlotFrame& frame) {
  constexpr size_t kMost = 8;
  constexpr double kLongest = 180, kAround = 20, kNear = 0.25;
  size_t count = 0;
  double width = 0;
  bool near = true;
  for (const Series& s : chart.series) {
    if (s.label.empty()) continue;
    ++count;
    width = std::max(width, TextWidth(s.label, TextStyle().size));
    near = near && EndOf(s, frame).x > frame.box.right - kNear * frame.box.Width();
  }
  if (count == 0) return 0;
  const bool fits = kEndLabelGap * static_cast<double>(count - 1) <= frame.box.Height();
  return near && fits && count <= kMost && width <= kLongest ? width + kAround : -1;
}

std::vector<LineLegend::Entry> LegendEntries(const LineChart& chart) {
  std::vector<LineLegend::Entry> entries;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    if (!chart.series[i].label.empty()) entries.push_back({chart.series[i].label, StyleOf(i)});
  }
  return entries;
}

}  // namespace kudari::lab
