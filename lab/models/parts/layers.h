#ifndef KUDARI_LAB_MODELS_PARTS_LAYERS_H_
#define KUDARI_LAB_MODELS_PARTS_LAYERS_H_

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

namespace kudari::lab {

/// The number of values of a shape.
int64_t Product(const std::vector<int64_t>& shape);

/// A linear layer with Glorot's uniform weights and a bias of zero.
::torch::nn::Linear MakeLinear(int64_t in, int64_t out);

/// The last layer, which starts near zero, so that training starts from even odds.
::torch::nn::Linear MakeHead(int64_t in, int64_t out);

/// Throws Error in training on a batch of one sample, of which torch would make the running
/// variances of a batch norm NaN.
void CheckBatch(bool training, const at::Tensor& x);

/// Throws Error if a model that is about to be built has more parameters, about, than fit into any
/// memory that the lab is for: more than 10^10.
void CheckParameters(double parameters);

/// Throws Error unless the shape is that of an image, [channels, height, width]; `model` is the
/// name of the model that needs one.
void CheckImages(const std::string& model, const std::vector<int64_t>& shape);

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MODELS_PARTS_LAYERS_H_
