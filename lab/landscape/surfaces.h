#ifndef KUDARI_LAB_LANDSCAPE_SURFACES_H_
#define KUDARI_LAB_LANDSCAPE_SURFACES_H_

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kudari::lab {

/// A place in the plane, or the slope there.
struct Position {
  double x = 0, y = 0;
};

/// A function of two variables that optimisers are shown on, with its exact gradient.
struct Surface {
  std::string_view name, formula, shows;  ///< `shows` is one sentence on what it is good for
  Position low, high;                     ///< corners of the part that is drawn
  Position start;                         ///< where runs begin unless they are told otherwise
  std::vector<Position> minima = {};      ///< its lowest places; none if it has no lower bound
  double lowest = 0;                      ///< the value there, or the least that is drawn
  bool log_levels = false;                ///< contours go by the logarithm of what is above lowest
  double (*loss)(Position) = nullptr;
  Position (*gradient)(Position) = nullptr;
};

/// All surfaces, in the order in which help lists them.
std::span<const Surface> Surfaces();

/// The surface with that name. Throws UsageError with the nearest name.
const Surface& FindSurface(std::string_view name);

/// Whether a place is in the part that is drawn.
bool IsInside(const Surface& surface, Position at);

/// The diagonal of the Hessian, from central differences of the gradient.
Position Curvature(const Surface& surface, Position at);

/// Heights over a rectangle, row by row from below, at the middles of its cells.
struct HeightGrid {
  std::vector<double> x = {}, y = {}, height = {};
};
HeightGrid GridOf(const std::function<double(Position)>& height, Position low, Position high,
                  size_t columns, size_t rows);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_LANDSCAPE_SURFACES_H_
