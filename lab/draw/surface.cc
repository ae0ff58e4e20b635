#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

#include "lab/draw/chart.h"
#include "lab/draw/contour_map.h"
#include "lab/draw/contours.h"
#include "lab/draw/labels.h"
#include "lab/draw/plot.h"
#include "lab/draw/svg.h"

namespace kudari::lab {
namespace {

constexpr double kAzimuth = 35 * std::numbers::pi / 180, kElevation = 38 * std::numbers::pi / 180;
constexpr double kRise = 0.55;     // of the surface, where its sides are 1
constexpr double kPixels = 430;    // of a side
constexpr size_t kMostCells = 44;  // along a side

// A place in the cube: u and v go along the axes from -0.5 to 0.5, and w upwards from 0.
struct Spot {
  double u = 0, v = 0, w = 0;
};

// A surface as it is seen by parallel rays from above and aside: the corner of small x and small y
// is nearest.
class View {
 public:
  View(const ContourChart& map, const Bands& bands)
      : field_(FieldOf(map)),
        x_({map.x.front(), map.x.back()}, false, -0.5, 0.5),
        y_({map.y.front(), map.y.back()}, false, -0.5, 0.5),
        z_(Widened(bands.values, map.log_z), map.log_z, 0, kRise),
        logarithmic_(map.log_z) {}

  const Field& field() const { return field_; }
  const Scale& x() const { return x_; }
  const Scale& y() const { return y_; }
  const Scale& z() const { return z_; }

  /// Pixels from the middle of the floor.
  static Point Seen(const Spot& s) {
    const double across = s.u * std::cos(kAzimuth) - s.v * std::sin(kAzimuth);
    const double away = s.u * std::sin(kAzimuth) + s.v * std::cos(kAzimuth);
    return {kPixels * across,
            -kPixels * (s.w * std::cos(kElevation) + away * std::sin(kElevation))};
  }

  /// A corner of the grid on the surface; w is not finite where there is none.
  Spot Corner(size_t i, size_t j) const {
    return {x_(field_.x[j]), y_(field_.y[i]), Height(field_.At(i, j))};
  }

  /// The surface over any place, between its grid's corners; w is not finite outside.
  Spot Above(double x, double y) const {
    Spot spot{x_(x), y_(y), NAN};
    const auto right = std::upper_bound(field_.x.begin(), field_.x.end() - 1, x);
    const auto up = std::upper_bound(field_.y.begin(), field_.y.end() - 1, y);
    if (right == field_.x.begin() || up == field_.y.begin() || !(x <= field_.x.back()) ||
        !(y <= field_.y.back())) {
      return spot;
    }
    const auto j = static_cast<size_t>(right - field_.x.begin()) - 1;
    const auto i = static_cast<size_t>(up - field_.y.begin()) - 1;
    const double p = (x - field_.x[j]) / (field_.x[j + 1] - field_.x[j]);
    const double q = (y - field_.y[i]) / (field_.y[i + 1] - field_.y[i]);
    spot.w = Height((1 - q) * ((1 - p) * field_.At(i, j) + p * field_.At(i, j + 1)) +
                    q * ((1 - p) * field_.At(i + 1, j) + p * field_.At(i + 1, j + 1)));
    return spot;
  }

  /// Whether the surface stands between a place on it and who looks at it.
  bool IsHidden(double x, double y) const {
    constexpr double kStep = 0.01, kAbove = 0.006;
    const double width = x_.range().high - x_.range().low;
    const double depth = y_.range().high - y_.range().low;
    const double base = Above(x, y).w;
    for (double s = kStep; s < 1.5; s += kStep) {
      const Spot under =
          Above(x - s * std::sin(kAzimuth) * width, y - s * std::cos(kAzimuth) * depth);
      if (under.w > base + s * std::tan(kElevation) + kAbove) return true;
    }
    return false;
  }

 private:
  double Height(double z) const { return z_(logarithmic_ ? std::exp(z) : z); }

  Field field_;
  Scale x_, y_, z_;
  bool logarithmic_;
};

// Some of the indices 0 to count - 1, both among them.
std::vector<size_t> SomeOf(size_t count) {
  const size_t cells = std::min(count - 1, kMostCells);
  std::vector<size_t> indices;
  for (size_t k = 0; k <= cells; ++k) {
    indices.push_back(static_cast<size_t>(
        std::lround(static_cast<double>(k * (count - 1)) / static_cast<double>(cells))));
  }
  return indices;
}

// Draws what moves points on the page to where the view has them.
class Page {
 public:
  Page(SvgElement svg, Point middle) : svg_(svg), middle_(middle) {}

  Point At(const Spot& s) const {
    const Point p = View::Seen(s);
    return {middle_.x + p.x, middle_.y + p.y};
  }

