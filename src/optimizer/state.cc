// The optimiser's state as a value.
#include <algorithm>
#include <map>
#include <set>

#include "core/nearest.h"
#include "kudari/error.h"
#include "optimizer/impl.h"

namespace kudari {

using internal::Slotted;

OptimizerState Optimizer::State() const {
  OptimizerState state{.step = impl_->step_count};
  for (size_t i = 0; i < impl_->tensor_list.size(); ++i) {
    const Slotted& s = impl_->slotted[i];
    TensorState t{.name = impl_->tensor_list[i].name, .step = s.step};
    const RuleEntry& rule = impl_->cohorts[s.cohort].rule;
    for (size_t k = 0; k < s.state.size(); ++k) {
      t.buffers.push_back(
          {rule.slots[k], std::vector<float>(s.state[k], s.state[k] + s.slot_sizes[k])});
    }
    for (size_t k = 0; s.step > 0 && k < rule.memory.size(); ++k) {
      t.memory.emplace_back(rule.memory[k].first, s.memory[k]);
    }
    state.tensors.push_back(std::move(t));
  }
  for (size_t i = 0; i < impl_->averagers.size(); ++i) {
    state.averagers.emplace_back();
    if (impl_->averager_started[i]) state.averagers[i] = impl_->averagers[i]->State(*impl_);
  }
  return state;
}

namespace {

/// Throws unless the buffers and the memory of `t` are those of a tensor of that rule.
void CheckTensorState(const TensorState& t, const RuleEntry& rule, const Slotted& s) {
  const bool fresh = t.step == 0 && t.buffers.empty();
  if (t.step < 0 || (!fresh && t.buffers.size() != rule.slots.size())) {
    throw Error("state: tensor \"" + t.name + "\" has step " + std::to_string(t.step) + " and " +
                std::to_string(t.buffers.size()) + " buffers; its rule has " +
                std::to_string(rule.slots.size()));
  }
  std::set<std::string> seen;
  for (const TensorState::Buffer& b : t.buffers) {
    const std::string where = "state: tensor \"" + t.name + "\", buffer \"" + b.slot + "\"";
    const auto at = std::find(rule.slots.begin(), rule.slots.end(), b.slot);
    if (at == rule.slots.end()) {
      throw Error(where + ": its rule has none of that name" +
                  internal::Suggest(b.slot, rule.slots));
    }
    if (!seen.insert(b.slot).second) throw Error(where + " stands twice");
    const int64_t size = s.slot_sizes[static_cast<size_t>(at - rule.slots.begin())];
    if (static_cast<int64_t>(b.values.size()) != size) {
      throw Error(where + " has " + std::to_string(b.values.size()) + " values, not " +
                  std::to_string(size));
    }
  }
  const size_t doubles = t.step == 0 ? 0 : rule.memory.size();
  bool same = t.memory.size() == doubles;
  for (size_t k = 0; same && k < doubles; ++k) same = t.memory[k].first == rule.memory[k].first;
  if (same) return;
  std::string names;
  for (size_t k = 0; k < doubles; ++k) names += (k == 0 ? "" : ", ") + rule.memory[k].first;
  throw Error("state: tensor \"" + t.name + "\" has " + std::to_string(t.memory.size()) +
              " numbers in its memory; at step " + std::to_string(t.step) + " its rule has " +
              (doubles == 0 ? "none" : names));
}

}  // namespace

void Optimizer::LoadState(const OptimizerState& state) {
  // All checks come first, so that a bad state changes nothing.
  Impl& impl = *impl_;
  impl.CheckNoView("LoadState");
  if (state.step < 0) throw Error("state: step = " + std::to_string(state.step) + " is negative");
  std::map<std::string_view, size_t> index;
  for (size_t i = 0; i < impl.tensor_list.size(); ++i) {
    index.emplace(impl.tensor_list[i].name, i);
  }
  std::vector<const TensorState*> sources(impl.tensor_list.size(), nullptr);
  for (const TensorState& t : state.tensors) {
    const auto at = index.find(t.name);
    if (at == index.end()) throw Error("state: no tensor is named \"" + t.name + "\"");
    const size_t i = at->second;
    if (sources[i] != nullptr) throw Error("state: tensor \"" + t.name + "\" stands twice");
    sources[i] = &t;
    CheckTensorState(t, impl.cohorts[impl.slotted[i].cohort].rule, impl.slotted[i]);
  }
  for (size_t i = 0; i < sources.size(); ++i) {
    if (sources[i] == nullptr) {
      throw Error("state: tensor \"" + impl.tensor_list[i].name + "\" is missing");
    }
  }
  if (state.averagers.size() != impl.averagers.size()) {
    throw Error("state: " + std::to_string(state.averagers.size()) +
                " averagers; the optimiser has " + std::to_string(impl.averagers.size()));
  }
  impl.LoadAveragers(state.averagers);

  impl.step_count = state.step;
  impl.arenas.clear();
  impl.active.clear();  // the next step divides the work anew
  for (const TensorState* t : sources) impl.active.push_back(t->buffers.empty() ? 0 : 1);
  for (Slotted& s : impl.slotted) {
    s.state.clear();
    s.has_state = false;
  }
  impl.AllocateState();
  impl.active.clear();
  for (size_t i = 0; i < sources.size(); ++i) {
    Slotted& s = impl.slotted[i];
    const RuleEntry& rule = impl.cohorts[s.cohort].rule;
    s.step = sources[i]->step;
    for (size_t k = 0; k < rule.memory.size(); ++k) {
      s.memory[k] = s.step == 0 ? rule.memory[k].second : sources[i]->memory[k].second;
    }
    for (const TensorState::Buffer& b : sources[i]->buffers) {
      const auto k = std::find(rule.slots.begin(), rule.slots.end(), b.slot) - rule.slots.begin();
      std::copy(b.values.begin(), b.values.end(), s.state[static_cast<size_t>(k)]);
    }
  }
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
