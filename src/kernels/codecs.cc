#include "kernels/codecs.h"

namespace kudari::internal {

const Codecs& CodecsFor(std::string_view target) {
  static_cast<void>(target);
  return ScalarCodecs();
}

}  // namespace kudari::internal
