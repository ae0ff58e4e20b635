// The optimiser's state as a value.
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "core/quoted.h"
#include "core/suggest.h"
#include "kudari/error.h"
#include "optimizer/coded.h"
#include "optimizer/impl.h"

namespace kudari {

using internal::Coded;
using internal::Format;
using internal::Quoted;
using internal::Slotted;

namespace {

constexpr std::string_view kMasterSlot = "master";

/// As TensorState::Buffer::format says; empty where values are what memory holds.
std::string_view FormatName(Format format) {
  switch (format) {
    case Format::kFloat32:
    case Format::kFloat16:  // not of state
    case Format::kFloat16Random:
      return "";
    case Format::kBFloat16:
    case Format::kBFloat16Random:
      return "bfloat16";
    case Format::kMasterFloat16:
      return "float32";
    case Format::kSplit8:
      return "split8";
    case Format::kSplit16:
      return "split16";
    case Format::kKahan:
      return "kahan";
    case Format::kLinear8:
      return "linear8";
    case Format::kSoftsign8:
      return "softsign8";
    case Format::kRoot8:
      return "root8";
    case Format::kDynamic8:
      return "dynamic8";
    case Format::kDynamicUnsigned8:
      return "dynamic_unsigned8";
  }
  return "";
}

/// What a buffer has in memory: its codes and its scales; of a master, what it has beside the
/// parameter.
struct Raw {
  std::span<std::byte> codes;
  std::span<float> scales;
};

Raw RawOf(const Coded& array, size_t n, bool master) {
  const size_t more = internal::MoreBytes(array.format, n);
  if (master) return {{static_cast<std::byte*>(array.more), more}, {}};
  if (array.format == Format::kFloat32) return {};
  return {{static_cast<std::byte*>(array.data), n * internal::DataBytes(array.format)},
          {static_cast<float*>(array.more), more / sizeof(float)}};
}

TensorState::Buffer BufferOf(const internal::Codecs& codecs, std::string slot, const Coded& array,
                             size_t n, bool master) {
  TensorState::Buffer b{.slot = std::move(slot), .values = std::vector<float>(n)};
  if (n == 0) return b;
  codecs.load(array, 0, n, b.values.data());
  const Raw raw = RawOf(array, n, master);
  b.format = FormatName(array.format);
  b.codes.assign(raw.codes.begin(), raw.codes.end());
  b.scales.assign(raw.scales.begin(), raw.scales.end());
  return b;
}

/// Whether the codes of a buffer can be taken as they are.
bool HasCodesFor(const TensorState::Buffer& b, Format format) {
  return !b.codes.empty() && b.format == FormatName(format);
}

/// The codes as they are if the format is the same, or else the values rounded to it.
void Restore(const internal::Codecs& codecs, const TensorState::Buffer& b, const Coded& array,
             bool master) {
  const size_t n = b.values.size();
  if (n == 0) return;
  if (!HasCodesFor(b, array.format)) {
    codecs.store(b.values.data(), 0, n, internal::Nearest(array));
    return;
  }
  const Raw raw = RawOf(array, n, master);
  std::copy(b.codes.begin(), b.codes.end(), raw.codes.begin());
  std::copy(b.scales.begin(), b.scales.end(), raw.scales.begin());
}

}  // namespace

OptimizerState Optimizer::State() const {
  impl_->CheckBetweenSteps("State");
  OptimizerState state{.step = impl_->step_count};
  for (size_t i = 0; i < impl_->tensor_list.size(); ++i) {
    const Slotted& s = impl_->slotted[i];
    TensorState t{.name = impl_->tensor_list[i].name, .step = s.step};
    const RuleEntry& rule = impl_->cohorts[s.cohort].rule;
    for (size_t k = 0; k < s.Slots(); ++k) {
      t.buffers.push_back(
          BufferOf(*impl_->codecs, rule.slots[k], s.State(k), s.SlotSize(k), false));
    }
    if (s.has_state && internal::HasMaster(s)) {
      t.buffers.push_back(BufferOf(*impl_->codecs, std::string(kMasterSlot), impl_->WeightsNow(i),
                                   static_cast<size_t>(s.size), true));
    }
    for (size_t k = 0; s.step > 0 && k < rule.memory.size(); ++k) {
      t.memory.emplace_back(rule.memory[k].first, s.extra->memory[k]);
    }
    state.tensors.push_back(std::move(t));
  }
  for (size_t i = 0; i < impl_->averagers.size(); ++i) {
    state.averagers.emplace_back();
    if (impl_->averager_started[i]) state.averagers[i] = impl_->averagers[i]->State(*impl_);
  }
  state.source = impl_->source->State(*impl_);
  return state;
}

namespace {

// Of steps, each of which is a double, as schedules and bias corrections take it.
constexpr int64_t kMostSteps = int64_t{1} << 53;

void CheckSteps(const std::string& where, int64_t steps) {
  if (steps >= 0 && steps <= kMostSteps) return;
  throw Error(where + " = " + std::to_string(steps) + " is outside [0, 2^53]");
}

/// Throws unless the buffers and the memory of `t` are those of a tensor of that rule.
void CheckTensorState(const TensorState& t, const RuleEntry& rule, const Slotted& s) {
  CheckSteps("state: tensor " + Quoted(t.name) + ": step", t.step);
  const bool fresh = t.step == 0 && t.buffers.empty();
  std::vector<std::string> slots = rule.slots;
  if (internal::HasMaster(s)) slots.emplace_back(kMasterSlot);
  if (!fresh && t.buffers.size() != slots.size()) {
    throw Error("state: tensor " + Quoted(t.name) + " has step " + std::to_string(t.step) +
                " and " + std::to_string(t.buffers.size()) + " buffers; its rule" +
                (internal::HasMaster(s) ? " and its master have " : " has ") +
                std::to_string(slots.size()));
  }
  std::set<std::string> seen;
  for (const TensorState::Buffer& b : t.buffers) {
    const std::string where = "state: tensor " + Quoted(t.name) + ", buffer " + Quoted(b.slot);
    const auto at = std::find(slots.begin(), slots.end(), b.slot);
    if (at == slots.end()) {
      throw Error(where + ": its rule has none of that name" + internal::Suggest(b.slot, slots));
    }
    if (!seen.insert(b.slot).second) throw Error(where + " appears twice");
    const auto k = static_cast<size_t>(at - slots.begin());
    const bool master = k == rule.slots.size();
    const auto size = master ? static_cast<size_t>(s.size) : s.SlotSize(k);
    if (b.values.size() != size) {
      throw Error(where + " has " + std::to_string(b.values.size()) + " values, not " +
                  std::to_string(size));
    }
    const Format format = master ? s.storage->weights : s.storage->slots[k];
    if (!HasCodesFor(b, format)) continue;
    const Raw raw = RawOf({.format = format}, size, master);
    if (b.codes.size() == raw.codes.size() && b.scales.size() == raw.scales.size()) continue;
    throw Error(where + " has " + std::to_string(b.codes.size()) + " bytes of codes and " +
                std::to_string(b.scales.size()) + " scales, not " +
                std::to_string(raw.codes.size()) + " and " + std::to_string(raw.scales.size()));
  }
  const size_t doubles = t.step == 0 ? 0 : rule.memory.size();
  bool same = t.memory.size() == doubles;
  for (size_t k = 0; same && k < doubles; ++k) same = t.memory[k].first == rule.memory[k].first;
  if (same) return;
  std::string names;
  for (size_t k = 0; k < doubles; ++k) names += (k == 0 ? "" : ", ") + rule.memory[k].first;
  throw Error("state: tensor " + Quoted(t.name) + " has " + std::to_string(t.memory.size()) +
              " numbers in its memory; at step " + std::to_string(t.step) + " its rule has " +
              (doubles == 0 ? "none" : names));
}

/// The state with the first name of each tensor that it calls by an alias; nothing if there is
/// none.
std::optional<OptimizerState> WithFirstNames(const OptimizerState& state,
                                             std::span<const Tensor> tensors) {
  std::map<std::string, std::string> first;
  for (const Tensor& t : tensors) {
    for (const std::string& alias : t.aliases) first.emplace(alias, t.name);
  }
  if (first.empty()) return std::nullopt;
  bool renamed = false;
  const auto rename = [&](const std::string& name) {
    const auto at = first.find(name);
    renamed = renamed || at != first.end();
    return at == first.end() ? name : at->second;
  };
  // Arrays of stages are called kind/name.
  const auto rename_all = [&](std::map<std::string, std::vector<float>>& arrays) {
    std::map<std::string, std::vector<float>> all;
    for (auto& [key, values] : arrays) {
      const size_t name = key.find('/') + 1;
      all.emplace(name == 0 ? key : key.substr(0, name) + rename(key.substr(name)),
                  std::move(values));
    }
    arrays = std::move(all);
  };
  OptimizerState copy = state;
  for (TensorState& t : copy.tensors) t.name = rename(t.name);
  for (auto& averager : copy.averagers) rename_all(averager);
  rename_all(copy.source);
  if (!renamed) return std::nullopt;
  return copy;
}

}  // namespace

void Optimizer::LoadState(const OptimizerState& state) {
  if (const auto renamed = WithFirstNames(state, tensors())) return LoadState(*renamed);
  // All checks come first, so that a bad state changes nothing.
  Impl& impl = *impl_;
  impl.CheckBetweenSteps("LoadState");
  const Impl::Inside inside(impl);
  impl.BindParameters();  // masters are told apart from them
  CheckSteps("state: step", state.step);
  std::map<std::string_view, size_t> index;
  for (size_t i = 0; i < impl.tensor_list.size(); ++i) {
    index.emplace(impl.tensor_list[i].name, i);
  }
  std::vector<const TensorState*> sources(impl.tensor_list.size(), nullptr);
  for (const TensorState& t : state.tensors) {
    const auto at = index.find(t.name);
    if (at == index.end()) throw Error("state: no tensor is named " + Quoted(t.name));
    const size_t i = at->second;
    if (sources[i] != nullptr) throw Error("state: tensor " + Quoted(t.name) + " appears twice");
    sources[i] = &t;
    CheckTensorState(t, impl.cohorts[impl.slotted[i].cohort].rule, impl.slotted[i]);
  }
  for (size_t i = 0; i < sources.size(); ++i) {
    if (sources[i] == nullptr) {
      throw Error("state: tensor " + Quoted(impl.tensor_list[i].name) + " is missing");
    }
  }
  if (state.averagers.size() != impl.averagers.size()) {
    throw Error("state: " + std::to_string(state.averagers.size()) +
                " averagers; the optimiser has " + std::to_string(impl.averagers.size()));
  }
  // All memory is there before anything is changed.
  size_t total = 0;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (!sources[i]->buffers.empty()) internal::PlaceArrays(impl.slotted[i], total);
  }
  std::vector<internal::Arena> arenas;
  if (total > 0) arenas.emplace_back(total);
  const auto former_source = impl.source->State(impl);
  impl.source->LoadState(impl, state.source);
  try {
    impl.LoadAveragers(state.averagers);
  } catch (...) {
    impl.source->LoadState(impl, former_source);
    throw;
  }

