#include "lab/draw/chart.h"

#include <fmt/format.h>

#include <algorithm>

#include "kudari/files.h"
#include "lab/console/usage_error.h"
#include "lab/draw/png.h"
#include "lab/draw/svg.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

bool IsPng(const fs::path& file) { return file.extension() == ".png"; }

}  // namespace

void CheckChartFile(const fs::path& file) {
  if (file.extension() == ".svg" || IsPng(file)) return;
  throw UsageError(fmt::format("{}: a picture must be named .svg or .png", file.string()));
}

void WritePicture(const std::string& svg, const fs::path& file) {
  CheckChartFile(file);
  WriteFileAtomically(file, IsPng(file) ? PngOfSvg(svg) : svg);
}

void DrawChart(const LineChart& chart, const fs::path& file) { DrawPanels({chart}, file); }

void DrawChart(const ContourChart& chart, const fs::path& file) {
  WritePicture(ContourSvg(chart), file);
}

void DrawPanels(const std::vector<LineChart>& charts, const fs::path& file) {
  WritePicture(PanelsSvg(charts), file);
}

void DrawCharts(const std::vector<LineChart>& charts, int columns, const fs::path& file) {
  WritePicture(ChartsSvg(charts, columns), file);
}

void DrawLandscape(const ContourChart& map, const LineChart& curves, bool animated,
                   const fs::path& file) {
  WritePicture(LandscapeSvg(map, curves, animated && !IsPng(file)), file);
}

void DrawSurface(const ContourChart& map, const fs::path& file) {
  WritePicture(SurfaceSvg(map), file);
}

void DrawHistograms(const std::vector<Histogram>& histograms, const fs::path& file) {
  WritePicture(HistogramsSvg(histograms), file);
}

std::string StackedSvg(const std::vector<std::string>& pictures, size_t columns) {
  std::vector<pugi::xml_document> read(pictures.size());
  struct Place {
    double left = 0, top = 0;
  };
  std::vector<Place> places;
  double width = 0, height = 0, left = 0, row_height = 0;
  std::string titles;
  for (size_t k = 0; k < pictures.size(); ++k) {
    read[k].load_string(pictures[k].c_str());
    const pugi::xml_node picture = read[k].first_child();
    if (k % columns == 0) {
      height += row_height;
      left = row_height = 0;
    }
    places.push_back({left, height});
    left += picture.attribute("width").as_double();
    width = std::max(width, left);
    row_height = std::max(row_height, picture.attribute("height").as_double());
    titles += (titles.empty() ? "" : "; ") + std::string(picture.child("title").text().get());
  }
  SvgDocument svg(width, height + row_height, titles, fmt::format("{} pictures", pictures.size()));
  for (size_t k = 0; k < pictures.size(); ++k) {
    SvgElement picture = svg.root().AddCopy(read[k].first_child());
    if (places[k].left > 0) picture.Set("x", places[k].left);
    picture.Set("y", places[k].top);
  }
  return svg.Text();
}

}  // namespace kudari::lab
