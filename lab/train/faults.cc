#include "lab/train/faults.h"

#include <fmt/format.h>

#include <cmath>
#include <random>
#include <string>
#include <string_view>

#include "kudari/error.h"
#include "kudari/tensor.h"

namespace kudari::lab {
namespace {

constexpr float kInputFactor = 10;

std::vector<at::Tensor> Matching(std::string_view key, const std::string& glob,
                                 const Model& model) {
  std::vector<at::Tensor> found;
  if (glob.empty()) return found;
  for (const auto& item : model.named_parameters()) {
    if (Glob(glob, item.key())) found.push_back(item.value());
  }
  if (found.empty()) throw Error(fmt::format("{} = \"{}\" matches no parameter", key, glob));
  return found;
}

}  // namespace

Dataset LoadTrainingData(const Recipe& recipe) {
  const auto seed = static_cast<uint64_t>(recipe.train.seed);
  Dataset data = LoadData(recipe.data, seed);
  if (data.train.Size() == 0) throw Error(fmt::format("{}: no training samples", data.name));
  SpoilData(recipe.fault, seed, data);
  return data;
}

void SpoilData(const FaultConfig& faults, uint64_t seed, Dataset& data) {
  const auto index = [&](double share) {
    return static_cast<size_t>(std::llround(share * static_cast<double>(data.train.Size())));
  };
  const size_t begin = index(faults.bad_begin), end = index(faults.bad_end);
  if (begin >= end) return;
  if (faults.bad == "inputs") {
    if (data.train.x.empty()) {
      throw Error(fmt::format("fault.bad = \"inputs\": {} has no numbers in memory", data.name));
    }
    const size_t size = data.train.x.size() / static_cast<size_t>(data.train.Size());
    for (size_t i = begin * size; i < end * size; ++i) data.train.x[i] *= kInputFactor;
    return;
  }
  if (data.train.labels.empty())
    throw Error(fmt::format("fault.bad = \"labels\": {} has none", data.name));
  std::mt19937_64 random(seed);
  for (size_t i = begin; i < end; ++i) {
    data.train.labels[i] = static_cast<int64_t>(random() % static_cast<uint64_t>(data.classes));
  }
}

void SpoilWeights(const FaultConfig& faults, Model& model) {
  if (faults.init_scale == 1) return;
  const ::torch::NoGradGuard guard;
  std::vector<at::Tensor> matrices;
  for (const at::Tensor& p : model.parameters()) {
    if (p.dim() > 1) matrices.push_back(p);
  }
  matrices.pop_back();
  for (at::Tensor& p : matrices) p.mul_(faults.init_scale);
}

GradientFaults::GradientFaults(const FaultConfig& faults, const Model& model)
    : missing_(Matching("fault.missing", faults.missing, model)),
      zero_(Matching("fault.zero", faults.zero, model)) {}

void GradientFaults::Apply() {
  for (at::Tensor& p : zero_) p.mutable_grad().zero_();
  for (at::Tensor& p : missing_) p.mutable_grad() = at::Tensor();
}

}  // namespace kudari::lab
