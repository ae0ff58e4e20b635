#ifndef KUDARI_BACKEND_WORK_H_
#define KUDARI_BACKEND_WORK_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <tuple>
#include <vector>

#include "kernels/codecs.h"
#include "kernels/coded.h"
#include "kernels/kernels.h"
#include "kudari/optimizer.h"

namespace kudari::internal {

// Elements of one piece of work. Its boundaries depend on the tensors alone, so partial sums and
// therefore norms do not depend on the number of threads.
inline constexpr int64_t kBlock = 16384;

/// The number of blocks of an array.
constexpr size_t BlocksOf(int64_t size) {
  return static_cast<size_t>((size + kBlock - 1) / kBlock);
}

// A tensor of a rule with norms up to this size is finished by one thread before the next, so that
// the second pass finds it in the cache.
inline constexpr int64_t kLargestPiece = 8 * kBlock;

// Tensors of whole rules up to this size are stepped side by side, one thread each.
inline constexpr int64_t kSideBySide = 1 << 18;

using TensorMemory = std::array<double, RuleEntry::kMostMemory>;

/// Tensors that share a rule and its options.
struct Cohort {
  RuleEntry rule;
  int group;                        // index of the spec's group, kNoGroup or kFallbackGroup
  bool adapts;                      // rules with norms: whether the second pass uses them
  size_t users = 0;                 // tensors; SetSchedule may leave a cohort without
  std::vector<Schedule> schedules;  // in the order of rule.options
  std::vector<Schedule> original;   // those of the spec
  // What a penalty adds to the gradient.
  Schedule l1 = 0, l2 = 0;
  bool penalized = false;
  float l1_now = 0, l2_now = 0;
  double base_lr = 1;                                    // that weight_decay is divided by
  float limit = std::numeric_limits<float>::infinity();  // of the gradient that the rule sees
  bool constant = true;
  // Code that the backend has chosen. No kernels: the rule's scalar passes.
  RuleKernels kernels = {};
  PenalizeFn penalize = nullptr;
  // Of the step being taken:
  std::vector<double> values;
  GradientForm<float> form = {};  // where nothing is done unit by unit

  /// Sets an option's value, a weight decay relative to base_lr.
  void SetValue(size_t option, double value);
  /// Notes whether all schedules are constant.
  void SetConstant();
  /// The gradient times `factor` plus `shift`, clipped to `clip`, with a limit that suits the rule.
  GradientForm<float> FormOf(float factor, float shift, float clip) const {
    return {factor, shift, std::min(clip, limit), limit < clip};
  }

  // Coefficients by the number of updates that a tensor has had and by its memory before and after;
  // most tensors have the same.
  struct Age {
    int64_t t;
    TensorMemory before, after;
    friend bool operator<(const Age& a, const Age& b) {
      return a.t != b.t ? a.t < b.t : a.before < b.before;
    }
    friend bool operator==(const Age& a, const Age& b) {
      return a.t == b.t && a.before == b.before;
    }
  };
  std::vector<Age> ages;
  std::vector<float> coeffs;  // beside ages, once these are sorted
  bool formed = false;        // whether they are

  /// Adds an age, unless the last one is the same.
  void AddAge(int64_t t, const TensorMemory& memory);
  /// Sorts what was added and makes its coefficients.
  void FormCoeffs();
  /// Of what FormCoeffs has seen.
  const Age& Find(int64_t t, const TensorMemory& memory) const;
  const float* CoeffsAt(int64_t t, const TensorMemory& memory) const;
};

/// How the weights and the state of a tensor are stored; tensors alike share one.
struct Storage {
  Format weights = Format::kFloat32;
  std::vector<Format> slots = {};
  std::vector<int64_t> sizes = {};  // of the slots, in elements; none: each as large as the tensor

  friend bool operator<(const Storage& a, const Storage& b) {
    return std::tie(a.weights, a.slots, a.sizes) < std::tie(b.weights, b.slots, b.sizes);
  }
};

/// What only some tensors have: for a rule with norms or memory, for work unit by unit, for random
/// rounding, and for checks.
struct Extra {
  int64_t unit = 0;          // elements of a unit; 0: nothing is done unit by unit
  TensorMemory memory = {};  // of the rule
  // Of the step being taken:
  std::vector<GradientForm<float>> units = {};
  std::vector<float> adapted = {};  // coefficients of the second pass
  Numerics numerics = {};
  TrustRatio trust = {};                                      // if it has one
  std::array<uint64_t, 1 + RuleEntry::kMostSlots> keys = {};  // of the weights and of the slots
};

/// How a tensor is stepped, and what it has. There may be millions.
struct TensorRecord {
  /// A state buffer, as in Coded.
  struct Array {
    void *data, *companion;
  };

