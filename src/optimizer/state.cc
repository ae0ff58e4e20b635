// The optimiser's state as a value.
#include "kudari/state.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "optimizer/impl.h"
#include "state/shape_text.h"

namespace kudari {

using internal::Coded;
using internal::Cohort;
using internal::Format;
using internal::TensorRecord;

namespace {

constexpr std::string_view kMasterSlot = "master";

// Of steps, each of which is a double, as schedules and bias corrections take it.
constexpr int64_t kMostSteps = int64_t{1} << 53;

constexpr std::pair<Format, std::string_view> kBlocked[] = {
    {Format::kLinear8, "linear8"},
    {Format::kSoftsign8, "softsign8"},
    {Format::kRoot8, "root8"},
    {Format::kDynamic8, "dynamic8"},
    {Format::kDynamicUnsigned8, "dynamic_unsigned8"}};

std::string_view BlockedName(Format format) {
  return std::ranges::find(kBlocked, format, &std::pair<Format, std::string_view>::first)->second;
}

// Masters in two parts: the parameter, and the rest by whose type a state tells the format.
constexpr std::pair<Format, ElementType> kSplit[] = {{Format::kSplit8, ElementType::kUint8},
                                                     {Format::kSplit16, ElementType::kUint16},
                                                     {Format::kKahan, ElementType::kBFloat16}};

const std::pair<Format, ElementType>* SplitOf(Format format) {
  const auto* const at = std::ranges::find(kSplit, format, &std::pair<Format, ElementType>::first);
  return at == std::end(kSplit) ? nullptr : at;
}

/// An array of the optimiser: its format, without random rounding, and its shape.
struct Place {
  Format format;
  bool master;
  std::vector<int64_t> shape;
  size_t size;
};

std::string KindOf(const Place& place) {
  const std::string shape = internal::ShapeText<int64_t>(place.shape);
  if (internal::IsBlocked(place.format)) {
    return "a node with codes of " + std::string(BlockedName(place.format)) + " " + shape;
  }
  if (const auto* const split = SplitOf(place.format)) {
    return "a node with weights of BF16 and a rest of " + std::string(Name(split->second)) + " " +
           shape;
  }
  if (place.format == Format::kFloat64) return "F64 " + shape;
  return (place.format == Format::kBFloat16 ? "BF16 " : "F32 ") + shape;
}

StateTree Saved(Backend& backend, const Parallel& parallel, const Coded& array,
                const Place& place) {
  const size_t n = place.size, more = internal::CompanionBytes(array.format, n);
  const auto copied = [&](const void* data, size_t bytes) {
    StateBytes copy(bytes);
    backend.Read(data, copy, parallel);
    return copy;
  };
  const auto data = [&](ElementType type) {
    return StateArray{type, place.shape, copied(array.data, n * internal::DataBytes(array.format))};
  };
  StateTree node;
  if (internal::IsBlocked(array.format)) {
    node.Add("format", std::string(BlockedName(array.format)));
    node.Add("codes", data(ElementType::kUint8));
    const auto scales = static_cast<int64_t>(more / sizeof(float));
    node.Add("scales", StateArray{ElementType::kFloat32, {scales}, copied(array.companion, more)});
    return node;
  }
  if (const auto* const split = SplitOf(array.format)) {
    node.Add("weights", data(ElementType::kBFloat16));
    node.Add("rest", StateArray{split->second, place.shape, copied(array.companion, more)});
    return node;
  }
  if (array.format == Format::kBFloat16) return data(ElementType::kBFloat16);
  if (array.format == Format::kFloat32) return data(ElementType::kFloat32);
  if (array.format == Format::kFloat64) return data(ElementType::kFloat64);
  // A copy in float32 counts where it is of the parameter as it is now.
  StateArray values{ElementType::kFloat32, place.shape, StateBytes(n * sizeof(float))};
  backend.Load(array, 0, values.As<float>());
  return values;
}

/// What is found in a state for an array; throws Error if it has another shape or a form that has
/// no meaning here.
Coded Found(const StateVisitor& visitor, std::string_view name, const StateTree& found,
            const Place& place) {
  const auto fail = [&] {
    visitor.Misfit(name, "is " + found.Kind() + ", but must be " + KindOf(place));
  };
  const auto memory = [](const StateArray& array) {
    return const_cast<std::byte*>(array.bytes.data());  // only read
  };
  if (const auto* const array = std::get_if<StateArray>(&found.value())) {
    if (array->shape != place.shape) fail();
    if (array->type == ElementType::kFloat32) return {Format::kFloat32, memory(*array)};
    if (place.master) fail();
    if (array->type == ElementType::kFloat64) return {Format::kFloat64, memory(*array)};
    if (array->type != ElementType::kBFloat16) fail();
    return {Format::kBFloat16, memory(*array)};
  }
  if (!found.IsNode()) fail();
  const auto has = [&](std::string_view part, ElementType type, const std::vector<int64_t>& shape) {
    const StateTree* const member = found.Member(part);
    const auto* const array =
        member == nullptr ? nullptr : std::get_if<StateArray>(&member->value());
    return array != nullptr && array->type == type && array->shape == shape ? array : nullptr;
  };
  const auto part = [&](std::string_view part, ElementType type,
                        const std::vector<int64_t>& shape) {
    const StateArray* const array = has(part, type, shape);
    if (array != nullptr) return memory(*array);
    const StateTree* const member = found.Member(part);
    visitor.Misfit(name, "has as " + Quoted(part) + " " +
                             (member == nullptr ? "nothing" : member->Kind()) + ", but must have " +
                             std::string(Name(type)) + " " + internal::ShapeText<int64_t>(shape));
  };
  if (found.members().size() > (place.master ? 2 : 3)) visitor.Fail(name, "has unknown members");
  if (place.master) {
    for (const auto& [format, type] : kSplit) {
      if (!has("rest", type, place.shape)) continue;
      return {format, part("weights", ElementType::kBFloat16, place.shape),
              part("rest", type, place.shape)};
    }
    visitor.Fail(name,
                 "has no \"rest\" of U8, U16 or BF16 " + internal::ShapeText<int64_t>(place.shape));
  }
  for (const auto& [format, text] : kBlocked) {
    const StateTree* const member = found.Member("format");
    if (member == nullptr || *member != StateTree(std::string(text))) continue;
    const size_t scales = internal::CompanionBytes(format, place.size) / sizeof(float);
    return {format, part("codes", ElementType::kUint8, place.shape),
            part("scales", ElementType::kFloat32, {static_cast<int64_t>(scales)})};
  }
  visitor.Fail(name, "has no known \"format\"");
}

/// Writes what was found into an array of the optimiser: as it is if the format is the same, or
/// rounded to the nearest.
void Restore(Backend& backend, const Coded& from, const Coded& to, const Place& place) {
  const size_t n = place.size, more = internal::CompanionBytes(to.format, n);
  if (n == 0) return;
  const auto write = [&backend](const void* bytes, void* at, size_t size) {
    backend.Write({static_cast<const std::byte*>(bytes), size}, at);
  };
  if (to.format == Format::kMasterFloat16 && from.format == Format::kFloat32) {
    return write(from.data, to.companion, more);
  }
  if (from.format == to.format) {
    if (!place.master) write(from.data, to.data, n * internal::DataBytes(to.format));
    return write(from.companion, to.companion, more);
  }
  float block[internal::kCodeBlock];
  for (size_t at = 0; at < n; at += internal::kCodeBlock) {
    const size_t size = std::min(internal::kCodeBlock, n - at);
    internal::ScalarCodecs().load(from, at, size, block);
    backend.Store(std::span(block, size), at, to);
  }
}

}  // namespace

/// What a load makes before it takes the place of what there is.
struct Optimizer::Impl::Loading {
  enum class Kind : char { kLeft, kFresh, kState };
  std::vector<Kind> kinds;                         // of the tensors
  std::vector<internal::StateMemory> memory = {};  // one
  // With the schedules of the state; none: those that there are.
  std::vector<Cohort> cohorts = {};
  std::vector<uint32_t> cohort_of = {};
};

void Optimizer::Impl::Visit(StateVisitor& visitor) {
  CheckBetweenSteps(visitor.loading() ? "LoadState" : "State");
  const Inside inside(*this);
  std::shared_ptr<Loading> loading;
  if (visitor.loading()) {
    BindParameters();  // masters are told apart from them
    loading = std::make_shared<Loading>();
    loading->kinds.resize(records.size(), Loading::Kind::kLeft);
    visitor.Then([this, loading] { Take(*loading); });  // before arrays are written
  }
  const int64_t step = visitor.Value("step", step_count, 0, kMostSteps);
  visitor.Tensors(tensor_list, [&](size_t i) { VisitTensor(i, visitor, loading.get(), step); });
  if (loading != nullptr) {
    internal::StateMemory::Needs needs;
    for (size_t i = 0; i < records.size(); ++i) {
      const bool left = loading->kinds[i] == Loading::Kind::kLeft && records[i].has_state;
      if (left || loading->kinds[i] == Loading::Kind::kState) {
        internal::AddArrays(records[i], needs);
      }
    }
    loading->memory.emplace_back(*backend_, needs);
  }
  VisitAveragers(visitor);
  visitor.Node("source", [&] { source->Visit(*this, visitor); });
}

void Optimizer::Impl::VisitTensor(size_t index, StateVisitor& visitor, Loading* loading,
                                  int64_t step) {
  TensorRecord& s = records[index];
  const RuleEntry& rule = cohorts[s.cohort].rule;
  const int64_t updates = visitor.Value("step", s.step, 0, kMostSteps);
  if (!rule.memory.empty()) {
    visitor.Node("memory", [&] {
      for (size_t k = 0; k < rule.memory.size(); ++k) {
        visitor.Value(rule.memory[k].first, s.extra->memory[k]);
      }
    });
  }
  const bool has_slots = visitor.Optional("slots", s.has_state);
  if (has_slots) visitor.Node("slots", [&] { VisitSlots(index, visitor); });
  VisitSchedules(index, visitor, loading, step);
  if (loading == nullptr || visitor.leaving()) return;
  if (!has_slots && updates > 0 && (!rule.slots.empty() || internal::HasMaster(s))) {
    visitor.Fail("slots", "is missing; the tensor has had " + std::to_string(updates) + " updates");
  }
  loading->kinds[index] = has_slots ? Loading::Kind::kState : Loading::Kind::kFresh;
}

void Optimizer::Impl::VisitSlots(size_t index, StateVisitor& visitor) {
  const TensorRecord& s = records[index];
  const std::vector<int64_t>& shape = tensor_list[index].shape;
  // `array` is where it is, once it is there.
  const auto visit = [&](std::string_view name, const Place& place, const auto& array) {
    visitor.Custom(
        name, [&] { return Saved(*backend_, parallel_, array(), place); },
        [&](const StateTree& found) {
          return [this, from = Found(visitor, name, found, place), array, place] {
            Restore(*backend_, from, array(), place);
          };
        },
        KindOf(place));
  };
  const std::vector<std::string>& slots = cohorts[s.cohort].rule.slots;
  for (size_t k = 0; k < slots.size(); ++k) {
    const size_t size = s.SlotSize(k);
    const bool whole = size == static_cast<size_t>(s.size);
    visit(slots[k],
          {.format = internal::Nearest({.format = s.storage->slots[k]}).format,
           .master = false,
           .shape = whole ? shape : std::vector{static_cast<int64_t>(size)},
           .size = size},
          [&s, k] { return internal::Nearest(s.State(k)); });
  }
  if (!internal::HasMaster(s)) return;
  visit(kMasterSlot,
        {.format = s.storage->weights,
         .master = true,
         .shape = shape,
         .size = static_cast<size_t>(s.size)},
        [this, index] { return Weights(index); });
}

void Optimizer::Impl::VisitSchedules(size_t index, StateVisitor& visitor, Loading* loading,
                                     int64_t step) {
  const Cohort& c = cohorts[records[index].cohort];
  std::vector<Schedule> schedules = c.original;
  visitor.Node("schedules", [&] {
    for (size_t k = 0; k < schedules.size(); ++k) {
      const std::string& option = c.rule.options[k].name;
      if (!visitor.Optional(option, c.schedules[k] != c.original[k])) continue;
      visitor.Custom(
          option, [&] { return StateTree(c.schedules[k].Text()); },
          [&](const StateTree& found) {
            try {
              schedules[k] = ParseSchedule(found.Text());
            } catch (const Error& e) {
              visitor.Fail(option, std::string("is not a schedule: ") + e.what());
            }
            return [] {};
          });
    }
  });
  if (loading == nullptr || visitor.leaving() || schedules == c.schedules) return;
  if (loading->cohorts.empty()) {
    loading->cohorts = cohorts;
    for (const TensorRecord& s : records) loading->cohort_of.push_back(s.cohort);
  }
  try {
    internal::MoveTo(loading->cohorts, loading->cohort_of[index],
                     WithSchedules(index, std::move(schedules), step));
  } catch (const Error& e) {
    visitor.Fail("schedules", std::string("cannot be used: ") + e.what());
  }
}

void Optimizer::Impl::VisitAveragers(StateVisitor& visitor) {
  visitor.Node("averagers", [&] {
    std::map<std::string_view, int> counts;
    for (Follower& f : averagers) {
      const int count = ++counts[f.averager->Name()];
      std::string name(f.averager->Name());
      if (count > 1) name += "_" + std::to_string(count);
      visitor.Node(name, [&] {
        const bool started = visitor.Value("started", f.started);
        if (!started) return;
        // One that has not begun shows nothing until it has been written that it has.
        if (!f.started) f.averager->Start(*this);
        f.averager->Visit(*this, visitor);
      });
    }
  });
}

/// Gives tensors the memory of what is loaded, and of what they keep. Nothing fails.
void Optimizer::Impl::Take(Loading& loading) {
  divided = false;  // the next step divides the work again
  if (!loading.cohorts.empty()) {
    cohorts.swap(loading.cohorts);
    for (size_t i = 0; i < records.size(); ++i) records[i].cohort = loading.cohort_of[i];
  }
  for (size_t i = 0; i < records.size(); ++i) {
    TensorRecord& s = records[i];
    const bool left = loading.kinds[i] == Loading::Kind::kLeft;
    if (left ? !s.has_state : loading.kinds[i] == Loading::Kind::kFresh) {
      s.has_state = false;
      continue;
    }
    const void* const former_master = s.master;
    const TensorRecord::Array* const former = s.arrays;
    PlaceState(s, loading.memory.back());
    if (!left) continue;
    backend_->Copy(former_master, s.master,
                   internal::CompanionBytes(s.storage->weights, static_cast<size_t>(s.size)));
    for (size_t k = 0; k < s.Slots(); ++k) {
      const Format format = s.storage->slots[k];
      backend_->Copy(former[k].data, s.arrays[k].data, s.SlotSize(k) * internal::DataBytes(format));
      backend_->Copy(former[k].companion, s.arrays[k].companion,
                     internal::CompanionBytes(format, s.SlotSize(k)));
    }
  }
  state_memory = std::move(loading.memory);
}

StateTree Optimizer::State() const { return StateOf(*this); }

LoadReport Optimizer::LoadState(const StateTree& state, LoadMode mode) {
  return LoadInto(*this, state, mode);
}

void Optimizer::Visit(StateVisitor& visitor) { impl_->Visit(visitor); }

std::vector<float> Optimizer::SlotValues(size_t index, std::string_view slot) const {
  impl_->CheckIndex(index);
  const TensorRecord& s = impl_->records[index];
  std::vector<float> values;
  if (slot == kMasterSlot && s.has_state && internal::HasMaster(s)) {
    values.resize(static_cast<size_t>(s.size));
    impl_->LoadWeights(index, 0, values);
  } else {
    values.resize(impl_->SlotSize(index, slot));
    if (!values.empty()) impl_->LoadSlot(index, slot, 0, values);
  }
  return values;
}

}  // namespace kudari
