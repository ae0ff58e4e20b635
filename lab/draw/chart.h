#ifndef KUDARI_LAB_DRAW_CHART_H_
#define KUDARI_LAB_DRAW_CHART_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kudari::lab {

/// Points that a line joins; x and y are of one length. Where y is not finite the line has a gap.
struct Series {
  std::string label = "";  ///< at the line's end or in the legend; empty: nowhere
  std::vector<double> x = {}, y = {};
  std::vector<double> error = {};  ///< a bar reaches so far up and down from each y; empty: none
};

/// A place on the x axis with a label above the chart: a line, or a shaded range with a bar.
struct Mark {
  std::string label = "";
  double from = 0, to = 0;  ///< the same for a line
  bool strong = false;      ///< stands out from the others
};

/// One or more lines over common axes. Their labels stand at their right ends, or in a legend below
/// the title where they are many or long. A line that another one covers is drawn wider, so that
/// both are seen.
struct LineChart {
  std::string title = "", x_label = "", y_label = "";
  bool log_x = false, log_y = false;
  bool points = true;  ///< the values of a line are marked, not only joined, if they are few
  std::vector<Series> series = {};
  std::vector<Mark> marks = {};      ///< labels avoid each other; marks at one place share one
  std::vector<double> x_ticks = {};  ///< empty: round numbers
  bool from_zero = false;            ///< the y axis has 0, unless it is logarithmic
  /// The chart ends there, and says so if a line goes lower or higher.
  std::optional<double> y_least = {}, y_most = {};
};

/// A way over a contour chart, from a ring to a dot; x and y are of one length. It is drawn up to
/// the edge where it leaves the chart, and has a gap where it is not finite.
struct ChartPath {
  std::string label = "";
  std::vector<double> x = {}, y = {};
};

/// A place on a contour chart, marked by a cross, with a label beside it.
struct MarkedPoint {
  std::string label = "";
  double x = 0, y = 0;
};

/// An arrow on a contour chart from one place to another; x and y of both ends.
struct ChartArrow {
  std::string label = "";
  double from_x = 0, from_y = 0, to_x = 0, to_y = 0;
};

/// Places on a contour chart, a dot each, with one label; x and y are of one length. Those within
/// the grid are drawn.
struct ChartDots {
  std::string label = "";
  std::vector<double> x = {}, y = {};
};

/// Colours and contour lines of z over a grid: z[i * x.size() + j] belongs to x[j] and y[i], each
/// of at least two rising values. What is not finite stays blank.
struct ContourChart {
  std::string title, x_label, y_label, z_label;
  bool log_z = false;  ///< colours and contours go by the logarithm; z <= 0 stays blank
  std::vector<double> x = {}, y = {}, z = {};
  std::vector<ChartPath> paths = {};
  std::vector<ChartArrow> arrows = {};  ///< in the colours that follow those of the paths
  std::vector<ChartDots> dots = {};     ///< in those that follow, each smaller than the ones before
  std::vector<MarkedPoint> points = {};  ///< those within the grid are drawn
  bool equal_axes = true;                ///< a unit is as long on both axes
};

/// Values by name, a row each: a dot for each value, and a bar around their mean.
struct IntervalChart {
  struct Row {
    std::string label = "";
    std::vector<double> values = {};  ///< may be none
    double mean = 0, error = 0;       ///< the bar reaches so far to both sides of the mean
  };
  std::string title = "", x_label = "";
  std::vector<Row> rows = {};  ///< at least one, from the top
};

/// Numbers in rows and columns, on colours by their size.
struct TableChart {
  struct Row {
    std::string label = "";
    std::vector<double> values = {};   ///< one for each column
    std::vector<int64_t> marked = {};  ///< columns, from 0, whose number has a frame
  };
  std::string title = "", x_label = "", y_label = "";
  std::vector<std::string> columns = {};  ///< their names, at least one
  std::vector<Row> rows = {};             ///< at least one, from the top
  std::optional<double> z_least = {};     ///< smaller numbers have its colour; unset: the smallest
};

/// How often values fall into bins of one width.
struct Histogram {
  struct Sample {
    std::string label = "";
    std::vector<double> values = {};  ///< those that are not finite do not count
  };
  std::string title = "", x_label = "";
  std::vector<Sample> series = {};  ///< over each other; one label is one colour in all histograms
  int bins = 30;
};

/// Throws Error unless a picture can be written by that name: it ends in .svg or .png.
void CheckChartFile(const std::filesystem::path& file);

/// Draws a chart as SVG or PNG by the file's ending; the file is written completely or not at all.
/// Throws Error for another ending, for numbers that do not fit together or leave nothing to draw,
/// for PNG if librsvg is not installed (saying how to get it), and if the file cannot be written.
void DrawChart(const LineChart& chart, const std::filesystem::path& file);
void DrawChart(const ContourChart& chart, const std::filesystem::path& file);

/// Draws charts, at least one, below each other over one x axis, as DrawChart does; the first one's
/// title and marks are those of all.
void DrawPanels(const std::vector<LineChart>& charts, const std::filesystem::path& file);

/// Draws small charts in rows of `columns`, with small titles. The fewer columns there are, the
/// larger the charts, up to three columns. A legend above all of them has the labels of their
/// lines; lines at one place in their charts have one colour.
void DrawCharts(const std::vector<LineChart>& charts, int columns,
                const std::filesystem::path& file);

/// Draws a landscape: contours with paths and arrows at the left, and at the right a curve for each
/// of them, in the same order, colours and labels; further curves have labels of their own.
/// Animated, paths and curves draw themselves and repeat, at the pace of their points; readers that
/// cannot animate, or should not, show the finished picture, and so does PNG.
void DrawLandscape(const ContourChart& map, const LineChart& curves, bool animated,
                   const std::filesystem::path& file);

/// Draws the surface over a contour chart's grid from above and aside, in the chart's colours, with
/// its paths on it; the parts of paths that are hidden are faint.
void DrawSurface(const ContourChart& map, const std::filesystem::path& file);

/// Draws histograms side by side.
void DrawHistograms(const std::vector<Histogram>& histograms, const std::filesystem::path& file);

/// Draws pictures, each of them an SVG of the functions below, in rows of `columns`, at least 1,
/// from the top; alone under each other.
std::string StackedSvg(const std::vector<std::string>& pictures, size_t columns = 1);

/// Writes an SVG of one of the functions here to a file, as DrawChart does.
void WritePicture(const std::string& svg, const std::filesystem::path& file);

/// What the functions above write into an SVG, complete in itself, with the same errors about
/// numbers.
std::string PanelsSvg(const std::vector<LineChart>& charts);
std::string ChartsSvg(const std::vector<LineChart>& charts, int columns);
std::string ContourSvg(const ContourChart& chart);
std::string LandscapeSvg(const ContourChart& map, const LineChart& curves, bool animated);
std::string SurfaceSvg(const ContourChart& map);
std::string HistogramsSvg(const std::vector<Histogram>& histograms);
std::string IntervalsSvg(const IntervalChart& chart);
std::string TableSvg(const TableChart& chart);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_CHART_H_
