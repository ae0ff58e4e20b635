#include "kudari/optimizer.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "kudari/error.h"
#include "kudari/error_kinds.h"
#include "kudari/messages.h"
#include "kudari/recipe.h"
#include "kudari/stages.h"
#include "optimizer/impl.h"
#include "optimizer/spec_options.h"
#include "optimizer/tensor_checks.h"

namespace kudari {

void internal::CheckResolved(const OptimizerSpec& spec) {
  ForSchedules(spec, [](const std::string& name, const Schedule& schedule) {
    if (schedule.IsResolved()) return;
    throw Error(name + " = \"" + schedule.Text() +
                "\" is relative to the length of a run; give the optimiser "
                "Resolve(spec, {.steps = ...}), see kudari/recipe.h");
  });
  ForSteps(spec, [](const std::string& name, const StepNumber& step) {
    if (std::holds_alternative<int64_t>(step)) return;
    throw Error(name + " = \"" + StepText(step) +
                "\" is relative to the length of a run; give the optimiser "
                "Resolve(spec, {.steps = ...}), see kudari/recipe.h");
  });
}

using internal::Cohort;
using internal::TensorRecord;

Optimizer::Impl::Impl(std::vector<Tensor> the_tensors, const OptimizerSpec& the_spec,
                      const Registry& registry)
    : tensor_list(std::move(the_tensors)),
      spec(Complete(the_spec, registry)),
      users_backend(internal::UsersBackend(tensor_list)),
      backend_(internal::BackendFor(users_backend)) {
  internal::CheckResolved(spec);
  internal::CheckTensors(tensor_list);
  TreatTensors(0, registry);
  BindParameters();
  CheckSlotNames();
  MakeSource();
  for (const internal::StageEntry& stage : internal::Stages()) {
    if (stage.make == nullptr) continue;
    if (auto scale = stage.make(spec)) scales.push_back(std::move(scale));
  }
  for (auto& averager : internal::MakeAveragers(spec)) AddAverager(std::move(averager));
}

void Optimizer::Impl::MakeSource() {
  source = internal::Accumulation().make(spec, std::make_unique<PlainSource>(), *this);
  source = internal::FindSource(spec.source).make(spec, std::move(source), *this);
}

/// What Storage has of the sizes of the state. An empty tensor has none of it, whatever its other
/// dimensions would ask for.
std::vector<int64_t> Optimizer::Impl::SlotSizes(const Cohort& cohort, const Tensor& t) {
  if (cohort.rule.whole == nullptr) return {};
  try {
    std::vector<int64_t> sizes = cohort.rule.whole->SlotSizes(cohort.values.data(), t.shape);
    if (t.Size() == 0) std::fill(sizes.begin(), sizes.end(), 0);
    return sizes;
  } catch (const Error& e) {
    throw Error(cohort.rule.name + ": tensor \"" + t.name + "\" " + e.what());
  }
}

/// How the weights and the state of a tensor are stored; `sizes` as in Storage.
const internal::Storage* Optimizer::Impl::StorageOf(const Tensor& t, const TensorRecord& s,
                                                    std::vector<int64_t> sizes) {
  using internal::Format;
  const RuleEntry& rule = cohorts[s.cohort].rule;
  if (t.dtype == DType::kFloat64) {
    const std::vector<Format> slots(rule.slots.size(), Format::kFloat64);
    return &*storages.insert({.weights = Format::kFloat64, .slots = slots}).first;
  }
  const Precision& precision = spec.precision;
  const bool random = precision.rounding == Rounding::kStochastic;
  const Master master = t.dtype == DType::kFloat32 ? Master::kNone : precision.master;
  const auto weights = [&] {
    const bool brain = t.dtype == DType::kBFloat16;
    if (t.dtype == DType::kFloat32) return Format::kFloat32;
    if (master == Master::kFloat32) return brain ? Format::kSplit16 : Format::kMasterFloat16;
    if (master == Master::kNone && brain) {
      return random ? Format::kBFloat16Random : Format::kBFloat16;
    }
    if (master == Master::kNone) return random ? Format::kFloat16Random : Format::kFloat16;
    if (!brain) {
      throw Error("precision.master = \"" + std::string(Name(master)) +
                  "\" is for bfloat16; tensor \"" + t.name + "\" is " + std::string(Name(t.dtype)) +
                  ", which can have \"float32\"");
    }
    return master == Master::kSplit8    ? Format::kSplit8
           : master == Master::kSplit16 ? Format::kSplit16
                                        : Format::kKahan;
  };
  const auto slot = [&](size_t k) {
    const auto named = precision.slots.find(rule.slots[k]);
    StateFormat format = named == precision.slots.end() ? precision.state : named->second;
    const bool eight = format != StateFormat::kFloat32 && format != StateFormat::kBFloat16;
    const SlotKind kind = rule.slot_kinds[k];
    const bool square = kind == SlotKind::kSquare;
    const bool stays = s.size < Precision::kSmallestCoded || (kind != SlotKind::kSigned && !square);
    if ((!sizes.empty() && sizes[k] != s.size) ||
        internal::Contains(precision.exclude, s.tensor_class) || (eight && stays) ||
        kind == SlotKind::kWeights) {
      format = StateFormat::kFloat32;
    }
    switch (format) {
      case StateFormat::kFloat32:
        return Format::kFloat32;
      case StateFormat::kBFloat16:
        return random ? Format::kBFloat16Random : Format::kBFloat16;
      case StateFormat::kLinear8:
        return square ? Format::kRoot8 : Format::kLinear8;
      case StateFormat::kSoftsign8:
        return square ? Format::kRoot8 : Format::kSoftsign8;
      case StateFormat::kDynamic8:
        return square ? Format::kDynamicUnsigned8 : Format::kDynamic8;
    }
    return Format::kFloat32;
  };
  internal::Storage storage{.weights = weights()};
  for (size_t k = 0; k < rule.slots.size(); ++k) storage.slots.push_back(slot(k));
  storage.sizes = std::move(sizes);
  return &*storages.insert(std::move(storage)).first;
}

/// Throws Error if a name in precision.slots is of no rule that a tensor has.
void Optimizer::Impl::CheckSlotNames() const {
  std::vector<std::string> known;
  for (const Cohort& c : cohorts) {
    known.insert(known.end(), c.rule.slots.begin(), c.rule.slots.end());
  }
  for (const auto& [name, format] : spec.precision.slots) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw Error("precision.slots: no rule in use has a state named \"" + name + "\"" +
                Suggest(name, known));
  }
}

