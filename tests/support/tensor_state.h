#ifndef KUDARI_TESTS_SUPPORT_STATE_H_
#define KUDARI_TESTS_SUPPORT_STATE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/optimizer.h"
#include "kudari/registry.h"

namespace kudari::testing {

/// A copy of what stands at a path; a node without members if there is nothing.
inline StateTree Part(const StateTree& state, std::string_view path) {
  const StateTree* const found = state.Find(path);
  return found == nullptr ? StateTree() : *found;
}

/// The state of a tensor.
inline StateTree TensorState(const Optimizer& optimizer, size_t index) {
  return Part(optimizer.State(), "tensors/" + PathComponent(optimizer.tensors()[index].name));
}

/// Updates that a tensor has had.
inline int64_t Updates(const Optimizer& optimizer, size_t index) {
  return TensorState(optimizer, index).At("step").Int();
}

struct Buffer {
  std::string slot;
  std::vector<float> values;

  friend bool operator==(const Buffer&, const Buffer&) = default;
};

/// The state buffers that a tensor has, in the order of its rule, and last its master.
inline std::vector<Buffer> Buffers(const Optimizer& optimizer, size_t index) {
  std::vector<std::string> slots = Registry::Builtin().Find(optimizer.Plan()[index].rule).slots;
  slots.emplace_back("master");
  const StateTree state = Part(TensorState(optimizer, index), "slots");
  std::vector<Buffer> buffers;
  for (const std::string& slot : slots) {
    if (state.Member(slot) == nullptr) continue;
    buffers.push_back({slot, optimizer.SlotValues(index, slot)});
  }
  return buffers;
}

}  // namespace kudari::testing

#endif  // KUDARI_TESTS_SUPPORT_STATE_H_
