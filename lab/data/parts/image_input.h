#ifndef KUDARI_LAB_DATA_PARTS_IMAGE_INPUT_H_
#define KUDARI_LAB_DATA_PARTS_IMAGE_INPUT_H_

#include <cstdint>
#include <span>
#include <vector>

#include "lab/data/data.h"
#include "lab/files/decode_image.h"

namespace kudari::lab {

/// How pictures become samples of a data set of images, and samples pictures.
struct ImageInput {
  std::vector<int64_t> shape = {};  ///< of a sample: {channels, height, width}
  std::vector<ChannelScale> scales = {};
  double brightest = 0;  ///< what white is before it is scaled, 0 black; 0: unknown
  /// Pixels of a picture's shorter side, to which it is scaled before the middle of it is taken; 0:
  /// as few as cover the sample.
  int64_t shorter = 0;
  bool whole = false;  ///< instead: the whole picture, whatever becomes of its proportions

  /// Whether samples are pictures: grey or in colour, with a known white.
  bool Known() const {
    return shape.size() == 3 && (shape[0] == 1 || shape[0] == 3) && brightest > 0;
  }

  /// Fills in a sample. Colours become grey, and grey becomes three channels, as the shape wants;
  /// a picture of the sample's size is taken as it is. Known() must hold.
  void Read(const Image& image, std::span<float> values) const;

  /// The picture of a sample; what is darker than black or brighter than white is cut off. Known()
  /// must hold.
  Image Picture(std::span<const float> values) const;
};

/// That of a data set. Boxes are shares of the whole picture.
ImageInput InputOf(const Dataset& data);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_IMAGE_INPUT_H_
