#ifndef KUDARI_BACKEND_WORK_H_
#define KUDARI_BACKEND_WORK_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "kernels/codecs.h"
#include "kernels/coded.h"
#include "kernels/kernels.h"
#include "kudari/optimizer.h"

namespace kudari::internal {

// The number of elements in one piece of work. Boundaries depend on the tensors alone, so partial
// sums, and therefore norms, do not depend on the number of threads.
inline constexpr int64_t kBlock = 16384;

/// The number of blocks of an array.
constexpr size_t BlocksOf(int64_t size) {
  return static_cast<size_t>((size + kBlock - 1) / kBlock);
}

// For a rule with norms, a tensor up to this size is finished by one thread before it starts the
// next, so that the second pass finds the tensor in the cache.
inline constexpr int64_t kLargestPiece = 8 * kBlock;

// Tensors up to this size are stepped by whole rules in parallel, one thread each.
inline constexpr int64_t kSideBySide = 1 << 18;

/// A step that never comes.
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

using TensorMemory = std::array<double, RuleEntry::kMostMemory>;

/// A set of tensors that share a rule and its options, and that are all of float64 or none.
struct Cohort {
  RuleEntry rule;
  int group;                        // index of the spec's group, or kNoGroup or kFallbackGroup
  bool adapts;                      // rules with norms: whether the second pass uses them
  bool float64 = false;             // whether its tensors are of float64, stepped in double
  size_t users = 0;                 // number of tensors; SetSchedule may leave a cohort without any
  std::vector<Schedule> schedules;  // in the order of rule.options
  std::vector<Schedule> original;   // the schedules of the spec
  // The coefficients of the penalties.
  Schedule l1 = 0, l2 = 0;
  bool penalized = false;
  double l1_now = 0, l2_now = 0;
  double base_lr = 1;                                    // divides weight_decay
  double lr_scale = 1;                                   // multiplies lr
  int64_t frozen_until = 0, frozen_from = kNever;        // frozen before, and from then on
  float limit = std::numeric_limits<float>::infinity();  // bound on the gradient that the rule sees
  bool constant = true;
  // Code chosen by the backend. Without kernels, the rule's scalar passes are used.
  RuleKernels kernels = {};
  PenalizeFn<float> penalize = nullptr;
  // The same of float64.
  ScalarPasses<double> exact_passes = {};
  RowsFn<double> exact_update_rows = nullptr;
  PenalizeFn<double> exact_penalize = nullptr;
  // For the current step:
  std::vector<double> values;
  GradientForm<float> form = {};         // for tensors without per-unit work
  GradientForm<double> exact_form = {};  // the same of float64

  /// An option's value as the rule has it: lr is multiplied by lr_scale.
  double Scaled(size_t option, double value) const;
  /// Sets an option's value from that of its schedule; a weight decay is set relative to base_lr.
  void SetValue(size_t option, double value);
  bool Freezes() const { return frozen_until > 0 || frozen_from < kNever; }
  bool FrozenAt(int64_t step) const { return step < frozen_until || step >= frozen_from; }
  /// Updates `constant`: whether all schedules are constant.
  void SetConstant();
  /// The form factor * g + shift, clipped to `clip`, with a limit that suits the rule.
  GradientForm<float> FormOf(float factor, float shift, float clip) const {
    return {factor, shift, std::min(clip, limit), limit < clip};
  }
  /// Sets the form that multiplies by a factor and clips, of tensors without per-unit work.
  void SetForm(double factor, double clip);

  // Coefficients, keyed by the number of updates that a tensor has had and by its memory before and
  // after the update; most tensors share one entry.
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
  std::vector<float> coeffs;       // parallel to `ages`, once these are sorted
  std::vector<double> exact = {};  // `coeffs` as computed, for rules with norms and of float64
  bool formed = false;             // whether `ages` are sorted and have coefficients

  /// Adds an age, unless it equals the last one.
  void AddAge(int64_t t, const TensorMemory& memory);
  /// Sorts the added ages and computes their coefficients.
  void FormCoeffs();
  /// Lookups among the ages that FormCoeffs has processed.
  const Age& Find(int64_t t, const TensorMemory& memory) const;
  size_t IndexOf(int64_t t, const TensorMemory& memory) const;
  const float* CoeffsAt(int64_t t, const TensorMemory& memory) const;
  const double* ExactAt(int64_t t, const TensorMemory& memory) const;
};

/// The storage formats of a tensor's weights and state; tensors with the same formats share one.
struct Storage {
  Format weights = Format::kFloat32;
  std::vector<Format> slots = {};
  std::vector<int64_t> sizes = {};  // elements per slot; empty: each slot is as large as the tensor

