#include "kudari/torch_visit.h"

#include <ATen/autocast_mode.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <span>
#include <utility>

#include "kudari/error.h"
#include "kudari/messages.h"
#include "parameters.h"
#include "torch_arrays.h"

namespace kudari::torch {
namespace {

constexpr std::pair<ElementType, at::ScalarType> kElements[] = {
    {ElementType::kBool, at::kBool},
    {ElementType::kUint8, at::kByte},
    {ElementType::kInt8, at::kChar},
    {ElementType::kFloat8E5m2, at::kFloat8_e5m2},
    {ElementType::kFloat8E4m3, at::kFloat8_e4m3fn},
    {ElementType::kUint16, at::kUInt16},
    {ElementType::kInt16, at::kShort},
    {ElementType::kFloat16, at::kHalf},
    {ElementType::kBFloat16, at::kBFloat16},
    {ElementType::kUint32, at::kUInt32},
    {ElementType::kInt32, at::kInt},
    {ElementType::kFloat32, at::kFloat},
    {ElementType::kUint64, at::kUInt64},
    {ElementType::kInt64, at::kLong},
    {ElementType::kFloat64, at::kDouble}};

void CheckDense(const at::Tensor& tensor, std::string_view name) {
  if (tensor.layout() == at::kStrided && !tensor.is_quantized() && !tensor.is_meta()) return;
  throw Error(c10::str("tensor ", Quoted(name), " is ",
                       tensor.is_meta()        ? "without memory"
                       : tensor.is_quantized() ? "quantised"
                                               : "of a sparse layout",
                       "; only dense tensors can be in a state"));
}

/// Whether the elements lie in memory as an array's do.
bool LiesAsArray(const at::Tensor& tensor) {
  return tensor.device().is_cpu() && tensor.is_contiguous() && !tensor.is_neg() &&
         !tensor._is_zerotensor();
}

}  // namespace

ElementType ElementsOfTensor(const at::Tensor& tensor, std::string_view name) {
  for (const auto& [element, scalar] : kElements) {
    if (scalar == tensor.scalar_type()) return element;
  }
  throw Error("tensor " + Quoted(name) + " is of type " + at::toString(tensor.scalar_type()) +
              ", which states do not have");
}

at::ScalarType ScalarsOf(ElementType type) {
  return std::ranges::find(kElements, type, &std::pair<ElementType, at::ScalarType>::first)->second;
}

StateArray ArrayOf(const at::Tensor& tensor, std::string_view name) {
  CheckDense(tensor, name);
  const ElementType type = ElementsOfTensor(tensor, name);
  const at::Tensor copy = InMemory(tensor.detach().cpu());
  const std::span bytes(static_cast<const std::byte*>(copy.const_data_ptr()), copy.nbytes());
  return {type, copy.sizes().vec(), bytes};
}

at::Tensor TensorOf(const StateArray& array) {
  at::Tensor tensor = at::empty(array.shape, at::TensorOptions(ScalarsOf(array.type)));
  if (!array.bytes.empty()) {
    std::memcpy(tensor.mutable_data_ptr(), array.bytes.data(), array.bytes.size());
  }
  return tensor;
}

void VisitTensor(const std::string& name, const at::Tensor& tensor, StateVisitor& visitor) {
  CheckDense(tensor, name);
  const ElementType type = ElementsOfTensor(tensor, name);
  if (LiesAsArray(tensor)) {
    visitor.Array(name, type, tensor.sizes().vec(), tensor.data_ptr());
  } else {
    const at::Tensor copy = InMemory(tensor.detach().cpu());
    visitor.Array(name, type, tensor.sizes().vec(), copy.data_ptr());
    visitor.Then([tensor, copy] {
      const c10::InferenceMode mode(tensor.is_inference());
      const at::NoGradGuard no_grad;
      tensor.copy_(copy);
    });
  }
  visitor.Then([tensor] { BumpVersion(tensor); });
}

void VisitModule(::torch::nn::Module& module, StateVisitor& visitor) {
  const auto visit = [&visitor](const auto& items) {
    for (const auto& item : items) {
      if (item.value().defined()) VisitTensor(item.key(), item.value(), visitor);
    }
  };
  visitor.Node("parameters", [&] { visit(module.named_parameters()); });
  visitor.Node("buffers", [&] { visit(module.named_buffers()); });
  visitor.Then([] { at::autocast::clear_cache(); });
}

void VisitRandom(std::string_view name, at::Generator random, StateVisitor& visitor) {
  const auto save = [&] { return StateTree(ArrayOf(random.get_state(), name)); };
  const auto load = [&](const StateTree& found) -> std::function<void()> {
    const auto* const array = std::get_if<StateArray>(&found.value());
    if (array == nullptr || array->type != ElementType::kUint8) {
      visitor.Fail(name, "is " + found.Kind() + ", but must be U8, the state of a generator");
    }
    at::Tensor state = TensorOf(*array);
    try {
      at::make_generator<at::CPUGeneratorImpl>().set_state(state);
    } catch (const c10::Error&) {
      visitor.Fail(name, "is not the state of a random generator");
    }
    return [random, state]() mutable { random.set_state(state); };
  };
  visitor.Custom(name, save, load);
}

}  // namespace kudari::torch
