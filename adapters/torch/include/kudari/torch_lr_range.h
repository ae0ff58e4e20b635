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

/// Options of FindLearningRate besides those of the test itself.
struct FindOptions {
  LrRangeOptions range = {};
  /// A glob for the names of the parameters whose learning rate rises. Empty: the parameters whose
  /// rate is the spec's own `lr`, not that of a group.
  std::string match = {};
  /// Whether the other parameters stay fixed rather than being trained with their own learning
  /// rates.
  bool freeze_others = false;
  /// The scaler to step with; the closure scales its loss, as in GradScaler::Step. Null: none.
  GradScaler* scaler = nullptr;
  /// Further generators that the closure draws from; like torch's default CPU generator, they are
  /// restored.
  std::vector<at::Generator> generators = {};
  /// Called after every step, including skipped ones, with the points so far; returning false ends
  /// the test. Any changes that it makes to the parameters and the optimiser are undone.
  std::function<bool(const Report&, const LrRange&)> after_step = {};
};

/// Runs a learning-rate range test on the model in its current state and restores that state: the
/// parameters, their gradients, the optimiser with its state, schedules and averagers, torch's
/// random numbers, the module's buffers (such as the running statistics of batch norm) and the
/// scaler have the same bits afterwards, even if something throws. `closure` is that of
/// Optimizer::Step and takes the next batch of the training data at each call; the position in the
/// data is not restored. A step that is skipped although its loss is finite, because the gradient
/// overflowed, adds no point to the test and is repeated with the same learning rate; kMostSkipped
/// of them in a row end the test in the same way as losses that are not finite. The end of the data
/// ends it with LrEnd::kStopped, and so do kMostSkipped steps of empty batches in a row. Throws
/// Error for options out of range, if no parameter matches, if the rule of a matching parameter has
/// no lr, if an evaluation view is open, and as Optimizer::Step does.
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
/// As above, with a closure that is not told the pass; see Optimizer::Step.
LrRange FindLearningRate(Optimizer& optimizer, const std::function<at::Tensor()>& closure,
                         const FindOptions& options = {});

/// The number of skipped steps in a row that ends a test.
inline constexpr int kMostSkipped = 50;

/// The parameters whose learning rate FindLearningRate raises, as indices of the optimiser's
/// tensors. Throws Error if there are none or if the rule of one has no lr.
std::vector<size_t> RampedParameters(const kudari::Optimizer& optimizer, const std::string& match);

}  // namespace kudari::torch

#endif  // KUDARI_TORCH_LR_RANGE_H_
