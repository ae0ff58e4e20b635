#ifndef KUDARI_TESTS_SUPPORT_READ_SVG_H_
#define KUDARI_TESTS_SUPPORT_READ_SVG_H_

#include <cstdlib>
#include <pugixml.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace kudari::testing {

/// A place in a picture, in pixels from its upper left corner.
struct Place {
  double x = 0, y = 0;
};

/// A text of a picture, and where it is anchored.
struct PlacedText {
  std::string text;
  Place at;
  double size = 13;
  std::string anchor;  ///< "", "middle" or "end"
};

/// Reads a picture; throws if it is not XML.
inline pugi::xml_document ParseSvg(const std::string& svg) {
  pugi::xml_document document;
  const pugi::xml_parse_result result = document.load_string(svg.c_str());
  if (!result) throw std::runtime_error(std::string("not XML: ") + result.description());
  return document;
}

/// How far a node is moved by the pictures within the picture that hold it.
inline Place OffsetOf(pugi::xml_node node) {
  Place offset;
  for (node = node.parent(); node; node = node.parent()) {
    offset.x += node.attribute("x").as_double();
    offset.y += node.attribute("y").as_double();
  }
  return offset;
}

/// All texts of a picture that are not empty, in their order.
inline std::vector<PlacedText> PlacedTextsOf(const std::string& svg) {
  const pugi::xml_document document = ParseSvg(svg);
  std::vector<PlacedText> texts;
  for (const pugi::xpath_node& found : document.select_nodes("//text")) {
    const pugi::xml_node node = found.node();
    const std::string text = node.text().get();
    if (text.empty()) continue;
    const Place offset = OffsetOf(node);
    texts.push_back(
        {text,
         {offset.x + node.attribute("x").as_double(), offset.y + node.attribute("y").as_double()},
         node.attribute("font-size").as_double(13),
         node.attribute("text-anchor").as_string()});
  }
  return texts;
}

/// The texts of a picture.
inline std::vector<std::string> TextsOf(const std::string& svg) {
  std::vector<std::string> texts;
  for (const PlacedText& t : PlacedTextsOf(svg)) texts.push_back(t.text);
  return texts;
}

/// Where a text of the picture is anchored; throws if it is not there.
inline Place PlaceOf(const std::string& svg, const std::string& text) {
  for (const PlacedText& t : PlacedTextsOf(svg)) {
    if (t.text == text) return t.at;
  }
  throw std::runtime_error("no text \"" + text + "\"");
}

/// The points of a path that is one line: "M1 2l3 4-5 6".
inline std::vector<Place> PointsOf(const std::string& data) {
  std::vector<Place> points;
  std::vector<double> numbers;
  for (const char* at = data.c_str(); *at != '\0';) {
    char* end = nullptr;
    const double number = std::strtod(at, &end);
    if (end == at) {
      ++at;  // a letter, or the space between two numbers
      continue;
    }
    at = end;
    numbers.push_back(number);
    if (numbers.size() < 2) continue;
    const Place before = points.empty() ? Place() : points.back();
    points.push_back({before.x + numbers[0], before.y + numbers[1]});
    numbers.clear();
  }
  return points;
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_READ_SVG_H_
