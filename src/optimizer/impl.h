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

/// Adds the arrays that a tensor has from its first gradient on to the memory to be allocated.
void AddArrays(const TensorRecord& s, StateMemory::Needs& needs);

inline bool Contains(const std::vector<TensorClass>& classes, TensorClass c) {
  return std::find(classes.begin(), classes.end(), c) != classes.end();
}

/// Throws Error if a schedule or a step has no value because it is relative to the length of a run.
void CheckResolved(const OptimizerSpec& spec);

/// Throws Error naming what does not take a tensor of float64, if it is one: its rule, a stage of
/// the spec or a format of its state.
void CheckFloat64(const Tensor& tensor, TensorClass tensor_class, const RuleEntry& rule,
                  const OptimizerSpec& spec);

/// The index of a cohort equal to `cohort`. If there is none, it replaces a cohort without users or
/// is appended.
uint32_t AddCohort(std::vector<Cohort>& cohorts, Cohort cohort);
/// Adds `cohort` and sets `at` to its index, leaving the cohort that `at` referred to.
void MoveTo(std::vector<Cohort>& cohorts, uint32_t& at, Cohort cohort);

/// The memory traffic of stepping a tensor with such a gradient; `coded` is as in TensorRecord.
MemoryTraffic StepTraffic(const RuleEntry& rule, const Tensor& tensor, const TensorRecord& s,
                          Format gradient, bool coded);

}  // namespace internal

// The structure of a step:
//
//   Step            rejects invalid calls, then asks the source for a gradient (src/sources)
//   Apply           step.cc: schedules, binding of gradients, norm, policies, factors of the scales
//     BindGradients work.cc: current pointers and formats; Divide if the set of tensors with a
//                   gradient has changed: state for new ones, blocks, scratch memory
//     SumSquares    sums of squares of the blocks, if something needs the norm
//     PrepareUpdate the last part that can fail: averagers start, coefficients are computed
//     Update        the backend's passes: units, first pass, second pass, whole tensors
//   After           averagers are updated (src/averagers)
//
// StepTensor (release.cc) does the same for one tensor. State and LoadState are in state.cc,
// Evaluation in evaluation.cc, AddTensors in add_tensors.cc.
struct Optimizer::Impl final : Engine {
  std::vector<Tensor> tensor_list;
  OptimizerSpec spec;  // completed
  std::vector<internal::Cohort> cohorts;
  std::set<internal::Storage> storages;
  std::vector<internal::TensorRecord> records;  // parallel to tensor_list
  Backend* users_backend = nullptr;             // the one that the tensors name; null: host memory
  std::shared_ptr<Backend> backend_;  // where all tensors live; not owned if it is the user's
  std::vector<internal::StateMemory> state_memory;
  std::vector<char> released;  // tensors stepped by StepTensor in this step, or empty

  // The work of a step, divided again when the set of tensors with gradients changes.
  bool divided = false;              // whether the division is for the bound gradients
  std::vector<uint32_t> active;      // tensors with a gradient, in order
  internal::Work blocks;             // all elements, for the global norm; empty: not needed yet
  std::vector<double> partial_sums;  // parallel to `blocks`
  std::function<void(std::span<double>)> sum_over_processes;  // null: a single process
  std::vector<double> all_sums;  // sums of the blocks of all tensors, with several processes
  internal::Work first, second;  // passes of elementwise rules
  std::vector<double> measured;  // sums of rules with norms, parallel to `first`
  std::vector<size_t> by_unit;   // tensors with per-unit work
  std::vector<size_t> by_rows;   // tensors whose gradients are of some rows, others in each step
  internal::Work rows;           // their updates
  std::vector<size_t> one_by_one, side_by_side;  // tensors of whole rules
  std::vector<internal::Arena> scratch_arena;    // one or none
  std::vector<float*> scratch;                   // one per worker
  std::vector<size_t> remembering, trusting;     // tensors of rules with memory, a trust ratio

