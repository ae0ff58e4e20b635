#include "parameters.h"

#include <ATen/MemoryOverlap.h>
#include <c10/util/Type.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <typeinfo>
#include <utility>

#include "kudari/error.h"

namespace kudari::torch {
namespace {

namespace nn = ::torch::nn;

at::ScalarType TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return at::kFloat;
    case DType::kBFloat16:
      return at::kBFloat16;
    case DType::kFloat16:
      return at::kHalf;
    case DType::kFloat64:
      return at::kDouble;
  }
  return at::kFloat;
}

template <class... Modules>
bool IsAny(const nn::Module& module) {
  return ((dynamic_cast<const Modules*>(&module) != nullptr) || ...);
}

/// The class that the type of `module` says its own parameter `own` has, which is called `name` in
/// the whole; nothing for modules of the user.
std::optional<TensorClass> ClassIn(const nn::Module& module, const std::string& own,
                                   const std::string& name, const at::Tensor& p) {
  const bool linear = IsAny<nn::LinearImpl, nn::BilinearImpl>(module);
  const bool matrix =
      linear || IsAny<nn::RNNImpl, nn::LSTMImpl, nn::GRUImpl, nn::RNNCellImpl, nn::LSTMCellImpl,
                      nn::GRUCellImpl, nn::MultiheadAttentionImpl>(module);
  const bool embedding = IsAny<nn::EmbeddingImpl, nn::EmbeddingBagImpl>(module);
  const bool convolution =
      IsAny<nn::Conv1dImpl, nn::Conv2dImpl, nn::Conv3dImpl, nn::ConvTranspose1dImpl,
            nn::ConvTranspose2dImpl, nn::ConvTranspose3dImpl>(module);
  const bool norm =
      IsAny<nn::BatchNorm1dImpl, nn::BatchNorm2dImpl, nn::BatchNorm3dImpl, nn::InstanceNorm1dImpl,
            nn::InstanceNorm2dImpl, nn::InstanceNorm3dImpl, nn::LayerNormImpl, nn::GroupNormImpl>(
          module);
  if (!matrix && !embedding && !convolution && !norm) return std::nullopt;
  if (own.find("bias") != std::string::npos) return TensorClass::kBias;
  if (own.find("weight") == std::string::npos) return std::nullopt;  // a derived class's
  if (embedding) return TensorClass::kEmbedding;
  if (convolution) return TensorClass::kConvolution;
  if (norm) return TensorClass::kNorm;
  // That a matrix is the last one, only its name can tell.
  const bool head = linear && Classify(name, p.sizes().vec()) == TensorClass::kHead;
  return head ? TensorClass::kHead : TensorClass::kMatrix;
}

/// The type of a module as Python has it: "Linear" for torch::nn::LinearImpl.
std::string NameOfType(const nn::Module& module) {
  std::string type = c10::demangle(typeid(module).name());
  const size_t arguments = type.find('<');
  const size_t scope = type.rfind("::", arguments);
  if (scope != std::string::npos) type.erase(0, scope + 2);
  if (type.ends_with("Impl")) type.resize(type.size() - 4);
  return type;
}

/// Adds a parameter under one of its names, held by a module of type `module`, "" for none.
void Add(const std::string& name, const at::Tensor& p, std::optional<TensorClass> tensor_class,
         const std::string& module, ParameterSet& set) {
  const auto same = std::find_if(set.held.begin(), set.held.end(),
                                 [&p](const auto& h) { return h.second.is_same(p); });
  if (same != set.held.end()) {
    // Tied weights are treated as what they are first of all, and as an embedding if they are one.
    Tensor& t = set.tensors[static_cast<size_t>(same - set.held.begin())];
    t.aliases.push_back(name);
    if (!module.empty() && std::ranges::find(t.modules, module) == t.modules.end()) {
      t.modules.push_back(module);
    }
    const TensorClass now = t.tensor_class.value_or(Classify(t.name, t.shape));
    const TensorClass here = tensor_class.value_or(Classify(name, t.shape));
    if (here == TensorClass::kEmbedding || now == TensorClass::kEmbedding) {
      t.tensor_class = TensorClass::kEmbedding;
    } else if (!t.tensor_class) {
      t.tensor_class = tensor_class;
    }
    return;
  }
  DType dtype;
  try {
    dtype = CheckParameter(p, name);
  } catch (const Error&) {
    if (!p.defined() || p.requires_grad()) throw;
    set.left_out.emplace_back(name, p);
    return;
  }
  set.held.emplace_back(name, p);
  at::Tensor& mirror = set.mirrors.emplace_back();
  const at::Tensor stepped = Stepped(p);
  if (!p.is_contiguous()) mirror = InMemory(stepped);
  set.tensors.push_back({.name = name,
                         .shape = stepped.sizes().vec(),
                         .dtype = dtype,
                         .param = mirror.defined() ? mirror.data_ptr() : p.data_ptr(),
                         .tensor_class = tensor_class});
  if (p.is_complex() && !tensor_class) {
    set.tensors.back().tensor_class = Classify(name, p.sizes().vec());
  }
  if (!module.empty()) set.tensors.back().modules = {module};
}

