#ifndef KUDARI_LAB_DATA_PARTS_UTF8_H_
#define KUDARI_LAB_DATA_PARTS_UTF8_H_

#include <filesystem>
#include <string_view>
#include <vector>

namespace kudari::lab {

/// Whether a byte of a text in valid UTF-8 is not the first of its character.
inline bool IsWithinCharacter(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

/// The characters of a text in valid UTF-8.
std::vector<std::string_view> CharactersOf(std::string_view text);

/// Throws Error naming the file and the line if its text is not UTF-8.
void CheckUtf8(std::string_view text, const std::filesystem::path& path);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_DATA_PARTS_UTF8_H_
