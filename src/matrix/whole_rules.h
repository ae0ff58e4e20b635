#ifndef KUDARI_MATRIX_WHOLE_RULES_H_
#define KUDARI_MATRIX_WHOLE_RULES_H_

#include <vector>

#include "kudari/registry.h"

namespace kudari::internal {

/// The entries of the rules that step whole tensors, grouped by source file.
std::vector<RuleEntry> AdafactorRules();
std::vector<RuleEntry> MuonRules();

}  // namespace kudari::internal

#endif  // KUDARI_MATRIX_WHOLE_RULES_H_
