#include "lab/files/text_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "kudari/error.h"

namespace kudari::lab {

std::string ReadTextFile(const std::filesystem::path& path) {
  constexpr size_t kMost = size_t{1} << 30, kPart = size_t{1} << 16;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    throw Error(path.string() + ": is a directory");
  }
  const auto fail_if_larger = [&path](size_t size) {
    if (size > kMost) throw Error(path.string() + ": is larger than 1 GiB");
  };
  if (std::filesystem::is_regular_file(path, ignored)) {
    fail_if_larger(std::filesystem::file_size(path, ignored));
  }
  std::ifstream in(path, std::ios::binary);
  std::string text;
  while (in) {
    const size_t size = text.size();
    fail_if_larger(size);
    text.resize(size + kPart);
    in.read(text.data() + size, kPart);
    text.resize(size + static_cast<size_t>(in.gcount()));
  }
  if (!in.eof()) throw Error(path.string() + ": " + std::strerror(errno));
  return text;
}

}  // namespace kudari::lab
