#ifndef KUDARI_LAB_MODELS_PARTS_LOSSES_H_
#define KUDARI_LAB_MODELS_PARTS_LOSSES_H_

#include <vector>

#include "lab/recipe/lab_registry.h"

namespace kudari::lab {

/// All losses, without their functions.
std::vector<LossEntry> DescribeLosses();

/// The same with their functions; in programs with LibTorch.
std::vector<LossEntry> BuildLosses();

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MODELS_PARTS_LOSSES_H_
