#include "lab/files/image_files.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostImages = size_t{1} << 24;

bool IsImageName(const fs::path& path) {
  std::string end = path.extension().string();
  std::ranges::transform(end, end.begin(), [](unsigned char c) { return std::tolower(c); });
  return end == ".jpg" || end == ".jpeg" || end == ".png";
}

}  // namespace

std::vector<fs::path> ImagesIn(const fs::path& folder) {
  std::vector<fs::path> images;
  for (const auto& entry :
       fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink)) {
    if (entry.is_regular_file() && IsImageName(entry.path())) images.push_back(entry.path());
    if (images.size() > kMostImages) {
      throw Error(folder.string() + ": has more than " + std::to_string(kMostImages) + " images");
    }
  }
  std::ranges::sort(images, {}, [](const fs::path& p) { return p.string(); });
  return images;
}

}  // namespace kudari::lab
