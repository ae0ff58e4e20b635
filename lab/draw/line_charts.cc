#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "kudari/error.h"
#include "lab/draw/chart.h"
#include "lab/draw/labels.h"
#include "lab/draw/lines.h"
#include "lab/draw/marks.h"
#include "lab/draw/plot.h"
#include "lab/draw/svg.h"

namespace kudari::lab {
namespace {

// What a reader that cannot see the lines is told.
std::string DescriptionOf(const std::vector<LineChart>& charts) {
  std::string text;
  for (const LineChart& chart : charts) {
    std::vector<std::string> lines, marks;
    for (const Series& s : chart.series) {
      if (!s.label.empty()) lines.push_back(s.label);
    }
    for (const Mark& m : chart.marks) marks.push_back(m.label);
    if (!text.empty()) text += ' ';
    text += chart.y_label.empty() ? fmt::format("A line: {}.", chart.title)
                                  : fmt::format("{} over {}.", chart.y_label, chart.x_label);
    if (!lines.empty()) text += fmt::format(" Lines: {}.", fmt::join(lines, ", "));
    if (!marks.empty()) text += fmt::format(" Marked: {}.", fmt::join(marks, ", "));
  }
  return text;
}

// What is said of charts whose lines are higher or lower than they are shown.
std::vector<std::string> CutNotes(const std::vector<LineChart>& charts,
                                  const std::vector<Range>& values) {
  std::vector<std::string> notes;
  for (size_t i = 0; i < charts.size(); ++i) {
    const LineChart& chart = charts[i];
    if (chart.y_most && values[i].high > *chart.y_most) {
      notes.push_back(fmt::format("The {} is cut off at {}; it reaches {}", chart.y_label,
                                  RoundedText(*chart.y_most), RoundedText(values[i].high)));
    }
    if (IsCutBelow(chart, values[i])) {
      notes.push_back(fmt::format("The {} is cut off at {}; it goes down to {}", chart.y_label,
                                  RoundedText(*chart.y_least), RoundedText(values[i].low)));
    }
  }
  return notes;
}

}  // namespace

std::string PanelsSvg(const std::vector<LineChart>& charts) {
  constexpr double kWidth = 800, kFirst = 340, kOther = 130, kGap = 16, kNote = 18, kEdge = 24;
  Range xs;
  std::vector<Range> values(charts.size()), ys;
  for (size_t i = 0; i < charts.size(); ++i) AddRanges(charts[i], xs, values[i]);
  const LineChart& first = charts.front();
  for (const Mark& m : first.marks) {
    xs.Add(m.from);
    xs.Add(m.to);
  }
  xs =
      xs.low == xs.high && !first.log_x ? Range{xs.low - 1, xs.high + 1} : Widened(xs, first.log_x);
  const auto height_of = [&](size_t i) { return i == 0 ? kFirst : kOther; };

  double left = 0, room = 0;
  bool direct = true;
  std::vector<LineLegend::Entry> entries;
  for (size_t i = 0; i < charts.size(); ++i) {
    const Box any{0, 0, kWidth, height_of(i)};
    ys.push_back(YRange(charts[i], values[i], height_of(i)));
    const PlotFrame frame = FrameOf(charts[i], any, xs, ys[i]);
    left = std::max(left, TickWidth(frame.y_ticks));
    const double needed = EndLabelRoom(charts[i], frame);
    direct = direct && needed >= 0;
    room = std::max(room, needed);
    for (LineLegend::Entry& e : LegendEntries(charts[i])) entries.push_back(std::move(e));
  }
  if (direct) entries.clear();
  const LineLegend legend(entries, kWidth - 2 * kPageEdge);
  Box box{std::round(kPageEdge + left + 10), 0,
          kWidth - std::round(direct ? std::max(room, kEdge) : kEdge), 0};

  const std::vector<std::string> notes = CutNotes(charts, values);
  const Scale x(xs, first.log_x, box.left, box.right);
  const std::vector<MarkLabel> labels = PlaceMarkLabels(first.marks, x, kWidth);
  const double header = first.title.empty() ? kPageEdge : 42;
  const double notes_top = header + legend.Height();
  const double rows_bottom =
      notes_top + kNote * static_cast<double>(notes.size()) + MarkRowsHeight(labels);
  double height = rows_bottom;
  for (size_t i = 0; i < charts.size(); ++i) {
    height += (i == 0 ? 0 : kGap) + (charts[i].y_label.empty() ? 8 : kAboveY) + height_of(i);
  }
  height += first.x_label.empty() && charts.back().x_label.empty() ? kBelowTicks : kBelowX;

  SvgDocument svg(kWidth, height, first.title, DescriptionOf(charts));
  DrawTitle(svg.root(), first.title, kWidth);
  legend.Draw(svg.root(), {kPageEdge, header});
  for (size_t k = 0; k < notes.size(); ++k) {
    svg.root().Text({kPageEdge, notes_top + kNote * (static_cast<double>(k) + 0.7)}, notes[k],
                    {.size = 12, .colour = kQuietText});
  }
  box.bottom = rows_bottom;
  for (size_t i = 0; i < charts.size(); ++i) {
    const bool last = i + 1 == charts.size();
    box.top = box.bottom + (i == 0 ? 0 : kGap) + (charts[i].y_label.empty() ? 8 : kAboveY);
    box.bottom = box.top + height_of(i);
    PlotFrame frame = FrameOf(charts[i], box, xs, ys[i]);
    if (!last) {
      frame.x_label.clear();
      for (Tick& t : frame.x_ticks) t.text.clear();
    }
    DrawFrame(svg.root(), frame);
    DrawMarks(svg.root(), labels, box, i == 0 ? rows_bottom : 0);
    DrawYLabel(svg.root(), frame);
    DrawLines(svg.root(), charts[i], frame);
    if (direct) DrawEndLabels(svg.root(), EndLabelsOf(charts[i], frame), box);
  }
  return svg.Text();
}

std::string ChartsSvg(const std::vector<LineChart>& charts, int columns) {
  constexpr double kPage = 810, kSmallest = 270, kShape = 16.0 / 27;  // of a chart
  constexpr double kTitleSize = 12, kLeast = 9, kTextSize = 11, kTitleRow = 38, kRight = 18;
  constexpr double kYLabelRow = 18, kTickHeight = 54;
  const double cell = std::max(kPage / columns, kSmallest), plot = std::round(cell * kShape);
  const double most_ticks = std::max(3.0, std::floor(plot / kTickHeight));
  const auto wide = static_cast<size_t>(columns);
  const size_t rows = (charts.size() + wide - 1) / wide;
  std::vector<std::string> titles;
  std::vector<PlotFrame> frames;
  std::vector<LineLegend::Entry> entries;
  double tick_width = 0, above = kTitleRow, below = kBelowTicks + 4;
  for (const LineChart& chart : charts) {
    titles.push_back(chart.title);
    Range xs, ys;
    AddRanges(chart, xs, ys);
    if (chart.y_most) ys.high = std::min(ys.high, *chart.y_most);
    if (IsCutBelow(chart, ys)) ys.low = *chart.y_least;
    // From zero, unless that would leave the line a narrow band.
    if (!chart.log_y && ys.low > 0 && ys.low < ys.high / 2) ys.low = 0;
    ys = Widened(ys, chart.log_y);
    if (!chart.log_y) ys = UpToTicks(ys, most_ticks);
    frames.push_back(FrameOf(chart, {0, 0, cell, plot}, Widened(xs, chart.log_x), ys));
    if (frames.back().y_ticks.size() > 1) {
      frames.back().y_ticks = Ticks(ys, chart.log_y, most_ticks);
    }
    tick_width = std::max(tick_width, TickWidth(frames.back().y_ticks, kTextSize));
    if (!chart.y_label.empty()) above = kTitleRow + kYLabelRow;
    if (!chart.x_label.empty()) below = kBelowX;
    for (const LineLegend::Entry& entry : LegendEntries(chart)) {
      const auto same = [&](const LineLegend::Entry& e) {
        return e.text == entry.text && e.style.colour == entry.style.colour;
      };
      if (std::none_of(entries.begin(), entries.end(), same)) entries.push_back(entry);
    }
  }
  const LineLegend legend(entries, cell * columns - 2 * kPageEdge);
  const double begin = entries.empty() ? 0 : kPageEdge + legend.Height();
  const double row_height = plot + above - kTitleRow + below - kBelowTicks - 4;
  SvgDocument svg(cell * columns, begin + row_height * static_cast<double>(rows),
                  fmt::format("{} charts", charts.size()),
                  fmt::format("Small charts: {}.", fmt::join(titles, ", ")));
  legend.Draw(svg.root(), {kPageEdge, kPageEdge});
  for (size_t i = 0; i < charts.size(); ++i) {
    const double left = cell * static_cast<double>(i % wide) + kPageEdge;
    const size_t row = i / wide;
    const double top = begin + row_height * static_cast<double>(row);
    const double room = cell - kPageEdge - kRight;
    const Box box{left + 8 + tick_width, top + above, left + room, top + row_height - below};
    PlotFrame frame = FrameOf(charts[i], box, frames[i].x.range(), frames[i].y.range());
    frame.y_ticks = frames[i].y_ticks;
    frame.text_size = kTextSize;
    frame.label_left = left;
    const double size = std::clamp(
        std::floor(kTitleSize * room / TextWidth(charts[i].title, kTitleSize)), kLeast, kTitleSize);
    SvgElement group = svg.root().Group();
    group.Text({left, top + 24}, FittedText(charts[i].title, size, room), {.size = size});
    DrawFrame(group, frame);
    DrawYLabel(group, frame);
    DrawLines(group, charts[i], frame);
  }
  return svg.Text();
}

}  // namespace kudari::lab
