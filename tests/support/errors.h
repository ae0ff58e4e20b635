#ifndef KUDARI_TESTS_SUPPORT_ERRORS_H_
#define KUDARI_TESTS_SUPPORT_ERRORS_H_

#include <string>

#include "kudari/error.h"

namespace kudari::testing {

/// What the Error says that f throws, or "no error".
template <class F>
std::string ErrorOf(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_ERRORS_H_
