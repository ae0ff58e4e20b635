#include "lab/text_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "kudari/error.h"

namespace kudari::lab {

std::string ReadTextFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (!in || std::filesystem::is_directory(path) || !(text << in.rdbuf()).good()) {
    // An empty file makes the insertion fail without an error of the system.
    if (in && std::filesystem::is_regular_file(path)) return text.str();
    const std::string reason =
        std::filesystem::is_directory(path) ? "is a directory" : std::strerror(errno);
    throw Error(path.string() + ": " + reason);
  }
  return text.str();
}

}  // namespace kudari::lab
