#ifndef KUDARI_KERNELS_CODED_H_
#define KUDARI_KERNELS_CODED_H_

#include <cstddef>
#include <span>
#include <string_view>

#include "kernels/codecs.h"
#include "kudari/registry.h"

namespace kudari::internal {

// Updates of rules without norms, fused with the loads and stores of the most important formats.
// Other formats go through buffers, with the same result.

/// A rule's update of elements [begin, begin + n), both multiples of kCodeBlock.
using CodedFn = void (*)(const float* coeffs, const GradientForm<float>& form, const Coded& p,
                         const Coded& g, const Coded* state, size_t begin, size_t n);

/// The update of a rule for arrays of these formats on an instruction set of AllKernels(); null if
/// there is none. The rule is looked up by RuleEntry::kernel.
CodedFn CodedKernel(std::string_view target, const RuleEntry& rule, Format p, Format g,
                    std::span<const Format> state);

}  // namespace kudari::internal

#endif  // KUDARI_KERNELS_CODED_H_
