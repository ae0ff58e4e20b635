#include "lab/train/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kudari/checkpoint.h"
#include "kudari/error.h"
#include "kudari/messages.h"
#include "kudari/safetensors.h"
#include "kudari/tensor.h"
#include "lab/files/run_folder.h"

namespace kudari::lab {
namespace {

namespace fs = std::filesystem;
using ::at::Tensor;

// The values of a tensor of a file, as they lie there.
Tensor View(const SafeTensor& stored, const fs::path& path) {
  static const std::map<std::string, at::ScalarType> types = {
      {"F32", at::kFloat}, {"BF16", at::kBFloat16}, {"F16", at::kHalf}};
  const auto type = types.find(stored.dtype);
  if (type == types.end()) {
    throw Error(fmt::format("{}: tensor \"{}\" has the dtype {}; weights are F32, BF16 or F16",
                            path.string(), stored.name, stored.dtype));
  }
  // from_blob takes a pointer to what may be changed; nobody does.
  auto* const data = const_cast<std::byte*>(stored.bytes.data());
  return ::torch::from_blob(data, stored.shape, type->second);
}

// The tensors of a file by the names that the model has for them.
using Stored = std::map<std::string, const SafeTensor*>;

// The tensors of all files.
std::vector<const SafeTensor*> TensorsOf(const std::vector<SafeTensorsFile>& files) {
  std::vector<const SafeTensor*> tensors;
  for (const SafeTensorsFile& file : files) {
    for (const SafeTensor& t : file.tensors()) tensors.push_back(&t);
  }
  return tensors;
}

Stored ByOwnNames(const std::vector<SafeTensorsFile>& files, const WeightNames& names) {
  const std::vector<const SafeTensor*> tensors = TensorsOf(files);
  const auto prefixed = [&](const SafeTensor* t) { return t->name.starts_with(names.prefix); };
  const std::string prefix = std::ranges::any_of(tensors, prefixed) ? "" : names.prefix;
  Stored stored;
  for (const SafeTensor* const tensor : tensors) {
    const SafeTensor& t = *tensor;
    const auto matches = [&](const std::string& pattern) { return Glob(pattern, t.name); };
    if (std::ranges::any_of(names.surplus, matches)) continue;
    std::string name = prefix + t.name;
    for (const auto& [former, own] : names.endings) {
      if (name.ends_with(former)) name.replace(name.size() - former.size(), former.size(), own);
    }
    stored.emplace(std::move(name), &t);
  }
  return stored;
}

// Takes away weights that are there twice.
void CheckTied(Stored& all, const WeightNames& names, const fs::path& path) {
  for (const auto& [other, own] : names.tied) {
    const auto again = all.find(other), once = all.find(own);
    if (again == all.end() || once == all.end()) continue;
    if (!View(*again->second, path).equal(View(*once->second, path))) {
      throw Error(fmt::format("{}: tensor \"{}\" is not \"{}\", which the model has in its place",
                              path.string(), other, own));
    }
    all.erase(again);
  }
}

void Assign(const Tensor& to, const std::string& name, const std::vector<SafeTensorsFile>& files,
            const Stored& all, const fs::path& path) {
  const auto found = all.find(name);
  // Find says what the nearest name is.
  const SafeTensor& stored = found != all.end() ? *found->second : files.front().Find(name);
  if (to.sizes() != at::IntArrayRef(stored.shape)) {
    throw Error(fmt::format("{}: tensor \"{}\" has the shape [{}], the model's has [{}]",
                            path.string(), name, fmt::join(stored.shape, ", "),
                            fmt::join(to.sizes(), ", ")));
  }
  to.copy_(View(stored, path));
}

// The buffers that evaluation depends on: running statistics, not the numbers of batches in them.
std::map<std::string, Tensor> Statistics(const Model& model) {
  std::map<std::string, Tensor> statistics;
  for (const auto& item : model.named_buffers()) {
    if (item.value().is_floating_point()) statistics.emplace(item.key(), item.value());
  }
  return statistics;
}

void CheckSkipped(const ::torch::OrderedDict<std::string, Tensor>& parameters,
                  const std::vector<std::string>& skip) {
  for (const std::string& pattern : skip) {
    const auto matches = [&](const auto& item) { return Glob(pattern, item.key()); };
    if (std::ranges::any_of(parameters, matches)) continue;
    throw Error(
        fmt::format("train.init_skip: {} matches no parameter of the model", Quoted(pattern)));
  }
}

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kModelIndex = "model.safetensors.index.json";

// The file of weights, or the index of several, that a folder has; nothing if it has none.
std::optional<fs::path> WeightsIn(const fs::path& folder) {
  for (const char* const name : {kModelFile, kModelIndex}) {
    if (fs::exists(folder / name)) return folder / name;
  }
  return std::nullopt;
}

fs::path WeightsOf(const fs::path& path) {
  if (!fs::is_directory(path)) return path;
  if (const auto found = WeightsIn(path)) return *found;
  for (const CheckpointEntry& e : ListCheckpoints(CheckpointsAt(path))) {
    if (!e.damage.empty()) continue;
    if (const auto found = WeightsIn(e.folder)) return *found;
  }
  throw Error(fmt::format("{}: has neither {} nor checkpoints", path.string(), kModelFile));
}

std::vector<SafeTensorsFile> OpenWeights(const fs::path& path) {
  const fs::path file = WeightsOf(path);
  std::vector<SafeTensorsFile> files;
  if (file.extension() != ".json") {
    files.emplace_back(file);
    return files;
  }
  std::set<std::string> names;
  for (const auto& [tensor, name] : ReadSafeTensorsIndex(file)) names.insert(name);
  for (const std::string& name : names) files.emplace_back(file.parent_path() / name);
  if (files.empty()) throw Error(file.string() + ": lists no tensors");
  return files;
}

}  // namespace

void LoadWeights(Model& model, const fs::path& path, const std::vector<std::string>& skip) {
  const ::torch::NoGradGuard no_grad;
  const std::vector<SafeTensorsFile> files = OpenWeights(path);
  const auto parameters = model.named_parameters();
  const auto buffers = model.named_buffers();
  CheckSkipped(parameters, skip);
  const auto skipped = [&](const std::string& name) {
    return std::ranges::any_of(skip, [&](const std::string& p) { return Glob(p, name); });
  };
  std::map<std::string, Tensor> statistics = Statistics(model);
  std::erase_if(statistics, [&](const auto& item) { return skipped(item.first); });
  Stored all = ByOwnNames(files, model.Names());
  CheckTied(all, model.Names(), path);
  for (const auto& item : parameters) {
    if (!skipped(item.key())) Assign(item.value(), item.key(), files, all, path);
  }
  const auto in_file = [&](const auto& item) { return all.contains(item.first); };
  if (std::ranges::any_of(statistics, in_file)) {
    for (const auto& [name, value] : statistics) Assign(value, name, files, all, path);
  }
  for (const auto& [name, stored] : all) {
    if (!parameters.contains(name) && !buffers.contains(name) && !skipped(name)) {
      throw Error(
          fmt::format("{}: the model has no parameter \"{}\"", path.string(), stored->name));
    }
  }
}

void SaveWeights(const Model& model, const fs::path& path,
                 const std::map<std::string, std::string>& metadata) {
  std::vector<Tensor> values;  // keeps converted ones alive
  std::vector<SafeTensor> tensors;
  const auto add = [&](const std::string& name, const Tensor& value) {
    const Tensor& v = values.emplace_back(value.detach().to(at::kFloat));
    tensors.push_back(
        {name, v.sizes().vec(), {v.data_ptr<float>(), static_cast<size_t>(v.numel())}});
  };
  for (const auto& item : model.named_parameters()) add(item.key(), item.value());
  for (const auto& [name, value] : Statistics(model)) add(name, value);
  WriteSafeTensors(path, tensors, metadata);
}

}  // namespace kudari::lab
