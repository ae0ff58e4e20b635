#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kudari/error.h"
#include "lab/draw/chart.h"
#include "lab/draw/contours.h"
#include "lab/draw/plot.h"
#include "lab/draw/svg.h"

namespace kudari::lab {
namespace {

constexpr const char* kDarkText = "#1b1f24";

// The smallest and the largest number. Throws Error for rows that do not fit the columns, and if
// there is nothing to draw.
Range NumbersOf(const TableChart& chart) {
  Range range;
  for (const TableChart::Row& row : chart.rows) {
    if (row.values.size() != chart.columns.size()) {
      throw Error(fmt::format("chart \"{}\", row \"{}\": {} values for {} columns", chart.title,
                              row.label, row.values.size(), chart.columns.size()));
    }
    for (const int64_t column : row.marked) {
      if (column >= 0 && column < std::ssize(chart.columns)) continue;
      throw Error(fmt::format("chart \"{}\", row \"{}\": there is no column {} to mark",
                              chart.title, row.label, column));
    }
    for (const double value : row.values) {
      if (std::isfinite(value)) range.Add(value);
    }
  }
  if (range.IsEmpty()) {
    throw Error(fmt::format("chart \"{}\": there is nothing to draw", chart.title));
  }
  if (chart.z_least) range.low = std::clamp(*chart.z_least, range.low, range.high);
  return Widened(range, false);
}

std::vector<Tick> NameTicks(const std::vector<std::string>& names) {
  std::vector<Tick> ticks;
  for (const std::string& name : names) ticks.push_back({static_cast<double>(ticks.size()), name});
  return ticks;
}

// A row's numbers on their colours. A frame is white outside, so that it is seen on dark ones.
void DrawTableRow(SvgElement svg, const TableChart::Row& row, const Range& range,
                  const PlotFrame& frame, double y) {
  constexpr double kBright = 0.47, kInside = 3, kRing = 2, kCasing = 4.5;
  const double half = (frame.x(1) - frame.x(0)) / 2, half_height = (frame.y(1) - frame.y(0)) / 2;
  for (size_t k = 0; k < row.values.size(); ++k) {
    const double value = row.values[k];
    if (!std::isfinite(value)) continue;
    const Point at{frame.x(static_cast<double>(k)), y};
    const double share = std::clamp((value - range.low) / (range.high - range.low), 0.0, 1.0);
    svg.Rect({at.x - half, at.y - half_height, at.x + half, at.y + half_height},
             {.fill = Viridis(share), .stroke = "white"});
    if (std::ranges::count(row.marked, static_cast<int64_t>(k)) > 0) {
      const double width = half - kInside, height = half_height - kInside;
      const Box ring{at.x - width, at.y - height, at.x + width, at.y + height};
      svg.Rect(ring, {.stroke = "white", .width = kCasing});
      svg.Rect(ring, {.stroke = kDarkText, .width = kRing});
    }
    svg.Text({at.x, at.y + 0.35 * frame.text_size}, ValueText(value),
             {.size = frame.text_size,
              .colour = share < kBright ? "white" : kDarkText,
              .anchor = Anchor::kMiddle});
  }
}

}  // namespace

std::string TableSvg(const TableChart& chart) {
  constexpr double kRow = 28, kLeastCell = 36, kTextSize = 12, kRight = 16, kApart = 6;
  const Range range = NumbersOf(chart);
  std::vector<std::string> labels;
  for (const TableChart::Row& row : chart.rows) labels.push_back(row.label);
  std::vector<Tick> columns = NameTicks(chart.columns), rows = NameTicks(labels);
  const double cell = std::max(kLeastCell, std::ceil(TickWidth(columns, kTextSize) + kApart));
  const double across = static_cast<double>(columns.size());
  const double down = static_cast<double>(rows.size());
  const double left = std::round(kPageEdge + TickWidth(rows, kTextSize) + 10);
  const double top = (chart.title.empty() ? kPageEdge : 42) + (chart.y_label.empty() ? 0 : kAboveY);
  const Box box{left, top, left + cell * across, top + kRow * down};
  const PlotFrame frame{.box = box,
                        .x = Scale({-0.5, across - 0.5}, false, box.left, box.right),
                        .y = Scale({-0.5, down - 0.5}, false, box.top, box.bottom),
                        .x_ticks = std::move(columns),
                        .y_ticks = std::move(rows),
                        .x_label = chart.x_label,
                        .y_label = chart.y_label,
                        .grid = false,
                        .text_size = kTextSize};
  const double width = box.right + kRight;
  SvgDocument svg(
      width, box.bottom + (chart.x_label.empty() ? kBelowTicks : kBelowX), chart.title,
      fmt::format("Numbers by {} in columns and {} in rows, from {} to {}.", chart.x_label,
                  chart.y_label, ValueText(range.low), ValueText(range.high)));
  DrawTitle(svg.root(), chart.title, width);
  DrawFrame(svg.root(), frame);
  DrawYLabel(svg.root(), frame);
  SvgElement cells = svg.root().Group("cells");
  for (size_t k = 0; k < chart.rows.size(); ++k) {
    DrawTableRow(cells.Group(), chart.rows[k], range, frame, frame.y(static_cast<double>(k)));
  }
  return svg.Text();
}

}  // namespace kudari::lab