void Optimizer::Impl::AddAverager(std::unique_ptr<Averager> averager) {
  averagers.push_back({std::move(averager)});
}

void Optimizer::Impl::StartAveragers() {
  for (Follower& f : averagers) {
    if (f.started) continue;
    f.averager->Start(*this);
    f.started = true;
  }
}

void Optimizer::Impl::Refresh() {
  CheckBetweenSteps("Refresh");
  const Inside refresh(*this);
  BindParameters();
  for (TensorRecord& s : records) {
    if (!s.has_state) continue;
    const auto& kinds = cohorts[s.cohort].rule.slot_kinds;
    for (size_t k = 0; k < kinds.size(); ++k) {
      if (kinds[k] == SlotKind::kOffset) ClearSlot(s, k);
      if (kinds[k] == SlotKind::kWeights) FillWithWeights(s, k);
    }
    StartMaster(s);
  }
  for (Follower& f : averagers) {
    if (f.started) f.averager->Refresh(*this);
  }
  source->Refresh();
}

std::string_view Optimizer::Impl::Rule(size_t index) const {
  return cohorts[records[index].cohort].rule.name;
}

size_t Optimizer::Impl::SlotSize(size_t index, std::string_view slot) const {
  const TensorRecord& s = records[index];
  const auto& slots = cohorts[s.cohort].rule.slots;
  const auto at = std::find(slots.begin(), slots.end(), slot);
  if (at == slots.end() || !s.has_state) return 0;
  return s.SlotSize(static_cast<size_t>(at - slots.begin()));
}

