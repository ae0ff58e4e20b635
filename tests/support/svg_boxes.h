#ifndef KUDARI_TESTS_SUPPORT_SVG_BOXES_H_
#define KUDARI_TESTS_SUPPORT_SVG_BOXES_H_

#include <string>
#include <vector>

#include "lab/draw/svg.h"
#include "tests/support/read_svg.h"

namespace kudari::testing {

/// The box that a text of a picture takes, from its capitals' top to its baseline.
inline lab::Box BoxOf(const PlacedText& text) {
  const double width = lab::TextWidth(text.text, text.size);
  const double left = text.at.x - (text.anchor == "end"      ? width
                                   : text.anchor == "middle" ? width / 2
                                                             : 0);
  return {left, text.at.y - 0.72 * text.size, left + width, text.at.y};
}

/// The pairs of texts of a picture that overlap, as "a | b", and the texts that leave the page.
inline std::vector<std::string> TextFaults(const std::string& svg) {
  const std::vector<PlacedText> texts = PlacedTextsOf(svg);
  const pugi::xml_document document = ParseSvg(svg);
  const pugi::xml_node root = document.child("svg");
  const double width = root.attribute("width").as_double();
  const double height = root.attribute("height").as_double();
  std::vector<std::string> faults;
  for (size_t i = 0; i < texts.size(); ++i) {
    const lab::Box a = BoxOf(texts[i]);
    if (a.left < 0 || a.top < 0 || a.right > width || a.bottom > height) {
      faults.push_back(texts[i].text + " leaves the page");
    }
    for (size_t k = 0; k < i; ++k) {
      const lab::Box b = BoxOf(texts[k]);
      if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) {
        faults.push_back(texts[k].text + " | " + texts[i].text);
      }
    }
  }
  return faults;
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_SVG_BOXES_H_
