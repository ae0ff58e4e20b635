#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "kudari/error.h"
#include "lab/draw/chart.h"
#include "lab/draw/plot.h"
#include "lab/draw/svg.h"

namespace kudari::lab {
namespace {

// What the x axis has to hold. Throws Error if there is nothing to draw.
Range ValuesOfRows(const IntervalChart& chart) {
  Range range;
  for (const IntervalChart::Row& row : chart.rows) {
    for (const double value : row.values) range.Add(value);
    range.Add(row.mean - row.error);
    range.Add(row.mean + row.error);
  }
  if (range.IsEmpty() || !std::isfinite(range.low) || !std::isfinite(range.high)) {
    throw Error(fmt::format("chart \"{}\": there is nothing to draw", chart.title));
  }
  return Widened(range, false);
}

// The bar around a mean, with its ends, and the dots of the values below it.
void DrawRow(SvgElement svg, const IntervalChart::Row& row, const Scale& x, double middle) {
  constexpr double kAbove = 4, kBelow = 6, kDot = 3, kMean = 4.5, kEnd = 4, kBar = 2;
  const LineStyle style = StyleOf(0);
  const double y = middle - kAbove, low = x(row.mean - row.error), high = x(row.mean + row.error);
  for (const double value : row.values) {
    svg.Circle({x(value), middle + kBelow}, kDot, {.fill = kAxisColour, .stroke = "white"});
  }
  const Paint bar{.stroke = style.colour, .width = kBar};
  if (row.error > 0) {
    svg.Line({low, y}, {high, y}, bar);
    for (const double end : {low, high}) svg.Line({end, y - kEnd}, {end, y + kEnd}, bar);
  }
  svg.Circle({x(row.mean), y}, kMean, {.fill = style.colour, .stroke = "white"});
}

}  // namespace

std::string IntervalsSvg(const IntervalChart& chart) {
  constexpr double kWidth = 800, kRow = 30, kRight = 24, kTickColumn = 80, kMostLabel = 320;
  const Range values = ValuesOfRows(chart);
  std::vector<Tick> names;
  std::vector<std::string> labels;
  for (const IntervalChart::Row& row : chart.rows) {
    names.push_back(
        {static_cast<double>(names.size()), FittedText(row.label, TextStyle().size, kMostLabel)});
    labels.push_back(row.label);
  }
  const double count = static_cast<double>(names.size());
  const double top = chart.title.empty() ? kPageEdge : 42;
  const Box box{std::round(kPageEdge + TickWidth(names, TextStyle().size) + 10), top,
                kWidth - kRight, top + kRow * count};
  const double most_ticks = box.Width() / kTickColumn;
  const Range xs = UpToTicks(values, most_ticks);
  const PlotFrame frame{.box = box,
                        .x = Scale(xs, false, box.left, box.right),
                        .y = Scale({-0.5, count - 0.5}, false, box.top, box.bottom),
                        .x_ticks = Ticks(xs, false, most_ticks),
                        .y_ticks = names,
                        .x_label = chart.x_label,
                        .text_size = TextStyle().size};
  SvgDocument svg(kWidth, box.bottom + (chart.x_label.empty() ? kBelowTicks : kBelowX), chart.title,
                  fmt::format("{} by name: {}.", chart.x_label, fmt::join(labels, ", ")));
  DrawTitle(svg.root(), chart.title, kWidth);
  DrawFrame(svg.root(), frame);
  SvgElement rows = svg.root().Group("rows");
  for (const Tick& name : names) {
    const IntervalChart::Row& row = chart.rows[static_cast<size_t>(name.value)];
    DrawRow(rows.Group(), row, frame.x, frame.y(name.value));
  }
  return svg.Text();
}

}  // namespace kudari::lab
