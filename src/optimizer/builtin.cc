#include "kernels/kernels.h"
#include "kudari/registry.h"

namespace kudari {

const Registry& Registry::Builtin() {
  static const Registry registry = [] {
    Registry r;
    for (RuleEntry& e : internal::ElementwiseRules()) r.Add(std::move(e));
    return r;
  }();
  return registry;
}

}  // namespace kudari
