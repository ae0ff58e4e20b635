#ifndef KUDARI_LAB_FILES_ENCODE_IMAGE_H_
#define KUDARI_LAB_FILES_ENCODE_IMAGE_H_

#include <string>

#include "lab/files/decode_image.h"

namespace kudari::lab {

/// The bytes of a PNG, which holds every pixel as it is.
std::string EncodePng(const Image& image);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_ENCODE_IMAGE_H_
