#ifndef KUDARI_ERROR_H_
#define KUDARI_ERROR_H_

#include <stdexcept>
#include <string_view>

namespace kudari {

/// What the library throws for bad input: construction, recipes, names, shapes and files. The
/// message names the field, the value and the range. A throw leaves every object and file as it
/// was.
class Error : public std::runtime_error {
 public:
  /// The message may have names of others in it: control characters and bytes that are not UTF-8
  /// become \x1b and the like, and of one of more than 4,000 bytes the middle is left out.
  explicit Error(std::string_view message);
};

}  // namespace kudari

#endif  // KUDARI_ERROR_H_