/// A slot that there is.
internal::Coded Optimizer::Impl::Slot(size_t index, std::string_view slot) const {
  const TensorRecord& s = records[index];
  const auto& slots = cohorts[s.cohort].rule.slots;
  const auto at = std::find(slots.begin(), slots.end(), slot);
  return s.State(static_cast<size_t>(at - slots.begin()));
}

void Optimizer::Impl::LoadSlot(size_t index, std::string_view slot, size_t begin,
                               std::span<float> out) const {
  backend_->Load(Slot(index, slot), begin, out);
}

void Optimizer::Impl::StoreSlot(size_t index, std::string_view slot, size_t begin,
                                std::span<const float> values) {
  const internal::Coded array = internal::Nearest(Slot(index, slot));
  backend_->Store(values, begin, array);
}

/// The weights where the tensor says they are now; without a master as long as there is no state.
internal::Coded Optimizer::Impl::Weights(size_t index) const {
  internal::Coded weights = records[index].Weights();
  weights.data = tensor_list[index].param;
  return internal::Nearest(records[index].has_state ? weights : internal::Visible(weights));
}

void Optimizer::Impl::LoadWeights(size_t index, size_t begin, std::span<float> out) const {
  backend_->Load(Weights(index), begin, out);
}

void Optimizer::Impl::StoreWeights(size_t index, size_t begin, std::span<const float> values) {
  backend_->Store(values, begin, Weights(index));
}

void Optimizer::Impl::CheckIndex(size_t index) const {
  if (index < records.size()) return;
  throw Error("tensor index " + std::to_string(index) + " is outside [0, " +
              std::to_string(records.size()) + ")");
}

double Optimizer::Impl::Value(size_t index, std::string_view option) const {
  CheckIndex(index);
  const Cohort& c = cohorts[records[index].cohort];
  const size_t k = c.rule.OptionIndex(option);
  return c.Scaled(k, c.schedules[k](step_count));
}

void Optimizer::Impl::ResetState(size_t index) {
  TensorRecord& s = records[index];
  for (size_t k = 0; k < s.Slots(); ++k) ClearSlot(s, k);
  s.step = 0;
  const auto& memory = cohorts[s.cohort].rule.memory;
  for (size_t k = 0; k < memory.size(); ++k) s.extra->memory[k] = memory[k].second;
}

Optimizer::Optimizer(std::vector<Tensor> tensors, const OptimizerSpec& spec,
                     const Registry& registry)
    : impl_(std::make_unique<Impl>(std::move(tensors), spec, registry)) {}
Optimizer::~Optimizer() = default;
Optimizer::Optimizer(Optimizer&&) noexcept = default;
Optimizer& Optimizer::operator=(Optimizer&&) noexcept = default;

namespace {

double CheckLossScale(double loss_scale) {
  constexpr double kLeast = std::numeric_limits<double>::min();
  CheckRange("StepScaled: loss_scale", loss_scale, kLeast, 1 / kLeast);
  return loss_scale;
}

/// Lets the user's oracle be called, and looks at what it gives.
class CheckedOracle {
 public:
  /// `look` is called behind each call, and throws Error for gradients that do not fit.
  CheckedOracle(const Oracle& oracle, std::function<void()> look)
      : oracle_(oracle), look_(std::move(look)) {}
  Evaluation operator()(Pass pass) {
    ++calls_;
    const Evaluation e = oracle_(pass);
    if (!(e.samples >= 0 && e.samples < kInfinity)) {
      throw Error("oracle: call " + std::to_string(calls_) + " of the step gave samples = " +
                  NumberText(e.samples) + ", which is outside [0, inf)");
    }
    look_();
    return e;
  }

