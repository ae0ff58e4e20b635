#include "lab/recipe/checkpoint_spec.h"

#include <string>
#include <system_error>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/recipe.h"
#include "lab/files/run_folder.h"

namespace kudari::lab {
namespace {

// The array of a buffer, whatever its format; null if there is none.
const StateArray* BufferArray(const StateTree& slot) {
  for (const char* const part : {"codes", "rest"}) {
    if (!slot.IsNode()) break;
    if (const StateTree* const found = slot.Member(part)) return &found->Array();
  }
  return std::get_if<StateArray>(&slot.value());
}

// The shape of the first buffer, that of a parameter without its model.
std::vector<int64_t> ShapeInState(const StateTree& tensor) {
  const StateTree* const slots = tensor.Member("slots");
  if (slots == nullptr) return {};
  for (const auto& [name, slot] : slots->members()) {
    const StateArray* const array = BufferArray(slot);
    if (array != nullptr) return array->shape;
  }
  return {};
}

std::optional<DType> StepType(ElementType type) {
  if (type == ElementType::kFloat32) return DType::kFloat32;
  if (type == ElementType::kBFloat16) return DType::kBFloat16;
  if (type == ElementType::kFloat16) return DType::kFloat16;
  return std::nullopt;
}

}  // namespace

Checkpoint CheckpointAt(const std::filesystem::path& place) {
  return LoadCheckpoint(CheckpointsAt(place));
}

const StateTree& RunIn(const Checkpoint& checkpoint) {
  const StateTree* const session = checkpoint.state.Member("session");
  const StateTree& run = session != nullptr ? *session : checkpoint.state;
  if (run.Find("optimizer/tensors") != nullptr) return run;
  throw Error(checkpoint.folder.string() +
              ": has no \"optimizer\"; what has several, as of adversarial networks, is not for "
              "this command");
}

OptimizerSpec SpecOf(const Checkpoint& checkpoint) {
  for (const char* const name : {"spec", "recipe"}) {
    const auto text = checkpoint.manifest.texts.find(name);
    if (text == checkpoint.manifest.texts.end()) continue;
    return ParseRecipe(text->second, checkpoint.folder.string() + ": text \"" + name + "\"");
  }
  throw Error(checkpoint.folder.string() +
              ": its manifest has no text \"spec\" or \"recipe\" that says what its optimizer is");
}

RestoredOptimizer::RestoredOptimizer(const StateTree& state, const OptimizerSpec& spec) {
  const StateTree* const model = state.Find("model/parameters");
  const StateTree::Members& saved = state.At("optimizer/tensors").members();
  std::vector<Tensor> tensors;
  parameters_.reserve(saved.size());
  for (const auto& [name, tensor] : saved) {
    std::vector<int64_t> shape = model == nullptr ? ShapeInState(tensor) : std::vector<int64_t>();
    DType type = DType::kFloat32;
    const StateArray* array = nullptr;
    if (model != nullptr) {
      const StateTree* const found = model->Member(name);
      if (found == nullptr) {
        throw Error("model/parameters has no " + Quoted(name) + ", which the optimizer has");
      }
      array = &found->Array();
      shape = array->shape;
      const auto known = StepType(array->type);
      if (!known) array = nullptr;  // float64, say: its state has its shape all the same
      type = known.value_or(DType::kFloat32);
    }
    tensors.push_back({.name = name, .shape = std::move(shape), .dtype = type});
    if (array != nullptr) {
      parameters_.push_back(array->bytes);
    } else {
      parameters_.emplace_back(static_cast<size_t>(tensors.back().Size() * Bytes(type)));
    }
    if (parameters_.back().empty()) parameters_.back().resize(1);  // somewhere to point to
    tensors.back().param = parameters_.back().data();
  }
  optimizer_ = std::make_unique<Optimizer>(std::move(tensors), spec);
  optimizer_->LoadState(state.At("optimizer"));
}

CheckpointOptions ModelCheckpoints() {
  return {.retention = {.keep = 0}, .model_nodes = {"model/parameters", "model/buffers"}};
}

}  // namespace kudari::lab
