#include "kudari/torch_checkpoint.h"

#include <bit>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/recipe.h"
#include "kudari/torch_visit.h"
#include "torch_arrays.h"

namespace kudari::torch {
namespace {

namespace fs = std::filesystem;
using ::torch::serialize::InputArchive;
using ::torch::serialize::OutputArchive;

constexpr const char* kModelNodes[] = {"model/parameters", "model/buffers"};

/// The parts of a run.
struct Run {
  ::torch::nn::Module& module;
  Optimizer& optimizer;
  GradScaler* scaler;
  bool random = true;  // whether the state that was visited has it

  void Visit(StateVisitor& visitor) {
    // The optimiser compares its masters with the weights that are loaded before them.
    visitor.Node("model", [&] { VisitModule(module, visitor); });
    visitor.Node("optimizer", optimizer.core());
    if (scaler != nullptr) visitor.Node("scaler", *scaler);
    random = visitor.Optional("random", true);
    if (random) VisitRandom("random", at::detail::getDefaultCPUGenerator(), visitor);
  }
};

/// Puts the model's arrays into the nodes that they have in the module: other programs do not tell
/// parameters and buffers apart.
void SortModel(const ::torch::nn::Module& module, StateTree& state) {
  const auto move = [&state](const auto& items, const char* from, const char* to) {
    for (const auto& item : items) {
      const std::string name = "/" + PathComponent(item.key());
      const StateTree* const found = state.Find(from + name);
      if (found == nullptr || state.Find(to + name) != nullptr) continue;
      state.Set(to + name, StateTree(*found));
      state.Erase(from + name);
    }
  };
  if (state.Find("model") == nullptr || !state.At("model").IsNode()) return;
  for (const char* const node : kModelNodes) {
    const StateTree* const found = state.Find(node);
    if (found != nullptr && !found->IsNode()) return;  // which is an error later
  }
  move(module.named_parameters(), kModelNodes[1], kModelNodes[0]);
  move(module.named_buffers(), kModelNodes[0], kModelNodes[1]);
}

LoadedRun LoadRun(const fs::path& folder, Run run, LoadMode mode) {
  Checkpoint found = LoadCheckpoint(folder);
  SortModel(run.module, found.state);
  LoadReport report = LoadInto(run, found.state, mode);
  if (!run.random) report.missing.emplace_back("random");
  return {std::move(found.folder), std::move(found.manifest), std::move(report),
          std::move(found.damaged)};
}

}  // namespace

StateTree RunState(const ::torch::nn::Module& module, const Optimizer& optimizer,
                   const GradScaler* scaler) {
  // Saving only reads.
  const Run run{const_cast<::torch::nn::Module&>(module), const_cast<Optimizer&>(optimizer),
                const_cast<GradScaler*>(scaler)};
  return StateOf(run);
}

CheckpointManifest RunManifest(const Optimizer& optimizer, CheckpointManifest manifest) {
  const kudari::Optimizer& core = optimizer.core();
  if (manifest.step == 0) manifest.step = core.steps();
  manifest.texts.emplace("spec", ToToml(core.spec()));
  std::string names;
  for (const Tensor& t : core.tensors()) names += t.name + "\n";
  manifest.texts.emplace("parameters", names);
  return manifest;
}

CheckpointOptions RunOptions(CheckpointOptions options) {
  options.model_nodes.insert(options.model_nodes.end(), std::begin(kModelNodes),
                             std::end(kModelNodes));
  return options;
}

fs::path Save(const fs::path& folder, const ::torch::nn::Module& module, const Optimizer& optimizer,
              const CheckpointManifest& manifest, const CheckpointOptions& options) {
  return SaveCheckpoint(folder, RunState(module, optimizer), RunManifest(optimizer, manifest),
                        RunOptions(options));
}

fs::path Save(const fs::path& folder, const ::torch::nn::Module& module, const Optimizer& optimizer,
              GradScaler& scaler, const CheckpointManifest& manifest,
              const CheckpointOptions& options) {
  return SaveCheckpoint(folder, RunState(module, optimizer, &scaler),
                        RunManifest(optimizer, manifest), RunOptions(options));
}

LoadedRun Load(const fs::path& folder, ::torch::nn::Module& module, Optimizer& optimizer,
               LoadMode mode) {
  return LoadRun(folder, {module, optimizer, nullptr}, mode);
}

LoadedRun Load(const fs::path& folder, ::torch::nn::Module& module, Optimizer& optimizer,
               GradScaler& scaler, LoadMode mode) {
  return LoadRun(folder, {module, optimizer, &scaler}, mode);
}

// ---- Archives ----

namespace {

// A tree in an archive: what it is the state of, and a dictionary by paths for each type of value.
// Paths are no keys of the archive, since those become identifiers of a program.
constexpr const char* kTag = "kudari_state";
constexpr const char* kVersionEnd = " 1";

// Types that archives have, for those that some versions cannot read: of the same size.
at::ScalarType InArchive(ElementType type) {
  switch (type) {
    case ElementType::kFloat8E5m2:
    case ElementType::kFloat8E4m3:
      return at::kByte;
    case ElementType::kUint16:
      return at::kShort;
    case ElementType::kUint32:
      return at::kInt;
    case ElementType::kUint64:
      return at::kLong;
    default:
      return ScalarsOf(type);
  }
}

/// The dictionaries that an archive is made of.
struct Dictionaries {
  c10::Dict<std::string, at::Tensor> arrays;
  c10::Dict<std::string, std::string> types, texts;
  c10::Dict<std::string, int64_t> integers, unsigned_integers;  // the latter by their bits
  c10::Dict<std::string, double> numbers;
  c10::Dict<std::string, bool> flags;

