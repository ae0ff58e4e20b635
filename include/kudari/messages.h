#ifndef KUDARI_MESSAGES_H_
#define KUDARI_MESSAGES_H_

#include <span>
#include <string>
#include <string_view>

namespace kudari {

/// Whether the text is valid UTF-8.
bool IsUtf8(std::string_view text);

/// Untrusted text made safe for a terminal: control characters other than line feeds and tabs, and
/// bytes that are not UTF-8, are escaped as \x1b and the like. Printable characters are unchanged.
std::string Printable(std::string_view text);

/// As Printable, on one line of at most 100 characters; longer text is cut and ends in "...".
std::string OneLine(std::string_view text);

/// OneLine in double quotes.
std::string Quoted(std::string_view text);

/// A list with at most ten items: "a", "b" and 7 more.
std::string QuotedList(std::span<const std::string> texts);

/// `; did you mean "x"?` for the known name with the smallest edit distance, or `; known: a, b` if
/// no name is near, cut after 1,000 bytes with "...".
std::string Suggest(std::string_view name, std::span<const std::string> known);

/// Whether two names are the same but for the case of ASCII letters: "AdamW" and "adamw".
bool SameName(std::string_view a, std::string_view b);

/// The shortest decimal text that reads back as the same double.
std::string NumberText(double x);

}  // namespace kudari

#endif  // KUDARI_MESSAGES_H_
