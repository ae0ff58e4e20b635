#ifndef KUDARI_LAB_DRAW_PLOT_H_
#define KUDARI_LAB_DRAW_PLOT_H_

#include <string>
#include <string_view>
#include <vector>

#include "lab/draw/axis.h"
#include "lab/draw/geometry.h"
#include "lab/draw/line_style.h"
#include "lab/draw/svg.h"

namespace kudari::lab {

/// Pixels between a picture's edge and what is in it, and from one line of text to the next.
inline constexpr double kPageEdge = 16, kTextRow = 20;
/// From the top of a plot to where its y label begins, and from its bottom to the end of what
/// stands below: ticks, and an x label.
inline constexpr double kAboveY = 26, kBelowTicks = 24, kBelowX = 50;
/// Grey, darker than the grid.
inline constexpr const char* kAxisColour = "#9aa0a6";
inline constexpr const char* kQuietText = "#57606a";

/// Writes a picture's title at its top, smaller or cut if it is longer than the picture is wide;
/// returns where what follows begins.
double DrawTitle(SvgElement svg, const std::string& title, double width);

/// A plot's place, axes and their labels.
struct PlotFrame {
  Box box = {};
  Scale x, y;
  std::vector<Tick> x_ticks = {}, y_ticks = {};
  std::string x_label = "", y_label = "";
  double label_left = kPageEdge;  ///< where the y label begins, above the plot
  bool grid = true;               ///< light lines at the y ticks
  double text_size = 12;          ///< of the ticks
};

/// Draws axes, the grid and ticks. Texts of the x axis that would touch each other are left out.
void DrawFrame(SvgElement svg, const PlotFrame& frame);

/// Writes a frame's y label, which may have to stand on what was drawn later than the frame.
void DrawYLabel(SvgElement svg, const PlotFrame& frame);

/// The width of the widest of some ticks' texts.
double TickWidth(const std::vector<Tick>& ticks, double size = 12);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_PLOT_H_
