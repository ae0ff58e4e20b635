#include "lab/draw/svg.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <sstream>

#include "kudari/messages.h"

namespace kudari::lab {
namespace {

constexpr const char* kTypefaces =
    "Inter, 'Helvetica Neue', Arial, 'Noto Sans', 'Noto Sans CJK JP', sans-serif";

// Of the characters from the space to the tilde in DejaVu Sans, in hundredths of the size; Inter
// and Arial are narrower.
constexpr std::array<uint8_t, 95> kWidths = {
    32, 41, 46, 84, 64, 95, 78, 28, 39,  39, 50, 84, 32, 37, 32, 34, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 64, 34, 34, 84, 84, 84, 54, 100, 69, 69, 70, 77, 64, 58, 78, 76, 30, 30, 66, 56, 87, 75, 79,
    61, 79, 70, 64, 62, 74, 69, 99, 69,  62, 69, 39, 34, 39, 84, 50, 50, 62, 64, 55, 64, 62, 36, 64,
    64, 28, 28, 58, 28, 98, 64, 62, 64,  64, 42, 53, 40, 64, 60, 82, 60, 60, 53, 64, 34, 64, 84};

// The width of the character that begins with a byte of UTF-8, in hundredths of the size; 0 for a
// byte within one.
double WidthOf(unsigned char lead) {
  constexpr unsigned char kThreeBytes = 0xe0, kIdeographs = 0xe3;
  if (lead >= ' ' && lead <= '~') return kWidths[lead - ' '];
  if ((lead & 0xc0) == 0x80) return 0;
  if (lead >= kIdeographs) return 100;
  return lead >= kThreeBytes ? 84 : 64;
}

// One line of text that XML can hold.
std::string SafeText(std::string_view text) {
  std::string safe = Printable(text);
  for (char& c : safe) {
    if (c == '\n' || c == '\t' || c == '\r') c = ' ';
  }
  return safe;
}

void SetPaint(SvgElement& element, const Paint& paint) {
  element.Set("fill", paint.fill.empty() ? "none" : paint.fill);
  if (!paint.stroke.empty()) {
    element.Set("stroke", paint.stroke);
    if (paint.width != 1) element.Set("stroke-width", paint.width);
    if (!paint.dashes.empty()) element.Set("stroke-dasharray", paint.dashes);
  }
  if (paint.opacity != 1) element.Set("opacity", paint.opacity);
}

}  // namespace

std::string ShortNumber(double x, int decimals) {
  std::string text = fmt::format("{:.{}f}", x, decimals);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text == "-0" ? "0" : text;
}

double TextWidth(std::string_view text, double size) {
  double width = 0;
  for (const char c : text) width += WidthOf(static_cast<unsigned char>(c));
  return width * size / 100;
}

std::string FittedText(std::string_view text, double size, double width) {
  std::string fitted(text);
  if (TextWidth(fitted, size) <= width) return fitted;
  while (!fitted.empty() && TextWidth(fitted, size) + size > width) {
    while ((static_cast<unsigned char>(fitted.back()) & 0xc0) == 0x80) fitted.pop_back();
    fitted.pop_back();
  }
  return fitted + "…";
}

SvgElement SvgElement::Add(const char* name) { return SvgElement(node_.append_child(name)); }

SvgElement& SvgElement::Set(const char* name, std::string_view value) {
  node_.append_attribute(name).set_value(std::string(value).c_str());
  return *this;
}

SvgElement& SvgElement::Set(const char* name, double value) {
  return Set(name, ShortNumber(value));
}

SvgElement SvgElement::Group(const char* class_name) {
  SvgElement group = Add("g");
  if (*class_name != '\0') group.Set("class", class_name);
  return group;
}

SvgElement SvgElement::Path(const std::string& data, const Paint& paint) {
  SvgElement path = Add("path");
  path.Set("d", data);
  SetPaint(path, paint);
  return path;
}

SvgElement SvgElement::Line(Point a, Point b, const Paint& paint) {
  SvgElement line = Add("line");
  line.Set("x1", a.x).Set("y1", a.y).Set("x2", b.x).Set("y2", b.y);
  SetPaint(line, paint);
  return line;
}

SvgElement SvgElement::Circle(Point centre, double radius, const Paint& paint) {
  SvgElement circle = Add("circle");
  circle.Set("cx", centre.x).Set("cy", centre.y).Set("r", radius);
  SetPaint(circle, paint);
  return circle;
}

SvgElement SvgElement::Rect(const Box& box, const Paint& paint) {
  SvgElement rect = Add("rect");
  rect.Set("x", box.left).Set("y", box.top).Set("width", box.Width()).Set("height", box.Height());
  SetPaint(rect, paint);
  return rect;
}

SvgElement SvgElement::Text(Point at, std::string_view text, const TextStyle& style) {
  SvgElement element = Add("text");
  element.Set("x", at.x).Set("y", at.y);
  if (style.anchor != Anchor::kStart) {
    element.Set("text-anchor", style.anchor == Anchor::kMiddle ? "middle" : "end");
  }
  if (style.size != TextStyle().size) element.Set("font-size", style.size);
  if (style.colour != TextStyle().colour) element.Set("fill", style.colour);
  if (style.semibold) element.Set("font-weight", "600");
  if (style.halo) {
    element.Set("stroke", "white").Set("stroke-width", "3").Set("stroke-linejoin", "round");
    element.Set("paint-order", "stroke");
  }
  element.SetText(SafeText(text));
  return element;
}

void SvgElement::SetText(const std::string& text) { node_.text().set(text.c_str()); }

std::string PathData(std::span<const Point> points, bool closed) {
  // In tenths of a pixel, so that the steps between rounded places add up to them.
  std::string data;
  int64_t x = 0, y = 0;
  const auto number = [&](int64_t tenths) {
    const std::string text = ShortNumber(static_cast<double>(tenths) / 10, 1);
    const bool joined = data.back() < '0' || data.back() > '9' || text.front() == '-';
    data += joined ? text : " " + text;
  };
  for (const Point& p : points) {
    const int64_t to_x = std::llround(10 * p.x), to_y = std::llround(10 * p.y);
    const bool first = data.empty();
    if (!first && to_x == x && to_y == y && points.size() > 2) continue;
    // Further pairs of a move are lines.
    if (first) data += 'M';
    if (!first && data.find('l') == std::string::npos) data += 'l';
    number(to_x - x);
    number(to_y - y);
    x = to_x;
    y = to_y;
  }
  if (closed) data += 'z';
  return data;
}

SvgDocument::SvgDocument(double width, double height, std::string_view title,
                         std::string_view description) {
  SvgElement svg(document_.append_child("svg"));
  svg.Set("xmlns", "http://www.w3.org/2000/svg").Set("width", width).Set("height", height);
  svg.Set("viewBox", fmt::format("0 0 {} {}", ShortNumber(width), ShortNumber(height)));
  svg.Set("role", "img").Set("font-family", kTypefaces).Set("font-size", TextStyle().size);
  svg.Set("fill", TextStyle().colour);
  svg.Add("title").SetText(SafeText(title));
  svg.Add("desc").SetText(SafeText(description));
  svg.Rect({0, 0, width, height}, {.fill = "white"});
}

SvgElement SvgDocument::root() { return SvgElement(document_.first_child()); }

std::string SvgDocument::Text() const {
  std::ostringstream text;
  document_.save(text, "", pugi::format_indent | pugi::format_no_declaration);
  return text.str();
}

}  // namespace kudari::lab
