#include "matrix/whole_rules.h"

namespace kudari::internal {
namespace {

template <class... R>
std::vector<RuleEntry> Entries(TypeList<R...> /*rules*/) {
  return {MakeWholeEntry<R>()...};
}

}  // namespace

std::vector<RuleEntry> WholeRuleEntries() { return Entries(WholeRules()); }

}  // namespace kudari::internal
