#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "kudari/error.h"
#include "lab/draw/chart.h"
#include "lab/draw/labels.h"
#include "lab/draw/plot.h"
#include "lab/draw/svg.h"

namespace kudari::lab {
namespace {

// Where the values of a histogram lie. Throws Error if there is nothing to draw.
Range ValuesOf(const Histogram& histogram) {
  if (histogram.bins < 1) {
    throw Error(fmt::format("histogram \"{}\": {} bins", histogram.title, histogram.bins));
  }
  Range range;
  for (const Histogram::Sample& s : histogram.series) {
    for (const double x : s.values) {
      if (std::isfinite(x)) range.Add(x);
    }
  }
  if (range.IsEmpty()) {
    throw Error(fmt::format("histogram \"{}\": there is nothing to draw", histogram.title));
  }
  return Widened(range, false);
}

// How many values fall into each bin; the last one has its upper end, too.
std::vector<double> CountsOf(const std::vector<double>& values, const Range& range, int bins) {
  std::vector<double> counts(static_cast<size_t>(bins));
  for (const double x : values) {
    if (!std::isfinite(x)) continue;
    const double share = (x - range.low) / (range.high - range.low);
    const int bin = std::clamp(static_cast<int>(share * bins), 0, bins - 1);
    ++counts[static_cast<size_t>(bin)];
  }
  return counts;
}

// The labels of all histograms, each once, whose places are those of their colours.
std::vector<std::string> LabelsOf(const std::vector<Histogram>& histograms) {
  std::vector<std::string> labels;
  for (const Histogram& h : histograms) {
    for (const Histogram::Sample& s : h.series) {
      if (std::find(labels.begin(), labels.end(), s.label) == labels.end()) {
        labels.push_back(s.label);
      }
    }
  }
  return labels;
}

void DrawHistogram(SvgElement svg, const Histogram& histogram, const Range& range, const Box& box,
                   const std::vector<std::string>& labels) {
  constexpr double kTickColumn = 48, kTickRow = 40;
  std::vector<std::vector<double>> counts;
  double most = 0;
  for (const Histogram::Sample& s : histogram.series) {
    counts.push_back(CountsOf(s.values, range, histogram.bins));
    most = std::max(most, *std::max_element(counts.back().begin(), counts.back().end()));
  }
  const Range heights = UpToTicks({0, most}, box.Height() / kTickRow);
  std::vector<Tick> ticks = Ticks(heights, false, box.Height() / kTickRow);
  std::erase_if(ticks, [](const Tick& t) { return t.value != std::floor(t.value); });
  const PlotFrame frame{.box = box,
                        .x = Scale(range, false, box.left, box.right),
                        .y = Scale(heights, false, box.bottom, box.top),
                        .x_ticks = Ticks(range, false, box.Width() / kTickColumn),
                        .y_ticks = ticks,
                        .x_label = histogram.x_label,
                        .text_size = 11};
  DrawFrame(svg, frame);
  for (size_t k = 0; k < counts.size(); ++k) {
    const auto label = std::find(labels.begin(), labels.end(), histogram.series[k].label);
    const LineStyle style = StyleOf(static_cast<size_t>(label - labels.begin()));
    SvgElement bars = svg.Group("bars");
    bars.Set("opacity", 0.5);
    // Whole pixels at the sides, so that no seams are seen between bars.
    const auto edge = [&](size_t bin) {
      return std::round(box.left + box.Width() * static_cast<double>(bin) / histogram.bins);
    };
    for (size_t bin = 0; bin < counts[k].size(); ++bin) {
      if (counts[k][bin] == 0) continue;
      bars.Rect({edge(bin), frame.y(counts[k][bin]), edge(bin + 1), box.bottom},
                {.fill = style.colour});
    }
  }
}

}  // namespace

std::string HistogramsSvg(const std::vector<Histogram>& histograms) {
  constexpr double kCell = 270, kPlotHeight = 150, kTitleRow = 34;
  constexpr size_t kColumns = 4;
  std::vector<Range> ranges;
  std::vector<std::string> titles;
  for (const Histogram& h : histograms) {
    ranges.push_back(ValuesOf(h));
    titles.push_back(h.title);
  }
  const std::vector<std::string> labels = LabelsOf(histograms);
  std::vector<LineLegend::Entry> entries;
  for (size_t k = 0; k < labels.size(); ++k) {
    if (!labels[k].empty()) entries.push_back({labels[k], StyleOf(k)});
  }
  const size_t columns = std::clamp<size_t>(histograms.size(), 1, kColumns);
  const size_t rows = (histograms.size() + columns - 1) / columns;
  const double width = kCell * static_cast<double>(columns) + kPageEdge;
  const LineLegend legend(entries, width - 2 * kPageEdge);
  const double row_height = kTitleRow + kPlotHeight + kBelowX;
  const double top = legend.Height() + (entries.empty() ? 0 : 10);
  SvgDocument svg(width, top + row_height * static_cast<double>(rows), "Histograms",
                  fmt::format("How often values occur: {}.", fmt::join(titles, ", ")));
  legend.Draw(svg.root(), {kPageEdge, 10});
  for (size_t k = 0; k < histograms.size(); ++k) {
    const size_t row = k / columns;
    const double left = kPageEdge + kCell * static_cast<double>(k % columns);
    const double upper = top + row_height * static_cast<double>(row);
    const Box box{left + 42, upper + kTitleRow, left + kCell - 16, upper + kTitleRow + kPlotHeight};
    const std::string& title = histograms[k].title;
    svg.root().Text({left, upper + 22}, FittedText(title, 13, kCell - kPageEdge),
                    {.semibold = true});
    DrawHistogram(svg.root().Group(), histograms[k], ranges[k], box, labels);
  }
  return svg.Text();
}

}  // namespace kudari::lab
