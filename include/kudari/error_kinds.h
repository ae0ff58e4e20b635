#ifndef KUDARI_ERROR_KINDS_H_
#define KUDARI_ERROR_KINDS_H_

#include "kudari/error.h"

namespace kudari {

/// A call that is right at another time: during a step, while an evaluation view is open, before
/// there is a gradient.
class WrongStateError : public Error {
 public:
  using Error::Error;
};

/// A gradient that is not finite, where the policy is NonFinite::kError.
class NonFiniteError : public Error {
 public:
  using Error::Error;
};

}  // namespace kudari

#endif  // KUDARI_ERROR_KINDS_H_
