#ifndef KUDARI_ERROR_H_
#define KUDARI_ERROR_H_

#include <stdexcept>
#include <string_view>

#include "kudari/language.h"

namespace kudari {

/// The exception for bad input to construction, recipes, names, shapes and files. The message names
/// the field, the value and the range. A throw leaves every object and file as it was.
class Error : public std::runtime_error {
 public:
  /// The message may quote untrusted names: control characters and bytes that are not UTF-8 are
  /// escaped as \x1b and the like, and the middle of a message longer than 4,000 bytes is left out.
  explicit Error(std::string_view message);
};

}  // namespace kudari

#endif  // KUDARI_ERROR_H_
