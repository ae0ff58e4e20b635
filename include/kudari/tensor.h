#ifndef KUDARI_TENSOR_H_
#define KUDARI_TENSOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kudari {

/// Memory that tensors live in, with the arithmetic that reaches it; see src/backend/backend.h.
class Backend;

/// Storage type of a parameter or a gradient.
enum class DType { kFloat32, kBFloat16, kFloat16 };

/// "float32", "bfloat16" or "float16".
std::string_view Name(DType dtype);

/// Bytes of an element.
int64_t Bytes(DType dtype);

/// What a parameter is for, which decides about weight decay and which rule suits it.
enum class TensorClass { kMatrix, kConvolution, kEmbedding, kHead, kNorm, kBias };

/// A parameter: contiguous memory that the caller owns and keeps alive, with its gradient.
///
///     std::vector<float> w(6), dw(6);
///     Tensor t{.name = "layer.weight", .shape = {2, 3}, .param = w.data(), .grad = dw.data()};
struct Tensor {
  std::string name = {};            ///< unique among the tensors of an optimiser, not empty
  std::vector<int64_t> shape = {};  ///< {} is one element
  DType dtype = DType::kFloat32;    ///< of the parameter; see Precision for 16 bits
  void* param = nullptr;
  /// Read, never written. Null means that the tensor has no gradient: it is skipped completely. A
  /// gradient of zeros is a real step.
  const void* grad = nullptr;
  /// Unset: that of the parameter.
  std::optional<DType> grad_dtype = std::nullopt;
  /// Unset: Classify decides.
  std::optional<TensorClass> tensor_class = std::nullopt;
  /// Further names of the same memory, as of tied weights: whatever matches names matches any of
  /// these, too, and a state may have any of them.
  std::vector<std::string> aliases = {};
  /// Where param and grad are, which the caller keeps alive; null: in the host's memory. All
  /// tensors of an optimiser live on one backend.
  Backend* backend = nullptr;

  /// Number of elements.
  int64_t Size() const;
  /// Storage type of the gradient.
  DType GradType() const { return grad_dtype.value_or(dtype); }
};

/// The class that shape and name suggest. What counts is the parameter's own name or, where that is
/// weight, weight_v and the like, the name of the layer that holds it, the component before;
/// numbers in lists of layers are passed over. The first that fits:
///
/// - bias: the name has the word bias (bias_ih_l0, relative_position_bias_table);
/// - norm, of at most one dimension above 1: a name with norm, ln, bn, gn or grn, and weight_g;
/// - head, the weight of a layer: a name that ends in head, classifier or logits, anything inside
///   of such a layer at the top of the model, and a layer at the top that is called fc, output,
///   proj_out, embed_out, decoder, score or head_dist;
/// - embedding, a layer's weight of two dimensions or a parameter by itself: a name with embed,
///   emb, wte or wpe, or that ends in token; the layer "shared" at the top of the model;
/// - norm: any other tensor of at most one dimension, and a parameter by itself of which at most
///   one dimension is above 1 (a layer_scale of 96 x 1 x 1);
/// - matrix if there are two dimensions, convolution if there are more.
///
/// Where that is wrong, Tensor::tensor_class or OptimizerSpec::classes says what is right.
TensorClass Classify(std::string_view name, const std::vector<int64_t>& shape);

/// Why Classify says what it says, in words: the part of the name that decided, or the shape.
std::string ClassReason(std::string_view name, const std::vector<int64_t>& shape);

/// "matrix", "convolution", "embedding", "head", "norm" or "bias".
std::string_view Name(TensorClass c);

/// The class of that name; throws Error with the nearest one.
TensorClass ParseTensorClass(std::string_view name);

/// Whether `name` matches a pattern in which * stands for any characters and ? for one.
bool Glob(std::string_view pattern, std::string_view name);

/// Whether the name of a tensor, or one of its aliases, matches such a pattern.
bool Matches(std::string_view pattern, const Tensor& tensor);

}  // namespace kudari

#endif  // KUDARI_TENSOR_H_