  uint32_t cohort;
  TensorClass tensor_class;
  const Storage* storage;
  int64_t size;
  int64_t step = 0;                   // updates that the tensor has had
  void* param = nullptr;              // where BindParameters has seen it
  void* master = nullptr;             // what it has beside the parameter
  Array* arrays = nullptr;            // one a slot
  const void* gradient = nullptr;     // of the step being taken; null: none
  std::unique_ptr<Extra> extra = {};  // null: it needs none
  CodedFn fused = nullptr;            // the update of these formats, if there is one
  Format gradient_format = {};
  bool clips = false, centralizes = false;  // unit by unit
  bool has_state = false;                   // since the first gradient
  bool owned = true;                        // see Optimizer::SetOwnership
  bool coded = false;  // whether passes go by blocks of kCodeBlock: for the formats, or a penalty

  /// Slots that there are: none before the first gradient.
  size_t Slots() const { return has_state ? storage->slots.size() : 0; }
  /// Elements of a slot, also of one that there will be.
  size_t SlotSize(size_t k) const {
    return static_cast<size_t>(storage->sizes.empty() ? size : storage->sizes[k]);
  }
  int64_t Unit() const { return extra == nullptr ? 0 : extra->unit; }
  const TensorMemory& Memory() const {
    static constexpr TensorMemory kNone = {};
    return extra == nullptr ? kNone : extra->memory;
  }
  Coded Weights() const { return {storage->weights, param, master, Key(0)}; }
  Coded State(size_t k) const {
    return {storage->slots[k], arrays[k].data, arrays[k].companion, Key(1 + k)};
  }
  Coded Gradient() const { return {gradient_format, const_cast<void*>(gradient)}; }  // only read

 private:
  uint64_t Key(size_t k) const { return extra == nullptr ? 0 : extra->keys[k]; }
};

/// A piece of work: elements [begin, begin + size) of a tensor.
struct Piece {
  uint32_t tensor;
  int32_t size;  // at most kLargestPiece
  int64_t begin;
  int64_t before;  // elements of all earlier pieces
};

/// Pieces of work in their order.
struct Work {
  std::vector<Piece> pieces;
  int64_t elements = 0;

  void Clear() {
    pieces.clear();
    elements = 0;
  }
  void Add(size_t tensor, int64_t begin, int64_t size) {
    pieces.push_back({static_cast<uint32_t>(tensor), static_cast<int32_t>(size), begin, elements});
    elements += size;
  }
  void AddBlocks(size_t tensor, int64_t size) {
    for (int64_t begin = 0; begin < size; begin += kBlock) {
      Add(tensor, begin, std::min(kBlock, size - begin));
    }
  }
};

/// The coefficients of the second pass of a rule with norms, from the sums of squares of the first.
void Adapt(const Cohort& c, TensorRecord& s, const double* sums);

/// The parameter as the model sees it, without its master.
inline Coded Visible(const Coded& weights) {
  switch (weights.format) {
    case Format::kFloat32:
      return {.data = weights.data};
    case Format::kFloat16:
    case Format::kFloat16Random:
    case Format::kMasterFloat16:
      return {.format = Format::kFloat16, .data = weights.data};
    default:
      return {.format = Format::kBFloat16, .data = weights.data};
  }
}

/// Whether a tensor's weights have more digits than the parameter.
inline bool HasMaster(const TensorRecord& s) { return CompanionBytes(s.storage->weights, 1) > 0; }

/// Whether an array of a tensor with such a gradient is not float32.
inline bool IsCoded(const Storage& storage, Format gradient) {
  const auto coded = [](Format format) { return format != Format::kFloat32; };
  return coded(storage.weights) || coded(gradient) || std::ranges::any_of(storage.slots, coded);
}

/// Weights and state as they are stored outside steps: nothing is random.
inline Coded Nearest(Coded array) {
  if (array.format == Format::kBFloat16Random) array.format = Format::kBFloat16;
  if (array.format == Format::kFloat16Random) array.format = Format::kFloat16;
  return array;
}

/// Whether the first of two passes over coded arrays updates the state. It is then kept for the
/// norms alone and made again in the second pass: what is stored is rounded, and the step is to be
/// that of the state before.
inline bool UpdatesTwice(const RuleEntry& rule) {
  return rule.norms > 0 && rule.state_pass == StatePass::kMeasure;
}

}  // namespace kudari::internal

#endif  // KUDARI_BACKEND_WORK_H_
