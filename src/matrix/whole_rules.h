#ifndef KUDARI_MATRIX_WHOLE_RULES_H_
#define KUDARI_MATRIX_WHOLE_RULES_H_

#include <vector>

#include "kudari/registry.h"
#include "kudari/rules/all.h"

namespace kudari {

void StepWhole(const Adafactor& rule, const WholeStep<float>& step);
void StepWhole(const Adafactor& rule, const WholeStep<double>& step);
void StepWhole(const AdafactorTorch& rule, const WholeStep<float>& step);
void StepWhole(const AdafactorTorch& rule, const WholeStep<double>& step);

namespace internal {

/// The rules of rules/all.h that step whole tensors.
std::vector<RuleEntry> WholeRuleEntries();

}  // namespace internal
}  // namespace kudari

#endif  // KUDARI_MATRIX_WHOLE_RULES_H_