  MemoryTraffic traffic;       // of the passes over `active` tensors
  int64_t gradient_bytes = 0;  // of all gradients
  // The same of gradients of rows, and only of them.
  MemoryTraffic row_traffic;
  int64_t row_bytes = 0;
  int64_t step_count = 0;
  std::vector<Numerics> numerics;  // what the report refers to
  std::vector<Trust> trust;        // likewise
  Parallel parallel_;
  double loss_scale_ = 1;  // of the current step
  std::unique_ptr<Source> source;
  std::vector<std::unique_ptr<Scale>> scales;
  struct Follower {
    std::unique_ptr<Averager> averager;
    bool started = false;
  };
  std::vector<Follower> averagers;
  std::shared_ptr<bool> view_open = std::make_shared<bool>(false);
  bool inside = false;          // during a call that runs the user's code
  bool freezes = false;         // whether there is a tensor that is frozen at some step
  std::vector<int64_t> layers;  // of the tensors, if the spec has a layer_decay
  int64_t last_layer = 0;

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
  bool Frozen(size_t index, int64_t step) const override {
    return freezes && cohorts[records[index].cohort].FrozenAt(step);
  }
  Backend& backend() const override { return *backend_; }
  internal::Coded Weights(size_t index) const override;
  internal::Coded Slot(size_t index, std::string_view slot) const override;

  void CheckIndex(size_t index) const;

  // Construction and addition, groups.cc, add_tensors.cc and optimizer.cc.
  struct Building;
  void AddTensors(std::vector<Tensor> added, const std::vector<Group>& groups,
                  const Registry& registry);
  void TakeTensors(std::vector<Tensor> added, size_t first_group, const Registry& registry);
  void DropTensors(size_t count);
  void TreatTensors(size_t first_group, const Registry& registry);
  void CountLayers(const std::vector<TensorClass>& classes);
  void AddTensor(size_t index, TensorClass tensor_class, Building& building);
  int GroupOf(const Tensor& tensor, TensorClass tensor_class, Building& building) const;
  void CheckGroups(const Building& building) const;
  uint32_t CohortOf(int group, TensorClass tensor_class, std::optional<int64_t> layer, bool float64,
                    Building& building);
  void SetScaleAndFreeze(const Group* group, std::optional<int64_t> layer,
                         internal::Cohort& cohort) const;
  internal::Cohort WithSchedules(size_t index, std::vector<Schedule> schedules, int64_t step) const;
  void SetSchedule(size_t index, std::string_view option, const Schedule& schedule);
  void SetSchedule(std::string_view option, const Schedule& schedule, std::optional<int> group);
  void CheckReplaced(const internal::Cohort& cohort, std::string_view option) const;
  double Lr(std::optional<int> group) const;
  void CheckGroup(std::string_view what, std::optional<int> group) const;
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

  // Checks on the order of calls, optimizer.cc.
  void CheckNotInside(std::string_view what) const;
  void CheckNoView(std::string_view what) const;
  void CheckNotReleased(std::string_view what) const;
  void CheckBetweenSteps(std::string_view what) const;
  void CheckNoRows() const;
  class Inside;

  // The work of a step, work.cc.
  void BindParameters();
  bool BindGradient(size_t index, const void* gradient, DType type, bool of_rows);
  void CheckGradients() const;
  void BindGradients(std::span<const float* const> data);
  void Divide();
  void DivideWork();
  void DivideRows();
  void CheckRows(size_t index) const;
  void DivideBlocks();
  void AllocateState();
  void PlaceState(internal::TensorRecord& s, internal::StateMemory& memory);
  void AllocateScratch();
  void ClearSlot(internal::TensorRecord& s, size_t k);
  void FillWithWeights(internal::TensorRecord& s, size_t k);
  void StartMaster(internal::TensorRecord& s);
  int64_t CopiedSize(const internal::TensorRecord& s, internal::Format gradient) const;
  void SetKeys(size_t index);

  // Stepping tensor by tensor, release.cc.
  void CheckStepTensor(bool norm) const;
  void Refresh();
  Report StepTensor(size_t index, std::optional<double> norm);
  double GradientSquares(size_t index) const;
  void FinishStep();

  // A step, step.cc.
  void SetValues(internal::Cohort& cohort) const;
  /// Bounds on gradients: on elements, and on units relative to their weights.
  struct Clips {
    double value, unit;
  };
  Clips ClipsNow() const;
  internal::StepView View() {
    return {tensor_list, records, cohorts, parallel_, spec.precision.check};
  }
  bool HasFrozenGradient() const;
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
