#ifndef KUDARI_SOURCES_BACKUP_H_
#define KUDARI_SOURCES_BACKUP_H_

#include <algorithm>
#include <cstddef>
#include <vector>

#include "backend/stage_arrays.h"
#include "core/elements.h"

namespace kudari::internal {

/// Holds the parameters' own bytes while a source has changed them.
class Backup {
 public:
  /// Allocates room, at least `least` bytes per element, and records where the parameters are,
  /// since an oracle may redirect tensors.
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

  /// The memory for a tensor, which is free to use between Restore and Begin. It has at least 4
  /// bytes per element if Begin was given `least` = 4.
  std::byte* Of(size_t index) const { return buffers_[index].data(); }
  float* Floats(size_t index) const { return reinterpret_cast<float*>(Of(index)); }

  /// Restores the saved bytes.
  void Restore(const Engine& engine) const { engine.backend().Copy(pairs_, engine.parallel()); }

 private:
  std::vector<Buffer> buffers_;
  std::vector<ArrayPair> pairs_;
};

/// Calls `oracle_passes` and restores the weights, even if it throws.
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
