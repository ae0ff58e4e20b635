#ifndef KUDARI_SOURCES_BACKUP_H_
#define KUDARI_SOURCES_BACKUP_H_

#include <algorithm>
#include <cstddef>
#include <vector>

#include "backend/stage_arrays.h"
#include "core/elements.h"

namespace kudari::internal {

/// The parameters' own bytes, while a source has changed them.
class Backup {
 public:
  /// Makes room, `least` bytes an element at least, and notes where the parameters are: an oracle
  /// may point tensors elsewhere.
  void Begin(const Engine& engine, int64_t least = 0) {
    const std::span<const Tensor> tensors = engine.tensors();
    pairs_.resize(tensors.size());
    buffers_.reserve(tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      const Tensor& t = tensors[i];
      if (i == buffers_.size()) {
        const auto bytes = static_cast<size_t>(t.Size() * std::max(Bytes(t.dtype), least));
        buffers_.emplace_back(engine.backend(), bytes);
      }
      pairs_[i] = {.to = {.data = t.param},
                   .from = {.data = buffers_[i].data()},
                   .n = static_cast<size_t>(t.Size() * Bytes(t.dtype))};
    }
  }

  /// The memory of a tensor, which is free between Restore and Begin. 4 bytes an element if Begin
  /// was asked for them.
  std::byte* Of(size_t index) const { return buffers_[index].data(); }
  float* Floats(size_t index) const { return reinterpret_cast<float*>(Of(index)); }

  /// Puts back what was saved.
  void Restore(const Engine& engine) const { engine.backend().Copy(pairs_, engine.parallel()); }

 private:
  std::vector<Buffer> buffers_;
  std::vector<ArrayPair> pairs_;
};

/// Calls `oracle_passes` and puts the weights back, also if it throws.
template <class F>
Gradient AtChangedWeights(const Backup& backup, const Engine& engine, const F& oracle_passes) {
  Gradient gradient;
  try {
    gradient = oracle_passes();
  } catch (...) {
    backup.Restore(engine);
    throw;
  }
  backup.Restore(engine);
  return gradient;
}

}  // namespace kudari::internal

#endif  // KUDARI_SOURCES_BACKUP_H_
