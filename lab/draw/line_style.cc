#include "lab/draw/line_style.h"

#include <array>

namespace kudari::lab {

LineStyle StyleOf(size_t k) {
  constexpr std::array kColours = {"#0072B2", "#D55E00", "#009E73",
                                   "#CC79A7", "#E69F00", "#56B4E9"};
  constexpr std::array kTexts = {"#0067A3", "#B84F00", "#007D5A", "#A8527F", "#8F6300", "#2576A8"};
  constexpr std::array kDashes = {"", "6 3", "2 3", "9 3 2 3"};
  const size_t colour = k % kColours.size();
  return {kColours[colour], kDashes[k / kColours.size() % kDashes.size()], kTexts[colour]};
}

}  // namespace kudari::lab
