#ifndef KUDARI_TORCH_LR_RANGE_H_
#define KUDARI_TORCH_LR_RANGE_H_

#include <torch/torch.h>

#include <functional>
#include <string>
#include <vector>

#include "kudari/lr_range.h"
#include "kudari/torch.h"
#include "kudari/torch_amp.h"

namespace kudari::torch {

/// What FindLearningRate does beside the test itself.
struct FindOptions {
  LrRangeOptions range = {};
  /// Whose learning rate rises: a glob on names of parameters. Empty: the parameters whose rate is
  /// the spec's own `lr`, which groups with one of their own do not have.
  std::string match = {};
  /// Whether the other parameters stay as they are, rather than being trained with the learning
  /// rates that they have.
  bool freeze_others = false;
  /// Steps are taken with it; the closure scales its loss, as in GradScaler::Step. Null: without.
  GradScaler* scaler = nullptr;
  /// Generators that the closure draws from, beside torch's own for the CPU; they are put back,
  /// too.
  std::vector<at::Generator> generators = {};
  /// Called after every step, skipped ones included, with what the test has seen so far; false ends
  /// the test. Whatever it does to the parameters and the optimiser is undone.
  std::function<bool(const Report&, const LrRange&)> after_step = {};
};

/// A learning-rate range test of a model as it stands, which it leaves as it was: parameters, their
/// gradients, the optimiser with its state, schedules and averagers, torch's random numbers, the
/// module's buffers (such as the running statistics of batch norm) and the scaler are the same bits
/// after it, also if something throws. `closure` is that of Optimizer::Step, over the next batch of
/// the training data each time; where in the data it stands is the caller's. A step that is skipped
/// although its loss is finite, because the gradient overflowed, is no point of the test and taken
/// again with the same learning rate; kMostSkipped of them in a row end it as a loss that is not
/// finite does. The end of the data ends it as LrEnd::kStopped, and so do kMostSkipped steps of
/// empty batches in a row. Throws Error for options out of range, if no parameter matches, if a
/// matching one's rule has no lr, if an evaluation view is open, and as Optimizer::Step does.
///
///     const LrRange range = FindLearningRate(optimizer, [&](Pass) -> Evaluation {
///       const at::Tensor loss = loss_of(model, loader.Next());
///       loss.backward();
///       return loss.item<double>();
///     });
///     const LrSuggestions suggestions = SuggestLearningRates(range);
LrRange FindLearningRate(Optimizer& optimizer,
                         const std::function<kudari::Evaluation(Pass)>& closure,
                         const FindOptions& options = {});
/// The same with a closure that is not told the pass; see Optimizer::Step.
LrRange FindLearningRate(Optimizer& optimizer, const std::function<at::Tensor()>& closure,
                         const FindOptions& options = {});

inline constexpr int kMostSkipped = 50;

/// The parameters whose learning rate FindLearningRate raises, as indices of the optimiser's
/// tensors. Throws Error if there are none or a rule has no lr.
std::vector<size_t> RampedParameters(const kudari::Optimizer& optimizer, const std::string& match);

}  // namespace kudari::torch

#endif  // KUDARI_TORCH_LR_RANGE_H_
