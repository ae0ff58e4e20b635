#include "lab/files/encode_image.h"

#include <png.h>

#include "kudari/error.h"

namespace kudari::lab {

std::string EncodePng(const Image& image) {
  png_image png = {};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = PNG_FORMAT_RGB;
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(png), '\0');
  png_alloc_size_t size = bytes.size();
  if (png_image_write_to_memory(&png, bytes.data(), &size, 0, image.rgb.data(), 0, nullptr) == 0) {
    throw Error(std::string("a PNG cannot be written: ") + static_cast<const char*>(png.message));
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace kudari::lab
