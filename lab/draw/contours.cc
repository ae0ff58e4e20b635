#include "lab/draw/contours.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

bool HasValue(const ContourChart& chart, double z) {
  return std::isfinite(z) && (!chart.log_z || z > 0);
}

bool IsRising(const std::vector<double>& values) {
  for (size_t k = 0; k < values.size(); ++k) {
    if (!std::isfinite(values[k]) || (k > 0 && !(values[k - 1] < values[k]))) return false;
  }
  return true;
}

// Marching squares. Vertices are corners of cells, and places where the edges of cells cross the
// level; each has a number, so that cells agree about those that they share.
class Marcher {
 public:
  Marcher(const Field& field, double level) : field_(field), level_(level) {}

  LevelRegion Run() {
    for (size_t i = 0; i + 1 < field_.y.size(); ++i) {
      for (size_t j = 0; j + 1 < field_.x.size(); ++j) AddCell(i, j);
    }
    LevelRegion region;
    while (!next_.empty()) AddOutline(region);
    return region;
  }

 private:
  // A vertex; `edge` is 0 for a corner, 1 for the edge to the next column and 2 for that to the
  // next row.
  size_t Id(size_t i, size_t j, size_t edge) const { return 3 * (i * field_.x.size() + j) + edge; }

  static bool IsCorner(size_t id) { return id % 3 == 0; }

  bool IsHigh(size_t i, size_t j) const { return field_.At(i, j) >= level_; }

  bool HasCell(size_t i, size_t j) const {
    if (i >= field_.y.size() - 1 || j >= field_.x.size() - 1) return false;
    return std::isfinite(field_.At(i, j) + field_.At(i, j + 1) + field_.At(i + 1, j) +
                         field_.At(i + 1, j + 1));
  }

  Point PlaceOfVertex(size_t id) const {
    const size_t corner = id / 3, edge = id % 3;
    const size_t i = corner / field_.x.size(), j = corner % field_.x.size();
    Point p{field_.x[j], field_.y[i]};
    if (edge == 0) return p;
    const size_t k = edge == 1 ? j + 1 : j, l = edge == 2 ? i + 1 : i;
    const double a = field_.At(i, j), b = field_.At(l, k), share = (level_ - a) / (b - a);
    return {p.x + share * (field_.x[k] - p.x), p.y + share * (field_.y[l] - p.y)};
  }

  // Adds the edges of the part of a cell that is high, but those at edges of the cell that lie
  // between two cells: the other one has the same edge the other way round.
  void AddCell(size_t i, size_t j) {
    if (!HasCell(i, j)) return;
    const std::array<std::array<size_t, 2>, 4> corners = {
        {{i, j}, {i, j + 1}, {i + 1, j + 1}, {i + 1, j}}};
    const std::array<size_t, 4> crossings = {Id(i, j, 1), Id(i, j + 1, 2), Id(i + 1, j, 1),
                                             Id(i, j, 2)};
    // i - 1 and j - 1 are too large where there is none.
    const std::array<bool, 4> inner = {HasCell(i - 1, j), HasCell(i, j + 1), HasCell(i + 1, j),
                                       HasCell(i, j - 1)};
    std::array<bool, 4> high = {};
    double mean = 0;
    for (size_t k = 0; k < 4; ++k) {
      high[k] = IsHigh(corners[k][0], corners[k][1]);
      mean += field_.At(corners[k][0], corners[k][1]) / 4;
    }
    // Where the level is left, it is entered again at the next crossing; or at the one before, so
    // that each of two opposite high corners is alone, if the middle is low.
    const bool apart =
        high[0] == high[2] && high[1] == high[3] && high[0] != high[1] && mean < level_;
    for (size_t k = 0; k < 4; ++k) {
      const size_t after = (k + 1) % 4;
      if (!high[k] && !high[after]) continue;
      const size_t from = high[k] ? Id(corners[k][0], corners[k][1], 0) : crossings[k];
      const size_t to = high[after] ? Id(corners[after][0], corners[after][1], 0) : crossings[k];
      if (!inner[k]) next_.emplace(from, to);
      if (!high[k] || high[after]) continue;
      size_t entry = after;
      while (!high[(entry + 1) % 4]) entry = (entry + 1) % 4;
      if (apart) entry = (k + 3) % 4;
      next_.emplace(crossings[k], crossings[entry]);
    }
  }