  void Put(const std::string& path, const StateTree& value) {
    if (const auto* const array = std::get_if<StateArray>(&value.value())) {
      arrays.insert(path, TensorOf(*array).view(InArchive(array->type)));
      types.insert(path, std::string(Name(array->type)));
    } else if (const auto* const n = std::get_if<int64_t>(&value.value())) {
      integers.insert(path, *n);
    } else if (const auto* const u = std::get_if<uint64_t>(&value.value())) {
      unsigned_integers.insert(path, std::bit_cast<int64_t>(*u));
    } else if (const auto* const x = std::get_if<double>(&value.value())) {
      numbers.insert(path, *x);
    } else if (const auto* const b = std::get_if<bool>(&value.value())) {
      flags.insert(path, *b);
    } else {
      texts.insert(path, value.Text());
    }
  }
};

void WriteTree(OutputArchive& archive, const std::string& what, const StateTree& state) {
  Dictionaries all;
  for (const std::string& path : state.Paths()) all.Put(path, state.At(path));
  archive.write(kTag, c10::IValue(what + kVersionEnd));
  const auto write = [&archive](const char* key, const auto& dictionary) {
    if (!dictionary.empty()) archive.write(key, c10::IValue(dictionary));
  };
  write("arrays", all.arrays);
  write("types", all.types);
  write("texts", all.texts);
  write("integers", all.integers);
  write("unsigned_integers", all.unsigned_integers);
  write("numbers", all.numbers);
  write("flags", all.flags);
}

/// The tree in an archive of the state of `what`; throws Error for another.
class TreeReader {
 public:
  TreeReader(InputArchive& archive, std::string what) : archive_(archive), what_(std::move(what)) {
    c10::IValue tag;
    if (!archive_.try_read(kTag, tag) || !tag.isString()) Fail("has no " + Quoted(kTag));
    const std::string& text = tag.toStringRef();
    if (text != what_ + kVersionEnd) Fail("says that it is " + Quoted(text));
    ReadArrays();
    Read("texts", [](const c10::IValue& x) -> StateTree { return x.toStringRef(); });
    Read("integers", [](const c10::IValue& x) -> StateTree { return x.toInt(); });
    Read("unsigned_integers",
         [](const c10::IValue& x) -> StateTree { return std::bit_cast<uint64_t>(x.toInt()); });
    Read("numbers", [](const c10::IValue& x) -> StateTree { return x.toDouble(); });
    Read("flags", [](const c10::IValue& x) -> StateTree { return x.toBool(); });
  }

  StateTree Take() { return std::move(tree_); }

 private:
  [[noreturn]] void Fail(const std::string& why) const {
    throw Error("the archive is not of the state of " + what_ + ": it " + why);
  }

  // Calls f(path, value) for the items of a dictionary.
  template <class F>
  void ForItems(const char* key, const F& f) {
    c10::IValue found;
    if (!archive_.try_read(key, found)) return;
    if (!found.isGenericDict()) Fail("has as " + Quoted(key) + " no dictionary");
    for (const auto& item : found.toGenericDict()) {
      if (!item.key().isString()) Fail("has in " + Quoted(key) + " a key that is no path");
      f(item.key().toStringRef(), item.value());
    }
  }

  template <class F>
  void Read(const char* key, const F& value) {
    ForItems(key, [&](const std::string& path, const c10::IValue& x) { Put(path, value(x)); });
  }

  void ReadArrays() {
    std::map<std::string, ElementType> types;
    ForItems("types", [&](const std::string& path, const c10::IValue& x) {
      const auto type = FindElementType(x.toStringRef());
      if (!type) Fail("has an unknown type " + Quoted(x.toStringRef()));
      types.emplace(path, *type);
    });
    ForItems("arrays", [&](const std::string& path, const c10::IValue& x) {
      const auto type = types.find(path);
      const at::Tensor& t = x.toTensor();
      if (type == types.end() || !t.defined() || t.scalar_type() != InArchive(type->second)) {
        Fail("has " + Quoted(path) + " without its type");
      }
      StateArray array = ArrayOf(t, path);
      array.type = type->second;
      Put(path, std::move(array));
    });
  }

  void Put(const std::string& path, StateTree value) {
    if (tree_.Find(path) != nullptr) Fail("has " + Quoted(path) + " twice");
    tree_.Set(path, std::move(value));
  }

  InputArchive& archive_;
  std::string what_;
  StateTree tree_;
};

StateTree ReadTree(InputArchive& archive, const std::string& what) {
  try {
    return TreeReader(archive, what).Take();
  } catch (const c10::Error& e) {
    throw Error("the archive is not of the state of " + what + ": " + e.what_without_backtrace());
  }
}

constexpr const char* kOfOptimizer = "an optimizer";
constexpr const char* kOfScaler = "a loss scaler";

}  // namespace

void Optimizer::save(OutputArchive& archive) const {
  WriteTree(archive, kOfOptimizer, core().State());
}

void Optimizer::load(InputArchive& archive) { core().LoadState(ReadTree(archive, kOfOptimizer)); }

OutputArchive& operator<<(OutputArchive& archive, const GradScaler& scaler) {
  WriteTree(archive, kOfScaler, scaler.State());
  return archive;
}

InputArchive& operator>>(InputArchive& archive, GradScaler& scaler) {
  scaler.LoadState(ReadTree(archive, kOfScaler));
  return archive;
}

}  // namespace kudari::torch
