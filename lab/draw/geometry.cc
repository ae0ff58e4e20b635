#include "lab/draw/geometry.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace kudari::lab {
namespace {

Point Between(Point a, Point b, double share) {
  return {a.x + share * (b.x - a.x), a.y + share * (b.y - a.y)};
}

// The distance of p from the segment between a and b.
double DistanceTo(Point a, Point b, Point p) {
  const double length = std::hypot(b.x - a.x, b.y - a.y);
  if (length == 0) return std::hypot(p.x - a.x, p.y - a.y);
  const double along = ((p.x - a.x) * (b.x - a.x) + (p.y - a.y) * (b.y - a.y)) / (length * length);
  const Point nearest = Between(a, b, std::clamp(along, 0.0, 1.0));
  return std::hypot(p.x - nearest.x, p.y - nearest.y);
}

// Liang and Barsky's method: which shares of the way from a to b are in the box; the second is
// less than the first if none is.
std::pair<double, double> SharesInside(Point a, Point b, const Box& box) {
  double first = 0, last = 1;
  const auto limit = [&](double from, double to, double low, double high) {
    const double step = to - from;
    if (step == 0) {
      if (from < low || from > high) last = -1;
      return;
    }
    const double enter = ((step > 0 ? low : high) - from) / step;
    const double leave = ((step > 0 ? high : low) - from) / step;
    first = std::max(first, enter);
    last = std::min(last, leave);
  };
  limit(a.x, b.x, box.left, box.right);
  limit(a.y, b.y, box.top, box.bottom);
  return {first, last};
}

}  // namespace

std::vector<LinePiece> ClipLine(std::span<const Point> line, const Box& box) {
  std::vector<LinePiece> pieces;
  bool open = false;  // the last piece ends where the next segment begins
  const auto finite = [&](size_t k) {
    return std::isfinite(line[k].x) && std::isfinite(line[k].y);
  };
  for (size_t k = 0; k < line.size(); ++k) {
    if (!finite(k)) {
      open = false;
      continue;
    }
    if (k == 0 || !finite(k - 1)) {
      const bool alone = k + 1 == line.size() || !finite(k + 1);
      if (alone && box.Contains(line[k])) {
        pieces.push_back({{line[k]}, {static_cast<double>(k)}});
      }
      continue;
    }
    const auto [first, last] = SharesInside(line[k - 1], line[k], box);
    if (last < first) {
      open = false;
      continue;
    }
    const double time = static_cast<double>(k - 1);
    if (!open || first > 0) {
      pieces.push_back({{Between(line[k - 1], line[k], first)}, {time + first}});
    }
    pieces.back().points.push_back(last < 1 ? Between(line[k - 1], line[k], last) : line[k]);
    pieces.back().times.push_back(time + last);
    open = last == 1;
  }
  return pieces;
}

std::vector<Point> Simplified(std::span<const Point> line, double tolerance) {
  if (line.size() < 3) return {line.begin(), line.end()};
  std::vector<bool> kept(line.size(), false);
  kept.front() = kept.back() = true;
  std::vector<std::pair<size_t, size_t>> open = {{0, line.size() - 1}};
  while (!open.empty()) {
    const auto [first, last] = open.back();
    open.pop_back();
    size_t farthest = first;
    double most = tolerance;
    for (size_t k = first + 1; k < last; ++k) {
      const double distance = DistanceTo(line[first], line[last], line[k]);
      if (distance > most) {
        most = distance;
        farthest = k;
      }
    }
    if (farthest == first) continue;
    kept[farthest] = true;
    open.emplace_back(first, farthest);
    open.emplace_back(farthest, last);
  }
  std::vector<Point> points;
  for (size_t k = 0; k < line.size(); ++k) {
    if (kept[k]) points.push_back(line[k]);
  }
  return points;
}

std::vector<double> LengthsAlong(std::span<const Point> line) {
  std::vector<double> lengths;
  double length = 0;
  for (size_t k = 0; k < line.size(); ++k) {
    if (k > 0) length += std::hypot(line[k].x - line[k - 1].x, line[k].y - line[k - 1].y);
    lengths.push_back(length);
  }
  return lengths;
}

}  // namespace kudari::lab
