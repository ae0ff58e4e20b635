#ifndef KUDARI_LAB_FILES_DECODE_IMAGE_H_
#define KUDARI_LAB_FILES_DECODE_IMAGE_H_

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

namespace kudari::lab {

/// An image: rows from the top, pixels of red, green and blue in [0, 255].
struct Image {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb = {};
};

/// Pixels of the largest image that is decoded.
inline constexpr int64_t kMostPixels = int64_t{1} << 26;

/// Decodes JPEG or PNG, told apart by how they begin. Grey becomes three equal channels,
/// transparency is dropped, 16 bits become 8, CMYK becomes RGB; the orientation of a camera is
/// ignored, as torchvision does. Throws Error, without a file's name, for what is neither, is
/// damaged or truncated, or has more than kMostPixels.
Image DecodeImage(std::string_view bytes);

/// Throws Error naming the file if its beginning is not that of an image that DecodeImage may take.
void CheckImageHeader(const std::filesystem::path& path);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_DECODE_IMAGE_H_
