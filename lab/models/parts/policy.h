#ifndef KUDARI_LAB_MODELS_PARTS_POLICY_H_
#define KUDARI_LAB_MODELS_PARTS_POLICY_H_

#include <torch/torch.h>

#include <optional>

namespace kudari::lab {

/// What a policy does in a batch of observations.
struct Action {
  at::Tensor action;    ///< [batch, numbers], of discrete actions [batch, 1] with their numbers
  at::Tensor log_prob;  ///< [batch]
  at::Tensor value;     ///< [batch], the return that is expected
};

/// What acts in environments: a model with this interface, too.
class Policy {
 public:
  virtual ~Policy() = default;
  /// An action for each observation, [batch, observation]: drawn, or the most probable without a
  /// generator.
  virtual Action Act(const at::Tensor& observation, const std::optional<at::Generator>& random) = 0;
};

/// Where the values that a policy is trained with stand in a row of targets: the action's numbers
/// come first, then these.
enum RolloutColumn : int64_t { kLogProb, kAdvantage, kReturn, kValue, kRolloutColumns };

}  // namespace kudari::lab

#endif  // KUDARI_LAB_MODELS_PARTS_POLICY_H_