 private:
  const Oracle& oracle_;
  std::function<void()> look_;
  int64_t calls_ = 0;
};

}  // namespace

void Optimizer::Impl::CheckNotInside(std::string_view what) const {
  if (!inside) return;
  throw WrongStateError(std::string(what) +
                        ": called from within a step, by its oracle, a stage or a pool of threads");
}

void Optimizer::Impl::CheckNoView(std::string_view what) const {
  if (!*view_open) return;
  throw WrongStateError(std::string(what) +
                        ": an evaluation view is open, so the parameters are not the trained ones");
}

void Optimizer::Impl::CheckNotReleased(std::string_view what) const {
  if (released.empty()) return;
  throw WrongStateError(std::string(what) + ": StepTensor has begun a step; call FinishStep first");
}

/// Throws Error unless the parameters are those that are trained, of a whole number of steps.
void Optimizer::Impl::CheckBetweenSteps(std::string_view what) const {
  CheckNotInside(what);
  CheckNoView(what);
  CheckNotReleased(what);
}

/// Throws Error if the source works on whole gradients and a tensor's is of some rows.
void Optimizer::Impl::CheckNoRows() const {
  if (spec.source == "plain" && spec.accumulate == 1) return;
  for (const Tensor& t : tensor_list) {
    if (t.grad == nullptr || !t.grad_rows) continue;
    throw Error("tensor \"" + t.name + "\" has a gradient of some rows; " +
                (spec.accumulate > 1 ? "accumulate = " + std::to_string(spec.accumulate)
                                     : "source = \"" + spec.source + "\"") +
                " needs whole gradients");
  }
}

Report Optimizer::Impl::Step(std::optional<double> loss_scale) {
  if (spec.accumulate > 1 || spec.source != "plain") {
    throw Error((spec.accumulate > 1 ? "accumulate = " + std::to_string(spec.accumulate)
                                     : "source = \"" + spec.source + "\"") +
                " needs Step with an oracle that makes each gradient");
  }
  CheckBetweenSteps("Step");
  const Inside step(*this);
  loss_scale_ = loss_scale.value_or(1);
  return Apply({}, loss_scale);
}

Report Optimizer::Impl::Step(std::optional<double> loss_scale, const Oracle& oracle) {
  CheckBetweenSteps("Step");
  const Inside step(*this);
  BindParameters();  // sources change them
  loss_scale_ = loss_scale.value_or(1);
  CheckedOracle checked(oracle, [this] { CheckNoRows(); });
  const Gradient gradient = source->Compute(*this, std::ref(checked));
  if (gradient.samples == 0) {
    return {.loss_scale = loss_scale.value_or(1), .skipped = true};
  }
  return Apply(gradient, loss_scale);
}

Report Optimizer::Step() { return impl_->Step({}); }
Report Optimizer::Step(const Oracle& oracle) { return impl_->Step({}, oracle); }
Report Optimizer::StepScaled(double loss_scale) { return impl_->Step(CheckLossScale(loss_scale)); }
Report Optimizer::StepScaled(double loss_scale, const Oracle& oracle) {
  return impl_->Step(CheckLossScale(loss_scale), oracle);
}

Report Optimizer::StepTensor(size_t index, std::optional<double> norm) {
  return impl_->StepTensor(index, norm);
}
void Optimizer::CheckStepTensor() const { impl_->CheckStepTensor(false); }
double Optimizer::GradientSquares(size_t index) const { return impl_->GradientSquares(index); }
void Optimizer::FinishStep() { impl_->FinishStep(); }
void Optimizer::Refresh() { impl_->Refresh(); }

void Optimizer::UpdateHessian(std::span<const float* const> estimates) {
  impl_->CheckBetweenSteps("UpdateHessian");
  const Impl::Inside inside(*impl_);
  impl_->UpdateHessian(estimates);
}

