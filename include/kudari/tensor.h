#ifndef KUDARI_TENSOR_H_
#define KUDARI_TENSOR_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kudari/language.h"

namespace kudari {

/// The memory that tensors live in, with the operations on it; see src/backend/backend.h.
class Backend;

/// The storage type of a parameter or a gradient. A tensor of float64 is stepped in double: its
/// gradient and its state are float64, too. All other arithmetic of a step is in float32, so it
/// takes part only where that is enough: its rule works element by element or with norms, and the
/// spec has no source but "plain", no accumulation, agc, centralize, averagers or formats of state
/// for it.
enum class DType { kFloat32, kBFloat16, kFloat16, kFloat64 };

/// The name of a storage type: "float32", "bfloat16", "float16" or "float64".
std::string_view Name(DType dtype);

/// The number of bytes of an element.
int64_t Bytes(DType dtype);

/// The purpose of a parameter, which determines its weight decay and which rule suits it.
enum class TensorClass { kMatrix, kConvolution, kEmbedding, kHead, kNorm, kBias };

/// A parameter with its gradient: contiguous memory that the caller owns and keeps alive.
///
///     std::vector<float> w(6), dw(6);
///     Tensor t{.name = "layer.weight", .shape = {2, 3}, .param = w.data(), .grad = dw.data()};
struct Tensor {
  std::string name = {};            ///< not empty, unique among the tensors of an optimiser
  std::vector<int64_t> shape = {};  ///< {} means one element
  DType dtype = DType::kFloat32;    ///< of the parameter; see Precision for 16-bit types
  void* param = nullptr;
  /// Only read. Null: the tensor has no gradient and is skipped completely. A gradient of zeros is
  /// a real step.
  const void* grad = nullptr;
  /// Unset: the same as the parameter's. Of parameter and gradient both are float64 or neither is.
  std::optional<DType> grad_dtype = std::nullopt;
  /// For a gradient of some rows alone, such as that of an embedding: the indices along the first
  /// dimension of the rows that `grad` holds one after the other, ascending, in host memory. The
  /// other rows keep their values and their state, and a step costs as much as its rows. Unset:
  /// `grad` is of the whole tensor. Only for rules that take it (sgd, adagrad and sparse_adam),
  /// with the source "plain", and for float32 or float64 tensors with state of that type.
  std::optional<std::span<const int64_t>> grad_rows = std::nullopt;
  /// Unset: determined by Classify.
  std::optional<TensorClass> tensor_class = std::nullopt;
  /// Further names of the same memory, such as those of tied weights. Patterns match a tensor by
  /// any of its names, and a state may use any of them.
  std::vector<std::string> aliases = {};
  /// The types of the modules that hold it, such as "Linear", for Group::modules: one, or several
  /// for tied weights. Empty: not known.
  std::vector<std::string> modules = {};
  /// The backend that holds `param` and `grad`, kept alive by the caller; null: host memory. All
  /// tensors of an optimiser live on one backend.
  Backend* backend = nullptr;

  /// The number of elements.
  int64_t Size() const;
  /// The storage type of the gradient.
  DType GradType() const { return grad_dtype.value_or(dtype); }
};

/// Guesses the class of a parameter from its name and shape. The part of the name that counts is
/// the parameter's own name or, if that is weight, weight_v and the like, the name of the layer
/// that holds it, which is the component before; numbers in lists of layers are ignored. The first
/// match decides:
///
/// - bias: the name contains the word bias (bias_ih_l0, relative_position_bias_table);
/// - norm: at most one dimension is above 1, and the name contains norm, ln, bn, gn or grn, or is
///   weight_g;
/// - head: the weight of a layer whose name ends in head, classifier or logits, or that is inside
///   such a layer at the top of the model, or of a layer at the top that is called fc, output,
///   proj_out, embed_out, decoder, score or head_dist;
/// - embedding: a layer's weight of two dimensions, or a parameter by itself, whose name contains
///   embed, emb, wte or wpe or ends in token; also the layer "shared" at the top of the model;
/// - norm: any other tensor of at most one dimension, and a parameter by itself with at most one
///   dimension above 1 (a layer_scale of 96 x 1 x 1);
/// - matrix if there are two dimensions, convolution if there are more.
///
/// Tensor::tensor_class or OptimizerSpec::classes overrides a wrong guess.
TensorClass Classify(std::string_view name, const std::vector<int64_t>& shape);

/// The reason for Classify's answer: the part of the name that decided, or the shape.
std::string ClassReason(std::string_view name, const std::vector<int64_t>& shape);

/// The name of a class: "matrix", "convolution", "embedding", "head", "norm" or "bias".
std::string_view Name(TensorClass c);

/// The class with that name; throws Error suggesting the nearest name if there is none.
TensorClass ParseTensorClass(std::string_view name);

/// Whether `name` matches a pattern in which * stands for any sequence of characters and ? for one
/// character.
bool Glob(std::string_view pattern, std::string_view name);

/// Whether the tensor's name or one of its aliases matches such a pattern.
bool Matches(std::string_view pattern, const Tensor& tensor);

}  // namespace kudari

#endif  // KUDARI_TENSOR_H_
