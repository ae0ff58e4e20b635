#include "lab/recipe/checkpoint_spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

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
  return session != nullptr ? *session : checkpoint.state;
}

std::vector<std::string> PartsIn(const Checkpoint& checkpoint) {
  const StateTree& run = RunIn(checkpoint);
  if (run.Find("optimizer/tensors") != nullptr) return {""};
  std::vector<std::string> parts;
  for (const auto& [name, node] : run.members()) {
    if (node.IsNode() && node.Find("optimizer/tensors") != nullptr) parts.push_back(name);
  }
  if (parts.empty()) throw Error(checkpoint.folder.string() + ": has no \"optimizer\"");
  return parts;
}

void CheckOneOptimizer(const Checkpoint& checkpoint, std::string_view what) {
  const std::vector<std::string> parts = PartsIn(checkpoint);
  if (parts.size() == 1 && parts.front().empty()) return;
  throw Error(
      fmt::format("{}: {} needs a run with one optimiser; the parts of its model ({}) have "
                  "one each",
                  checkpoint.folder.string(), what, fmt::join(parts, ", ")));
}

OptimizerSpec SpecOf(const Checkpoint& checkpoint, const std::string& part) {
  const std::vector<std::string> titles = part.empty() ? std::vector<std::string>{"spec", "recipe"}
                                                       : std::vector<std::string>{part + "/spec"};
  for (const std::string& title : titles) {
    const auto text = checkpoint.manifest.texts.find(title);
    if (text == checkpoint.manifest.texts.end()) continue;
    return ParseRecipe(text->second, checkpoint.folder.string() + ": text " + Quoted(title));
  }
  throw Error(fmt::format("{}: its manifest has no text \"{}\" that says what its optimizer is",
                          checkpoint.folder.string(), fmt::join(titles, "\" or \"")));
}

RestoredOptimizer::RestoredOptimizer(const StateTree& run, const OptimizerSpec& spec,
                                     const std::string& part) {
  const StateTree& state = part.empty() ? run : *run.Member(part);
  const std::string before = part.empty() ? "" : part + ".";
  const StateTree* const model = run.Find("model/parameters");
  const StateTree::Members& saved = state.At("optimizer/tensors").members();
  std::vector<Tensor> tensors;
  parameters_.reserve(saved.size());
  for (const auto& [name, tensor] : saved) {
    std::vector<int64_t> shape = model == nullptr ? ShapeInState(tensor) : std::vector<int64_t>();
    DType type = DType::kFloat32;
    const StateArray* array = nullptr;
    if (model != nullptr) {
      const StateTree* const found = model->Member(before + name);
      if (found == nullptr) {
        throw Error("model/parameters has no " + Quoted(before + name) +
                    ", which the optimizer has");
      }
      array = &found->Array();
      shape = array->shape;
      const auto known = StepType(array->type);
      if (!known) array = nullptr;  // float64, say: its state has its shape all the same
      type = known.value_or(DType::kFloat32);
    }
    tensors.push_back({.name = name, .shape = std::move(shape), .dtype = type});
    if (array != nullptr) {
      parameters_.emplace_back(array->bytes.begin(), array->bytes.end());
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
