#ifndef KUDARI_OPTIMIZER_IMPL_H_
#define KUDARI_OPTIMIZER_IMPL_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "kernels/codecs.h"
#include "kernels/coded.h"
#include "kernels/kernels.h"
#include "kudari/optimizer.h"

namespace kudari {
namespace internal {

// Elements of one piece of work. Its boundaries depend on the tensors alone, so partial sums and
// therefore norms do not depend on the number of threads.
inline constexpr int64_t kBlock = 16384;

// A tensor of a rule with norms up to this size is finished by one thread before the next, so that
// the second pass finds it in the cache.
inline constexpr int64_t kTogether = 8 * kBlock;

// Tensors of whole rules up to this size are stepped side by side, one thread each.
inline constexpr int64_t kSideBySide = 1 << 18;

/// Arrays in one allocation, those of a cache line and more each aligned to one. Memory runs out
/// here or nowhere: placing and taking arrays allocates nothing.
class Arena {
 public:
  /// `total` is what Place has made of all arrays, in the order in which they will be taken.
  explicit Arena(size_t total)
      : memory_(static_cast<std::byte*>(::operator new(total, std::align_val_t(kLine)))) {}

  /// Where an array of that number of bytes begins behind the first `end` bytes; `end` then
  /// includes it.
  static size_t Place(size_t bytes, size_t& end) {
    if (bytes == 0) return end;
    const size_t alignment = bytes < kLine ? alignof(void*) : kLine;
    const size_t begin = (end + alignment - 1) / alignment * alignment + Gap(bytes);
    end = begin + bytes;
    return begin;
  }

  /// Null for no bytes.
  void* Take(size_t bytes) { return bytes == 0 ? nullptr : memory_.get() + Place(bytes, taken_); }

 private:
  static constexpr size_t kLine = 64;
  // State arrays a power of two apart, which adjacent ones of a large tensor often are, cost a step
  // up to a third of its time; a gap of 1 to 256 KiB before each avoids that.
  static constexpr size_t kStagger = 2112;
  static size_t Gap(size_t bytes) { return bytes < kBlock * sizeof(float) ? 0 : kStagger; }

  struct Free {
    void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t(kLine)); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  size_t taken_ = 0;
};

using TensorMemory = std::array<double, RuleEntry::kMostMemory>;

/// Tensors that share a rule and its options.
struct Cohort {
  RuleEntry rule;
  int group;                        // index of the spec's group, kNoGroup or kFallbackGroup
  bool adapts;                      // rules with norms: whether the second pass uses them
  size_t users = 0;                 // tensors; SetSchedule may leave a cohort without
  RuleKernels kernels;              // null: the rule's scalar passes
  std::vector<Schedule> schedules;  // in the order of rule.options
  std::vector<Schedule> original;   // those of the spec
  // What a penalty adds to the gradient; no function: there is none.
  Schedule l1 = 0, l2 = 0;
  PenalizeFn penalize = nullptr;
  float l1_now = 0, l2_now = 0;
  double base_lr = 1;                                    // that weight_decay is divided by
  float limit = std::numeric_limits<float>::infinity();  // of the gradient that the rule sees
  bool constant = true;
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

/// The index of a cohort, which takes the place of one without users or is added, unless there is
/// one like it.
uint32_t AddCohort(std::vector<Cohort>& cohorts, Cohort cohort);
/// Makes `at` the index of a cohort that is added for it, in place of that of its former one.
void MoveTo(std::vector<Cohort>& cohorts, uint32_t& at, Cohort cohort);

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
struct Slotted {
  /// A state buffer, as in Coded.
  struct Array {
    void *data, *more;
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
    return {storage->slots[k], arrays[k].data, arrays[k].more, Key(1 + k)};
  }
  Coded Gradient() const { return {gradient_format, const_cast<void*>(gradient)}; }  // only read

 private:
  uint64_t Key(size_t k) const { return extra == nullptr ? 0 : extra->keys[k]; }
};

/// A piece of work: elements [begin, begin + size) of a tensor.
struct Piece {
  uint32_t tensor;
  int32_t size;  // at most kTogether
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

}  // namespace internal

struct Optimizer::Impl final : Engine {
  std::vector<Tensor> tensor_list;
  OptimizerSpec spec;  // complete
  std::vector<internal::Cohort> cohorts;
  std::set<internal::Storage> storages;
  std::vector<internal::Slotted> slotted;  // beside tensor_list
  std::vector<internal::Arena> arenas;
  std::vector<char> released;  // tensors that StepTensor has stepped in this step, or empty

  // What a step works on, divided again when other tensors have gradients than before.
  bool divided = false;              // whether it is that of the gradients bound
  std::vector<uint32_t> active;      // tensors that have a gradient, in their order
  internal::Work blocks;             // all elements, for the global norm; none: not needed yet
  std::vector<double> partial_sums;  // beside blocks
  internal::Work first, second;      // passes of rules element by element
  std::vector<double> measured;      // beside first: sums of a rule with norms
  std::vector<size_t> united;        // tensors with work unit by unit
  std::vector<size_t> one_by_one, side_by_side;  // tensors of whole rules
  std::vector<internal::Arena> scratch_arena;    // one or none
  std::vector<float*> scratch;                   // one a worker
  std::vector<size_t> remembering, trusting;     // tensors of rules with memory, with a trust ratio

