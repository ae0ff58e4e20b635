#ifndef KUDARI_LAB_TRAIN_LAYER_NORMS_H_
#define KUDARI_LAB_TRAIN_LAYER_NORMS_H_

#include <torch/torch.h>

#include <string>
#include <utility>
#include <vector>

#include "kudari/doctor.h"
#include "kudari/step.h"

namespace kudari::lab {

/// Norms of a step, parameter by parameter: of the gradient, of the weights before the step and of
/// what the step changed them by. A step that is measured costs a copy of the weights and reads
/// gradients and both weights once more: about 20 bytes a parameter.
class LayerNorms {
 public:
  explicit LayerNorms(const ::torch::nn::Module& model);

  /// Keeps the weights that the step begins with.
  void Before();

  /// The norms, after the step: of the weights that the model sees and of the last gradient that
  /// backward left there, divided by the report's loss scale; with the trust ratio of a parameter
  /// that was stepped with one.
  std::vector<LayerLog> After(const Report& report);

 private:
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
  std::vector<at::Tensor> before_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_LAYER_NORMS_H_
