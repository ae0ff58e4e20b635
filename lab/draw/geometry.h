#ifndef KUDARI_LAB_DRAW_GEOMETRY_H_
#define KUDARI_LAB_DRAW_GEOMETRY_H_

#include <span>
#include <vector>

namespace kudari::lab {

/// A place in a picture, in pixels from its upper left corner.
struct Point {
  double x = 0, y = 0;
};

/// A rectangle of a picture, in pixels.
struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;

  double Width() const { return right - left; }
  double Height() const { return bottom - top; }
  bool Contains(Point p) const {
    return p.x >= left && p.x <= right && p.y >= top && p.y <= bottom;
  }
};

/// A part of a line: its points, and for each of them where it lies on the whole line, which
/// reaches its k-th point at time k.
struct LinePiece {
  std::vector<Point> points = {};
  std::vector<double> times = {};
};

/// The parts of a line within a box. A point that is not finite leaves a gap.
std::vector<LinePiece> ClipLine(std::span<const Point> line, const Box& box);

/// The points of a line that are needed to draw it within `tolerance` pixels, by Douglas and
/// Peucker's method; the first and the last are.
std::vector<Point> Simplified(std::span<const Point> line, double tolerance);

/// The length of a line up to each of its points.
std::vector<double> LengthsAlong(std::span<const Point> line);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_GEOMETRY_H_
