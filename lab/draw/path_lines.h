#ifndef KUDARI_LAB_DRAW_PATH_LINES_H_
#define KUDARI_LAB_DRAW_PATH_LINES_H_

#include <span>
#include <vector>

#include "lab/draw/geometry.h"
#include "lab/draw/plot.h"
#include "lab/draw/svg.h"

namespace kudari::lab {

/// How a line that begins and ends somewhere is drawn.
struct PathLook {
  LineStyle style = {};
  bool casing = true;     ///< white at both sides, so that it is seen over every colour
  bool steps = true;      ///< small dots at its points, if they are few
  bool animated = false;  ///< it draws itself at the pace of its points, again and again
};

/// Draws a line within a box.
void DrawPathLine(SvgElement svg, std::span<const Point> line, const Box& box,
                  const PathLook& look);

/// Draws a ring where a line begins and a dot where it ends, those that lie in the box; the dot of
/// an animated line moves along it.
void DrawPathEnds(SvgElement svg, std::span<const Point> line, const Box& box,
                  const PathLook& look);

/// The style sheet of documents with animated lines: readers that should not move anything show
/// them finished.
void AddAnimationStyle(SvgElement svg);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_PATH_LINES_H_
