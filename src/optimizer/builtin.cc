#include "kernels/kernels.h"
#include "kudari/registry.h"
#include "matrix/whole_rules.h"

namespace kudari {

const Registry& Registry::Builtin() {
  static const Registry registry = [] {
    Registry r;
    for (RuleEntry& e : internal::ElementwiseRules()) r.Add(std::move(e));
    for (RuleEntry& e : internal::WholeRuleEntries()) r.Add(std::move(e));
    return r;
  }();
  return registry;
}

}  // namespace kudari