/// Leaves out frozen parameters of float64 unless one is trained: most of the engine is for float32
/// alone, and would refuse them.
void LeaveOutFrozenDoubles(ParameterSet& set) {
  const auto is_double = [&set](size_t i) { return set.tensors[i].dtype == DType::kFloat64; };
  for (size_t i = 0; i < set.held.size(); ++i) {
    if (is_double(i) && set.held[i].second.requires_grad()) return;
  }
  for (size_t i = set.held.size(); i-- > 0;) {
    if (!is_double(i)) continue;
    const auto at = static_cast<std::ptrdiff_t>(i);
    set.left_out.push_back(std::move(set.held[i]));
    set.held.erase(set.held.begin() + at);
    set.tensors.erase(set.tensors.begin() + at);
    set.mirrors.erase(set.mirrors.begin() + at);
  }
}

}  // namespace

ParameterSet ParametersOf(const NamedModules& modules) {
  ParameterSet set;
  const auto add = [&set](const std::string& path, const nn::Module& m) {
    const std::string type = NameOfType(m);
    for (const auto& item : m.named_parameters(/*recurse=*/false)) {
      const std::string name = path.empty() ? item.key() : path + "." + item.key();
      Add(name, item.value(), ClassIn(m, item.key(), name, item.value()), type, set);
    }
  };
  for (const NamedModule& named : modules) named.module->apply(add, named.name);
  LeaveOutFrozenDoubles(set);
  return set;
}

NamedParameters Numbered(const std::vector<at::Tensor>& parameters, const std::string& prefix) {
  NamedParameters named;
  for (const at::Tensor& p : parameters) {
    named.emplace_back(prefix + std::to_string(named.size()), p);
  }
  return named;
}

ParameterSet ParametersOf(const NamedParameters& named) {
  ParameterSet set;
  for (const auto& [name, p] : named) Add(name, p, std::nullopt, "", set);
  LeaveOutFrozenDoubles(set);
  return set;
}

namespace {

[[noreturn]] void Refuse(std::string_view kind, std::string_view name, const std::string& is,
                         std::initializer_list<DType> types) {
  std::string names;
  for (const DType* type = types.begin(); type != types.end(); ++type) {
    if (std::find(types.begin(), type, *type) != type) continue;
    names += (names.empty() ? "" : " or ") + std::string(Name(*type));
  }
  throw Error(c10::str(kind, " \"", name, "\" is ", is, "; it must be a dense ", names,
                       " tensor on the CPU"));
}

}  // namespace

DType CheckTensor(const at::Tensor& t, std::string_view kind, std::string_view name,
                  std::initializer_list<DType> types) {
  const auto fail = [&](const std::string& is) { Refuse(kind, name, is, types); };
  if (!t.defined()) fail("undefined");
  if (t.layout() != at::kStrided) fail(c10::str("of layout ", t.layout()));
  if (!t.device().is_cpu()) fail("on device " + t.device().str());
  const DType* const type = std::find_if(types.begin(), types.end(),
                                         [&t](DType d) { return TypeOf(d) == t.scalar_type(); });
  if (type == types.end()) fail(std::string("of type ") + at::toString(t.scalar_type()));
  return *type;
}

DType CheckParameter(const at::Tensor& p, std::string_view name) {
  const std::initializer_list<DType> types = {DType::kFloat32, DType::kBFloat16, DType::kFloat16,
                                              DType::kFloat64};
  if (p.defined() && (p.is_neg() || p.is_conj())) {
    Refuse("parameter", name, "a negated view, with the signs of its memory reversed", types);
  }
  const DType type = CheckTensor(Stepped(p), "parameter", name, types);
  if (!p.is_contiguous() && at::has_internal_overlap(p) != at::MemOverlap::No) {
    Refuse("parameter", name,
           c10::str("of elements that may share memory, with strides ", p.strides()), types);
  }
  if (p.is_leaf()) return type;
  throw Error(c10::str("parameter \"", name,
                       "\" is not a leaf of the graph: backward leaves no gradient in the result "
                       "of an operation; give the tensor that it was computed from"));
}

at::Tensor Stepped(const at::Tensor& t) {
  const bool pairs =
      t.defined() &&
      (t.scalar_type() == at::kComplexFloat || t.scalar_type() == at::kComplexDouble) &&
      t.layout() == at::kStrided && t.device().is_cpu();
  return pairs ? at::view_as_real(t.detach().resolve_conj()) : t;
}

at::Tensor InMemory(const at::Tensor& t) {
  const at::NoGradGuard no_grad;
  if (t._is_zerotensor()) return at::zeros(t.sizes(), t.options());
  return (t.is_neg() ? t.resolve_neg() : t).contiguous();
}

void BumpVersion(const at::Tensor& t) {
  if (!t.is_inference()) t.unsafeGetTensorImpl()->bump_version();
}

bool IsWritable(const at::Tensor& t) {
  if (t.is_inference() || t._is_zerotensor()) return false;
  return t.layout() != at::kStrided || at::has_internal_overlap(t) == at::MemOverlap::No;
}

}  // namespace kudari::torch
