#include "kudari/optimizer.h"

#include <algorithm>
#include <functional>
#include <unordered_set>
#include <utility>

#include "backend/cpu/cpu.h"
#include "core/element_count.h"
#include "core/suggest.h"
#include "kudari/error.h"
#include "kudari/recipe.h"
#include "kudari/stages.h"
#include "optimizer/impl.h"
#include "optimizer/spec_options.h"
#include "state/shape_text.h"

namespace kudari {
namespace {

void CheckTensor(const Tensor& t, std::unordered_set<std::string_view>& names) {
  const auto add = [&names](const std::string& name) {
    if (name.empty()) throw Error("a tensor has an empty name");
    if (!names.insert(name).second) throw Error("duplicate tensor name \"" + name + "\"");
  };
  add(t.name);
  for (const std::string& alias : t.aliases) add(alias);
  for (const int64_t d : t.shape) {
    if (d >= 0) continue;
    throw Error("tensor \"" + t.name + "\": dimension " + std::to_string(d) +
                " is outside [0, ...]");
  }
  if (!internal::ElementCount(t.shape)) {
    throw Error("tensor \"" + t.name + "\": the dimensions of its shape " +
                internal::ShapeText<int64_t>(t.shape) +
                " that are not zero make more than 2^56 elements");
  }
}

bool Contains(const std::vector<TensorClass>& classes, TensorClass c) {
  return std::find(classes.begin(), classes.end(), c) != classes.end();
}

/// Elements of a unit: a row of a matrix, a filter of a convolution, a whole vector.
int64_t UnitSize(const std::vector<int64_t>& shape) {
  int64_t size = 1;
  for (size_t i = shape.size() <= 1 ? 0 : 1; i < shape.size(); ++i) size *= shape[i];
  return size;
}

/// Throws Error if a rule has a decay that cannot be independent of its learning rate.
void CheckDecoupled(const internal::Cohort& cohort) {
  if (cohort.rule.decoupled_decay) return;
  for (size_t i = 0; i < cohort.schedules.size(); ++i) {
    const Schedule& s = cohort.schedules[i];
    if (cohort.rule.options[i].name != "weight_decay" || s == Schedule(0)) continue;
    throw Error(
        "decay = \"independent\" is for rules that subtract lr weight_decay p from the weights p, "
        "such as adamw; " +
        cohort.rule.name + " does not, and has weight_decay = " + s.Text());
  }
}

/// Throws Error if a schedule has no values because its lengths are relative to a run.
void CheckResolved(const OptimizerSpec& spec) {
  internal::ForSchedules(spec, [](const std::string& name, const Schedule& schedule) {
    if (schedule.IsResolved()) return;
    throw Error(name + " = \"" + schedule.Text() +
                "\" is relative to the length of a run; give the optimiser "
                "Resolve(spec, {.steps = ...}), see kudari/recipe.h");
  });
}

/// The number that an independent decay of a cohort is relative to.
double BaseLr(const internal::Cohort& cohort) {
  const Schedule& lr = cohort.schedules[cohort.rule.OptionIndex("lr")];
  const double base = lr.LeadingNumber().value_or(0);
  if (base != 0) return base;
  throw Error(
      "decay = \"independent\" needs a number other than 0 among the factors of lr, which "
      "the decay is relative to, as in 1e-3 * then(1, 500, cosine(100)); " +
      cohort.rule.name + " has lr = " + lr.Text());
}

/// The backend that all tensors name; null: host memory.
Backend* BackendOf(std::span<const Tensor> tensors) {
  Backend* const backend = tensors.empty() ? nullptr : tensors[0].backend;
  for (const Tensor& t : tensors) {
    if (t.backend == backend) continue;
    throw Error("tensors \"" + tensors[0].name + "\" and \"" + t.name +
                "\" are on different backends; an optimiser has one");
  }
  return backend;
}

}  // namespace

using internal::Cohort;
using internal::TensorRecord;

/// What AddTensor knows of the tensors before.
struct Optimizer::Impl::Building {
  const Registry& registry;
  std::vector<bool> matched;  // groups that match a tensor
  std::map<std::pair<int, TensorClass>, uint32_t> cohorts;
};

Optimizer::Impl::Impl(std::vector<Tensor> the_tensors, const OptimizerSpec& the_spec,
                      const Registry& registry)
    : tensor_list(std::move(the_tensors)),
      spec(Complete(the_spec, registry)),
      users_backend(BackendOf(tensor_list)) {
  CheckResolved(spec);
  if (users_backend == nullptr) {
    backend_ = std::make_shared<CpuBackend>();
  } else {
    backend_ = {users_backend, [](Backend*) {}};  // which stays the user's
  }
  std::unordered_set<std::string_view> names;
  names.reserve(tensor_list.size());
  for (const Tensor& t : tensor_list) CheckTensor(t, names);
  Building building{registry, std::vector<bool>(spec.groups.size()), {}};
  records.reserve(tensor_list.size());
  for (const Tensor& t : tensor_list) AddTensor(t, building);
  for (size_t i = 0; i < building.matched.size(); ++i) {
    const std::string& match = spec.groups[i].match;
    if (building.matched[i] || match == "*") continue;
    std::vector<std::string> known(names.begin(), names.end());
    std::sort(known.begin(), known.end());
    throw Error("group " + std::to_string(i) + " (match = \"" + match + "\") matches no tensor" +
                internal::Suggest(match, known));
  }
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

/// Finds how a tensor is treated.
void Optimizer::Impl::AddTensor(const Tensor& t, Building& building) {
  TensorClass tensor_class = t.tensor_class.value_or(Classify(t.name, t.shape));
  for (const auto& [match, c] : spec.classes) {
    if (Matches(match, t)) tensor_class = c;
  }
  int group = kNoGroup;
  if (spec.fallback && tensor_class != TensorClass::kMatrix &&
      tensor_class != TensorClass::kConvolution) {
    group = kFallbackGroup;
  }
  for (size_t i = 0; i < spec.groups.size(); ++i) {
    const Group& g = spec.groups[i];
    if (!g.classes.empty() && !Contains(g.classes, tensor_class)) continue;
    if (!Matches(g.match, t)) continue;
    group = static_cast<int>(i);
    building.matched[i] = true;
  }
  if (group == kNoGroup && spec.rule.empty()) {
    throw Error("tensor \"" + t.name +
                "\" has no rule: it is in no group, and the spec's own rule is missing");
  }
  TensorRecord s{.cohort = CohortOf(group, tensor_class, building),
                 .tensor_class = tensor_class,
                 .storage = nullptr,
                 .size = t.Size(),
                 .clips = spec.agc.has_value(),
                 .centralizes = spec.centralize && t.shape.size() > 1 && UnitSize(t.shape) > 1};
  if (spec.agc) {
    for (const std::string& match : spec.agc->exclude) s.clips = s.clips && !Matches(match, t);
  }
  const int64_t unit = (s.clips || s.centralizes) && s.size > 0 ? UnitSize(t.shape) : 0;
  Cohort& c = cohorts[s.cohort];
  ++c.users;
  s.storage = StorageOf(t, s, SlotSizes(c, t));
  if (unit > 0 || c.rule.norms > 0 || !c.rule.memory.empty() || spec.precision.check ||
      spec.precision.rounding == Rounding::kStochastic) {
    s.extra = std::make_unique<internal::Extra>(internal::Extra{.unit = unit});
    for (size_t k = 0; k < c.rule.memory.size(); ++k) {
      s.extra->memory[k] = c.rule.memory[k].second;
    }
  }
  records.push_back(std::move(s));
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
  const RuleEntry& rule = cohorts[s.cohort].rule;
  const auto slot = [&](size_t k) {
    const auto named = precision.slots.find(rule.slots[k]);
    StateFormat format = named == precision.slots.end() ? precision.state : named->second;
    const bool eight = format != StateFormat::kFloat32 && format != StateFormat::kBFloat16;
    const SlotKind kind = rule.slot_kinds[k];
    const bool stays =
        s.size < Precision::kSmallestCoded || kind == SlotKind::kExact || kind == SlotKind::kOffset;
    if ((!sizes.empty() && sizes[k] != s.size) || Contains(precision.exclude, s.tensor_class) ||
        (eight && stays)) {
      format = StateFormat::kFloat32;
    }
    const bool square = kind == SlotKind::kSquare;
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
                internal::Suggest(name, known));
  }
}

/// The cohort of a group's tensors of a class; made when it is first needed.
uint32_t Optimizer::Impl::CohortOf(int group, TensorClass tensor_class, Building& building) {
  const auto known = building.cohorts.find({group, tensor_class});
  if (known != building.cohorts.end()) return known->second;
  const std::string* rule = &spec.rule;
  const Options* options = &spec.options;
  std::optional<Schedule> l1 = spec.l1, l2 = spec.l2;
  if (group == kFallbackGroup) {
    rule = &spec.fallback->rule;
    options = &spec.fallback->options;
  } else if (group != kNoGroup) {
    const Group& g = spec.groups[static_cast<size_t>(group)];
    rule = &g.rule;
    options = &g.options;
    if (g.l1) l1 = g.l1;
    if (g.l2) l2 = g.l2;
  }
  Cohort cohort{.rule = building.registry.Find(*rule),
                .group = group,
                .adapts = true,
                .schedules = {},
                .original = {},
                .values = {},
                .ages = {},
                .coeffs = {}};
  if (cohort.rule.squares_gradient) cohort.limit = kMostSquared;
  if (cohort.rule.norms > 0) {
    const bool vector = tensor_class == TensorClass::kBias || tensor_class == TensorClass::kNorm;
    cohort.adapts = spec.no_adapt ? !Contains(*spec.no_adapt, tensor_class)
                                  : cohort.rule.adapts_vectors || !vector;
  }
  const bool decays = cohort.adapts && !Contains(spec.no_decay, tensor_class);
  for (const RuleEntry::Option& o : cohort.rule.options) {
    const bool off = o.name == "weight_decay" && !decays;
    cohort.schedules.push_back(off ? Schedule(0) : options->at(o.name));
  }
  cohort.original = cohort.schedules;
  if (decays) {
    cohort.l1 = l1.value_or(0);
    cohort.l2 = l2.value_or(0);
  }
  cohort.penalized = !(cohort.l1 == Schedule(0) && cohort.l2 == Schedule(0));
  if (spec.decay == Decay::kIndependent) {
    CheckDecoupled(cohort);
    if (cohort.rule.decoupled_decay && decays) cohort.base_lr = BaseLr(cohort);
  }
  cohort.SetConstant();
  backend_->Choose(cohort);
  cohort.values.resize(cohort.schedules.size());
  for (size_t i = 0; i < cohort.schedules.size(); ++i) cohort.SetValue(i, cohort.schedules[i](0));
  cohort.l1_now = static_cast<float>(cohort.l1(0));
  cohort.l2_now = static_cast<float>(cohort.l2(0));
  const uint32_t index = internal::AddCohort(cohorts, std::move(cohort));
  building.cohorts.emplace(std::pair(group, tensor_class), index);
  return index;
}

uint32_t internal::AddCohort(std::vector<Cohort>& cohorts, Cohort cohort) {
  const auto same = [&cohort](const Cohort& c) {
    return c.group == cohort.group && c.schedules == cohort.schedules &&
           c.original == cohort.original && c.adapts == cohort.adapts &&
           c.base_lr == cohort.base_lr && c.l1 == cohort.l1 && c.l2 == cohort.l2;
  };
  auto at = std::find_if(cohorts.begin(), cohorts.end(), same);
  if (at == cohorts.end()) {
    at = std::find_if(cohorts.begin(), cohorts.end(), [](const Cohort& c) { return c.users == 0; });
    if (at == cohorts.end()) {
      cohorts.push_back(std::move(cohort));
      at = cohorts.end() - 1;
    } else {
      *at = std::move(cohort);
    }
  }
  return static_cast<uint32_t>(at - cohorts.begin());
}

void internal::MoveTo(std::vector<Cohort>& cohorts, uint32_t& at, Cohort cohort) {
  cohort.users = 0;
  const uint32_t to = AddCohort(cohorts, std::move(cohort));
  --cohorts[at].users;
  at = to;
  ++cohorts[to].users;
}

/// The cohort of a tensor with other schedules, of which those that change are checked at `step`.
Cohort Optimizer::Impl::WithSchedules(size_t index, std::vector<Schedule> schedules,
                                      int64_t step) const {
  const TensorRecord& s = records[index];
  Cohort cohort = cohorts[s.cohort];
  const std::string& rule = cohort.rule.name;
  std::string changed;
  for (size_t k = 0; k < schedules.size(); ++k) {
    if (schedules[k] == cohort.schedules[k]) continue;
    const RuleEntry::Option& o = cohort.rule.options[k];
    changed += (changed.empty() ? "" : ", ") + o.name;
    CheckRange(rule + ": " + o.name, schedules[k](step), o.low, o.high);
    cohort.SetValue(k, schedules[k](step));
  }
  cohort.schedules = std::move(schedules);
  if (spec.decay == Decay::kIndependent) CheckDecoupled(cohort);
  if (SlotSizes(cohort, tensor_list[index]) != s.storage->sizes) {
    throw Error("SetSchedule: " + rule + ": " + changed + " determines the size of the state");
  }
  cohort.SetConstant();
  return cohort;
}

void Optimizer::Impl::SetSchedule(size_t index, std::string_view option, const Schedule& schedule) {
  CheckIndex(index);
  if (!schedule.IsResolved()) {
    throw Error("SetSchedule: " + std::string(option) + " = \"" + schedule.Text() +
                "\" is relative to the length of a run; call Resolve({.steps = ...}) on it");
  }
  TensorRecord& s = records[index];
  std::vector<Schedule> schedules = cohorts[s.cohort].schedules;
  schedules[cohorts[s.cohort].rule.OptionIndex(option)] = schedule;
  internal::MoveTo(cohorts, s.cohort, WithSchedules(index, std::move(schedules), step_count));
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
  return c.schedules[c.rule.OptionIndex(option)](step_count);
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
  explicit CheckedOracle(const Oracle& oracle) : oracle_(oracle) {}
  Evaluation operator()(Pass pass) {
    ++calls_;
    const Evaluation e = oracle_(pass);
    if (!(e.samples >= 0 && e.samples < kInfinity)) {
      throw Error("oracle: call " + std::to_string(calls_) + " of the step gave samples = " +
                  internal::NumberText(e.samples) + ", which is outside [0, inf)");
    }
    return e;
  }

 private:
  const Oracle& oracle_;
  int64_t calls_ = 0;
};

}  // namespace

void Optimizer::Impl::CheckNotInside(std::string_view what) const {
  if (!inside) return;
  throw Error(std::string(what) +
              ": called from within a step, by its oracle, a stage or a pool of threads");
}

void Optimizer::Impl::CheckNoView(std::string_view what) const {
  if (!*view_open) return;
  throw Error(std::string(what) +
              ": an evaluation view is open, so the parameters are not the trained ones");
}

void Optimizer::Impl::CheckNotReleased(std::string_view what) const {
  if (released.empty()) return;
  throw Error(std::string(what) + ": StepTensor has begun a step; call FinishStep first");
}

/// Throws Error unless the parameters are those that are trained, of a whole number of steps.
void Optimizer::Impl::CheckBetweenSteps(std::string_view what) const {
  CheckNotInside(what);
  CheckNoView(what);
  CheckNotReleased(what);
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
  CheckedOracle checked(oracle);
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
      p.options.emplace_back(c.rule.options[k].name, c.schedules[k](impl_->step_count));
    }
    plan.push_back(std::move(p));
  }
  return plan;
}

double Optimizer::Value(size_t index, std::string_view option) const {
  return impl_->Value(index, option);
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
