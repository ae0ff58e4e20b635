// The state of optimisers of kudari/c.h: bytes, files, checkpoints, buffers, memory.
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "c/handles.h"
#include "io/safetensors_header.h"
#include "io/state_entries.h"
#include "kudari/checkpoint.h"
#include "kudari/recipe.h"
#include "kudari/state.h"
#include "kudari/state_file.h"
#include "kudari/torch_state.h"

namespace kudari::c {
namespace {

constexpr const char* kModel = "model";
constexpr const char* kOptimizer = "optimizer";

void CheckForm(int32_t form) { CheckInteger("form", form, KUDARI_STATE, KUDARI_TORCH_STATE); }

StateTree StateIn(const kudari_optimizer& optimizer, int32_t form) {
  CheckForm(form);
  return form == KUDARI_STATE ? optimizer.core.State() : StateToTorch(optimizer.core);
}

// Loads a state that `read` gives, once the other arguments are known to be good.
void Load(kudari_optimizer* optimizer, int32_t form, int32_t mode,
          const std::function<StateTree()>& read) {
  kudari_optimizer& o = Deref(optimizer, "optimizer");
  CheckForm(form);
  CheckInteger("mode", mode, KUDARI_STRICT, KUDARI_LENIENT);
  const StateTree state = read();
  o.core.LoadState(form == KUDARI_STATE ? state : StateFromTorch(state),
                   mode == KUDARI_STRICT ? LoadMode::kStrict : LoadMode::kLenient);
}

StateTree Decoded(const void* bytes, size_t size) {
  CheckArgument(bytes, "bytes");
  const std::span span(static_cast<const std::byte*>(bytes), size);
  return StateOf(SafeTensorsFile(span, "bytes"), "bytes");
}

// The bytes of a file that WriteState would write.
void Encode(const StateTree& state, void** bytes, size_t* size) {
  const internal::StateEntries entries = internal::EntriesOf(state, "state");
  const std::string header =
      internal::SafeTensorsHeaderText(entries.arrays, entries.metadata, "state");
  size_t total = header.size();
  for (const SafeTensor& t : entries.arrays) total += t.bytes.size();
  auto* at = static_cast<std::byte*>(Allocate(total));
  *bytes = at;
  *size = total;
  std::memcpy(at, header.data(), header.size());
  at += header.size();
  for (const SafeTensor& t : entries.arrays) {
    if (!t.bytes.empty()) std::memcpy(at, t.bytes.data(), t.bytes.size());
    at += t.bytes.size();
  }
}

size_t BytesOf(const Tensor& t) { return static_cast<size_t>(t.Size() * Bytes(t.dtype)); }

StateTree ModelOf(const Optimizer& optimizer) {
  StateTree model;
  for (const Tensor& t : optimizer.tensors()) {
    const std::span bytes(static_cast<const std::byte*>(t.param), BytesOf(t));
    model.Add(t.name, StateArray{ElementTypeOf(t.dtype), t.shape, bytes});
  }
  return model;
}

// The array of a checkpoint for a tensor. Throws Error if there is none, or one of another kind.
const StateArray& ArrayFor(const StateTree& model, const Tensor& t) {
  const StateTree* const found = model.Member(t.name);
  if (found == nullptr) {
    throw Error("the checkpoint has no parameter \"" + t.name + "\"");
  }
  const StateTree expected(StateArray{ElementTypeOf(t.dtype), t.shape, StateBytes(BytesOf(t))});
  if (found->Kind() != expected.Kind()) {
    throw Error("the checkpoint has \"" + t.name + "\" as " + found->Kind() +
                ", but the parameter is " + expected.Kind());
  }
  return found->Array();
}

void LoadModelAndState(kudari_optimizer& optimizer, const StateTree& state) {
  const StateTree& model = state.At(kModel);
  const std::span<Tensor> tensors = optimizer.core.tensors();
  std::vector<const StateArray*> arrays;
  for (const Tensor& t : tensors) arrays.push_back(&ArrayFor(model, t));
  optimizer.core.LoadState(state.At(kOptimizer));
  for (size_t i = 0; i < arrays.size(); ++i) {
    const StateBytes& bytes = arrays[i]->bytes;
    if (!bytes.empty()) std::memcpy(tensors[i].param, bytes.data(), bytes.size());
  }
}

std::filesystem::path PathOf(const char* text, std::string_view name) {
  return {std::string(Utf8(text, name))};
}

// A text for the caller that is freed unless it is given away.
using Text = std::unique_ptr<char, decltype(&std::free)>;

Text TextOf(const std::filesystem::path& path) { return {Copy(path.string()), &std::free}; }

void Give(Text text, char** to) {
  if (to != nullptr) *to = text.release();
}

}  // namespace
}  // namespace kudari::c

using kudari::c::Deref;
using kudari::c::Guarded;

