#include "kudari/messages.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <numeric>
#include <vector>

#include "kudari/error.h"

namespace kudari {
namespace {

constexpr size_t kMostCharacters = 100, kMostTexts = 10;

// Bytes of the character of UTF-8 that text begins with, 0 if it begins with none.
size_t CharacterBytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < size) return 0;
  uint32_t code = lead & (0x7fU >> size);
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3fU);
  }
  constexpr uint32_t kLeast[] = {0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  return code < kLeast[size - 2] || code > 0x10ffff || surrogate ? 0 : size;
}

bool IsControl(std::string_view character) {
  const auto first = static_cast<uint8_t>(character[0]);
  return first < 0x20 || first == 0x7f ||
         (first == 0xc2 && static_cast<uint8_t>(character[1]) < 0xa0);
}

std::string Shown(std::string_view text, bool one_line, size_t most) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string shown;
  for (size_t count = 0; !text.empty(); ++count) {
    if (count == most) return shown + "...";
    const std::string_view character = text.substr(0, std::max<size_t>(CharacterBytes(text), 1));
    const bool space = !one_line && (text[0] == '\n' || text[0] == '\t');
    if (space || (CharacterBytes(text) > 0 && !IsControl(character))) {
      shown += character;
    } else {
      for (const char c : character) {
        const auto byte = static_cast<uint8_t>(c);
        shown.append("\\x").append({kHex[byte / 16], kHex[byte % 16]});
      }
    }
    text.remove_prefix(character.size());
  }
  return shown;
}

// A message with what is in the middle left out, if it is long: both of its ends are ours.
std::string Shortened(std::string_view message) {
  constexpr size_t kMost = 4000, kEnd = 1000;
  if (message.size() <= kMost) return std::string(message);
  return std::string(message.substr(0, kEnd)) + " ... " +
         std::string(message.substr(message.size() - kEnd));
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substitute = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, substitute});
    }
  }
  return row.back();
}

}  // namespace

bool SameName(std::string_view a, std::string_view b) {
  const auto lower = [](char c) {
    return 'A' <= c && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  return std::ranges::equal(a, b, {}, lower, lower);
}

bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t size = CharacterBytes(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

std::string Printable(std::string_view text) { return Shown(text, false, text.npos); }

std::string OneLine(std::string_view text) { return Shown(text, true, kMostCharacters); }

std::string Quoted(std::string_view text) { return '"' + OneLine(text) + '"'; }

std::string QuotedList(std::span<const std::string> texts) {
  std::string list;
  for (const std::string& text : texts.first(std::min(texts.size(), kMostTexts))) {
    list += (list.empty() ? "" : ", ") + Quoted(text);
  }
  if (texts.size() > kMostTexts)
    list += " and " + std::to_string(texts.size() - kMostTexts) + " more";
  return list;
}

std::string Suggest(std::string_view name, std::span<const std::string> known) {
  constexpr size_t kLongestList = 1000;
  constexpr size_t kLongestName = 100;  // beyond it nothing is near, and the distance is slow
  const std::string* best = nullptr;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  if (name.size() <= kLongestName) {
    for (const std::string& k : known) {
      const size_t distance = EditDistance(name, k);
      if (distance < best_distance && distance < std::max(name.size(), k.size())) {
        best = &k;
        best_distance = distance;
      }
    }
  }
  if (best != nullptr) return "; did you mean " + Quoted(*best) + "?";
  if (known.empty()) return "";
  std::string text = "; known: ";
  for (const std::string& k : known) {
    if (text.size() > kLongestList) return text + ", ...";
    if (&k != &known.front()) text += ", ";
    text += OneLine(k);
  }
  return text;
}

std::string NumberText(double x) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), x).ptr;
  return {buffer, end};
}

Error::Error(std::string_view message) : std::runtime_error(Printable(Shortened(message))) {}

}  // namespace kudari
