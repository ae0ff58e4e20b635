#ifndef KUDARI_TESTS_CLIENTS_CLIENTS_H_
#define KUDARI_TESTS_CLIENTS_CLIENTS_H_

#include <torch/torch.h>

#include <algorithm>
#include <cstddef>
#include <vector>

// Programs as users of LibTorch write them. Each trains a model with an optimiser of torch::optim
// and, by the same code, a second one with Kudari's, which is given the gradients of the first run.

/// The gradients of a run, for another.
class Gradients {
 public:
  /// In the first run keeps the gradients of the parameters, in the second puts them in place of
  /// those that there are.
  void Exchange(const std::vector<torch::Tensor>& parameters) {
    for (const torch::Tensor& p : parameters) {
      if (!replaying_) {
        kept_.push_back(p.grad().defined() ? p.grad().clone() : torch::Tensor());
      } else {
        p.mutable_grad() = kept_.at(next_).defined() ? kept_[next_].clone() : torch::Tensor();
        ++next_;
      }
    }
  }
  /// The second run begins.
  void Replay() { replaying_ = true; }

 private:
  std::vector<torch::Tensor> kept_;
  size_t next_ = 0;
  bool replaying_ = false;
};

/// What came of two runs.
struct Outcome {
  double distance = 0;  ///< the largest difference of two weights, relative to the largest or to 1
  double moved = 0;     ///< the largest difference that training has made
};

/// Compares the parameters of both models, and those of one with what they were.
inline Outcome Compare(const std::vector<torch::Tensor>& theirs,
                       const std::vector<torch::Tensor>& ours,
                       const std::vector<torch::Tensor>& start) {
  const torch::NoGradGuard no_grad;
  Outcome outcome;
  for (size_t i = 0; i < theirs.size(); ++i) {
    const auto most = [](const torch::Tensor& t) { return t.abs().max().item<double>(); };
    const double scale = std::max(1.0, most(theirs[i]));
    outcome.distance = std::max(outcome.distance, most(theirs[i] - ours.at(i)) / scale);
    outcome.moved = std::max(outcome.moved, most(ours[i] - start.at(i)));
  }
  return outcome;
}

/// The parameters' values as they are now.
inline std::vector<torch::Tensor> Values(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> values;
  for (const torch::Tensor& p : parameters) values.push_back(p.detach().clone());
  return values;
}

Outcome Gan();
Outcome Lstm();
Outcome Cnn();
Outcome Ppo();
Outcome Gpt();
Outcome Transfer();
Outcome ActorCritic();
Outcome Threads();

#endif  // KUDARI_TESTS_CLIENTS_CLIENTS_H_
