#ifndef KUDARI_CORE_QUOTED_H_
#define KUDARI_CORE_QUOTED_H_

#include <span>
#include <string>
#include <string_view>

namespace kudari::internal {

bool IsUtf8(std::string_view text);
/// Whether the text is valid UTF-8.

/// Untrusted text made safe for a terminal: control characters other than line feeds and tabs, and
/// bytes that are not UTF-8, are escaped as \x1b and the like. Printable characters are unchanged.
std::string Printable(std::string_view text);

/// As Printable, on one line of at most 100 characters; longer text is cut and ends in "...".
std::string OneLine(std::string_view text);

/// OneLine in double quotes.
std::string Quoted(std::string_view text);

/// A list with at most ten items: "a", "b" and 7 more.
std::string QuotedList(std::span<const std::string> texts);

}  // namespace kudari::internal

#endif  // KUDARI_CORE_QUOTED_H_
