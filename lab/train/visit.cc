#include "lab/train/visit.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <locale>
#include <span>
#include <sstream>
#include <string>

#include "kudari/error.h"

namespace kudari::lab {
namespace {

using ::at::Tensor;

ElementType ElementTypeOfTensor(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ElementType::kFloat32;
    case at::kBFloat16:
      return ElementType::kBFloat16;
    case at::kHalf:
      return ElementType::kFloat16;
    case at::kLong:
      return ElementType::kInt64;
    default:
      throw Error(std::string("a tensor of ") + at::toString(tensor.scalar_type()) +
                  " cannot be in a state; it must be float32, bfloat16, float16 or int64");
  }
}

}  // namespace

void VisitTensor(const std::string& name, const Tensor& tensor, StateVisitor& visitor) {
  visitor.Array(name, ElementTypeOfTensor(tensor), tensor.sizes().vec(), tensor.data_ptr());
}

void VisitModule(::torch::nn::Module& module, StateVisitor& visitor) {
  visitor.Node("parameters", [&] {
    for (const auto& item : module.named_parameters()) {
      VisitTensor(item.key(), item.value(), visitor);
    }
  });
  visitor.Node("buffers", [&] {
    for (const auto& item : module.named_buffers()) VisitTensor(item.key(), item.value(), visitor);
  });
}

void VisitRandom(std::string_view name, std::mt19937_64& random, StateVisitor& visitor) {
  const auto save = [&] {
    std::ostringstream out;
    out.imbue(std::locale::classic());
    out << random;
    return StateTree(out.str());
  };
  const auto load = [&](const StateTree& found) -> std::function<void()> {
    std::istringstream in(found.Text());
    in.imbue(std::locale::classic());
    std::mt19937_64 loaded;
    if (!(in >> loaded)) visitor.Fail(name, "is not the state of a random generator");
    return [&random, loaded] { random = loaded; };
  };
  visitor.Custom(name, save, load);
}

void VisitRandom(std::string_view name, at::Generator random, StateVisitor& visitor) {
  const auto save = [&] {
    const Tensor state = random.get_state();
    return StateTree(StateArray::Of(
        std::span<const uint8_t>(state.data_ptr<uint8_t>(), static_cast<size_t>(state.numel()))));
  };
  const auto load = [&](const StateTree& found) -> std::function<void()> {
    const auto bytes = found.Array().As<uint8_t>();
    Tensor state = ::torch::empty({static_cast<int64_t>(bytes.size())}, ::torch::kUInt8);
    std::ranges::copy(bytes, state.data_ptr<uint8_t>());
    try {
      at::make_generator<at::CPUGeneratorImpl>().set_state(state);
    } catch (const c10::Error&) {
      visitor.Fail(name, "is not the state of a random generator");
    }
    return [random, state]() mutable { random.set_state(state); };
  };
  visitor.Custom(name, save, load);
}

}  // namespace kudari::lab