  void AddOutline(LevelRegion& region) {
    std::vector<size_t> ids = {next_.begin()->first};
    while (true) {
      const auto edge = next_.find(ids.back());
      const size_t to = edge->second;
      next_.erase(edge);
      if (to == ids.front()) break;
      ids.push_back(to);
    }
    std::vector<Point>& outline = region.outlines.emplace_back();
    for (const size_t id : ids) outline.push_back(PlaceOfVertex(id));
    // Lines join crossings, and so do no edges of cells.
    const size_t n = ids.size();
    size_t begin = 0;
    while (begin < n && !IsCorner(ids[begin])) ++begin;
    if (begin == n) {
      region.lines.push_back(outline);
      region.lines.back().push_back(outline.front());
      return;
    }
    std::vector<Point> line;
    for (size_t k = 1; k <= n; ++k) {
      const size_t at = (begin + k) % n;
      if (!IsCorner(ids[at])) {
        line.push_back(outline[at]);
        continue;
      }
      if (line.size() > 1) region.lines.push_back(line);
      line.clear();
    }
  }

  const Field& field_;
  double level_;
  std::multimap<size_t, size_t> next_;  // from each vertex of an outline
};

}  // namespace

std::string Viridis(double share) {
  constexpr std::array<uint32_t, 11> kStops = {0x440154, 0x482475, 0x414487, 0x355f8d,
                                               0x2a788e, 0x21908d, 0x22a884, 0x42be71,
                                               0x7ad151, 0xbddf26, 0xfde725};
  const double at = std::clamp(share, 0.0, 1.0) * (kStops.size() - 1);
  const size_t below = std::min(static_cast<size_t>(at), kStops.size() - 2);
  const double part = at - static_cast<double>(below);
  uint32_t colour = 0;
  for (const int shift : {16, 8, 0}) {
    const double a = kStops[below] >> shift & 255, b = kStops[below + 1] >> shift & 255;
    colour |= static_cast<uint32_t>(std::lround(a + part * (b - a))) << shift;
  }
  return fmt::format("#{:06x}", colour);
}

LevelRegion RegionAbove(const Field& field, double level) { return Marcher(field, level).Run(); }

const std::string& Bands::ColourOf(double z) const {
  const auto above = std::upper_bound(levels.begin(), levels.end(), z);
  return colours[static_cast<size_t>(above - levels.begin())];
}

Bands BandsOf(const ContourChart& chart) {
  constexpr double kMostLevels = 12;
  const size_t columns = chart.x.size(), rows = chart.y.size();
  if (columns < 2 || rows < 2 || chart.z.size() != columns * rows) {
    throw Error(fmt::format("chart \"{}\": a grid of {} by {} with {} values", chart.title, columns,
                            rows, chart.z.size()));
  }
  if (!IsRising(chart.x) || !IsRising(chart.y)) {
    throw Error(fmt::format("chart \"{}\": the values of a grid's axis must rise", chart.title));
  }
  for (const ChartPath& p : chart.paths) {
    if (p.x.size() != p.y.size()) {
      throw Error(fmt::format("chart \"{}\", path \"{}\": {} values of x and {} of y", chart.title,
                              p.label, p.x.size(), p.y.size()));
    }
  }
  for (const ChartDots& d : chart.dots) {
    if (d.x.size() == d.y.size()) continue;
    throw Error(fmt::format("chart \"{}\", dots \"{}\": {} values of x and {} of y", chart.title,
                            d.label, d.x.size(), d.y.size()));
  }
  Bands bands{.logarithmic = chart.log_z};
  for (const double z : chart.z) {
    if (HasValue(chart, z)) bands.values.Add(z);
  }
  if (bands.values.IsEmpty()) {
    throw Error(fmt::format("chart \"{}\": there is nothing to draw", chart.title));
  }
  bands.levels = Levels(bands.values.low, bands.values.high, chart.log_z, kMostLevels);
  bands.texts = ValueTexts(bands.levels);
  const auto count = static_cast<double>(bands.levels.size() + 1);
  for (double k = 0; k < count; ++k) bands.colours.push_back(Viridis((k + 0.5) / count));
  return bands;
}

Field FieldOf(const ContourChart& chart) {
  Field field{.x = chart.x, .y = chart.y, .z = chart.z};
  for (double& z : field.z) {
    z = !HasValue(chart, z) ? std::numeric_limits<double>::quiet_NaN()
        : chart.log_z       ? std::log(z)
                            : z;
  }
  return field;
}

}  // namespace kudari::lab
