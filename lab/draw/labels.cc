#include "lab/draw/labels.h"

#include <algorithm>
#include <numeric>

namespace kudari::lab {
namespace {

constexpr double kSampleWidth = 22, kSampleGap = 7, kEntryGap = 22;

}  // namespace

std::vector<double> MovedApart(const std::vector<double>& wanted, double gap, double low,
                               double high) {
  const size_t n = wanted.size();
  const double height = n == 0 ? 0 : gap * static_cast<double>(n - 1);
  if (low + height > high) return {};
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return wanted[a] < wanted[b]; });
  // Without the gaps the places must only not fall: isotonic regression, by pools of neighbours.
  struct Pool {
    double sum = 0;
    size_t count = 0;
    double Mean() const { return sum / static_cast<double>(count); }
  };
  std::vector<Pool> pools;
  for (size_t k = 0; k < n; ++k) {
    pools.push_back({wanted[order[k]] - gap * static_cast<double>(k), 1});
    while (pools.size() > 1 && pools[pools.size() - 2].Mean() > pools.back().Mean()) {
      const Pool last = pools.back();
      pools.pop_back();
      pools.back().sum += last.sum;
      pools.back().count += last.count;
    }
  }
  std::vector<double> places(n);
  size_t k = 0;
  for (const Pool& pool : pools) {
    for (size_t i = 0; i < pool.count; ++i, ++k) {
      places[order[k]] = std::clamp(pool.Mean(), low, high - height) + gap * static_cast<double>(k);
    }
  }
  return places;
}

void DrawEndLabels(SvgElement svg, const std::vector<EndLabel>& labels, const Box& box) {
  constexpr double kAway = 9, kMoved = 3;
  std::vector<double> wanted;
  for (const EndLabel& l : labels) wanted.push_back(l.y);
  const std::vector<double> places = MovedApart(wanted, kEndLabelGap, box.top, box.bottom);
  for (size_t k = 0; k < places.size(); ++k) {
    const LineStyle& style = labels[k].style;
    if (labels[k].at_edge && std::abs(places[k] - wanted[k]) > kMoved) {
      svg.Line({box.right + 1, wanted[k]}, {box.right + kAway - 2, places[k]},
               {.stroke = style.colour, .opacity = 0.6});
    }
    svg.Text({box.right + kAway, places[k] + 4.5}, labels[k].text, {.colour = style.text});
  }
}

LineLegend::LineLegend(const std::vector<Entry>& entries, double width) {
  if (entries.empty()) return;
  const double size = TextStyle().size;
  std::vector<double> widths;
  double all = 0, widest = 0;
  for (const Entry& e : entries) {
    const std::string text = FittedText(e.text, size, width - kSampleWidth - kSampleGap);
    widths.push_back(kSampleWidth + kSampleGap + TextWidth(text, size) + kEntryGap);
    all += widths.back();
    widest = std::max(widest, widths.back());
    placed_.push_back({.entry = {text, e.style}});
  }
  // One row, or columns of one width.
  const bool one_row = all <= width + kEntryGap;
  const auto columns = static_cast<size_t>(std::max(1.0, (width + kEntryGap) / widest));
  double left = 0;
  for (size_t k = 0; k < placed_.size(); ++k) {
    placed_[k].left = one_row ? left : widest * static_cast<double>(k % columns);
    placed_[k].row = one_row ? 0 : k / columns;
    left += widths[k];
  }
}

double LineLegend::Height() const {
  return placed_.empty() ? 0 : kTextRow * static_cast<double>(placed_.back().row + 1) + 4;
}

void LineLegend::Draw(SvgElement svg, Point at) const {
  SvgElement group = svg.Group("legend");
  for (const Placed& p : placed_) {
    const double x = at.x + p.left, y = at.y + kTextRow * (static_cast<double>(p.row) + 0.5);
    const LineStyle& style = p.entry.style;
    group.Line({x, y}, {x + kSampleWidth, y},
               {.stroke = style.colour, .width = 3, .dashes = style.dashes});
    group.Text({x + kSampleWidth + kSampleGap, y + 4.5}, p.entry.text, {.colour = style.text});
  }
}

}  // namespace kudari::lab
