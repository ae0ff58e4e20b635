#include "lab/files/text_file.h"

#include "kudari/files.h"

namespace kudari::lab {

std::string ReadTextFile(const std::filesystem::path& path) { return ReadFile(path, kMostRead); }

}  // namespace kudari::lab
