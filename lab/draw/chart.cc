#include "lab/draw/chart.h"

#include <fmt/format.h>

#include "kudari/files.h"
#include "lab/console/usage_error.h"
#include "lab/draw/png.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

bool IsPng(const fs::path& file) { return file.extension() == ".png"; }

void WritePicture(const std::string& svg, const fs::path& file) {
  WriteFileAtomically(file, IsPng(file) ? PngOfSvg(svg) : svg);
}

}  // namespace

void CheckChartFile(const fs::path& file) {
  if (file.extension() == ".svg" || IsPng(file)) return;
  throw UsageError(fmt::format("{}: a picture must be named .svg or .png", file.string()));
}

void DrawChart(const LineChart& chart, const fs::path& file) { DrawPanels({chart}, file); }

void DrawChart(const ContourChart& chart, const fs::path& file) {
  CheckChartFile(file);
  WritePicture(ContourSvg(chart), file);
}

void DrawPanels(const std::vector<LineChart>& charts, const fs::path& file) {
  CheckChartFile(file);
  WritePicture(PanelsSvg(charts), file);
}

void DrawCharts(const std::vector<LineChart>& charts, int columns, const fs::path& file) {
  CheckChartFile(file);
  WritePicture(ChartsSvg(charts, columns), file);
}

void DrawLandscape(const ContourChart& map, const LineChart& curves, bool animated,
                   const fs::path& file) {
  CheckChartFile(file);
  WritePicture(LandscapeSvg(map, curves, animated && !IsPng(file)), file);
}

void DrawSurface(const ContourChart& map, const fs::path& file) {
  CheckChartFile(file);
  WritePicture(SurfaceSvg(map), file);
}

void DrawHistograms(const std::vector<Histogram>& histograms, const fs::path& file) {
  CheckChartFile(file);
  WritePicture(HistogramsSvg(histograms), file);
}

}  // namespace kudari::lab
