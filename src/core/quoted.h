#ifndef KUDARI_CORE_QUOTED_H_
#define KUDARI_CORE_QUOTED_H_

#include <span>
#include <string>
#include <string_view>

namespace kudari::internal {

bool IsUtf8(std::string_view text);

/// Text of others as a terminal may show it: control characters but for line feeds and tabs, and
/// bytes that are not UTF-8, as \x1b. What is printable stays as it is.
std::string Printable(std::string_view text);

/// The same on one line, of at most 100 characters; what is longer ends in "...".
std::string OneLine(std::string_view text);

/// OneLine between double quotes.
std::string Quoted(std::string_view text);

/// "a", "b" and 7 more: at most ten.
std::string QuotedList(std::span<const std::string> texts);

}  // namespace kudari::internal

#endif  // KUDARI_CORE_QUOTED_H_
