#include "lab/verbs/torch_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <system_error>
#include <vector>

#include "kudari/checkpoint.h"
#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/messages.h"
#include "kudari/recipe.h"
#include "kudari/state_file.h"
#include "kudari/torch_state.h"
#include "lab/console/usage_error.h"
#include "lab/files/execute.h"
#include "lab/recipe/checkpoint_spec.h"
#include "lab/verbs/torch_script.h"

namespace kudari::lab {

namespace {

namespace fs = std::filesystem;

// Manifest texts beside the spec.
constexpr const char* kRestText = "torch";
constexpr const char* kParametersText = "parameters";

// Runs the script, which says why if it fails, and returns what it prints.
std::string RunTorchScript(const std::string& python, const ScratchFolder& scratch,
                           std::vector<std::string> arguments) {
  for (const TorchModule& module : kTorchModules) {
    WriteFileAtomically(scratch.path() / module.name, module.text);
  }
  const fs::path script = scratch.path() / "torch_state.py";
  const std::string program = python.empty() ? UsualPython() : python;
  arguments.insert(arguments.begin(), {program, script.string()});
  const Ended ended = Execute(arguments, scratch);
  if (ended.code == 0) return ended.output;
  std::string why = ended.error;
  while (why.ends_with('\n')) why.pop_back();
  if (const size_t last = why.rfind('\n'); last != std::string::npos) why = why.substr(last + 1);
  if (why.empty()) why = "no reason given";
  throw Error(ended.code == 1 ? why
                              : fmt::format("{} ended with {}: {}", program, ended.code, why));
}

void PrintNotes(const std::vector<std::string>& notes, std::FILE* console) {
  for (const std::string& note : notes) fmt::print(console, "  {}\n", Printable(note));
}

// The path of a folder whose name is its last part, however it was given.
fs::path WithoutSlash(const fs::path& path) {
  const fs::path normal = path.lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

// The nearest folder above that is there.
fs::path FolderAbove(const fs::path& path) {
  std::error_code ignored;
  fs::path folder = fs::absolute(path).lexically_normal().parent_path();
  while (!fs::is_directory(folder, ignored) && folder.has_relative_path()) {
    folder = folder.parent_path();
  }
  return folder;
}

void AddRules(const Optimizer& optimizer, std::vector<std::string>& rules) {
  for (const TensorPlan& plan : optimizer.Plan()) {
    if (std::ranges::find(rules, plan.rule) == rules.end()) rules.push_back(plan.rule);
  }
}

// "adamw and muon".
std::string Listed(const std::vector<std::string>& rules) {
  return fmt::format("{}", fmt::join(rules, " and "));
}

// A rule whose state in PyTorch has a shape that Kudari's does not tell.
void CheckShapesKnown(const StateTree& run, const Optimizer& optimizer) {
  if (run.Find("model/parameters") != nullptr) return;
  for (const TensorPlan& plan : optimizer.Plan()) {
    if (plan.rule != "adafactor_torch" && plan.rule != "adagrad") continue;
    throw Error("tensor " + Quoted(plan.name) + " has rule " + plan.rule +
                ", whose state in PyTorch needs the shape of the parameter, but the checkpoint has "
                "no model");
  }
}

// The parts whose optimisers are exported: all of them, or the one that is asked for.
std::vector<std::string> PartsToExport(const Checkpoint& checkpoint, const std::string& asked) {
  std::vector<std::string> parts = PartsIn(checkpoint);
  if (asked.empty()) return parts;
  if (std::ranges::find(parts, asked) != parts.end()) return {asked};
  const std::string where = "--part " + asked + ": " + checkpoint.folder.string();
  if (parts.front().empty()) throw UsageError(where + " has one optimiser, for the whole model");
  throw UsageError(fmt::format("{} has optimisers for {}", where, fmt::join(parts, " and ")));
}

// What the script is given, and what the user is told.
struct Export {
  StateTree exchange = {};
  std::vector<std::string> rules = {}, notes = {};
  size_t parameters = 0;
  int64_t step = 0;
};

// Copies a member if there is one.
void CopyMember(const StateTree& from, const std::string& name, StateTree& to) {
  if (const StateTree* const found = from.Member(name)) to.Add(name, *found);
}

void CopyText(const CheckpointManifest& from, const std::string& title, const std::string& name,
              StateTree& to) {
  if (const auto text = from.texts.find(title); text != from.texts.end())
    to.Add(name, text->second);
}

// The optimiser of a part, which is "" for the whole model.
void AddOptimizer(const Checkpoint& checkpoint, const std::string& part, Export& out) {
  const StateTree& run = RunIn(checkpoint);
  const RestoredOptimizer restored(run, SpecOf(checkpoint, part), part);
  const Optimizer& optimizer = restored.optimizer();
  CheckShapesKnown(run, optimizer);
  StateTree& to = part.empty() ? out.exchange : out.exchange.At("parts").Add(part, StateTree());
  to.Add("torch", StateToTorch(optimizer));
  CopyMember(part.empty() ? run : *run.Member(part), "scaler", to);
  CopyText(checkpoint.manifest, part.empty() ? kParametersText : part + "/" + kParametersText,
           kParametersText, to);
  AddRules(optimizer, out.rules);
  for (const std::string& note : NotInTorch(optimizer)) {
    out.notes.push_back(part.empty() ? note : part + ": " + note);
  }
  out.parameters += optimizer.tensors().size();
  out.step = std::max(out.step, optimizer.steps());
}

}  // namespace

std::string UsualPython() {
  std::error_code ignored;
  const bool there = !kBuiltWithPython.empty() && fs::exists(kBuiltWithPython, ignored);
  return there ? std::string(kBuiltWithPython) : "python3";
}

void ImportTorch(const ImportTorchOptions& options, std::FILE* console) {
  if (options.step && (*options.step < 0 || *options.step > int64_t{1} << 53)) {
    throw UsageError(fmt::format("--step = {} is outside [0, 2^53]", *options.step));
  }
  fs::path out = options.out;
  if (out.empty()) {
    out = WithoutSlash(fs::absolute(options.file)).filename().replace_extension();
    out += "-kudari";
  }
  StateTree found;
  {
    const ScratchFolder scratch(FolderAbove(out));
    const fs::path exchange = scratch.path() / "state.safetensors";
    std::vector<std::string> arguments = {"read", options.file.string(), exchange.string()};
    const auto add = [&arguments](const char* option, const std::string& value) {
      if (!value.empty()) arguments.insert(arguments.end(), {option, value});
    };
    add("--names", options.names.string());
    add("--optimizer", options.optimizer);
    add("--part", options.part);
    if (options.step) add("--step", std::to_string(*options.step));
    RunTorchScript(options.python, scratch, std::move(arguments));
    found = ReadState(exchange);
  }
  const StateTree& torch = found.At("torch");
  const OptimizerSpec spec = SpecFromTorch(torch);
  StateTree state;
  state.Add("optimizer", StateFromTorch(torch));
  for (const char* const node : {"model", "scaler", "random"}) {
    if (const StateTree* const part = found.Member(node)) state.Add(node, *part);
  }
  // That it fits is seen here and not by whoever loads it.
  const RestoredOptimizer restored(state, spec);
  const CheckpointManifest manifest = {
      .step = restored.optimizer().steps(),
      .texts = {{"spec", ToToml(spec)}, {kRestText, found.At("rest").Text()}}};
  const fs::path folder = SaveCheckpoint(out, state, manifest, ModelCheckpoints());
  std::vector<std::string> rules;
  AddRules(restored.optimizer(), rules);
  fmt::print(console, "imported {} for {} parameters at step {}: {}\n", Listed(rules),
             restored.optimizer().tensors().size(), manifest.step, folder.string());
  std::vector<std::string> notes;
  if (const StateTree* const said = found.Member("notes")) {
    for (size_t i = 0; i < said->members().size(); ++i) {
      notes.push_back(said->At(std::to_string(i)).Text());
    }
  }
  PrintNotes(notes, console);
}

void ExportTorch(const ExportTorchOptions& options, std::FILE* console) {
  const Checkpoint checkpoint = CheckpointAt(options.checkpoint);
  std::vector<std::string> notes;
  for (const DamagedCheckpoint& d : checkpoint.damaged) notes.push_back("damaged: " + d.reason);
  fs::path out = WithoutSlash(options.out);
  if (out.empty()) {
    out = WithoutSlash(fs::absolute(checkpoint.folder)).filename();
    out += options.dcp ? "-dcp" : ".pt";
  }
  std::error_code ignored;
  if (!options.force && fs::exists(fs::symlink_status(out, ignored))) {
    throw UsageError(out.string() + ": exists already; --force overwrites it");
  }
  if (out.has_parent_path() && !fs::is_directory(out.parent_path(), ignored)) {
    throw UsageError("--out " + out.string() + ": there is no folder " +
                     out.parent_path().string());
  }
  Export all;
  const std::vector<std::string> parts = PartsToExport(checkpoint, options.part);
  if (!parts.front().empty()) all.exchange.Add("parts", {});
  for (const std::string& part : parts) AddOptimizer(checkpoint, part, all);
  CopyMember(RunIn(checkpoint), "model", all.exchange);
  CopyMember(RunIn(checkpoint), "random", all.exchange);
  CopyText(checkpoint.manifest, kRestText, "rest", all.exchange);
  const ScratchFolder scratch(out.parent_path());
  const fs::path file = scratch.path() / "state.safetensors";
  WriteState(file, all.exchange);
  std::vector<std::string> arguments = {"write", file.string(), out.string()};
  if (!options.names.empty()) {
    arguments.insert(arguments.end(), {"--names", options.names.string()});
  }
  if (options.dcp) arguments.emplace_back("--dcp");
  std::string said = RunTorchScript(options.python, scratch, std::move(arguments));
  notes.insert(notes.end(), all.notes.begin(), all.notes.end());
  while (!said.empty()) {
    const size_t end = said.find('\n');
    notes.push_back(said.substr(0, end));
    said.erase(0, end == std::string::npos ? end : end + 1);
  }
  fmt::print(console, "exported {} for {} parameters at step {}: {}\n", Listed(all.rules),
             all.parameters, all.step, out.string());
  PrintNotes(notes, console);
}

}  // namespace kudari::lab
