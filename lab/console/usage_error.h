#ifndef KUDARI_LAB_CONSOLE_USAGE_ERROR_H_
#define KUDARI_LAB_CONSOLE_USAGE_ERROR_H_

#include "kudari/error.h"

namespace kudari::lab {

/// An Error about the arguments of a command, whose message begins with the option. The program
/// ends with 2 for it, and with 1 for other errors.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// Calls f, whose Errors are about the arguments of a command.
template <class F>
void AsUsage(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
}

}  // namespace kudari::lab

#endif  // KUDARI_LAB_CONSOLE_USAGE_ERROR_H_
