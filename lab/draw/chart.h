#ifndef KUDARI_LAB_DRAW_CHART_H_
#define KUDARI_LAB_DRAW_CHART_H_

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kudari::lab {

/// Points that a line joins; x and y are of one length. Where y is not finite the line has a gap.
struct Series {
  std::string label = "";  ///< in the legend; empty: not there
  std::vector<double> x = {}, y = {};
};

/// A place on the x axis with a label above the chart: a line, or a shaded range with a bar.
struct Mark {
  std::string label = "";
  double from = 0, to = 0;  ///< the same for a line
  bool strong = false;      ///< stands out from the others
};

/// One or more lines over common axes, with a legend below them if they have labels. A line that
/// another one covers is drawn wider, so that both are seen.
struct LineChart {
  std::string title = "", x_label = "", y_label = "";
  bool log_x = false, log_y = false;
  bool points = true;  ///< each value is marked, not only joined
  std::vector<Series> series = {};
  std::vector<Mark> marks = {};       ///< labels avoid each other; marks at one place share one
  std::vector<double> x_ticks = {};   ///< empty: round numbers
  std::optional<double> y_most = {};  ///< the chart ends there, and says so if a line goes higher
};

/// Colours and contour lines of z over a grid: z[i * x.size() + j] belongs to x[j] and y[i], each
/// of at least two values. What is not finite stays blank.
struct ContourChart {
  std::string title, x_label, y_label, z_label;
  bool log_z = false;  ///< colours and contours go by the logarithm; z <= 0 stays blank
  std::vector<double> x = {}, y = {}, z = {};
  std::string mark = "";  ///< names the point (0, 0) in the legend; empty: it is not marked
};

/// Throws Error unless a picture can be written by that name: it ends in .svg or .png.
void CheckChartFile(const std::filesystem::path& file);

/// Draws a chart with gnuplot, as SVG or PNG by the file's ending; the file is written completely
/// or not at all. Throws Error for another ending, for numbers that do not fit together or leave
/// nothing to draw, if gnuplot is not installed (saying how to get it), with what gnuplot says if
/// it fails, and if the file cannot be written.
void DrawChart(const LineChart& chart, const std::filesystem::path& file);
void DrawChart(const ContourChart& chart, const std::filesystem::path& file);

/// Draws charts below each other over one x axis, as DrawChart does; the first one's title and
/// marks are those of all.
void DrawPanels(const std::vector<LineChart>& charts, const std::filesystem::path& file);

/// Draws small charts in rows of `columns`, with small titles.
void DrawCharts(const std::vector<LineChart>& charts, int columns,
                const std::filesystem::path& file);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_CHART_H_
