#ifndef KUDARI_CORE_SUGGEST_H_
#define KUDARI_CORE_SUGGEST_H_

#include <span>
#include <string>
#include <string_view>

namespace kudari::internal {

/// `; did you mean "x"?` for the known name with the smallest edit distance, or `; known: a, b` if
/// no name is near, cut after 1,000 bytes with "...".
std::string Suggest(std::string_view name, std::span<const std::string> known);

/// The shortest decimal text that reads back as the same double.
std::string NumberText(double x);

}  // namespace kudari::internal

#endif  // KUDARI_CORE_SUGGEST_H_
