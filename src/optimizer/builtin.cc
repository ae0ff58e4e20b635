#include "kernels/kernels.h"
#include "kudari/registry.h"
#include "matrix/whole_rules.h"

namespace kudari {

const Registry& Registry::Builtin() {
  static const Registry registry = [] {
    Registry r;
    for (const auto& rules :
         {internal::ElementwiseRules(), internal::AdafactorRules(), internal::MuonRules()}) {
      for (const RuleEntry& e : rules) r.Add(e);
    }
    return r;
  }();
  return registry;
}

}  // namespace kudari
