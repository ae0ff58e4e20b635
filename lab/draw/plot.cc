#include "lab/draw/plot.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kudari::lab {
namespace {

constexpr const char* kGridColour = "#e6e8eb";
constexpr double kTickLength = 4;

// Lines on pixels are sharp when they lie in the middle of them.
double Sharp(double x) { return std::floor(x) + 0.5; }

}  // namespace

double DrawTitle(SvgElement svg, const std::string& title, double width) {
  constexpr double kBaseline = 27, kHeight = 42, kLargest = 16, kSmallest = 12, kBold = 1.08;
  if (title.empty()) return kPageEdge;
  const double room = (width - 2 * kPageEdge) / kBold;
  const double size =
      std::clamp(std::floor(kLargest * room / TextWidth(title, kLargest)), kSmallest, kLargest);
  svg.Text({kPageEdge, kBaseline}, FittedText(title, size, room), {.size = size, .semibold = true});
  return kHeight;
}

double TickWidth(const std::vector<Tick>& ticks, double size) {
  double width = 0;
  for (const Tick& t : ticks) width = std::max(width, TextWidth(t.text, size));
  return width;
}

void DrawFrame(SvgElement svg, const PlotFrame& frame) {
  constexpr double kApart = 8, kLabelDrop = 40;
  const Box& box = frame.box;
  const Paint axis{.stroke = kAxisColour};
  const TextStyle text{.size = frame.text_size, .colour = kQuietText};
  SvgElement group = svg.Group("axes");
  for (const Tick& t : frame.y_ticks) {
    const double y = Sharp(frame.y(t.value));
    if (frame.grid) {
      group.Line({box.left, y}, {box.right, y}, {.stroke = kGridColour});
    }
    group.Line({box.left - kTickLength, y}, {box.left, y}, axis);
    TextStyle style = text;
    style.anchor = Anchor::kEnd;
    group.Text({box.left - kTickLength - 3, frame.y(t.value) + 0.35 * text.size}, t.text, style);
  }
  group.Line({Sharp(box.left), box.top}, {Sharp(box.left), box.bottom}, axis);
  group.Line({box.left, Sharp(box.bottom)}, {box.right, Sharp(box.bottom)}, axis);
  double taken = -std::numeric_limits<double>::infinity();
  for (const Tick& t : frame.x_ticks) {
    const double x = frame.x(t.value), half = TextWidth(t.text, text.size) / 2;
    group.Line({Sharp(x), box.bottom}, {Sharp(x), box.bottom + kTickLength}, axis);
    if (x - half < taken + kApart) continue;
    taken = x + half;
    TextStyle style = text;
    style.anchor = Anchor::kMiddle;
    group.Text({x, box.bottom + kTickLength + 2 + text.size}, t.text, style);
  }
  if (!frame.x_label.empty()) {
    group.Text({(box.left + box.right) / 2, box.bottom + kLabelDrop}, frame.x_label,
               {.anchor = Anchor::kMiddle});
  }
}

void DrawYLabel(SvgElement svg, const PlotFrame& frame) {
  if (frame.y_label.empty()) return;
  svg.Text({frame.label_left, frame.box.top - 12}, frame.y_label, {.halo = true});
}

}  // namespace kudari::lab
