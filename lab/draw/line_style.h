#ifndef KUDARI_LAB_DRAW_LINE_STYLE_H_
#define KUDARI_LAB_DRAW_LINE_STYLE_H_

#include <cstddef>
#include <string>

namespace kudari::lab {

/// What the k-th line looks like: Okabe and Ito's colours, which the colour-blind can tell apart,
/// then the same ones dashed.
struct LineStyle {
  std::string colour = {}, dashes = {};
  std::string text = {};  ///< the colour of its label, as dark as small text must be
};
LineStyle StyleOf(size_t k);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_LINE_STYLE_H_