  impl.step_count = state.step;
  impl.divided = false;  // the next step divides the work again
  for (size_t i = 0; i < sources.size(); ++i) {
    Slotted& s = impl.slotted[i];
    const RuleEntry& rule = impl.cohorts[s.cohort].rule;
    s.has_state = false;
    s.step = sources[i]->step;
    for (size_t k = 0; k < rule.memory.size(); ++k) {
      s.extra->memory[k] = s.step == 0 ? rule.memory[k].second : sources[i]->memory[k].second;
    }
    if (sources[i]->buffers.empty()) continue;
    impl.PlaceState(s, arenas.empty() ? nullptr : &arenas.back());
    for (const TensorState::Buffer& b : sources[i]->buffers) {
      const auto k = std::find(rule.slots.begin(), rule.slots.end(), b.slot) - rule.slots.begin();
      const bool master = b.slot == kMasterSlot;
      Restore(*impl.codecs, b, master ? impl.WeightsNow(i) : s.State(static_cast<size_t>(k)),
              master);
    }
  }
  impl.arenas = std::move(arenas);
}

/// An empty state is that of an averager that has not begun. If one of them throws, all are as they
/// were.
void Optimizer::Impl::LoadAveragers(
    const std::vector<std::map<std::string, std::vector<float>>>& states) {
  const std::vector<bool> former_started = averager_started;
  StartAveragers();
  std::vector<std::map<std::string, std::vector<float>>> former;
  for (const auto& a : averagers) former.push_back(a->State(*this));
  const auto load = [this](const auto& from) {
    for (size_t i = 0; i < averagers.size(); ++i) {
      if (!from[i].empty()) averagers[i]->LoadState(*this, from[i]);
    }
  };
  try {
    load(states);
  } catch (...) {
    load(former);
    averager_started = former_started;
    throw;
  }
  for (size_t i = 0; i < averagers.size(); ++i) averager_started[i] = !states[i].empty();
}

}  // namespace kudari
