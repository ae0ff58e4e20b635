#ifndef KUDARI_LAB_TRAIN_LAYER_NORMS_H_
#define KUDARI_LAB_TRAIN_LAYER_NORMS_H_

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lab/train/observer.h"

namespace kudari::lab {

/// Measures the first step and every train.layers_every-th after it, parameter by parameter: norms
/// of the last gradient that backward left, divided by the loss scale, of the weights before the
/// step, as the model sees them, and of what the step changed them by; with the trust ratio of a
/// parameter that was stepped with one. Where batches are accumulated, the norm of the first one's
/// gradient as well. A step that is measured costs a copy of the weights and reads gradients and
/// both weights once more: about 20 bytes a parameter.
class LayerNorms : public TrainObserver {
 public:
  void OnStart(const StartEvent& event) override;
  void OnGradient(const GradientEvent& event) override;
  void OnStep(const StepEvent& event) override;

 private:
  bool Measures(int64_t step) const { return every_ > 0 && (step - 1) % every_ == 0; }
  // Copies the weights if the step that comes next is one to be measured.
  void KeepWeights(int64_t next_step);

  int64_t every_ = 0;
  bool accumulates_ = false;
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
  std::vector<at::Tensor> before_;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_LAYER_NORMS_H_
