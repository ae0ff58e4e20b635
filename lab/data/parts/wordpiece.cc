#include "lab/data/parts/wordpiece.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <new>
#include <span>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "lab/data/parts/utf8.h"
#include "lab/files/unpack.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;

// Code points of Unicode.
using Point = utf8proc_int32_t;

std::vector<Point> PointsOf(std::string_view text, bool decomposed) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto options = decomposed ? UTF8PROC_STABLE | UTF8PROC_DECOMPOSE : 0;
  std::vector<Point> points(text.size());
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  while (true) {
    const utf8proc_ssize_t count = utf8proc_decompose(
        bytes, size, points.data(), std::ssize(points), static_cast<utf8proc_option_t>(options));
    if (count < 0) throw Error(std::string("utf8proc: ") + utf8proc_errmsg(count));
    const bool fits = count <= std::ssize(points);
    points.resize(static_cast<size_t>(count));
    if (fits) return points;
  }
}

void Append(Point point, std::string& to) {
  std::array<utf8proc_uint8_t, 4> bytes = {};
  const auto size = static_cast<size_t>(utf8proc_encode_char(point, bytes.data()));
  to.append(reinterpret_cast<const char*>(bytes.data()), size);
}

bool IsSpace(Point point) {
  if (point == '\t' || point == '\n' || point == '\r') return true;
  const auto category = utf8proc_category(point);
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

bool IsControl(Point point) {
  constexpr Point kReplacement = 0xFFFD;
  const auto category = utf8proc_category(point);
  return point == kReplacement || category == UTF8PROC_CATEGORY_CC ||
         category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CO;
}

bool IsPunctuation(Point point) {
  const bool symbol = (point >= '!' && point <= '/') || (point >= ':' && point <= '@') ||
                      (point >= '[' && point <= '`') || (point >= '{' && point <= '~');
  const auto category = utf8proc_category(point);
  return symbol || (category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO);
}

bool IsChinese(Point point) {
  constexpr std::array<std::pair<Point, Point>, 8> kRanges = {{{0x4E00, 0x9FFF},
                                                               {0x3400, 0x4DBF},
                                                               {0x20000, 0x2A6DF},
                                                               {0x2A700, 0x2B73F},
                                                               {0x2B740, 0x2B81F},
                                                               {0x2B820, 0x2CEAF},
                                                               {0xF900, 0xFAFF},
                                                               {0x2F800, 0x2FA1F}}};
  return std::ranges::any_of(kRanges, [point](const auto& range) {
    return point >= range.first && point <= range.second;
  });
}

constexpr const char* kUnknown = "[UNK]";

class WordPieces : public Tokenizer {
 public:
  WordPieces(const fs::path& path, bool lowercase) : lowercase_(lowercase) {
    const std::string text = ReadUnpacked(path);
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      const std::string_view token = line.substr(0, line.size() - (line.ends_with('\r') ? 1 : 0));
      const auto number = static_cast<int32_t>(tokens_.size());
      const auto [at, added] = tokens_.emplace(token, number);
      if (added) continue;
      throw Error(path.string() + ": line " + std::to_string(number + 1) + " has " + Quoted(token) +
                  ", which line " + std::to_string(at->second + 1) + " has already");
    }
    if (Require(path, "[PAD]") != 0) {
      throw Error(path.string() + ": line " + std::to_string(tokens_.at("[PAD]") + 1) +
                  " has the token [PAD], which must be on line 1");
    }
    unknown_ = Require(path, kUnknown);
    begin_ = Require(path, "[CLS]");
    separator_ = Require(path, "[SEP]");
  }

  int64_t size() const override { return std::ssize(tokens_); }
  int32_t begin() const override { return begin_; }
  int32_t separator() const override { return separator_; }
  std::vector<int32_t> Encode(std::string_view text) const override {
    std::vector<int32_t> tokens;
    for (const std::string& word : BertWords(text, lowercase_)) AppendWord(word, tokens);
    return tokens;
  }

 private:
  int32_t Require(const fs::path& path, const char* token) const {
    const auto at = tokens_.find(token);
    if (at == tokens_.end()) {
      throw Error(path.string() + ": is no vocabulary of WordPiece: it has no token " + token);
    }
    return at->second;
  }

  void AppendWord(const std::string& word, std::vector<int32_t>& to) const {
    constexpr size_t kMostCharacters = 100;
    const std::vector<std::string_view> characters = CharactersOf(word);
    const size_t before = to.size();
    for (size_t begin = 0; begin < characters.size();) {
      size_t end = characters.size() > kMostCharacters ? begin : characters.size();
      std::string piece(begin > 0 ? "##" : "");
      const char* const first = characters[begin].data();
      auto at = tokens_.end();
      for (; end > begin && at == tokens_.end(); --end) {
        const std::string_view last = characters[end - 1];
        at = tokens_.find(piece + std::string(first, last.data() + last.size()));
      }
      if (at == tokens_.end()) {
        to.resize(before);
        to.push_back(unknown_);
        return;
      }
      to.push_back(at->second);
      begin = end + 1;
    }
  }

  bool lowercase_;
  std::map<std::string, int32_t, std::less<>> tokens_;
  int32_t unknown_ = 0, begin_ = 0, separator_ = 0;
};

}  // namespace

std::vector<std::string> BertWords(std::string_view text, bool lowercase) {
  std::vector<std::string> words;
  bool open = false;  // whether the last word goes on
  for (Point point : PointsOf(text, lowercase)) {
    if (IsSpace(point)) open = false;
    if (IsSpace(point) || IsControl(point)) continue;
    if (lowercase && utf8proc_category(point) == UTF8PROC_CATEGORY_MN) continue;
    if (lowercase) point = utf8proc_tolower(point);
    const bool alone = IsPunctuation(point) || IsChinese(point);
    if (!open || alone) words.emplace_back();
    Append(point, words.back());
    open = !alone;
  }
  return words;
}

std::unique_ptr<const Tokenizer> ReadWordPieces(const fs::path& path, bool lowercase) {
  return std::make_unique<WordPieces>(path, lowercase);
}

}  // namespace kudari::lab