extern "C" {

int kudari_optimizer_slot(const kudari_optimizer* optimizer, size_t tensor, const char* slot,
                          float* values, size_t capacity, size_t* count) {
  return Guarded([=] {
    size_t& out = Deref(count, "count");
    const std::vector<float> found =
        Deref(optimizer, "optimizer").core.SlotValues(tensor, kudari::c::Utf8(slot, "slot"));
    if (values != nullptr) {
      kudari::c::CheckInteger("capacity", static_cast<int64_t>(capacity),
                              static_cast<int64_t>(found.size()), INT64_MAX);
      std::copy(found.begin(), found.end(), values);
    }
    out = found.size();
  });
}

int kudari_optimizer_memory(const kudari_optimizer* optimizer, kudari_memory* memory) {
  return Guarded([=] {
    kudari::c::CheckArgument(memory, "memory");
    kudari::c::CheckOutput(memory, "memory");
    const kudari::MemoryPlan plan = Deref(optimizer, "optimizer").core.Memory();
    kudari_memory out = KUDARI_INIT(kudari_memory);
    out.total = plan.Total();
    for (const kudari::TensorBytes& t : plan.tensors) {
      out.weights += t.weights;
      out.gradients += t.gradient;
      out.masters += t.master;
      for (const auto& slot : t.state) out.state += slot.second;
    }
    out.accumulated = plan.accumulated;
    out.averages = plan.averages;
    out.source = plan.source;
    out.scratch = plan.scratch;
    out.bytes_read = plan.bytes_read;
    out.bytes_written = plan.bytes_written;
    kudari::c::Write(out, memory);
  });
}

int kudari_optimizer_state(const kudari_optimizer* optimizer, int32_t form, void** bytes,
                           size_t* size) {
  return Guarded([=] {
    kudari::c::CheckArgument(static_cast<const void*>(bytes), "bytes");
    kudari::c::CheckArgument(size, "size");
    kudari::c::Encode(kudari::c::StateIn(Deref(optimizer, "optimizer"), form), bytes, size);
  });
}

int kudari_optimizer_load_state(kudari_optimizer* optimizer, int32_t form, int32_t mode,
                                const void* bytes, size_t size) {
  return Guarded([=] {
    kudari::c::Load(optimizer, form, mode, [=] { return kudari::c::Decoded(bytes, size); });
  });
}

int kudari_optimizer_save_file(const kudari_optimizer* optimizer, int32_t form, const char* path) {
  return Guarded([=] {
    const std::filesystem::path file = kudari::c::PathOf(path, "path");
    const kudari::StateTree state = kudari::c::StateIn(Deref(optimizer, "optimizer"), form);
    kudari::c::WithFiles([&] { kudari::WriteState(file, state); });
  });
}

int kudari_optimizer_load_file(kudari_optimizer* optimizer, int32_t form, int32_t mode,
                               const char* path) {
  return Guarded([=] {
    const std::filesystem::path file = kudari::c::PathOf(path, "path");
    kudari::c::Load(optimizer, form, mode,
                    [&] { return kudari::c::WithFiles([&] { return kudari::ReadState(file); }); });
  });
}

int kudari_optimizer_save_checkpoint(const kudari_optimizer* optimizer, const char* folder,
                                     int64_t keep, char** path) {
  return Guarded([=] {
    const kudari::Optimizer& core = Deref(optimizer, "optimizer").core;
    const std::filesystem::path in = kudari::c::PathOf(folder, "folder");
    kudari::CheckpointOptions options{.model_nodes = {kudari::c::kModel}};
    options.retention.keep = keep;
    options.retention.Check();
    kudari::StateTree state;
    state.Add(kudari::c::kOptimizer, core.State());
    state.Add(kudari::c::kModel, kudari::c::ModelOf(core));
    const kudari::CheckpointManifest manifest{.step = core.steps(),
                                              .texts = {{"recipe", kudari::ToToml(core.spec())}}};
    const std::filesystem::path saved =
        kudari::c::WithFiles([&] { return kudari::SaveCheckpoint(in, state, manifest, options); });
    kudari::c::Give(kudari::c::TextOf(saved), path);
  });
}

int kudari_optimizer_load_checkpoint(kudari_optimizer* optimizer, const char* folder, char** path) {
  return Guarded([=] {
    kudari_optimizer& o = Deref(optimizer, "optimizer");
    const std::filesystem::path in = kudari::c::PathOf(folder, "folder");
    const kudari::Checkpoint last =
        kudari::c::WithFiles([&] { return kudari::LoadCheckpoint(in); });
    kudari::c::Text shown = kudari::c::TextOf(last.folder);  // may fail, so it comes first
    kudari::c::LoadModelAndState(o, last.state);
    kudari::c::Give(std::move(shown), path);
  });
}

int kudari_recipe_from_torch(const void* bytes, size_t size, char** recipe) {
  return Guarded([=] {
    char*& out = Deref(recipe, "recipe");
    const kudari::OptimizerSpec spec = kudari::SpecFromTorch(kudari::c::Decoded(bytes, size));
    out = kudari::c::Copy(kudari::ToToml(kudari::Complete(spec)));
  });
}

}  // extern "C"
