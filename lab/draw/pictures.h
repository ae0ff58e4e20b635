#ifndef KUDARI_LAB_DRAW_PICTURES_H_
#define KUDARI_LAB_DRAW_PICTURES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "lab/files/decode_image.h"

namespace kudari::lab {

/// A rectangle in a picture, in its pixels, with a label above it.
struct PictureFrame {
  double left = 0, top = 0, right = 0, bottom = 0;
  std::string label = {};
  int64_t colour = 0;  ///< frames of one number have one colour
};

/// A picture with a text above it and frames in it.
struct FramedPicture {
  Image image = {};
  std::string caption = {};
  std::vector<PictureFrame> frames = {};
};

/// Pictures below each other as SVG, complete in itself. Small ones are shown larger.
std::string PicturesSvg(const std::vector<FramedPicture>& pictures);

/// Images of one size, at least one, in rows of `columns`, with margins between them. Small ones
/// are enlarged, each pixel to a square of several.
Image ImageGrid(const std::vector<Image>& images, int64_t columns);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DRAW_PICTURES_H_
