#ifndef KUDARI_TESTS_SUPPORT_SVG_H_
#define KUDARI_TESTS_SUPPORT_SVG_H_

#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

namespace kudari::testing {

/// The texts of a picture that gnuplot drew, as they stand in it, without spaces around them.
inline std::vector<std::string> TextsOf(const std::string& svg) {
  const std::string open = "<text>", close = "</text>";
  std::vector<std::string> texts;
  for (size_t at = svg.find(open); at != std::string::npos; at = svg.find(open, at)) {
    at += open.size();
    std::string text = svg.substr(at, svg.find(close, at) - at);
    text.erase(0, text.find_first_not_of(' '));
    if (!text.empty()) texts.push_back(text);
  }
  return texts;
}

/// A place in a picture, in pixels from its upper left corner.
struct Place {
  double x = 0, y = 0;
};

/// Where a text of the picture is anchored; throws if it is not there.
inline Place PlaceOf(const std::string& svg, const std::string& text) {
  size_t at = svg.find("<text>" + text + "</text>");
  if (at == std::string::npos) at = svg.find("<text> " + text + "</text>");
  const std::string translate = "translate(";
  Place place;
  if (at == std::string::npos || std::sscanf(svg.c_str() + svg.rfind(translate, at),
                                             "translate(%lf,%lf", &place.x, &place.y) != 2) {
    throw std::runtime_error("no text \"" + text + "\"");
  }
  return place;
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_SVG_H_
