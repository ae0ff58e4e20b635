#ifndef KUDARI_LAB_VERBS_TORCH_ERROR_H_
#define KUDARI_LAB_VERBS_TORCH_ERROR_H_

#include <functional>

namespace kudari::lab {

/// Returns what f returns. What LibTorch throws becomes an Error, whose text has no trace of calls
/// in it, or std::bad_alloc if there was not enough memory.
int WithoutTraces(const std::function<int()>& f);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_VERBS_TORCH_ERROR_H_
