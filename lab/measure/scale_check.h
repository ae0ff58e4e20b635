#ifndef KUDARI_LAB_MEASURE_SCALE_CHECK_H_
#define KUDARI_LAB_MEASURE_SCALE_CHECK_H_

#include <cstdio>

#include "lab/recipe/scale.h"

namespace kudari::lab {

/// Trains both recipes for some epochs of the same samples, their schedules compressed into them,
/// ranks becoming accumulation, and prints the losses side by side. Throws Error as Train.
void CheckScaling(const Scaling& scaling, const ScaleOptions& options, std::FILE* console);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MEASURE_SCALE_CHECK_H_
