#include "lab/verbs/replay.h"

#include <fmt/format.h>

#include <charconv>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>

#include "kudari/checkpoint.h"
#include "kudari/error.h"
#include "kudari/optimizer.h"
#include "kudari/recipe.h"
#include "kudari/safetensors.h"
#include "kudari/state.h"
#include "lab/console/json_text.h"
#include "lab/console/usage_error.h"
#include "lab/files/output_file.h"
#include "lab/files/text_file.h"
#include "lab/recipe/checkpoint_spec.h"

namespace kudari::lab {
namespace {

struct Parameter {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

std::vector<Parameter> ReadParameters(const std::filesystem::path& path) {
  const SafeTensorsFile file(path);
  std::vector<Parameter> parameters;
  for (const SafeTensor& t : file.tensors()) {
    const auto values = file.Floats(t.name);
    parameters.push_back({t.name, t.shape, {values.begin(), values.end()}});
  }
  if (parameters.empty()) throw Error(path.string() + ": holds no parameters");
  return parameters;
}

// Those that the optimiser of a checkpoint steps.
std::vector<Parameter> ParametersIn(const Checkpoint& checkpoint) {
  std::vector<Parameter> parameters;
  const StateTree& run = RunIn(checkpoint);
  const StateTree& model = run.At("model/parameters");
  for (const auto& [name, tensor] : run.At("optimizer/tensors").members()) {
    const StateTree& found = model.At(PathComponent(name));
    const auto values = found.Floats();
    parameters.push_back({name, found.Array().shape, {values.begin(), values.end()}});
  }
  return parameters;
}

// Saves what has come of a run, with whatever else the checkpoint had from which it began.
void SaveReplay(const std::filesystem::path& folder, const Checkpoint& start,
                const std::vector<Parameter>& parameters, const OptimizerSpec& spec,
                const StateTree& optimizer) {
  StateTree state;
  if (!start.folder.empty()) state = RunIn(start);
  std::string names;
  for (const Parameter& p : parameters) {
    state.Set("model/parameters/" + PathComponent(p.name),
              StateArray::Of(std::span<const float>(p.values), p.shape));
    names += p.name + "\n";
  }
  state.Set("optimizer", optimizer);
  CheckpointManifest manifest{.step = optimizer.At("step").Int(), .texts = start.manifest.texts};
  manifest.texts.insert_or_assign("spec", ToToml(Complete(spec)));
  manifest.texts.emplace("parameters", names);
  SaveCheckpoint(folder, state, manifest, ModelCheckpoints());
}

constexpr int64_t kMostSteps = int64_t{1} << 53;

/// Gradients by step, each a list of (index of the parameter, values).
using Gradients = std::map<int64_t, std::vector<std::pair<size_t, std::span<const float>>>>;

Gradients SortGradients(const SafeTensorsFile& file, const std::filesystem::path& path,
                        const std::vector<Parameter>& parameters) {
  std::map<std::string, size_t, std::less<>> index;
  for (size_t i = 0; i < parameters.size(); ++i) index.emplace(parameters[i].name, i);
  Gradients gradients;
  for (const SafeTensor& t : file.tensors()) {
    const auto fail = [&](const std::string& what) {
      throw Error(fmt::format("{}: tensor \"{}\": {}", path.string(), t.name, what));
    };
    int64_t step = 0;
    const char* const end = t.name.data() + t.name.size();
    const auto [slash, error] = std::from_chars(t.name.data(), end, step);
    if (error != std::errc() || slash == end || *slash != '/' || step < 1 || step > kMostSteps) {
      fail("its name must be <step>/<parameter> with a step in [1, 2^53]");
    }
    const auto at = index.find(std::string_view(slash + 1, end));
    if (at == index.end()) fail("no parameter has that name");
    const Parameter& p = parameters[at->second];
    if (t.shape != p.shape) {
      fail(fmt::format("its shape [{}] is not that of the parameter, [{}]",
                       fmt::join(t.shape, ", "), fmt::join(p.shape, ", ")));
    }
    gradients[step].emplace_back(at->second, file.Floats(t.name));
  }
  if (gradients.empty()) throw Error(path.string() + ": holds no gradients");
  return gradients;
}

}  // namespace

void Replay(const ReplayOptions& options, std::FILE* console) {
  const bool fresh = options.checkpoint.empty();
  if (fresh != !options.recipe.empty() || fresh != !options.params.empty()) {
    throw UsageError("replay: give --recipe and --params, or --checkpoint");
  }
  const Checkpoint start = fresh ? Checkpoint() : CheckpointAt(options.checkpoint);
  if (!fresh) CheckOneOptimizer(start, "replay");
  const OptimizerSpec spec = fresh ? ParseRecipe(ReadTextFile(options.recipe),
                                                 options.recipe.string(), Registry::Builtin())
                                   : SpecOf(start);
  std::vector<Parameter> parameters = fresh ? ReadParameters(options.params) : ParametersIn(start);
  const SafeTensorsFile file(options.grads);
  const Gradients gradients = SortGradients(file, options.grads, parameters);

  std::vector<Tensor> tensors;
  for (Parameter& p : parameters) {
    tensors.push_back({.name = p.name, .shape = p.shape, .param = p.values.data()});
  }
  const OptimizerSpec resolved = Resolve(spec, {.steps = gradients.rbegin()->first});
  Optimizer optimizer(std::move(tensors), resolved);
  if (!fresh) optimizer.LoadState(RunIn(start).At("optimizer"));
  int64_t last = 0, skipped = 0;
  for (const auto& [step, values_of] : gradients) {
    if (step > last + 1) {
      // Steps without a gradient are none of the optimiser's, but of the loop: the count that
      // schedules follow goes on, over all of them at once.
      StateTree state = optimizer.State();
      state.Set("step", optimizer.steps() + step - 1 - last);
      optimizer.LoadState(state);
    }
    for (Tensor& t : optimizer.tensors()) t.grad = nullptr;
    for (const auto& [i, values] : values_of) optimizer.tensors()[i].grad = values.data();
    skipped += optimizer.Step().skipped ? 1 : 0;
    last = step;
  }

  std::vector<SafeTensor> out;
  for (const Parameter& p : parameters) out.emplace_back(p.name, p.shape, p.values);
  WriteSafeTensors(options.out, out);
  if (!options.save.empty()) {
    SaveReplay(options.save, start, parameters, resolved, optimizer.State());
  }
  if (!options.state_out.empty()) {
    const StateTree state = optimizer.State();
    std::deque<std::vector<float>> values;
    std::vector<SafeTensor> buffers;
    for (size_t i = 0; i < parameters.size(); ++i) {
      const Parameter& p = parameters[i];
      const StateTree* const slots = state.At("tensors").Member(p.name)->Member("slots");
      if (slots == nullptr) continue;
      for (const auto& [slot, array] : slots->members()) {
        values.push_back(optimizer.SlotValues(i, slot));
        const std::vector<float>& v = values.back();
        if (v.empty()) continue;
        // Factored state is smaller than the parameter: a vector.
        const auto size = static_cast<int64_t>(v.size());
        buffers.emplace_back(p.name + "/" + slot,
                             v.size() == p.values.size() ? p.shape : std::vector{size}, v);
      }
    }
    WriteSafeTensors(options.state_out, buffers);
  }
  if (!options.json.empty()) {
    const nlohmann::ordered_json json = {{"steps", last},
                                         {"skipped", skipped},
                                         {"parameters", parameters.size()},
                                         {"out", options.out.string()}};
    WriteOutput(options.json, JsonText(json, 2) + "\n");
  }
  fmt::print(console, "replayed {} steps of {} over {} parameters, {} skipped: {}\n", last,
             spec.rule.empty() ? "groups" : spec.rule, parameters.size(), skipped,
             options.out.string());
}

}  // namespace kudari::lab
