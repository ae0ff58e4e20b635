#ifndef KUDARI_LAB_FILES_IMAGE_FILES_H_
#define KUDARI_LAB_FILES_IMAGE_FILES_H_

#include <filesystem>
#include <vector>

namespace kudari::lab {

/// The files of images in a folder and those below it, by their names, which end in .jpg, .jpeg or
/// .png; sorted by name. Throws Error for more than 2^24, and what the file system throws.
std::vector<std::filesystem::path> ImagesIn(const std::filesystem::path& folder);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_FILES_IMAGE_FILES_H_