  friend bool operator<(const Storage& a, const Storage& b) {
    return std::tie(a.weights, a.slots, a.sizes) < std::tie(b.weights, b.slots, b.sizes);
  }
};

/// Data that only some tensors have: for rules with norms or memory, for per-unit work, for
/// stochastic rounding, and for checks.
struct Extra {
  int64_t unit = 0;          // elements per unit; 0: no per-unit work
  TensorMemory memory = {};  // the rule's memory
  // For the current step:
  std::vector<GradientForm<float>> units = {};
  std::vector<float> adapted = {};  // coefficients of the second pass
  std::vector<double> exact = {};   // the same of float64
  Numerics numerics = {};
  TrustRatio trust = {};                                      // if the rule has one
  std::array<uint64_t, 1 + RuleEntry::kMostSlots> keys = {};  // of the weights and the slots
};

/// How a tensor is stepped, with its state. There may be millions of these.
struct TensorRecord {
  /// A state buffer; the pointers are as in Coded.
  struct Array {
    void *data, *companion;
  };

  uint32_t cohort;
  TensorClass tensor_class;
  const Storage* storage;
  int64_t size;
  int64_t step = 0;                   // number of updates so far
  void* param = nullptr;              // address last seen by BindParameters
  void* master = nullptr;             // what is stored in addition to the parameter
  Array* arrays = nullptr;            // one per slot
  const void* gradient = nullptr;     // of the current step; null: none
  std::unique_ptr<Extra> extra = {};  // null: not needed
  CodedFn fused = nullptr;            // fused update for these formats, if there is one
  Format gradient_format = {};
  bool clips = false, centralizes = false;  // per unit
  bool has_state = false;                   // true from the first gradient on
  bool owned = true;                        // see Optimizer::SetOwnership
  bool by_rows = false;                     // whether the gradient is of some rows alone
  // Whether passes go by blocks of kCodeBlock, because of the formats or a penalty, or in double.
  bool coded = false;

  /// The number of slots that exist: none before the first gradient.
  size_t Slots() const { return has_state ? storage->slots.size() : 0; }
  /// The number of elements of a slot, whether or not it exists yet.
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
  int64_t before;  // number of elements in all earlier pieces
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

/// The elements of a row of a tensor; 0 if it has no rows.
inline int64_t RowSize(const Tensor& tensor) {
  const int64_t rows = tensor.shape.empty() ? 0 : tensor.shape[0];
  return rows == 0 ? 0 : tensor.Size() / rows;
}

/// The number of elements of a tensor's own gradient, which may be of some rows alone.
inline int64_t GradientSize(const Tensor& tensor) {
  return tensor.grad_rows ? static_cast<int64_t>(tensor.grad_rows->size()) * RowSize(tensor)
                          : tensor.Size();
}

/// Computes the coefficients of the second pass of a rule with norms from the sums of squares of
/// the first.
void Adapt(const Cohort& c, TensorRecord& s, const double* sums);

/// The parameter as the model sees it, without its master.
inline Coded Visible(const Coded& weights) {
  switch (weights.format) {
    case Format::kFloat32:
    case Format::kFloat64:
      return {.format = weights.format, .data = weights.data};
    case Format::kFloat16:
    case Format::kFloat16Random:
    case Format::kMasterFloat16:
      return {.format = Format::kFloat16, .data = weights.data};
    default:
      return {.format = Format::kBFloat16, .data = weights.data};
  }
}

/// Whether a tensor's weights have more digits than its parameter.
inline bool HasMaster(const TensorRecord& s) { return CompanionBytes(s.storage->weights, 1) > 0; }

/// Whether any array of a tensor with such a gradient is not float32.
inline bool IsCoded(const Storage& storage, Format gradient) {
  const auto coded = [](Format format) { return format != Format::kFloat32; };
  return coded(storage.weights) || coded(gradient) || std::ranges::any_of(storage.slots, coded);
}

/// Weights or state as stored outside steps, without stochastic rounding.
inline Coded Nearest(Coded array) {
  if (array.format == Format::kBFloat16Random) array.format = Format::kBFloat16;
  if (array.format == Format::kFloat16Random) array.format = Format::kFloat16;
  return array;
}

/// Whether the first of two passes over coded arrays updates the state. If so, that state is used
/// only for the norms and computed again in the second pass: stored state is rounded, and the step
/// must start from the state before it.
inline bool UpdatesTwice(const RuleEntry& rule) {
  return rule.norms > 0 && rule.state_pass == StatePass::kMeasure;
}

}  // namespace kudari::internal

#endif  // KUDARI_BACKEND_WORK_H_
