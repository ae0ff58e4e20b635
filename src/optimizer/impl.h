#ifndef KUDARI_OPTIMIZER_IMPL_H_
#define KUDARI_OPTIMIZER_IMPL_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
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

#include "backend/backend.h"
#include "backend/memory.h"
#include "backend/work.h"
#include "core/elements.h"
#include "kudari/optimizer.h"

namespace kudari {
namespace internal {

/// Adds what a tensor has since its first gradient to the memory that is to be allocated.
void AddArrays(const TensorRecord& s, StateMemory::Needs& needs);

/// The index of a cohort, which takes the place of one without users or is added, unless there is
/// one like it.
uint32_t AddCohort(std::vector<Cohort>& cohorts, Cohort cohort);
/// Makes `at` the index of a cohort that is added for it, in place of that of its former one.
void MoveTo(std::vector<Cohort>& cohorts, uint32_t& at, Cohort cohort);

/// What a step of a tensor with such a gradient reads and writes; `coded` as in TensorRecord.
MemoryTraffic StepTraffic(const RuleEntry& rule, const Tensor& tensor, const TensorRecord& s,
                          Format gradient, bool coded);

}  // namespace internal

// A step, from above:
//
//   Step            refuses what cannot be, then asks the source for a gradient (src/sources)
//   Apply           step.cc: schedules, gradients bound, norm, policies, factors of the scales
//     BindGradients work.cc: pointers and formats, as they are now; Divide if other tensors have a
//                   gradient than before: state for new ones, blocks, scratch memory
//     SumSquares    of the blocks, if something wants the norm
//     PrepareUpdate the last that can fail: averagers begin, coefficients are formed
//     Update        the backend's passes: units, first pass, second pass, whole tensors
//   After           averagers follow (src/averagers)
//
// StepTensor (release.cc) does the same for one tensor, State and LoadState are in state.cc,
// Evaluation in evaluation.cc.
struct Optimizer::Impl final : Engine {
  std::vector<Tensor> tensor_list;
  OptimizerSpec spec;  // complete
  std::vector<internal::Cohort> cohorts;
  std::set<internal::Storage> storages;
  std::vector<internal::TensorRecord> records;  // beside tensor_list
  Backend* users_backend = nullptr;             // that the tensors name; null: host memory
  std::shared_ptr<Backend> backend_;  // where all tensors live; the user's may not be owned
  std::vector<internal::StateMemory> state_memory;
  std::vector<char> released;  // tensors that StepTensor has stepped in this step, or empty

  // What a step works on, divided again when other tensors have gradients than before.
  bool divided = false;              // whether it is that of the gradients bound
  std::vector<uint32_t> active;      // tensors that have a gradient, in their order
  internal::Work blocks;             // all elements, for the global norm; none: not needed yet
  std::vector<double> partial_sums;  // beside blocks
  std::function<void(std::span<double>)> sum_over_processes;  // null: there is one
  std::vector<double> all_sums;  // of the blocks of all tensors, if there are other processes
  internal::Work first, second;  // passes of rules element by element
  std::vector<double> measured;  // beside first: sums of a rule with norms
  std::vector<size_t> by_unit;   // tensors with work unit by unit
  std::vector<size_t> one_by_one, side_by_side;  // tensors of whole rules
  std::vector<internal::Arena> scratch_arena;    // one or none
  std::vector<float*> scratch;                   // one a worker
  std::vector<size_t> remembering, trusting;     // tensors of rules with memory, with a trust ratio

  MemoryTraffic traffic;       // of the passes over `active` tensors
  int64_t gradient_bytes = 0;  // of all of them
  int64_t step_count = 0;
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
  TensorClass Class(size_t index) const override { return records[index].tensor_class; }
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
  bool Owns(size_t index) const override { return records[index].owned; }
  Backend& backend() const override { return *backend_; }
  internal::Coded Weights(size_t index) const override;
  internal::Coded Slot(size_t index, std::string_view slot) const override;

  void CheckIndex(size_t index) const;

  // Construction, optimizer.cc.
  struct Building;
  void AddTensor(const Tensor& tensor, Building& building);
  uint32_t CohortOf(int group, TensorClass tensor_class, Building& building);
  internal::Cohort WithSchedules(size_t index, std::vector<Schedule> schedules, int64_t step) const;
  void SetSchedule(size_t index, std::string_view option, const Schedule& schedule);
  static std::vector<int64_t> SlotSizes(const internal::Cohort& cohort, const Tensor& t);
  const internal::Storage* StorageOf(const Tensor& tensor, const internal::TensorRecord& s,
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
  void PlaceState(internal::TensorRecord& s, internal::StateMemory& memory);
  void AllocateScratch();
  void ClearSlot(internal::TensorRecord& s, size_t k);
  void StartMaster(internal::TensorRecord& s);
  int64_t CopiedSize(const internal::TensorRecord& s, internal::Format gradient) const;
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
  internal::StepView View() {
    return {tensor_list, records, cohorts, parallel_, spec.precision.check};
  }
  double SumSquares();
  std::string_view FirstNonFinite() const;
  void SetOwnership(const std::vector<bool>& owned, std::function<void(std::span<double>)> sum);
  void AdaptLarge();
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
