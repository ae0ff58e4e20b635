#ifndef KUDARI_LAB_TRAIN_VISIT_H_
#define KUDARI_LAB_TRAIN_VISIT_H_

#include <random>
#include <string_view>

#include "kudari/state.h"

namespace kudari::lab {

/// The state of a random generator of the standard library; loading throws Error for what is no
/// state of one. kudari/torch_visit.h has what is LibTorch's.
void VisitRandom(std::string_view name, std::mt19937_64& random, StateVisitor& visitor);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_VISIT_H_
