#ifndef KUDARI_SOURCES_BACKUP_H_
#define KUDARI_SOURCES_BACKUP_H_

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include "core/elements.h"

namespace kudari::internal {

/// The parameters' own bytes, while a source has changed them.
class Backup {
 public:
  /// Makes room, `bytes` an element at least, and notes where the parameters are: an oracle may
  /// point tensors elsewhere.
  void Begin(std::span<const Tensor> tensors, int64_t bytes = 0) {
    params_.resize(tensors.size());
    memory_.resize(tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      const Tensor& t = tensors[i];
      params_[i] = static_cast<std::byte*>(t.param);
      memory_[i].resize(static_cast<size_t>(t.Size() * std::max(Bytes(t.dtype), bytes)));
    }
  }

  /// Saves elements [begin, end) of a tensor.
  void Save(size_t index, const Tensor& tensor, size_t begin, size_t end) {
    const auto bytes = static_cast<size_t>(Bytes(tensor.dtype));
    std::memcpy(memory_[index].data() + begin * bytes, params_[index] + begin * bytes,
                (end - begin) * bytes);
  }

  /// Puts back what was saved.
  void Restore(std::span<const Tensor> tensors, const Parallel& parallel) const {
    ForElements(tensors, parallel, [&](size_t i, size_t begin, size_t end) {
      const auto bytes = static_cast<size_t>(Bytes(tensors[i].dtype));
      std::memcpy(params_[i] + begin * bytes, memory_[i].data() + begin * bytes,
                  (end - begin) * bytes);
    });
  }

  /// The memory of a tensor, which is free between Restore and Begin. 4 bytes an element if Begin
  /// was asked for them.
  float* Floats(size_t index) { return reinterpret_cast<float*>(memory_[index].data()); }

 private:
  std::vector<std::byte*> params_;
  std::vector<std::vector<std::byte>> memory_;
};

/// Calls `oracle_passes` and puts the weights back, also if it throws.
template <class F>
Gradient AtChangedWeights(const Backup& backup, Engine& engine, const F& oracle_passes) {
  const auto restore = [&] { backup.Restore(engine.tensors(), engine.parallel()); };
  Gradient gradient;
  try {
    gradient = oracle_passes();
  } catch (...) {
    restore();
    throw;
  }
  restore();
  return gradient;
}

}  // namespace kudari::internal

#endif  // KUDARI_SOURCES_BACKUP_H_
