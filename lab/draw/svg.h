#ifndef KUDARI_LAB_DRAW_SVG_H_
#define KUDARI_LAB_DRAW_SVG_H_

#include <pugixml.hpp>
#include <span>
#include <string>
#include <string_view>

#include "lab/draw/geometry.h"

namespace kudari::lab {

/// A number with at most that many decimals, without zeros at the end.
std::string ShortNumber(double x, int decimals = 2);

/// How wide a text is, in pixels, in the widest of the typefaces that pictures name; an estimate
/// for characters beyond ASCII.
double TextWidth(std::string_view text, double size);

/// A text cut to a width, with an ellipsis at its end if it was longer.
std::string FittedText(std::string_view text, double size, double width);

/// How a shape is filled and outlined; nothing is where the colour is empty.
struct Paint {
  std::string fill = {}, stroke = {};
  double width = 1;         ///< of the outline
  double opacity = 1;       ///< of all of it
  std::string dashes = {};  ///< of the outline, as SVG's stroke-dasharray
};

enum class Anchor { kStart, kMiddle, kEnd };

/// How a text is set. Its halo is white and keeps it apart from what is behind it.
struct TextStyle {
  double size = 13;
  std::string colour = "#24292f";
  Anchor anchor = Anchor::kStart;
  bool semibold = false, halo = false;
};

/// An element of a document, to which others are added; it is valid as long as the document.
class SvgElement {
 public:
  explicit SvgElement(pugi::xml_node node) : node_(node) {}

  /// Adds an element by that name, for what has no function of its own.
  SvgElement Add(const char* name);
  /// Adds a copy of an element of another document, with all that is in it.
  SvgElement AddCopy(const pugi::xml_node& element) {
    return SvgElement(node_.append_copy(element));
  }
  /// A group, with a class for style sheets unless it is empty.
  SvgElement Group(const char* class_name = "");
  /// A path by its data, such as PathData's.
  SvgElement Path(const std::string& data, const Paint& paint);
  SvgElement Line(Point a, Point b, const Paint& paint);
  SvgElement Circle(Point centre, double radius, const Paint& paint);
  SvgElement Rect(const Box& box, const Paint& paint);
  /// A text whose baseline begins, has its middle or ends at a point. What cannot be printed is
  /// escaped as \x1b and the like.
  SvgElement Text(Point at, std::string_view text, const TextStyle& style = {});

  /// Gives the element a text, as it is.
  void SetText(const std::string& text);
  SvgElement& Set(const char* name, std::string_view value);
  SvgElement& Set(const char* name, double value);

 private:
  pugi::xml_node node_;
};

/// The data of a path along points, closed or not, with one decimal.
std::string PathData(std::span<const Point> points, bool closed = false);

/// A picture as SVG: white, of a size in pixels, with a title and a description for readers that
/// cannot see it.
class SvgDocument {
 public:
  SvgDocument(double width, double height, std::string_view title, std::string_view description);

  SvgElement root();
  /// The whole document; the same bytes for the same elements.
  std::string Text() const;

 private:
  pugi::xml_document document_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_SVG_H_
