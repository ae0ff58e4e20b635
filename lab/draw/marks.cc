#include "lab/draw/marks.h"

#include <algorithm>
#include <array>

#include "lab/draw/plot.h"

namespace kudari::lab {
namespace {

constexpr double kMarkText = 12;

// The marks by their places, those at one place joined.
std::vector<MarkLabel> Joined(std::vector<Mark> marks, const Scale& x) {
  constexpr double kSame = 2;
  std::stable_sort(marks.begin(), marks.end(),
                   [](const Mark& a, const Mark& b) { return a.from < b.from; });
  std::vector<MarkLabel> labels;
  for (const Mark& m : marks) {
    const bool range = m.from != m.to;
    const bool joined =
        !labels.empty() && !range && !labels.back().range && x(m.from) - labels.back().from < kSame;
    if (joined) {
      labels.back().text += ", " + m.label;
      labels.back().strong = labels.back().strong || m.strong;
    } else {
      labels.push_back(
          {.text = m.label, .from = x(m.from), .to = x(m.to), .range = range, .strong = m.strong});
    }
  }
  return labels;
}

}  // namespace

// All labels are to one side of their marks. A line goes up to its own label only, so it is enough
// that a label is higher than those whose marks it lies over. Ranges, and labels that fit on
// neither side, have rows of their own.
std::vector<MarkLabel> PlaceMarkLabels(const std::vector<Mark>& marks, const Scale& x,
                                       double picture_width) {
  constexpr double kGap = 6;
  std::vector<MarkLabel> labels = Joined(marks, x);
  const auto width = [](const MarkLabel& l) { return TextWidth(l.text, kMarkText); };
  const bool after = std::all_of(labels.begin(), labels.end(), [&](const MarkLabel& l) {
    return l.from + kGap + width(l) < picture_width;
  });
  const bool before = std::all_of(labels.begin(), labels.end(),
                                  [&](const MarkLabel& l) { return l.to - kGap - width(l) > 0; });
  if (after) std::reverse(labels.begin(), labels.end());
  for (size_t i = 0; i < labels.size(); ++i) {
    MarkLabel& l = labels[i];
    l.after = after;
    l.begin = after ? l.from + kGap : std::max(kGap, l.to - kGap - width(l));
    l.end = l.begin + width(l);
    for (size_t k = 0; k < i; ++k) {
      const double other = after ? labels[k].from : labels[k].to;
      const bool below = after ? other < l.end + kGap : other > l.begin - kGap;
      const bool alone = labels[k].range || (!after && !before);
      if (below || alone) l.row = std::max(l.row, labels[k].row + 1);
    }
  }
  return labels;
}

double MarkRowsHeight(const std::vector<MarkLabel>& labels) {
  size_t rows = 0;
  for (const MarkLabel& l : labels) rows = std::max(rows, l.row + 1);
  return kTextRow * static_cast<double>(rows);
}

void DrawMarks(SvgElement svg, const std::vector<MarkLabel>& labels, const Box& plot,
               double rows_bottom) {
  // None of the first two colours, which lines have.
  constexpr std::array kBars = {"#CC79A7", "#E69F00", "#56B4E9", "#009E73"};
  constexpr double kLeastWidth = 2, kBarHeight = 4;
  SvgElement group = svg.Group("marks");
  size_t bars = 0;
  for (const MarkLabel& l : labels) {
    const double baseline = rows_bottom - kTextRow * static_cast<double>(l.row) - 7;
    const std::string colour = l.range    ? kBars[bars++ % kBars.size()]
                               : l.strong ? "#B00020"
                                          : kQuietText;
    if (l.range) {
      const double to = std::max(l.to, l.from + kLeastWidth);
      group.Rect({l.from, plot.top, to, plot.bottom}, {.fill = colour}).Set("fill-opacity", 0.15);
      if (rows_bottom > 0) {
        group.Rect({l.from, baseline + 4, to, baseline + 4 + kBarHeight}, {.fill = colour});
      }
    } else {
      const double top = rows_bottom > 0 ? baseline - kMarkText + 2 : plot.top;
      group.Line(
          {l.from, top}, {l.from, plot.bottom},
          {.stroke = colour, .width = l.strong ? 2.0 : 1.0, .dashes = l.strong ? "" : "3 3"});
    }
    if (rows_bottom <= 0) continue;
    group.Text({l.after ? l.begin : l.end, baseline}, l.text,
               {.size = kMarkText,
                .colour = l.range ? TextStyle().colour : colour,
                .anchor = l.after ? Anchor::kStart : Anchor::kEnd,
                .semibold = l.strong});
  }
}

}  // namespace kudari::lab
