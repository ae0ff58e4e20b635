#ifndef KUDARI_LAB_TRAIN_BEST_WEIGHTS_H_
#define KUDARI_LAB_TRAIN_BEST_WEIGHTS_H_

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kudari/state.h"

namespace kudari::lab {

/// A copy of a model's parameters and buffers as they were at the evaluation with the best
/// value of train.monitor.
class BestWeights {
  struct Entry {
    std::string name;
    at::Tensor now, kept;
  };

 public:
  /// The model must outlive this.
  explicit BestWeights(::torch::nn::Module& model);

  /// Keeps what the model has, after the step `step`.
  void Keep(int64_t step);
  /// The step after which it was kept; 0: nothing was kept.
  int64_t step() const { return step_; }

  /// Puts what was kept into the model for as long as this lives.
  class Shown {
   public:
    explicit Shown(const BestWeights& best);
    ~Shown();
    Shown(const Shown&) = delete;
    Shown& operator=(const Shown&) = delete;

   private:
    const std::vector<Entry>& entries_;
    std::vector<at::Tensor> before_;
  };

  void Visit(StateVisitor& visitor);

 private:
  std::vector<Entry> entries_;
  int64_t step_ = 0;
};

}  // namespace kudari::lab

#endif  // KUDARI_LAB_TRAIN_BEST_WEIGHTS_H_