  void Line(const Spot& a, const Spot& b, const char* colour) {
    svg_.Line(At(a), At(b), {.stroke = colour});
  }

  void Text(const Spot& s, Point away, const std::string& text, const TextStyle& style) {
    const Point p = At(s);
    svg_.Text({p.x + away.x, p.y + away.y}, text, style);
  }

  SvgElement Group(const char* name) { return svg_.Group(name); }

 private:
  SvgElement svg_;
  Point middle_;
};

// How steeply an edge of the cube runs on the page.
double SlopeOf(const Spot& direction) {
  const Point p = View::Seen(direction);
  return std::abs(p.y / p.x);
}

// Where the label of the x axis begins and that of the y axis ends. One that would not fit on the
// page goes down along its axis.
struct AxisLabels {
  Point x = {}, y = {};
};

AxisLabels PlaceAxisLabels(const ContourChart& map, Point middle, double page_width) {
  constexpr double kAway = 26, kDown = 38;
  const double size = TextStyle().size;
  const Point x = View::Seen({0.1, -0.5, 0}), y = View::Seen({-0.5, 0.05, 0});
  const Point begin{middle.x + x.x + kAway, middle.y + x.y + kDown};
  const Point end{middle.x + y.x - kAway, middle.y + y.y + kDown};
  const double left =
      std::max(0.0, begin.x + TextWidth(map.x_label, size) + kPageEdge - page_width);
  const double right = std::max(0.0, TextWidth(map.y_label, size) + kPageEdge - end.x);
  return {{begin.x - left, begin.y + SlopeOf({1, 0, 0}) * left},
          {end.x + right, end.y + SlopeOf({0, 1, 0}) * right}};
}

// The floor and the walls behind the surface, with axes along the edges that nothing covers.
void DrawCube(SvgElement svg, Page& page, const ContourChart& map, const View& view,
              const AxisLabels& labels) {
  constexpr double kMostTicks = 5;
  constexpr const char* kWall = "#e6e8eb";
  const TextStyle end{.size = 12, .colour = kQuietText, .anchor = Anchor::kEnd};
  const TextStyle start{.size = 12, .colour = kQuietText};
  for (const Tick& t : Ticks(view.x().range(), false, kMostTicks)) {
    const double u = view.x()(t.value);
    page.Line({u, -0.5, 0}, {u, 0.5, 0}, kWall);
    page.Line({u, 0.5, 0}, {u, 0.5, kRise}, kWall);
    page.Text({u, -0.5, 0}, {4, 15}, t.text, start);
  }
  for (const Tick& t : Ticks(view.y().range(), false, kMostTicks)) {
    const double v = view.y()(t.value);
    page.Line({-0.5, v, 0}, {0.5, v, 0}, kWall);
    page.Line({0.5, v, 0}, {0.5, v, kRise}, kWall);
    page.Text({-0.5, v, 0}, {-4, 15}, t.text, end);
  }
  for (const Tick& t : Ticks(view.z().range(), map.log_z, kMostTicks)) {
    const double w = view.z()(t.value);
    page.Line({-0.5, 0.5, w}, {0.5, 0.5, w}, kWall);
    page.Line({0.5, 0.5, w}, {0.5, -0.5, w}, kWall);
    page.Text({-0.5, 0.5, w}, {-7, 4}, t.text, end);
  }
  page.Line({-0.5, -0.5, 0}, {0.5, -0.5, 0}, kAxisColour);
  page.Line({-0.5, -0.5, 0}, {-0.5, 0.5, 0}, kAxisColour);
  page.Line({-0.5, 0.5, 0}, {-0.5, 0.5, kRise}, kAxisColour);
  svg.Text(labels.x, map.x_label);
  svg.Text(labels.y, map.y_label, {.anchor = Anchor::kEnd});
  page.Text({-0.5, 0.5, kRise}, {-30, -18}, map.z_label, {.anchor = Anchor::kMiddle});
}

// The cells of the grid from the farthest to the nearest, so that the near ones cover the others.
void DrawCells(Page& page, const ContourChart& map, const Bands& bands, const View& view) {
  SvgElement group = page.Group("surface");
  group.Set("stroke", "white").Set("stroke-width", 0.4).Set("stroke-opacity", 0.55);
  const std::vector<size_t> rows = SomeOf(map.y.size()), columns = SomeOf(map.x.size());
  for (size_t i = rows.size() - 1; i-- > 0;) {
    for (size_t j = columns.size() - 1; j-- > 0;) {
      std::vector<Point> corners;
      double mean = 0;
      for (const auto& [row, column] : {std::pair{rows[i], columns[j]},
                                        {rows[i], columns[j + 1]},
                                        {rows[i + 1], columns[j + 1]},
                                        {rows[i + 1], columns[j]}}) {
        corners.push_back(page.At(view.Corner(row, column)));
        mean += view.field().At(row, column) / 4;
      }
      if (!std::isfinite(mean)) continue;
      group.Path(PathData(corners, true),
                 {.fill = bands.ColourOf(map.log_z ? std::exp(mean) : mean)});
    }
  }
}

// A path on the surface, in parts that are seen and faint ones that are hidden.
void DrawOnSurface(Page& page, const ChartPath& path, const View& view, const LineStyle& style) {
  constexpr double kFine = 0.01;  // of a side
  struct Run {
    std::vector<Point> points = {};
    bool hidden = false;
  };
  std::vector<Run> runs;
  bool open = false;
  const auto add = [&](double x, double y) {
    const Spot spot = view.Above(x, y);
    if (!std::isfinite(spot.w)) {
      open = false;
      return;
    }
    const bool hidden = view.IsHidden(x, y);
    const Point p = page.At(spot);
    if (open && runs.back().hidden != hidden) runs.back().points.push_back(p);
    if (!open || runs.back().hidden != hidden) runs.push_back({{}, hidden});
    runs.back().points.push_back(p);
    open = true;
  };
  const double width = view.x().range().high - view.x().range().low;
  const double depth = view.y().range().high - view.y().range().low;
  for (size_t k = 0; k < path.x.size(); ++k) {
    if (k > 0) {
      const double x = path.x[k] - path.x[k - 1], y = path.y[k] - path.y[k - 1];
      const double length = std::hypot(x / width, y / depth);
      // A step far beyond the surface has no more parts than one across it.
      const double parts = std::ceil(std::min(length, 10.0) / kFine);
      for (double part = 1; part < parts; ++part) {
        add(path.x[k - 1] + part / parts * x, path.y[k - 1] + part / parts * y);
      }
    }
    add(path.x[k], path.y[k]);
  }
  SvgElement group = page.Group("path");
  for (const bool casing : {true, false}) {
    for (const Run& run : runs) {
      if (casing && run.hidden) continue;
      group
          .Path(PathData(Simplified(run.points, 0.1)), {.stroke = casing ? "white" : style.colour,
                                                        .width = casing       ? 4.8
                                                                 : run.hidden ? 1.2
                                                                              : 2.2,
                                                        .opacity = run.hidden ? 0.5
                                                                   : casing   ? 0.85
                                                                              : 1,
                                                        .dashes = run.hidden ? "2 3"
                                                                  : casing   ? ""
                                                                             : style.dashes})
          .Set("stroke-linejoin", "round");
    }
  }
  const auto dot = [&](size_t k, const Paint& paint) {
    const Spot spot = view.Above(path.x[k], path.y[k]);
    if (!std::isfinite(spot.w)) return;
    SvgElement circle = group.Circle(page.At(spot), 4.5, paint);
    if (view.IsHidden(path.x[k], path.y[k])) circle.Set("opacity", 0.5);
  };
  if (path.x.empty()) return;
  dot(0, {.fill = "white", .stroke = style.colour, .width = 2});
  dot(path.x.size() - 1, {.fill = style.colour, .stroke = "white", .width = 1.5});
}

}  // namespace

std::string SurfaceSvg(const ContourChart& map) {
  constexpr double kSides = 90;
  const Bands bands = BandsOf(map);
  const View view(map, bands);
  const double left = View::Seen({-0.5, 0.5, 0}).x, right = View::Seen({0.5, -0.5, 0}).x;
  const double top = View::Seen({0.5, 0.5, kRise}).y, bottom = View::Seen({-0.5, -0.5, 0}).y;
  const double width = std::ceil(right - left + 2 * kSides);
  const double header = map.title.empty() ? kPageEdge : 42;
  const LineLegend legend(PathEntries(map), width - 2 * kPageEdge);
  const double upper = header + legend.Height() + 24;
  const Point middle{kSides - left, upper - top};
  const AxisLabels labels = PlaceAxisLabels(map, middle, width);
  const double height = std::max({middle.y + bottom + 24, labels.x.y, labels.y.y}) + 10;
  SvgDocument svg(width, std::ceil(height), map.title, MapDescription(map, bands));
  DrawTitle(svg.root(), map.title, width);
  legend.Draw(svg.root(), {kPageEdge, header});
  Page page(svg.root(), middle);
  DrawCube(svg.root(), page, map, view, labels);
  DrawCells(page, map, bands, view);
  for (size_t k = 0; k < map.paths.size(); ++k) {
    DrawOnSurface(page, map.paths[k], view, StyleOf(k));
  }
  return svg.Text();
}

}  // namespace kudari::lab
