#include "lab/models/parts/layers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <numeric>

#include "kudari/error.h"

namespace kudari::lab {

namespace nn = ::torch::nn;

int64_t Product(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

nn::Linear MakeLinear(int64_t in, int64_t out) {
  nn::Linear layer(in, out);
  nn::init::xavier_uniform_(layer->weight);
  nn::init::zeros_(layer->bias);
  return layer;
}

nn::Linear MakeHead(int64_t in, int64_t out) {
  nn::Linear layer(in, out);
  nn::init::normal_(layer->weight, 0, 0.02);
  nn::init::zeros_(layer->bias);
  return layer;
}

void CheckBatch(bool training, const at::Tensor& x) {
  if (!training || x.size(0) > 1) return;
  throw Error(
      "train.batch_size leaves a batch of one sample: batch norm needs more than one value of each "
      "channel");
}

void CheckParameters(double parameters) {
  constexpr double kMost = 1e10;
  if (parameters <= kMost) return;
  throw Error(fmt::format("model: has about {:.2g} parameters, which is outside [0, {:.0e}]",
                          parameters, kMost));
}

void CheckImages(const std::string& model, const std::vector<int64_t>& shape) {
  if (shape.size() == 3) return;
  throw Error(fmt::format(
      "model.name = \"{}\" needs images [channels, height, width]; a sample of the data has the "
      "shape [{}]",
      model, fmt::join(shape, ", ")));
}

}  // namespace kudari::lab
