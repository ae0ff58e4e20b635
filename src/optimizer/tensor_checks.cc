// What the tensors of an optimiser have to be, and where.
#include "optimizer/tensor_checks.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "backend/cpu/cpu.h"
#include "core/element_count.h"
#include "kudari/error.h"
#include "state/shape_text.h"

namespace kudari::internal {
namespace {

void CheckTensor(const Tensor& t, std::unordered_set<std::string_view>& names) {
  const auto add = [&names](const std::string& name) {
    if (name.empty()) throw Error("a tensor has an empty name");
    if (!names.insert(name).second) throw Error("duplicate tensor name \"" + name + "\"");
  };
  add(t.name);
  for (const std::string& alias : t.aliases) add(alias);
  for (const int64_t d : t.shape) {
    if (d >= 0) continue;
    throw Error("tensor \"" + t.name + "\": dimension " + std::to_string(d) +
                " is outside [0, ...]");
  }
  if (!ElementCount(t.shape)) {
    throw Error("tensor \"" + t.name + "\": the dimensions of its shape " +
                ShapeText<int64_t>(t.shape) + " that are not zero make more than 2^56 elements");
  }
}

}  // namespace

void CheckTensors(std::span<const Tensor> tensors) {
  std::unordered_set<std::string_view> names;
  names.reserve(tensors.size());
  for (const Tensor& t : tensors) CheckTensor(t, names);
}

Backend* UsersBackend(std::span<const Tensor> tensors) {
  Backend* const backend = tensors.empty() ? nullptr : tensors[0].backend;
  for (const Tensor& t : tensors) {
    if (t.backend == backend) continue;
    throw Error("tensors \"" + tensors[0].name + "\" and \"" + t.name +
                "\" are on different backends; an optimiser has one");
  }
  return backend;
}

std::shared_ptr<Backend> BackendFor(Backend* users) {
  if (users == nullptr) return std::make_shared<CpuBackend>();
  return {users, [](Backend*) {}};
}

void CheckMemory(std::span<const Tensor> tensors, const Backend* users) {
  std::vector<uint32_t> order;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& t = tensors[i];
    if (t.backend != users) {
      throw Error("tensor \"" + t.name +
                  "\": is on another backend than when the optimiser was made");
    }
    if (t.Size() == 0) continue;
    if (t.param == nullptr) throw Error("tensor \"" + t.name + "\": param is null");
    order.push_back(static_cast<uint32_t>(i));
  }
  const auto begin = [&](size_t i) { return static_cast<const std::byte*>(tensors[i].param); };
  const std::less<> before;
  const auto ordered = [&](size_t a, size_t b) { return before(begin(a), begin(b)); };
  if (!std::ranges::is_sorted(order, ordered)) std::ranges::sort(order, ordered);
  for (size_t k = 1; k < order.size(); ++k) {
    const Tensor &first = tensors[order[k - 1]], &second = tensors[order[k]];
    if (!before(begin(order[k]), begin(order[k - 1]) + first.Size() * Bytes(first.dtype))) continue;
    throw Error("tensors \"" + first.name + "\" and \"" + second.name +
                "\" overlap in memory; give a parameter that has two names only once");
  }
}

}  // namespace kudari::internal