  MemoryTraffic traffic;       // of the passes over `active` tensors
  int64_t gradient_bytes = 0;  // of all of them
  int64_t step_count = 0;
  const internal::KernelSet* kernels;
  const internal::Codecs* codecs;  // of the same instruction set
  std::vector<Numerics> numerics;  // what the report shows
  std::vector<Trust> trust;        // the same
  Parallel parallel_;
  double loss_scale_ = 1;  // of the step being taken
  std::unique_ptr<Source> source;
  std::vector<std::unique_ptr<Scale>> scales;
  struct Follower {
    std::unique_ptr<Averager> averager;
    bool started = false;
  };
  std::vector<Follower> averagers;
  std::shared_ptr<bool> view_open = std::make_shared<bool>(false);
  bool inside = false;  // a call that runs code of the user's

  Impl(std::vector<Tensor> the_tensors, const OptimizerSpec& the_spec, const Registry& registry);

  // Engine.
  std::span<const Tensor> tensors() const override { return tensor_list; }
  TensorClass Class(size_t index) const override { return slotted[index].tensor_class; }
  const Parallel& parallel() const override { return parallel_; }
  double loss_scale() const override { return loss_scale_; }
  int64_t steps() const override { return step_count; }
  std::string_view Rule(size_t index) const override;
  size_t SlotSize(size_t index, std::string_view slot) const override;
  void LoadSlot(size_t index, std::string_view slot, size_t begin,
                std::span<float> out) const override;
  void StoreSlot(size_t index, std::string_view slot, size_t begin,
                 std::span<const float> values) override;
  void LoadWeights(size_t index, size_t begin, std::span<float> out) const override;
  void StoreWeights(size_t index, size_t begin, std::span<const float> values) override;
  double Value(size_t index, std::string_view option) const override;
  void ResetState(size_t index) override;

  internal::Coded SlotNamed(size_t index, std::string_view slot) const;
  internal::Coded WeightsNow(size_t index) const;

  void CheckIndex(size_t index) const;

  // Construction, optimizer.cc.
  struct Building;
  void AddTensor(const Tensor& tensor, Building& building);
  uint32_t CohortOf(int group, TensorClass tensor_class, Building& building);
  internal::Cohort WithSchedules(size_t index, std::vector<Schedule> schedules, int64_t step) const;
  void SetSchedule(size_t index, std::string_view option, const Schedule& schedule);
  const internal::Storage* StorageOf(const Tensor& tensor, const internal::Slotted& s,
                                     std::vector<int64_t> sizes);
  void CheckSlotNames() const;
  void MakeSource();
  void AddAverager(std::unique_ptr<Averager> averager);
  void StartAveragers();

  // State, state.cc.
  struct Loading;
  void Visit(StateVisitor& visitor);
  void VisitTensor(size_t index, StateVisitor& visitor, Loading* loading, int64_t step);
  void VisitSlots(size_t index, StateVisitor& visitor);
  void VisitSchedules(size_t index, StateVisitor& visitor, Loading* loading, int64_t step);
  void VisitAveragers(StateVisitor& visitor);
  void Take(Loading& loading);

  // The view, evaluation.cc.
  void Evaluate(size_t index, const float* coeffs, size_t begin, size_t end,
                const internal::Coded& to);

  // What may be called when, optimizer.cc.
  void CheckNotInside(std::string_view what) const;
  void CheckNoView(std::string_view what) const;
  void CheckNotReleased(std::string_view what) const;
  void CheckBetweenSteps(std::string_view what) const;
  class Inside;

  // What a step works on, work.cc.
  void BindParameters();
  bool BindGradient(size_t index, const void* gradient, DType type);
  void BindGradients(std::span<const float* const> data);
  void Divide();
  void DivideWork();
  void DivideBlocks();
  void AllocateState();
  void PlaceState(internal::Slotted& s, internal::Arena* arena);
  void AllocateScratch();
  static void ClearSlot(internal::Slotted& s, size_t k);
  void StartMaster(internal::Slotted& s);
  int64_t CopiedSize(const internal::Slotted& s, internal::Format gradient) const;
  void SetKeys(size_t index);

  // A step tensor by tensor, release.cc.
  void CheckStepTensor(bool norm) const;
  void Refresh();
  Report StepTensor(size_t index, std::optional<double> norm);
  double GradientSquares(size_t index) const;
  void FinishStep();

  // A step, step.cc.
  void SetValues(internal::Cohort& cohort) const;
  /// What gradients are clipped to: elements, and units relative to their weights.
  struct Clips {
    double value, unit;
  };
  Clips ClipsNow() const;
  template <class F>
  void ForPieces(const internal::Work& work, const F& f);
  double SumSquares();
  std::string_view FirstNonFinite() const;
  void FormUnits(double factor, const Clips& clips);
  template <class F>
  void Walk(const internal::Work& work, size_t begin, size_t end, bool backwards, const F& f) const;
  void FirstPass(size_t begin, size_t end);
  void SecondPass(size_t begin, size_t end);
  void Together(size_t tensor, const float* coeffs);
  void Adapt(internal::Slotted& s, const double* sums) const;
  void AdaptLarge();
  void StepWholes();
  void StepWhole(size_t tensor, float* memory, const Parallel& workers);
  Report Step(std::optional<double> loss_scale);
  Report Step(std::optional<double> loss_scale, const Oracle& oracle);
  void PrepareUpdate();
  void Update(Report& report, const Clips& clips);
  Report Apply(const Gradient& gradient, std::optional<double> loss_scale);
  void UpdateHessian(std::span<const float* const> estimates);
};

/// While it lives, calls that change the optimiser throw Error.
class Optimizer::Impl::Inside {
 public:
  explicit Inside(Impl& impl) : impl_(impl) { impl.inside = true; }
  ~Inside() { impl_.inside = false; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  Impl& impl_;
};

}  // namespace kudari

#endif  // KUDARI_OPTIMIZER_IMPL_H_
