#ifndef KUDARI_OPTIMIZER_IMPL_H_
#define KUDARI_OPTIMIZER_IMPL_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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

/// Zeroed arrays in one allocation, each aligned to a cache line.
class Arena {
 public:
  /// `total` is the sum of Padded(bytes) over the arrays.
  explicit Arena(size_t total)
      : memory_(static_cast<char*>(std::calloc(total + kAlignment, 1)), &std::free) {
    if (memory_ == nullptr) throw std::bad_alloc();
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    next_ = memory_.get() + (kAlignment - address % kAlignment);
  }

  static size_t Padded(size_t bytes) {
    return Gap(bytes) + (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  /// Null for no bytes.
  void* Take(size_t bytes) {
    if (bytes == 0) return nullptr;
    char* const array = next_ + Gap(bytes);
    next_ += Padded(bytes);
    return array;
  }

 private:
  static constexpr size_t kAlignment = 64;
  // State arrays a power of two apart, which adjacent ones of a large tensor often are, cost a step
  // up to a third of its time; a gap of 1 to 256 KiB before each avoids that.
  static constexpr size_t kStagger = 2112;
  static size_t Gap(size_t bytes) { return bytes < kBlock * sizeof(float) ? 0 : kStagger; }

  std::unique_ptr<char, decltype(&std::free)> memory_;
  char* next_;
};

inline constexpr int kNoGroup = -1, kFallbackGroup = -2;  // as in TensorPlan

using TensorMemory = std::array<double, RuleEntry::kMostMemory>;

/// Tensors that share a rule and its options.
struct Cohort {
  RuleEntry rule;
  int group;                        // index of the spec's group, kNoGroup or kFallbackGroup
  bool adapts;                      // rules with norms: whether the second pass uses them
  size_t users = 0;                 // tensors; SetSchedule may leave a cohort without
  RuleKernels kernels;              // null: the rule's scalar passes
  std::vector<Schedule> schedules;  // in the order of rule.options
  // What a penalty adds to the gradient; no function: there is none.
  Schedule l1 = 0, l2 = 0;
  PenalizeFn penalize = nullptr;
  float l1_now = 0, l2_now = 0;
  double base_lr = 1;  // that weight_decay is divided by
  bool constant = true;
  std::vector<double> values;  // at the step being taken

  /// Sets an option's value, a weight decay relative to base_lr.
  void SetValue(size_t option, double value);
  /// Notes whether all schedules are constant.
  void SetConstant();

  // Coefficients by the number of updates that a tensor has had and by its memory before and after;
  // most tensors have the same.
  struct Age {
    int64_t t;
    TensorMemory before, after;
    friend bool operator<(const Age& a, const Age& b) {
      return a.t != b.t ? a.t < b.t : a.before < b.before;
    }
  };
  std::vector<Age> ages;  // sorted
  std::vector<float> coeffs;

  void AddAge(int64_t t, const TensorMemory& memory, std::vector<double>& scratch);
  /// Of what was added.
  const Age& Find(int64_t t, const TensorMemory& memory) const;
  const float* CoeffsAt(int64_t t, const TensorMemory& memory) const;
};

struct Slotted {
  size_t cohort;
  TensorClass tensor_class;
  int64_t size;
  std::vector<int64_t> slot_sizes;
  std::vector<Format> slot_formats;  // beside slot_sizes
  bool clips, centralizes;           // unit by unit
  int64_t unit = 0;                  // elements of a unit; 0: nothing is done unit by unit
  int64_t step = 0;                  // updates that the tensor has had
  TensorMemory memory = {};          // of the rule
  bool has_state = false;            // since the first gradient
  Coded weights = {};                // the parameter, where the tensor says, and its master
  std::vector<Coded> state = {};     // one a slot; no data for one of size 0
  std::vector<GradientForm<float>> units = {};  // of the step being taken
  std::vector<float> adapted = {};              // coefficients of the second pass
  Coded gradient = {};                          // of the step being taken; no data: none
  bool coded = false;  // whether passes go by blocks of kCodeBlock: for the formats, or a penalty
  CodedFn fused = nullptr;  // the update of these formats, if there is one
  Numerics numerics = {};   // of the step being taken
  TrustRatio trust = {};    // of the same, if it has one

  bool HasGradient() const { return gradient.data != nullptr; }
};

/// A piece of work: elements [begin, begin + size) of a tensor.
struct Piece {
  size_t tensor;
  int64_t begin, size;
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
    pieces.push_back({tensor, begin, size, elements});
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
  std::vector<internal::Slotted> slotted;  // beside tensor_list
  std::vector<internal::Arena> arenas;
  std::vector<char> released;  // tensors that StepTensor has stepped in this step, or empty
  std::vector<char> active;    // tensors that the work below covers

  internal::Work blocks;                         // all elements, for the global norm
  std::vector<double> partial_sums;              // beside blocks
  internal::Work first, second;                  // passes of rules element by element
  std::vector<double> measured;                  // beside first: sums of a rule with norms
  std::vector<size_t> united;                    // tensors with work unit by unit
  std::vector<size_t> one_by_one, side_by_side;  // tensors of whole rules
  std::vector<internal::Arena> scratch_arena;    // one or none
  std::vector<float*> scratch;                   // one a worker

  std::vector<double> coeff_scratch;
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
  std::vector<std::unique_ptr<Averager>> averagers;
  std::vector<bool> averager_started;  // beside averagers
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

  const internal::Coded& SlotNamed(size_t index, std::string_view slot) const;
  internal::Coded WeightsNow(size_t index) const;

  void CheckIndex(size_t index) const;

  // Construction, optimizer.cc.
  void AddTensor(const Tensor& tensor, std::vector<bool>& matched, const Registry& registry);
  size_t CohortOf(int group, TensorClass tensor_class, const Registry& registry);
  size_t AddCohort(internal::Cohort cohort);
  void SetSchedule(size_t index, std::string_view option, const Schedule& schedule);
  void ChooseFormats(const Tensor& tensor, internal::Slotted& s) const;
  void CheckSlotNames() const;
  void MakeSource();
  void AddAverager(std::unique_ptr<Averager> averager);
  void StartAveragers();
  void LoadAveragers(const std::vector<std::map<std::string, std::vector<float>>>& states);

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
  void DivideWork();
  void AllocateState();
  void AllocateScratch();
  static void ClearSlot(internal::Slotted& s, size_t k);
  void StartMaster(internal::Slotted& s);
  int64_t CopiedSize(const internal::Slotted& s) const;
  void SetKeys(size_t index);

  // A step tensor by tensor, release.cc.
  void CheckStepTensor(bool norm) const;
  void Refresh();
  Report StepTensor(size_t index, std::optional<double> norm);
  double GradientSquares(size_t index) const;
  void FinishStep();

  // A step, step.cc.
  void SetValues(internal::Cohort& cohort) const;
  double ClipValue() const;
  template <class F>
  void ForPieces(const internal::Work& work, const F& f);
  double SumSquares();
  std::string_view FirstNonFinite() const;
  void FormUnits(const GradientForm<float>& form, double factor);
  template <class F>
  void Walk(const internal::Work& work, size_t begin, size_t end, bool backwards, const F& f) const;
  void FirstPass(size_t begin, size_t end, const GradientForm<float>& form);
  void SecondPass(size_t begin, size_t end, const GradientForm<float>& form);
  void Together(size_t tensor, const float* coeffs, const GradientForm<float>& form);
  void Adapt(internal::Slotted& s, const double* sums) const;
  void AdaptLarge();
  void StepWholes(const GradientForm<float>& form);
  void StepWhole(size_t tensor, const GradientForm<float>& form, float* memory,
                 const Parallel& workers);
  Report Step(std::optional<double> loss_scale);
  Report Step(std::optional<double> loss_scale, const Oracle& oracle);
  void Update(Report& report, double limit);
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
