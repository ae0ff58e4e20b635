#include "lab/data/parts/utf8.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "kudari/error.h"
#include "kudari/messages.h"

namespace kudari::lab {

std::vector<std::string_view> CharactersOf(std::string_view text) {
  std::vector<std::string_view> characters;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin + 1;
    while (end < text.size() && IsWithinCharacter(text[end])) ++end;
    characters.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return characters;
}

void CheckUtf8(std::string_view text, const std::filesystem::path& path) {
  for (int64_t line = 1; !text.empty(); ++line) {
    const std::string_view first = text.substr(0, text.find('\n'));
    if (!IsUtf8(first)) {
      throw Error(path.string() + ": line " + std::to_string(line) + " is not UTF-8");
    }
    text.remove_prefix(std::min(text.size(), first.size() + 1));
  }
}

}  // namespace kudari::lab
