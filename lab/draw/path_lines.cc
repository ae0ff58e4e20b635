#include "lab/draw/path_lines.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace kudari::lab {
namespace {

constexpr const char* kDuration = "8s";
constexpr double kMoving = 0.8;  // of the duration; then the picture rests
constexpr double kEndDot = 4.5;
constexpr double kPathTolerance = 0.1;  // pixels that a drawn line may be off

// Times of an animation as shares of its duration, and how much of a line's length is drawn then.
struct KeyFrames {
  std::string times = {};
  std::vector<double> shares = {};

  void Add(double time, double share) {
    times += (times.empty() ? "" : ";") + ShortNumber(time, 4);
    shares.push_back(share);
  }
};

// For a piece of a line of `count` points.
KeyFrames FramesOf(const LinePiece& piece, size_t count) {
  constexpr size_t kMostFrames = 60;
  const std::vector<double> lengths = LengthsAlong(piece.points);
  const double whole = std::max(lengths.back(), 1e-9);
  const double last = std::max(1.0, static_cast<double>(count) - 1);
  const size_t every = std::max<size_t>(1, lengths.size() / kMostFrames);
  KeyFrames frames;
  if (piece.times.front() > 0) frames.Add(0, 0);
  for (size_t k = 0; k < lengths.size(); k += every) {
    frames.Add(kMoving * piece.times[k] / last, lengths[k] / whole);
  }
  frames.Add(kMoving * piece.times.back() / last, 1);
  frames.Add(1, 1);
  return frames;
}

SvgElement Animation(SvgElement element, const char* name, const KeyFrames& frames) {
  SvgElement animation = element.Add(name);
  animation.Set("dur", kDuration).Set("repeatCount", "indefinite").Set("calcMode", "linear");
  animation.Set("keyTimes", frames.times);
  return animation;
}

template <class F>
std::string JoinedShares(const KeyFrames& frames, int decimals, const F& value) {
  std::string text;
  for (const double share : frames.shares) {
    text += (text.empty() ? "" : ";") + ShortNumber(value(share), decimals);
  }
  return text;
}

// One dash is as long as the line, and moves in from before its beginning.
void AnimateLine(SvgElement line, const KeyFrames& frames, double length) {
  const double dash = std::ceil(length) + 1;
  line.Set("class", "kudari-drawn").Set("stroke-dasharray", dash);
  Animation(line, "animate", frames)
      .Set("attributeName", "stroke-dashoffset")
      .Set("values", JoinedShares(frames, 1, [&](double share) { return dash * (1 - share); }));
}

// A dot at the end of a piece, which comes from its beginning.
void AddMovingDot(SvgElement svg, const std::vector<Point>& line, const KeyFrames& frames,
                  const Paint& paint) {
  const Point end = line.back();
  svg.Circle(end, kEndDot, paint).Set("class", "kudari-still");
  SvgElement dot = svg.Circle(end, kEndDot, paint);
  dot.Set("class", "kudari-moving");
  std::vector<Point> way;
  for (const Point& p : line) way.push_back({p.x - end.x, p.y - end.y});
  Animation(dot, "animateMotion", frames)
      .Set("keyPoints", JoinedShares(frames, 4, [](double share) { return share; }))
      .Set("path", PathData(way));
}

}  // namespace

void DrawPathLine(SvgElement svg, std::span<const Point> line, const Box& box,
                  const PathLook& look) {
  constexpr double kWidth = 2.2, kCasing = 4.8, kStep = 2.6;
  constexpr size_t kMostSteps = 80;
  const LineStyle& style = look.style;
  for (const LinePiece& piece : ClipLine(line, box)) {
    const std::vector<Point> drawn = Simplified(piece.points, kPathTolerance);
    const KeyFrames frames = FramesOf(piece, line.size());
    const auto add = [&](const Paint& paint) {
      SvgElement path = svg.Path(PathData(drawn), paint);
      path.Set("stroke-linejoin", "round");
      if (look.animated) AnimateLine(path, frames, LengthsAlong(drawn).back());
    };
    if (look.casing) add({.stroke = "white", .width = kCasing, .opacity = 0.85});
    add({.stroke = style.colour,
         .width = kWidth,
         .dashes = look.animated ? std::string() : style.dashes});
  }
  if (look.steps && !look.animated && line.size() <= kMostSteps) {
    for (const Point& p : line) {
      if (box.Contains(p)) svg.Circle(p, kStep, {.fill = style.colour});
    }
  }
}

void DrawPathEnds(SvgElement svg, std::span<const Point> line, const Box& box,
                  const PathLook& look) {
  constexpr double kRing = 4.5;
  const Paint dot{.fill = look.style.colour, .stroke = "white", .width = 1.5};
  const std::vector<LinePiece> pieces = ClipLine(line, box);
  if (pieces.empty()) return;
  if (box.Contains(line.front())) {
    svg.Circle(line.front(), kRing, {.fill = "white", .stroke = look.style.colour, .width = 2});
  }
  const LinePiece& last = pieces.back();
  if (last.times.back() != std::floor(last.times.back())) return;  // it ends at the edge
  if (look.animated) {
    AddMovingDot(svg, Simplified(last.points, kPathTolerance), FramesOf(last, line.size()), dot);
  } else {
    svg.Circle(last.points.back(), kEndDot, dot);
  }
}

void AddAnimationStyle(SvgElement svg) {
  svg.Add("style").SetText(
      ".kudari-still{display:none}"
      "@media(prefers-reduced-motion:reduce){.kudari-still{display:inline}"
      ".kudari-moving{display:none}.kudari-drawn{stroke-dasharray:none}}");
}

}  // namespace kudari::lab
