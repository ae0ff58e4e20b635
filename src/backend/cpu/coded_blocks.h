// Passes over arrays that are not all float32. They are processed in blocks that fit the L1 cache.
#ifndef KUDARI_BACKEND_CPU_CODED_BLOCKS_H_
#define KUDARI_BACKEND_CPU_CODED_BLOCKS_H_

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <vector>

#include "backend/work.h"
#include "kernels/kernels.h"

namespace kudari::internal {

/// What a pass loads and stores. Slots are the range [from, to).
struct Access {
  bool load_p = true, load_g = true;
  size_t load_from = 0, load_to = 0;
  bool store_p = false;
  size_t store_from = 0, store_to = 0;
  bool copy_state = false;  // also copy state that is float32

  static Access OfUpdate(const RuleEntry& rule) {
    return {.load_to = rule.slots.size(),
            .store_p = true,
            .store_to = rule.StoredSlots(),
            .copy_state = UpdatesTwice(rule)};
  }
  static Access OfMeasure(const RuleEntry& rule) {
    return {.load_to = UpdatesTwice(rule) ? rule.slots.size() : 0,
            .copy_state = UpdatesTwice(rule)};
  }
  /// The curvature is the last slot.
  static Access OfHessian(const RuleEntry& rule) {
    const size_t slots = rule.slots.size();
    return {.load_p = false,
            .load_from = slots - 1,
            .load_to = slots,
            .store_from = slots - 1,
            .store_to = slots};
  }
  static Access OfEvaluation(const RuleEntry& rule) {
    return {.load_g = false, .load_to = rule.slots.size()};
  }
};

/// One block of a tensor in float32.
struct Block {
  alignas(64) float p[kCodeBlock];
  alignas(64) float g[kCodeBlock];
  alignas(64) float state[RuleEntry::kMostSlots][kCodeBlock];
};

/// Whether most of the nonzero values in a block of 8-bit state have the smallest code. `now` holds
/// the decoded values.
inline bool Saturated(Format format, const float* values, const float* now, size_t n) {
  float smallest = 0;
  if (format == Format::kRoot8) {
    const float top = *std::max_element(now, now + n);
    smallest = top / (255.0F * 255.0F) * 1.5F;  // the root of the first code is a 255th of the top
  }
  size_t some = 0, small = 0;
  for (size_t i = 0; i < n; ++i) {
    if (values[i] == 0) continue;
    ++some;
    small += std::abs(now[i]) <= smallest ? 1 : 0;
  }
  return 2 * small > some;
}

/// The sum over elements [begin, begin + size) of what `add` adds to sixteen lanes: squares or
/// values.
inline double SumOf(const Codecs& codecs, void (*add)(const float*, size_t, double*),
                    const Coded& array, int64_t begin, int64_t size) {
  double lanes[16] = {};
  if (array.format == Format::kFloat32) {
    add(static_cast<const float*>(array.data) + begin, static_cast<size_t>(size), lanes);
    return SumLanes(lanes);
  }
  float block[kCodeBlock];
  for (int64_t i = 0; i < size; i += static_cast<int64_t>(kCodeBlock)) {
    const auto n = std::min(kCodeBlock, static_cast<size_t>(size - i));
    codecs.load(array, static_cast<size_t>(begin + i), n, block);
    add(block, n, lanes);
  }
  return SumLanes(lanes);
}

/// Stores a block of weights. Given the values `before`, counts those that should have changed but
/// did not.
inline void StoreWeights(const Codecs& codecs, const Coded& weights, size_t at, size_t n,
                         const float* values, const float* before, Numerics& lost) {
  codecs.store(values, at, n, weights);
  if (before == nullptr) return;
  float now[kCodeBlock];
  codecs.load(weights, at, n, now);
  for (size_t j = 0; j < n; ++j) {
    lost.lost += values[j] != before[j] && now[j] == before[j] ? 1 : 0;
  }
}

/// Stores a block of state. If `check` is set, counts the block and whether it is saturated.
inline void StoreState(const Codecs& codecs, const Coded& state, size_t at, size_t n,
                       const float* values, bool check, Numerics& lost) {
  codecs.store(values, at, n, state);
  if (!check || !IsBlocked(state.format)) return;
  float now[kCodeBlock];
  codecs.load(state, at, n, now);
  ++lost.blocks;
  lost.saturated += Saturated(state.format, values, now, n) ? 1 : 0;
}

/// Adds counts to those of a tensor, which other threads may be stepping too.
inline void AddCounts(const Numerics& lost, Numerics& to) {
  std::atomic_ref(to.lost).fetch_add(lost.lost, std::memory_order_relaxed);
  std::atomic_ref(to.blocks).fetch_add(lost.blocks, std::memory_order_relaxed);
  std::atomic_ref(to.saturated).fetch_add(lost.saturated, std::memory_order_relaxed);
}

/// Calls f(first element, count, p, g, state) for each block of [begin, begin + size), with float32
/// pointers: to the arrays themselves or, where memory holds another format, to buffers. Stores
/// what `access` says. `begin` is a multiple of kCodeBlock.
template <class F>
void ForBlocks(const Codecs& codecs, TensorRecord& s, const Coded& gradient, const Access& access,
               bool check, int64_t begin, int64_t size, const F& f) {
  Block block;
  float before[kCodeBlock];
  Numerics lost;
  const Coded weights = s.Weights();
  const size_t slots = s.Slots();
  Coded arrays[RuleEntry::kMostSlots];
  for (size_t k = 0; k < slots; ++k) arrays[k] = s.State(k);
  const auto floats = [](const Coded& array, size_t at) {
    return array.format == Format::kFloat32 ? static_cast<float*>(array.data) + at : nullptr;
  };
  for (int64_t i = begin; i < begin + size; i += static_cast<int64_t>(kCodeBlock)) {
    const auto at = static_cast<size_t>(i);
    const auto n = std::min(kCodeBlock, static_cast<size_t>(begin + size - i));
    // Returns the array's own memory, or a buffer that the array is loaded into.
    const auto load = [&](const Coded& array, bool wanted, float* buffer, bool copy) {
      if (array.data == nullptr) return buffer;
      if (float* const own = floats(array, at); own != nullptr && !copy) return own;
      if (wanted) codecs.load(array, at, n, buffer);
      return buffer;
    };
    float* const p = load(weights, access.load_p, block.p, false);
    float* const g = load(gradient, access.load_g, block.g, false);
    float* state[RuleEntry::kMostSlots];
    for (size_t k = 0; k < slots; ++k) {
      state[k] = load(arrays[k], access.load_from <= k && k < access.load_to, block.state[k],
                      access.copy_state);
    }
    if (check && p == block.p) std::copy(p, p + n, before);
    f(i, static_cast<int64_t>(n), p, g, state);
    if (access.store_p && p == block.p) {
      StoreWeights(codecs, weights, at, n, p, check ? before : nullptr, lost);
    }
    for (size_t k = access.store_from; k < access.store_to; ++k) {
      if (state[k] == block.state[k]) {
        StoreState(codecs, arrays[k], at, n, state[k], check, lost);
      }
    }
  }
  if (check) AddCounts(lost, s.extra->numerics);
}

}  // namespace kudari::internal

#endif  // KUDARI_BACKEND_CPU_CODED_BLOCKS_H_
