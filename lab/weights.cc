#include "lab/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "kudari/error.h"
#include "kudari/safetensors.h"

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

}  // namespace

void LoadWeights(Model& model, const fs::path& path) {
  const ::torch::NoGradGuard no_grad;
  const SafeTensorsFile file(path);
  const auto parameters = model.named_parameters();
  for (const auto& item : parameters) {
    const Tensor& weight = item.value();
    const SafeTensor& stored = file.Find(item.key());
    if (weight.sizes() != at::IntArrayRef(stored.shape)) {
      throw Error(fmt::format("{}: tensor \"{}\" has the shape [{}], the model's has [{}]",
                              path.string(), item.key(), fmt::join(stored.shape, ", "),
                              fmt::join(weight.sizes(), ", ")));
    }
    weight.copy_(View(stored, path));
  }
  for (const SafeTensor& stored : file.tensors()) {
    if (!parameters.contains(stored.name)) {
      throw Error(fmt::format("{}: the model has no parameter \"{}\"", path.string(), stored.name));
    }
  }
}

void SaveWeights(const Model& model, const fs::path& path) {
  std::vector<Tensor> values;  // keeps converted ones alive
  std::vector<FloatTensor> tensors;
  for (const auto& item : model.named_parameters()) {
    const Tensor& p = values.emplace_back(item.value().detach().to(at::kFloat));
    tensors.push_back(
        {item.key(), p.sizes().vec(), {p.data_ptr<float>(), static_cast<size_t>(p.numel())}});
  }
  WriteSafeTensors(path, tensors);
}

}  // namespace kudari::lab
