#ifndef KUDARI_LAB_DRAW_PNG_H_
#define KUDARI_LAB_DRAW_PNG_H_

#include <string>

namespace kudari::lab {

/// The bytes of a PNG of an SVG document, with twice as many pixels to each side, so that it is
/// sharp where it is printed or enlarged. Throws Error if librsvg is not installed (saying how to
/// get it), or with what it says if it cannot draw the document.
std::string PngOfSvg(const std::string& svg);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_PNG_H_