const OptimizerSpec& Optimizer::spec() const { return impl_->spec; }
std::span<Tensor> Optimizer::tensors() { return impl_->tensor_list; }
std::span<const Tensor> Optimizer::tensors() const { return impl_->tensor_list; }
int64_t Optimizer::steps() const { return impl_->step_count; }

std::vector<TensorPlan> Optimizer::Plan() const {
  std::vector<TensorPlan> plan;
  for (size_t i = 0; i < impl_->tensor_list.size(); ++i) {
    const Cohort& c = impl_->cohorts[impl_->records[i].cohort];
    TensorPlan p{.name = impl_->tensor_list[i].name,
                 .tensor_class = impl_->records[i].tensor_class,
                 .group = c.group,
                 .rule = c.rule.name,
                 .options = {}};
    for (size_t k = 0; k < c.schedules.size(); ++k) {
      p.options.emplace_back(c.rule.options[k].name,
                             c.Scaled(k, c.schedules[k](impl_->step_count)));
    }
    p.lr_scale = c.lr_scale;
    if (!impl_->layers.empty()) p.layer = impl_->layers[i];
    p.frozen_until = c.frozen_until;
    p.frozen_from = c.frozen_from;
    plan.push_back(std::move(p));
  }
  return plan;
}

double Optimizer::Value(size_t index, std::string_view option) const {
  return impl_->Value(index, option);
}

bool Optimizer::Frozen(size_t index) const {
  impl_->CheckIndex(index);
  return impl_->Frozen(index, impl_->step_count);
}

const Schedule& Optimizer::ScheduleOf(size_t index, std::string_view option) const {
  impl_->CheckIndex(index);
  const Cohort& c = impl_->cohorts[impl_->records[index].cohort];
  return c.schedules[c.rule.OptionIndex(option)];
}

void Optimizer::SetSchedule(size_t index, std::string_view option, const Schedule& schedule) {
  impl_->CheckBetweenSteps("SetSchedule");
  impl_->SetSchedule(index, option, schedule);
}

void Optimizer::SetSchedule(std::string_view option, const Schedule& schedule,
                            std::optional<int> group) {
  impl_->CheckBetweenSteps("SetSchedule");
  impl_->SetSchedule(option, schedule, group);
}

void Optimizer::SetLr(double lr, std::optional<int> group) { SetSchedule("lr", lr, group); }

double Optimizer::Lr(std::optional<int> group) const { return impl_->Lr(group); }

void Optimizer::SetSource(std::unique_ptr<Source> source) {
  if (source == nullptr) throw Error("the source is null");
  impl_->CheckNotInside("SetSource");
  impl_->source = std::move(source);
}

void Optimizer::AddScale(std::unique_ptr<Scale> scale) {
  if (scale == nullptr) throw Error("the scale is null");
  impl_->CheckNotInside("AddScale");
  impl_->CheckNotReleased("AddScale");
  impl_->scales.push_back(std::move(scale));
}

void Optimizer::AddAverager(std::unique_ptr<Averager> averager) {
  if (averager == nullptr) throw Error("the averager is null");
  impl_->CheckNotInside("AddAverager");
  impl_->CheckNotReleased("AddAverager");
  impl_->AddAverager(std::move(averager));
}

void Optimizer::SetParallel(Parallel parallel) {
  if (parallel.threads < 0) {
    throw Error("threads = " + std::to_string(parallel.threads) + " is outside [0, ...]");
  }
  impl_->CheckNotInside("SetParallel");
  impl_->parallel_ = std::move(parallel);
  impl_->divided = false;  // scratch memory is one a worker
}

void Optimizer::SetOwnership(const std::vector<bool>& owned,
                             std::function<void(std::span<double>)> sum) {
  impl_->SetOwnership(owned, std::move(sum));
}

std::string_view KernelTarget() { return internal::Kernels().target; }

std::vector<std::string_view> KernelTargets() {
  std::vector<std::string_view> names;
  for (const internal::KernelSet& set : internal::AllKernels()) names.push_back(set.target);
  return names;
}

}  // namespace kudari
