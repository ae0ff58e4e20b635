#include "lab/files/output_file.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "kudari/error.h"
#include "kudari/files.h"

namespace kudari::lab {

bool IsStandardOutput(const std::filesystem::path& file) { return file == "-"; }

std::FILE* ConsoleBeside(const std::filesystem::path& output) {
  return IsStandardOutput(output) ? stderr : stdout;
}

void WriteOutput(const std::filesystem::path& file, std::string_view contents) {
  if (!IsStandardOutput(file)) return WriteFileAtomically(file, contents);
  if (std::fwrite(contents.data(), 1, contents.size(), stdout) == contents.size()) return;
  throw Error("standard output cannot be written: " + std::string(std::strerror(errno)));
}

}  // namespace kudari::lab
