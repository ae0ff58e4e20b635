#ifndef KUDARI_ERROR_H_
#define KUDARI_ERROR_H_

#include <stdexcept>

namespace kudari {

/// What the library throws for bad input: construction, recipes, names, shapes and files. The
/// message names the field, the value and the range. A throw leaves every object and file as it
/// was.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace kudari

#endif  // KUDARI_ERROR_H_
